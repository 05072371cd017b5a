//! Searches at a real site with published readings: what is found, what is refused, pages that stay where they are.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vidimus_log::Phi;

use super::{
    asked::{Asked, Rules},
    parameters,
    search::search,
};
use crate::{
    fhir::{
        BASE, Result as Outcome,
        publish::Keys,
        publish_tests::Place,
        tests::{FAILED, case, reading, refusal},
    },
    http::{Kind, Problem},
    site::House,
};

pub(super) const AT: &str = "http://127.0.0.1:8042/fhir";

/// Reads a query as an address states it.
fn pairs(query: &str) -> Vec<(String, String)> {
    let plain = |text: &str| {
        let bytes: Vec<u8> = text.replace('+', " ").into_bytes();
        let (mut out, mut rest) = (Vec::new(), bytes.as_slice());
        while let Some((&byte, tail)) = rest.split_first() {
            let code = (byte == b'%').then(|| std::str::from_utf8(&tail[..2]).unwrap());
            out.push(code.map_or(byte, |code| u8::from_str_radix(code, 16).unwrap()));
            rest = if code.is_some() { &tail[2..] } else { tail };
        }
        String::from_utf8(out).unwrap()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(a, b)| (plain(a), plain(b))).collect()
}

pub(super) fn ask_as(house: &House, kind: &str, query: &str, lenient: bool) -> Result<Value, Problem> {
    let rules = Rules { house, base: AT, lenient };
    let asked = Asked::read(parameters::of(kind).unwrap(), &pairs(query), &rules)?;
    search(house, AT, &asked).map(|(bundle, _)| bundle)
}

pub(super) fn ask(house: &House, kind: &str, query: &str) -> Value {
    ask_as(house, kind, query, false).unwrap_or_else(|problem| panic!("{kind}?{query}: {}", problem.detail))
}

fn entries(bundle: &Value) -> &[Value] {
    bundle["entry"].as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn matches(bundle: &Value) -> Vec<&Value> {
    let found = entries(bundle).iter().filter(|entry| entry["search"]["mode"] == "match");
    found.map(|entry| &entry["resource"]).collect()
}

fn link<'a>(bundle: &'a Value, relation: &str) -> Option<&'a str> {
    let links = bundle["link"].as_array().unwrap().iter();
    links.filter(|link| link["relation"] == relation).find_map(|link| link["url"].as_str())
}

/// A site with three readings of two patients: present, absent, not evaluated; and one that failed.
pub(super) struct Ward {
    place: Place,
    keys: Vec<Keys>,
}

impl Ward {
    pub(super) fn new() -> Self {
        let place = Place::new();
        let mut keys = Vec::new();
        let readings = [
            ("A 1", "1.2.3", "20240229", Outcome::Evaluated(&reading("present", 0.8))),
            ("A 1", "1.2.4", "20240310", Outcome::Evaluated(&reading("absent", 0.1))),
            ("B 2", "1.2.5", "20231231", Outcome::NotEvaluated(&refusal())),
            ("B 2", "1.2.6", "", FAILED),
        ];
        for (place_of, (patient, study, day, outcome)) in readings.into_iter().enumerate() {
            let mut case = case();
            case.study.patient_id = Phi::new(patient.into());
            case.study.study_uid = Phi::new(study.into());
            case.study.study_date = Phi::new(day.into());
            let key = place.keys(patient, study);
            place.publish(&case.released(outcome, key.reading), &key, 1_700_000_000_000 + place_of as u64 * 86_400_000);
            keys.push(key);
        }
        Self { place, keys }
    }

    pub(super) fn house(&self) -> &House {
        &self.place.house
    }

    /// Which of the four readings are found.
    fn found(&self, kind: &str, query: &str) -> String {
        let bundle = ask(self.house(), kind, query);
        let studies: Vec<String> = self.keys.iter().map(|keys| keys.study.hex()).collect();
        let mut places: Vec<usize> = matches(&bundle)
            .into_iter()
            .map(|resource| {
                let text = resource.to_string();
                let by_study = studies.iter().position(|study| text.contains(study));
                by_study.unwrap_or_else(|| panic!("{kind} without a study: {text}"))
            })
            .collect();
        places.sort_unstable();
        places.iter().map(|place| "abcd".chars().nth(*place).unwrap()).collect()
    }
}

