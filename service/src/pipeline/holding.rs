//! What may be held: the rules that an instance passes on its way into the registry, whoever brings it.
//!
//! A study belongs to one patient, and a SOP instance UID names one image of one study, for ever: the first to arrive
//! is kept, another image under its UID is refused and logged. The same pixels in another transfer syntax are the same
//! image: the kept original stands. Where a study is held already, its first instance says whose it is.
//! Errors: the registry or the vault cannot be read or written; a rule that is broken is a [`Verdict`].

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use vidimus_imaging::{
    Instance,
    import::{ImportFacts, picture_to_instance},
};
use vidimus_log::{Digest, Phi};
use vidimus_store::{Batch, ObjectId, Row};

use super::arrive::identified;
use crate::site::House;

/// Studies whose person stays in memory.
const PEOPLE_MAX: usize = 1_024;

/// Why an instance was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConflictKind {
    /// Its study belongs to another patient.
    Patient,
    /// Its UID names another image.
    Instance,
}

impl ConflictKind {
    /// Its code in incidents and results.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Patient => "patient-conflict",
            Self::Instance => "duplicate-instance",
        }
    }

    /// What happened, for people.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Patient => {
                "Patient ID (0010,0020): the study belongs to another patient; the first to arrive is kept, this film is set aside"
            }
            Self::Instance => {
                "SOP Instance UID (0008,0018): it names another image already; the first to arrive is kept, this film is refused"
            }
        }
    }
}

/// What becomes of an instance.
pub(crate) enum Verdict {
    /// It is new; its bytes are sealed, and durable with the batch.
    New {
        /// The sealed bytes.
        object: ObjectId,
        /// What the registry is to know of it.
        row: Row,
    },
    /// It is held already.
    Known {
        /// The sealed bytes.
        object: ObjectId,
        /// The original that is kept, where it has other bytes.
        kept: Option<Box<Instance>>,
        /// It came before in this same call.
        again: bool,
    },
    /// It contradicts what is known.
    Conflict(ConflictKind),
}

/// Who a study's films say they show.
struct Person {
    name: Phi<String>,
    birth_date: Phi<String>,
}

impl Person {
    fn of(instance: &Instance) -> Self {
        let copy = |text: &Phi<String>| Phi::new(text.open().clone());
        Self { name: copy(&instance.patient.name), birth_date: copy(&instance.patient.birth_date) }
    }

    /// Whether both name one person: name and birth date agree wherever both state them.
    fn agrees(&self, other: &Self) -> bool {
        let folded = |text: &str| text.trim().trim_end_matches('^').to_uppercase();
        let agree = |a: &Phi<String>, b: &Phi<String>| {
            let (a, b) = (a.open(), b.open());
            a.trim().is_empty() || b.trim().is_empty() || folded(a) == folded(b)
        };
        agree(&self.name, &other.name) && agree(&self.birth_date, &other.birth_date)
    }
}

/// Whose the studies are that were looked at lately, so that a long series opens its first instance once.
#[derive(Default)]
pub(crate) struct People(Mutex<HashMap<Digest, Person>>);

impl People {
    /// Whether the study is somebody else's; nobody knows where it was not looked at.
    fn contradict(&self, study: &Digest, person: &Person) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(study).is_some_and(|known| !known.agrees(person))
    }

    fn knows(&self, study: &Digest) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(study)
    }

    fn learn(&self, study: Digest, person: Person) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= PEOPLE_MAX {
            known.clear();
        }
        known.entry(study).or_insert(person);
    }
}

/// A study of this call.
struct Study {
    patient: Digest,
    /// The registry knew the study.
    known: bool,
    /// The person of its first instance.
    person: Option<Person>,
}

/// Holds instances, one after another, to the registry and to each other.
pub(crate) struct Holding<'a> {
    house: &'a House,
    people: &'a People,
    studies: HashMap<Digest, Study>,
    /// The new instances of this call.
    new: HashMap<Digest, (Digest, Digest, Digest, ObjectId)>,
    /// Those that were held.
    known: HashMap<Digest, ObjectId>,
}

impl<'a> Holding<'a> {
    /// Nothing looked at yet.
    pub(crate) fn new(house: &'a House, people: &'a People) -> Self {
        let (studies, new, known) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { house, people, studies, new, known }
    }

    /// The patient of a study of this call.
    pub(crate) fn patient(&self, study: &Digest) -> Option<Digest> {
        self.studies.get(study).map(|study| study.patient)
    }

    /// The studies of this call that the registry did not know.
    pub(crate) fn new_studies(&self) -> impl Iterator<Item = &Digest> {
        self.studies.iter().filter(|(_, study)| !study.known).map(|(key, _)| key)
    }

