//! `vidimus replay`: past readings computed again, digest by digest.

use std::{
    collections::{HashMap, hash_map::Entry},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;
use vidimus_imaging::Instance;
use vidimus_log::{Digest, body::ReadPurpose};
use vidimus_reader::{NotAccepted, ReleasedModel};
use vidimus_store::ReadingRow;

use super::{Common, exit, log::entry_id};
use crate::{
    gate,
    pipeline::Pipeline,
    replay::{ReplayFacts, originals},
    site::House,
};

/// Arguments of `vidimus replay`.
#[derive(Args)]
pub(crate) struct Replay {
    /// The entry of one reading: its intent or outcome, by id or index.
    #[arg(required_unless_present = "all")]
    entry: Option<String>,
    /// Every reading of the site.
    #[arg(long, conflicts_with = "entry")]
    all: bool,
}

pub(super) fn run(verb: &Replay, common: &Common) -> anyhow::Result<ExitCode> {
    let output = common.output();
    let house = House::open(&common.dir()?)?;
    let rows = match &verb.entry {
        None => house.site.readings()?,
        Some(entry) => {
            let id = entry_id(&house.site, entry)?;
            let row = house.site.reading(&id)?;
            vec![row.ok_or_else(|| anyhow::anyhow!("{entry}: no reading has this entry as intent or outcome"))?]
        }
    };
    let mut models: HashMap<Digest, ReleasedModel> = HashMap::new();
    let (mut equal, mut faults) = (0, 0);
    for row in rows {
        let result = one(&house, &mut models, &row).unwrap_or_else(|error| Err(format!("{error:#}")));
        let fault = result.err();
        if fault.is_none() {
            equal += 1;
        } else {
            faults += 1;
        }
        let object = json!({ "entry_id": row.outcome.to_string(), "status": row.status, "equal": fault.is_none(), "difference": fault });
        output.result(&object, || match &fault {
            None => format!("{}  same digests ({})", row.outcome, row.status),
            Some(fault) => format!("{}  DIFFERS: {fault}", row.outcome),
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
    row: &ReadingRow,
) -> anyhow::Result<Result<(), String>> {
    let model = match models.entry(row.model_root) {
        Entry::Occupied(held) => held.into_mut(),
        Entry::Vacant(place) => {
            let known = house.site.models()?;
            let found = known.iter().find(|model| model.root == row.model_root);
            let found = found.ok_or_else(|| anyhow::anyhow!("the site has no model of root {}", row.model_root))?;
            place.insert(gate::admit_row(house, found)??)
        }
    };
    let facts: ReplayFacts = serde_json::from_slice(house.site.vault().get(&row.reading)?.open())?;
    let instances = originals(house, &facts)?;
    let references: Vec<&Instance> = instances.iter().collect();
    let accepted = match model.candidate().accept(&references) {
        Ok(accepted) => accepted,
        Err(NotAccepted::Refused(refusal)) => {
            let same = facts.code.as_deref() == Some(refusal.code.as_str());
            return Ok(if same { Ok(()) } else { Err(format!("refused now with {}", refusal.code)) });
        }
        Err(_) => return Ok(Err("cannot be read now".into())),
    };
    if facts.code.is_some() {
        return Ok(Err("accepted now".into()));
    }
    let out = house.readings();
    let pipeline = Pipeline { house, model: Ok(model), out: &out, purpose: ReadPurpose::Replay };
    let reading = pipeline.again(&instances, &accepted, model)?;
    let differences = facts.differences(&reading.digests);
    if differences.is_empty() {
        return Ok(Ok(()));
    }
    let other =
        if facts.runtime == house.runtime { "" } else { "; it was made by another build or on another machine" };
    Ok(Err(format!("digests of {}{other}", differences.join(", "))))
}
