//! One study, all the way: bytes, study, guard, intent, reading, outcome, released files.
//!
//! The order is the invariant: the intent is durable before inference, the outcome before anything leaves, and what leaves is committed to
//! by a `finding_released` entry. A fault of one study is that study's result; a fault of the log ends the run.
//! Errors: [`vidimus_store::SiteError`] where the log or the vault cannot be written; everything else is a [`StudyReading`].

mod arrive;
mod entries;
mod files;
mod result;

use std::path::Path;

use vidimus_imaging::Instance;
use vidimus_log::{Phi, body::ReadPurpose};
use vidimus_reader::{Accepted, AdmissionError, IntentReceipt, NotAccepted, Reading, Refusal, ReleasedModel};

pub(crate) use arrive::{Film, Group, gather};
pub(crate) use result::{Files, Reason, Status, StudyReading, Timing};

use crate::site::House;
use entries::Study;

/// What a run of readings needs.
pub(crate) struct Pipeline<'a> {
    /// The site.
    pub house: &'a House,
    /// The model, or why none is admitted.
    pub model: Result<&'a ReleasedModel, &'a AdmissionError>,
    /// Where readings are written.
    pub out: &'a Path,
    /// Why it is read.
    pub purpose: ReadPurpose,
}

impl Pipeline<'_> {
    /// Reads one study. Films that contradict what is known (another patient, other pixels under a known UID) are results of their own.
    pub(crate) fn read(&self, group: Group) -> anyhow::Result<Vec<StudyReading>> {
        let mut timing = Timing::default();
        let (films, faults) = timing.step("decode", || group.open());
        let mut results = Vec::new();
        for fault in faults {
            results.push(self.unreadable(fault)?);
        }
        if films.is_empty() {
            return Ok(results);
        }
        let arrival = timing.step("arrive", || arrive::arrive(self.house, films))?;
        for conflict in arrival.conflicts {
            results.push(self.conflict(conflict)?);
        }
        if let Some(study) = Study::new(self.house, arrival.films, arrival.rows) {
            results.push(self.study(study, timing)?);
        }
        Ok(results)
    }

    /// Guard, intent, reading, outcome, release.
    fn study(&self, study: Study, mut timing: Timing) -> anyhow::Result<StudyReading> {
        let model = match self.model {
            Ok(model) => model,
            Err(error) => {
                let reason = Reason { code: "model-not-admitted".into(), text: error.to_string() };
                return self.failed(study, reason, timing);
            }
        };
        let instances: Vec<&Instance> = study.films.iter().map(|film| &film.instance).collect();
        let accepted = match timing.step("guard", || model.candidate().accept(&instances)) {
            Ok(accepted) => accepted,
            Err(NotAccepted::Refused(refusal)) => return self.refused(study, model, &refusal, timing),
            Err(NotAccepted::Unreadable(error)) => {
                let reason = Reason { code: "unreadable".into(), text: error.to_string() };
                return self.failed(study, reason, timing);
            }
            Err(NotAccepted::Broken(error)) => {
                let reason = Reason { code: "inference".into(), text: format!("the network could not run: {error}") };
                return self.failed(study, reason, timing);
            }
        };
        let intent = timing.step("intent", || self.record_intent(&study, model, &accepted))?;
        let permit = IntentReceipt::new(intent.clone(), model)?;
        match timing.step("infer_explain", || vidimus_reader::read(model, &accepted, &permit)) {
            Ok(reading) => self.evaluated(study, model, &accepted, &intent, reading, timing),
            Err(error) => {
                let receipt = self.record_failure(&study, model, &intent)?;
                let reason = Reason { code: "inference".into(), text: error.to_string() };
                Ok(self.result(study, Status::Failed, Some(reason), Some(receipt), timing))
            }
        }
    }

    fn evaluated(
        &self,
        study: Study,
        model: &ReleasedModel,
        accepted: &Accepted,
        intent: &vidimus_log::Receipt,
        reading: Reading,
        mut timing: Timing,
    ) -> anyhow::Result<StudyReading> {
        let display = &accepted.images()[reading.image].display;
        let pictures = timing.step("draw", || files::Pictures::draw(display, &reading.saliency))?;
        let issued = self.house.now_text();
        let source = files::FhirSource { house: self.house, facts: model.facts(), study: &study.facts, issued: &issued };
        let outcome = timing.step("outcome", || {
            self.record_outcome(&study, model, intent, &reading, &source, &pictures)
        })?;
        let fhir = source.released(crate::fhir::Result::Evaluated(&reading), Some(&pictures), &outcome);
        timing.step("release", || self.record_release(&study, &outcome, &fhir))?;
        let files = timing.step("write", || files::write(self.out, &outcome, &fhir, Some(&pictures)))?;
        let mut result = self.result(study, Status::Evaluated, None, Some(outcome), timing);
        result.model = Some(model.facts());
        result.reading = Some(reading);
        result.files = files;
        Ok(result)
    }

    fn refused(
        &self,
        study: Study,
        model: &ReleasedModel,
        refusal: &Refusal,
        mut timing: Timing,
    ) -> anyhow::Result<StudyReading> {
        let receipt = timing.step("outcome", || self.record_refusal(&study, refusal.code.as_str(), true))?;
        let issued = self.house.now_text();
        let source = files::FhirSource { house: self.house, facts: model.facts(), study: &study.facts, issued: &issued };
        let fhir = source.released(crate::fhir::Result::NotEvaluated(refusal), None, &receipt);
        let files = timing.step("write", || files::write(self.out, &receipt, &fhir, None))?;
        let reason = Reason { code: refusal.code.to_string(), text: refusal.text.clone() };
        let mut result = self.result(study, Status::NotEvaluated, Some(reason), Some(receipt), timing);
        result.model = Some(model.facts());
        result.files = files;
        Ok(result)
    }

    fn failed(&self, study: Study, reason: Reason, mut timing: Timing) -> anyhow::Result<StudyReading> {
        let receipt = timing.step("outcome", || self.record_refusal(&study, &reason.code, false))?;
        let files = Files { receipt: Some(files::write_receipt(self.out, &receipt)?), ..Files::default() };
        let mut result = self.result(study, Status::Failed, Some(reason), Some(receipt), timing);
        result.files = files;
        Ok(result)
    }

    fn result(
        &self,
        study: Study,
        status: Status,
        reason: Option<Reason>,
        receipt: Option<vidimus_log::Receipt>,
        timing: Timing,
    ) -> StudyReading {
        StudyReading {
            title: study.title,
            study_uid: Some(Phi::new(study.facts.study_uid.open().clone())),
            status,
            reason,
            model: None,
            reading: None,
            input: Some(study.input),
            receipt,
            files: Files::default(),
            timing,
        }
    }
}