    /// Judges an instance; `bytes` are what was received, and are sealed where it is new.
    pub(crate) fn hold(&mut self, batch: &mut Batch<'_>, instance: &Instance, bytes: &[u8]) -> anyhow::Result<Verdict> {
        let (site, house) = (&self.house.site, self.house);
        let study = site.keyed("study", instance.study_instance_uid.open().as_bytes());
        let person = Person::of(instance);
        let patient = self.study(study, instance)?;
        if patient_key(house, instance) != patient || self.contradict(&study, &person) {
            return Ok(Verdict::Conflict(ConflictKind::Patient));
        }
        let key = site.keyed("instance", instance.sop_instance_uid.open().as_bytes());
        let content = site.keyed("content", instance.bytes_digest.as_bytes());
        let again = self.new.contains_key(&key) || self.known.contains_key(&key);
        let held = match self.new.get(&key) {
            Some(new) => Some(*new),
            None => site.instance(&key)?.map(|row| (row.content, row.study, row.patient, row.object)),
        };
        let verdict = match held {
            None => {
                let object = batch.put(&house.subject(&patient)?, bytes)?;
                self.new.insert(key, (content, study, patient, object));
                Verdict::New { object, row: Row::Instance { key, study, patient, content, object } }
            }
            Some((held, of_study, of_patient, object)) => {
                let kept = match self.new.get(&key) {
                    _ if held == content => None,
                    Some(_) => {
                        let original = batch.get(&house.subject(&of_patient)?, &object)?;
                        Some(Instance::from_bytes(original.open())?)
                    }
                    None => Some(self.open(&object)?),
                };
                let same = kept.as_ref().is_none_or(|kept| same_image(kept, instance));
                if !same || (of_study, of_patient) != (study, patient) {
                    return Ok(Verdict::Conflict(ConflictKind::Instance));
                }
                self.known.insert(key, object);
                Verdict::Known { object, kept: kept.map(Box::new), again }
            }
        };
        if let Some(state) = self.studies.get_mut(&study) {
            state.person.get_or_insert(person);
        }
        Ok(verdict)
    }

    /// Whether nothing has come meanwhile that the verdicts did not know: asked again before new studies are recorded.
    pub(crate) fn still_true(&self) -> anyhow::Result<bool> {
        for (key, study) in self.studies.iter().filter(|(_, study)| !study.known) {
            let person = study.person.as_ref();
            if self.house.site.study_patient(key)?.is_some_and(|patient| patient != study.patient)
                || person.is_some_and(|person| self.people.contradict(key, person))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The instances are recorded: the persons of their studies are known from now on.
    pub(crate) fn recorded(self) {
        for (key, study) in self.studies {
            if let Some(person) = study.person {
                self.people.learn(key, person);
            }
        }
    }

    /// The patient of a study, by the registry or by this its first instance.
    fn study(&mut self, key: Digest, first: &Instance) -> anyhow::Result<Digest> {
        if let Some(study) = self.studies.get(&key) {
            return Ok(study.patient);
        }
        let known = self.house.site.study_patient(&key)?;
        if known.is_some() && !self.people.knows(&key) {
            // Its first instance says whose it is; erased or unreadable, the Patient ID alone decides.
            let held = self.house.site.study_instances(&key)?;
            let first = held.first().and_then(|row| self.open(&row.object).ok());
            if let Some(first) = first {
                self.people.learn(key, Person::of(&first));
            }
        }
        let patient = known.unwrap_or_else(|| patient_key(self.house, first));
        self.studies.insert(key, Study { patient, known: known.is_some(), person: None });
        Ok(patient)
    }

    /// Whether the study's instances, held or of this call, show another person.
    fn contradict(&self, study: &Digest, person: &Person) -> bool {
        let mine = self.studies.get(study).and_then(|study| study.person.as_ref());
        mine.is_some_and(|mine| !mine.agrees(person)) || self.people.contradict(study, person)
    }

    fn open(&self, object: &ObjectId) -> anyhow::Result<Instance> {
        Ok(Instance::from_bytes(self.house.site.vault().get(object)?.open())?)
    }
}

/// Reads bytes as an instance. A picture (PNG, JPEG) carries no metadata: where the caller states facts it becomes an
/// instance with them, elsewhere it is none. Back come the instance and its bytes; an error names the attribute and
/// holds no patient data.
pub(crate) fn instance_of(mut bytes: Vec<u8>, facts: Option<&ImportFacts>) -> Result<(Instance, Vec<u8>), String> {
    let text = |error: vidimus_imaging::ImagingError| error.to_string();
    if let Some(facts) = facts.filter(|_| is_picture(&bytes)) {
        bytes = picture_to_instance(&bytes, &identified(&bytes, facts)).map_err(text)?;
    }
    let instance = Instance::from_bytes(&bytes).map_err(text)?;
    for (attribute, uid) in [
        ("Study Instance UID (0020,000D)", &instance.study_instance_uid),
        ("Series Instance UID (0020,000E)", &instance.series_instance_uid),
        ("SOP Instance UID (0008,0018)", &instance.sop_instance_uid),
    ] {
        if !is_uid(uid.open()) {
            let found = if uid.open().is_empty() { "nothing" } else { "another value" };
            return Err(format!("{attribute}: expected a UID of digits and dots, found {found}"));
        }
    }
    Ok((instance, bytes))
}

/// Whether the bytes begin as a PNG or a JPEG does.
pub(crate) fn is_picture(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG") || bytes.starts_with(&[0xff, 0xd8, 0xff])
}

/// Digits and dots, at most 64 (DICOM PS3.5 section 9.1).
pub(crate) fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit()))
}

/// The keyed digest under which a patient's data is sealed. Without a Patient ID nobody can say that two studies are
/// one person's: each study then stands for a patient of its own.
pub(crate) fn patient_key(house: &House, instance: &Instance) -> Digest {
    let id = instance.patient.id.open().trim();
    if id.is_empty() {
        return house.site.keyed("patient-of-study", instance.study_instance_uid.open().as_bytes());
    }
    house.site.keyed("patient", id.as_bytes())
}

/// The same bytes, or the same decoded pixels in another transfer syntax.
fn same_image(kept: &Instance, other: &Instance) -> bool {
    if kept.bytes_digest == other.bytes_digest {
        return true;
    }
    let digest = |instance: &Instance| instance.decode().ok().map(|decoded| decoded.pixel_digest());
    let pixels = digest(kept);
    pixels.is_some() && pixels == digest(other)
}
