//! Replay: past readings computed again from the sealed originals, digest by digest.
//! Under the profile `f32-candle` the same machine and build must give the same digests, for any number of threads.
//! Every replay is itself an intent and an outcome of purpose `replay` in the log.
//! Errors: the vault or the log; a reading that differs is a result.

use serde::{Deserialize, Serialize};
use vidimus_imaging::Instance;
use vidimus_log::Digest;
use vidimus_reader::{Digests, Reading};
use vidimus_store::ObjectId;

/// What a replay needs of a reading: a sealed document of the vault.
#[derive(Serialize, Deserialize)]
pub(crate) struct ReplayFacts {
    /// The sealed originals, in the order of reading.
    pub objects: Vec<String>,
    /// The status.
    pub status: String,
    /// Why, where it was not evaluated.
    pub code: Option<String>,
    /// Digests of an evaluated reading.
    pub input: Option<Digest>,
    pub preprocessing: Option<Digest>,
    pub output: Option<Digest>,
    pub saliency: Option<Digest>,
    /// Digest of what computed it.
    pub runtime: Digest,
}

impl ReplayFacts {
    /// Facts of a reading, or of a refusal with its code.
    pub(crate) fn new(
        objects: Vec<ObjectId>,
        status: &str,
        code: Option<&str>,
        reading: Option<&Reading>,
        runtime: Digest,
    ) -> Self {
        let digests = reading.map(|reading| reading.digests);
        let of = |field: fn(&Digests) -> Digest| digests.as_ref().map(field);
        Self {
            objects: objects.iter().map(ToString::to_string).collect(),
            status: status.to_owned(),
            code: code.map(str::to_owned),
            input: of(|digests| digests.input),
            preprocessing: of(|digests| digests.preprocessing),
            output: of(|digests| digests.output),
            saliency: of(|digests| digests.saliency),
            runtime,
        }
    }

    /// The digests that differ from those of a reading made now.
    pub(crate) fn differences(&self, now: &Digests) -> Vec<&'static str> {
        [
            ("input", self.input, now.input),
            ("preprocessing", self.preprocessing, now.preprocessing),
            ("output", self.output, now.output),
            ("saliency", self.saliency, now.saliency),
        ]
        .into_iter()
        .filter(|(_, then, now)| *then != Some(*now))
        .map(|(name, ..)| name)
        .collect()
    }
}

/// The originals of a reading, opened from the vault.
pub(crate) fn originals(house: &crate::site::House, facts: &ReplayFacts) -> anyhow::Result<Vec<Instance>> {
    facts
        .objects
        .iter()
        .map(|id| {
            let id = ObjectId::parse(id).ok_or_else(|| anyhow::anyhow!("the replay record names no object"))?;
            let bytes = house.site.vault().get(&id)?;
            Ok(Instance::from_bytes(bytes.open())?)
        })
        .collect()
}
