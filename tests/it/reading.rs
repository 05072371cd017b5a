//! The reading from outside: what `demo` and `read` print and write, and what anyone can check of it.

use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;
use vidimus_tests::{run, verify_run, vidimus, vidimus_run};

use crate::site::{copy, demo, read, sample, text};

fn is_digest(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Proves: REQ-SYS-010
#[test]
fn the_demonstration_reads_every_sample_with_explanation_and_receipt() {
    let demo = demo();
    assert_eq!(demo.readings.len(), 12);
    let evaluated: Vec<&Value> = demo.readings.iter().filter(|object| object["status"] == "evaluated").collect();
    assert!(evaluated.len() >= 11, "at most one right film may be refused, {} were evaluated", evaluated.len());
    for object in evaluated {
        for name in ["input", "preprocessing", "output", "saliency"] {
            assert!(is_digest(&object["digests"][name]), "digest {name}: {object}");
        }
        let finding = &object["findings"][0];
        assert_eq!(finding["code"]["code"], "233604007");
        let probability = finding["probability"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&probability));
        let point = &finding["operating_point"];
        let called = if probability >= point["threshold"].as_f64().unwrap() { "present" } else { "absent" };
        assert_eq!(finding["decision"], called);
        for figure in ["sensitivity", "specificity"] {
            let (low, high) = (&point["ci95"][figure]["low"], &point["ci95"][figure]["high"]);
            let value = point[figure].as_f64().unwrap();
            assert!(low.as_f64().unwrap() <= value && value <= high.as_f64().unwrap());
        }
        assert!(point["set"].as_str().unwrap().contains("cxr-pneumonia-test"));
        assert_eq!(object["model"]["mode"], "demonstration");
        for name in ["saliency_png", "overlay_png"] {
            let bytes = fs::read(object["files"][name].as_str().unwrap()).unwrap();
            assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
            // IHDR: width and height are those of the film
            assert_eq!(bytes[16..24], [0, 0, 0, 224, 0, 0, 0, 224], "{name} is in image coordinates");
        }
        assert!(object["timing_ms"]["total"].as_f64().unwrap() > 0.0);
    }
}

/// Proves: REQ-SYS-011
#[test]
fn a_receipt_verifies_offline_and_no_changed_byte_does() {
    let folder = TempDir::new().unwrap();
    let key = demo().dir().join("log.vkey");
    let receipt = demo().readings[0]["files"]["receipt"].as_str().unwrap();
    verify_run(&["receipt", receipt, "--key", text(&key)]).expect_code(0);
    let bytes = fs::read(receipt).unwrap();
    let changed = folder.path().join("changed.tlog-proof");
    for place in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut copy = bytes.clone();
        copy[place] ^= 1;
        fs::write(&changed, copy).unwrap();
        let ran = verify_run(&["receipt", text(&changed), "--key", text(&key)]);
        assert_eq!(ran.code, 1, "a changed byte at {place} passes:\n{}{}", ran.out, ran.err);
    }
}

/// Proves: REQ-SYS-011
#[test]
fn the_whole_log_verifies_as_tiles_and_one_changed_byte_is_found() {
    let folder = TempDir::new().unwrap();
    let tiles = folder.path().join("tiles");
    let (dir, key) = (demo().dir(), demo().dir().join("log.vkey"));
    vidimus_run(&["log", "tiles", text(&tiles), "--dir", text(&dir)]).expect_code(0);
    verify_run(&["log", text(&tiles), "--key", text(&key)]).expect_code(0);
    for file in ["checkpoint", "tile/0/000.p", "tile/entries/000.p"] {
        let path = first_file(&tiles.join(file));
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        let place = changed.len() / 2;
        changed[place] ^= 4;
        fs::write(&path, changed).unwrap();
        let ran = verify_run(&["log", text(&tiles), "--key", text(&key)]);
        assert_eq!(ran.code, 1, "a changed byte in {file} passes:\n{}{}", ran.out, ran.err);
        fs::write(&path, whole).unwrap();
    }
}

/// The path itself, or the one file of a folder of partial tiles.
fn first_file(path: &Path) -> std::path::PathBuf {
    if path.is_file() {
        return path.to_owned();
    }
    fs::read_dir(path).unwrap().next().unwrap().unwrap().path()
}

/// Proves: REQ-SYS-012
#[test]
fn intent_outcome_and_release_of_every_reading_stand_in_the_log_in_this_order() {
    let folder = TempDir::new().unwrap();
    let tiles = folder.path().join("tiles");
    vidimus_run(&["log", "tiles", text(&tiles), "--dir", text(&demo().dir())]).expect_code(0);
    let bundle = fs::read(first_file(&tiles.join("tile/entries/000.p"))).unwrap();
    let (mut entries, mut rest): (Vec<Value>, &[u8]) = (Vec::new(), &bundle);
    while let [a, b, tail @ ..] = rest {
        let (entry, tail) = tail.split_at(usize::from(*a) << 8 | usize::from(*b));
        entries.push(serde_json::from_slice(entry).unwrap());
        rest = tail;
    }
    let kinds: Vec<&str> = entries.iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    let start = ["site_opened", "boot", "model_registered", "dataset_locked", "protocol_registered", "evaluation"];
    assert_eq!(kinds[..start.len()], start);
    assert!(
        kinds.iter().position(|kind| *kind == "release_decision")
            < kinds.iter().position(|kind| *kind == "read_intent")
    );
    let outcomes: Vec<(usize, &Value)> =
        entries.iter().enumerate().filter(|(_, entry)| entry["kind"] == "read_outcome").collect();
    let evaluated = demo().readings.iter().filter(|object| object["status"] == "evaluated").count();
    assert_eq!(outcomes.len(), evaluated);
    for (index, outcome) in outcomes {
        let intent = outcome["refs"][0]["index"].as_u64().unwrap() as usize;
        assert!(intent < index && kinds[intent] == "read_intent");
        let cites = |entry: &&Value| entry["kind"] == "finding_released" && entry["refs"][0]["index"] == index;
        assert_eq!(entries.iter().filter(cites).count(), 1, "outcome {index} is released once");
    }
}

