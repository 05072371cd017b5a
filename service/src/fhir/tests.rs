//! Bundles of made-up readings: whole in their references, preliminary, without anything empty, the same bytes again.

use std::collections::BTreeSet;

use serde_json::Value;
use vidimus_log::{Digest, EntryId, Phi, Receipt};
use vidimus_reader::explain::badge::{Badge, Trust};
use vidimus_reader::{
    Coding, Digests, Finding, Interval, ModelFacts, Note, OperatingIntervals, OperatingPoint, Probability, Reading,
    Refusal, RefusalCode, Saliency, Uncertainty,
};

use super::*;

const FILM: &str = "1.2.840.10008.5.1.4.1.1.1.1";
const PICTURE: (&str, &[u8]) = ("overlay.png", b"picture");

/// What a Bundle is made from, owned.
pub(crate) struct Case {
    terms: Terms,
    pub(super) study: StudyFacts,
    model: ModelFacts,
    service: ServiceFacts,
    about: Coding,
}

fn coding(code: &str, display: &str) -> Coding {
    Coding { system: terms::SCT.into(), code: code.into(), display: display.into() }
}

pub(crate) fn film(uid: &str, series: &str) -> InstanceFacts {
    InstanceFacts {
        uid: Phi::new(uid.into()),
        series_uid: Phi::new(series.into()),
        sop_class: FILM.into(),
        modality: "DX".into(),
        commitment: Some(format!("c1:{uid}")),
    }
}

pub(crate) fn case() -> Case {
    Case {
        terms: Terms::new(vidimus_evidence::terminology().unwrap()),
        study: StudyFacts {
            patient_id: Phi::new("A 1,B|2".into()),
            patient_name: Phi::new("Muster^Eva^Maria^Dr.^MSc=KANJI^X=KANA".into()),
            birth_date: Phi::new("19700229".into()),
            sex: Some("F".into()),
            study_uid: Phi::new("1.2.3".into()),
            accession: Phi::new("ACC 7 ".into()),
            study_date: Phi::new("2024.02.29".into()),
            instances: vec![film("1.2.3.1", "1.2.3.10"), film("1.2.3.2", "1.2.3.20"), film("1.2.3.3", "1.2.3.10")],
        },
        model: ModelFacts {
            id: "chest-pneumonia".into(),
            version: "1.0.0".into(),
            weights_sha256: Digest::of(b"weights"),
            precision: "f32".into(),
            package_root: Digest::of(b"package"),
            mode: "shadow".into(),
        },
        service: ServiceFacts { version: "0.1.0".into(), binary: Digest::of(b"binary").hex(), site: "demo".into() },
        about: coding("233604007", "Pneumonia"),
    }
}

pub(crate) fn reading(decision: &'static str, probability: f64) -> Reading {
    let interval = Interval { low: 0.9, high: 0.97 };
    let digest = Digest::of(b"digest");
    Reading {
        model: case().model,
        findings: vec![Finding {
            id: "pneumonia".into(),
            code: coding("233604007", "Pneumonia"),
            body_site: coding("39607008", "Lung"),
            probability: Probability::new(probability).unwrap(),
            operating_point: OperatingPoint {
                name: "screening".into(),
                threshold: 0.4,
                sensitivity: 0.95,
                specificity: 0.93,
                ci95: OperatingIntervals { sensitivity: interval, specificity: interval },
                set: "set 1, 600 films".into(),
            },
            decision,
            regions: Vec::new(),
        }],
        measurements: Vec::new(),
        quality: vec![Note { code: "note".into(), text: "No spacing.".into() }],
        uncertainty: Uncertainty {
            ood_score: 0.1,
            ood_limit: f64::INFINITY,
            mirrored_probability: Vec::new(),
            mirrored_spread: 0.0,
            margin: 0.1,
            calibration: None,
            saliency_border_share: 0.0,
            notes: Vec::new(),
        },
        digests: Digests { input: digest, preprocessing: digest, output: digest, saliency: digest },
        saliency: Saliency::new("gradcam".into(), [1, 1], vec![1.0], 0.0, [8, 8]),
        badge: Badge { trust: Trust::Reliable, reasons: Vec::new(), gain: 1.0, mirror_agreement: 0.9 },
        image: 0,
    }
}

pub(crate) fn refusal() -> Refusal {
    Refusal { code: RefusalCode::TooSmall, text: "Rows (0028,0010): 8 found, 200 expected.".into() }
}

pub(crate) const FAILED: Result<'_> = Result::Failed { code: "model-fault", text: "The package cannot be opened." };

fn receipt(entry_id: EntryId) -> Receipt {
    Receipt {
        entry_id,
        index: 7,
        leaf: Digest::of(b"leaf"),
        tree_size: 9,
        entry: Vec::new(),
        proof: Vec::new(),
        checkpoint: String::new(),
    }
}

