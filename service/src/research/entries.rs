//! What a research run leaves in the log: an intent before inference, an outcome or a refusal after. Purpose
//! `research`.
//! What went in and came out stands there as salted commitments only.
//! Errors: the vault or the log.

use std::time::Duration;

use vidimus_log::{
    Body, Digest, Draft, EntryId, Receipt, Recorder as _, Ref,
    body::{OutcomeStatus, ReadIntent, ReadOutcome, ReadPurpose, ReadRefused},
    values::{Commit, Sha256},
};
use vidimus_store::Subject;

use super::{Candidate, input::Input};
use crate::site::{House, code_word};

/// An intent that has no outcome after this time is an incident: whole volumes take minutes.
const DEADLINE_MS: u64 = 3_600_000;

/// One run's way into the log.
pub(super) struct Journal<'a> {
    house: &'a House,
    candidate: &'a Candidate,
    subject: Subject,
}

impl<'a> Journal<'a> {
    /// For inputs of this digest.
    pub(super) fn new(house: &'a House, candidate: &'a Candidate, input: Digest) -> anyhow::Result<Self> {
        let subject = house.subject(&house.site.keyed("research", input.as_bytes()))?;
        Ok(Self { house, candidate, subject })
    }

    fn record(&self, entry_id: EntryId, refs: Vec<Ref>, body: impl Into<Body>) -> anyhow::Result<Receipt> {
        let (actor, trace) = (self.house.actor(), self.house.trace());
        Ok(self.house.site.record(Draft { entry_id, actor, refs, body: body.into(), trace })?)
    }

    fn model(&self) -> Ref {
        self.candidate.registered.as_ref_to("model")
    }

    fn request(&self) -> String {
        format!("{{\"purpose\":\"{}\",\"verb\":\"model run\"}}", ReadPurpose::Research.as_str())
    }

    /// The input was refused before anything was computed.
    pub(super) fn refused(&self, input: Digest, reason: &str) -> anyhow::Result<Receipt> {
        let id = self.house.site.new_id();
        let (input, request) = (input.hex(), self.request());
        let [input, request] =
            self.house.commits(&self.subject, &id, [("input", input.as_bytes()), ("request", request.as_bytes())])?;
        let body = ReadRefused {
            input: Some(input),
            reason: code_word(reason),
            guard: Sha256(Digest::of(&[])),
            model: Sha256(self.candidate.root),
            request,
        };
        self.record(id, vec![self.model()], body)
    }

    /// Something is about to be computed.
    pub(super) fn intent(&self, input: &Input) -> anyhow::Result<Receipt> {
        let id = self.house.site.new_id();
        let (digest, request) = (input.digest.hex(), self.request());
        let [patient, study, inputs, request] = self.house.commits(
            &self.subject,
            &id,
            [
                ("patient", input.patient.as_bytes()),
                ("study", input.study.as_bytes()),
                ("inputs", digest.as_bytes()),
                ("request", request.as_bytes()),
            ],
        )?;
        let body = ReadIntent {
            patient,
            study,
            inputs,
            modality: code_word(&input.modality),
            body_part: code_word(&input.body_part),
            n_images: input.images as u64,
            model: Sha256(self.candidate.root),
            preproc: Sha256(Digest::of(&serde_json::to_vec(&self.candidate.description.preparation)?)),
            runtime: Sha256(self.house.runtime),
            request,
            purpose: ReadPurpose::Research,
            priority: "routine".into(),
            deadline_ms: self.house.now_ms() + DEADLINE_MS,
        };
        self.record(id, vec![self.model()], body)
    }

    /// It was computed.
    pub(super) fn outcome(
        &self,
        intent: &Receipt,
        [input, prepared, output]: [Digest; 3],
        took: Duration,
    ) -> anyhow::Result<Receipt> {
        let id = self.house.site.new_id();
        let texts = [input, prepared, output].map(|digest| digest.hex());
        let [input, prepared, output] = self.house.commits(
            &self.subject,
            &id,
            [("input", texts[0].as_bytes()), ("prepared", texts[1].as_bytes()), ("output", texts[2].as_bytes())],
        )?;
        let done = Some((input, prepared, output));
        self.record(id, vec![intent.as_ref_to("intent")], self.body(OutcomeStatus::Ok, done, took, None))
    }

    /// It failed after its intent.
    pub(super) fn failed(&self, intent: &Receipt, took: Duration) -> anyhow::Result<Receipt> {
        let id = self.house.site.new_id();
        let body = self.body(OutcomeStatus::Failed, None, took, Some("inference"));
        self.record(id, vec![intent.as_ref_to("intent")], body)
    }

    fn body(
        &self,
        status: OutcomeStatus,
        done: Option<(Commit, Commit, Commit)>,
        took: Duration,
        error: Option<&str>,
    ) -> ReadOutcome {
        let (input, prepared, output) = done.map_or((None, None, None), |(a, b, c)| (Some(a), Some(b), Some(c)));
        ReadOutcome {
            status,
            input,
            prepared,
            output,
            saliency: None,
            report: None,
            saliency_method: None,
            model: Sha256(self.candidate.root),
            runtime: Sha256(self.house.runtime),
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            warnings: Vec::new(),
            error: error.map(code_word),
        }
    }
}
