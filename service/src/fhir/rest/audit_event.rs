//! An entry of the log as AuditEvent: one table of kinds, and the rule for requests. The entry holds no patient data,
//! so none is here: a patient stands as the log's salted commitment.
//! Errors: none; an entry of a later version is shown by what every entry has.
//! Source: INTERFACES section 1.6; IHE BALP 1.1; DICOM PS3.15 A.5 and PS3.16 CID 400, 401.

use serde_json::{Value, json};
use vidimus_log::leaf_hash;

use crate::{
    fhir::{
        BASE, Terms,
        publish::instant,
        terms::{DCM, THO},
        values,
    },
    http::Kind,
};

/// How a kind of entry is shown.
pub(super) struct Rule {
    pub(super) kind: &'static str,
    /// DICOM's code of the event.
    event: &'static str,
    /// DICOM's code of what sort it was, where there is one.
    sort: Option<&'static str>,
    action: &'static str,
}

const fn rule(kind: &'static str, event: &'static str, sort: Option<&'static str>, action: &'static str) -> Rule {
    Rule { kind, event, sort, action }
}

/// Application activity, patient record, security alert, and so on: DICOM's codes by number.
pub(super) const RULES: &[Rule] = &[
    rule("site_opened", "110100", Some("110120"), "C"),
    rule("boot", "110100", Some("110120"), "E"),
    rule("shutdown", "110100", Some("110121"), "E"),
    rule("model_registered", "110100", None, "C"),
    rule("dataset_locked", "110100", None, "C"),
    rule("protocol_registered", "110100", None, "C"),
    rule("dataset_opened", "110100", None, "R"),
    rule("evaluation", "110100", None, "E"),
    rule("release_decision", "110100", None, "E"),
    rule("rollout", "110100", None, "U"),
    rule("read_refused", "110110", None, "E"),
    rule("read_intent", "110110", None, "E"),
    rule("read_outcome", "110110", None, "C"),
    rule("finding_released", "110106", None, "R"),
    rule("sign_off", "110110", None, "U"),
    rule("amendment", "110110", None, "U"),
    rule("override", "110110", None, "U"),
    rule("config_change", "110113", Some("110129"), "U"),
    rule("role_change", "110113", Some("110137"), "U"),
    rule("key_rotation", "110113", Some("110129"), "U"),
    rule("erasure", "110110", None, "D"),
    rule("witness", "110101", None, "R"),
    rule("timestamp", "110101", None, "E"),
    rule("self_audit", "110101", None, "E"),
    rule("incident", "110113", None, "E"),
    rule("export", "110106", None, "R"),
];

/// An entry of a kind that this version does not know.
const OTHER: Rule = rule("", "110100", None, "E");

/// What a request was, for the audit.
struct Interaction {
    event: Event,
    sort: Option<Sort>,
    action: &'static str,
    /// Whether data went from the caller to the service.
    inwards: bool,
}

