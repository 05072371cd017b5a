//! One study, all the way: bytes, study, guard, intent, reading, outcome, released files.
//!
//! The order is the invariant: the intent is durable before inference, the outcome before anything leaves, and a
//! reading that leaves is committed to by a `finding_released` entry. A fault of one film or study is a result of its
//! own; a fault of the log or the vault ends the run.
//! Errors: those of the log and the vault; everything else is a [`StudyReading`].

mod arrive;
mod entries;
mod files;
pub(crate) mod holding;
mod result;

use std::path::Path;

use vidimus_imaging::{Instance, import::ImportFacts};
use vidimus_log::{Receipt, RecordError, body::ReadPurpose};
use vidimus_reader::{
    Accepted, AdmissionError, Coding, IntentReceipt, NotAccepted, Reading, Refusal, ReleasedModel, SetAside,
};
use vidimus_store::{SiteError, VaultError};

pub(crate) use arrive::{Group, gather};
pub(crate) use files::probe;
pub(crate) use result::{Files, Reason, Status, StudyReading, Timing};

use crate::{fhir, site::House};
use arrive::Unreadable;
use entries::Study;
use files::{FhirSource, Pictures};

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

/// Whether an error means that nothing more may be recorded: then the run ends.
fn is_fatal(error: &anyhow::Error) -> bool {
    let of_entry = |error: &RecordError| {
        matches!(error, RecordError::Invalid(_) | RecordError::Refused { .. } | RecordError::Duplicate { .. })
    };
    match error.downcast_ref::<RecordError>() {
        Some(error) => !of_entry(error),
        None => error.is::<SiteError>() || error.is::<VaultError>(),
    }
}