/// Proves: REQ-SVC-260
#[test]
fn each_sort_of_parameter_finds_what_the_standard_says() {
    let ward = Ward::new();
    let first = ward.keys[0];
    let report =
        matches(&ask(ward.house(), "DiagnosticReport", &format!("identifier={BASE}/id/reading|{}", first.reading)))
            .first()
            .map(|report| report["id"].as_str().unwrap().to_owned())
            .unwrap();
    let patient = first.patient.hex();
    let checks = [
        // tokens
        ("DiagnosticReport", "", "abcd"),
        ("DiagnosticReport", "status=preliminary", "abcd"),
        ("DiagnosticReport", "status=final", ""),
        ("DiagnosticReport", "status=final,preliminary", "abcd"),
        ("DiagnosticReport", "status:not=final", "abcd"),
        ("DiagnosticReport", "status=http://hl7.org/fhir/diagnostic-report-status|preliminary", "abcd"),
        ("DiagnosticReport", "status=http://elsewhere.example|preliminary", ""),
        ("DiagnosticReport", "code=18748-4", "abcd"),
        ("DiagnosticReport", "code=http://loinc.org|18748-4", "abcd"),
        ("DiagnosticReport", "code=http://loinc.org|", "abcd"),
        ("DiagnosticReport", "code=|18748-4", ""),
        ("DiagnosticReport", "code=http://snomed.info/sct|18748-4", ""),
        ("DiagnosticReport", "category=RAD", "abcd"),
        ("DiagnosticReport", "result:missing=false", "abcd"),
        ("DiagnosticReport", "results-interpreter:missing=true", "abcd"),
        ("DiagnosticReport", "media:missing=true", "cd"),
        ("Observation", "value-concept=52101004", "a"),
        ("Observation", "value-concept:missing=true", "cd"),
        ("Observation", "value-concept:not=52101004", "bcd"),
        ("Observation", "data-absent-reason=error,unsupported", "cd"),
        ("Observation", "code=http://snomed.info/sct|233604007&value-concept=272519000", "b"),
        // component: code and value together
        ("Observation", "component-code-value-quantity=111012$gt50", "a"),
        ("Observation", "component-code-value-quantity=http://dicom.nema.org/resources/ontology/DCM|111012$lt50", "b"),
        ("Observation", "component-code-value-quantity=111012$80||%25", "a"),
        ("Observation", "combo-code-value-quantity=111071$ge40", "ab"),
        ("Observation", "component-code-value-quantity=111012$80|http://unitsofmeasure.org|kg", ""),
        // dates
        ("DiagnosticReport", "date=2024", "ab"),
        ("DiagnosticReport", "date=2024-02", "a"),
        ("DiagnosticReport", "date=2024-02-29", "a"),
        ("DiagnosticReport", "date=ne2024", "c"),
        ("DiagnosticReport", "date=gt2024-02-29", "b"),
        ("DiagnosticReport", "date=ge2024-02-29", "ab"),
        ("DiagnosticReport", "date=lt2024", "c"),
        ("DiagnosticReport", "date=le2024-02-29", "ac"),
        ("DiagnosticReport", "date=gt2024-01-01&date=lt2024-03-01", "a"),
        ("DiagnosticReport", "date:missing=true", "d"),
        ("ImagingStudy", "started=ge2024", "ab"),
        // when it was published
        ("DiagnosticReport", "_lastUpdated=gt2023-11-16", "d"),
        ("DiagnosticReport", "_lastUpdated=lt2023-11-16T00:00:00Z", "ab"),
        ("DiagnosticReport", "_lastUpdated=2023-11-14T22:13:20Z", "a"),
        ("DiagnosticReport", "_lastUpdated=2023-11-14T23:13:20%2B01:00", "a"),
        // references
        ("DiagnosticReport", "patient=PATIENT", "ab"),
        ("DiagnosticReport", "subject=Patient/PATIENT", "ab"),
        ("DiagnosticReport", "subject:Patient=PATIENT", "ab"),
        ("DiagnosticReport", "patient=http://127.0.0.1:8042/fhir/Patient/PATIENT", "ab"),
        ("DiagnosticReport", "patient=PATIENT&date=2024-03", "b"),
        ("DiagnosticReport", "patient=unknown", ""),
        ("Observation", "derived-from=ImagingStudy/STUDY", "a"),
        ("Task", "focus=STUDY", "a"),
        ("Task", "status=completed", "ab"),
        ("Task", "status=rejected,failed", "cd"),
        ("Provenance", "target=DiagnosticReport/REPORT", "a"),
        ("Provenance", "target=DiagnosticReport/REPORT/_history/1", "a"),
        ("Provenance", "target=DiagnosticReport/REPORT/_history/2", ""),
        ("Provenance", "agent:identifier=system:cli", "abcd"),
        ("Provenance", "agent:identifier=somebody", ""),
        ("Provenance", "signature-type=1.2.840.10065.1.12.1.14", "abcd"),
        ("Provenance", "agent-type=assembler", "abcd"),
        // identifiers
        ("ImagingStudy", "identifier=urn:dicom:uid|urn:oid:1.2.4", "b"),
        ("ImagingStudy", "identifier=urn:oid:1.2.4", "b"),
        ("ImagingStudy", "identifier=urn:dicom:uid|urn:oid:9.9", ""),
        ("ImagingStudy", "modality=DX&instance=1.2.3.2", "abcd"),
        ("ImagingStudy", "_id=STUDY", "a"),
        ("ImagingStudy", "_id=STUDY,none", "a"),
    ];
    for (kind, query, expected) in checks {
        let query = query.replace("PATIENT", &patient).replace("STUDY", &first.study.hex()).replace("REPORT", &report);
        assert_eq!(ward.found(kind, &query), expected, "{kind}?{query}");
    }
}

