//! AuditEvents of made-up entries: every kind, every sort of request, every way to fail.

use vidimus_log::{body::KINDS, schema::Shape};

use serde_json::{Value, json};

use super::audit_event::{RULES, audit_event};
use crate::fhir::Terms;

fn terms() -> Terms {
    Terms::new(vidimus_evidence::terminology().unwrap())
}

/// A body of this shape: every field there, every word the first of its list.
fn example(shape: &Shape) -> Value {
    match shape {
        Shape::Digest => json!(format!("sha256:{}", "1".repeat(64))),
        Shape::Commit => json!(format!("c1:{}", "2".repeat(64))),
        Shape::Decimal => json!("0.5"),
        Shape::Code => json!("code"),
        Shape::Text => json!("a text"),
        Shape::Leaf => json!("3".repeat(64)),
        Shape::Seed => json!("4".repeat(16)),
        Shape::Natural | Shape::Integer => json!(7),
        Shape::Bool => json!(true),
        Shape::Word(words) => json!(words[0]),
        Shape::List(one) => json!([example(one)]),
        Shape::Record(fields) => {
            Value::Object(fields.iter().map(|field| (field.name.to_owned(), example(&field.shape))).collect())
        }
    }
}

fn entry(kind: &str, body: Value) -> Vec<u8> {
    json!({
        "actor": { "id": "stf_aaaaaaaaaaaaaaaaaaaaaaaaaa", "role": "clinician" },
        "body": body,
        "boot": "0".repeat(32),
        "entry_id": "018f00000000700080000000000000aa",
        "kind": kind,
        "log": "demo.vidimus.example/vidimus/x",
        "refs": [{
            "entry_id": "018f00000000700080000000000000ab", "index": 3, "leaf": "5".repeat(64), "rel": "outcome",
        }],
        "t_ms": 1_700_000_000_000_u64,
        "trace": "0".repeat(32),
        "v": 1,
    })
    .to_string()
    .into_bytes()
}

fn shown(kind: &str, body: Value) -> Value {
    audit_event(&terms(), 9, &entry(kind, body)).unwrap()
}

fn codes(event: &Value, field: &str) -> Vec<String> {
    let found = event[field].as_array().unwrap().iter();
    found.map(|coding| coding["code"].as_str().unwrap().to_owned()).collect()
}

/// Proves: REQ-SVC-270
#[test]
fn every_kind_of_entry_has_its_event() {
    for kind in KINDS {
        let event = shown(kind.name, example(&kind.body));
        assert_eq!(event["id"], "9");
        assert_eq!(event["recorded"], "2023-11-14T22:13:20Z");
        assert_ne!(event["type"]["display"], "unlisted", "{}", kind.name);
        assert!(!event.to_string().contains("unlisted"), "{}: a code that the table lacks: {event}", kind.name);
        assert!(["C", "R", "U", "D", "E"].contains(&event["action"].as_str().unwrap()), "{}", kind.name);
        assert!(["0", "4", "8", "12"].contains(&event["outcome"].as_str().unwrap()), "{}", kind.name);
        assert!(event["agent"].as_array().unwrap().iter().all(|agent| agent["requestor"].is_boolean()));
        assert_eq!(event["entity"][1]["what"]["reference"], "AuditEvent/3");
        let named = kind.name == "access" || RULES.iter().any(|rule| rule.kind == kind.name);
        assert!(named, "{} has no rule", kind.name);
        if kind.name != "access" {
            assert!(codes(&event, "subtype").contains(&kind.name.to_owned()));
        }
    }
    assert_eq!(shown("of_a_later_version", json!({}))["type"]["code"], "110100");
}

fn access(operation: &str, action: &str, what: &str, result: &str, why: &str) -> Value {
    shown(
        "access",
        json!({
            "operation": operation, "action": action, "what": what, "result": result, "why": why,
            "policy": format!("sha256:{}", "1".repeat(64)), "client": format!("c1:{}", "2".repeat(64)),
            "subject": format!("c1:{}", "3".repeat(64)),
        }),
    )
}

/// Proves: REQ-SVC-271
#[test]
fn a_request_is_shown_by_what_it_did() {
    for (operation, action, what, kind, sort, letter, client) in [
        ("fhir.observation.read", "read", "finding", "rest", "read", "R", "110152"),
        ("fhir.observation.vread", "read", "finding", "rest", "vread", "R", "110152"),
        ("fhir.observation.history", "read", "finding", "rest", "history", "R", "110152"),
        ("fhir.observation.search", "read", "query", "rest", "search", "E", "110153"),
        ("fhir.diagnosticreport.sign", "execute", "finding", "rest", "operation", "E", "110153"),
        ("readings.list", "read", "query", "rest", "search", "E", "110153"),
        ("readings.show", "read", "finding", "rest", "read", "R", "110152"),
        ("stow", "create", "study", "110104", "stow", "C", "110153"),
        ("readings.create", "create", "study", "110107", "readings.create", "C", "110153"),
        ("session.start", "create", "session", "110114", "110122", "C", "110153"),
        ("session.end", "update", "session", "110114", "110123", "U", "110153"),
        ("log.entries", "read", "log", "110101", "log.entries", "R", "110152"),
        ("publish", "create", "finding", "110106", "publish", "C", "110152"),
    ] {
        let event = access(operation, action, what, "granted", "role");
        assert_eq!((event["type"]["code"].as_str(), event["action"].as_str()), (Some(kind), Some(letter)));
        assert_eq!(codes(&event, "subtype")[0], sort, "{operation}");
        assert!(codes(&event, "subtype").contains(&operation.to_owned()));
        assert_eq!(event["agent"][1]["type"]["coding"][0]["code"], client, "{operation}");
        assert_eq!(event["outcome"], "0");
        let patient = event["entity"].as_array().unwrap().last().unwrap();
        assert_eq!((&patient["type"]["code"], &patient["role"]["code"]), (&json!("1"), &json!("1")));
    }
}

/// Proves: REQ-SVC-271
#[test]
fn a_denial_is_a_failure_and_says_its_code() {
    for (why, outcome) in [
        ("not-found", "4"),
        ("bad-request", "4"),
        ("forbidden", "8"),
        ("role", "8"),
        ("signature", "8"),
        ("stale", "8"),
    ] {
        let event = access("fhir.observation.read", "read", "finding", "denied", why);
        assert_eq!((&event["outcome"], &event["outcomeDesc"]), (&json!(outcome), &json!(why)));
    }
    assert_eq!(shown("self_audit", json!({ "result": "failed" }))["outcome"], "12");
    assert_eq!(shown("read_outcome", json!({ "status": "timeout" }))["outcome"], "8");
    assert_eq!(shown("read_refused", json!({ "reason": "too-small" }))["outcome"], "0");
    assert_eq!(shown("incident", json!({ "severity": "error", "code": "x" }))["outcomeDesc"], "x");
}
