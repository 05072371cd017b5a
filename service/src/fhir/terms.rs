//! The codes that the Bundle uses, each looked up in the signed-off table of `regulatory/evidence/terminology.toml`.
//! Errors: a code that the table lacks is a fault of the program, found by its tests and shown as `unlisted`.

use serde_json::{Value, json};
use vidimus_evidence::Terminology;
use vidimus_reader::Coding;

use super::BASE;

/// SNOMED CT.
pub(super) const SCT: &str = "http://snomed.info/sct";
/// DICOM's own code system.
pub(super) const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
/// LOINC.
pub(super) const LOINC: &str = "http://loinc.org";
/// HL7's AI Transparency guide.
pub(super) const AI: &str = "http://hl7.org/fhir/uv/aitransparency";
/// HL7's terminology server.
pub(super) const THO: &str = "http://terminology.hl7.org/CodeSystem";
/// Units.
pub(super) const UCUM: &str = "http://unitsofmeasure.org";

/// The table of codes.
pub(crate) struct Terms(Terminology);

impl Terms {
    pub(crate) const fn new(terminology: Terminology) -> Self {
        Self(terminology)
    }

    /// The examination itself, for a study of which nothing more is asked.
    pub(crate) fn examination(&self) -> Coding {
        let (system, code) = (SCT, "399208008");
        let display = self.0.display(system, code).unwrap_or("unlisted").to_owned();
        Coding { system: system.into(), code: code.into(), display }
    }

    /// A coding with the table's display.
    pub(super) fn coding(&self, system: &str, code: &str) -> Value {
        let display = self.0.display(system, code).unwrap_or("unlisted");
        json!({ "system": system, "code": code, "display": display })
    }

    /// A CodeableConcept of one coding.
    pub(super) fn concept(&self, system: &str, code: &str) -> Value {
        json!({ "coding": [self.coding(system, code)] })
    }

    /// A CodeableConcept of HL7's terminology server.
    pub(super) fn hl7(&self, table: &str, code: &str) -> Value {
        self.concept(&format!("{THO}/{table}"), code)
    }

    /// A CodeableConcept of a package's coding. Where the table has the code, the table's display stands.
    pub(super) fn of_package(&self, coding: &Coding) -> Value {
        let display = self.0.display(&coding.system, &coding.code).unwrap_or(&coding.display);
        json!({ "coding": [{ "system": coding.system, "code": coding.code, "display": display }] })
    }

    /// A modality as the film states it; the display only where the table has one.
    pub(super) fn modality(&self, code: &str) -> Value {
        json!({ "system": DCM, "code": code, "display": self.0.display(DCM, code) })
    }
}

impl Terms {
    /// Value and interpretation of a decision: present, absent or undetermined.
    pub(crate) fn decision(&self, decision: &str) -> (Value, Value) {
        let (codes, sign): (&[&str], _) = match decision {
            "present" => (&["52101004"], "POS"),
            "absent" => (&["272519000", "2667000"], "NEG"),
            _ => (&["373068000"], "IND"),
        };
        let codings: Vec<Value> = codes.iter().map(|code| self.coding(SCT, code)).collect();
        (json!({ "coding": codings }), self.hl7("v3-ObservationInterpretation", sign))
    }

    /// The reasons that a clinician can give for a disagreement: code and display.
    pub(crate) fn override_reasons(&self) -> Vec<(String, String)> {
        let system = override_reason();
        let terms = self.0.terms().iter().filter(|term| term.system == system);
        terms.map(|term| (term.code.clone(), term.display.clone())).collect()
    }

    /// A reason for a disagreement.
    pub(crate) fn override_reason(&self, code: &str) -> Value {
        self.concept(&override_reason(), code)
    }

    /// The part that somebody has in a Provenance.
    pub(crate) fn participant(&self, code: &str) -> Value {
        self.hl7("provenance-participant-type", code)
    }

    /// Why something is signed.
    pub(crate) fn signature(&self, code: &str) -> Value {
        self.coding("urn:iso-astm:E1762-95:2013", code)
    }

    /// That a version follows an earlier one.
    pub(crate) fn updated(&self) -> Value {
        self.hl7("v3-DataOperation", "UPDATE")
    }

    /// A CodeableConcept of our own code system.
    pub(crate) fn own_code(code: &str, display: &str) -> Value {
        own(code, display)
    }
}

fn override_reason() -> String {
    format!("{BASE}/CodeSystem/override-reason")
}

/// A CodeableConcept of our own code system.
pub(super) fn own(code: &str, display: &str) -> Value {
    json!({ "coding": [{ "system": format!("{BASE}/CodeSystem/reading"), "code": code, "display": display }] })
}

/// What a package is in HL7's AI Transparency guide.
pub(super) fn artificial_intelligence() -> Value {
    json!({ "coding": [{
        "system": format!("{AI}/CodeSystem/AIdeviceTypeCS"),
        "code": "Artificial-Intelligence",
        "display": "Artificial Intelligence",
    }] })
}
