//! The new versions that a signature makes: findings, report, signer, Provenance.
//! Agreement makes the program's findings final; a disagreement leaves them preliminary for ever and puts the
//! clinician's own beside them. Errors: [`Problem`]. Source: INTERFACES sections 1.3 and 1.5.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use uuid::Uuid;
use vidimus_log::EntryId;

use super::{Act, Decision, Judgement, Subjects, conflict};
use crate::{
    fhir::{
        BASE, PRELIMINARY, Terms,
        publish::{Edition, derived, instant},
        shelf::Opened,
        values,
    },
    http::Problem,
    sign::StaffKey,
};

/// What was made.
pub(super) struct Made {
    /// Version of the report.
    pub version: u32,
}

/// Adds all versions of a signature with this entry id, time and reason (its display).
pub(super) fn add(
    edition: &mut Edition<'_>,
    act: &Act<'_>,
    subjects: &Subjects,
    key: &StaffKey,
    (id, at_ms, reason): (EntryId, u64, Option<&str>),
) -> Result<Made, Problem> {
    let at = instant(at_ms);
    let practitioner = practitioner_id(&act.caller.actor.id);
    edition.add("Practitioner", &practitioner, practitioner_of(act))?;
    let mut report: Value = serde_json::from_str(&subjects.shown).map_err(anyhow::Error::from)?;
    let findings = findings(act, &report)?;
    let before = format!("DiagnosticReport/{}/_history/{}", subjects.report.id, subjects.report.version);
    let mut targets = Vec::new();
    match &act.judgement {
        Judgement::Agrees => {
            for (finding_id, mut finding) in findings {
                finding["status"] = json!("final");
                let version = edition.add("Observation", &finding_id, finding)?;
                targets.push(format!("Observation/{finding_id}/_history/{version}"));
            }
        }
        Judgement::Disagrees { decision, reason: code } => {
            let [(finding_id, finding)] = findings.as_slice() else {
                return Err(conflict("the reading has several findings: one of them alone cannot be overridden yet"));
            };
            if decision_of(finding) == Some(*decision) {
                let detail = "decision: it is the program's own; sign the reading instead of overriding it";
                return Err(Problem::new(crate::http::Kind::Unprocessable, detail));
            }
            let said = (*decision, code.as_str(), at.as_str());
            let own = clinicians(act, finding, finding_id, &practitioner, said);
            let own_id = derived(&act.reading, "clinician-0");
            let version = edition.add("Observation", &own_id, own)?;
            targets.push(format!("Observation/{own_id}/_history/{version}"));
            report["result"] = json!([{ "reference": format!("Observation/{own_id}") }]);
        }
    }
    finish(act, &mut report, &practitioner, (id, &at, reason));
    let version = edition.add("DiagnosticReport", &subjects.report.id, report)?;
    targets.insert(0, format!("DiagnosticReport/{}/_history/{version}", subjects.report.id));
    let bytes = edition.report(&subjects.report.id, version).unwrap_or_default();
    let jws = STANDARD.encode(key.detached(bytes.as_bytes()));
    let provenance = provenance(act, &targets, &before, &practitioner, (&at, &jws));
    edition.add("Provenance", &derived(&id, "provenance"), provenance)?;
    Ok(Made { version })
}

/// The id of a member of staff among resources, whose ids have no underscore.
pub(super) fn practitioner_id(actor: &str) -> String {
    actor.replace('_', "-")
}

fn practitioner_of(act: &Act<'_>) -> Value {
    json!({
        "resourceType": "Practitioner",
        "identifier": [{ "system": format!("{BASE}/id/actor"), "value": act.caller.actor.id }],
        "active": true,
        "name": [{ "text": act.caller.name }],
    })
}

/// The findings of a report, by id.
fn findings(act: &Act<'_>, report: &Value) -> Result<Vec<(String, Value)>, Problem> {
    let mut opened = Opened::new(act.house);
    let mut findings = Vec::new();
    for result in report["result"].as_array().into_iter().flatten() {
        let reference = result["reference"].as_str().unwrap_or_default();
        let id = reference.strip_prefix("Observation/").unwrap_or_default();
        let row = act.house.site.resource("Observation", id)?;
        let row = row.ok_or_else(|| anyhow::anyhow!("a report refers to a finding that is not published"))?;
        findings.push((id.to_owned(), opened.resource(&row)?));
    }
    Ok(findings)
}

