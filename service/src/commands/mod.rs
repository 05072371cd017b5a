//! The command line: one verb, one file.

mod bench;
mod dataset;
mod demo;
mod evaluate;
mod inspect;
mod log;
mod model;
mod read;
mod replay;
mod serve;
mod token;
mod train;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::output::Output;

/// A second read of a medical image, with an explanation and a receipt that anyone can check.
///
/// For research and demonstration: no figure printed here is a diagnosis.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  vidimus demo                                make a site, read the sample radiographs, serve the pages
  vidimus read film.dcm folder/ --out out/    read films, folders or a DICOMDIR at that site
  vidimus inspect film.dcm --json             what a file is, without reading it clinically
  vidimus log tiles tiles/                    the whole audit log as C2SP tlog-tiles
  vidimus-verify receipt R.tlog-proof --key log.vkey    check a receipt, anywhere, offline"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Args, Clone)]
pub(crate) struct Common {
    /// The site's folder (default: a per-user data folder).
    #[arg(long, global = true, env = "VIDIMUS_DIR", value_name = "DIR")]
    dir: Option<PathBuf>,
    /// One JSON object a line on standard output, nothing else there.
    #[arg(long, global = true)]
    json: bool,
}

impl Common {
    fn output(&self) -> Output {
        Output::new(self.json)
    }

    fn dir(&self) -> anyhow::Result<PathBuf> {
        crate::site::folder(self.dir.as_deref())
    }
}

#[derive(Subcommand)]
enum Verb {
    /// Make a site, admit the shipped model by its logged release and read the sample radiographs.
    Demo(demo::Demo),
    /// Read films, folders or a DICOMDIR: studies in, readings out.
    Read(read::Read),
    /// Say what a file is, without reading it clinically.
    Inspect(inspect::Inspect),
    /// Check and export the audit log.
    #[command(subcommand)]
    Log(log::Log),
    /// Serve the site over HTTP: DICOMweb, FHIR, the API and the pages.
    Serve(serve::Serve),
    /// Compute past readings again and compare their digests.
    Replay(replay::Replay),
    /// Print a bearer token of the site's own issuer for a role.
    Token(token::Token),
    /// The models of this site.
    #[command(subcommand)]
    Model(model::Model),
    /// Locked reference sets.
    #[command(subcommand)]
    Dataset(dataset::Dataset),
    /// Train a model from a recipe.
    Train(train::Train),
    /// Evaluate a model on a locked set, by a protocol registered beforehand. Each look is logged.
    Evaluate(evaluate::Evaluate),
}

/// Runs the verb.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let common = arguments.common;
    match arguments.verb {
        Verb::Demo(verb) => demo::run(&verb, &common),
        Verb::Read(verb) => read::run(&verb, &common),
        Verb::Inspect(verb) => inspect::run(&verb, &common),
        Verb::Log(verb) => log::run(&verb, &common),
        Verb::Serve(verb) => serve::run(&verb, &common),
        Verb::Replay(verb) => replay::run(&verb, &common),
        Verb::Token(verb) => token::run(&verb, &common),
        Verb::Model(verb) => model::run(&verb, &common),
        Verb::Dataset(verb) => dataset::run(&verb, &common),
        Verb::Train(verb) => train::run(&verb, &common),
        Verb::Evaluate(verb) => evaluate::run(&verb, &common),
    }
}

/// 0, or 1 where faults were found.
fn exit(faults: usize) -> ExitCode {
    if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