enum Event {
    Rest,
    Dicom(&'static str),
}

enum Sort {
    /// FHIR's restful interaction.
    Restful(&'static str),
    Dicom(&'static str),
}

/// The rule of an `access` entry: by what the operation's id says, then by action and thing.
fn interaction(body: &Value) -> Interaction {
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    let (operation, what) = (text("operation"), text("what"));
    let action = match text("action") {
        "create" => "C",
        "update" => "U",
        "execute" => "E",
        _ => "R",
    };
    let dicom = |event, sort: Option<&'static str>, inwards| Interaction {
        event: Event::Dicom(event),
        sort: sort.map(Sort::Dicom),
        action,
        inwards,
    };
    match operation {
        "session.start" => return dicom("110114", Some("110122"), true),
        "session.end" => return dicom("110114", Some("110123"), true),
        "readings.create" => return dicom("110107", None, true),
        "publish" => return dicom("110106", None, false),
        _ if operation.starts_with("stow") => return dicom("110104", None, true),
        _ if operation.starts_with("log.") => return dicom("110101", None, false),
        _ => {}
    }
    let word = match operation.rsplit('.').next().unwrap_or_default() {
        "vread" => "vread",
        "history" => "history",
        "search" | "find" | "list" => "search",
        "metadata" | "smart" => "capabilities",
        _ => match (action, what) {
            ("C", _) => "create",
            ("U", _) => "update",
            ("E", _) => "operation",
            (_, "query") => "search",
            _ => "read",
        },
    };
    // a search is an execution in BALP's eyes
    let action = if word == "search" && action == "R" { "E" } else { action };
    let inwards = matches!(word, "create" | "update" | "operation" | "search");
    Interaction { event: Event::Rest, sort: Some(Sort::Restful(word)), action, inwards }
}

/// 0 success, 4 minor, 8 serious, 12 major failure; and the code that says why.
fn outcome<'a>(kind: &str, body: &'a Value) -> (&'static str, Option<&'a str>) {
    let text = |name: &str| body[name].as_str();
    let word = |name: &str| text(name).unwrap_or_default();
    match kind {
        "access" if word("result") == "denied" => {
            // wrong, missing or impossible requests fail lightly; refused credentials and roles do not
            let light = Kind::ALL.iter().any(|kind| kind.slug() == word("why") && !matches!(kind.status(), 401 | 403));
            (if light { "4" } else { "8" }, text("why"))
        }
        "read_outcome" => match word("status") {
            "ok" => ("0", None),
            "abstained" => ("0", text("status")),
            _ => ("8", text("error").or_else(|| text("status"))),
        },
        "read_refused" => (if word("reason") == "unreadable" { "8" } else { "0" }, text("reason")),
        "dataset_opened" if word("result") == "refused" => ("8", text("why")),
        "evaluation" => (if word("verdict") == "fail" { "4" } else { "0" }, text("verdict")),
        "self_audit" => (if word("result") == "failed" { "12" } else { "0" }, text("result")),
        "incident" => match word("severity") {
            "critical" => ("12", text("code")),
            "error" => ("8", text("code")),
            _ => ("4", text("code")),
        },
        "witness" => match word("event") {
            "cosigned" | "quorum_back" => ("0", text("event")),
            "conflict" => ("12", text("event")),
            _ => ("4", text("event")),
        },
        _ => ("0", None),
    }
}

/// The AuditEvent of an entry. Its id is the entry's index, which never changes; so it has one version.
pub(super) fn audit_event(terms: &Terms, index: u64, bytes: &[u8]) -> Option<Value> {
    let entry: Value = serde_json::from_slice(bytes).ok()?;
    let kind = entry["kind"].as_str()?;
    let body = &entry["body"];
    let recorded = instant(entry["t_ms"].as_u64()?);
    let own = |code: &str| json!({ "system": format!("{BASE}/CodeSystem/audit"), "code": code });
    let (event, sorts, action, asked) = if kind == "access" {
        let interaction = interaction(body);
        let event = match interaction.event {
            Event::Rest => terms.coding(&format!("{THO}/audit-event-type"), "rest"),
            Event::Dicom(code) => terms.coding(DCM, code),
        };
        let sort = interaction.sort.as_ref().map(|sort| match sort {
            Sort::Restful(code) => terms.coding("http://hl7.org/fhir/restful-interaction", code),
            Sort::Dicom(code) => terms.coding(DCM, code),
        });
        let operation = body["operation"].as_str().map(own);
        (event, vec![sort, operation], interaction.action, Some(interaction.inwards))
    } else {
        let rule = RULES.iter().find(|rule| rule.kind == kind).unwrap_or(&OTHER);
        let sort = rule.sort.map(|code| terms.coding(DCM, code));
        (terms.coding(DCM, rule.event), vec![sort, Some(own(kind))], rule.action, None)
    };
    let (outcome, why) = outcome(kind, body);
    let event = json!({
        "resourceType": "AuditEvent",
        "id": index.to_string(),
        "meta": { "versionId": "1", "lastUpdated": recorded },
        "type": event,
        "subtype": sorts,
        "action": action,
        "recorded": recorded,
        "outcome": outcome,
        "outcomeDesc": why,
        "agent": agents(terms, &entry, asked),
        "source": {
            "site": entry["log"],
            "observer": { "identifier": { "system": format!("{BASE}/id/log"), "value": entry["log"] } },
            "type": [terms.coding(&format!("{THO}/security-source-type"), "4")],
        },
        "entity": entities(terms, &entry, bytes),
    });
    Some(values::without_empty(event))
}

/// Who acted; for a request also its two ends.
fn agents(terms: &Terms, entry: &Value, inwards: Option<bool>) -> Vec<Value> {
    let actor = &entry["actor"];
    let person = actor["id"].as_str().is_some_and(|id| id.starts_with("stf_"));
    let kind = if person { terms.hl7("v3-ParticipationType", "IRCP") } else { terms.concept(DCM, "110150") };
    let role = actor["role"]
        .as_str()
        .map(|role| json!({ "coding": [{ "system": format!("{BASE}/CodeSystem/role"), "code": role }], "text": role }));
    let policy = entry["body"]["policy"].as_str().map(|digest| format!("{BASE}/policy/{}", hex(digest)));
    let mut agents = vec![json!({
        "type": kind,
        "role": [role],
        "who": { "identifier": { "system": format!("{BASE}/id/actor"), "value": actor["id"] } },
        "requestor": true,
        "policy": [policy],
    })];
    if let Some(inwards) = inwards {
        let (destination, source) = ("110152", "110153");
        let (client, server) = if inwards { (source, destination) } else { (destination, source) };
        let value = |system: &str, value: &Value| json!({ "system": format!("{BASE}/id/{system}"), "value": value });
        agents.push(json!({
            "type": terms.concept(DCM, client),
            "who": { "identifier": value("commitment", &entry["body"]["client"]) },
            "requestor": false,
        }));
        agents.push(json!({
            "type": terms.concept(DCM, server),
            "who": { "identifier": value("log", &entry["log"]) },
            "requestor": false,
        }));
    }
    agents
}

/// A digest without the name of its algorithm.
fn hex(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

/// The entry itself with what it says, the entries that it refers to, and the patient by commitment.
fn entities(terms: &Terms, entry: &Value, bytes: &[u8]) -> Vec<Value> {
    let kind = |code: &str| terms.coding(&format!("{THO}/audit-entity-type"), code);
    let role = |code: &str| terms.coding(&format!("{THO}/object-role"), code);
    let detail = |name: &str, value: String| json!({ "type": name, "valueString": value });
    let mut details =
        vec![detail("kind", entry["kind"].as_str().unwrap_or_default().into()), detail("leaf", leaf_hash(bytes).hex())];
    for (name, value) in entry["body"].as_object().into_iter().flatten() {
        match value {
            Value::String(text) if name != "jws" => details.push(detail(name, text.clone())),
            Value::Number(number) => details.push(detail(name, number.to_string())),
            Value::Bool(flag) => details.push(detail(name, flag.to_string())),
            _ => {}
        }
    }
    let mut entities = vec![json!({
        "what": { "identifier": { "system": format!("{BASE}/id/log-entry"), "value": entry["entry_id"] } },
        "type": kind("2"),
        "role": role("4"),
        "detail": details,
    })];
    for named in entry["refs"].as_array().into_iter().flatten() {
        let reference = format!("AuditEvent/{}", named["index"].as_u64().unwrap_or_default());
        entities.push(json!({
            "what": { "reference": reference },
            "type": kind("2"),
            "role": role("4"),
            "description": named["rel"],
        }));
    }
    let patient = [&entry["body"]["patient"], &entry["body"]["subject"]].into_iter().find(|value| value.is_string());
    if let Some(commitment) = patient {
        entities.push(json!({
            "what": { "identifier": { "system": format!("{BASE}/id/commitment"), "value": commitment } },
            "type": kind("1"),
            "role": role("1"),
        }));
    }
    entities
}
