//! `/fhir` through the served program: from a stored film to a signed report, versions, refusals, and the log as
//! AuditEvents.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use vidimus_tests::http::{Request, Response, Served};

use crate::{
    http_stow::{body, film},
    site::{assert_log_whole, copy},
};

const TYPES: &[&str] =
    &["DiagnosticReport", "Observation", "ImagingStudy", "Device", "Provenance", "Task", "Patient", "Media"];

/// The resources of a searchset.
fn found(response: Response) -> Vec<Value> {
    assert_eq!(response.header("content-type"), Some("application/fhir+json; charset=utf-8"));
    let bundle = response.expect_status(200).json();
    assert_eq!((&bundle["resourceType"], &bundle["type"]), (&json!("Bundle"), &json!("searchset")));
    bundle["entry"].as_array().into_iter().flatten().map(|entry| entry["resource"].clone()).collect()
}

/// Fails unless the answer is an OperationOutcome with this status and code, that tells nothing of the program.
#[track_caller]
fn outcome(response: &Response, status: u16, code: &str) {
    assert_eq!(response.status, status, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/fhir+json; charset=utf-8"));
    let outcome = response.json();
    assert_eq!(outcome["resourceType"], "OperationOutcome");
    assert_eq!(outcome["issue"][0]["details"]["coding"][0]["code"], code, "{outcome}");
    for telling in [".rs:", "/src/", "/tmp/", "panicked", "sqlite"] {
        assert!(!response.text().contains(telling), "{telling}: {}", response.text());
    }
}

fn sign(served: &Served, token: &str, report: &str, seen: Option<u32>, parameters: &[(&str, &str)]) -> Response {
    let parameters: Vec<Value> =
        parameters.iter().map(|(name, value)| json!({ "name": name, "valueCode": value })).collect();
    let body = json!({ "resourceType": "Parameters", "parameter": parameters }).to_string();
    let request = Request::new("POST", &format!("/fhir/DiagnosticReport/{report}/$sign")).token(token);
    let request = match seen {
        Some(version) => request.header("If-Match", &format!("W/\"{version}\"")),
        None => request,
    };
    served.call(&request.body("application/fhir+json", body))
}

fn id(resource: &Value) -> String {
    resource["id"].as_str().unwrap().to_owned()
}

/// Waits until a search finds something.
fn until_found(served: &Served, token: &str, path: &str) -> Value {
    let started = Instant::now();
    loop {
        if let Some(one) = found(served.get(path, token)).first() {
            return one.clone();
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{path} stays empty");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Proves: REQ-SVC-290
#[test]
fn a_stored_film_becomes_a_report_that_only_a_signature_makes_final() {
    let (_site, dir) = copy();
    let served = Served::start(&dir, &[]);
    let clinician = served.token("clinician");
    let stored = served
        .call(
            &Request::new("POST", "/dicom-web/studies")
                .token(&served.token("modality"))
                .body("multipart/related; type=\"application/dicom\"; boundary=b", body(&[&film(3, 77)])),
        )
        .expect_status(200)
        .json();
    let address = stored["00081199"]["Value"][0]["00081155"]["Value"][0].as_str().unwrap().to_owned();
    let study = until_found(&served, &clinician, &format!("/fhir/ImagingStudy?instance={address}"));
    let path = format!("/fhir/Task?focus={}", id(&study));
    let task = until_found(&served, &clinician, &path);
    assert!(["completed", "rejected"].contains(&task["status"].as_str().unwrap()), "{task}");
    let path =
        format!("/fhir/Observation?derived-from=ImagingStudy/{}&_revinclude=DiagnosticReport:result", id(&study));
    let together = found(served.get(&path, &clinician));
    let report = together.iter().find(|one| one["resourceType"] == "DiagnosticReport").unwrap().clone();
    assert_eq!((&report["status"], &report["meta"]["security"][0]["code"]), (&json!("preliminary"), &json!("AIAST")));
    assert_eq!(served.end().0, Some(0));
    assert_log_whole(&dir);
}

/// Proves: REQ-SVC-290
/// Proves: REQ-SVC-291
#[test]
fn versions_are_kept_and_a_signature_names_the_one_that_was_seen() {
    let (_site, dir) = copy();
    let served = Served::start(&dir, &[]);
    let clinician = served.token("clinician");
    let reports = found(served.get("/fhir/DiagnosticReport?media:missing=false&status=preliminary", &clinician));
    let (first, second) = (id(&reports[0]), id(&reports[1]));
    let path = format!("/fhir/DiagnosticReport/{first}");
    let before = served.get(&path, &clinician).expect_status(200);
    assert_eq!(before.header("etag"), Some("W/\"1\""));
    assert!(before.header("last-modified").is_some_and(|date| date.ends_with(" GMT")));
    let held = served.call(&Request::new("GET", &path).token(&clinician).header("If-None-Match", "W/\"1\""));
    assert_eq!((held.status, held.body.len()), (304, 0));

    outcome(&sign(&served, &clinician, &first, None, &[("decision", "agree")]), 428, "precondition-required");
    outcome(&sign(&served, &clinician, &first, Some(2), &[("decision", "agree")]), 412, "precondition-failed");
    outcome(&sign(&served, &clinician, "unknown", Some(1), &[("decision", "agree")]), 404, "not-found");
    outcome(&sign(&served, &clinician, &first, Some(1), &[("decision", "maybe")]), 422, "unprocessable");
    outcome(&sign(&served, &clinician, &first, Some(1), &[("decision", "disagree")]), 422, "unprocessable");
    outcome(&sign(&served, &clinician, &first, Some(1), &[("unknown", "x")]), 400, "bad-request");
    outcome(&sign(&served, &served.token("quality"), &first, Some(1), &[("decision", "agree")]), 403, "forbidden");

    let signed = sign(&served, &clinician, &first, Some(1), &[("decision", "agree"), ("comment", "seen")]);
    let signed = signed.expect_status(200);
    assert_eq!((signed.header("etag"), &signed.json()["status"]), (Some("W/\"2\""), &json!("final")));
    outcome(&sign(&served, &clinician, &first, Some(2), &[("decision", "agree")]), 409, "conflict");
    assert_eq!(served.get(&format!("{path}/_history/1"), &clinician).expect_status(200).body, before.body);
    let history = served.get(&format!("{path}/_history"), &clinician).expect_status(200).json();
    let versions: Vec<&Value> =
        history["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]["meta"]["versionId"]).collect();
    assert_eq!(versions, ["2", "1"]);
    let held = served.call(&Request::new("GET", &path).token(&clinician).header("If-None-Match", "W/\"1\""));
    assert_eq!(held.status, 200);

    let present = reports[1]["conclusion"].as_str().unwrap().contains(": present");
    let other = if present { "absent" } else { "present" };
    let parameters = [("decision", "disagree"), ("result", other), ("reason", "known-finding")];
    let signed = sign(&served, &clinician, &second, Some(1), &parameters).expect_status(200).json();
    let own = signed["result"][0]["reference"].as_str().unwrap();
    let own = served.get(&format!("/fhir/{own}"), &clinician).expect_status(200).json();
    let programs = own["derivedFrom"][0]["reference"].as_str().unwrap();
    let programs = served.get(&format!("/fhir/{programs}"), &clinician).expect_status(200).json();
    assert_eq!((&own["status"], &programs["status"]), (&json!("final"), &json!("preliminary")));
    let reading = signed["identifier"][0]["value"].as_str().unwrap();
    let shown = served.get(&format!("/readings/{reading}"), &clinician).expect_status(200).json();
    assert_eq!((&shown["sign_off"]["agrees"], &shown["sign_off"]["decision"]), (&json!(false), &json!(other)));
    assert_eq!(found(served.get("/fhir/DiagnosticReport?status=final", &clinician)).len(), 2);
    assert_eq!(served.end().0, Some(0));
    assert_log_whole(&dir);
}

fn references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        Value::Object(fields) => {
            into.extend(fields.get("reference").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| references(value, into));
        }
        _ => {}
    }
}

/// Proves: REQ-SVC-292
#[test]
fn every_reference_that_is_served_can_be_read_and_every_list_be_walked() {
    let (_site, dir) = copy();
    let served = Served::start(&dir, &[]);
    let clinician = served.token("clinician");
    let mut leads = BTreeSet::new();
    for kind in TYPES {
        let mut path = Some(format!("/fhir/{kind}?_count=5"));
        let mut seen = BTreeMap::new();
        while let Some(address) = path {
            let bundle = served.get(&address, &clinician).expect_status(200).json();
            for entry in bundle["entry"].as_array().into_iter().flatten() {
                let resource = &entry["resource"];
                assert_eq!(seen.insert(id(resource), ()), None, "{kind} twice");
                references(resource, &mut leads);
            }
            let next = bundle["link"].as_array().unwrap().iter().find(|link| link["relation"] == "next");
            let url = next.map(|link| link["url"].as_str().unwrap());
            path = url.map(|url| url.split_once(&served.address).unwrap().1.to_owned());
        }
        let whole = served.get(&format!("/fhir/{kind}?_summary=count"), &clinician).expect_status(200).json();
        assert_eq!(whole["total"], seen.len(), "{kind}");
        assert!(!seen.is_empty(), "{kind}");
    }
    assert!(leads.len() > 20, "{}", leads.len());
    for reference in leads {
        served.get(&format!("/fhir/{reference}"), &clinician).expect_status(200);
    }
    let form = Request::new("POST", "/fhir/DiagnosticReport/_search").token(&clinician);
    let form = form.body("application/x-www-form-urlencoded", "status=preliminary&_count=2");
    assert_eq!(found(served.call(&form)).len(), 2);
}

/// Proves: REQ-SVC-293
#[test]
fn what_is_refused_under_fhir_is_an_operation_outcome() {
    let (_site, dir) = copy();
    let served = Served::start(&dir, &[]);
    let (clinician, regulator) = (served.token("clinician"), served.token("regulator"));
    let get = |path: &str, token: &str| served.get(path, token);
    for (path, status, code) in [
        ("/fhir/DiagnosticReport?_count=-1", 400, "bad-request"),
        ("/fhir/DiagnosticReport?unknown=1", 400, "bad-request"),
        ("/fhir/DiagnosticReport?_cursor=x", 400, "bad-request"),
        ("/fhir/DiagnosticReport?patient.name=x", 400, "bad-request"),
        ("/fhir/DiagnosticReport/none", 404, "not-found"),
        ("/fhir/DiagnosticReport/none/_history", 404, "not-found"),
        ("/fhir/DiagnosticReport/none/_history/1", 404, "not-found"),
        ("/fhir/DiagnosticReport/a_b", 404, "not-found"),
        ("/fhir/Basic", 404, "not-found"),
        ("/fhir/DiagnosticReport?_format=xml", 406, "not-acceptable"),
    ] {
        outcome(&get(path, &clinician), status, code);
    }
    let lenient = Request::new("GET", "/fhir/DiagnosticReport?unknown=1&status=preliminary").token(&clinician);
    let bundle = served.call(&lenient.header("Prefer", "handling=lenient")).expect_status(200).json();
    assert!(bundle["link"][0]["url"].as_str().unwrap().ends_with("/fhir/DiagnosticReport?status=preliminary"));
    let xml = Request::new("GET", "/fhir/DiagnosticReport").token(&clinician).header("Accept", "application/fhir+xml");
    outcome(&served.call(&xml), 406, "not-acceptable");
    outcome(&served.call(&Request::new("GET", "/fhir/DiagnosticReport")), 401, "unauthenticated");
    for kind in TYPES.iter().filter(|kind| **kind != "Device") {
        outcome(&get(&format!("/fhir/{kind}"), &regulator), 403, "forbidden");
    }
    outcome(&get("/fhir/AuditEvent", &clinician), 403, "forbidden");

    // all of this is in the log, and the regulator reads it there
    assert!(!found(get("/fhir/Device", &regulator)).is_empty());
    let refused = found(get("/fhir/AuditEvent?subtype=fhir.patient.search&outcome=8", &regulator));
    assert_eq!((&refused[0]["outcomeDesc"], &refused[0]["agent"][0]["requestor"]), (&json!("role"), &json!(true)));
    let failed = found(get("/fhir/AuditEvent?subtype=fhir.diagnosticreport.read&outcome=4", &regulator));
    assert_eq!(failed[0]["outcomeDesc"], "not-found");
    let event = get(&format!("/fhir/AuditEvent/{}", id(&failed[0])), &regulator).expect_status(200).json();
    assert_eq!(event, failed[0]);
    outcome(&get("/fhir/AuditEvent/999999", &regulator), 404, "not-found");
    outcome(&get("/fhir/AuditEvent/007", &regulator), 404, "not-found");
}

/// Proves: REQ-SVC-268
#[test]
fn a_stranger_reads_what_the_server_can_do_and_nothing_else() {
    let (_site, dir) = copy();
    let served = Served::start(&dir, &[]);
    let open = |path: &str| served.call(&Request::new("GET", path));
    let statement = open("/fhir/metadata").expect_status(200).json();
    assert_eq!(
        (&statement["resourceType"], &statement["fhirVersion"]),
        (&json!("CapabilityStatement"), &json!("4.0.1"))
    );
    assert_eq!(statement["implementation"]["url"], format!("http://{}/fhir", served.address));
    for resource in statement["rest"][0]["resource"].as_array().unwrap() {
        outcome(&open(&format!("/fhir/{}", resource["type"].as_str().unwrap())), 401, "unauthenticated");
    }
    let smart = open("/fhir/.well-known/smart-configuration").expect_status(200).json();
    assert!(smart["jwks_uri"].as_str().unwrap().ends_with("/.well-known/jwks.json"));
}
