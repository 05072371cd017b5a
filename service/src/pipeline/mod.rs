//! One study, all the way: bytes, study, guard, intent, reading, outcome, released files.
//!
//! The order is the invariant: the intent is durable before inference, the outcome before anything leaves, and a
//! reading that leaves is committed to by a `finding_released` entry. A fault of one film or study is a result of its
//! own; a fault of the log or the vault ends the run.
//! Errors: those of the log and the vault; everything else is a [`StudyReading`].

mod arrive;
mod entries;
mod files;
mod held;
pub(crate) mod holding;
mod publish;
mod record;
mod result;
mod study;
mod view;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use vidimus_imaging::{Instance, import::ImportFacts};
use vidimus_log::{
    Actor, Receipt, RecordError,
    body::{OutcomeStatus, ReadPurpose},
};
use vidimus_reader::{
    Accepted, AdmissionError, Coding, IntentReceipt, ModelFacts, NotAccepted, Reading, Refusal, ReleasedModel, SetAside,
};
use vidimus_store::{SiteError, VaultError};

pub(crate) use arrive::{Group, gather};
pub(crate) use files::probe;
pub(crate) use record::Record;
pub(crate) use result::{Files, Observer, Reason, Status, StudyReading, Timing};
pub(crate) use view::{ViewError, pixels, rendered};

use crate::{fhir, site::House};
use arrive::Unreadable;
use files::{FhirSource, Pictures};
use publish::Handed;
use study::Study;

/// Who asked for a reading.
#[derive(Clone)]
pub(crate) struct Asked {
    /// As the log knows them.
    pub actor: Actor,
    /// W3C trace id of the request, 32 hexadecimal characters.
    pub trace: Option<String>,
}

impl Asked {
    /// On the command line the program speaks for itself.
    pub(crate) fn on_command_line(house: &House) -> Self {
        Self { actor: house.actor(), trace: None }
    }
}

/// What a run of readings needs.
pub(crate) struct Pipeline<'a> {
    house: &'a House,
    model: Result<&'a ReleasedModel, &'a AdmissionError>,
    out: Option<&'a Path>,
    purpose: ReadPurpose,
    asked: Asked,
    observer: Option<Arc<dyn Observer>>,
    /// The intent that has no outcome yet.
    open: Mutex<Option<Receipt>>,
}

/// Whether an error means that nothing more may be recorded: then a run of the command line ends, the service waits.
pub(crate) fn is_fatal(error: &anyhow::Error) -> bool {
    let of_entry = |error: &RecordError| {
        matches!(error, RecordError::Invalid(_) | RecordError::Refused { .. } | RecordError::Duplicate { .. })
    };
    match error.downcast_ref::<RecordError>() {
        Some(error) => !of_entry(error),
        None => error.is::<SiteError>() || error.is::<VaultError>(),
    }
}

/// Whether an error passes without the study: log or vault cannot be written or asked now. A document of the study that
/// is gone or does not open stays so.
pub(crate) fn is_passing(error: &anyhow::Error) -> bool {
    let of_study = |error: &VaultError| {
        matches!(error, VaultError::Erased | VaultError::Missing | VaultError::Tampered { .. } | VaultError::Conflict)
    };
    is_fatal(error) && !error.downcast_ref().is_some_and(of_study)
}

impl<'a> Pipeline<'a> {
    /// Reads at this site with a model, or says why none is admitted, for whoever asked. Nothing is written outside of
    /// the site.
    pub(crate) const fn new(
        house: &'a House,
        model: Result<&'a ReleasedModel, &'a AdmissionError>,
        purpose: ReadPurpose,
        asked: Asked,
    ) -> Self {
        Self { house, model, out: None, purpose, asked, observer: None, open: Mutex::new(None) }
    }

    /// The same, and writes the files of each reading into a folder.
    pub(crate) fn into_folder(self, out: &'a Path) -> Self {
        Self { out: Some(out), ..self }
    }

    /// The same, and tells an observer of every stage.
    pub(crate) fn observed(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Why a model of this deployment reads.
    pub(crate) fn purpose_of(model: &Result<ReleasedModel, AdmissionError>) -> ReadPurpose {
        match model {
            Ok(model) if model.deployment().mode() == "demonstration" => ReadPurpose::Demonstration,
            _ => ReadPurpose::Clinical,
        }
    }
}

impl Pipeline<'_> {
    /// Reads one study under one span. Films that contradict what is known (another patient, other pixels under a known
    /// UID) and films that cannot be read are results of their own.
    pub(crate) fn read(&self, group: Group, facts: &ImportFacts) -> anyhow::Result<Vec<StudyReading>> {
        let span = tracing::info_span!(target: "vidimus", "read", vidimus.purpose = self.purpose.as_str());
        let results = span.in_scope(|| self.read_group(group, facts))?;
        results.iter().for_each(StudyReading::tell);
        Ok(results)
    }

