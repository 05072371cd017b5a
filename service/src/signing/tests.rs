//! Signatures at a real site, both ways: what is in the log, what the resources say, what is refused.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;
use vidimus_log::{
    Actor, Body, Digest, Draft, Entry, EntryId, Recorder as _,
    body::{
        AccessAction, AccessResult, AccessWhat, KeyPurpose, Meaning, ModelRegistered, OutcomeStatus, ReadIntent,
        ReadOutcome, ReadPurpose,
    },
    values::{Commit, Sha256},
};
use vidimus_store::{ResourceQuery, Row, attention};

use super::{Act, Decision, Judgement, sign, view};
use crate::{
    access::{Caller, Role},
    fhir::{
        Result as Outcome,
        publish::{Keys, rows, turn},
        publish_tests::Place,
        shelf::Opened,
        tests::{case, reading},
    },
    http::{Kind, Problem},
};

const NAME: &str = "Dr. Test Person";

fn commit() -> Commit {
    format!("c1:{}", "2".repeat(64)).into()
}

fn caller(role: Role) -> Caller {
    Caller {
        actor: Actor::staff([7; 16], role.as_str()),
        role,
        name: NAME.into(),
        auth_time_s: crate::site::now_ms() / 1_000,
        token_id: "token".into(),
        session: false,
        ends_s: u64::MAX,
    }
}

/// A site with one published reading.
struct Desk {
    place: Place,
    keys: Keys,
}

impl Desk {
    /// A reading that found the finding present, and was published with this status.
    fn new(status: &str) -> Self {
        let place = Place::new();
        let mut keys = place.keys("A 1", "1.2.3");
        keys.reading = outcome(&place);
        let bundle = case().released(Outcome::Evaluated(&reading("present", 0.8)), keys.reading);
        {
            let _turn = turn();
            let subject = place.house.subject(&keys.patient).unwrap();
            let mut rows = rows(&place.house, &subject, &bundle, &keys, 1_000).unwrap();
            rows.push(Row::Published {
                reading: keys.reading,
                study: keys.study,
                patient: keys.patient,
                status: status.into(),
                decision: None,
                attention: attention::PRESENT,
                model_root: Digest::of(b"package"),
                document: place.house.site.vault().put(&subject, b"{}").unwrap(),
                issued_ms: 1_000,
            });
            place.record(rows);
        }
        Self { place, keys }
    }

    fn sign(&self, caller: &Caller, change: impl FnOnce(&mut Act<'_>)) -> Result<super::Signed, Problem> {
        let house = &self.place.house;
        let mut act = Act {
            house,
            caller,
            reading: self.keys.reading,
            judgement: Judgement::Agrees,
            meaning: Meaning::Review,
            comment: None,
            if_match: None,
        };
        change(&mut act);
        sign(&act, &|_, refs| {
            let body = vidimus_log::body::Access {
                operation: "readings.sign-off".into(),
                action: AccessAction::Execute,
                what: AccessWhat::Finding,
                subject: None,
                result: AccessResult::Granted,
                why: "role".into(),
                policy: Sha256(Digest::of(b"policy")),
                client: commit(),
            };
            let entry_id = house.site.new_id();
            Ok(Draft { entry_id, actor: caller.actor.clone(), refs, body: body.into(), trace: None })
        })
    }

    /// The entries from an index on.
    fn entries(&self, from: u64) -> Vec<Entry> {
        let site = &self.place.house.site;
        let entries = site.entries(from..site.size()).unwrap();
        entries.iter().map(|bytes| Entry::parse(bytes).unwrap()).collect()
    }

    /// The newest version of each resource of this type.
    fn resources(&self, kind: &str) -> Vec<Value> {
        let query = ResourceQuery { kind: kind.into(), ..ResourceQuery::default() };
        let rows = self.place.house.site.resources(&query).unwrap();
        rows.iter().map(|row| Opened::new(&self.place.house).resource(row).unwrap()).collect()
    }
}

/// An outcome in the log, with the intent and the model before it.
fn outcome(place: &Place) -> EntryId {
    let site = &place.house.site;
    let digest = Sha256(Digest::of(b"digest"));
    let record = |refs, body: Body| {
        let draft = Draft { entry_id: site.new_id(), actor: Actor::system(), refs, body, trace: None };
        site.record(draft).unwrap()
    };
    let model = ModelRegistered {
        model: "m".into(),
        version: "1".into(),
        package: digest,
        weights: digest,
        graph: digest,
        preproc: digest,
        labels: digest,
        card: digest,
        intended_use: digest,
        sbom: None,
    };
    let model = record(Vec::new(), model.into());
    let intent = ReadIntent {
        patient: commit(),
        study: commit(),
        inputs: commit(),
        modality: "dx".into(),
        body_part: "chest".into(),
        n_images: 1,
        model: digest,
        preproc: digest,
        runtime: digest,
        request: commit(),
        purpose: ReadPurpose::Clinical,
        priority: "routine".into(),
        deadline_ms: 1,
    };
    let intent = record(vec![model.as_ref_to("model")], intent.into());
    let outcome = ReadOutcome {
        status: OutcomeStatus::Ok,
        input: Some(commit()),
        prepared: Some(commit()),
        output: Some(commit()),
        saliency: None,
        report: None,
        saliency_method: None,
        model: digest,
        runtime: digest,
        duration_us: 1,
        warnings: Vec::new(),
        error: None,
    };
    record(vec![intent.as_ref_to("intent")], outcome.into()).entry_id
}

/// The enrolled key of this id.
fn key(desk: &Desk, kid: &str) -> VerifyingKey {
    let keys = desk.entries(0).into_iter().filter_map(|entry| match entry.body {
        Body::KeyRotation(body) if body.purpose == KeyPurpose::Signoff => {
            Some(URL_SAFE_NO_PAD.decode(body.new.strip_prefix("ed25519:").unwrap()).unwrap())
        }
        _ => None,
    });
    let mut keys = keys.filter(|key| Digest::of(key).hex() == kid);
    VerifyingKey::from_bytes(keys.next().unwrap().as_slice().try_into().unwrap()).unwrap()
}

/// Verifies a detached JWS over these bytes; its protected header.
fn verified(desk: &Desk, jws: &str, bytes: &[u8]) -> Value {
    let (header, signature) = jws.split_once("..").unwrap();
    let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(bytes));
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    key(desk, header["kid"].as_str().unwrap()).verify_strict(input.as_bytes(), &signature).unwrap();
    header
}

