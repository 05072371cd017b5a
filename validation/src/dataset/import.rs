//! Making a locked set: `import` copies the source's archive and writes the manifest; `lock` commits to every case.
//! Both are deterministic: the same source and facts give the same bytes, and so the same root. Labels are copied from
//! the source's table, never looked at. Source table: CSV with the columns file, split, class, subtype, patient,
//! file_sha256 (others ignored). Errors: [`DatasetError`] names file and line.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use vidimus_log::Digest;

use super::{Case, DatasetError, archive, datasheet::Datasheet, file, manifest, read, write};

/// What to import and as what.
#[derive(Debug, Clone)]
pub struct ImportFacts {
    /// The set's code.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The archive in the source folder, for example `test.tar`.
    pub archive: String,
    /// The label table in the source folder, for example `labels.csv`.
    pub labels: String,
    /// The split to take from the table.
    pub split: String,
}

/// What an import or a lock made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Number of cases.
    pub items: u64,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// The root; `None` until it is locked.
    pub root: Option<Digest>,
}

#[derive(Deserialize)]
struct Row {
    file: String,
    split: String,
    class: String,
    subtype: String,
    patient: String,
    file_sha256: Digest,
}

/// Copies the archive and writes the manifest into `into`. `pixel_digest` gives the canonical digest of a file's
/// decoded pixels (`vidimus_imaging`'s), or says in words why it cannot.
pub fn import(
    from: &Path,
    into: &Path,
    facts: &ImportFacts,
    pixel_digest: &dyn Fn(&[u8]) -> Result<Digest, String>,
) -> Result<Imported, DatasetError> {
    if into.join(file::ROOT).exists() {
        return Err(DatasetError::Locked);
    }
    let tar = read(from, &facts.archive)?;
    let mut members = archive::members(&tar)?;
    let salt = salt(&facts.name, &facts.version);
    let mut cases = Vec::new();
    for (index, row) in csv::Reader::from_reader(read(from, &facts.labels)?.as_slice()).deserialize().enumerate() {
        // line 1 is the header
        let fault = |rule: String| DatasetError::Line { file: "labels.csv", line: index + 2, rule };
        let row: Row = row.map_err(|error| fault(error.to_string()))?;
        if row.split != facts.split {
            continue;
        }
        let missing = || DatasetError::Member { member: row.file.clone(), what: "missing from the archive" };
        let bytes = members.remove(&row.file).ok_or_else(missing)?;
        if Digest::of(&bytes) != row.file_sha256 {
            return Err(DatasetError::Member { member: row.file, what: "bytes differ from the source's label table" });
        }
        let id = Digest::of_parts([b"vidimus/locked-case/id/v1\n".as_slice(), salt.as_bytes(), row.file.as_bytes()]);
        cases.push(Case {
            case: id.hex().chars().take(16).collect(),
            class: row.class,
            file_sha256: row.file_sha256,
            pixel_sha256: pixel_digest(&bytes).map_err(fault)?,
            strata: BTreeMap::from([("numbering".to_owned(), numbering(&row.patient))]),
            patient: row.patient,
            file: row.file,
            subtype: row.subtype,
        });
    }
    if let Some(member) = members.into_keys().next() {
        return Err(DatasetError::Member { member, what: "not in the source's label table" });
    }
    let bytes = manifest::to_bytes(&mut cases)?;
    manifest::parse(&bytes)?;
    std::fs::create_dir_all(into).map_err(|source| DatasetError::File {
        file: into.display().to_string(),
        action: "making the folder",
        source,
    })?;
    write(into, file::IMAGES, &tar)?;
    write(into, file::MANIFEST, &bytes)?;
    Ok(Imported { items: crate::statistics::count(cases.len()), manifest: Digest::of(&bytes), root: None })
}

