//! `vidimus read`: studies in, readings out, one after another, at a site with a released model.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vidimus_imaging::import::ImportFacts;

use super::{Common, exit};
use crate::{
    gate,
    output::Output,
    page,
    pipeline::{self, Asked, Pipeline, Status, gather},
    site::House,
};

/// Arguments of `vidimus read`.
#[derive(Args)]
#[command(after_help = "Examples:
  vidimus read film.dcm                              one film at the default site
  vidimus read study/ DICOMDIR --dir site --json     folders and a file-set, one object a study
  vidimus read film.png --modality DX --body-part CHEST --view AP --age 003Y")]
pub(crate) struct Read {
    /// Films (DICOM), pictures (PNG, JPEG), folders or a DICOMDIR.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where readings are written (default: `readings` in the site's folder).
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    picture: PictureFacts,
}

/// What the caller states about pictures (PNG, JPEG), which carry no metadata. DICOM files speak for themselves.
#[derive(Args)]
#[command(next_help_heading = "Facts about pictures (PNG, JPEG), which carry no metadata")]
struct PictureFacts {
    /// Modality, such as DX.
    #[arg(long)]
    modality: Option<String>,
    /// Body part, such as CHEST.
    #[arg(long)]
    body_part: Option<String>,
    /// View position, such as AP.
    #[arg(long)]
    view: Option<String>,
    /// Age string, such as 003Y.
    #[arg(long)]
    age: Option<String>,
}

impl PictureFacts {
    fn stated(&self) -> ImportFacts {
        let upper = |text: &Option<String>| text.as_ref().map(|text| text.to_uppercase());
        ImportFacts {
            modality: upper(&self.modality),
            body_part: upper(&self.body_part),
            view: upper(&self.view),
            age: upper(&self.age),
            ..ImportFacts::default()
        }
    }
}

pub(super) fn run(verb: &Read, common: &Common) -> anyhow::Result<ExitCode> {
    let house = House::open(&common.dir()?)?;
    let out = verb.out.clone().unwrap_or_else(|| house.readings());
    let summary = read_all(&house, &verb.paths, &verb.picture.stated(), &out, common.output())?;
    house.close()?;
    Ok(exit(summary.faults()))
}

/// What a run came to.
#[derive(Default)]
pub(super) struct Summary {
    pub evaluated: usize,
    pub not_evaluated: usize,
    pub failed: usize,
    /// Receipt files of this run, in its order.
    pub receipts: Vec<String>,
}

impl Summary {
    /// Studies that failed; nothing to read at all is a fault too.
    pub(super) fn faults(&self) -> usize {
        if self.evaluated + self.not_evaluated == 0 { self.failed.max(1) } else { self.failed }
    }
}

/// Reads everything below `paths` with the site's released model.
pub(super) fn read_all(
    house: &House,
    paths: &[PathBuf],
    facts: &ImportFacts,
    out: &Path,
    output: Output,
) -> anyhow::Result<Summary> {
    pipeline::probe(out)?;
    let admitted = gate::admit(house)?;
    if let Err(error) = &admitted {
        eprintln!("vidimus: {error}");
    }
    let (purpose, asked) = (Pipeline::purpose_of(&admitted), Asked::on_command_line(house));
    let reader = Pipeline::new(house, admitted.as_ref(), purpose, asked).into_folder(out);
    let groups = gather(paths, facts);
    let progress = progress(groups.len());
    let mut summary = Summary::default();
    for group in groups {
        for study in reader.read(group, facts)? {
            match study.status {
                Status::Evaluated => summary.evaluated += 1,
                Status::NotEvaluated => summary.not_evaluated += 1,
                Status::Failed => summary.failed += 1,
            }
            summary.receipts.extend(study.files.receipt.clone());
            progress.suspend(|| output.result(&study.object(), || page::page(&study)))?;
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    // The last line on standard error tells a person at a glance what a program finds in the objects.
    if let Err(error) = &admitted {
        eprintln!("vidimus: no study was read: {error}");
    } else {
        eprintln!(
            "vidimus: {} evaluated, {} not evaluated, {} failed",
            summary.evaluated, summary.not_evaluated, summary.failed
        );
    }
    Ok(summary)
}

/// A bar on standard error where a person watches and there is something to wait for.
fn progress(studies: usize) -> ProgressBar {
    let bar = ProgressBar::new(studies as u64);
    if studies < 8 || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("reading {bar:40} {pos}/{len} studies, {eta} left") {
        bar.set_style(style);
    }
    bar
}
