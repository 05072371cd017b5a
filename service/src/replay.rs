//! Replay: past readings computed again from the sealed originals and held to the log.
//!
//! What is compared is not a copy: each reading's outcome holds salted commitments to its digests, and the digests made
//! now are committed to with the same openings. A reading whose record is missing is a fault. Under the profile
//! `f32-exact` any machine gives the same digests, on any number of threads and any instruction set; under
//! `f32-candle`, the first release's, the same machine and build. The replay of an evaluated reading is itself an
//! intent and an outcome of purpose `replay`.
//! Errors: the vault or the log; a reading that differs is a result.

use std::collections::{HashMap, hash_map::Entry as Place};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use vidimus_imaging::Instance;
use vidimus_log::{
    Body, Digest, Entry, EntryId,
    body::{OutcomeStatus, ReadIntent, ReadOutcome, ReadPurpose},
    commit::commitment,
    values::Commit,
};
use vidimus_reader::{Accepted, Digests, NotAccepted, Reading, ReleasedModel};
use vidimus_store::ObjectId;

use crate::research::REFUSED as RESEARCH_REFUSED;
use crate::{
    gate,
    pipeline::{Asked, Pipeline},
    site::House,
};

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
    /// Every reading of the log, in its order; replays and research runs, which read nothing for people, are left out.
    pub(crate) fn all(house: &House) -> anyhow::Result<Vec<Self>> {
        const STEP: u64 = 1024;
        let mut replays = std::collections::HashSet::new();
        let mut found = Vec::new();
        let mut start = 0;
        while start < house.site.size() {
            for bytes in house.site.entries(start..start + STEP)? {
                let entry = Entry::parse(&bytes)?;
                if let Body::ReadIntent(ReadIntent { purpose: ReadPurpose::Replay | ReadPurpose::Research, .. }) =
                    entry.body
                {
                    replays.insert(entry.entry_id);
                }
                let reading = Self::of_entry(entry);
                found.extend(reading.filter(|one| one.intent.is_none_or(|intent| !replays.contains(&intent))));
            }
            start += STEP;
        }
        Ok(found)
    }

    /// The reading that this outcome or refusal ended; none where the log has no such entry, or where it was never
    /// read: then there is nothing to read again.
    pub(crate) fn of(house: &House, id: &EntryId) -> anyhow::Result<Option<Self>> {
        let Some(index) = house.site.find(id)? else { return Ok(None) };
        let Some(found) = Self::of_entry(Entry::parse(&house.site.entry(index)?)?) else { return Ok(None) };
        let Some(intent) = found.intent else { return Ok(Some(found)) };
        let index = house.site.find(&intent)?.context("an outcome refers to an intent that the log does not have")?;
        let of_replay = matches!(
            Entry::parse(&house.site.entry(index)?)?.body,
            Body::ReadIntent(ReadIntent { purpose: ReadPurpose::Replay | ReadPurpose::Research, .. })
        );
        Ok((!of_replay).then_some(found))
    }

    fn of_entry(entry: Entry) -> Option<Self> {
        let intent = entry.refs.iter().find(|one| one.rel == "intent").map(|one| one.entry_id);
        match entry.body {
            Body::ReadOutcome(outcome) if outcome.status == OutcomeStatus::Ok => {
                Some(Self { entry_id: entry.entry_id, intent, past: Past::Evaluated(Box::new(outcome)) })
            }
            // `unreadable` says that nothing could be judged: there is nothing to judge again.
            // Nor is there where a research run was refused.
            Body::ReadRefused(refused) if !["unreadable", RESEARCH_REFUSED].contains(&refused.reason.as_str()) => {
                let past = Past::Refused { code: refused.reason.to_string(), input: refused.input };
                Some(Self { entry_id: entry.entry_id, intent: None, past })
            }
            _ => None,
        }
    }

    /// Whether a digest made now is the one that the entry committed to in `field`.
    fn held(&self, house: &House, field: &str, committed: Option<&Commit>, now: Digest) -> anyhow::Result<bool> {
        let Some(committed) = committed else { return Ok(false) };
        let opening = house.site.vault().opening(&self.entry_id, field)?;
        Ok(commitment(field, &opening.opening, now.hex().as_bytes()) == *committed)
    }

    /// The digests that differ from those of a reading made now.
    fn differences(&self, house: &House, outcome: &ReadOutcome, now: &Digests) -> anyhow::Result<Vec<&'static str>> {
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

