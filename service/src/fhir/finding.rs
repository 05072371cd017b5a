//! Observations, one a finding or one for the study that has none, and the Media of the explanation.
//! Not evaluated and failed are results, not silence: the Observation then says what was asked for and why there is no
//! value.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use vidimus_reader::{Finding, Interval, Reading};

use super::{
    BASE, Ids, Result, Source,
    terms::{AI, DCM, SCT, own},
    values::{self, quantity, rounded},
};

/// `content.hash` stays out: R4 fixes it to SHA-1, which proves nothing any more. The extension holds the SHA-256.
pub(super) fn media(source: &Source<'_>, ids: &Ids<'_>) -> Option<Value> {
    let (name, bytes) = source.overlay?;
    let modality = source.study.instances.first().and_then(|instance| values::code(&instance.modality));
    let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut kind = source.terms.hl7("media-type", "image");
    if let Some(codings) = kind["coding"].as_array_mut() {
        codings.push(source.terms.coding(DCM, "130401"));
    }
    Some(json!({
        "resourceType": "Media",
        "status": "completed",
        "type": kind,
        "modality": { "coding": [modality.map(|code| source.terms.modality(code))] },
        "subject": ids.reference("patient"),
        "device": ids.reference(source.device()),
        "content": {
            "contentType": "image/png",
            "url": name,
            "size": bytes.len(),
            "extension": [{ "url": format!("{BASE}/StructureDefinition/sha256"), "valueString": sha256 }],
        },
    }))
}

pub(super) fn observations(source: &Source<'_>, ids: &Ids<'_>) -> Vec<Value> {
    match source.result {
        Result::Evaluated(reading) => {
            reading.findings.iter().map(|finding| evaluated(source, ids, reading, finding)).collect()
        }
        Result::NotEvaluated(refusal) => {
            vec![absent(source, ids, "not-evaluated", "unsupported", refusal.code.as_str(), &refusal.text)]
        }
        Result::Failed { code, text } => vec![absent(source, ids, "failed", "error", code, text)],
    }
}

/// What an Observation has whether or not anything was found.
fn observation(source: &Source<'_>, ids: &Ids<'_>, name: &str) -> Value {
    let explained = source.overlay.is_some().then(|| ids.reference("media"));
    let uid = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{}/{name}/uid", source.seed).as_bytes());
    json!({
        "resourceType": "Observation",
        "meta": source.ai_asserted(),
        "identifier": [{ "system": "urn:dicom:uid", "value": format!("urn:oid:2.25.{}", uid.as_u128()) }],
        "status": "preliminary",
        "category": [source.terms.hl7("observation-category", "imaging")],
        "subject": ids.reference("patient"),
        "effectiveDateTime": values::date(source.study.study_date.open()),
        "issued": source.issued,
        "device": ids.reference(source.device()),
        "derivedFrom": [ids.reference("imaging-study"), explained],
    })
}

fn evaluated(source: &Source<'_>, ids: &Ids<'_>, reading: &Reading, finding: &Finding) -> Value {
    let terms = source.terms;
    let present = finding.decision == "present";
    let coding = if present {
        vec![terms.coding(SCT, "52101004")]
    } else {
        vec![terms.coding(SCT, "272519000"), terms.coding(SCT, "2667000")]
    };
    let probability = finding.probability.get();
    let uncertainty = &reading.uncertainty;
    let notes: Vec<Value> =
        reading.quality.iter().chain(&uncertainty.notes).map(|note| json!({ "text": note.text })).collect();
    let mut observation = observation(source, ids, &finding.id);
    observation["code"] = terms.of_package(&finding.code);
    observation["bodySite"] = terms.of_package(&finding.body_site);
    observation["valueCodeableConcept"] = json!({
        "coding": coding,
        "extension": [{
            "url": format!("{AI}/StructureDefinition/AIconfidence"), "valueDecimal": rounded(probability),
        }],
    });
    observation["interpretation"] =
        json!([terms.hl7("v3-ObservationInterpretation", if present { "POS" } else { "NEG" })]);
    observation["component"] = components(source, reading, finding);
    observation["note"] = json!(notes);
    observation
}

fn components(source: &Source<'_>, reading: &Reading, finding: &Finding) -> Value {
    let (point, uncertainty) = (&finding.operating_point, &reading.uncertainty);
    let measured = |code: Value, value: f64, unit: &str| {
        quantity(value, unit).map(|quantity| json!({ "code": code, "valueQuantity": quantity }))
    };
    let certainty = source.terms.concept(DCM, "111012");
    let threshold = source.terms.concept(DCM, "111071");
    json!([
        measured(certainty, finding.probability.get() * 100.0, "%"),
        measured(threshold, point.threshold * 100.0, "%"),
        { "code": own("operating-point-name", "Name of the operating point"), "valueString": point.name },
        {
            "code": own("operating-point-figures", "What the operating point was measured to do"),
            "valueString": figures(finding),
        },
        measured(own("ood-score", "Distance from the training films"), uncertainty.ood_score, "1"),
        measured(own("ood-limit", "Limit of that distance"), uncertainty.ood_limit, "1"),
    ])
}

/// The operating point in words.
pub(crate) fn figures(finding: &Finding) -> String {
    let point = &finding.operating_point;
    let percent = |value: f64| format!("{:.1} %", value * 100.0);
    let range = |interval: Interval| format!("{} to {}", percent(interval.low), percent(interval.high));
    format!(
        "sensitivity {} ({}), specificity {} ({}), 95 % intervals, measured on {}",
        percent(point.sensitivity),
        range(point.ci95.sensitivity),
        percent(point.specificity),
        range(point.ci95.specificity),
        point.set
    )
}

/// The finding that was asked for, without a value, and why.
fn absent(source: &Source<'_>, ids: &Ids<'_>, name: &str, reason: &str, code: &str, text: &str) -> Value {
    let mut observation = observation(source, ids, name);
    observation["code"] = source.terms.of_package(source.about);
    observation["dataAbsentReason"] = source.terms.hl7("data-absent-reason", reason);
    observation["dataAbsentReason"]["text"] = json!(text);
    observation["component"] =
        json!([{ "code": own("refusal-code", "Why the study was not evaluated"), "valueString": code }]);
    observation
}
