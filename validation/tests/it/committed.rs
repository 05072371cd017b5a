//! The first locked set and its protocol, as they are committed.

use vidimus_validation::{Class, LockedSet, Protocol};

use crate::support::validation_folder;

/// Proves: REQ-VAL-026
#[test]
fn the_committed_set_verifies_and_has_the_sources_counts() {
    let set = LockedSet::open_manifest(&validation_folder().join("datasets/cxr-pneumonia-test")).unwrap();
    assert_eq!((set.items(), set.patients()), (500, 340));
    assert_eq!(set.datasheet().class, Class::C);
    assert!(set.datasheet().class_reasons.len() >= 2);
    assert_eq!(set.datasheet().demonstration_copy.len(), 12);
}

/// Proves: REQ-VAL-026
#[test]
fn the_committed_protocol_is_about_the_committed_set() {
    let set = LockedSet::open_manifest(&validation_folder().join("datasets/cxr-pneumonia-test")).unwrap();
    let protocol = Protocol::load(&validation_folder().join("protocols/cxr-pneumonia-1.toml")).unwrap();
    assert_eq!(protocol.text().locked_set.root, set.root());
    assert_eq!(protocol.text().locked_set.class, set.datasheet().class);
    assert_eq!(protocol.text().locked_set.name, set.datasheet().name);
    assert_eq!(protocol.to_body().looks, 5);
}

/// Proves: REQ-VAL-026
#[test]
fn the_committed_pixel_digests_are_those_of_todays_decoder() {
    use std::io::Read as _;
    let folder = validation_folder().join("datasets/cxr-pneumonia-test");
    let manifest = std::fs::read_to_string(folder.join("manifest.jsonl")).unwrap();
    let lines = manifest.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let recorded: std::collections::BTreeMap<String, String> = lines
        .map(|line| (line["file"].as_str().unwrap().to_owned(), line["pixel_sha256"].as_str().unwrap().to_owned()))
        .collect();
    let mut archive = tar::Archive::new(std::fs::File::open(folder.join("images.tar")).unwrap());
    let mut checked = 0;
    for entry in archive.entries().unwrap().step_by(25) {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert_eq!(vidimus_validation::picture_pixel_digest(&bytes).unwrap().hex(), recorded[&name], "{name}");
        checked += 1;
    }
    assert_eq!(checked, 20);
}

/// Proves: REQ-VAL-026
#[test]
fn the_committed_manifest_is_what_an_import_of_the_source_makes() {
    let default = validation_folder().join("../../shared/data");
    let data = std::env::var_os("VIDIMUS_DATA").map_or(default, std::path::PathBuf::from).join("cxr-pneumonia");
    if !data.is_dir() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no data at {}", data.display());
        println!("not run: no data at {}", data.display());
        return;
    }
    let into = tempfile::TempDir::new().unwrap();
    let facts = vidimus_validation::ImportFacts {
        name: "cxr-pneumonia-test".to_owned(),
        version: "1".to_owned(),
        archive: "test.tar".to_owned(),
        labels: "labels.csv".to_owned(),
        split: "test".to_owned(),
    };
    let digest = vidimus_validation::picture_pixel_digest;
    vidimus_validation::import(&data, into.path(), &facts, &digest).unwrap();
    for file in ["images.tar", "manifest.jsonl"] {
        let committed = std::fs::read(validation_folder().join("datasets/cxr-pneumonia-test").join(file)).unwrap();
        assert!(committed == std::fs::read(into.path().join(file)).unwrap(), "{file} differs from the source's");
    }
}
