//! Arrival: files become films, films become studies, and what contradicts what is known is set aside.
//!
//! A study belongs to one patient, and a SOP instance UID names one image of one study, for ever: the first to arrive
//! is kept, another image under its UID is refused and logged. The same pixels in another transfer syntax are the same
//! image: the kept original is read. The registry holds keyed digests only; the bytes as received lie sealed in the
//! vault. Errors: the registry or the vault cannot be read.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use uuid::Uuid;
use vidimus_imaging::{
    Found, Instance,
    import::{ImportFacts, picture_to_instance},
};
use vidimus_log::Digest;
use vidimus_store::{ObjectId, Row};

use crate::site::House;

/// A file that is an instance of a study.
pub(crate) struct Film {
    /// The path as given, for people.
    pub name: String,
    pub instance: Instance,
    /// The bytes as received, until they are sealed.
    bytes: Vec<u8>,
}

/// A file that cannot be opened as an instance.
pub(crate) struct Unreadable {
    pub name: String,
    /// Names the attribute or the culprit; no patient data.
    pub why: String,
}

/// The files of one study, not yet in memory; or one file that is no instance.
pub(crate) struct Group {
    files: Vec<(PathBuf, Option<String>)>,
}

impl Group {
    /// Reads the files.
    pub(super) fn open(self, facts: &ImportFacts) -> (Vec<Film>, Vec<Unreadable>) {
        let (mut films, mut faults) = (Vec::new(), Vec::new());
        for (path, fault) in self.files {
            let name = shown(&path);
            match fault.map_or_else(|| open(&path, facts), Err) {
                Ok((instance, bytes)) => films.push(Film { name, instance, bytes }),
                Err(why) => faults.push(Unreadable { name, why }),
            }
        }
        (films, faults)
    }
}

/// A path on a page: control characters would let a file's name write over it.
fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Opens a film. A picture (PNG, JPEG) carries no metadata: it becomes an instance with the facts that the caller
/// states.
fn open(path: &Path, facts: &ImportFacts) -> Result<(Instance, Vec<u8>), String> {
    let text = |error: vidimus_imaging::ImagingError| error.to_string();
    let mut bytes = vidimus_imaging::read_file(path).map_err(text)?;
    if bytes.starts_with(b"\x89PNG") || bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        bytes = picture_to_instance(&bytes, &identified(&bytes, facts)).map_err(text)?;
    }
    let instance = Instance::from_vec(bytes.clone()).map_err(text)?;
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

/// The stated facts with UIDs that follow from them and from the picture: under other facts it is another instance.
fn identified(picture: &[u8], facts: &ImportFacts) -> ImportFacts {
    let stated = [&facts.modality, &facts.body_part, &facts.view, &facts.age];
    let named = stated.map(|fact| fact.clone().unwrap_or_default()).join("\n");
    let digest = Digest::of_parts([named.as_bytes(), b"\n", picture]);
    let uid = |what: &str| {
        let uuid = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("vidimus picture {what} {digest}").as_bytes());
        Some(format!("2.25.{}", uuid.as_u128()))
    };
    ImportFacts {
        modality: facts.modality.clone(),
        body_part: facts.body_part.clone(),
        view: facts.view.clone(),
        age: facts.age.clone(),
        study_instance_uid: uid("study"),
        series_instance_uid: uid("series"),
        sop_instance_uid: uid("instance"),
        ..ImportFacts::default()
    }
}

/// Digits and dots, at most 64 (DICOM PS3.5 section 9.1).
fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit()))
}

/// Finds the files below `paths` and groups them by study, in the order of their first file. Only paths stay in memory.
pub(crate) fn gather(paths: &[PathBuf], facts: &ImportFacts) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for Found { path, directory, fault } in vidimus_imaging::walk(paths) {
        if directory {
            continue;
        }
        let study = match fault.map_or_else(|| open(&path, facts), |fault| Err(fault.to_string())) {
            Ok((instance, _)) => instance.study_instance_uid.open().clone(),
            Err(why) => {
                groups.push(Group { files: vec![(path, Some(why))] });
                continue;
            }
        };
        let place = *places.entry(study).or_insert_with(|| {
            groups.push(Group { files: Vec::new() });
            groups.len() - 1
        });
        groups[place].files.push((path, None));
    }
    groups
}

