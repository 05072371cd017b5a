//! `vidimus read`: studies in, readings out, one after another, at a site with a released model.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vidimus_log::body::ReadPurpose;

use super::{Common, exit};
use crate::{
    gate,
    output::Output,
    page,
    pipeline::{Pipeline, Status, gather},
    site::House,
};

/// Arguments of `vidimus read`.
#[derive(Args)]
pub(crate) struct Read {
    /// Films, folders or a DICOMDIR.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where readings are written (default: `readings` in the site's folder).
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(verb: &Read, common: &Common) -> anyhow::Result<ExitCode> {
    let house = House::open(&common.dir()?)?;
    let out = verb.out.clone().unwrap_or_else(|| house.readings());
    let summary = read_all(&house, &verb.paths, &out, common.output())?;
    house.close()?;
    Ok(exit(summary.failed))
}

/// What a run came to.
#[derive(Default)]
pub(super) struct Summary {
    pub evaluated: usize,
    pub not_evaluated: usize,
    pub failed: usize,
    /// Receipt files of this run, in its order.
    pub receipts: Vec<PathBuf>,
}

/// Reads everything below `paths` with the site's released model.
pub(super) fn read_all(house: &House, paths: &[PathBuf], out: &Path, output: Output) -> anyhow::Result<Summary> {
    let admitted = gate::admit(house)?;
    if let Err(error) = &admitted {
        eprintln!("vidimus: {error}");
    }
    let purpose = match &admitted {
        Ok(model) if model.deployment().mode() == "demonstration" => ReadPurpose::Demonstration,
        _ => ReadPurpose::Clinical,
    };
    let pipeline = Pipeline { house, model: admitted.as_ref(), out, purpose };
    let groups = gather(paths);
    let progress = progress(groups.len());
    let mut summary = Summary::default();
    for group in groups {
        for study in pipeline.read(group)? {
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
