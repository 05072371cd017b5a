//! What can be asked of which resource: types, who may see them, and their search parameters, as data.
//! The search, the CapabilityStatement and the rows of the table of operations are made from it.
//! Source: INTERFACES section 1.7; HL7 FHIR R4 (4.0.1), search parameters of each resource.

use vidimus_log::body::AccessWhat;

use crate::access::Role::{self, Admin, Clinician, Quality, Regulator};

/// How a parameter is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// `system|code`. The text is the system of elements that are plain codes; empty where there are none.
    Token(&'static str),
    /// A date, or a part of one, with a prefix.
    Date,
    /// A reference to one of these types; empty: to any.
    Reference(&'static [&'static str]),
    /// Text, from its beginning.
    Text,
    /// An address, whole.
    Uri,
    /// `code$value` of one and the same component.
    CodeQuantity,
}

impl Sort {
    /// The word of FHIR's search parameter types.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Date => "date",
            Self::Reference(_) => "reference",
            Self::Text => "string",
            Self::Uri => "uri",
            Self::CodeQuantity => "composite",
        }
    }
}

/// A search parameter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    pub name: &'static str,
    pub sort: Sort,
    /// Paths of elements, by names and dots; lists are walked.
    pub at: &'static [&'static str],
    pub summary: &'static str,
}

const fn by(name: &'static str, sort: Sort, at: &'static [&'static str], summary: &'static str) -> Parameter {
    Parameter { name, sort, at, summary }
}

/// A type of resource that is served.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Type {
    pub name: &'static str,
    /// For the audit.
    pub what: AccessWhat,
    pub roles: &'static [Role],
    pub parameters: &'static [Parameter],
    /// `_include`: names of reference parameters of this type.
    pub include: &'static [&'static str],
    /// `_revinclude`: type and reference parameter that lead here.
    pub revinclude: &'static [(&'static str, &'static str)],
    /// Dates by which a search can be sorted.
    pub sort: &'static [&'static str],
    /// Whether versions are kept; what is a view of the log has one.
    pub versioned: bool,
    pub summary: &'static str,
}

impl Type {
    /// A parameter of this type or of every type.
    pub(super) fn parameter(&self, name: &str) -> Option<&'static Parameter> {
        self.parameters.iter().chain(COMMON).find(|parameter| parameter.name == name)
    }
}

/// The type of this name.
pub(super) fn of(name: &str) -> Option<&'static Type> {
    TYPES.iter().find(|one| one.name == name)
}

/// Parameters of every type.
pub(super) const COMMON: &[Parameter] = &[
    by("_id", Sort::Token(""), &["id"], "Id of the resource"),
    by("_lastUpdated", Sort::Date, &["meta.lastUpdated"], "When this version was made"),
];

/// What shapes the answer; not a criterion.
pub(super) const SHAPING: &[(&str, &str)] = &[
    ("_count", "Resources of a page, 50 where it is not said, at most 200; 0 counts only"),
    ("_sort", "-_lastUpdated (as it is without), _lastUpdated, or a date of the resource"),
    ("_total", "none, estimate or accurate"),
    ("_summary", "count or false"),
    ("_elements", "Elements to be given; the answer is marked as a part"),
    ("_include", "Resources that the found ones refer to"),
    ("_revinclude", "Resources that refer to the found ones"),
    ("_cursor", "From the link `next` of the page before"),
    ("_format", "json"),
];

const PATIENT: Sort = Sort::Reference(&["Patient"]);
const CODED: Sort = Sort::Token("");
const CLINICAL: &[Role] = &[Clinician, Quality];
const OF_MODELS: &[Role] = &[Clinician, Quality, Regulator, Admin];
const OF_THE_LOG: &[Role] = &[Quality, Regulator, Admin];

