//! One study, all the way: bytes, study, guard, intent, reading, outcome, released files.
//!
//! The order is the invariant: the intent is durable before inference, the outcome before anything leaves, and what
//! leaves is committed to by a `finding_released` entry. A fault of one study is that study's result; a fault of the
//! log ends the run.
//! Errors: [`vidimus_store::SiteError`] where the log or the vault cannot be written; everything else is a
//! [`StudyReading`].

mod arrive;
mod entries;
mod files;
mod result;

use std::{path::Path, time::Instant};

use vidimus_imaging::Instance;
use vidimus_log::{Receipt, body::ReadPurpose};
use vidimus_reader::{Accepted, AdmissionError, IntentReceipt, NotAccepted, Reading, Refusal, ReleasedModel};

pub(crate) use arrive::{Group, gather};
pub(crate) use result::{Files, Reason, Status, StudyReading, Timing};

use crate::{fhir, site::House};
use entries::Study;
use files::FhirSource;

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
    /// Reads one study. Films that contradict what is known (another patient, other pixels under a known UID) are
    /// results of their own.
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
        let mut arrival = timing.step("arrive", || arrive::arrive(self.house, films))?;
        for conflict in std::mem::take(&mut arrival.conflicts) {
            results.push(self.conflict(conflict)?);
        }
        if let Some(study) = Study::new(self.house, arrival)? {
            results.push(self.study(study, timing)?);
        }
        Ok(results)
    }

    /// Guard, intent, reading, outcome, release.
    fn study(&self, mut study: Study, mut timing: Timing) -> anyhow::Result<StudyReading> {
        let started = Instant::now();
        let model = match self.model {
            Ok(model) => model,
            Err(error) => {
                let reason = Reason { code: "model-not-admitted".into(), text: error.to_string() };
                return self.failed(study, reason, timing);
            }
        };
        let instances: Vec<&Instance> = study.films.iter().map(|kept| &kept.film.instance).collect();
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
        let intent = timing.step("intent", || self.record_intent(&mut study, model, &accepted))?;
        let permit = IntentReceipt::new(intent.clone(), model)?;
        match timing.step("infer_explain", || vidimus_reader::read(model, &accepted, &permit)) {
            Ok(reading) => self.evaluated(study, &accepted, &intent, reading, started, timing),
            Err(error) => {
                let receipt = self.record_failure(model, &intent)?;
                let reason = Reason { code: "inference".into(), text: error.to_string() };
                Ok(self.result(study, Status::Failed, Some(reason), receipt, timing))
            }
        }
    }

    fn evaluated(
        &self,
        mut study: Study,
        accepted: &Accepted,
        intent: &Receipt,
        reading: Reading,
        started: Instant,
        mut timing: Timing,
    ) -> anyhow::Result<StudyReading> {
        let display = &accepted.images()[reading.image].display;
        let pictures = timing.step("draw", || files::Pictures::draw(display, &reading))?;
        let issued = self.house.now_text();
        let source = FhirSource { house: self.house, model: &reading.model, issued: &issued, started };
        let outcome =
            timing.step("outcome", || self.record_outcome(&mut study, intent, &reading, &source, &pictures))?;
        let result = fhir::Result::Evaluated(&reading);
        let fhir = source.released(&study.facts, result, Some(&pictures), &outcome)?;
        timing.step("release", || self.record_release(&study, &outcome, &fhir))?;
        let files = timing.step("write", || files::write(self.out, &outcome, &fhir, Some(&pictures)))?;
        let mut result = self.result(study, Status::Evaluated, None, outcome, timing);
        result.model = Some(reading.model.clone());
        result.reading = Some(reading);
        result.files = files;
        Ok(result)
    }

    fn refused(
        &self,
        mut study: Study,
        model: &ReleasedModel,
        refusal: &Refusal,
        mut timing: Timing,
    ) -> anyhow::Result<StudyReading> {
        let started = Instant::now();
        let code = refusal.code.as_str();
        let receipt = timing.step("outcome", || self.record_refusal(&mut study, code, Status::NotEvaluated))?;
        let (issued, facts) = (self.house.now_text(), model.facts());
        let source = FhirSource { house: self.house, model: &facts, issued: &issued, started };
        let fhir = source.released(&study.facts, fhir::Result::NotEvaluated(refusal), None, &receipt)?;
        let files = timing.step("write", || files::write(self.out, &receipt, &fhir, None))?;
        let reason = Reason { code: code.into(), text: refusal.text.clone() };
        let mut result = self.result(study, Status::NotEvaluated, Some(reason), receipt, timing);
        result.model = Some(facts);
        result.files = files;
        Ok(result)
    }

    fn failed(&self, mut study: Study, reason: Reason, mut timing: Timing) -> anyhow::Result<StudyReading> {
        let receipt = timing.step("outcome", || self.record_refusal(&mut study, &reason.code, Status::Failed))?;
        let files = Files { receipt: Some(files::write_receipt(self.out, &receipt)?), ..Files::default() };
        let mut result = self.result(study, Status::Failed, Some(reason), receipt, timing);
        result.files = files;
        Ok(result)
    }

    fn result(
        &self,
        study: Study,
        status: Status,
        reason: Option<Reason>,
        receipt: Receipt,
        timing: Timing,
    ) -> StudyReading {
        StudyReading {
            title: study.title,
            study_uid: Some(study.facts.study_uid),
            status,
            reason,
            model: None,
            reading: None,
            input: Some(study.input),
            receipt: Some(receipt),
            files: Files::default(),
            timing,
        }
    }
}
