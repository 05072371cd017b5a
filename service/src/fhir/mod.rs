//! A reading as FHIR R4: one transaction Bundle of referenced resources (INTERFACES, sections 1.1 to 1.5).
//!
//! A translation and nothing else: no figure is computed here. What the service says is `preliminary` and labelled
//! AIAST (AI asserted); this module has no way to write another status.
//! Source: HL7 FHIR R4 (4.0.1); HL7 AI Transparency on FHIR; DICOM PS3.16 context groups. Codes stand in
//! `terminology.toml`.

mod device;
mod finding;
pub(crate) mod publish;
#[cfg(test)]
pub(crate) mod publish_tests;
mod report;
pub(crate) mod rest;
pub(crate) mod shelf;
mod study;
mod task;
mod terms;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod values;

use serde_json::{Value, json};
use uuid::Uuid;
use vidimus_log::{Phi, Receipt};
use vidimus_reader::{Coding, ModelFacts, Reading, Refusal};

pub(crate) use finding::figures;
pub(crate) use report::PRELIMINARY;
pub(crate) use terms::Terms;

/// Base of our own code systems, extensions and identifiers.
pub(crate) const BASE: &str = "https://vidimus.example/fhir";

/// One instance of the study.
pub(crate) struct InstanceFacts {
    /// SOP instance UID.
    pub uid: Phi<String>,
    /// Series instance UID.
    pub series_uid: Phi<String>,
    /// SOP class UID.
    pub sop_class: String,
    /// Modality (0008,0060).
    pub modality: String,
    /// Salted commitment to its pixels, as in the log.
    pub commitment: Option<String>,
}

/// The patient and the study, as the FHIR client knows them already. Opened here only.
pub(crate) struct StudyFacts {
    pub patient_id: Phi<String>,
    pub patient_name: Phi<String>,
    pub birth_date: Phi<String>,
    pub sex: Option<String>,
    pub study_uid: Phi<String>,
    pub accession: Phi<String>,
    /// DICOM date, `YYYYMMDD`.
    pub study_date: Phi<String>,
    pub instances: Vec<InstanceFacts>,
}

/// What was found, or why nothing was.
pub(crate) enum Result<'a> {
    Evaluated(&'a Reading),
    NotEvaluated(&'a Refusal),
    /// The software could not do its work. Neither holds patient data.
    Failed {
        code: &'a str,
        text: &'a str,
    },
}

/// The program that speaks: name, version, digest of its binary.
#[derive(Clone)]
pub(crate) struct ServiceFacts {
    pub version: String,
    pub binary: String,
    pub site: String,
}

/// Everything that a Bundle is made from.
pub(crate) struct Source<'a> {
    pub terms: &'a Terms,
    pub study: &'a StudyFacts,
    /// None where the study failed before a package came to work.
    pub model: Option<&'a ModelFacts>,
    pub service: &'a ServiceFacts,
    pub result: Result<'a>,
    /// The finding that was asked for.
    pub about: &'a Coding,
    /// Who asked: the id of the log's actor.
    pub requester: &'a str,
    /// RFC 3339, UTC.
    pub issued: &'a str,
    /// Name of the overlay picture beside the Bundle, and its bytes.
    pub overlay: Option<(&'a str, &'a [u8])>,
    /// Seed of the resources' ids: the outcome's entry id, so that the same reading has the same ids for ever.
    pub seed: &'a str,
}

impl Source<'_> {
    /// The Device that speaks.
    const fn device(&self) -> &'static str {
        if self.model.is_some() { "package" } else { "service" }
    }

    /// The label of everything that the service asserts by itself.
    fn ai_asserted(&self) -> Value {
        json!({ "security": self.terms.hl7("v3-ObservationValue", "AIAST")["coding"] })
    }
}

/// The receipt and the signature that a released Bundle carries beyond the one that the outcome's entry commits to.
pub(crate) struct Release<'a> {
    pub receipt: &'a Receipt,
    pub origin: &'a str,
    /// Makes a detached JWS over the exact bytes of a resource.
    pub sign: &'a dyn Fn(&[u8]) -> String,
}

/// `urn:uuid:` addresses of the resources of one Bundle.
struct Ids<'a>(&'a str);

impl Ids<'_> {
    fn url(&self, name: &str) -> String {
        let seed = format!("{}/{name}", self.0);
        format!("urn:uuid:{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, seed.as_bytes()))
    }

    fn reference(&self, name: &str) -> Value {
        json!({ "reference": self.url(name) })
    }
}

/// The Bundle as the outcome commits to it (no `release`), or as it leaves the service.
pub(crate) fn bundle(source: &Source<'_>, release: Option<&Release<'_>>) -> Vec<u8> {
    let ids = Ids(source.seed);
    let study = source.study;
    let mut entries = vec![
        entry(&ids, "patient", study::patient(source), study::patient_query(study)),
        entry(&ids, "imaging-study", study::imaging_study(source, &ids), study::imaging_study_query(study)),
        entry(&ids, "service", device::service(source), device::query(&source.service.binary)),
    ];
    if let Some(model) = source.model {
        entries.push(entry(&ids, "package", device::package(model, &ids), device::query(&model.package_root.hex())));
    }
    if let Some(media) = finding::media(source, &ids) {
        entries.push(entry(&ids, "media", media, None));
    }
    let mut targets = Vec::new();
    for (place, observation) in finding::observations(source, &ids).into_iter().enumerate() {
        let name = format!("observation-{place}");
        entries.push(entry(&ids, &name, observation, None));
        targets.push(name);
    }
    // what is signed is what is sent
    let report = values::without_empty(report::report(source, &ids, &targets, release));
    let signature = release.map(|release| (release.sign)(report.to_string().as_bytes()));
    targets.insert(0, "report".into());
    entries.push(entry(&ids, "report", report, None));
    entries.push(entry(&ids, "provenance", report::provenance(source, &ids, &targets, signature), None));
    entries.push(entry(&ids, "task", task::task(source, &ids), None));
    json!({ "resourceType": "Bundle", "type": "transaction", "timestamp": source.issued, "entry": entries })
        .to_string()
        .into_bytes()
}

fn entry(ids: &Ids<'_>, name: &str, resource: Value, unless_exists: Option<String>) -> Value {
    let request = json!({ "method": "POST", "url": resource["resourceType"], "ifNoneExist": unless_exists });
    values::without_empty(json!({ "fullUrl": ids.url(name), "resource": resource, "request": request }))
}
