//! DiagnosticReport and Provenance: what was concluded, and who made it from what.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    BASE, Ids, Release, Result, Source,
    finding::figures,
    terms::{self, LOINC},
    values,
};

/// How the conclusion of a reading ends until a clinician signs it.
pub(crate) const PRELIMINARY: &str = "Preliminary second read by software; not a diagnosis.";

/// One sentence made from the data.
fn conclusion(source: &Source<'_>) -> String {
    match source.result {
        Result::Evaluated(reading) => {
            let findings: Vec<String> = reading
                .findings
                .iter()
                .map(|finding| {
                    format!(
                        "{}: {} at operating point {} (probability {:.2}, threshold {:.2}; {}).",
                        finding.code.display,
                        finding.decision,
                        finding.operating_point.name,
                        finding.probability.get(),
                        finding.operating_point.threshold,
                        figures(finding)
                    )
                })
                .collect();
            format!("{} {PRELIMINARY}", findings.join(" "))
        }
        Result::NotEvaluated(refusal) => format!("Not evaluated: {}.", sentence(&refusal.text, refusal.code.as_str())),
        Result::Failed { code, text } => format!("Failed: {}.", sentence(text, code)),
    }
}

/// The text without its full stop; the code where there is none.
fn sentence<'a>(text: &'a str, code: &'a str) -> &'a str {
    values::text(text).map_or(code, |text| text.trim_end_matches('.'))
}

pub(super) fn report(source: &Source<'_>, ids: &Ids<'_>, results: &[String], release: Option<&Release<'_>>) -> Value {
    let results: Vec<Value> = results.iter().map(|name| ids.reference(name)).collect();
    let performer = values::text(&source.service.site).map(|site| json!({ "type": "Organization", "display": site }));
    let media = source.overlay.map(|_| json!({ "comment": "Visual explanation", "link": ids.reference("media") }));
    json!({
        "resourceType": "DiagnosticReport",
        "meta": source.ai_asserted(),
        "extension": [release.map(receipt)],
        "identifier": [{ "system": format!("{BASE}/id/reading"), "value": source.seed }],
        "status": "preliminary",
        "category": [source.terms.hl7("v2-0074", "RAD")],
        "code": source.terms.concept(LOINC, "18748-4"),
        "subject": ids.reference("patient"),
        "effectiveDateTime": values::date(source.study.study_date.open()),
        "issued": source.issued,
        "performer": [performer],
        "result": results,
        "imagingStudy": [ids.reference("imaging-study")],
        "media": [media],
        "conclusion": conclusion(source),
    })
}

fn receipt(release: &Release<'_>) -> Value {
    let Release { receipt, origin, .. } = release;
    json!({
        "url": format!("{BASE}/StructureDefinition/receipt"),
        "extension": [
            { "url": "digest", "valueString": receipt.leaf.hex() },
            { "url": "log", "valueUri": format!("https://{origin}") },
            { "url": "leafIndex", "valueString": receipt.index.to_string() },
            { "url": "treeSize", "valueString": receipt.tree_size.to_string() },
            { "url": "url", "valueUri": format!("receipts/{}", receipt.entry_id) },
        ],
    })
}

pub(super) fn provenance(source: &Source<'_>, ids: &Ids<'_>, targets: &[String], signature: Option<String>) -> Value {
    let targets: Vec<Value> = targets.iter().map(|name| ids.reference(name)).collect();
    let signature = signature.map(|jws| {
        json!({
            "type": [source.terms.coding("urn:iso-astm:E1762-95:2013", "1.2.840.10065.1.12.1.14")],
            "when": source.issued,
            "who": ids.reference("service"),
            "sigFormat": "application/jose",
            "data": STANDARD.encode(jws),
        })
    });
    json!({
        "resourceType": "Provenance",
        "target": targets,
        "recorded": source.issued,
        "activity": source.terms.hl7("v3-DataOperation", "CREATE"),
        "reason": [source.terms.hl7("v3-ObservationValue", "AIAST")],
        "agent": [assembler(source, ids), requester(source)],
        "entity": entities(source, ids),
        "signature": [signature],
    })
}

/// Who made the reading: the package, or the service where no package came to work.
fn assembler(source: &Source<'_>, ids: &Ids<'_>) -> Value {
    json!({
        "type": source.terms.hl7("provenance-participant-type", "assembler"),
        "role": [source.model.map(|_| terms::artificial_intelligence())],
        "who": ids.reference(source.device()),
    })
}

/// Who handed the study in. `enterer` is what R4's value set has for that: `author` would make the requester
/// answerable for what the software says.
fn requester(source: &Source<'_>) -> Option<Value> {
    let id = values::text(source.requester)?;
    Some(json!({
        "type": source.terms.hl7("provenance-participant-type", "enterer"),
        "who": { "identifier": { "system": format!("{BASE}/id/actor"), "value": id } },
    }))
}

/// The films by their commitments, and the model card.
fn entities(source: &Source<'_>, ids: &Ids<'_>) -> Vec<Value> {
    let film = |commitment: &Option<String>| {
        let identifier = commitment
            .as_deref()
            .map(|value| json!({ "system": format!("{BASE}/id/pixel-commitment"), "value": value }));
        let mut what = ids.reference("imaging-study");
        what["identifier"] = json!(identifier);
        json!({ "role": "source", "what": what })
    };
    let card = source.model.map(|model| {
        json!({
            "role": "derivation",
            "what": {
                "display": "Model card of the package",
                "identifier": {
                    "system": format!("{BASE}/id/package-root-sha256"), "value": model.package_root.hex(),
                },
            },
        })
    });
    source.study.instances.iter().map(|instance| film(&instance.commitment)).chain(card).collect()
}