/// What a finding says.
fn decision_of(finding: &Value) -> Option<Decision> {
    match finding["interpretation"][0]["coding"][0]["code"].as_str()? {
        "POS" => Some(Decision::Present),
        "NEG" => Some(Decision::Absent),
        "IND" => Some(Decision::Undetermined),
        _ => None,
    }
}

/// The clinician's own finding, which takes the place of the program's.
fn clinicians(
    act: &Act<'_>,
    finding: &Value,
    finding_id: &str,
    practitioner: &str,
    (decision, reason, at): (Decision, &str, &str),
) -> Value {
    let terms = &act.house.terms;
    let (value, interpretation) = terms.decision(decision.as_str());
    let uid = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{}/clinician-0/uid", act.reading).as_bytes());
    let own = json!({
        "resourceType": "Observation",
        "identifier": [{ "system": "urn:dicom:uid", "value": format!("urn:oid:2.25.{}", uid.as_u128()) }],
        "status": "final",
        "category": finding["category"],
        "code": finding["code"],
        "subject": finding["subject"],
        "effectiveDateTime": finding["effectiveDateTime"],
        "issued": at,
        "performer": [{ "reference": format!("Practitioner/{practitioner}") }],
        "valueCodeableConcept": value,
        "interpretation": [interpretation],
        "bodySite": finding["bodySite"],
        "note": [act.comment.as_ref().map(|comment| json!({
            "authorReference": { "reference": format!("Practitioner/{practitioner}") }, "time": at, "text": comment,
        }))],
        "derivedFrom": [{ "reference": format!("Observation/{finding_id}") }],
        "component": [{
            "code": Terms::own_code("override-reason", "Why the clinician disagrees"),
            "valueCodeableConcept": terms.override_reason(reason),
        }],
    });
    values::without_empty(own)
}

/// The report as it is from now on: final, no longer asserted by the program alone, and signed in words.
fn finish(act: &Act<'_>, report: &mut Value, practitioner: &str, (id, at, reason): (EntryId, &str, Option<&str>)) {
    report["status"] = json!("final");
    report["issued"] = json!(at);
    if let Some(meta) = report["meta"].as_object_mut() {
        meta.remove("security");
    }
    report["resultsInterpreter"] = json!([{ "reference": format!("Practitioner/{practitioner}") }]);
    let signature =
        json!({ "url": format!("{BASE}/StructureDefinition/sign-off"), "valueUri": format!("/receipts/{id}") });
    match report["extension"].as_array_mut() {
        Some(extensions) => extensions.push(signature),
        None => report["extension"] = json!([signature]),
    }
    let program = report["conclusion"].as_str().unwrap_or_default().trim_end_matches(PRELIMINARY).trim_end().to_owned();
    let name = &act.caller.name;
    let signed = format!("signed by {name} on {at} (meaning: {})", act.meaning.as_str());
    let mut conclusion = match (&act.judgement, reason) {
        (Judgement::Disagrees { decision, .. }, reason) => format!(
            "Software: {program} Clinician: {} ({}); {signed}. The clinician's finding stands.",
            decision.as_str(),
            reason.unwrap_or("no reason")
        ),
        (Judgement::Agrees, _) => format!("{program} The clinician agrees; {signed}."),
    };
    if let Some(comment) = &act.comment {
        conclusion.push_str(&format!(" Comment: {comment}"));
    }
    report["conclusion"] = json!(conclusion);
}

fn provenance(act: &Act<'_>, targets: &[String], before: &str, practitioner: &str, (at, jws): (&str, &str)) -> Value {
    let terms = &act.house.terms;
    let who = json!({ "reference": format!("Practitioner/{practitioner}") });
    let agent = |part: &str| json!({ "type": terms.participant(part), "who": who });
    let references: Vec<Value> = targets.iter().map(|target| json!({ "reference": target })).collect();
    // the clinician verifies what the program wrote, and is the author of what contradicts it
    let kind = match act.judgement {
        Judgement::Agrees => terms.signature("1.2.840.10065.1.12.1.5"),
        Judgement::Disagrees { .. } => terms.signature("1.2.840.10065.1.12.1.1"),
    };
    json!({
        "resourceType": "Provenance",
        "target": references,
        "recorded": at,
        "activity": terms.updated(),
        "agent": [agent("verifier"), agent("legal")],
        "entity": [{ "role": "revision", "what": { "reference": before } }],
        "signature": [{ "type": [kind], "when": at, "who": who, "sigFormat": "application/jose", "data": jws }],
    })
}
