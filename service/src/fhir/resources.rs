//! Each resource of the Bundle, one function a resource.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use vidimus_reader::{Finding, Reading, Refusal};

use super::{
    BASE, Ids, Release, Result, Source,
    terms::{DCM, LOINC, SCT},
};

/// HL7's AI Transparency guide.
const AI: &str = "http://hl7.org/fhir/uv/aitransparency";
/// HL7's terminology server.
const THO: &str = "http://terminology.hl7.org/CodeSystem";
/// Units.
const UCUM: &str = "http://unitsofmeasure.org";

/// The label of everything that the service asserts by itself.
fn ai_asserted() -> Value {
    let label = concept(&format!("{THO}/v3-ObservationValue"), "AIAST", "Artificial Intelligence asserted");
    json!({ "security": label["coding"] })
}

/// A CodeableConcept of one coding that is no clinical term: those of HL7's own tables and ours.
fn concept(system: &str, code: &str, display: &str) -> Value {
    json!({ "coding": [{ "system": system, "code": code, "display": display }] })
}

fn own(code: &str, display: &str) -> Value {
    concept(&format!("{BASE}/CodeSystem/reading"), code, display)
}

fn percent(value: f64) -> Value {
    json!({ "value": rounded(value * 100.0), "unit": "%", "system": UCUM, "code": "%" })
}

/// Four decimals are more than any figure here holds.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// A DICOM date as a FHIR one. DICOM times lack a zone, and FHIR times need one: so the day is all that is said.
fn date(dicom: &str) -> Option<String> {
    let text = dicom.trim();
    let whole = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    whole.then(|| format!("{}-{}-{}", &text[..4], &text[4..6], &text[6..]))
}

fn with_date(mut resource: Value, field: &str, source: &Source<'_>) -> Value {
    if let Some(day) = date(source.study.study_date.open()) {
        resource[field] = json!(day);
    }
    resource
}

pub(super) fn patient(source: &Source<'_>) -> Value {
    let study = source.study;
    let mut patient = json!({
        "resourceType": "Patient",
        "identifier": [{ "system": format!("{BASE}/id/patient"), "value": nonempty(study.patient_id.open()) }],
    });
    let name = study.patient_name.open();
    let mut parts = name.split('^').map(str::trim);
    let family = parts.next().unwrap_or_default();
    let given: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    let mut human = json!({});
    if !family.is_empty() {
        human["family"] = json!(family);
    }
    if !given.is_empty() {
        human["given"] = json!(given);
    }
    if human.as_object().is_some_and(|fields| !fields.is_empty()) {
        patient["name"] = json!([human]);
    }
    if let Some(day) = date(study.birth_date.open()) {
        patient["birthDate"] = json!(day);
    }
    if let Some(sex) = &study.sex {
        patient["gender"] = json!(match sex.as_str() {
            "F" => "female",
            "M" => "male",
            "O" => "other",
            _ => "unknown",
        });
    }
    patient
}

/// FHIR strings are never empty.
fn nonempty(text: &str) -> &str {
    if text.trim().is_empty() { "unknown" } else { text.trim() }
}

pub(super) fn imaging_study(source: &Source<'_>, ids: &Ids<'_>) -> Value {
    let study = source.study;
    let mut identifier =
        vec![json!({ "system": "urn:dicom:uid", "value": format!("urn:oid:{}", study.study_uid.open()) })];
    let accession = study.accession.open().trim();
    if !accession.is_empty() {
        identifier.push(json!({
            "type": { "coding": [{ "system": format!("{THO}/v2-0203"), "code": "ACSN" }] },
            "value": accession,
        }));
    }
    let mut series: Vec<Value> = Vec::new();
    for instance in &study.instances {
        let item = json!({
            "uid": instance.uid.open(),
            "sopClass": { "system": "urn:ietf:rfc:3986", "code": format!("urn:oid:{}", instance.sop_class) },
        });
        match series.iter_mut().find(|one| one["uid"] == json!(instance.series_uid.open())) {
            Some(one) => {
                if let Some(list) = one["instance"].as_array_mut() {
                    list.push(item);
                }
            }
            None => series.push(json!({
                "uid": instance.series_uid.open(),
                "modality": { "system": DCM, "code": nonempty(&instance.modality) },
                "instance": [item],
            })),
        }
    }
    let resource = json!({
        "resourceType": "ImagingStudy",
        "identifier": identifier,
        "status": "available",
        "subject": ids.reference("patient"),
        "series": series,
        "numberOfSeries": series.len(),
        "numberOfInstances": study.instances.len(),
    });
    with_date(resource, "started", source)
}