/// What a reading made now has other than the past one.
pub(crate) struct Difference {
    /// The digests that differ, where both were read.
    pub digests: Vec<&'static str>,
    /// In words; no patient data.
    pub text: String,
}

impl Difference {
    fn new(text: impl Into<String>) -> Self {
        Self { digests: Vec::new(), text: text.into() }
    }
}

/// Computes past readings again; each model is admitted once.
pub(crate) struct Replayer<'a> {
    house: &'a House,
    asked: Asked,
    models: HashMap<Digest, ReleasedModel>,
}

impl<'a> Replayer<'a> {
    /// For whoever asked.
    pub(crate) fn new(house: &'a House, asked: Asked) -> Self {
        Self { house, asked, models: HashMap::new() }
    }

    /// None where the reading gives the same digests, else what differs; an error where it could not be computed.
    pub(crate) fn replay(&mut self, reading: &PastReading) -> anyhow::Result<Option<Difference>> {
        let house = self.house;
        let row = house.site.reading(&reading.entry_id)?;
        let row = row.context("the log holds this reading, and the registry has lost its record")?;
        let asked = self.asked.clone();
        let model = self.model(&row.model_root)?;
        let originals: Originals = serde_json::from_slice(house.site.vault().get(&row.reading)?.open())?;
        let instances = originals.open(house)?;
        let references: Vec<&Instance> = instances.iter().collect();
        let accepted = model.candidate().accept(&references);
        Ok(match (&reading.past, accepted) {
            (Past::Evaluated(outcome), Ok(accepted)) => {
                let now = again(house, model, asked, &instances, &accepted)?;
                reading.differing(house, outcome, &now)?
            }
            (Past::Refused { code, input }, Err(NotAccepted::Refused(refusal))) => {
                let digests = instances.iter().map(|instance| instance.bytes_digest.as_bytes().as_slice());
                let now = Digest::of_parts(digests);
                if refusal.code.as_str() != code {
                    Some(Difference::new(format!("refused then with {code}, now with {}", refusal.code)))
                } else if !reading.held(house, "input", input.as_ref(), now)? {
                    Some(Difference { digests: vec!["input"], text: "digests of input".into() })
                } else {
                    None
                }
            }
            (Past::Evaluated(_), Err(NotAccepted::Refused(refusal))) => {
                Some(Difference::new(format!("refused now with {}", refusal.code)))
            }
            (_, Err(NotAccepted::Unreadable(error))) => Some(Difference::new(format!("cannot be read now: {error}"))),
            (_, Err(NotAccepted::Broken(error))) => {
                Some(Difference::new(format!("the network cannot run now: {error}")))
            }
            (Past::Refused { code, .. }, Ok(_)) => {
                Some(Difference::new(format!("refused then with {code}, accepted now")))
            }
        })
    }

    fn model(&mut self, root: &Digest) -> anyhow::Result<&ReleasedModel> {
        Ok(match self.models.entry(*root) {
            Place::Occupied(held) => held.into_mut(),
            Place::Vacant(place) => {
                let known = self.house.site.models()?;
                let found = known.iter().find(|model| model.root == *root);
                let found = found.with_context(|| format!("the site has no model of root {root}"))?;
                place.insert(gate::admit_row(self.house, found)??)
            }
        })
    }
}

impl PastReading {
    fn differing(&self, house: &House, outcome: &ReadOutcome, now: &Reading) -> anyhow::Result<Option<Difference>> {
        let digests = self.differences(house, outcome, &now.digests)?;
        if digests.is_empty() {
            return Ok(None);
        }
        let same_build = outcome.runtime.0 == house.runtime;
        let other = if same_build { "" } else { "; it was made by another build or on another machine" };
        let text = format!("digests of {}{other}", digests.join(", "));
        Ok(Some(Difference { digests, text }))
    }
}

fn again(
    house: &House,
    model: &ReleasedModel,
    asked: Asked,
    instances: &[Instance],
    accepted: &Accepted,
) -> anyhow::Result<Reading> {
    Pipeline::new(house, Ok(model), ReadPurpose::Replay, asked).again(instances, accepted, model)
}
