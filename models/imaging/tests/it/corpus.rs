//! The shared corpus against the figures of independent readers, where the data folder is at hand.

use std::{env, fs, path::PathBuf};

use serde_json::Value;
use vidimus_imaging::{Instance, Stored, inspect};

/// The corpus, or None with a word about it; with CI=true its absence is a failure.
pub(crate) fn corpus() -> Option<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = env::var_os("VIDIMUS_DATA").map_or_else(|| here.join("../../../shared/data"), PathBuf::from);
    let folder = root.join("dicom");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(env::var("CI").as_deref() != Ok("true"), "no data at {}", folder.display());
    println!("not run: no data at {}", folder.display());
    None
}

fn expected(folder: &std::path::Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("expected.json")).unwrap()).unwrap()
}

/// The record's rule asks for a refusal, without an alternative.
fn must_refuse(record: &Value) -> bool {
    let rule = record["correct_reader"].as_str().unwrap_or("").to_lowercase();
    let open = [" or ", "either", "guess", "if ", "geometry", "to measure"].iter().any(|word| rule.contains(word));
    rule.starts_with("refuse") && !open
}

/// A rule that leaves a choice, or says what to do with a file that was read by leniency.
fn free(record: &Value) -> bool {
    record["correct_reader"].is_string()
}

fn compare(record: &Value, stored: &Stored, wanted: &Value) -> Result<(), String> {
    let lossy = record["lossy"] == true;
    if !lossy {
        let found = stored.sha256().hex();
        return if wanted["sha256"] == found.as_str() { Ok(()) } else { Err("digest".to_owned()) };
    }
    let given = record["max_abs_difference_between_decoders"].as_f64().unwrap_or(0.0);
    // chroma at half size is brought back in different ways
    let colour = record["samples_per_pixel"] == 3;
    let allowed = given.max(if colour { 7.0 } else { 3.0 });
    for pair in wanted["samples"].as_array().unwrap() {
        let (index, value) = (pair[0].as_u64().unwrap() as usize, pair[1].as_f64().unwrap());
        let found = stored.at(index).ok_or("size")?;
        if (found - value).abs() > allowed {
            return Err(format!("sample {index} is {found}, not {value} within {allowed}"));
        }
    }
    Ok(())
}

