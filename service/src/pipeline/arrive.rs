//! Arrival: files become films, films become studies, and what contradicts what is known (`holding`) is set aside.
//!
//! The registry holds keyed digests only; the bytes as received lie sealed in the vault.
//! Errors: the registry or the vault cannot be read.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use uuid::Uuid;
use vidimus_imaging::{Found, Instance, import::ImportFacts};
use vidimus_log::Digest;
use vidimus_store::{ObjectId, Row};

use super::holding::{ConflictKind, Holding, People, Verdict, instance_of};
use crate::site::House;

/// A file that is an instance of a study.
pub(crate) struct Film {
    /// The path as given, for people.
    pub name: String,
    pub instance: Instance,
    /// The bytes as received, until they are sealed.
    bytes: Vec<u8>,
}

impl Film {
    /// A film whose sealed original is held already.
    pub(super) fn held(name: String, instance: Instance) -> Self {
        Self { name, instance, bytes: Vec::new() }
    }
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

/// Opens a film.
fn open(path: &Path, facts: &ImportFacts) -> Result<(Instance, Vec<u8>), String> {
    instance_of(vidimus_imaging::read_file(path).map_err(|error| error.to_string())?, Some(facts))
}

/// The stated facts with UIDs that follow from them and from the picture: under other facts it is another instance.
pub(super) fn identified(picture: &[u8], facts: &ImportFacts) -> ImportFacts {
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

/// Holds the films of one study to the registry and to each other.
pub(super) fn arrive(house: &House, films: Vec<Film>) -> anyhow::Result<Option<Arrival>> {
    let Some(first) = films.first() else { return Ok(None) };
    let study = house.site.keyed("study", first.instance.study_instance_uid.open().as_bytes());
    let people = People::default();
    let mut holding = Holding::new(house, &people);
    let (mut kept, mut rows, mut conflicts) = (Vec::new(), Vec::new(), Vec::new());
    house.site.vault().batch(|batch| -> anyhow::Result<()> {
        for mut film in films {
            let bytes = std::mem::take(&mut film.bytes);
            match holding.hold(batch, &film.instance, &bytes)? {
                Verdict::New { object, row } => {
                    rows.push(row);
                    kept.push(Kept { film, object });
                }
                // The same image twice in one call is one film.
                Verdict::Known { again: true, .. } => {}
                Verdict::Known { object, kept: original, .. } => {
                    if let Some(original) = original {
                        film.instance = *original;
                    }
                    kept.push(Kept { film, object });
                }
                Verdict::Conflict(kind) => conflicts.push(Conflict { film, kind }),
            }
        }
        Ok(())
    })?;
    let patient = holding.patient(&study).ok_or_else(|| anyhow::anyhow!("a study was judged and has no patient"))?;
    Ok(Some(Arrival { films: kept, rows, conflicts, patient }))
}
