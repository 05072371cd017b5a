//! Publication at a real site: ids, references, versions, exact bytes, signature.

use std::collections::BTreeSet;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;
use tempfile::TempDir;
use vidimus_log::{Body, Digest, Draft, Entry, Phi, Recorder as _, body::KeyPurpose};
use vidimus_store::Row;

use super::{
    Result,
    publish::{Keys, rows, task_id, turn},
    shelf::Opened,
    tests::{FAILED, case, film, reading, refusal},
};
use crate::site::House;

/// A site of its own.
pub(crate) struct Place {
    pub(crate) house: House,
    _dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let house = House::create(&dir.path().join("site")).unwrap();
        Self { house, _dir: dir }
    }

    pub(crate) fn keys(&self, patient: &str, study: &str) -> Keys {
        let site = &self.house.site;
        Keys {
            patient: site.keyed("patient", patient.as_bytes()),
            study: site.keyed("study", study.as_bytes()),
            reading: site.new_id(),
            arrival: None,
        }
    }

    /// Makes rows and records them with an entry that stands for the release.
    pub(crate) fn publish(&self, bundle: &[u8], keys: &Keys, ms: u64) -> Vec<Row> {
        let _turn = turn();
        let subject = self.house.subject(&keys.patient).unwrap();
        let rows = rows(&self.house, &subject, bundle, keys, ms).unwrap();
        self.record(rows.clone());
        rows
    }

    pub(crate) fn record(&self, rows: Vec<Row>) {
        let body = vidimus_log::body::Incident {
            code: "test".into(),
            severity: "warning".into(),
            detail: Digest::of(b"").into(),
            text: "stands for a release".into(),
        };
        let site = &self.house.site;
        site.record_with(Draft::system(site.new_id(), body), rows).unwrap();
    }

    pub(crate) fn resource(&self, kind: &str, id: &str) -> Value {
        let row = self.house.site.resource(kind, id).unwrap().unwrap();
        Opened::new(&self.house).resource(&row).unwrap()
    }
}

fn named(rows: &[Row]) -> BTreeSet<String> {
    let name = |row: &Row| match row {
        Row::Resource { kind, id, version, .. } => format!("{kind}/{id}/_history/{version}"),
        _ => panic!("a resource was expected"),
    };
    rows.iter().map(name).collect()
}

fn kinds(rows: &[Row]) -> Vec<&str> {
    let mut kinds: Vec<&str> = rows
        .iter()
        .map(|row| match row {
            Row::Resource { kind, .. } => kind.as_str(),
            _ => panic!("a resource was expected"),
        })
        .collect();
    kinds.sort_unstable();
    kinds
}

