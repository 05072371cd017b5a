//! Replay on request: past readings computed again from their sealed originals and held to the log.

use serde::Deserialize;
use serde_json::{Value, json};
use vidimus_log::EntryId;

use super::super::{Answer, Call, Kind, Problem};
use crate::{
    pipeline::Asked,
    replay::{PastReading, Replayer},
};

/// Readings of one request.
const READINGS_MAX: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    readings: Vec<String>,
}

/// Each reading: the same digests, or what differs.
pub(in super::super) fn replay(call: &Call<'_>) -> Result<Answer, Problem> {
    let given: Given = call.json()?;
    if !(1..=READINGS_MAX).contains(&given.readings.len()) {
        return Err(Problem::new(Kind::Unprocessable, format!("readings: expected 1 to {READINGS_MAX} of them")));
    }
    let house = call.house();
    let missing = || Problem::new(Kind::NotFound, "readings: one of them is no reading of this site");
    let ids = given.readings.iter().map(|id| EntryId::parse(id).map_err(|_| missing()));
    let ids: Vec<EntryId> = ids.collect::<Result<_, _>>()?;
    let past: Vec<PastReading> = ids
        .iter()
        .map(|id| PastReading::of(house, id).map_err(Problem::from)?.ok_or_else(missing))
        .collect::<Result<_, Problem>>()?;
    let asked = Asked { actor: call.caller()?.actor.clone(), trace: house.trace() };
    let mut replayer = Replayer::new(house, asked);
    let mut results: Vec<Value> = Vec::new();
    for (id, past) in ids.iter().zip(&past) {
        // What cannot be computed again is a result too: it is not the same.
        let differences = match replayer.replay(past) {
            Ok(None) => Vec::new(),
            Ok(Some(difference)) if difference.digests.is_empty() => vec![difference.text],
            Ok(Some(difference)) => difference.digests.iter().map(|name| (*name).to_owned()).collect(),
            Err(error) => vec![format!("{error:#}")],
        };
        results.push(json!({ "id": id.to_string(), "same": differences.is_empty(), "differences": differences }));
    }
    Answer::json(&json!({ "results": results }))
}
