//! `vidimus replay`: past readings computed again, digest by digest.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Common, exit, log::entry_id};
use crate::{
    pipeline::Asked,
    replay::{Past, PastReading, Replayer},
    site::House,
};

/// Arguments of `vidimus replay`.
#[derive(Args)]
#[command(after_help = "Examples:
  vidimus replay --all                 every reading of the site; ends 0 when all give the same digests
  vidimus replay 13                    the reading whose outcome, intent or refusal is entry 13 of the log")]
pub(crate) struct Replay {
    /// The entry of one reading: its intent, outcome or refusal, by id or index.
    #[arg(required_unless_present = "all")]
    entry: Option<String>,
    /// Every reading that the log holds.
    #[arg(long, conflicts_with = "entry")]
    all: bool,
}

pub(super) fn run(verb: &Replay, common: &Common) -> anyhow::Result<ExitCode> {
    let output = common.output();
    let house = House::open(&common.dir()?)?;
    let mut readings = PastReading::all(&house)?;
    if let Some(entry) = &verb.entry {
        let id = entry_id(&house.site, entry)?;
        readings.retain(|reading| reading.entry_id == id || reading.intent == Some(id));
        anyhow::ensure!(!readings.is_empty(), "{entry}: no reading has this entry as intent, outcome or refusal");
    }
    let mut replayer = Replayer::new(&house, Asked::on_command_line(&house));
    let (mut equal, mut faults) = (0, 0);
    for reading in readings {
        let status = match &reading.past {
            Past::Evaluated(_) => "evaluated",
            Past::Refused { .. } => "not_evaluated",
        };
        let fault = match replayer.replay(&reading) {
            Ok(difference) => difference.map(|difference| difference.text),
            Err(error) => Some(format!("{error:#}")),
        };
        if fault.is_none() {
            equal += 1;
        } else {
            faults += 1;
        }
        let entry_id = reading.entry_id.to_string();
        let object = json!({ "entry_id": entry_id, "status": status, "equal": fault.is_none(), "difference": fault });
        output.result(&object, || match &fault {
            None => format!("{entry_id}  same digests ({status})"),
            Some(fault) => format!("{entry_id}  DIFFERS: {fault}"),
        })?;
    }
    house.close()?;
    output.text(&format!("{equal} readings give the same digests, {faults} do not"))?;
    Ok(exit(faults))
}