/// Proves: REQ-SYS-013
#[test]
fn the_fhir_bundle_is_preliminary_labelled_and_carries_the_receipt() {
    for object in demo().readings.iter().filter(|object| object["status"] == "evaluated") {
        let bundle: Value =
            serde_json::from_slice(&fs::read(object["files"]["fhir"].as_str().unwrap()).unwrap()).unwrap();
        assert_eq!((&bundle["resourceType"], &bundle["type"]), (&"Bundle".into(), &"transaction".into()));
        let resources: Vec<&Value> =
            bundle["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]).collect();
        let of = |kind: &str| {
            resources.iter().filter(|resource| resource["resourceType"] == kind).copied().collect::<Vec<_>>()
        };
        for kind in ["Patient", "ImagingStudy", "Media", "Observation", "DiagnosticReport", "Provenance"] {
            assert_eq!(of(kind).len(), 1, "{kind}");
        }
        assert_eq!(of("Device").len(), 2);
        for resource in of("Observation").into_iter().chain(of("DiagnosticReport")) {
            assert_eq!(resource["status"], "preliminary");
            assert_eq!(resource["meta"]["security"][0]["code"], "AIAST");
        }
        let parts = of("DiagnosticReport")[0]["extension"][0]["extension"].as_array().unwrap();
        let part = |name: &str| parts.iter().find(|part| part["url"] == name).unwrap().clone();
        assert_eq!(part("leafIndex")["valueString"], object["receipt"]["index"].to_string());
        let text = bundle.to_string();
        assert!(!text.contains("unlisted"), "a code is not in the table of codes");
        // every reference leads to a resource of the Bundle
        let urls: Vec<&str> =
            bundle["entry"].as_array().unwrap().iter().map(|entry| entry["fullUrl"].as_str().unwrap()).collect();
        for (place, _) in text.match_indices("\"reference\":\"") {
            let target = text[place + 13..].split('"').next().unwrap();
            assert!(urls.contains(&target), "reference to {target} leads nowhere");
        }
    }
}

/// Proves: REQ-SYS-014
#[test]
fn past_readings_replay_with_the_same_digests_on_any_threads_and_instruction_set() {
    let (_folder, dir) = copy();
    for threads in ["1", "2", "4"] {
        let ran = run(vidimus().args(["replay", "--all", "--dir", text(&dir)]).env("RAYON_NUM_THREADS", threads));
        let ran = ran.expect_code(0);
        assert!(ran.out.contains("12 readings give the same digests, 0 do not"), "{}", ran.out);
    }
    // one reading on every set that this processor has: what was read by vectors is repeated by plain code
    let entry = demo().readings[0]["receipt"]["entry_id"].as_str().unwrap();
    let sets = replayed_on_every_set(&dir, entry);
    assert!(sets.contains(&"scalar"), "{sets:?}");
    let odd = run(vidimus().args(["replay", entry, "--dir", text(&dir)]).env("VIDIMUS_ISA", "abacus"));
    assert!(odd.expect_code(2).err.contains("no instruction set abacus"));
    crate::site::assert_log_whole(&dir);
}

/// Replays an entry on each instruction set and 1, 2 and 4 threads; the sets that there are.
fn replayed_on_every_set(dir: &Path, entry: &str) -> Vec<&'static str> {
    let mut sets = Vec::new();
    for set in ["scalar", "avx2", "avx512"] {
        for threads in ["1", "2", "4"] {
            let mut command = vidimus();
            command
                .args(["replay", entry, "--dir", text(dir)])
                .env("VIDIMUS_ISA", set)
                .env("RAYON_NUM_THREADS", threads);
            let ran = run(&mut command);
            if ran.code == 2 && ran.err.contains("no instruction set") {
                continue;
            }
            assert!(ran.expect_code(0).out.contains("1 readings give the same digests, 0 do not"), "{set}, {threads}");
            sets.push(set);
        }
    }
    sets
}

/// Proves: REQ-SYS-015
#[test]
fn the_page_of_a_reading_shows_figures_limits_and_where_the_rest_lies() {
    let (_folder, dir) = copy();
    let ran = vidimus_run(&["read", text(&sample(1)), "--dir", text(&dir)]).expect_code(0);
    for words in [
        "Finding",
        "Pneumonia",
        "probability",
        "threshold",
        "sensitivity",
        "95 %",
        "Explanation",
        "Receipt",
        "demonstration only",
    ] {
        assert!(ran.out.contains(words), "the page lacks {words:?}:\n{}", ran.out);
    }
}

/// Proves: REQ-SYS-016
#[test]
fn the_same_film_twice_is_two_readings_of_one_image_with_the_same_digests() {
    let (_folder, dir) = copy();
    let first = read(&dir, &[&sample(2)]).expect_code(0).objects();
    let second = read(&dir, &[&sample(2)]).expect_code(0).objects();
    assert_eq!(first[0]["digests"], second[0]["digests"]);
    assert_ne!(first[0]["receipt"]["entry_id"], second[0]["receipt"]["entry_id"]);
}