fn disagree(act: &mut Act<'_>) {
    act.judgement = Judgement::Disagrees { decision: Decision::Absent, reason: "image-quality".into() };
    act.comment = Some("Rotated <b>film</b>".into());
}

/// Proves: REQ-SVC-280
#[test]
fn agreement_makes_the_findings_and_the_report_final() {
    let desk = Desk::new("evaluated");
    let clinician = caller(Role::Clinician);
    let signed = desk.sign(&clinician, |act| act.comment = Some("As expected".into())).unwrap();
    let [report] = &desk.resources("DiagnosticReport")[..] else { panic!("one report") };
    assert_eq!((&report["status"], &report["meta"]["versionId"]), (&"final".into(), &"2".into()));
    assert!(report["meta"]["security"].is_null(), "no longer asserted by the program alone");
    let practitioner = report["resultsInterpreter"][0]["reference"].as_str().unwrap();
    let [person] = &desk.resources("Practitioner")[..] else { panic!("one signer") };
    assert_eq!(practitioner, format!("Practitioner/{}", person["id"].as_str().unwrap()));
    assert_eq!(person["name"][0]["text"], NAME);
    // 21 CFR 11.50: name, time and meaning
    let conclusion = report["conclusion"].as_str().unwrap();
    for part in [NAME, "(meaning: review)", "The clinician agrees", "As expected", &report["issued"].to_string()[1..20]]
    {
        assert!(conclusion.contains(part), "{part}: {conclusion}");
    }
    assert!(!conclusion.contains("Preliminary"));
    let [finding] = &desk.resources("Observation")[..] else { panic!("one finding") };
    assert_eq!(finding["status"], "final");
    assert_eq!(finding["meta"]["security"][0]["code"], "AIAST", "it is still the program's assertion");
    let row = desk.place.house.site.published_reading(&desk.keys.reading).unwrap().unwrap();
    assert_eq!((row.attention, row.signed.unwrap().agrees), (attention::SIGNED, true));
    assert_eq!(signed.report.version, 2);
}

