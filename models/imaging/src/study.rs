//! Instances sorted into studies; what contradicts what came before is set aside and named, never mixed in.
//! In: instances in the order of arrival. Out: studies in that order, each with what was kept and what was set aside.
//! Errors: none; a `Conflict` says why an instance is not part of its study. Requirement: REQ-IMG-022.

use std::collections::HashMap;

use vidimus_log::{Digest, Phi};

use crate::instance::{Instance, Patient};

/// Why an instance was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Conflict {
    /// Its study belongs to another patient.
    OtherPatient,
    /// Its SOP Instance UID was seen with other content.
    OtherContent,
    /// It is the same file again: nothing is lost.
    Repeated,
    /// It has no SOP Instance UID, or no Study Instance UID.
    NoIdentity,
}

impl Conflict {
    /// What an operator reads.
    pub const fn text(self) -> &'static str {
        match self {
            Self::OtherPatient => "PatientID (0010,0020): the study belongs to another patient; the file is set aside",
            Self::OtherContent => {
                "SOPInstanceUID (0008,0018): seen before with other content; the first is kept, this one refused"
            }
            Self::Repeated => "SOPInstanceUID (0008,0018): the same file again; read once",
            Self::NoIdentity => "SOPInstanceUID (0008,0018) or StudyInstanceUID (0020,000D): absent",
        }
    }

    /// The file is refused, not only left out.
    pub const fn refused(self) -> bool {
        !matches!(self, Self::Repeated)
    }
}

/// One study.
pub struct Study {
    /// Study Instance UID.
    pub study_instance_uid: Phi<String>,
    /// What belongs to it, in the order of arrival.
    pub instances: Vec<Instance>,
    /// What claims to and does not, with the reason.
    pub set_aside: Vec<(Instance, Conflict)>,
}

/// Sorts instances into studies.
pub fn group(instances: impl IntoIterator<Item = Instance>) -> Vec<Study> {
    let mut studies: Vec<Study> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut contents: HashMap<String, Digest> = HashMap::new();
    for instance in instances {
        let study = instance.study_instance_uid.open().clone();
        let sop = instance.sop_instance_uid.open().clone();
        let place = *places.entry(study.clone()).or_insert_with(|| {
            let study_instance_uid = Phi::new(study.clone());
            studies.push(Study { study_instance_uid, instances: Vec::new(), set_aside: Vec::new() });
            studies.len() - 1
        });
        let Some(entry) = studies.get_mut(place) else { continue };
        let conflict = if study.is_empty() || sop.is_empty() {
            Some(Conflict::NoIdentity)
        } else if let Some(before) = contents.get(&sop) {
            Some(if *before == instance.bytes_digest { Conflict::Repeated } else { Conflict::OtherContent })
        } else {
            let other = |first: &Instance| !same(&first.patient, &instance.patient);
            entry.instances.first().is_some_and(other).then_some(Conflict::OtherPatient)
        };
        match conflict {
            Some(conflict) => entry.set_aside.push((instance, conflict)),
            None => {
                contents.insert(sop, instance.bytes_digest);
                entry.instances.push(instance);
            }
        }
    }
    studies
}

/// Two descriptions of one patient: nothing that both give differs, and the identifier is the same.
pub fn same(a: &Patient, b: &Patient) -> bool {
    let name = |patient: &Patient| patient.name.open().trim_end_matches(['^', ' ', '=']).to_lowercase();
    let agree = |a: &str, b: &str| a.is_empty() || b.is_empty() || a == b;
    a.id.open() == b.id.open()
        && agree(&name(a), &name(b))
        && agree(a.birth_date.open(), b.birth_date.open())
        && agree(a.sex.as_deref().unwrap_or(""), b.sex.as_deref().unwrap_or(""))
}