/// Proves: REQ-SVC-260
#[test]
fn names_and_identifiers_find_patients_and_devices() {
    let ward = Ward::new();
    for (kind, query, expected) in [
        ("Patient", "family=mus", 2),
        ("Patient", "family:exact=muster", 0),
        ("Patient", "family:exact=Muster", 2),
        ("Patient", "family:contains=UST", 2),
        ("Patient", "given=maria", 2),
        ("Patient", "name=eva&gender=female", 2),
        ("Patient", "identifier=https://vidimus.example/fhir/id/patient|A%201", 1),
        ("Patient", "identifier=A%201,B%202", 2),
        ("Patient", "identifier=https://vidimus.example/fhir/id/patient|C", 0),
        ("Device", "", 2),
        ("Device", "type=Artificial-Intelligence", 1),
        ("Device", "device-name=vidimus", 1),
        ("Device", "device-name=chest", 1),
        ("Device", "model=1.0&status=active", 1),
        ("Device", "udi-di=00000000000000", 1),
        ("Media", "modality=DX", 2),
        ("Practitioner", "", 0),
    ] {
        assert_eq!(matches(&ask(ward.house(), kind, query)).len(), expected, "{kind}?{query}");
    }
}

/// Proves: REQ-SVC-261
#[test]
fn what_is_not_served_is_refused_by_name_and_never_by_value() {
    let ward = Ward::new();
    for (kind, query, names) in [
        ("DiagnosticReport", "_count=-1", "_count"),
        ("DiagnosticReport", "_count=x", "_count"),
        ("DiagnosticReport", "_count=201", "_count"),
        ("DiagnosticReport", "_count=%2B5", "_count"),
        ("DiagnosticReport", "secret=1", "parameter 1"),
        ("DiagnosticReport", "status=final&secret=1", "parameter 2"),
        ("DiagnosticReport", "patient.name=secret", "chained"),
        ("DiagnosticReport", "subject:Patient.identifier=secret", "chained"),
        ("Patient", "_has:Observation:patient:code=1", "chained"),
        ("DiagnosticReport", "status:text=secret", ":not"),
        ("DiagnosticReport", "date:exact=2024", "date"),
        ("DiagnosticReport", "date=secret", "date"),
        ("DiagnosticReport", "date=ap2024", "date"),
        ("DiagnosticReport", "date=2024,", "date"),
        ("DiagnosticReport", "code=a|b|c", "code"),
        ("DiagnosticReport", "code=|", "code"),
        ("DiagnosticReport", "status=", "status"),
        ("DiagnosticReport", "status:missing=secret", "status:missing"),
        ("DiagnosticReport", "patient=http://elsewhere.example/fhir/Patient/1", "patient"),
        ("DiagnosticReport", "patient=Device/1", "patient"),
        ("DiagnosticReport", "patient=../etc/passwd", "patient"),
        ("DiagnosticReport", "subject:Device=1", "subject"),
        ("DiagnosticReport", "_id=a%20b", "_id"),
        ("DiagnosticReport", "_sort=secret", "_sort"),
        ("DiagnosticReport", "_sort=date,issued", "_sort"),
        ("DiagnosticReport", "_include=*", "_include"),
        ("DiagnosticReport", "_include=Observation:device", "_include"),
        ("DiagnosticReport", "_include:iterate=DiagnosticReport:result", "parameter 1"),
        ("DiagnosticReport", "_revinclude=AuditEvent:entity", "_revinclude"),
        ("DiagnosticReport", "_summary=true", "_summary"),
        ("DiagnosticReport", "_total=secret", "_total"),
        ("DiagnosticReport", "_format=xml", "_format"),
        ("DiagnosticReport", "_elements=a.b", "_elements"),
        ("DiagnosticReport", "_cursor=secret", "_cursor"),
        ("DiagnosticReport", "_cursor=MQ.0123456789abcdef0123456789abcdef", "_cursor"),
        ("DiagnosticReport", "_text=secret", "parameter 1"),
        ("DiagnosticReport", "status=a%00", "parameter 1"),
        ("Observation", "component-code-value-quantity=111012", "component-code-value-quantity"),
        ("Observation", "component-code-value-quantity=111012$secret", "component-code-value-quantity"),
        ("Observation", "component-code-value-quantity=111012$inf", "component-code-value-quantity"),
        ("AuditEvent", "_sort=_lastUpdated", "_sort"),
        ("AuditEvent", "patient=1", "parameter 1"),
    ] {
        let problem = ask_as(ward.house(), kind, query, false).expect_err(query);
        assert_eq!(problem.kind, Kind::BadRequest, "{query}");
        assert!(problem.detail.contains(names), "{query}: {}", problem.detail);
        assert!(!problem.detail.contains("secret"), "{query}: {}", problem.detail);
    }
    let many = vec!["status=final"; 51].join("&");
    assert_eq!(ask_as(ward.house(), "DiagnosticReport", &many, false).unwrap_err().kind, Kind::BadRequest);
    let list = format!("status={}", vec!["final"; 101].join(","));
    assert_eq!(ask_as(ward.house(), "DiagnosticReport", &list, false).unwrap_err().kind, Kind::BadRequest);
}

