//! `vidimus inspect`: what a file is, one object a file. No site is needed and nothing is logged: nothing is read
//! clinically.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{Common, exit};

/// Arguments of `vidimus inspect`.
#[derive(Args)]
#[command(after_help = "Examples:
  vidimus inspect film.dcm
  vidimus inspect disc/DICOMDIR folder/ --json     one object a file")]
pub(crate) struct Inspect {
    /// Files, folders or a DICOMDIR.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub(super) fn run(verb: &Inspect, common: &Common) -> anyhow::Result<ExitCode> {
    let output = common.output();
    let mut faults = 0;
    for found in vidimus_imaging::walk(&verb.paths) {
        let inspection = match &found.fault {
            Some(fault) => vidimus_imaging::failed(&found.path.to_string_lossy(), fault),
            None => vidimus_imaging::inspect(&found.path),
        };
        faults += usize::from(inspection.error.is_some());
        let object = serde_json::to_value(&inspection)?;
        output.result(&object, || text(&object))?;
    }
    Ok(exit(faults))
}

/// The record as lines of name and value; what the file does not say is left out.
fn text(object: &serde_json::Value) -> String {
    let fields = object.as_object().into_iter().flatten();
    let lines = fields.filter(|(_, value)| !value.is_null()).map(|(name, value)| match value.as_str() {
        Some(text) => format!("{name:<20}{text}"),
        None => format!("{name:<20}{value}"),
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}