impl Pipeline<'_> {
    /// Reads one study under one span. Films that contradict what is known (another patient, other pixels under a known
    /// UID) and films that cannot be read are results of their own.
    pub(crate) fn read(&self, group: Group, facts: &ImportFacts) -> anyhow::Result<Vec<StudyReading>> {
        let span = tracing::info_span!(target: "vidimus", "read", vidimus.purpose = self.purpose.as_str());
        let results = span.in_scope(|| self.read_group(group, facts))?;
        for result in &results {
            let (reason, index) = (result.reason.as_ref(), result.receipt.as_ref().map(|receipt| receipt.index));
            tracing::info!(
                target: "vidimus",
                outcome = result.status.as_str(),
                reason = reason.map(|reason| reason.code.as_str()),
                index,
                "study read"
            );
        }
        Ok(results)
    }

    fn read_group(&self, group: Group, facts: &ImportFacts) -> anyhow::Result<Vec<StudyReading>> {
        let mut timing = Timing::default();
        let (films, faults) = timing.step("decode", || group.open(facts));
        let mut results = Vec::new();
        for fault in faults {
            results.push(self.unreadable(fault)?);
        }
        let Some(mut arrival) = timing.step("arrive", || arrive::arrive(self.house, films))? else {
            return Ok(results);
        };
        for conflict in std::mem::take(&mut arrival.conflicts) {
            results.push(self.conflict(conflict)?);
        }
        if let Some(study) = Study::new(self.house, arrival)? {
            self.study(study, timing, &mut results)?;
        }
        Ok(results)
    }

    /// Guard, intent, reading, outcome, release.
    fn study(&self, mut study: Study, mut timing: Timing, results: &mut Vec<StudyReading>) -> anyhow::Result<()> {
        let model = match self.model {
            Ok(model) => model,
            Err(error) => {
                let reason = Reason { code: "model-not-admitted".into(), text: error.to_string() };
                results.push(self.failed(study, reason, timing)?);
                return Ok(());
            }
        };
        let instances: Vec<&Instance> = study.films.iter().map(|kept| &kept.film.instance).collect();
        let accepted = match timing.step("guard", || model.candidate().accept(&instances)) {
            Ok(accepted) => accepted,
            Err(reason) => {
                results.push(self.not_accepted(study, model, reason, timing)?);
                return Ok(());
            }
        };
        for fault in faults(&study, accepted.set_aside()) {
            results.push(self.unreadable(fault)?);
        }
        let intent = timing.step("intent", || self.record_intent(&mut study, model, &accepted))?;
        let permit = IntentReceipt::new(intent.clone(), model)?;
        let read = timing.step("infer_explain", || vidimus_reader::read(model, &accepted, &permit));
        let concluded = match read {
            Ok(reading) => self.conclude(&mut study, &accepted, &intent, reading, &mut timing),
            Err(error) => Err(error.into()),
        };
        results.push(match concluded {
            Ok(concluded) => self.hand_out(study, model, concluded, timing)?,
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) => {
                let receipt = self.record_failure(model, &intent)?;
                let reason = Reason { code: "inference".into(), text: format!("{error:#}") };
                self.result(study, Status::Failed, Some(reason), receipt, timing)
            }
        });
        Ok(())
    }

    /// Draws the explanation and makes the outcome durable.
    fn conclude(
        &self,
        study: &mut Study,
        accepted: &Accepted,
        intent: &Receipt,
        reading: Reading,
        timing: &mut Timing,
    ) -> anyhow::Result<Concluded> {
        let display = &accepted.images()[reading.image].display;
        let pictures = timing.step("draw", || Pictures::draw(display, &reading))?;
        let issued = self.house.now_text();
        let about = self.about();
        let source = FhirSource { house: self.house, model: Some(&reading.model), about: &about, issued: &issued };
        let outcome = timing.step("outcome", || self.record_outcome(study, intent, &reading, &source, &pictures))?;
        Ok(Concluded { reading, pictures, issued, outcome })
    }

    /// Hands a concluded reading out. Files that cannot be written are a fault of this study: its outcome stands.
    fn hand_out(
        &self,
        study: Study,
        model: &ReleasedModel,
        concluded: Concluded,
        mut timing: Timing,
    ) -> anyhow::Result<StudyReading> {
        let Concluded { reading, pictures, issued, outcome } = concluded;
        let facts = model.facts();
        let about = self.about();
        let source = FhirSource { house: self.house, model: Some(&facts), about: &about, issued: &issued };
        let fhir = source.released(&study.facts, fhir::Result::Evaluated(&reading), Some(&pictures), &outcome)?;
        let prepared = timing.step("write", || files::prepare(self.out, &outcome, &fhir, Some(&pictures)));
        let published = prepared.and_then(|prepared| {
            timing.step("release", || self.record_release(&study, &outcome, &fhir))?;
            prepared.publish()
        });
        match published {
            Ok(files) => {
                let mut result = self.result(study, Status::Evaluated, None, outcome, timing);
                result.model = Some(facts);
                result.reading = Some(reading);
                result.files = files;
                Ok(result)
            }
            Err(error) if is_fatal(&error) => Err(error),
            Err(error) => {
                let text =
                    format!("the reading is entry {} of the log, and was not handed out: {error:#}", outcome.index);
                Ok(self.result(study, Status::Failed, Some(Reason { code: "write".into(), text }), outcome, timing))
            }
        }
    }

    /// A study that the guard did not let through.
    fn not_accepted(
        &self,
        study: Study,
        model: &ReleasedModel,
        reason: NotAccepted,
        timing: Timing,
    ) -> anyhow::Result<StudyReading> {
        let (code, text) = match reason {
            NotAccepted::Refused(refusal) => return self.refused(study, model, &refusal, timing),
            NotAccepted::Unreadable(error) => ("unreadable", error.to_string()),
            NotAccepted::Broken(error) => ("inference", format!("the network could not run: {error}")),
        };
        self.failed(study, Reason { code: code.into(), text }, timing)
    }

    fn refused(
        &self,
        mut study: Study,
        model: &ReleasedModel,
        refusal: &Refusal,
        mut timing: Timing,
    ) -> anyhow::Result<StudyReading> {
        let code = refusal.code.as_str();
        let receipt = timing.step("outcome", || self.record_refusal(&mut study, code, Status::NotEvaluated))?;
        let (issued, facts) = (self.house.now_text(), model.facts());
        let about = self.about();
        let source = FhirSource { house: self.house, model: Some(&facts), about: &about, issued: &issued };
        let fhir = source.released(&study.facts, fhir::Result::NotEvaluated(refusal), None, &receipt)?;
        let prepared = timing.step("write", || files::prepare(self.out, &receipt, &fhir, None));
        match prepared.and_then(files::Prepared::publish) {
            Ok(files) => {
                let reason = Reason { code: code.into(), text: refusal.text.clone() };
                let mut result = self.result(study, Status::NotEvaluated, Some(reason), receipt, timing);
                result.model = Some(facts);
                result.files = files;
                Ok(result)
            }
            Err(error) => {
                let text =
                    format!("the refusal is entry {} of the log, and was not handed out: {error:#}", receipt.index);
                Ok(self.result(study, Status::Failed, Some(Reason { code: "write".into(), text }), receipt, timing))
            }
        }
    }

    fn failed(&self, mut study: Study, reason: Reason, mut timing: Timing) -> anyhow::Result<StudyReading> {
        let receipt = timing.step("outcome", || self.record_refusal(&mut study, &reason.code, Status::Failed))?;
        let (issued, about) = (self.house.now_text(), self.about());
        let facts = self.model.as_ref().ok().map(|model| model.facts());
        let source = FhirSource { house: self.house, model: facts.as_ref(), about: &about, issued: &issued };
        let failure = fhir::Result::Failed { code: &reason.code, text: &reason.text };
        let fhir = source.released(&study.facts, failure, None, &receipt)?;
        let prepared = timing.step("write", || files::prepare(self.out, &receipt, &fhir, None));
        // What cannot be written changes nothing: the study has failed, and its receipt stands in the log.
        let files = prepared.and_then(files::Prepared::publish).unwrap_or_default();
        let mut result = self.result(study, Status::Failed, Some(reason), receipt, timing);
        result.model = facts;
        result.files = files;
        Ok(result)
    }

    /// The finding that is asked for; without a model, the examination itself.
    fn about(&self) -> Coding {
        let package = self.model.as_ref().ok().map(|model| model.candidate().bundle().package());
        let finding = package.and_then(|package| package.findings.first());
        finding.map_or_else(|| self.house.terms.examination(), |finding| finding.code.clone())
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

/// A reading whose outcome is durable.
struct Concluded {
    reading: Reading,
    pictures: Pictures,
    issued: String,
    outcome: Receipt,
}

/// The films of an accepted study that could not be read: each a result of its own.
fn faults(study: &Study, set_aside: &[SetAside]) -> Vec<Unreadable> {
    let fault = |aside: &SetAside| {
        let why = match &aside.reason {
            NotAccepted::Refused(_) => return None,
            NotAccepted::Unreadable(error) => error.to_string(),
            NotAccepted::Broken(error) => format!("the network could not run: {error}"),
        };
        Some(Unreadable { name: study.films.get(aside.instance)?.film.name.clone(), why })
    };
    set_aside.iter().filter_map(fault).collect()
}