pub(super) fn service(source: &Source<'_>) -> Value {
    json!({
        "resourceType": "Device",
        "identifier": [{ "system": format!("{BASE}/id/sha256"), "value": source.service.binary }],
        "status": "active",
        "manufacturer": "Vidimus",
        "deviceName": [{ "name": "Vidimus", "type": "model-name" }],
        "version": [{ "type": { "text": "software" }, "value": source.service.version }],
    })
}

pub(super) fn package(source: &Source<'_>, ids: &Ids<'_>) -> Value {
    let model = source.model;
    let root = model.package_root.hex();
    let serial = root.get(..16).unwrap_or(&root);
    let di = "00000000000000";
    json!({
        "resourceType": "Device",
        "identifier": [
            { "system": format!("{BASE}/id/package-root-sha256"), "value": root },
            { "system": format!("{BASE}/id/sha256"), "value": root },
        ],
        "udiCarrier": [{
            "deviceIdentifier": di,
            "issuer": "http://hl7.org/fhir/NamingSystem/gs1-di",
            "carrierHRF": format!("(01){di}(10){}(21){serial}", model.version),
            "entryType": "manual",
        }],
        "status": "active",
        "manufacturer": "Vidimus",
        "lotNumber": model.version,
        "serialNumber": serial,
        "modelNumber": model.version,
        "deviceName": [{ "name": model.id, "type": "model-name" }],
        "type": concept(&format!("{AI}/CodeSystem/AIdeviceTypeCS"), "Artificial-Intelligence", "Artificial Intelligence"),
        "version": [
            { "type": { "text": "package" }, "value": model.version },
            { "type": { "text": "weights-sha256" }, "value": model.weights_sha256.hex() },
            { "type": { "text": "precision" }, "value": model.precision },
            { "type": { "text": "deployment mode" }, "value": model.mode },
        ],
        "parent": ids.reference("service"),
    })
}

