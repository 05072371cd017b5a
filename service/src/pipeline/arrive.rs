//! Arrival: files become films, films become studies, and what contradicts what is known is set aside.
//!
//! A study belongs to one patient, and a SOP instance UID names one image, for ever: the first to arrive is kept, the
//! second is refused and logged. The registry holds keyed digests only; the bytes as received lie sealed in the vault.
//! Errors: the registry or the vault cannot be read.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use vidimus_imaging::{Found, ImagingError, Instance};
use vidimus_log::Digest;
use vidimus_store::{InstanceRow, ObjectId, Row};

use crate::site::House;

/// A file that is an instance of a study.
pub(crate) struct Film {
    pub name: String,
    pub instance: Instance,
    pub bytes: Vec<u8>,
}

/// A file that cannot be opened as an instance.
pub(crate) struct Unreadable {
    pub name: String,
    pub error: ImagingError,
}

/// The files of one study, not yet in memory; or one file that is no instance.
pub(crate) struct Group {
    files: Vec<(String, Result<PathBuf, ImagingError>)>,
}

impl Group {
    /// Reads the files.
    pub(super) fn open(self) -> (Vec<Film>, Vec<Unreadable>) {
        let (mut films, mut faults) = (Vec::new(), Vec::new());
        for (name, path) in self.files {
            match path.and_then(|path| open(&path)) {
                Ok((instance, bytes)) => films.push(Film { name, instance, bytes }),
                Err(error) => faults.push(Unreadable { name, error }),
            }
        }
        (films, faults)
    }
}

fn open(path: &Path) -> Result<(Instance, Vec<u8>), ImagingError> {
    let bytes = vidimus_imaging::read_file(path)?;
    Ok((Instance::from_vec(bytes.clone())?, bytes))
}

/// The name of a file on a page: its last part.
fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Finds the files below `paths` and groups them by study, in the order of their first file. Only headers stay in
/// memory.
pub(crate) fn gather(paths: &[PathBuf]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for Found { path, directory, fault } in vidimus_imaging::walk(paths) {
        if directory {
            continue;
        }
        let name = name(&path);
        let study = match fault.map_or_else(|| open(&path), Err) {
            Ok((instance, _)) => instance.study_instance_uid.open().clone(),
            Err(error) => {
                groups.push(Group { files: vec![(name, Err(error))] });
                continue;
            }
        };
        let place = *places.entry(study).or_insert_with(|| {
            groups.push(Group { files: Vec::new() });
            groups.len() - 1
        });
        groups[place].files.push((name, Ok(path)));
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
}

/// Holds the films of one study to the registry and to each other.
pub(super) fn arrive(house: &House, films: Vec<Film>) -> anyhow::Result<Arrival> {
    let site = &house.site;
    let mut arrival = Arrival { films: Vec::new(), rows: Vec::new(), conflicts: Vec::new() };
    let mut owner: Option<Digest> = None;
    let mut here: HashMap<Digest, Digest> = HashMap::new();
    for film in films {
        let keyed = |label: &str, value: &str| site.keyed(label, value.as_bytes());
        let study = keyed("study", film.instance.study_instance_uid.open());
        let patient = keyed("patient", film.instance.patient.id.open());
        let key = keyed("instance", film.instance.sop_instance_uid.open());
        let content = site.keyed("content", film.instance.bytes_digest.as_bytes());
        if owner.is_none() {
            owner = Some(site.study_patient(&study)?.unwrap_or(patient));
        }
        if owner != Some(patient) {
            arrival.conflicts.push(Conflict { film, kind: ConflictKind::Patient });
            continue;
        }
        if let Some(known) = here.get(&key) {
            if *known != content {
                arrival.conflicts.push(Conflict { film, kind: ConflictKind::Instance });
            }
            // The same bytes twice in one call are one film.
            continue;
        }
        if let Some(known) = site.instance(&key)? {
            if known.content != content && !same_pixels(house, &known, &film)? {
                arrival.conflicts.push(Conflict { film, kind: ConflictKind::Instance });
                continue;
            }
            here.insert(key, content);
            arrival.films.push(Kept { film, object: known.object });
            continue;
        }
        let object = site.vault().put(&house.subject(&patient)?, &film.bytes)?;
        arrival.rows.push(Row::Instance { key, study, patient, content, object });
        here.insert(key, content);
        arrival.films.push(Kept { film, object });
    }
    Ok(arrival)
}

/// Whether a film with other bytes is the same image as the kept one: another transfer syntax of the same pixels is.
fn same_pixels(house: &House, known: &InstanceRow, film: &Film) -> anyhow::Result<bool> {
    let kept = house.site.vault().get(&known.object)?;
    let digest = |instance: &Instance| instance.decode().ok().map(|decoded| decoded.pixel_digest());
    let kept = Instance::from_bytes(kept.open()).ok().and_then(|instance| digest(&instance));
    Ok(kept.is_some() && kept == digest(&film.instance))
}
