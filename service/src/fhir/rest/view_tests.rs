//! What is no stored resource: Tasks that wait, the log as AuditEvents, and what the server says of itself.

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    operations,
    tests::{Ward, ask, matches, pages},
};
use crate::{
    fhir::{
        publish::Keys,
        publish_tests::Place,
        tests::{FAILED, case},
    },
    http::Verb,
};

/// Proves: REQ-SVC-254
#[test]
fn a_study_that_waits_has_a_task_until_it_is_read() {
    let place = Place::new();
    let keys = place.keys("A 1", "1.2.3");
    let site = &place.house.site;
    let arrival = {
        let body = vidimus_log::body::Incident {
            code: "test".into(),
            severity: "warning".into(),
            detail: vidimus_log::Digest::of(b"").into(),
            text: "stands for an arrival".into(),
        };
        let id = vidimus_log::Recorder::new_id(site);
        let subject = place.house.subject(&keys.patient).unwrap();
        let document = site.vault().put(&subject, b"work").unwrap();
        let row = vidimus_store::Row::Work { study: keys.study, patient: keys.patient, arrival: id, document };
        site.record_with(vidimus_log::Draft::system(id, body), vec![row]).unwrap();
        id
    };
    let task = |query: &str| {
        let bundle = ask(&place.house, "Task", query);
        matches(&bundle).first().map(|task| (task["id"].as_str().unwrap().to_owned(), task["status"].clone()))
    };
    let (id, status) = task("").unwrap();
    assert_eq!(status, "requested");
    assert_eq!(task("status=requested").unwrap().0, id);
    assert!(task("status=completed").is_none());
    site.work_begin(&keys.study).unwrap();
    assert_eq!(task("").unwrap().1, "in-progress");
    let keys = Keys { arrival: Some(arrival), ..keys };
    place.publish(&case().released(FAILED, keys.reading), &keys, 1);
    place.record(vec![vidimus_store::Row::WorkDone { study: keys.study, arrival }]);
    assert_eq!(task("").unwrap(), (id, json!("failed")), "the same Task, now stored");
    assert_eq!(ask(&place.house, "Task", "_summary=count")["total"], 1);
}

/// Proves: REQ-SVC-272
#[test]
fn the_log_is_searched_as_audit_events_without_a_patient() {
    let ward = Ward::new();
    let size = ward.house().site.size();
    assert_eq!(ask(ward.house(), "AuditEvent", "_summary=count")["total"], size);
    let all = pages(ward.house(), "AuditEvent", "_count=3", &mut |_| {}).concat();
    let indices: Vec<String> = (0..size).rev().map(|index| index.to_string()).collect();
    assert_eq!(all, indices, "the newest first, each once");
    for (query, expected) in [
        ("_id=0", 1),
        ("_id=0,1", 2),
        ("_id=99999", 0),
        ("subtype=boot", 1),
        ("subtype=https://vidimus.example/fhir/CodeSystem/audit|incident", 4),
        ("type=110113", 5),
        ("type=http://dicom.nema.org/resources/ontology/DCM|110100&subtype=110120", 2),
        ("outcome=4", 4),
        ("outcome:not=4&action=U", 1),
        ("agent:identifier=sys&subtype=incident", 4),
        ("agent:identifier=stf_aaaaaaaaaaaaaaaaaaaaaaaaaa", 0),
        ("agent-role=system&subtype=key_rotation", 1),
        ("date=gt2999", 0),
        ("date=ge2020&subtype=site_opened", 1),
    ] {
        assert_eq!(matches(&ask(ward.house(), "AuditEvent", query)).len(), expected, "{query}");
    }
    let everything = ask(ward.house(), "AuditEvent", "_count=200").to_string();
    for secret in ["A 1", "Muster", "1.2.3.1", "19700229", "ACC 7"] {
        assert!(!everything.contains(secret), "{secret}");
    }
}

/// Proves: REQ-SVC-268
#[test]
fn the_capability_statement_says_what_the_table_serves_and_nothing_else() {
    let statement = super::capability::statement("http://127.0.0.1:8042", "0.1.0");
    let rows = operations();
    let resources = statement["rest"][0]["resource"].as_array().unwrap();
    let mut claimed = BTreeSet::new();
    for resource in resources {
        let kind = resource["type"].as_str().unwrap();
        for interaction in resource["interaction"].as_array().unwrap() {
            let rest = match interaction["code"].as_str().unwrap() {
                "read" => "/{id}",
                "vread" => "/{id}/_history/{vid}",
                "history-instance" => "/{id}/_history",
                "search-type" => "",
                other => panic!("{other}"),
            };
            claimed.insert(format!("/fhir/{kind}{rest}"));
        }
        for operation in resource["operation"].as_array().into_iter().flatten() {
            claimed.insert(format!("/fhir/{kind}/{{id}}/${}", operation["name"].as_str().unwrap()));
        }
        let search = rows.iter().find(|row| row.verb == Verb::Get && row.path == format!("/fhir/{kind}")).unwrap();
        let served: BTreeSet<&str> = search.parameters.iter().map(|parameter| parameter.name).collect();
        for parameter in resource["searchParam"].as_array().unwrap() {
            assert!(served.contains(parameter["name"].as_str().unwrap()), "{kind}");
        }
    }
    let served: BTreeSet<String> = rows
        .iter()
        .map(|row| row.path.to_string())
        .filter(|path| !path.ends_with("/_search") && path != "/fhir/metadata" && !path.contains("well-known"))
        .collect();
    assert_eq!(claimed, served);
}

/// Proves: REQ-SVC-269
#[test]
fn the_regulator_sees_audit_events_and_devices_and_no_patient() {
    use crate::access::Role;
    for row in operations().iter().filter(|row| row.roles.contains(&Role::Regulator)) {
        let of = row.path.trim_start_matches("/fhir/").split('/').next().unwrap();
        assert!(matches!(of, "AuditEvent" | "Device"), "{}", row.path);
    }
    for row in operations() {
        assert!(!row.roles.contains(&Role::Modality), "{}", row.path);
        assert!(vidimus_log::values::is_code(&row.id), "{}", row.id);
    }
}
