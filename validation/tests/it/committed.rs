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