impl Case {
    fn bytes(&self, result: Result<'_>, release: Option<&Release<'_>>) -> Vec<u8> {
        let failed = matches!(result, Result::Failed { .. });
        let source = Source {
            terms: &self.terms,
            study: &self.study,
            model: (!failed).then_some(&self.model),
            service: &self.service,
            overlay: matches!(result, Result::Evaluated(_)).then_some(PICTURE),
            result,
            about: &self.about,
            requester: "system:cli",
            issued: "2024-03-01T10:00:00Z",
            seed: "0123456789abcdef",
        };
        bundle(&source, release)
    }

    /// The Bundle as it leaves, of a reading with this id.
    pub(crate) fn released(&self, result: Result<'_>, reading: EntryId) -> Vec<u8> {
        let failed = matches!(result, Result::Failed { .. });
        let receipt = receipt(reading);
        let sign = |bytes: &[u8]| Digest::of(bytes).hex();
        let release = Release { receipt: &receipt, origin: "log.example/demo", sign: &sign };
        let source = Source {
            terms: &self.terms,
            study: &self.study,
            model: (!failed).then_some(&self.model),
            service: &self.service,
            overlay: matches!(result, Result::Evaluated(_)).then_some(PICTURE),
            result,
            about: &self.about,
            requester: "system:cli",
            issued: "2024-03-01T10:00:00Z",
            seed: &reading.to_string(),
        };
        bundle(&source, Some(&release))
    }

    /// The Bundle, after what holds for every Bundle.
    fn bundle(&self, result: Result<'_>) -> Value {
        let bundle = serde_json::from_slice(&self.bytes(result, None)).unwrap();
        check(&bundle);
        bundle
    }
}

fn each<'a>(value: &'a Value, visit: &mut dyn FnMut(&'a Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| each(item, visit)),
        Value::Object(fields) => fields.values().for_each(|item| each(item, visit)),
        _ => {}
    }
}

fn check(bundle: &Value) {
    assert_eq!(bundle["type"], "transaction");
    let entries = bundle["entry"].as_array().unwrap();
    let addresses: BTreeSet<&str> = entries.iter().map(|entry| entry["fullUrl"].as_str().unwrap()).collect();
    assert_eq!(addresses.len(), entries.len(), "every address once");
    let table = vidimus_evidence::terminology().unwrap();
    let mut references = 0;
    each(bundle, &mut |value| {
        match value {
            Value::Null => panic!("a null"),
            Value::String(text) => assert!(!text.trim().is_empty() && text != "unlisted", "{text:?}"),
            Value::Array(items) => assert!(!items.is_empty(), "an empty list"),
            Value::Object(fields) => assert!(!fields.is_empty(), "an empty object"),
            Value::Bool(_) | Value::Number(_) => {}
        }
        if let Some(reference) = value["reference"].as_str() {
            references += 1;
            assert!(addresses.contains(reference), "{reference} leads nowhere");
        }
        if let (Some(system), Some(code)) = (value["system"].as_str(), value["code"].as_str())
            && [terms::SCT, terms::DCM, terms::LOINC, terms::UCUM].contains(&system)
        {
            assert!(table.display(system, code).is_some(), "{system} {code} stands in no table");
        }
    });
    assert!(references >= 8, "{references} references");
    for resource in all(bundle, "Observation").into_iter().chain(all(bundle, "DiagnosticReport")) {
        assert_eq!(resource["status"], "preliminary");
        assert_eq!(resource["meta"]["security"][0]["code"], "AIAST");
    }
}

fn all<'a>(bundle: &'a Value, kind: &str) -> Vec<&'a Value> {
    let resources = bundle["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]);
    resources.filter(|resource| resource["resourceType"] == kind).collect()
}

fn one<'a>(bundle: &'a Value, kind: &str) -> &'a Value {
    let [resource] = all(bundle, kind)[..] else { panic!("one {kind} was expected") };
    resource
}

fn condition<'a>(bundle: &'a Value, kind: &str) -> &'a Value {
    let entries = bundle["entry"].as_array().unwrap();
    &entries.iter().find(|entry| entry["resource"]["resourceType"] == kind).unwrap()["request"]["ifNoneExist"]
}