/// Why a film was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConflictKind {
    /// Its study belongs to another patient.
    Patient,
    /// Its UID names another image.
    Instance,
}

/// A film that contradicts what is known.
pub(super) struct Conflict {
    pub film: Film,
    pub kind: ConflictKind,
}

/// A film that stays, and its sealed original.
pub(super) struct Kept {
    pub film: Film,
    pub object: ObjectId,
}

/// A study's films after the check, with the registry rows of the new ones.
pub(super) struct Arrival {
    pub films: Vec<Kept>,
    pub rows: Vec<Row>,
    pub conflicts: Vec<Conflict>,
    /// Keyed digest of the patient.
    pub patient: Digest,
}

/// The keyed digest under which a patient's data is sealed. Without a Patient ID nobody can say that two studies are
/// one person's: each study then stands for a patient of its own.
pub(super) fn patient_key(house: &House, instance: &Instance) -> Digest {
    let id = instance.patient.id.open().trim();
    if id.is_empty() {
        return house.site.keyed("patient-of-study", instance.study_instance_uid.open().as_bytes());
    }
    house.site.keyed("patient", id.as_bytes())
}

/// Whether two films name one person: ID, name and birth date agree wherever both state them.
fn same_person(one: &Instance, other: &Instance) -> bool {
    let folded = |text: &str| text.trim().trim_end_matches('^').to_uppercase();
    let agree = |a: &str, b: &str| a.trim().is_empty() || b.trim().is_empty() || folded(a) == folded(b);
    let (one, other) = (&one.patient, &other.patient);
    agree(one.name.open(), other.name.open()) && agree(one.birth_date.open(), other.birth_date.open())
}

/// Holds the films of one study to the registry and to each other.
pub(super) fn arrive(house: &House, films: Vec<Film>) -> anyhow::Result<Option<Arrival>> {
    let site = &house.site;
    let Some(first) = films.first() else { return Ok(None) };
    let study = site.keyed("study", first.instance.study_instance_uid.open().as_bytes());
    let patient = match site.study_patient(&study)? {
        Some(known) => known,
        None => patient_key(house, &first.instance),
    };
    let mut arrival = Arrival { films: Vec::new(), rows: Vec::new(), conflicts: Vec::new(), patient };
    let mut places: HashMap<Digest, usize> = HashMap::new();
    for mut film in films {
        let person = patient_key(house, &film.instance) == patient
            && arrival.films.first().is_none_or(|kept| same_person(&kept.film.instance, &film.instance));
        if !person {
            arrival.conflicts.push(Conflict { film, kind: ConflictKind::Patient });
            continue;
        }
        let key = site.keyed("instance", film.instance.sop_instance_uid.open().as_bytes());
        if let Some(place) = places.get(&key) {
            if !same_image(&arrival.films[*place].film.instance, &film.instance) {
                arrival.conflicts.push(Conflict { film, kind: ConflictKind::Instance });
            }
            // The same image twice in one call is one film.
            continue;
        }
        let bytes = std::mem::take(&mut film.bytes);
        let object = match site.instance(&key)? {
            None => {
                let content = site.keyed("content", film.instance.bytes_digest.as_bytes());
                let object = site.vault().put(&house.subject(&patient)?, &bytes)?;
                arrival.rows.push(Row::Instance { key, study, patient, content, object });
                object
            }
            Some(known) => {
                if known.content != site.keyed("content", film.instance.bytes_digest.as_bytes()) {
                    let kept = Instance::from_bytes(site.vault().get(&known.object)?.open())?;
                    if !same_image(&kept, &film.instance) {
                        arrival.conflicts.push(Conflict { film, kind: ConflictKind::Instance });
                        continue;
                    }
                    film.instance = kept;
                }
                if (known.study, known.patient) != (study, patient) {
                    arrival.conflicts.push(Conflict { film, kind: ConflictKind::Instance });
                    continue;
                }
                known.object
            }
        };
        places.insert(key, arrival.films.len());
        arrival.films.push(Kept { film, object });
    }
    Ok(Some(arrival))
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
