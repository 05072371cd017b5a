//! What a reading writes into the log: one function an entry. Patient data enters as salted commitments only.
//! Errors: the vault or the log cannot be written.

use std::{collections::BTreeSet, time::Instant};

use vidimus_imaging::Instance;
use vidimus_log::{
    Actor, Body, Digest, Draft, EntryId, Receipt, Recorder as _, Ref,
    body::{Incident, OutcomeStatus, ReadIntent, ReadOutcome, ReadRefused},
    values::{Code, Commit, Sha256},
};
use vidimus_reader::{Accepted, IntentReceipt, Reading, ReleasedModel};
use vidimus_store::{Row, Subject};

use super::{
    Pipeline, Reason, Status, StudyReading, Timing,
    arrive::{Conflict, Unreadable},
    files::{self, FhirSource, Files, Pictures},
    holding::patient_key,
    study::{Study, copy},
};
use crate::{replay::Originals, site::code_word};

/// The reason of a reading whose network could not run.
pub(super) const INFERENCE: &str = "inference";
/// The log's reason for a read that failed before it began.
pub(super) const UNREADABLE: &str = "unreadable";
/// Codes of warnings that one outcome lists at most; the reading holds all of them.
const WARNINGS_MAX: usize = 64;
/// An intent that has no outcome after this time is an incident.
const DEADLINE_MS: u64 = 60_000;

fn intent_refs(model: &ReleasedModel) -> Vec<Ref> {
    vec![model.registered().as_ref_to("model"), model.decision().as_ref_to("decision")]
}

/// The codes of a reading's notes, each once.
fn warnings(reading: &Reading) -> Vec<Code> {
    let codes: BTreeSet<Code> = reading.quality.iter().map(|note| code_word(&note.code)).collect();
    codes.into_iter().take(WARNINGS_MAX).collect()
}