/// Proves: REQ-SYS-013
#[test]
fn a_present_finding_has_value_operating_point_and_package() {
    let bundle = case().bundle(Result::Evaluated(&reading("present", 0.8)));
    let observation = one(&bundle, "Observation");
    assert_eq!(observation["code"]["coding"][0]["code"], "233604007");
    assert_eq!(observation["valueCodeableConcept"]["coding"][0]["code"], "52101004");
    assert_eq!(observation["interpretation"][0]["coding"][0]["code"], "POS");
    assert_eq!(observation["effectiveDateTime"], "2024-02-29");
    assert!(observation["dataAbsentReason"].is_null());
    let components = observation["component"].as_array().unwrap();
    assert_eq!(components.len(), 5, "a limit without a number is no component");
    assert_eq!(components[0]["valueQuantity"]["value"], 80.0);
    assert_eq!(components[1]["valueQuantity"]["value"], 40.0);
    assert_eq!(all(&bundle, "Device").len(), 2);
    assert_eq!(one(&bundle, "DiagnosticReport")["performer"][0]["type"], "Organization");
    let provenance = one(&bundle, "Provenance");
    assert_eq!(provenance["agent"][1]["who"]["identifier"]["value"], "system:cli");
    assert_eq!(provenance["entity"].as_array().unwrap().len(), 4, "three films and the model card");
}

/// Proves: REQ-SYS-013
#[test]
fn an_absent_finding_says_so_in_both_codes() {
    let bundle = case().bundle(Result::Evaluated(&reading("absent", 0.1)));
    let observation = one(&bundle, "Observation");
    let codings = observation["valueCodeableConcept"]["coding"].as_array().unwrap();
    assert_eq!(codings.iter().map(|coding| &coding["code"]).collect::<Vec<_>>(), ["272519000", "2667000"]);
    assert_eq!(observation["interpretation"][0]["coding"][0]["code"], "NEG");
}

/// Proves: REQ-SYS-013
#[test]
fn a_study_not_evaluated_names_what_was_asked_and_why_there_is_no_value() {
    let mut case = case();
    case.about = coding("39607008", "another finding");
    let bundle = case.bundle(Result::NotEvaluated(&refusal()));
    let observation = one(&bundle, "Observation");
    assert_eq!(observation["code"]["coding"][0]["code"], "39607008");
    assert_eq!(observation["code"]["coding"][0]["display"], "Lung", "the table's word stands");
    assert!(observation["valueCodeableConcept"].is_null());
    assert_eq!(observation["dataAbsentReason"]["coding"][0]["code"], "unsupported");
    assert_eq!(observation["component"][0]["valueString"], "too-small");
    let conclusion = &one(&bundle, "DiagnosticReport")["conclusion"];
    assert_eq!(conclusion, "Not evaluated: Rows (0028,0010): 8 found, 200 expected.");
    assert!(all(&bundle, "Media").is_empty());
}

/// Proves: REQ-SYS-013
#[test]
fn a_failed_study_without_a_model_is_said_by_the_service() {
    let bundle = case().bundle(FAILED);
    let observation = one(&bundle, "Observation");
    assert_eq!(observation["dataAbsentReason"]["coding"][0]["code"], "error");
    assert_eq!(observation["component"][0]["valueString"], "model-fault");
    assert_eq!(one(&bundle, "DiagnosticReport")["conclusion"], "Failed: The package cannot be opened.");
    let service = one(&bundle, "Device");
    assert_eq!(service["identifier"][0]["value"], Digest::of(b"binary").hex());
    assert_eq!(observation["device"], one(&bundle, "Provenance")["agent"][0]["who"]);
}

/// Proves: REQ-SYS-013
#[test]
fn a_patient_without_an_id_matches_no_other_patient() {
    let mut case = case();
    for empty in ["", "  ", "\0"] {
        case.study.patient_id = Phi::new(empty.into());
        let bundle = case.bundle(FAILED);
        assert!(one(&bundle, "Patient")["identifier"].is_null());
        assert!(condition(&bundle, "Patient").is_null());
    }
}

/// Proves: REQ-SYS-013
#[test]
fn an_id_that_holds_a_separator_matches_itself_only() {
    let query = format!("identifier={BASE}/id/patient|A%201%5C%2CB%5C%7C2");
    assert_eq!(*condition(&case().bundle(FAILED), "Patient"), query);
}

/// Proves: REQ-SYS-013
#[test]
fn a_day_that_no_calendar_has_is_left_out() {
    for wrong in ["", "19700229", "20241301", "20240100", "00000101", "2024-02-9", "2024.02.30", "+2240229", "2024"] {
        assert_eq!(values::date(wrong), None, "{wrong}");
    }
    assert_eq!(values::date("20240229 ").as_deref(), Some("2024-02-29"));
    let mut case = case();
    case.study.study_date = Phi::new("20240230".into());
    let bundle = case.bundle(Result::Evaluated(&reading("present", 0.8)));
    assert!(one(&bundle, "Patient")["birthDate"].is_null());
    assert!(one(&bundle, "ImagingStudy")["started"].is_null());
    assert!(one(&bundle, "Observation")["effectiveDateTime"].is_null());
}

