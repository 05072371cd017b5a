//! The answer to a STOW-RS request: one item for each part, as DICOM JSON.
//!
//! Stored instances stand in Referenced SOP Sequence, those held already with the same image among them. Failed ones
//! stand in Failed SOP Sequence; parts that name no instance in Other Failures Sequence, which has the reason alone.
//! Retrieve URL has no value until instances can be retrieved here: its type is 2.
//! Status: 200 all, 202 some, 409 none. Errors: none. Source: DICOM PS3.18 sections 10.5.3 and I.1, annex F.
//! Requirement: REQ-SVC-166.

use serde_json::{Map, Value, json};

use super::arrival::{Names, Received};

/// The media types that this answer can be given as, the preferred one first.
pub(crate) const MEDIA: &[&str] = &["application/dicom+json", "application/json"];

const RETRIEVE_URL: &str = "00081190";
const FAILURE_REASON: &str = "00081197";
const FAILED_SOP_SEQUENCE: &str = "00081198";
const REFERENCED_SOP_SEQUENCE: &str = "00081199";
const OTHER_FAILURES_SEQUENCE: &str = "0008119A";
const REFERENCED_SOP_CLASS_UID: &str = "00081150";
const REFERENCED_SOP_INSTANCE_UID: &str = "00081155";

/// The status of HTTP.
pub(crate) fn status(received: &Received) -> u16 {
    let stored = received.parts.iter().filter(|part| part.outcome.is_ok()).count();
    match stored {
        0 => 409,
        _ if stored < received.parts.len() => 202,
        _ => 200,
    }
}

/// The document.
pub(crate) fn document(received: &Received) -> Value {
    let (mut stored, mut failed, mut other) = (Vec::new(), Vec::new(), Vec::new());
    for part in &received.parts {
        match (&part.outcome, &part.names) {
            (Ok(_), Some(names)) => stored.push(stored_item(names)),
            (Err(failure), Some(names)) => failed.push(failed_item(names, failure.reason())),
            (Err(failure), None) => other.push(json!({ FAILURE_REASON: number(failure.reason()) })),
            (Ok(_), None) => {}
        }
    }
    let mut document = Map::from_iter([(RETRIEVE_URL.to_owned(), json!({ "vr": "UR" }))]);
    for (tag, items) in
        [(FAILED_SOP_SEQUENCE, failed), (REFERENCED_SOP_SEQUENCE, stored), (OTHER_FAILURES_SEQUENCE, other)]
    {
        if !items.is_empty() {
            document.insert(tag.to_owned(), json!({ "vr": "SQ", "Value": items }));
        }
    }
    Value::Object(document)
}

fn stored_item(names: &Names) -> Value {
    json!({
        REFERENCED_SOP_CLASS_UID: uid(&names.sop_class),
        REFERENCED_SOP_INSTANCE_UID: uid(names.sop_instance.open()),
        RETRIEVE_URL: { "vr": "UR" },
    })
}

fn failed_item(names: &Names, reason: u16) -> Value {
    json!({
        REFERENCED_SOP_CLASS_UID: uid(&names.sop_class),
        REFERENCED_SOP_INSTANCE_UID: uid(names.sop_instance.open()),
        FAILURE_REASON: number(reason),
    })
}

fn uid(text: &str) -> Value {
    if text.is_empty() { json!({ "vr": "UI" }) } else { json!({ "vr": "UI", "Value": [text] }) }
}

fn number(value: u16) -> Value {
    json!({ "vr": "US", "Value": [value] })
}