fn elapsed_us(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

impl Pipeline<'_> {
    /// What the program does by itself.
    pub(super) fn draft(&self, entry_id: EntryId, refs: Vec<Ref>, body: impl Into<Body>) -> Draft {
        let trace = self.house.trace().or_else(|| self.asked.trace.clone());
        Draft { entry_id, actor: Actor::system(), refs, body: body.into(), trace }
    }

    /// What somebody asked for.
    fn draft_asked(&self, entry_id: EntryId, refs: Vec<Ref>, body: impl Into<Body>) -> Draft {
        Draft { actor: self.asked.actor.clone(), ..self.draft(entry_id, refs, body) }
    }

    /// What was asked for, as the request's commitment covers it.
    fn request(&self) -> String {
        format!("{{\"purpose\":\"{}\",\"verb\":\"read\"}}", self.purpose.as_str())
    }

    /// `read_intent`, with the registry rows of the study's new films.
    pub(super) fn record_intent(
        &self,
        study: &mut Study,
        model: &ReleasedModel,
        accepted: &Accepted,
    ) -> anyhow::Result<Receipt> {
        let Some(first) = study.films.first() else { anyhow::bail!("a study without a film has no intent") };
        let (id, body) = self.intent(&study.subject, &first.film.instance, model, accepted)?;
        let rows = std::mem::take(&mut study.rows);
        Ok(self.house.site.record_with(self.draft_asked(id, intent_refs(model), body), rows)?)
    }

    fn intent(
        &self,
        subject: &Subject,
        first: &Instance,
        model: &ReleasedModel,
        accepted: &Accepted,
    ) -> anyhow::Result<(EntryId, ReadIntent)> {
        let id = self.house.site.new_id();
        let bundle = model.candidate().bundle();
        let (inputs, request) = (accepted.input_digest().hex(), self.request());
        let fields = [
            ("patient", first.patient.id.open().as_bytes()),
            ("study", first.study_instance_uid.open().as_bytes()),
            ("inputs", inputs.as_bytes()),
            ("request", request.as_bytes()),
        ];
        let [patient, study, inputs, request] = self.house.commits(subject, &id, fields)?;
        let body = ReadIntent {
            patient,
            study,
            inputs,
            modality: code_word(&first.modality),
            body_part: code_word(first.body_part.as_deref().unwrap_or_default()),
            n_images: accepted.images().len() as u64,
            model: Sha256(bundle.root()),
            preproc: Sha256(bundle.preparation_digest()),
            runtime: Sha256(self.house.runtime),
            request,
            purpose: self.purpose,
            priority: "routine".into(),
            deadline_ms: self.house.now_ms() + DEADLINE_MS,
        };
        Ok((id, body))
    }

    /// Reads again what was read before, as an intent and an outcome of purpose `replay`; nothing is released.
    pub(crate) fn again(
        &self,
        instances: &[Instance],
        accepted: &Accepted,
        model: &ReleasedModel,
    ) -> anyhow::Result<Reading> {
        let started = Instant::now();
        let Some(first) = instances.first() else { anyhow::bail!("the reading has no original") };
        let site = &self.house.site;
        let subject = self.house.subject(&patient_key(self.house, first))?;
        let (id, body) = self.intent(&subject, first, model, accepted)?;
        let intent = site.record(self.draft_asked(id, intent_refs(model), body))?;
        let permit = IntentReceipt::new(intent.clone(), model)?;
        let reading = match vidimus_reader::read(model, accepted, &permit) {
            Ok(reading) => reading,
            Err(error) => {
                self.record_failure(model.candidate().bundle().root(), &intent, OutcomeStatus::Failed, INFERENCE)?;
                return Err(error.into());
            }
        };
        let id = site.new_id();
        let commits = self.digest_commits(&subject, &id, &reading, None)?;
        let body = self.outcome(&reading, commits, elapsed_us(started));
        site.record(self.draft(id, vec![intent.as_ref_to("intent")], body))?;
        Ok(reading)
    }

    /// `read_outcome` with status ok, and the reading's row for replay.
    pub(super) fn record_outcome(
        &self,
        study: &mut Study,
        intent: &Receipt,
        reading: &Reading,
        source: &FhirSource<'_>,
        pictures: &Pictures,
    ) -> anyhow::Result<Receipt> {
        let id = self.house.site.new_id();
        // The Bundle names the pixels by the outcome's own commitment to them.
        let input = reading.digests.input.hex();
        let [commitment] = self.house.commits(&study.subject, &id, [("input", input.as_bytes())])?;
        for facts in &mut study.facts.instances {
            facts.commitment = Some(commitment.to_string());
        }
        let report = source.draft(&study.facts, crate::fhir::Result::Evaluated(reading), Some(pictures), &id);
        let commits = self.digest_commits(&study.subject, &id, reading, Some(&report))?;
        let body = self.outcome(reading, commits, elapsed_us(study.started));
        let row = self.reading_row(study, intent.entry_id, id, Status::Evaluated, reading.model.package_root)?;
        Ok(self.house.site.record_with(self.draft(id, vec![intent.as_ref_to("intent")], body), vec![row])?)
    }

    /// Commitments to a reading's digests, and to its report where one was made.
    fn digest_commits(
        &self,
        subject: &Subject,
        id: &EntryId,
        reading: &Reading,
        report: Option<&[u8]>,
    ) -> anyhow::Result<[Option<Commit>; 5]> {
        let digests = &reading.digests;
        let hex = [digests.input, digests.preprocessing, digests.output, digests.saliency].map(|digest| digest.hex());
        let names = ["input", "prepared", "output", "saliency"];
        let mut fields: Vec<(&str, &[u8])> = names.into_iter().zip(hex.iter().map(String::as_bytes)).collect();
        fields.extend(report.map(|report| ("report", report)));
        let mut commits = self.house.site.vault().commit_all(subject, id, &fields)?.into_iter();
        Ok(std::array::from_fn(|_| commits.next()))
    }

    /// The body of an outcome with status ok.
    fn outcome(
        &self,
        reading: &Reading,
        [input, prepared, output, saliency, report]: [Option<Commit>; 5],
        duration_us: u64,
    ) -> ReadOutcome {
        ReadOutcome {
            status: OutcomeStatus::Ok,
            input,
            prepared,
            output,
            saliency,
            report,
            saliency_method: Some(code_word(reading.saliency.method())),
            model: Sha256(reading.model.package_root),
            runtime: Sha256(self.house.runtime),
            duration_us,
            warnings: warnings(reading),
            error: None,
        }
    }

    fn reading_row(
        &self,
        study: &Study,
        intent: EntryId,
        outcome: EntryId,
        status: Status,
        model_root: Digest,
    ) -> anyhow::Result<Row> {
        let originals = Originals::new(&study.objects());
        let reading = self.house.site.vault().put(&study.subject, &serde_json::to_vec(&originals)?)?;
        Ok(Row::Reading { intent, outcome, status: status.as_str().into(), model_root, reading })
    }

    /// `read_outcome` of an inference that failed or was interrupted.
    pub(super) fn record_failure(
        &self,
        model: Digest,
        intent: &Receipt,
        status: OutcomeStatus,
        error: &str,
    ) -> anyhow::Result<Receipt> {
        let site = &self.house.site;
        let body = ReadOutcome {
            status,
            input: None,
            prepared: None,
            output: None,
            saliency: None,
            report: None,
            saliency_method: None,
            model: Sha256(model),
            runtime: Sha256(self.house.runtime),
            duration_us: 0,
            warnings: Vec::new(),
            error: Some(code_word(error)),
        };
        Ok(site.record(self.draft(site.new_id(), vec![intent.as_ref_to("intent")], body))?)
    }

    /// `read_refused`: no inference was made. A fault bears the reason `unreadable`, which is the log's word for a read
    /// that failed before it began; what failed stands in an incident beside it.
    pub(super) fn record_refusal(&self, study: &mut Study, reason: &str, status: Status) -> anyhow::Result<Receipt> {
        let site = &self.house.site;
        let id = site.new_id();
        let (input, request) = (study.input.hex(), self.request());
        let fields = [("input", input.as_bytes()), ("request", request.as_bytes())];
        let [input, request] = self.house.commits(&study.subject, &id, fields)?;
        let mut rows = std::mem::take(&mut study.rows);
        let logged = if status == Status::NotEvaluated { reason } else { UNREADABLE };
        let body = self.refusal_body(Some(input), logged, request);
        if status == Status::NotEvaluated {
            rows.push(self.reading_row(study, id, id, status, body.model.0)?);
        }
        let receipt = site.record_with(self.draft_asked(id, self.model_ref(), body), rows)?;
        if logged != reason {
            self.record_incident(
                reason,
                &receipt,
                "a study could not be read; the entry named by `detail` is its refusal",
            )?;
        }
        Ok(receipt)
    }

    /// `incident` beside the refusal that it explains.
    fn record_incident(&self, reason: &str, refusal: &Receipt, text: &str) -> anyhow::Result<()> {
        let site = &self.house.site;
        let body = Incident {
            code: code_word(reason),
            severity: "warning".into(),
            detail: Sha256(refusal.leaf),
            text: text.into(),
        };
        site.record(self.draft(site.new_id(), Vec::new(), body))?;
        Ok(())
    }

    fn model_ref(&self) -> Vec<Ref> {
        self.model.iter().map(|model| model.registered().as_ref_to("model")).collect()
    }

    fn refusal_body(&self, input: Option<Commit>, reason: &str, request: Commit) -> ReadRefused {
        // Without an admitted model there is no guard either: both digests are then those of nothing.
        let nothing = Digest::of(&[]);
        let bundle = self.model.as_ref().ok().map(|model| model.candidate().bundle());
        let guard = bundle.and_then(|bundle| bundle.digest(&bundle.package().guard).ok()).unwrap_or(nothing);
        let model = bundle.map_or(nothing, vidimus_reader::Bundle::root);
        ReadRefused { input, reason: code_word(reason), guard: Sha256(guard), model: Sha256(model), request }
    }

    /// A file that is no instance: `read_refused` with reason `unreadable`.
    pub(super) fn unreadable(&self, fault: Unreadable) -> anyhow::Result<StudyReading> {
        let site = &self.house.site;
        let id = site.new_id();
        let subject = site.vault().site()?;
        let [request] = self.house.commits(&subject, &id, [("request", self.request().as_bytes())])?;
        let body = self.refusal_body(None, UNREADABLE, request);
        let receipt = site.record(self.draft_asked(id, self.model_ref(), body))?;
        let files = self.out.map_or_else(Files::default, |out| files::write_receipt(out, &receipt));
        Ok(StudyReading {
            title: fault.name,
            study_uid: None,
            status: Status::Failed,
            reason: Some(Reason { code: UNREADABLE.into(), text: fault.why }),
            model: None,
            reading: None,
            input: None,
            receipt: Some(receipt),
            files,
            timing: Timing::default(),
            published: false,
        })
    }

    /// A film that contradicts what is known: the first is kept, this one is refused, both are in the log.
    pub(super) fn conflict(&self, conflict: Conflict) -> anyhow::Result<StudyReading> {
        let (reason, text) = (conflict.kind.code(), conflict.kind.text());
        let site = &self.house.site;
        let instance = &conflict.film.instance;
        let id = site.new_id();
        let patient = patient_key(self.house, instance);
        let (input, request) = (instance.bytes_digest.hex(), self.request());
        let fields = [("input", input.as_bytes()), ("request", request.as_bytes())];
        let [input, request] = self.house.commits(&self.house.subject(&patient)?, &id, fields)?;
        let body = self.refusal_body(Some(input), UNREADABLE, request);
        let receipt = site.record(self.draft_asked(id, self.model_ref(), body))?;
        self.record_incident(reason, &receipt, text)?;
        let files = self.out.map_or_else(Files::default, |out| files::write_receipt(out, &receipt));
        Ok(StudyReading {
            title: conflict.film.name,
            study_uid: Some(copy(&instance.study_instance_uid)),
            status: Status::Failed,
            reason: Some(Reason { code: reason.into(), text: text.into() }),
            model: None,
            reading: None,
            input: Some(instance.bytes_digest),
            receipt: Some(receipt),
            files,
            timing: Timing::default(),
            published: false,
        })
    }
}