    fn read_group(&self, group: Group, facts: &ImportFacts) -> anyhow::Result<Vec<StudyReading>> {
        let mut timing = Timing::observed(self.observer.clone());
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
        self.keep_open(Some(intent.clone()));
        let permit = IntentReceipt::new(intent.clone(), model)?;
        let read = timing.step("infer_explain", || vidimus_reader::read(model, &accepted, &permit));
        let concluded = match read {
            Ok(reading) => self.conclude(&mut study, &accepted, &intent, reading, &mut timing),
            Err(error) => Err(error.into()),
        };
        results.push(match concluded {
            Ok(concluded) => {
                self.keep_open(None);
                self.hand_out(study, model, &accepted, concluded, timing)?
            }
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) => {
                let receipt =
                    self.record_failure(self.model_root(), &intent, OutcomeStatus::Failed, entries::INFERENCE)?;
                self.keep_open(None);
                let reason = Reason { code: entries::INFERENCE.into(), text: format!("{error:#}") };
                self.hand_out_failure(&study, receipt, reason, timing)?
            }
        });
        Ok(())
    }

    /// Remembers the intent that has no outcome yet.
    fn keep_open(&self, intent: Option<Receipt>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = intent;
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
        let (issued, about) = (self.house.now_text(), self.about());
        let source = self.source(Some(&reading.model), &about, &issued);
        let outcome = timing.step("outcome", || self.record_outcome(study, intent, &reading, &source, &pictures))?;
        Ok(Concluded { reading, pictures, issued, outcome })
    }

    /// Hands a concluded reading out. Files that cannot be written are a fault of this study: its outcome stands.
    fn hand_out(
        &self,
        study: Study,
        model: &ReleasedModel,
        accepted: &Accepted,
        concluded: Concluded,
        timing: Timing,
    ) -> anyhow::Result<StudyReading> {
        let Concluded { reading, pictures, issued, outcome } = concluded;
        let (facts, about) = (model.facts(), self.about());
        let fhir = self.source(Some(&facts), &about, &issued).released(
            &study.facts,
            fhir::Result::Evaluated(&reading),
            Some(&pictures),
            &outcome,
        )?;
        let mut result = Self::result(&study, Status::Evaluated, None, outcome.clone(), timing);
        result.model = Some(facts);
        result.reading = Some(reading);
        let handed = Handed { fhir: &fhir, pictures: Some(&pictures), accepted: Some(accepted) };
        match self.publish(&study, &outcome, &mut result, &handed) {
            Ok(()) => Ok(result),
            Err(error) if is_fatal(&error) => Err(error),
            Err(error) => Ok(Self::not_handed_out(&study, "reading", outcome, result.timing, &error)),
        }
    }

    /// What has an outcome or a refusal, and could not be handed out.
    fn not_handed_out(
        study: &Study,
        what: &str,
        receipt: Receipt,
        timing: Timing,
        error: &anyhow::Error,
    ) -> StudyReading {
        let text = format!("the {what} is entry {} of the log, and was not handed out: {error:#}", receipt.index);
        let reason = Reason { code: "write".into(), text };
        Self::result(study, Status::Failed, Some(reason), receipt, timing)
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
            NotAccepted::Broken(error) => (entries::INFERENCE, format!("the network could not run: {error}")),
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
        let (issued, facts, about) = (self.house.now_text(), model.facts(), self.about());
        let source = self.source(Some(&facts), &about, &issued);
        let fhir = source.released(&study.facts, fhir::Result::NotEvaluated(refusal), None, &receipt)?;
        let reason = Reason { code: code.into(), text: refusal.text.clone() };
        let mut result = Self::result(&study, Status::NotEvaluated, Some(reason), receipt.clone(), timing);
        result.model = Some(facts);
        let handed = Handed { fhir: &fhir, pictures: None, accepted: None };
        match self.publish(&study, &receipt, &mut result, &handed) {
            Ok(()) => Ok(result),
            Err(error) if is_fatal(&error) => Err(error),
            Err(error) => Ok(Self::not_handed_out(&study, "refusal", receipt, result.timing, &error)),
        }
    }

    fn failed(&self, mut study: Study, reason: Reason, mut timing: Timing) -> anyhow::Result<StudyReading> {
        let receipt = timing.step("outcome", || self.record_refusal(&mut study, &reason.code, Status::Failed))?;
        self.hand_out_failure(&study, receipt, reason, timing)
    }

    /// Hands out that a study failed, and why.
    fn hand_out_failure(
        &self,
        study: &Study,
        receipt: Receipt,
        reason: Reason,
        timing: Timing,
    ) -> anyhow::Result<StudyReading> {
        let (issued, about) = (self.house.now_text(), self.about());
        let facts = self.model.as_ref().ok().map(|model| model.facts());
        let failure = fhir::Result::Failed { code: &reason.code, text: &reason.text };
        let source = self.source(facts.as_ref(), &about, &issued);
        let fhir = source.released(&study.facts, failure, None, &receipt)?;
        let mut result = Self::result(study, Status::Failed, Some(reason), receipt.clone(), timing);
        result.model = facts;
        match self.publish(study, &receipt, &mut result, &Handed { fhir: &fhir, pictures: None, accepted: None }) {
            Err(error) if is_fatal(&error) => Err(error),
            // What cannot be written changes nothing: the study has failed, and its receipt stands in the log.
            Ok(()) | Err(_) => Ok(result),
        }
    }

    fn source<'a>(&'a self, model: Option<&'a ModelFacts>, about: &'a Coding, issued: &'a str) -> FhirSource<'a> {
        FhirSource { house: self.house, model, about, issued, requester: &self.asked.actor.id }
    }

    /// The finding that is asked for; without a model, the examination itself.
    fn about(&self) -> Coding {
        let package = self.model.as_ref().ok().map(|model| model.candidate().bundle().package());
        let finding = package.and_then(|package| package.findings.first());
        finding.map_or_else(|| self.house.terms.examination(), |finding| finding.code.clone())
    }

    fn result(study: &Study, status: Status, reason: Option<Reason>, receipt: Receipt, timing: Timing) -> StudyReading {
        StudyReading {
            title: study.title.clone(),
            study_uid: Some(study::copy(&study.facts.study_uid)),
            status,
            reason,
            model: None,
            reading: None,
            input: Some(study.input),
            receipt: Some(receipt),
            files: Files::default(),
            timing,
            published: false,
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
