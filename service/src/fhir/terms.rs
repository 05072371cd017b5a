//! The codes that the Bundle uses, each looked up in the signed-off table of `regulatory/evidence/terminology.toml`.
//! Errors: a code that the table lacks is a fault of the program, found by its tests and shown as `unlisted`.

use serde_json::{Value, json};
use vidimus_evidence::Terminology;

/// SNOMED CT.
pub(super) const SCT: &str = "http://snomed.info/sct";
/// DICOM's own code system.
pub(super) const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
/// LOINC.
pub(super) const LOINC: &str = "http://loinc.org";

/// The table of codes.
pub(crate) struct Terms(Terminology);

impl Terms {
    pub(crate) const fn new(terminology: Terminology) -> Self {
        Self(terminology)
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
}