/// Proves: REQ-SYS-013
#[test]
fn a_name_has_its_parts_and_the_alphabetic_group_only() {
    let bundle = case().bundle(FAILED);
    let name = &one(&bundle, "Patient")["name"];
    let parts = json!([{ "family": "Muster", "given": ["Eva", "Maria"], "prefix": ["Dr."], "suffix": ["MSc"] }]);
    assert_eq!(*name, parts);
    for (dicom, parts) in [
        ("Muster", json!([{ "family": "Muster" }])),
        ("^^^Dr.", json!([{ "prefix": ["Dr."] }])),
        ("=KANJI^X", Value::Null),
        ("^^^^", Value::Null),
    ] {
        let mut case = self::case();
        case.study.patient_name = Phi::new(dicom.into());
        assert_eq!(one(&case.bundle(FAILED), "Patient")["name"], parts, "{dicom}");
    }
}

/// Proves: REQ-SYS-013
#[test]
fn two_series_list_their_own_instances() {
    let bundle = case().bundle(Result::Evaluated(&reading("present", 0.8)));
    let study = one(&bundle, "ImagingStudy");
    let uids = |series: &Value| {
        let instances = series["instance"].as_array().unwrap().iter();
        instances.map(|instance| instance["uid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(uids(&study["series"][0]), ["1.2.3.1", "1.2.3.3"]);
    assert_eq!(uids(&study["series"][1]), ["1.2.3.2"]);
    assert_eq!((&study["numberOfSeries"], &study["numberOfInstances"]), (&json!(2), &json!(3)));
    assert_eq!(*condition(&bundle, "ImagingStudy"), "identifier=urn:dicom:uid|urn:oid:1.2.3");
}

/// Proves: REQ-SYS-013
#[test]
fn an_identifier_that_is_none_is_left_out() {
    let long = format!("1.{}", "2".repeat(63));
    for wrong in ["", "1", "1.2.x", "3.2.1", "1..2", "1.02", ".1.2", "1.2.", long.as_str()] {
        assert_eq!(values::oid(wrong), None, "{wrong}");
    }
    assert_eq!(values::oid(&long[..64]), Some(format!("urn:oid:{}", &long[..64])));
    let mut case = case();
    case.study.study_uid = Phi::new("1.2/../x".into());
    case.study.instances[0].uid = Phi::new("film 1".into());
    case.study.instances[1].series_uid = Phi::new(String::new());
    case.study.instances[2].sop_class = "class".into();
    case.study.instances[0].modality = "?".into();
    let bundle = case.bundle(Result::NotEvaluated(&refusal()));
    let study = one(&bundle, "ImagingStudy");
    assert!(condition(&bundle, "ImagingStudy").is_null());
    assert_eq!(study["identifier"].as_array().unwrap().len(), 1, "the accession number stays");
    let [series] = &study["series"].as_array().unwrap()[..] else { panic!("one series was expected") };
    assert!(series["instance"].is_null());
    assert_eq!(series["modality"]["extension"][0]["valueCode"], "unknown");
    assert_eq!(study["numberOfInstances"], 3);
}

/// Proves: REQ-SYS-013
#[test]
fn the_same_source_gives_the_same_bytes() {
    let (a, b) = (reading("present", 0.8), reading("present", 0.8));
    assert_eq!(case().bytes(Result::Evaluated(&a), None), case().bytes(Result::Evaluated(&b), None));
    let other = reading("present", 0.81);
    assert_ne!(case().bytes(Result::Evaluated(&a), None), case().bytes(Result::Evaluated(&other), None));
}

/// Proves: REQ-SYS-013
#[test]
fn a_released_report_carries_its_receipt_and_the_signature_covers_its_bytes() {
    let receipt = receipt(EntryId::parse("018f00000000700080000000000000aa").unwrap());
    let sign = |bytes: &[u8]| Digest::of(bytes).hex();
    let release = Release { receipt: &receipt, origin: "log.example/demo", sign: &sign };
    for result in [Result::Evaluated(&reading("present", 0.8)), Result::NotEvaluated(&refusal()), FAILED] {
        let bundle: Value = serde_json::from_slice(&case().bytes(result, Some(&release))).unwrap();
        check(&bundle);
        let report = one(&bundle, "DiagnosticReport");
        assert_eq!(report["extension"][0]["extension"][0]["valueString"], receipt.leaf.hex());
        let signature = one(&bundle, "Provenance")["signature"][0]["data"].as_str().unwrap();
        let signed = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, signature).unwrap();
        assert_eq!(signed, sign(report.to_string().as_bytes()).into_bytes());
    }
}