/// Proves: REQ-SVC-261
#[test]
fn lenient_handling_leaves_the_unknown_out_and_self_says_what_was_understood() {
    let ward = Ward::new();
    let query = "status=preliminary&secret=1&_count=500";
    let bundle = ask_as(ward.house(), "DiagnosticReport", query, true).unwrap();
    assert_eq!(matches(&bundle).len(), 4);
    assert_eq!(link(&bundle, "self"), Some(format!("{AT}/DiagnosticReport?status=preliminary&_count=200").as_str()));
    // what is known and wrong stays refused
    assert!(ask_as(ward.house(), "DiagnosticReport", "_count=-1", true).is_err());
    assert!(ask_as(ward.house(), "DiagnosticReport", "date=x", true).is_err());
}

/// All pages of a search, following `next`.
pub(super) fn pages(house: &House, kind: &str, query: &str, between: &mut dyn FnMut(usize)) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut next = Some(query.to_owned());
    while let Some(query) = next {
        let bundle = ask(house, kind, &query);
        let ids = matches(&bundle).iter().map(|found| found["id"].as_str().unwrap().to_owned()).collect();
        pages.push(ids);
        let address = link(&bundle, "next").map(|url| url.strip_prefix(&format!("{AT}/{kind}?")).unwrap().to_owned());
        assert!(pages.len() < 100, "no end");
        between(pages.len());
        next = address;
    }
    pages
}