fn one<'a>(rows: &'a [Row], wanted: &str) -> (&'a str, u32) {
    let found = rows.iter().find_map(|row| match row {
        Row::Resource { kind, id, version, .. } if kind == wanted => Some((id.as_str(), *version)),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no {wanted}"))
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(fields) => {
            found.extend(fields.get("reference").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        _ => {}
    }
}

/// Proves: REQ-SVC-250
#[test]
fn every_resource_of_a_reading_is_published_whole_and_its_references_lead_to_published_ones() {
    let place = Place::new();
    let wholes = [
        ("1.2.3.1", Result::Evaluated(&reading("present", 0.8)), 9),
        ("1.2.3.2", Result::NotEvaluated(&refusal()), 5),
        ("1.2.3.3", FAILED, 5),
    ];
    for (study, result, expected) in wholes {
        let keys = place.keys("A 1", study);
        let rows = place.publish(&case().released(result, keys.reading), &keys, 1_700_000_000_000);
        assert!(rows.len() >= expected, "{:?}", kinds(&rows));
        for row in &rows {
            let Row::Resource { kind, id, version, .. } = row else { panic!("a resource was expected") };
            let resource = place.resource(kind, id);
            assert_eq!((&resource["resourceType"], &resource["id"]), (&kind.as_str().into(), &id.as_str().into()));
            assert_eq!(resource["meta"]["versionId"], version.to_string());
            assert_eq!(resource["meta"]["lastUpdated"], "2023-11-14T22:13:20Z");
            let mut found = Vec::new();
            references(&resource, &mut found);
            for reference in found {
                let (kind, rest) = reference.split_once('/').unwrap();
                let (id, version) = rest.split_once("/_history/").unwrap_or((rest, "1"));
                let held = place.house.site.resource_version(kind, id, version.parse().unwrap()).unwrap();
                assert!(held.is_some(), "{reference} leads nowhere");
            }
        }
    }
}

/// Proves: REQ-SVC-251
#[test]
fn ids_hold_no_patient_data_and_are_the_same_for_the_same_reading() {
    let place = Place::new();
    let mut keys = place.keys("A 1", "1.2.3");
    let arrival = place.house.site.new_id();
    keys.arrival = Some(arrival);
    let reading = reading("present", 0.8);
    let bundle = case().released(Result::Evaluated(&reading), keys.reading);
    let subject = place.house.subject(&keys.patient).unwrap();
    let first = rows(&place.house, &subject, &bundle, &keys, 1).unwrap();
    let again = rows(&place.house, &subject, &bundle, &keys, 1).unwrap();
    assert_eq!(named(&first), named(&again), "nothing was recorded in between");
    assert_eq!(one(&first, "Patient").0, keys.patient.hex());
    assert_eq!(one(&first, "ImagingStudy").0, keys.study.hex());
    assert_eq!(one(&first, "Task").0, task_id(&arrival));
    for row in &first {
        let Row::Resource { kind, id, patient, reading, .. } = row else { panic!("a resource was expected") };
        assert!(id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{kind} {id}");
        assert!(!id.contains("1.2.3"));
        assert_eq!(patient.is_none(), kind == "Device");
        assert_eq!(reading.is_none(), matches!(kind.as_str(), "Patient" | "Device" | "ImagingStudy"));
    }
}

/// Proves: REQ-SVC-252
#[test]
fn what_readings_share_gets_a_new_version_only_when_it_says_something_new() {
    let place = Place::new();
    let reading = reading("present", 0.8);
    let keys = place.keys("A 1", "1.2.3");
    let first = place.publish(&case().released(Result::Evaluated(&reading), keys.reading), &keys, 1_000);
    assert_eq!(kinds(&first).iter().filter(|kind| **kind == "Device").count(), 2);
    let keys = Keys { reading: place.house.site.new_id(), ..keys };
    let second = place.publish(&case().released(Result::Evaluated(&reading), keys.reading), &keys, 2_000);
    assert_eq!(kinds(&second), ["DiagnosticReport", "Media", "Observation", "Provenance", "Task"]);
    let mut changed = case();
    changed.study.patient_name = Phi::new("Muster-Beispiel^Eva".into());
    changed.study.instances.push(film("1.2.3.4", "1.2.3.10"));
    let keys = Keys { reading: place.house.site.new_id(), ..keys };
    let third = place.publish(&changed.released(Result::Evaluated(&reading), keys.reading), &keys, 3_000);
    assert_eq!((one(&third, "Patient").1, one(&third, "ImagingStudy").1), (2, 2));
    let study = place.resource("ImagingStudy", &keys.study.hex());
    assert_eq!(study["series"][0]["instance"].as_array().unwrap().len(), 3);
}

/// Proves: REQ-SVC-252
#[test]
fn a_reading_of_a_part_of_a_study_takes_no_instance_away() {
    let place = Place::new();
    let keys = place.keys("A 1", "1.2.3");
    place.publish(&case().released(FAILED, keys.reading), &keys, 1_000);
    let mut part = case();
    part.study.instances = vec![film("1.2.3.2", "1.2.3.20"), film("1.2.3.9", "1.2.3.20")];
    let keys = Keys { reading: place.house.site.new_id(), ..keys };
    place.publish(&part.released(FAILED, keys.reading), &keys, 2_000);
    let study = place.resource("ImagingStudy", &keys.study.hex());
    assert_eq!((study["numberOfSeries"].as_u64(), study["numberOfInstances"].as_u64()), (Some(2), Some(4)));
    let uids = |series: usize| {
        let instances = study["series"][series]["instance"].as_array().unwrap().iter();
        instances.map(|instance| instance["uid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (uids(0), uids(1)),
        (vec!["1.2.3.1".into(), "1.2.3.3".into()], vec!["1.2.3.2".into(), "1.2.3.9".into()])
    );
    // the other part alone changes nothing
    part.study.instances = vec![film("1.2.3.1", "1.2.3.10")];
    let keys = Keys { reading: place.house.site.new_id(), ..keys };
    let rows = place.publish(&part.released(FAILED, keys.reading), &keys, 3_000);
    assert!(!kinds(&rows).contains(&"ImagingStudy"));
}

/// The public key that the log enrolled for what the service hands out.
fn enrolled(house: &House) -> VerifyingKey {
    let entries = house.site.entries(0..house.site.size()).unwrap();
    let key = entries.iter().find_map(|bytes| match Entry::parse(bytes).unwrap().body {
        Body::KeyRotation(body) if body.purpose == KeyPurpose::Signoff => Some(body.new.to_string()),
        _ => None,
    });
    let key = key.unwrap();
    let key = URL_SAFE_NO_PAD.decode(key.strip_prefix("ed25519:").unwrap()).unwrap();
    VerifyingKey::from_bytes(key.as_slice().try_into().unwrap()).unwrap()
}

/// Proves: REQ-SVC-253
#[test]
fn the_provenance_names_versions_and_its_signature_covers_the_stored_bytes_of_the_report() {
    let place = Place::new();
    let keys = place.keys("A 1", "1.2.3");
    let rows = place.publish(&case().released(Result::Evaluated(&reading("present", 0.8)), keys.reading), &keys, 1);
    let provenance = place.resource("Provenance", one(&rows, "Provenance").0);
    let report = one(&rows, "DiagnosticReport").0;
    assert_eq!(provenance["target"][0]["reference"], format!("DiagnosticReport/{report}/_history/1"));
    assert!(provenance["target"][1]["reference"].as_str().unwrap().ends_with("/_history/1"));
    let row = place.house.site.resource("DiagnosticReport", report).unwrap().unwrap();
    let mut opened = Opened::new(&place.house);
    let bytes = opened.bytes(&row).unwrap();
    let jws = STANDARD.decode(provenance["signature"][0]["data"].as_str().unwrap()).unwrap();
    let jws = String::from_utf8(jws).unwrap();
    let (header, signature) = jws.split_once("..").unwrap();
    let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(bytes));
    let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    enrolled(&place.house).verify_strict(input.as_bytes(), &signature).unwrap();
}

/// Proves: REQ-SVC-254
#[test]
fn the_task_says_how_the_request_ended() {
    let place = Place::new();
    for (result, status, reason) in [
        (Result::Evaluated(&reading("absent", 0.1)), "completed", Value::Null),
        (Result::NotEvaluated(&refusal()), "rejected", "too-small".into()),
        (FAILED, "failed", "model-fault".into()),
    ] {
        let keys = place.keys("A 1", &format!("1.2.3.{status}"));
        let rows = place.publish(&case().released(result, keys.reading), &keys, 1);
        let task = place.resource("Task", one(&rows, "Task").0);
        assert_eq!((&task["status"], &task["statusReason"]["coding"][0]["code"]), (&status.into(), &reason));
        let report = format!("DiagnosticReport/{}", one(&rows, "DiagnosticReport").0);
        assert_eq!(task["output"][0]["valueReference"]["reference"], report.as_str());
        assert_eq!(task["for"]["reference"], format!("Patient/{}", keys.patient.hex()));
    }
}

/// Proves: REQ-SVC-255
#[test]
fn erasing_a_patient_closes_the_resources_and_leaves_the_devices() {
    let place = Place::new();
    let keys = place.keys("A 1", "1.2.3");
    let rows = place.publish(&case().released(Result::Evaluated(&reading("present", 0.8)), keys.reading), &keys, 1);
    place.house.site.vault().erase(&keys.patient).unwrap();
    for row in &rows {
        let Row::Resource { kind, id, .. } = row else { panic!("a resource was expected") };
        let row = place.house.site.resource(kind, id).unwrap().unwrap();
        assert_eq!(Opened::new(&place.house).resource(&row).is_ok(), kind == "Device", "{kind}");
    }
}

/// Proves: REQ-SVC-255
#[test]
fn a_patient_who_comes_again_after_an_erasure_is_published_anew() {
    let place = Place::new();
    let keys = place.keys("A 1", "1.2.3");
    place.publish(&case().released(FAILED, keys.reading), &keys, 1);
    place.house.site.vault().erase(&keys.patient).unwrap();
    let keys = Keys { reading: place.house.site.new_id(), ..keys };
    let rows = place.publish(&case().released(FAILED, keys.reading), &keys, 2);
    assert_eq!((one(&rows, "Patient").1, one(&rows, "ImagingStudy").1), (2, 2));
    assert_eq!(place.resource("Patient", &keys.patient.hex())["meta"]["versionId"], "2");
}