/// Every type, in the order of the CapabilityStatement.
pub(super) const TYPES: &[Type] = &[
    Type {
        name: "DiagnosticReport",
        what: AccessWhat::Finding,
        roles: CLINICAL,
        parameters: &[
            by("patient", PATIENT, &["subject"], "Whose report"),
            by("subject", PATIENT, &["subject"], "Whose report"),
            by(
                "status",
                Sort::Token("http://hl7.org/fhir/diagnostic-report-status"),
                &["status"],
                "preliminary, final",
            ),
            by("code", CODED, &["code"], "What was reported on"),
            by("category", CODED, &["category"], "Service that made it"),
            by("date", Sort::Date, &["effectiveDateTime"], "Day of the study"),
            by("issued", Sort::Date, &["issued"], "When it was issued"),
            by("identifier", CODED, &["identifier"], "Id of the reading"),
            by("result", Sort::Reference(&["Observation"]), &["result"], "One of its Observations"),
            by("results-interpreter", Sort::Reference(&["Practitioner"]), &["resultsInterpreter"], "Who signed it"),
            by("performer", Sort::Reference(&[]), &["performer"], "Who made it"),
            by("based-on", Sort::Reference(&[]), &["basedOn"], "What asked for it"),
            by("media", Sort::Reference(&["Media"]), &["media.link"], "Its visual explanation"),
        ],
        include: &["patient", "subject", "result", "results-interpreter", "media"],
        revinclude: &[("Provenance", "target")],
        sort: &["date", "issued"],
        versioned: true,
        summary: "The reading of a study: preliminary until a clinician signs",
    },
    Type {
        name: "Observation",
        what: AccessWhat::Finding,
        roles: CLINICAL,
        parameters: &[
            by("patient", PATIENT, &["subject"], "Of whom"),
            by("subject", PATIENT, &["subject"], "Of whom"),
            by("code", CODED, &["code"], "The finding that was asked for"),
            by("category", CODED, &["category"], "imaging"),
            by("status", Sort::Token("http://hl7.org/fhir/observation-status"), &["status"], "preliminary, final"),
            by("date", Sort::Date, &["effectiveDateTime"], "Day of the study"),
            by("identifier", CODED, &["identifier"], "DICOM UID of the observation"),
            by(
                "device",
                Sort::Reference(&["Device"]),
                &["device"],
                "The model, or the service where none came to work",
            ),
            by("performer", Sort::Reference(&["Practitioner"]), &["performer"], "Who, for a clinician's finding"),
            by("part-of", Sort::Reference(&[]), &["partOf"], "What it is a part of"),
            by("derived-from", Sort::Reference(&[]), &["derivedFrom"], "Study, explanation or earlier finding"),
            by("value-concept", CODED, &["valueCodeableConcept"], "Present, absent or undetermined"),
            by("data-absent-reason", CODED, &["dataAbsentReason"], "Why there is no value"),
            by("component-code-value-quantity", Sort::CodeQuantity, &["component"], "Code and value of a component"),
            by("combo-code-value-quantity", Sort::CodeQuantity, &["", "component"], "The same, or the finding's own"),
        ],
        include: &["patient", "subject", "device", "performer", "derived-from"],
        revinclude: &[("Provenance", "target"), ("DiagnosticReport", "result"), ("Observation", "derived-from")],
        sort: &["date"],
        versioned: true,
        summary: "A finding, or why there is none",
    },
    Type {
        name: "ImagingStudy",
        what: AccessWhat::Study,
        roles: CLINICAL,
        parameters: &[
            by("patient", PATIENT, &["subject"], "Whose study"),
            by("subject", PATIENT, &["subject"], "Whose study"),
            by("identifier", CODED, &["identifier"], "Study Instance UID as urn:dicom:uid, or accession number"),
            by("started", Sort::Date, &["started"], "Day of the study"),
            by("modality", CODED, &["series.modality"], "Modality of a series"),
            by("endpoint", Sort::Reference(&["Endpoint"]), &["endpoint"], "Where it can be retrieved"),
            by("status", Sort::Token("http://hl7.org/fhir/imagingstudy-status"), &["status"], "available"),
            by("series", CODED, &["series.uid"], "UID of a series"),
            by("instance", CODED, &["series.instance.uid"], "UID of an instance"),
        ],
        include: &["patient", "subject"],
        revinclude: &[("Observation", "derived-from"), ("Task", "focus"), ("Provenance", "entity")],
        sort: &["started"],
        versioned: true,
        summary: "A study that was read",
    },
    Type {
        name: "Device",
        what: AccessWhat::Model,
        roles: OF_MODELS,
        parameters: &[
            by("identifier", CODED, &["identifier"], "Root of the package, or digest of the program"),
            by("type", CODED, &["type"], "Artificial intelligence"),
            by("model", Sort::Text, &["modelNumber"], "Version of the model"),
            by("device-name", Sort::Text, &["deviceName.name"], "Name of the model or program"),
            by("manufacturer", Sort::Text, &["manufacturer"], "Manufacturer"),
            by("status", Sort::Token("http://hl7.org/fhir/device-status"), &["status"], "active, inactive"),
            by("udi-di", Sort::Text, &["udiCarrier.deviceIdentifier"], "Device identifier of the UDI"),
            by("udi-carrier", Sort::Text, &["udiCarrier.carrierHRF"], "UDI as people read it"),
        ],
        include: &[],
        revinclude: &[],
        sort: &[],
        versioned: true,
        summary: "A model's package, or this software",
    },
    Type {
        name: "Provenance",
        what: AccessWhat::Finding,
        roles: CLINICAL,
        parameters: &[
            by("target", Sort::Reference(&[]), &["target"], "Report or finding; a version where one is named"),
            by("recorded", Sort::Date, &["recorded"], "When"),
            by("agent", Sort::Reference(&[]), &["agent.who"], "Model, service or person"),
            by("agent-type", CODED, &["agent.type"], "assembler, enterer, verifier, legal"),
            by("agent-role", CODED, &["agent.role"], "Role of the agent"),
            by("entity", Sort::Reference(&[]), &["entity.what"], "What it was made from"),
            by("signature-type", CODED, &["signature.type"], "Why it is signed"),
        ],
        include: &["target", "agent", "entity"],
        revinclude: &[],
        sort: &["recorded"],
        versioned: true,
        summary: "Who made or signed it, from what, and the signature",
    },
    Type {
        name: "Task",
        what: AccessWhat::Study,
        roles: CLINICAL,
        parameters: &[
            by("patient", PATIENT, &["for"], "For whom"),
            by("subject", PATIENT, &["for"], "For whom"),
            by(
                "status",
                Sort::Token("http://hl7.org/fhir/task-status"),
                &["status"],
                "requested, in-progress, completed, rejected, failed",
            ),
            by("focus", Sort::Reference(&["ImagingStudy"]), &["focus"], "The study"),
            by("owner", Sort::Reference(&["Device"]), &["owner"], "The service"),
            by("requester", Sort::Reference(&[]), &["requester"], "Who asked"),
            by("code", CODED, &["code"], "second-read"),
            by("intent", Sort::Token("http://hl7.org/fhir/task-intent"), &["intent"], "order"),
            by("priority", Sort::Token("http://hl7.org/fhir/request-priority"), &["priority"], "routine"),
            by("authored-on", Sort::Date, &["authoredOn"], "When it was asked for"),
            by("modified", Sort::Date, &["lastModified"], "When it changed"),
        ],
        include: &["patient", "subject", "focus", "owner"],
        revinclude: &[],
        sort: &["authored-on", "modified"],
        versioned: true,
        summary: "A request for a second read: waiting, done, rejected or failed",
    },
    Type {
        name: "AuditEvent",
        what: AccessWhat::Log,
        roles: OF_THE_LOG,
        parameters: &[
            by("date", Sort::Date, &["recorded"], "When it was recorded"),
            by("type", CODED, &["type"], "Kind of event (DICOM, or rest)"),
            by("subtype", CODED, &["subtype"], "Interaction, kind of entry, operation"),
            by("action", Sort::Token("http://hl7.org/fhir/audit-event-action"), &["action"], "C, R, U, D or E"),
            by("outcome", Sort::Token("http://hl7.org/fhir/audit-event-outcome"), &["outcome"], "0, 4, 8 or 12"),
            by("agent", Sort::Reference(&[]), &["agent.who"], "Who; `agent:identifier` by pseudonym"),
            by("agent-role", CODED, &["agent.role"], "Role in which somebody acted"),
            by("policy", Sort::Uri, &["agent.policy"], "Access rules under which it was decided"),
            by("entity", Sort::Reference(&[]), &["entity.what"], "Entry of the log that it refers to"),
            by("entity-role", CODED, &["entity.role"], "Role of an entity"),
            by("entity-type", CODED, &["entity.type"], "Type of an entity"),
            by("site", CODED, &["source.site"], "Name of the log"),
        ],
        include: &[],
        revinclude: &[],
        sort: &[],
        versioned: false,
        summary: "An entry of the audit log; its id is the index",
    },
    Type {
        name: "Patient",
        what: AccessWhat::Study,
        roles: CLINICAL,
        parameters: &[
            by("identifier", CODED, &["identifier"], "Patient ID as the films state it"),
            by("name", Sort::Text, &["name.family", "name.given", "name.prefix", "name.suffix"], "A part of the name"),
            by("family", Sort::Text, &["name.family"], "Family name"),
            by("given", Sort::Text, &["name.given"], "Given name"),
            by("birthdate", Sort::Date, &["birthDate"], "Day of birth"),
            by(
                "gender",
                Sort::Token("http://hl7.org/fhir/administrative-gender"),
                &["gender"],
                "Sex as the films state it",
            ),
        ],
        include: &[],
        revinclude: &[("DiagnosticReport", "patient"), ("ImagingStudy", "patient")],
        sort: &[],
        versioned: true,
        summary: "Whose study was read, as the films state it",
    },
    Type {
        name: "Media",
        what: AccessWhat::Explanation,
        roles: CLINICAL,
        parameters: &[
            by("patient", PATIENT, &["subject"], "Of whom"),
            by("subject", PATIENT, &["subject"], "Of whom"),
            by("identifier", CODED, &["identifier"], "Identifier"),
            by("type", CODED, &["type"], "Visual explanation"),
            by("modality", CODED, &["modality"], "Modality of the film"),
            by("device", Sort::Reference(&["Device"]), &["device"], "The model"),
            by("status", Sort::Token("http://hl7.org/fhir/event-status"), &["status"], "completed"),
        ],
        include: &["patient", "subject", "device"],
        revinclude: &[("DiagnosticReport", "media"), ("Observation", "derived-from")],
        sort: &[],
        versioned: true,
        summary: "The visual explanation of a reading",
    },
    Type {
        name: "Practitioner",
        what: AccessWhat::Finding,
        roles: CLINICAL,
        parameters: &[
            by("identifier", CODED, &["identifier"], "The log's pseudonym"),
            by("name", Sort::Text, &["name.text"], "Name as printed in a signature"),
            by("active", CODED, &["active"], "Whether in use"),
        ],
        include: &[],
        revinclude: &[("DiagnosticReport", "results-interpreter"), ("Observation", "performer")],
        sort: &[],
        versioned: true,
        summary: "Who signed",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-SVC-262
    #[test]
    fn what_can_be_included_and_sorted_by_is_a_parameter_of_its_type() {
        for one in TYPES {
            for name in one.include {
                assert!(matches!(one.parameter(name).unwrap().sort, Sort::Reference(_)), "{}:{name}", one.name);
            }
            for name in one.sort {
                assert_eq!(one.parameter(name).unwrap().sort, Sort::Date, "{}:{name}", one.name);
            }
            for (from, name) in one.revinclude {
                let parameter = of(from).unwrap().parameter(name).unwrap();
                let Sort::Reference(types) = parameter.sort else { panic!("{from}:{name} is no reference") };
                assert!(types.is_empty() || types.contains(&one.name), "{from}:{name} does not lead to {}", one.name);
                // nobody gets by a detour what the role may not see
                assert!(
                    one.roles.iter().all(|role| of(from).unwrap().roles.contains(role)),
                    "{from} from {}",
                    one.name
                );
            }
            let mut names: Vec<&str> = one.parameters.iter().map(|parameter| parameter.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), one.parameters.len(), "{}: a parameter twice", one.name);
        }
    }
}
