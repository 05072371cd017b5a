//! Replay: past readings computed again from the sealed originals and held to the log.
//!
//! What is compared is not a copy: each reading's outcome holds salted commitments to its digests, and the digests made
//! now are committed to with the same openings. A reading whose record is missing is a fault. Under the profile
//! `f32-candle` the same machine and build must give the same digests, for any number of threads. The replay of an
//! evaluated reading is itself an intent and an outcome of purpose `replay`.
//! Errors: the vault or the log; a reading that differs is a result.

use serde::{Deserialize, Serialize};
use vidimus_imaging::Instance;
use vidimus_log::{
    Body, Digest, Entry, EntryId,
    body::{OutcomeStatus, ReadIntent, ReadOutcome, ReadPurpose},
    commit::commitment,
    values::Commit,
};
use vidimus_reader::Digests;
use vidimus_store::ObjectId;

use crate::site::House;

/// Where a reading's originals lie: a sealed document of the vault.
#[derive(Serialize, Deserialize)]
pub(crate) struct Originals {
    /// The sealed files, in the order of reading.
    objects: Vec<String>,
}

impl Originals {
    pub(crate) fn new(objects: &[ObjectId]) -> Self {
        Self { objects: objects.iter().map(ToString::to_string).collect() }
    }

    /// The instances, opened from the vault.
    pub(crate) fn open(&self, house: &House) -> anyhow::Result<Vec<Instance>> {
        self.objects
            .iter()
            .map(|id| {
                let id = ObjectId::parse(id).ok_or_else(|| anyhow::anyhow!("the replay record names no object"))?;
                Ok(Instance::from_bytes(house.site.vault().get(&id)?.open())?)
            })
            .collect()
    }
}

/// What the log says of one past reading.
pub(crate) enum Past {
    /// It was evaluated.
    Evaluated(Box<ReadOutcome>),
    /// The guard refused it, with this code.
    Refused { code: String, input: Option<Commit> },
}

/// A past reading and the entry that ends it.
pub(crate) struct PastReading {
    pub entry_id: EntryId,
    /// The intent, where there was one.
    pub intent: Option<EntryId>,
    pub past: Past,
}

impl PastReading {
    /// Every reading of the log, in its order, replays left out.
    pub(crate) fn all(house: &House) -> anyhow::Result<Vec<Self>> {
        const STEP: u64 = 1024;
        let mut replays = std::collections::HashSet::new();
        let mut found = Vec::new();
        let mut start = 0;
        while start < house.site.size() {
            for bytes in house.site.entries(start..start + STEP)? {
                let entry = Entry::parse(&bytes)?;
                let intent = entry.refs.iter().find(|one| one.rel == "intent").map(|one| one.entry_id);
                match entry.body {
                    Body::ReadIntent(ReadIntent { purpose: ReadPurpose::Replay, .. }) => {
                        replays.insert(entry.entry_id);
                    }
                    Body::ReadOutcome(outcome)
                        if outcome.status == OutcomeStatus::Ok
                            && intent.is_none_or(|intent| !replays.contains(&intent)) =>
                    {
                        let past = Past::Evaluated(Box::new(outcome));
                        found.push(Self { entry_id: entry.entry_id, intent, past });
                    }
                    // `unreadable` says that nothing could be judged: there is nothing to judge again.
                    Body::ReadRefused(refused) if refused.reason.as_str() != "unreadable" => {
                        let past = Past::Refused { code: refused.reason.to_string(), input: refused.input };
                        found.push(Self { entry_id: entry.entry_id, intent: None, past });
                    }
                    _ => {}
                }
            }
            start += STEP;
        }
        Ok(found)
    }

    /// Whether a digest made now is the one that the entry committed to in `field`.
    pub(crate) fn held(
        &self,
        house: &House,
        field: &str,
        committed: Option<&Commit>,
        now: Digest,
    ) -> anyhow::Result<bool> {
        let Some(committed) = committed else { return Ok(false) };
        let opening = house.site.vault().opening(&self.entry_id, field)?;
        Ok(commitment(field, &opening.opening, now.hex().as_bytes()) == *committed)
    }

    /// The digests that differ from those of a reading made now.
    pub(crate) fn differences(
        &self,
        house: &House,
        outcome: &ReadOutcome,
        now: &Digests,
    ) -> anyhow::Result<Vec<&'static str>> {
        let mut differences = Vec::new();
        for (field, committed, now) in [
            ("input", &outcome.input, now.input),
            ("prepared", &outcome.prepared, now.preprocessing),
            ("output", &outcome.output, now.output),
            ("saliency", &outcome.saliency, now.saliency),
        ] {
            if !self.held(house, field, committed.as_ref(), now)? {
                differences.push(field);
            }
        }
        Ok(differences)
    }
}
