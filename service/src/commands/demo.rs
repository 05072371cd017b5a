//! `vidimus demo`: from nothing to checked readings in one command, without configuration or network.

use std::{fs, path::Path, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use vidimus_imaging::import::ImportFacts;

use super::{Common, exit, read, serve::Listening};
use crate::{
    access::Role,
    gate,
    http::{self, Options},
    shipped,
    site::House,
};

/// Arguments of `vidimus demo`.
#[derive(Args)]
pub(crate) struct Demo {
    /// Do not serve pages after reading.
    #[arg(long)]
    no_serve: bool,
    #[command(flatten)]
    listening: Listening,
}

pub(super) fn run(verb: &Demo, common: &Common) -> anyhow::Result<ExitCode> {
    let output = common.output();
    let listening = verb.listening.options()?;
    let dir = common.dir()?;
    let house = if House::exists(&dir) { House::open(&dir)? } else { House::create(&dir)? };
    anyhow::ensure!(
        house.is_demonstration()?,
        "{}: this site was not made for demonstration; name another folder with --dir",
        dir.display()
    );
    eprintln!("vidimus: site at {}", dir.display());
    gate::release_shipped(&house)?;
    let samples = dir.join("samples");
    write_samples(&samples)?;
    let readings = house.readings();
    let summary = read::read_all(&house, std::slice::from_ref(&samples), &ImportFacts::default(), &readings, output)?;
    output.text(&closing(&dir, &samples, &summary, !verb.no_serve))?;
    if verb.no_serve {
        house.close()?;
        return Ok(exit(summary.faults()));
    }
    let sign_in = vec![Role::Clinician, Role::Quality, Role::Regulator];
    http::serve(
        house,
        &Options { sign_in, ready: Box::new(move |base, codes| invite(&dir, base, codes)), ..listening },
    )?;
    Ok(exit(summary.faults()))
}

/// Prints the address with its one-time sign-ins: the code stands in the fragment, which no browser sends.
fn invite(dir: &Path, base: &str, codes: &[(Role, String)]) {
    eprintln!("vidimus: serving at {base}; Ctrl-C ends it. Each sign-in works once, within ten minutes:");
    for (role, code) in codes {
        eprintln!("  {:<10} {base}/#sign-in={code}", role.as_str());
    }
    let this = this_program();
    eprintln!("vidimus: later, a token for the sign-in page: {this} token --role clinician --dir {}", quoted(dir));
}

fn write_samples(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    for (name, bytes) in shipped::samples() {
        let file = folder.join(name);
        fs::write(&file, bytes).with_context(|| format!("{}: cannot be written", file.display()))?;
    }
    Ok(())
}

/// What was written, and the very commands that check it.
fn closing(dir: &Path, samples: &Path, summary: &read::Summary, serves: bool) -> String {
    let line = "─".repeat(100);
    let (dir, samples, tiles) = (quoted(dir), quoted(samples), quoted(&dir.join("tiles")));
    let receipt = summary.receipts.first().map_or_else(|| "RECEIPT".to_owned(), |path| quoted(Path::new(path)));
    let read_again = format!("{} read {samples} --dir {dir} --json", this_program());
    // One process writes a site at a time, and these two write into its log.
    let later = if serves { "\nAnd when it no longer serves\n" } else { "" };
    format!(
        "{line}
{} films read: {} evaluated, {} not evaluated, {} failed. For research and demonstration: nothing here is a diagnosis.
Signers of the release and patients are fictitious; the films are real (CC BY 4.0, service/samples/README.md).

What was written
  {dir}/readings/   one folder a reading: fhir.json, overlay.png, saliency.png, receipt
  {dir}/log.vkey    the public key of this site's audit log
  {dir}/log.db      the audit log        {dir}/vault.db   patient data, sealed

Check it yourself, without trust in this program
  {verify} receipt {receipt} --key {dir}/log.vkey
  {this} log tiles {tiles} --dir {dir}
  {verify} log {tiles} --key {dir}/log.vkey
{later}  {this} replay --all --dir {dir}
  {read_again}",
        summary.evaluated + summary.not_evaluated + summary.failed,
        summary.evaluated,
        summary.not_evaluated,
        summary.failed,
        this = this_program(),
        verify = verifier(),
    )
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains([' ', '\'', '"', '$', '\\']) { format!("'{}'", text.replace('\'', r"'\''")) } else { text }
}

/// This program as a shell finds it: by the path that started it.
fn this_program() -> String {
    std::env::current_exe().map_or_else(|_| "vidimus".into(), |path| path.display().to_string())
}

/// The verifier beside this program, or by name.
fn verifier() -> String {
    std::env::current_exe()
        .ok()
        .map(|path| path.with_file_name("vidimus-verify"))
        .filter(|path| path.is_file())
        .map_or_else(|| "vidimus-verify".into(), |path| path.display().to_string())
}
