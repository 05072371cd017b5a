//! `vidimus inspect`: what a file is, one object a file. No site is needed and nothing is logged: nothing is read clinically.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{Common, exit};

/// Arguments of `vidimus inspect`.
#[derive(Args)]
pub(crate) struct Inspect {
    /// Files, folders or a DICOMDIR.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub(super) fn run(verb: &Inspect, common: &Common) -> anyhow::Result<ExitCode> {
    let output = common.output();
    let mut faults = 0;
    for found in vidimus_imaging::walk(&verb.paths) {
        let inspection = vidimus_imaging::inspect_found(&found);
        faults += usize::from(inspection.error.is_some());
        output.result(&serde_json::to_value(&inspection)?, || inspection.to_string())?;
    }
    Ok(exit(faults))
}
