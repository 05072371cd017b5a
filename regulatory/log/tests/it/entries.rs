//! Entries: each kind has one body type, and the schema table judges exactly what the type can say.

use serde_json::{Map, Value, json};
use vidimus_log::{
    Actor, Entry, NO_TRACE,
    body::KINDS,
    canonical,
    schema::{FieldRule, Kind, Shape},
};

use crate::common::{ORIGIN, T_MS, digest, entry, id, incident, person};

const HEX: &str = "414c5141261309479854b324cca92ffad9b8d2f3cc734c8665763efa4dce3500";

/// A value that fits the shape; records with or without their optional fields.
fn sample(shape: &Shape, optional: bool) -> Value {
    match shape {
        Shape::Digest => json!(format!("sha256:{HEX}")),
        Shape::Commit => json!(format!("c1:{HEX}")),
        Shape::Decimal => json!("0.990"),
        Shape::Code => json!("a_code"),
        Shape::Text => json!("A text, \u{e4}."),
        Shape::Leaf => json!(HEX),
        Shape::Seed => json!("000000000000002a"),
        Shape::Natural | Shape::Integer => json!(7),
        Shape::Bool => json!(true),
        Shape::Word(words) => json!(words[0]),
        Shape::List(item) => json!([sample(item, optional), sample(item, optional)]),
        Shape::Record(fields) => Value::Object(
            fields
                .iter()
                .filter(|field| optional || !field.optional)
                .map(|field| (field.name.to_owned(), sample(&field.shape, optional)))
                .collect::<Map<_, _>>(),
        ),
    }
}

fn frame(kind: &Kind, body: Value) -> Value {
    let mut rels: Vec<&str> = kind.needs.to_vec();
    if kind.name == "evaluation" && body.get("made_by").is_none() {
        rels.push("opened");
    }
    if kind.name == "sign_off" {
        rels.push("outcome");
    }
    rels.sort_unstable();
    let refs: Vec<Value> =
        rels.iter().map(|rel| json!({ "entry_id": id(3).to_string(), "index": 3, "leaf": HEX, "rel": rel })).collect();
    json!({
        "actor": { "id": "sys", "role": "system" }, "body": body, "boot": id(1).to_string(),
        "entry_id": id(9).to_string(), "kind": kind.name, "log": ORIGIN, "refs": refs, "t_ms": T_MS,
        "trace": NO_TRACE, "v": 1,
    })
}

fn fields(kind: &Kind) -> &'static [FieldRule] {
    match kind.body {
        Shape::Record(fields) => fields,
        _ => panic!("{}: the body is an object", kind.name),
    }
}

fn parse(value: &Value) -> Result<Entry, vidimus_log::EntryError> {
    Entry::parse(&canonical::to_bytes(value).unwrap())
}

fn body_of(kind: &Kind, optional: bool) -> Value {
    let mut body = sample(&kind.body, optional);
    match kind.name {
        "dataset_opened" if optional => body["result"] = json!("refused"),
        "read_outcome" if !optional => body["status"] = json!("failed"),
        _ => {}
    }
    body
}

/// Proves: REQ-LOG-002
#[test]
fn every_kind_reads_into_its_type_and_prints_the_same_bytes() {
    assert_eq!(KINDS.len(), 27);
    for kind in KINDS {
        for optional in [false, true] {
            let bytes = canonical::to_bytes(&frame(kind, body_of(kind, optional))).unwrap();
            let entry = Entry::parse(&bytes).unwrap_or_else(|error| panic!("{} {optional}: {error}", kind.name));
            assert_eq!(entry.body.kind(), kind.name);
            assert_eq!(entry.to_bytes().unwrap(), bytes, "{}", kind.name);
        }
    }
}

/// Proves: REQ-LOG-002
#[test]
fn a_missing_an_unknown_and_a_malformed_field_are_refused_in_every_kind() {
    for kind in KINDS {
        let good = body_of(kind, true);
        let mut unknown = good.clone();
        unknown["zz"] = json!(1);
        assert!(parse(&frame(kind, unknown)).is_err(), "{}: unknown field", kind.name);
        for field in fields(kind) {
            if !field.optional {
                let mut missing = good.clone();
                missing.as_object_mut().unwrap().remove(field.name);
                assert!(parse(&frame(kind, missing)).is_err(), "{}: without {}", kind.name, field.name);
            }
            let mut malformed = good.clone();
            malformed[field.name] = if matches!(field.shape, Shape::Bool) { json!("true") } else { json!(false) };
            let error = parse(&frame(kind, malformed)).unwrap_err().to_string();
            assert!(error.contains(field.name), "{}: {error}", kind.name);
        }
    }
}

/// Proves: REQ-LOG-002
#[test]
fn a_frame_that_breaks_a_rule_is_refused() {
    let kind = KINDS.iter().find(|kind| kind.name == "incident").unwrap();
    let good = frame(kind, body_of(kind, true));
    assert!(parse(&good).is_ok());
    let reference =
        |rel: &str, index: u64| json!({ "entry_id": id(3).to_string(), "index": index, "leaf": HEX, "rel": rel });
    for (field, value) in [
        ("v", json!(2)),
        ("boot", json!("x")),
        ("entry_id", json!("00000000000000000000000000000000")),
        ("kind", json!("no_such_kind")),
        ("log", json!("")),
        ("t_ms", json!(-1)),
        ("trace", json!("0")),
        ("actor", json!({ "id": "stf_1", "role": "system" })),
        ("actor", json!({ "id": "sys", "role": "System" })),
        ("actor", json!({ "id": "sys", "role": "system", "name": "x" })),
        ("refs", json!([reference("no_rel", 1)])),
        ("refs", json!([reference("model", 2), reference("model", 1)])),
        ("refs", json!([reference("model", 1), reference("model", 1)])),
        ("refs", json!([reference("opened", 1), reference("model", 1)])),
        ("zz", json!(1)),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(parse(&bad).is_err(), "{bad}");
    }
}

/// Proves: REQ-LOG-002
#[test]
fn an_entry_longer_than_the_limit_is_refused_and_one_below_it_is_not() {
    let with = |count: usize| {
        let refs = (0..count).map(|index| vidimus_log::Ref {
            entry_id: id(3),
            index: u64::try_from(index).unwrap(),
            leaf: digest("leaf"),
            rel: "amends".to_owned(),
        });
        entry(9, Some(id(1)), Actor::system(), refs.collect(), incident("test")).to_bytes()
    };
    assert!(with(180).unwrap().len() <= 32_768);
    assert!(with(250).is_err());
}

/// Proves: REQ-LOG-009
#[test]
fn a_retry_differs_in_nothing_but_time_trace_and_boot() {
    let first = entry(9, Some(id(1)), person(1), vec![], incident("test"));
    let retry = Entry { t_ms: first.t_ms + 5, boot: Some(id(2)), trace: Some("1".repeat(32)), ..first.clone() };
    let other = Entry { actor: person(2), ..first.clone() };
    assert_eq!(first.content_digest().unwrap(), retry.content_digest().unwrap());
    assert_ne!(first.content_digest().unwrap(), other.content_digest().unwrap());
}

/// Proves: REQ-LOG-002
#[test]
fn pseudonyms_are_26_characters_of_base32() {
    assert_eq!(Actor::staff([0; 16], "r").id, format!("stf_{}", "a".repeat(26)));
    assert_eq!(Actor::service([0xff; 16], "r").id, format!("svc_{}4", "7".repeat(25)));
}