pub(super) fn media(source: &Source<'_>, ids: &Ids<'_>) -> Option<Value> {
    let (name, bytes) = source.overlay?;
    let modality = source.study.instances.first().map_or("OT", |instance| nonempty(&instance.modality));
    let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(json!({
        "resourceType": "Media",
        "status": "completed",
        "type": { "coding": [
            { "system": format!("{THO}/media-type"), "code": "image", "display": "Image" },
            source.terms.coding(DCM, "130401"),
        ] },
        "modality": { "coding": [{ "system": DCM, "code": modality }] },
        "subject": ids.reference("patient"),
        "device": ids.reference("package"),
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
        Result::NotEvaluated(refusal) => vec![not_evaluated(source, ids, refusal)],
    }
}

/// What an Observation has whether or not anything was found.
fn observation(source: &Source<'_>, ids: &Ids<'_>, name: &str) -> Value {
    let mut derived = vec![ids.reference("imaging-study")];
    if source.overlay.is_some() {
        derived.push(ids.reference("media"));
    }
    let uid = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{}/{name}/uid", source.seed).as_bytes());
    let resource = json!({
        "resourceType": "Observation",
        "meta": ai_asserted(),
        "identifier": [{ "system": "urn:dicom:uid", "value": format!("urn:oid:2.25.{}", uid.as_u128()) }],
        "status": "preliminary",
        "category": [concept(&format!("{THO}/observation-category"), "imaging", "Imaging")],
        "subject": ids.reference("patient"),
        "issued": source.issued,
        "device": ids.reference("package"),
        "derivedFrom": derived,
    });
    with_date(resource, "effectiveDateTime", source)
}

fn evaluated(source: &Source<'_>, ids: &Ids<'_>, reading: &Reading, finding: &Finding) -> Value {
    let terms = source.terms;
    let present = finding.decision == "present";
    let coding = if present {
        vec![terms.coding(SCT, "52101004")]
    } else {
        vec![terms.coding(SCT, "272519000"), terms.coding(SCT, "2667000")]
    };
    let (code, meaning) = if present { ("POS", "Positive") } else { ("NEG", "Negative") };
    let uncertainty = &reading.uncertainty;
    let mut observation = observation(source, ids, &finding.id);
    observation["code"] = json!({ "coding": [finding.code] });
    observation["bodySite"] = json!({ "coding": [finding.body_site] });
    observation["valueCodeableConcept"] = json!({
        "coding": coding,
        "extension": [{ "url": format!("{AI}/StructureDefinition/AIconfidence"), "valueDecimal": rounded(finding.probability.get()) }],
    });
    observation["interpretation"] = json!([{ "coding": [{
        "system": format!("{THO}/v3-ObservationInterpretation"), "code": code, "display": meaning,
    }] }]);
    let point = &finding.operating_point;
    observation["component"] = json!([
        { "code": terms.concept(DCM, "111012"), "valueQuantity": percent(finding.probability.get()) },
        { "code": terms.concept(DCM, "111071"), "valueQuantity": percent(point.threshold) },
        { "code": own("operating-point-name", "Name of the operating point"), "valueString": point.name },
        { "code": own("operating-point-figures", "What the operating point was measured to do"), "valueString": figures(finding) },
        { "code": own("ood-score", "Distance from the training films"), "valueQuantity": dimensionless(uncertainty.ood_score) },
        { "code": own("ood-limit", "Limit of that distance"), "valueQuantity": dimensionless(uncertainty.ood_limit) },
    ]);
    let notes: Vec<Value> =
        reading.quality.iter().chain(&uncertainty.notes).map(|note| json!({ "text": note.text })).collect();
    if !notes.is_empty() {
        observation["note"] = json!(notes);
    }
    observation
}

fn dimensionless(value: f64) -> Value {
    json!({ "value": rounded(value), "unit": "1", "system": UCUM, "code": "1" })
}

/// The operating point in words.
pub(crate) fn figures(finding: &Finding) -> String {
    let point = &finding.operating_point;
    let percent = |value: f64| format!("{:.1} %", value * 100.0);
    let range = |interval: vidimus_reader::Interval| format!("{} to {}", percent(interval.low), percent(interval.high));
    format!(
        "sensitivity {} ({}), specificity {} ({}), 95 % intervals, measured on {}",
        percent(point.sensitivity),
        range(point.ci95.sensitivity),
        percent(point.specificity),
        range(point.ci95.specificity),
        point.set
    )
}

fn not_evaluated(source: &Source<'_>, ids: &Ids<'_>, refusal: &Refusal) -> Value {
    let mut observation = observation(source, ids, "not-evaluated");
    observation["code"] = source.terms.concept(SCT, "233604007");
    observation["dataAbsentReason"] = json!({ "coding": [{
        "system": format!("{THO}/data-absent-reason"), "code": "unsupported", "display": "Unsupported",
    }], "text": refusal.text });
    observation["component"] = json!([{
        "code": own("refusal-code", "Why the study was not evaluated"),
        "valueString": refusal.code.as_str(),
    }]);
    observation
}

/// One sentence made from the data.
pub(crate) fn conclusion(result: &Result<'_>) -> String {
    match result {
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
            format!("{} Preliminary second read by software; not a diagnosis.", findings.join(" "))
        }
        Result::NotEvaluated(refusal) => format!("Not evaluated: {}.", refusal.text),
    }
}

pub(super) fn report(source: &Source<'_>, ids: &Ids<'_>, results: &[String], release: Option<&Release<'_>>) -> Value {
    let results: Vec<Value> = results.iter().map(|name| ids.reference(name)).collect();
    let mut report = json!({
        "resourceType": "DiagnosticReport",
        "meta": ai_asserted(),
        "identifier": [{ "system": format!("{BASE}/id/reading"), "value": source.seed }],
        "status": "preliminary",
        "category": [concept(&format!("{THO}/v2-0074"), "RAD", "Radiology")],
        "code": source.terms.concept(LOINC, "18748-4"),
        "subject": ids.reference("patient"),
        "issued": source.issued,
        "performer": [{ "display": source.service.site }],
        "result": results,
        "imagingStudy": [ids.reference("imaging-study")],
        "conclusion": conclusion(&source.result),
    });
    if source.overlay.is_some() {
        report["media"] = json!([{ "comment": "Visual explanation", "link": ids.reference("media") }]);
    }
    if let Some(Release { receipt, origin, .. }) = release {
        report["extension"] = json!([{
            "url": format!("{BASE}/StructureDefinition/receipt"),
            "extension": [
                { "url": "digest", "valueString": receipt.leaf.hex() },
                { "url": "log", "valueUri": format!("https://{origin}") },
                { "url": "leafIndex", "valueString": receipt.index.to_string() },
                { "url": "treeSize", "valueString": receipt.tree_size.to_string() },
                { "url": "url", "valueUri": format!("receipts/{}", receipt.entry_id) },
            ],
        }]);
    }
    with_date(report, "effectiveDateTime", source)
}

pub(super) fn provenance(source: &Source<'_>, ids: &Ids<'_>, targets: &[String], signature: Option<String>) -> Value {
    let targets: Vec<Value> = targets.iter().map(|name| ids.reference(name)).collect();
    let mut entity: Vec<Value> = source
        .study
        .instances
        .iter()
        .map(|instance| {
            let mut what = ids.reference("imaging-study");
            if let Some(commitment) = &instance.commitment {
                what["identifier"] = json!({ "system": format!("{BASE}/id/pixel-commitment"), "value": commitment });
            }
            json!({ "role": "source", "what": what })
        })
        .collect();
    entity.push(json!({
        "role": "derivation",
        "what": {
            "display": "Model card of the package",
            "identifier": { "system": format!("{BASE}/id/package-root-sha256"), "value": source.model.package_root.hex() },
        },
    }));
    let mut provenance = json!({
        "resourceType": "Provenance",
        "target": targets,
        "recorded": source.issued,
        "activity": concept(&format!("{THO}/v3-DataOperation"), "CREATE", "create"),
        "reason": [{ "coding": [{ "system": format!("{THO}/v3-ObservationValue"), "code": "AIAST" }] }],
        "agent": [{
            "type": concept(&format!("{THO}/provenance-participant-type"), "assembler", "Assembler"),
            "role": [concept(&format!("{AI}/CodeSystem/AIdeviceTypeCS"), "Artificial-Intelligence", "Artificial Intelligence")],
            "who": ids.reference("package"),
        }],
        "entity": entity,
    });
    if let Some(jws) = signature {
        provenance["signature"] = json!([{
            "type": [{ "system": "urn:iso-astm:E1762-95:2013", "code": "1.2.840.10065.1.12.1.14", "display": "Source Signature" }],
            "when": source.issued,
            "who": ids.reference("service"),
            "sigFormat": "application/jose",
            "data": STANDARD.encode(jws),
        }]);
    }
    provenance
}
