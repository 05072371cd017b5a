//! What a reading writes into the log: one function an entry. Patient data enters as salted commitments only.
//! Errors: the vault or the log cannot be written.

use vidimus_log::{
    Body, Digest, Draft, EntryId, Phi, Receipt, Recorder as _,
    body::{FindingReleased, Incident, OutcomeStatus, ReadIntent, ReadOutcome, ReadRefused},
    values::{Code, Commit, Sha256, is_code},
};
use vidimus_reader::{Accepted, Reading, ReleasedModel};
use vidimus_store::{ReadingRow, Row, Subject};

use super::{
    Pipeline, Reason, Status, StudyReading, Timing,
    arrive::{Conflict, ConflictKind, Film, Unreadable},
    files::{self, FhirSource, Pictures},
    result::Files,
};
use crate::{
    fhir::{InstanceFacts, StudyFacts},
    replay::ReplayFacts,
    site::House,
};

/// An intent that has no outcome after this time is an incident.
const DEADLINE_MS: u64 = 60_000;

/// A study that may be read: its films, what FHIR says of it, and the registry rows that its first entry carries.
pub(super) struct Study {
    pub title: String,
    pub films: Vec<Film>,
    pub facts: StudyFacts,
    pub input: Digest,
    pub subject: Subject,
    rows: Vec<Row>,
}

impl Study {
    /// None without a film.
    pub(super) fn new(house: &House, films: Vec<Film>, rows: Vec<Row>) -> anyhow::Result<Option<Self>> {
        let Some(first) = films.first() else { return Ok(None) };
        let instance = &first.instance;
        let patient = house.site.keyed("patient", instance.patient.id.open().as_bytes());
        let copy = |text: &Phi<String>| Phi::new(text.open().clone());
        let facts = StudyFacts {
            patient_id: copy(&instance.patient.id),
            patient_name: copy(&instance.patient.name),
            birth_date: instance.patient.birth_date.clone(),
            sex: instance.patient.sex.clone(),
            study_uid: copy(&instance.study_instance_uid),
            accession: instance.accession_number.clone(),
            study_date: instance.study_date.clone(),
            instances: films
                .iter()
                .map(|film| InstanceFacts {
                    uid: copy(&film.instance.sop_instance_uid),
                    series_uid: copy(&film.instance.series_instance_uid),
                    sop_class: film.instance.sop_class_uid.clone(),
                    modality: film.instance.modality.clone().unwrap_or_default(),
                    commitment: String::new(),
                })
                .collect(),
        };
        let input = Digest::of_parts(films.iter().map(|film| film.instance.bytes_digest.as_bytes().as_slice()));
        let names: Vec<&str> = films.iter().map(|film| film.name.as_str()).collect();
        let title = match names.as_slice() {
            [one] => (*one).to_owned(),
            [first, ..] => format!("{first} and {} more", names.len() - 1),
            [] => String::new(),
        };
        Ok(Some(Self { title, facts, input, subject: house.subject(&patient)?, films, rows }))
    }
}

/// A word for a `code` field: DICOM's code strings in lower case.
fn code(text: Option<&str>) -> Code {
    let word: String = text.unwrap_or_default().to_ascii_lowercase().replace(' ', "_");
    if is_code(&word) { word.into() } else { "unknown".into() }
}

impl Pipeline<'_> {
    fn draft(&self, entry_id: EntryId, refs: Vec<vidimus_log::Ref>, body: impl Into<Body>) -> Draft {
        Draft { entry_id, actor: self.house.actor(), refs, body: body.into(), trace: self.house.trace() }
    }

    fn commit(&self, subject: &Subject, entry: &EntryId, field: &str, value: &[u8]) -> anyhow::Result<Commit> {
        Ok(self.house.site.vault().commit(subject, entry, field, value)?)
    }

    /// `read_intent`, with the registry rows of the study's new films.
    pub(super) fn record_intent(
        &self,
        study: &mut Study,
        model: &ReleasedModel,
        accepted: &Accepted,
    ) -> anyhow::Result<Receipt> {
        let site = &self.house.site;
        let id = site.new_id();
        let bundle = model.candidate().bundle();
        let first = study.films.first().map(|film| &film.instance);
        let commit = |field: &str, value: &[u8]| self.commit(&study.subject, &id, field, value);
        let body = ReadIntent {
            patient: commit("patient", study.facts.patient_id.open().as_bytes())?,
            study: commit("study", study.facts.study_uid.open().as_bytes())?,
            inputs: commit("inputs", accepted.input_digest().hex().as_bytes())?,
            modality: code(first.and_then(|instance| instance.modality.as_deref())),
            body_part: code(first.and_then(|instance| instance.body_part.as_deref())),
            n_images: accepted.images().len() as u64,
            model: Sha256(bundle.root()),
            preproc: Sha256(preparation_digest(model)?),
            runtime: Sha256(self.house.runtime),
            request: commit("request", self.request().as_bytes())?,
            purpose: self.purpose,
            priority: "routine".into(),
            deadline_ms: self.house.now_ms() + DEADLINE_MS,
        };
        let refs = vec![model.registered().as_ref_to("model"), model.decision().as_ref_to("decision")];
        let rows = std::mem::take(&mut study.rows);
        Ok(site.record_with(self.draft(id, refs, body), rows)?)
    }

    /// What was asked for, as the request's commitment covers it.
    fn request(&self) -> String {
        format!("{{\"purpose\":\"{}\",\"verb\":\"read\"}}", self.purpose.as_str())
    }

    /// `read_outcome` with status ok, and the reading's row for replay.
    pub(super) fn record_outcome(
        &self,
        study: &mut Study,
        model: &ReleasedModel,
        intent: &Receipt,
        reading: &Reading,
        source: &FhirSource<'_>,
        pictures: &Pictures,
    ) -> anyhow::Result<Receipt> {
        let site = &self.house.site;
        let id = site.new_id();
        for (film, facts) in study.films.iter().zip(&mut study.facts.instances) {
            // One field a film: an opening shows one image and no other.
            let field = format!("pixels_{}", film.instance.bytes_digest.hex().get(..16).unwrap_or_default());
            facts.commitment =
                self.commit(&study.subject, &id, &field, film.instance.bytes_digest.hex().as_bytes())?.to_string();
        }
        let report = source.draft(&study.facts, crate::fhir::Result::Evaluated(reading), Some(pictures), &id);
        let commit = |field: &str, value: &[u8]| self.commit(&study.subject, &id, field, value).map(Some);
        let digests = &reading.digests;
        let body = ReadOutcome {
            status: OutcomeStatus::Ok,
            input: commit("input", digests.input.hex().as_bytes())?,
            prepared: commit("prepared", digests.preprocessing.hex().as_bytes())?,
            output: commit("output", digests.output.hex().as_bytes())?,
            saliency: commit("saliency", digests.saliency.hex().as_bytes())?,
            report: commit("report", &report)?,
            saliency_method: Some(code(Some(&reading.saliency.method().replace('/', "-")))),
            model: Sha256(model.candidate().bundle().root()),
            runtime: Sha256(self.house.runtime),
            duration_us: source.elapsed_us(),
            warnings: reading.quality.iter().map(|note| code(Some(&note.code))).collect(),
            error: None,
        };
        let row = self.reading_row(study, intent.entry_id, id, Status::Evaluated, model, Some(reading), None)?;
        let refs = vec![intent.as_ref_to("intent")];
        Ok(site.record_with(self.draft(id, refs, body), vec![row])?)
    }
}