/// Proves: REQ-SVC-264
#[test]
fn pages_stay_where_they_are_while_new_readings_arrive() {
    let place = Place::new();
    let publish = |number: usize| {
        let study = format!("1.2.{number}");
        let mut case = case();
        case.study.study_uid = Phi::new(study.clone());
        case.study.study_date = Phi::new(format!("202401{:02}", 28 - number % 28));
        let keys = place.keys("A 1", &study);
        place.publish(&case.released(FAILED, keys.reading), &keys, 1_000 * number as u64);
    };
    (1..=7).for_each(publish);
    for query in ["_count=2", "_count=2&status=preliminary&_sort=-date", "_count=3&_sort=_lastUpdated", "_count=7"] {
        let quiet = pages(&place.house, "DiagnosticReport", query, &mut |_| {});
        let all: Vec<&String> = quiet.iter().flatten().collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{query}: none twice");
        assert_eq!(all.len(), 7, "{query}: none left out");
    }
    let before: Vec<String> = pages(&place.house, "DiagnosticReport", "_count=2", &mut |_| {}).concat();
    let mut number = 7;
    let during = pages(&place.house, "DiagnosticReport", "_count=2", &mut |_| {
        number += 1;
        publish(number);
    });
    assert_eq!(during.concat(), before, "what came in between stands before the first page");
    assert!(number > 9);
}

/// Proves: REQ-SVC-264
#[test]
fn a_cursor_belongs_to_its_search() {
    let ward = Ward::new();
    let bundle = ask(ward.house(), "DiagnosticReport", "_count=1&status=preliminary");
    let next = link(&bundle, "next").unwrap();
    let cursor = next.split("_cursor=").nth(1).unwrap();
    for (kind, query) in [
        ("Observation", "_count=1&status=preliminary"),
        ("DiagnosticReport", "_count=1"),
        ("DiagnosticReport", "_count=1&status=final"),
        ("DiagnosticReport", "_count=1&status=preliminary&_sort=date"),
    ] {
        let problem = ask_as(ward.house(), kind, &format!("{query}&_cursor={cursor}"), false).unwrap_err();
        assert_eq!(problem.kind, Kind::BadRequest, "{query}");
    }
    // the page's size may change on the way
    let rest = ask(ward.house(), "DiagnosticReport", &format!("_count=10&status=preliminary&_cursor={cursor}"));
    assert_eq!(matches(&rest).len(), 3);
}