/// Locks an imported folder to which `datasheet.toml`, `provenance.toml` and `licence/` were added: writes
/// `openings.jsonl`, `root` and `SHA256SUMS`, then verifies the whole. For a public set, which travels in the clear,
/// the openings follow from name and version; a set that stays secret must draw them at random (a later issue).
pub fn lock(folder: &Path) -> Result<Imported, DatasetError> {
    if folder.join(file::ROOT).exists() {
        return Err(DatasetError::Locked);
    }
    let datasheet = Datasheet::parse(&read(folder, file::DATASHEET)?)?;
    read(folder, file::PROVENANCE)?;
    let bytes = read(folder, file::MANIFEST)?;
    let cases = manifest::parse(&bytes)?;
    archive::verify(folder, &cases)?;
    let salt = salt(&datasheet.name, &datasheet.version);
    let (openings, root) = manifest::commit(&bytes, &cases, |case| {
        *Digest::of_parts([b"vidimus/locked-case/opening/v1\n".as_slice(), salt.as_bytes(), case.case.as_bytes()])
            .as_bytes()
    })?;
    write(folder, file::OPENINGS, &openings)?;
    write(folder, file::SUMS, sums(folder)?.as_bytes())?;
    // the root comes last: without it the folder is not a locked set
    write(folder, file::ROOT, format!("{root}\n").as_bytes())?;
    super::LockedSet::open_manifest(folder)?;
    Ok(Imported { items: crate::statistics::count(cases.len()), manifest: Digest::of(&bytes), root: Some(root) })
}

/// Checks every line of `SHA256SUMS`, and that it lists every file but itself and the root.
pub(super) fn verify_sums(folder: &Path) -> Result<(), DatasetError> {
    let recorded = String::from_utf8_lossy(&read(folder, file::SUMS)?).into_owned();
    let found = sums(folder)?;
    if recorded == found {
        return Ok(());
    }
    let differs = |text: &str, other: &str| {
        text.lines()
            .find(|line| !other.lines().any(|o| o == *line))
            .and_then(|l| l.split_once("  "))
            .map(|l| l.1.to_owned())
    };
    let file = differs(&found, &recorded).or_else(|| differs(&recorded, &found)).unwrap_or(file::SUMS.to_owned());
    Err(DatasetError::Sum { file })
}

/// The text of `SHA256SUMS`, in the form that `sha256sum --check` reads.
fn sums(folder: &Path) -> Result<String, DatasetError> {
    let mut names: Vec<String> =
        [file::IMAGES, file::MANIFEST, file::OPENINGS, file::DATASHEET, file::PROVENANCE].map(str::to_owned).into();
    let licence = folder.join(file::LICENCE);
    let fault = |source| DatasetError::File { file: file::LICENCE.to_owned(), action: "listing", source };
    for entry in std::fs::read_dir(&licence).map_err(fault)? {
        names.push(format!("{}/{}", file::LICENCE, entry.map_err(fault)?.file_name().to_string_lossy()));
    }
    if !names.iter().any(|name| name.starts_with(file::LICENCE)) {
        let rule = "expected at least one file with licence and attribution".to_owned();
        return Err(DatasetError::Text { file: file::LICENCE, rule });
    }
    names.sort();
    let mut text = String::new();
    for name in names {
        text.push_str(&format!("{}  {name}\n", Digest::of(&read(folder, &name)?)));
    }
    Ok(text)
}

/// The salt of a public set.
fn salt(name: &str, version: &str) -> Digest {
    Digest::of_parts([b"vidimus/locked-set/public/v1\n".as_slice(), name.as_bytes(), b"\n", version.as_bytes()])
}

/// The series that a patient's number was given in: the letters of the id (`person78_bacteria` is `person_bacteria`).
fn numbering(patient: &str) -> String {
    let bare = patient.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-');
    let mut kept = String::with_capacity(bare.len());
    let digit_before_underscore = |rest: &str| rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('_');
    let mut rest = bare;
    while let Some(character) = rest.chars().next() {
        if character.is_ascii_digit() && digit_before_underscore(rest) {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        } else {
            kept.push(character);
            rest = &rest[character.len_utf8()..];
        }
    }
    kept.to_lowercase()
}

#[cfg(test)]
mod tests {
    /// Proves: REQ-VAL-008
    #[test]
    fn the_numbering_series_is_the_id_without_its_number() {
        for (patient, series) in [
            ("IM-0001", "im"),
            ("NORMAL2-IM-0381", "normal2-im"),
            ("person78_bacteria", "person_bacteria"),
            ("person1608_virus", "person_virus"),
        ] {
            assert_eq!(super::numbering(patient), series);
        }
    }
}
