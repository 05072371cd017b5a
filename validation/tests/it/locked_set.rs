//! Locked sets: made deterministically, verified whole, and every changed byte named.

use std::path::Path;

use tempfile::TempDir;
use vidimus_log::Digest;
use vidimus_validation::{DatasetError, LockedSet, import, lock};

use crate::support::{DATASHEET, facts, imported, locked, write_source};

fn change(folder: &Path, file: &str, at: usize) {
    let path = folder.join(file);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn find(folder: &Path, file: &str, text: &str) -> usize {
    let bytes = std::fs::read(folder.join(file)).unwrap();
    bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap()
}

/// Proves: REQ-VAL-008
#[test]
fn the_same_source_gives_the_same_root_and_the_same_bytes() {
    let ((a, first), (b, second)) = (locked(), locked());
    assert_eq!(first.root(), second.root());
    assert_eq!((first.items(), first.patients()), (100, 51));
    for file in ["images.tar", "manifest.jsonl", "openings.jsonl", "root", "SHA256SUMS"] {
        assert_eq!(std::fs::read(a.path().join(file)).unwrap(), std::fs::read(b.path().join(file)).unwrap(), "{file}");
    }
}

/// Proves: REQ-VAL-009
#[test]
fn a_changed_byte_in_the_archive_names_the_member() {
    let (folder, _) = locked();
    // tar blocks are 512 bytes: header, then data
    change(folder.path(), "images.tar", find(folder.path(), "images.tar", "test/pneumonia/050.img") + 512);
    let error = LockedSet::open_manifest(folder.path()).unwrap_err();
    assert!(matches!(&error, DatasetError::Member { member, .. } if member == "test/pneumonia/050.img"), "{error}");
}

/// Proves: REQ-VAL-009
#[test]
fn a_changed_byte_in_the_padding_of_the_archive_is_found() {
    let (folder, _) = locked();
    let end = std::fs::metadata(folder.path().join("images.tar")).unwrap().len();
    change(folder.path(), "images.tar", usize::try_from(end).unwrap() - 1);
    let error = LockedSet::open_manifest(folder.path()).unwrap_err();
    assert!(matches!(&error, DatasetError::Sum { file } if file == "images.tar"), "{error}");
}

/// Proves: REQ-VAL-009
#[test]
fn a_changed_label_in_the_manifest_names_the_case() {
    let (folder, _) = locked();
    let at = find(folder.path(), "manifest.jsonl", "\"subtype\":\"virus\"") + 12;
    change(folder.path(), "manifest.jsonl", at);
    let error = LockedSet::open_manifest(folder.path()).unwrap_err();
    assert!(matches!(&error, DatasetError::Commitment { case, .. } if case.len() == 16), "{error}");
}

/// Proves: REQ-VAL-009
#[test]
fn every_changed_byte_of_every_file_is_found() {
    let (folder, _) = locked();
    let files = [
        "images.tar",
        "manifest.jsonl",
        "openings.jsonl",
        "root",
        "datasheet.toml",
        "provenance.toml",
        "SHA256SUMS",
        "licence/ATTRIBUTION.md",
    ];
    for file in files {
        let length = std::fs::read(folder.path().join(file)).unwrap().len();
        // first, last and some between: each call verifies the whole set
        for at in [0, length / 3, length / 2, length - 1] {
            change(folder.path(), file, at);
            assert!(LockedSet::open_manifest(folder.path()).is_err(), "{file} byte {at}");
            change(folder.path(), file, at);
        }
    }
    LockedSet::open_manifest(folder.path()).unwrap();
}

/// Proves: REQ-VAL-009
#[test]
fn a_relabelled_case_with_a_fresh_commitment_changes_the_root() {
    let (folder, _) = locked();
    let relabelled = TempDir::new().unwrap();
    imported(relabelled.path());
    let path = relabelled.path().join("manifest.jsonl");
    let manifest =
        std::fs::read_to_string(&path).unwrap().replacen("\"subtype\":\"virus\"", "\"subtype\":\"bacteria\"", 1);
    std::fs::write(path, manifest).unwrap();
    lock(relabelled.path()).unwrap();
    std::fs::copy(folder.path().join("root"), relabelled.path().join("root")).unwrap();
    let error = LockedSet::open_manifest(relabelled.path()).unwrap_err();
    assert!(matches!(error, DatasetError::Root { .. }), "{error}");
}

/// Proves: REQ-VAL-008
#[test]
fn a_locked_folder_is_not_locked_or_imported_into_again() {
    let (folder, _) = locked();
    assert!(matches!(lock(folder.path()), Err(DatasetError::Locked)));
    let source = TempDir::new().unwrap();
    write_source(source.path());
    let again = import(source.path(), folder.path(), &facts(), &|bytes| Ok(Digest::of(bytes)));
    assert!(matches!(again, Err(DatasetError::Locked)));
}

/// Proves: REQ-VAL-008
#[test]
fn a_source_that_disagrees_with_its_table_is_refused_by_name() {
    let (source, into) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write_source(source.path());
    let path = source.path().join("labels.csv");
    let table = std::fs::read_to_string(&path).unwrap();
    let digest = Digest::of(b"other").hex();
    let line = table.lines().nth(10).unwrap().to_owned();
    let altered = format!("{}{digest}", &line[..line.len() - 64]);
    std::fs::write(&path, table.replace(&line, &altered)).unwrap();
    let error = import(source.path(), into.path(), &facts(), &|bytes| Ok(Digest::of(bytes))).unwrap_err();
    assert!(matches!(&error, DatasetError::Member { member, .. } if member == "test/normal/009.img"), "{error}");

    std::fs::write(&path, table.replace(&format!("{line}\n"), "")).unwrap();
    let error = import(source.path(), into.path(), &facts(), &|bytes| Ok(Digest::of(bytes))).unwrap_err();
    assert!(error.to_string().contains("not in the source's label table"), "{error}");
}

/// Proves: REQ-VAL-008
#[test]
fn a_datasheet_without_a_reason_for_its_class_or_with_an_unknown_field_is_refused() {
    let folder = TempDir::new().unwrap();
    imported(folder.path());
    for sheet in [
        DATASHEET.replace("class_reasons = [\"made up\"]", "class_reasons = []"),
        format!("colour = \"red\"\n{DATASHEET}"),
    ] {
        std::fs::write(folder.path().join("datasheet.toml"), sheet).unwrap();
        assert!(matches!(lock(folder.path()), Err(DatasetError::Text { file: "datasheet.toml", .. })));
    }
}

/// Proves: REQ-VAL-008
#[test]
fn a_folder_without_licence_or_provenance_is_not_locked() {
    for missing in ["provenance.toml", "licence/ATTRIBUTION.md"] {
        let folder = TempDir::new().unwrap();
        imported(folder.path());
        std::fs::remove_file(folder.path().join(missing)).unwrap();
        assert!(lock(folder.path()).is_err(), "{missing}");
    }
}
