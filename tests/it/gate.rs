//! The gate from outside: weights, decisions, the locked set and the shipped verdict.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use vidimus_tests::{root, vidimus_run};

use crate::site::{assert_log_whole, copy, read, sample, text};

/// The weights of the admitted model.
fn weights(dir: &Path) -> PathBuf {
    let package = fs::read_dir(dir.join("models")).unwrap().next().unwrap().unwrap().path();
    package.join("weights.safetensors")
}

/// Proves: REQ-SYS-020
#[test]
fn weights_that_differ_by_one_bit_read_nothing_and_are_named() {
    let (_folder, dir) = copy();
    let path = weights(&dir);
    let mut bytes = fs::read(&path).unwrap();
    let place = bytes.len() - 100;
    bytes[place] ^= 1;
    fs::write(&path, bytes).unwrap();
    let ran = read(&dir, &[&sample(1)]).expect_code(1);
    let object = &ran.objects()[0];
    assert_eq!(object["status"], "failed");
    assert_eq!(object["reason"]["code"], "model-not-admitted");
    assert!(object["findings"].as_array().unwrap().is_empty());
    assert!(ran.err.contains("weights digest expected"), "{}", ran.err);
    assert_log_whole(&dir);
}

/// Proves: REQ-SYS-020
#[test]
fn a_changed_description_or_verdict_is_refused_too() {
    for (file, words) in
        [("package.toml", "differs from the released package"), ("evidence/verdict.json", "verdict.json differs")]
    {
        let (_folder, dir) = copy();
        let path = weights(&dir).with_file_name(file);
        let mut text_of = fs::read_to_string(&path).unwrap();
        text_of.push('\n');
        fs::write(&path, text_of).unwrap();
        let ran = read(&dir, &[&sample(1)]).expect_code(1);
        assert!(ran.err.contains(words), "{file}: {}", ran.err);
    }
}

/// Proves: REQ-SYS-021
#[test]
fn a_site_without_a_release_reads_nothing() {
    let folder = TempDir::new().unwrap();
    let ran = read(&folder.path().join("nothing"), &[&sample(1)]).expect_code(1);
    assert!(ran.err.contains("there is no site here") && ran.err.contains("vidimus demo"), "{}", ran.err);
    assert!(ran.out.is_empty());
}

/// Proves: REQ-SYS-022
#[test]
fn the_shipped_verdict_is_repeated_byte_for_byte_as_an_audit_that_spends_no_look() {
    let (_folder, dir) = copy();
    let (set, protocol) = (
        root().join("validation/datasets/cxr-pneumonia-test"),
        root().join("validation/protocols/cxr-pneumonia-2.toml"),
    );
    let arguments = ["evaluate", "--set", text(&set), "--protocol", text(&protocol), "--dir", text(&dir), "--json"];
    let objects = vidimus_run(&arguments).expect_code(0).objects();
    assert_eq!(objects[0]["repeats_shipped_verdict"], true);
    assert_eq!(objects[0]["look"]["number"], 2);
    let out = PathBuf::from(objects[0]["files"].as_str().unwrap());
    let shipped = root().join("models/bundles/cxr-pneumonia/1.1.0/evidence/verdict.json");
    assert_eq!(fs::read(out.join("verdict.json")).unwrap(), fs::read(shipped).unwrap());
    let look = fs::read_to_string(out.join("look.tlog-proof")).unwrap();
    let receipt = vidimus_log::Receipt::parse_tlog_proof(&look).unwrap();
    let entry: serde_json::Value = serde_json::from_slice(&receipt.entry).unwrap();
    assert_eq!(entry["kind"], "dataset_opened");
    assert_eq!(entry["body"]["purpose"], "reference_audit");
    assert_log_whole(&dir);
}

/// Proves: REQ-SYS-024
#[test]
fn a_withdrawn_model_reads_nothing_and_no_demonstration_brings_it_back() {
    let (_folder, dir) = copy();
    vidimus_run(&["model", "withdraw", "cxr-pneumonia", "--reason", "a test", "--dir", text(&dir)]).expect_code(0);
    for _ in 0..2 {
        let ran = read(&dir, &[&sample(1)]).expect_code(1);
        assert_eq!(ran.objects()[0]["reason"]["code"], "model-not-admitted");
        assert!(ran.err.contains("says withdraw"), "{}", ran.err);
        vidimus_run(&["demo", "--no-serve", "--dir", text(&dir)]).expect_code(1);
    }
    assert_log_whole(&dir);
}

/// Proves: REQ-SYS-023
#[test]
fn models_and_sets_say_what_they_are() {
    let (_folder, dir) = copy();
    let models =
        vidimus_run(&["model", "show", "cxr-pneumonia", "--dir", text(&dir), "--json"]).expect_code(0).objects();
    assert_eq!(models[0]["admitted"], true);
    assert_eq!(models[0]["mode"], "demonstration");
    let set = root().join("validation/datasets/cxr-pneumonia-test");
    let sets = vidimus_run(&["dataset", "show", text(&set), "--json"]).expect_code(0).objects();
    assert_eq!((&sets[0]["items"], &sets[0]["class"]), (&500.into(), &"C".into()));
}