/// Proves: REQ-SVC-265
#[test]
fn a_searchset_says_where_its_resources_live_and_how_many_there_are() {
    let ward = Ward::new();
    let bundle = ask(ward.house(), "DiagnosticReport", "");
    assert_eq!((&bundle["type"], &bundle["total"]), (&json!("searchset"), &json!(4)));
    assert_eq!(link(&bundle, "self"), Some(format!("{AT}/DiagnosticReport").as_str()));
    assert_eq!(link(&bundle, "next"), None);
    for entry in entries(&bundle) {
        let id = entry["resource"]["id"].as_str().unwrap();
        assert_eq!(entry["fullUrl"], format!("{AT}/DiagnosticReport/{id}"));
    }
    let times: Vec<&str> =
        matches(&bundle).iter().map(|found| found["meta"]["lastUpdated"].as_str().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[0] >= pair[1]), "the newest first: {times:?}");
    let counted = ask(ward.house(), "DiagnosticReport", "status=preliminary&_summary=count");
    assert_eq!((&counted["total"], entries(&counted).len()), (&json!(4), 0));
    assert_eq!(ask(ward.house(), "DiagnosticReport", "date=2024&_count=0")["total"], 2);
    let page = ask(ward.house(), "DiagnosticReport", "_count=1&_total=accurate");
    assert_eq!((&page["total"], matches(&page).len()), (&json!(4), 1));
    assert!(ask(ward.house(), "DiagnosticReport", "_count=1")["total"].is_null());
    let empty = ask(ward.house(), "DiagnosticReport", "status=final");
    assert_eq!((&empty["total"], entries(&empty).len()), (&json!(0), 0));
}

/// Proves: REQ-SVC-265
#[test]
fn parts_are_marked_and_keep_what_must_be_there() {
    let ward = Ward::new();
    let bundle = ask(ward.house(), "DiagnosticReport", "_elements=issued&_count=1");
    let part = matches(&bundle)[0];
    assert!(part["issued"].is_string() && part["status"].is_string() && part["code"].is_object());
    assert!(part["conclusion"].is_null() && part["result"].is_null());
    assert_eq!(part["meta"]["tag"][0]["code"], "SUBSETTED");
}

/// Proves: REQ-SVC-266
#[test]
fn what_belongs_together_comes_together() {
    let ward = Ward::new();
    let kinds = |kind: &str, query: &str| {
        let bundle = ask(ward.house(), kind, query);
        let included = entries(&bundle).iter().filter(|entry| entry["search"]["mode"] == "include");
        let mut kinds: Vec<String> =
            included.map(|entry| entry["resource"]["resourceType"].as_str().unwrap().to_owned()).collect();
        kinds.sort_unstable();
        kinds.join(" ")
    };
    let study = ward.keys[0].study.hex();
    for (kind, query, expected) in [
        ("DiagnosticReport", "date=2024&_include=DiagnosticReport:result", "Observation Observation"),
        ("DiagnosticReport", "date=2024&_include=DiagnosticReport:patient", "Patient"),
        (
            "DiagnosticReport",
            "date=2024-02&_include=DiagnosticReport:result&_include=DiagnosticReport:media",
            "Media Observation",
        ),
        ("DiagnosticReport", "date=2024-02&_revinclude=Provenance:target", "Provenance"),
        ("Observation", "value-concept=52101004&_include=Observation:derived-from", "ImagingStudy Media"),
        ("Observation", "value-concept=52101004&_include=Observation:derived-from:ImagingStudy", "ImagingStudy"),
        ("Observation", "value-concept=52101004&_include=Observation:device", "Device"),
        ("Observation", "value-concept=52101004&_revinclude=DiagnosticReport:result", "DiagnosticReport"),
        ("ImagingStudy", "_id=STUDY&_revinclude=Observation:derived-from&_revinclude=Task:focus", "Observation Task"),
        ("Provenance", "_count=1&_include=Provenance:target", "DiagnosticReport Observation"),
        ("Patient", "identifier=A%201&_revinclude=DiagnosticReport:patient", "DiagnosticReport DiagnosticReport"),
    ] {
        assert_eq!(kinds(kind, &query.replace("STUDY", &study)), expected, "{kind}?{query}");
    }
}

/// Proves: REQ-SVC-267
#[test]
fn an_erased_patient_is_found_no_more_and_nobody_else_is_lost() {
    let ward = Ward::new();
    ward.house().site.vault().erase(&ward.keys[0].patient).unwrap();
    assert_eq!(ward.found("DiagnosticReport", ""), "cd");
    assert_eq!(ward.found("DiagnosticReport", "date=2024"), "");
    assert_eq!(matches(&ask(ward.house(), "Device", "")).len(), 2);
}