/// Proves: REQ-IMG-001, REQ-IMG-006
#[test]
fn every_sound_file_of_the_corpus_has_the_pixels_that_independent_readers_see() {
    let Some(folder) = corpus() else { return };
    let all = expected(&folder);
    let (mut bad, mut seen) = (Vec::new(), 0);
    for record in all["files"].as_array().unwrap() {
        let (name, wanted) = (record["file"].as_str().unwrap(), &record["stored"]);
        if free(record) || wanted.is_null() {
            continue;
        }
        seen += 1;
        match Instance::open(folder.join(name)).and_then(|instance| instance.decode()) {
            Err(error) => bad.push(format!("{name}: {error}")),
            Ok(decoded) => {
                if let Err(fault) = compare(record, &decoded.stored, wanted) {
                    bad.push(format!("{name}: {fault}"));
                }
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    assert!(seen > 250, "{seen} files compared");
}

/// Proves: REQ-IMG-002, REQ-IMG-003
#[test]
fn every_damaged_file_of_the_corpus_is_refused_by_name_and_without_memory() {
    let Some(folder) = corpus() else { return };
    let all = expected(&folder);
    let mut bad = Vec::new();
    for record in all["files"].as_array().unwrap() {
        let name = record["file"].as_str().unwrap();
        let found = inspect(folder.join(name));
        let error = found.error.unwrap_or_default();
        if must_refuse(record) && error.is_empty() {
            bad.push(format!("{name}: opened, should {}", record["correct_reader"]));
        }
        let named = error.is_empty()
            || ["(", "not a DICOM file", "deflated data set", "nested", "cannot be read"]
                .iter()
                .any(|mark| error.contains(mark));
        if !named {
            bad.push(format!("{name}: the error names nothing: {error}"));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// Proves: REQ-IMG-012
#[test]
fn files_of_one_image_have_one_pixel_digest_where_their_attributes_agree() {
    let Some(folder) = corpus() else { return };
    let all = expected(&folder);
    let mut compared = 0;
    for group in all["equal_pixels"].as_array().unwrap() {
        let mut seen: Vec<(String, String, vidimus_log::Digest)> = Vec::new();
        for name in group["files"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            let lossy = all["files"].as_array().unwrap().iter().any(|one| one["file"] == name && one["lossy"] == true);
            let Ok(decoded) = Instance::open(folder.join(name)).and_then(|instance| instance.decode()) else {
                continue;
            };
            if lossy {
                continue;
            }
            // bits, sign and meaning are part of the digest: files that differ in them are different images
            let d = &decoded.description;
            let shape = format!("{}x{}x{}", d.rows, d.columns, d.frames);
            let key = format!("{shape} {} {} {}", d.bits_stored, d.signed, d.photometric.term());
            let digest = decoded.pixel_digest();
            for (other, before, earlier) in &seen {
                assert_eq!(*before == key, *earlier == digest, "{other} and {name}");
                compared += usize::from(*before == key);
            }
            seen.push((name.to_owned(), key, digest));
        }
    }
    assert!(compared > 50, "{compared} pairs compared");
}

/// Proves: REQ-IMG-013, REQ-IMG-015
#[test]
fn measured_values_and_grey_follow_the_independent_reader() {
    let Some(folder) = corpus() else { return };
    let all = expected(&folder);
    let mut bad = Vec::new();
    for record in all["files"].as_array().unwrap() {
        let name = record["file"].as_str().unwrap();
        if free(record) || record["lossy"] == true || record["samples_per_pixel"] != 1 {
            continue;
        }
        let Some(mean) = record["rescaled"]["mean"].as_f64() else { continue };
        let instance = Instance::open(folder.join(name)).unwrap();
        let statistics = instance.decode().unwrap().statistics(&instance).unwrap().unwrap();
        let other = record["rescaled_without_padding"]["mean"].as_f64();
        let near = |wanted: f64| (statistics.mean - wanted).abs() < 1e-3;
        if !near(mean) && !other.is_some_and(near) {
            bad.push(format!("{name}: mean {}, not {mean} or {other:?}", statistics.mean));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// The numbers of a JSON list.
fn numbers(value: &Value) -> Option<Vec<f64>> {
    value.as_array().map(|all| all.iter().filter_map(Value::as_f64).collect())
}

/// Proves: REQ-IMG-017, REQ-IMG-019
#[test]
fn identity_and_geometry_are_read_as_the_independent_reader_reads_them() {
    let Some(folder) = corpus() else { return };
    let all = expected(&folder);
    let (mut bad, mut seen) = (Vec::new(), 0);
    for record in all["files"].as_array().unwrap() {
        let name = record["file"].as_str().unwrap();
        if free(record) {
            continue;
        }
        let instance = Instance::open(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        seen += 1;
        let mut text = |key: &str, found: &str| {
            if let Some(wanted) = record[key].as_str()
                && wanted.trim() != found
            {
                bad.push(format!("{name}: {key} differs"));
            }
        };
        text("sop_instance", instance.sop_instance_uid.open());
        text("study", instance.study_instance_uid.open());
        text("series", instance.series_instance_uid.open());
        text("patient_id", instance.patient.id.open());
        text("patient_name", instance.patient.name.open());
        text("modality", &instance.modality);
        let mut list = |key: &str, found: Option<Vec<f64>>| {
            let Some(wanted) = numbers(&record[key]) else { return };
            let close = |found: Vec<f64>| found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-9);
            if !found.is_some_and(close) {
                bad.push(format!("{name}: {key} differs"));
            }
        };
        let spacing = instance.spacing.map(|one| vec![one.row_mm.value(), one.column_mm.value()]);
        list("pixel_spacing", spacing.clone());
        list("pixel_spacing_shared_group", spacing);
        let orientation = instance.orientation.map(|one| one.cosines().to_vec());
        list("orientation", orientation.clone());
        list("orientation_shared_group", orientation);
        list("position", instance.position.map(|one| one.to_vec()));
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    assert!(seen > 270, "{seen} files compared");
}