/// Proves: REQ-SVC-281
#[test]
fn a_disagreement_leaves_the_programs_finding_preliminary_and_puts_the_clinicians_in_its_place() {
    let desk = Desk::new("evaluated");
    let before = desk.resources("Observation")[0]["id"].clone();
    desk.sign(&caller(Role::Clinician), disagree).unwrap();
    let findings = desk.resources("Observation");
    let program = findings.iter().find(|finding| finding["id"] == before).unwrap();
    assert_eq!((&program["status"], &program["meta"]["versionId"]), (&"preliminary".into(), &"1".into()));
    let own = findings.iter().find(|finding| finding["id"] != before).unwrap();
    assert_eq!(own["status"], "final");
    assert_eq!(own["valueCodeableConcept"]["coding"][0]["code"], "272519000");
    assert_eq!(own["derivedFrom"][0]["reference"], format!("Observation/{}", before.as_str().unwrap()));
    assert_eq!(own["component"][0]["valueCodeableConcept"]["coding"][0]["code"], "image-quality");
    assert!(own["device"].is_null() && own["meta"]["security"].is_null());
    assert!(own["performer"][0]["reference"].as_str().unwrap().starts_with("Practitioner/"));
    let report = &desk.resources("DiagnosticReport")[0];
    assert_eq!(report["status"], "final");
    assert_eq!(report["result"].as_array().unwrap().len(), 1);
    assert_eq!(report["result"][0]["reference"], format!("Observation/{}", own["id"].as_str().unwrap()));
    let conclusion = report["conclusion"].as_str().unwrap();
    for part in ["Software: Pneumonia: present", "Clinician: absent", "The image does not allow the statement", NAME] {
        assert!(conclusion.contains(part), "{part}: {conclusion}");
    }
    let shown = view(&desk.place.house, &desk.keys.reading).unwrap().unwrap();
    assert_eq!((&shown["agrees"], &shown["decision"]), (&false.into(), &"absent".into()));
    assert_eq!((&shown["reason"]["code"], &shown["comment"]), (&"image-quality".into(), &"Rotated <b>film</b>".into()));
    assert_eq!(shown["by"], NAME);
}

/// Proves: REQ-SVC-282
#[test]
fn the_signature_covers_manifest_and_report_and_its_entries_come_together() {
    for agrees in [true, false] {
        let desk = Desk::new("evaluated");
        let report_id = desk.resources("DiagnosticReport")[0]["id"].as_str().unwrap().to_owned();
        let shown = desk.place.house.site.resource("DiagnosticReport", &report_id).unwrap().unwrap();
        let shown = Digest::of(Opened::new(&desk.place.house).bytes(&shown).unwrap().as_bytes());
        let from = desk.place.house.site.size();
        let clinician = caller(Role::Clinician);
        let signed = desk.sign(&clinician, |act| if agrees { act.meaning = Meaning::Approval } else { disagree(act) });
        let signed = signed.unwrap();
        let entries = desk.entries(from);
        let kinds: Vec<&str> = entries.iter().map(|entry| entry.body.kind()).collect();
        let expected: &[&str] = if agrees {
            &["key_rotation", "access", "sign_off", "finding_released"]
        } else {
            &["key_rotation", "access", "override", "sign_off", "finding_released"]
        };
        assert_eq!(kinds, expected);
        let entry = entries.iter().find(|entry| entry.entry_id == signed.receipt.entry_id).unwrap();
        let Body::SignOff(body) = &entry.body else { panic!("a sign_off was expected") };
        assert_eq!((&entry.actor, entry.refs[0].rel.as_str()), (&clinician.actor, "outcome"));
        let manifest = desk.place.house.site.vault().opening(&entry.entry_id, "manifest").unwrap();
        let header = verified(&desk, &body.jws, manifest.value.open());
        assert_eq!((&header["typ"], &header["alg"]), (&"vidimus-signoff+jws".into(), &"EdDSA".into()));
        let manifest: Value = serde_json::from_slice(manifest.value.open()).unwrap();
        assert_eq!(manifest["report"], shown.hex(), "the exact bytes that were shown");
        assert_eq!(manifest["outcome_leaf"], entry.refs[0].leaf.hex());
        assert_eq!((&manifest["printed_name"], &manifest["meaning"]), (&NAME.into(), &body.meaning.as_str().into()));
        assert!(body.auth.first_in_session);
        let provenances = desk.resources("Provenance");
        let provenance = provenances.iter().find(|one| one["agent"][0]["type"]["coding"][0]["code"] == "verifier");
        let provenance = provenance.unwrap();
        assert_eq!(provenance["agent"][1]["type"]["coding"][0]["code"], "legal");
        assert_eq!(provenance["target"][0]["reference"], format!("DiagnosticReport/{report_id}/_history/2"));
        assert_eq!(provenance["entity"][0]["what"]["reference"], format!("DiagnosticReport/{report_id}/_history/1"));
        let jws = STANDARD.decode(provenance["signature"][0]["data"].as_str().unwrap()).unwrap();
        verified(&desk, std::str::from_utf8(&jws).unwrap(), signed.bytes.as_bytes());
        let log: String = entries.iter().map(|entry| String::from_utf8(entry.to_bytes().unwrap()).unwrap()).collect();
        for secret in [NAME, "Rotated", "Muster", "A 1"] {
            assert!(!log.contains(secret), "{secret} in the log");
        }
        desk.place.house.site.verify().unwrap();
    }
}

