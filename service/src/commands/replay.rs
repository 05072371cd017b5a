//! `vidimus replay`: past readings computed again, digest by digest.

use std::{
    collections::{HashMap, hash_map::Entry},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use vidimus_imaging::Instance;
use vidimus_log::{Digest, body::ReadPurpose};
use vidimus_reader::{Accepted, NotAccepted, ReleasedModel};

use super::{Common, exit, log::entry_id};
use crate::{
    gate,
    pipeline::Pipeline,
    replay::{Originals, Past, PastReading},
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
    let mut models: HashMap<Digest, ReleasedModel> = HashMap::new();
    let (mut equal, mut faults) = (0, 0);
    for reading in readings {
        let status = match &reading.past {
            Past::Evaluated(_) => "evaluated",
            Past::Refused { .. } => "not_evaluated",
        };
        let result = one(&house, &mut models, &reading).unwrap_or_else(|error| Err(format!("{error:#}")));
        let fault = result.err();
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

/// Ok where the reading gives the same digests, else what differs; an error where it could not be computed.
fn one(
    house: &House,
    models: &mut HashMap<Digest, ReleasedModel>,
    reading: &PastReading,
) -> anyhow::Result<Result<(), String>> {
    let row = house.site.reading(&reading.entry_id)?;
    let row = row.context("the log holds this reading, and the registry has lost its record")?;
    let model = match models.entry(row.model_root) {
        Entry::Occupied(held) => held.into_mut(),
        Entry::Vacant(place) => {
            let known = house.site.models()?;
            let found = known.iter().find(|model| model.root == row.model_root);
            let found = found.with_context(|| format!("the site has no model of root {}", row.model_root))?;
            place.insert(gate::admit_row(house, found)??)
        }
    };
    let originals: Originals = serde_json::from_slice(house.site.vault().get(&row.reading)?.open())?;
    let instances = originals.open(house)?;
    let references: Vec<&Instance> = instances.iter().collect();
    let accepted = model.candidate().accept(&references);
    match (&reading.past, accepted) {
        (Past::Evaluated(outcome), Ok(accepted)) => {
            let now = again(house, model, &instances, &accepted)?;
            let differences = reading.differences(house, outcome, &now.digests)?;
            if differences.is_empty() {
                return Ok(Ok(()));
            }
            let same_build = outcome.runtime.0 == house.runtime;
            let other = if same_build { "" } else { "; it was made by another build or on another machine" };
            Ok(Err(format!("digests of {}{other}", differences.join(", "))))
        }
        (Past::Refused { code, input }, Err(NotAccepted::Refused(refusal))) => {
            let digests = instances.iter().map(|instance| instance.bytes_digest.as_bytes().as_slice());
            let now = Digest::of_parts(digests);
            Ok(if refusal.code.as_str() != code {
                Err(format!("refused then with {code}, now with {}", refusal.code))
            } else if !reading.held(house, "input", input.as_ref(), now)? {
                Err("digests of input".into())
            } else {
                Ok(())
            })
        }
        (Past::Evaluated(_), Err(NotAccepted::Refused(refusal))) => {
            Ok(Err(format!("refused now with {}", refusal.code)))
        }
        (_, Err(NotAccepted::Unreadable(error))) => Ok(Err(format!("cannot be read now: {error}"))),
        (_, Err(NotAccepted::Broken(error))) => Ok(Err(format!("the network cannot run now: {error}"))),
        (Past::Refused { code, .. }, Ok(_)) => Ok(Err(format!("refused then with {code}, accepted now"))),
    }
}

fn again(
    house: &House,
    model: &ReleasedModel,
    instances: &[Instance],
    accepted: &Accepted,
) -> anyhow::Result<vidimus_reader::Reading> {
    let out = house.readings();
    Pipeline { house, model: Ok(model), out: &out, purpose: ReadPurpose::Replay }.again(instances, accepted, model)
}
