//! A study that may be read: its films, what FHIR says of it, and the registry rows that its first entry carries.
//! Errors: the vault cannot give the patient's key.

use std::time::Instant;

use vidimus_imaging::Instance;
use vidimus_log::{Digest, EntryId, Phi};
use vidimus_store::{ObjectId, Row, Subject, WorkRow};

use super::{
    arrive::{Arrival, Kept},
    record::Why,
};
use crate::{
    fhir::{InstanceFacts, StudyFacts},
    site::House,
};

/// A study that may be read: its films, what FHIR says of it, and the registry rows that its first entry carries.
pub(super) struct Study {
    pub title: String,
    pub films: Vec<Kept>,
    pub facts: StudyFacts,
    pub input: Digest,
    pub subject: Subject,
    /// Keyed digest of the study.
    pub key: Digest,
    /// Keyed digest of the patient.
    pub patient: Digest,
    /// Films that are held and cannot be opened.
    pub lost: Vec<Why>,
    /// The arrival that asked for this reading, where the study waited for it.
    pub arrival: Option<EntryId>,
    pub started: Instant,
    /// Rows of its new films, until an entry carries them.
    pub rows: Vec<Row>,
}

impl Study {
    /// The study of an arrival; none where no film stayed.
    pub(super) fn new(house: &House, arrival: Arrival) -> anyhow::Result<Option<Self>> {
        let Some(first) = arrival.films.first() else { return Ok(None) };
        let key = house.site.keyed("study", first.film.instance.study_instance_uid.open().as_bytes());
        Self::made(house, arrival, key, None).map(Some)
    }

    /// A study that is held and waited for its reading. It may have no film that can be opened.
    pub(super) fn held(house: &House, films: Vec<Kept>, lost: Vec<Why>, work: &WorkRow) -> anyhow::Result<Self> {
        let arrival = Arrival { films, rows: Vec::new(), conflicts: Vec::new(), patient: work.patient };
        Ok(Self { lost, ..Self::made(house, arrival, work.study, Some(work.arrival))? })
    }

    fn made(house: &House, arrival: Arrival, key: Digest, asked: Option<EntryId>) -> anyhow::Result<Self> {
        let Arrival { films, rows, patient, .. } = arrival;
        let digests = films.iter().map(|kept| kept.film.instance.bytes_digest.as_bytes().as_slice());
        let input = Digest::of_parts(digests);
        let title = match films.as_slice() {
            [] => "a study without a film that can be opened".to_owned(),
            [only] => only.film.name.clone(),
            [first, rest @ ..] => format!("{} and {} more", first.film.name, rest.len()),
        };
        Ok(Self {
            title,
            facts: study_facts(&films),
            input,
            subject: house.subject(&patient)?,
            key,
            patient,
            lost: Vec::new(),
            arrival: asked,
            started: Instant::now(),
            films,
            rows,
        })
    }

    /// The sealed originals, in the order of reading.
    pub(super) fn objects(&self) -> Vec<ObjectId> {
        self.films.iter().map(|kept| kept.object).collect()
    }
}

/// What FHIR says of a study: patient and study as its first film names them; nothing where it has none.
fn study_facts(films: &[Kept]) -> StudyFacts {
    let first = films.first().map(|kept| &kept.film.instance);
    let of = |text: fn(&Instance) -> &Phi<String>| {
        first.map_or_else(|| Phi::new(String::new()), |instance| copy(text(instance)))
    };
    StudyFacts {
        patient_id: of(|instance| &instance.patient.id),
        patient_name: of(|instance| &instance.patient.name),
        birth_date: of(|instance| &instance.patient.birth_date),
        sex: first.and_then(|instance| instance.patient.sex.clone()),
        study_uid: of(|instance| &instance.study_instance_uid),
        accession: of(|instance| &instance.accession_number),
        study_date: of(|instance| &instance.study_date),
        instances: films.iter().map(|kept| instance_facts(&kept.film.instance)).collect(),
    }
}

/// The same text, closed.
pub(super) fn copy(text: &Phi<String>) -> Phi<String> {
    Phi::new(text.open().clone())
}

fn instance_facts(instance: &Instance) -> InstanceFacts {
    InstanceFacts {
        uid: copy(&instance.sop_instance_uid),
        series_uid: copy(&instance.series_instance_uid),
        sop_class: instance.sop_class_uid.clone(),
        modality: instance.modality.clone(),
        commitment: None,
    }
}