/// Proves: REQ-SVC-283
#[test]
fn what_cannot_be_signed_is_refused_and_changes_nothing() {
    let clinician = caller(Role::Clinician);
    let refused = |desk: &Desk, kind: Kind, caller: &Caller, change: &dyn Fn(&mut Act<'_>)| {
        let before = desk.place.house.site.size();
        let problem = desk.sign(caller, |act| change(act)).err().unwrap_or_else(|| panic!("signed, not {kind:?}"));
        assert_eq!(problem.kind, kind, "{}", problem.detail);
        let entries = desk.entries(before);
        assert!(entries.iter().all(|entry| matches!(entry.body, Body::KeyRotation(_))), "{kind:?}: an entry is left");
        assert!(desk.resources("Practitioner").is_empty() || problem.detail.contains("already"), "{}", problem.detail);
    };
    let desk = Desk::new("evaluated");
    let with = |change: fn(&mut Act<'_>)| change;
    refused(&desk, Kind::NotFound, &clinician, &|act| act.reading = desk.place.house.site.new_id());
    refused(&desk, Kind::PreconditionFailed, &clinician, &with(|act| act.if_match = Some(2)));
    refused(&desk, Kind::Forbidden, &caller(Role::Quality), &with(|_| {}));
    refused(&desk, Kind::Unprocessable, &clinician, &with(|act| act.meaning = Meaning::Rejection));
    refused(&desk, Kind::Unprocessable, &clinician, &with(|act| act.comment = Some("x".repeat(2_001))));
    refused(&desk, Kind::Unprocessable, &clinician, &with(|act| act.comment = Some("a\0b".into())));
    refused(
        &desk,
        Kind::Unprocessable,
        &clinician,
        &with(|act| act.judgement = Judgement::Disagrees { decision: Decision::Absent, reason: "because".into() }),
    );
    refused(
        &desk,
        Kind::Unprocessable,
        &clinician,
        &with(|act| act.judgement = Judgement::Disagrees { decision: Decision::Present, reason: "other".into() }),
    );
    desk.sign(&clinician, |act| act.if_match = Some(1)).unwrap();
    refused(&desk, Kind::Conflict, &clinician, &with(|_| {}));
    refused(&desk, Kind::Conflict, &clinician, &with(disagree));
    for status in ["not_evaluated", "failed"] {
        refused(&Desk::new(status), Kind::Conflict, &clinician, &with(|_| {}));
    }
}

/// Proves: REQ-SVC-283
#[test]
fn of_two_signatures_at_once_one_is_given() {
    let desk = Desk::new("evaluated");
    let clinician = caller(Role::Clinician);
    let results: Vec<bool> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| desk.sign(&clinician, |_| {}).is_ok())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|given| **given).count(), 1, "{results:?}");
    assert_eq!(desk.resources("DiagnosticReport")[0]["meta"]["versionId"], "2");
    let rotations = desk.entries(0).iter().filter(|entry| entry.body.kind() == "key_rotation").count();
    assert_eq!(rotations, 2, "the service's key and one of the signer");
}

/// Proves: REQ-SVC-284
#[test]
fn the_private_key_of_a_signer_is_for_its_owner_alone_and_is_used_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let desk = Desk::new("evaluated");
    let clinician = caller(Role::Clinician);
    desk.sign(&clinician, |_| {}).unwrap();
    let folder = desk.place.house.site.dir().join("keys/staff");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let [file] = &std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>()[..] else {
        panic!("one key was expected")
    };
    assert_eq!(mode(file), 0o600);
    let first = crate::sign::StaffKey::open(&desk.place.house, &clinician.actor).unwrap().kid();
    assert_eq!(first, crate::sign::StaffKey::open(&desk.place.house, &clinician.actor).unwrap().kid());
    assert!(crate::sign::StaffKey::open(&desk.place.house, &Actor::system()).is_err(), "the program signs nothing");
}

/// Proves: REQ-SVC-285
#[test]
fn an_erased_patients_words_are_gone_and_the_signature_stays() {
    let desk = Desk::new("evaluated");
    desk.sign(&caller(Role::Clinician), disagree).unwrap();
    desk.place.house.site.vault().erase(&desk.keys.patient).unwrap();
    let shown = view(&desk.place.house, &desk.keys.reading).unwrap().unwrap();
    assert_eq!((&shown["by"], &shown["comment"]), (&NAME.into(), &Value::Null));
    assert!(shown["at"].is_string());
    desk.place.house.site.verify().unwrap();
}
