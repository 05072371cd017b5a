//! The datasheet of a locked set: what it is, who labelled it, what it may be used for, and its class.
//! Errors: [`DatasetError::Text`] for an unknown, missing or malformed field. Source: EVIDENCE section 2; Gebru 2021.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DatasetError, file};

/// The strength of a set's evidence; it caps the mode that a release may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// Several sites, reference by follow-up or three readers or more.
    A,
    /// One site or two readers.
    B,
    /// Public, single label: engineering only.
    C,
}

impl Class {
    /// `A`, `B` or `C`.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
        }
    }
}

/// How the reference standard was made, and how well.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceStandard {
    /// Who labelled.
    pub readers: String,
    /// What they did not know while labelling.
    pub blinding: String,
    /// Agreement with its interval, or "not measured".
    pub agreement: String,
    /// How disagreements were settled, and their share.
    pub adjudication: String,
    /// Estimate of the share of wrong labels, or "not measured".
    pub label_noise: String,
}

/// What a model that sees no anatomy reaches on this set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShortcutProbe {
    /// The input without anatomy.
    pub input: String,
    /// Its area under the ROC curve, as a decimal text.
    pub auc: String,
    /// Where the figure comes from.
    pub source: String,
}

/// The datasheet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Datasheet {
    /// The set's code.
    pub name: String,
    /// Its version; a withdrawn case makes a new one.
    pub version: String,
    /// The title for a reader.
    pub title: String,
    /// Which split of the source.
    pub split: String,
    /// SPDX licence id.
    pub licence: String,
    /// Who locked it (a code).
    pub locked_by: String,
    /// The set is retired after this date.
    pub retire_after: String,
    /// The class.
    pub class: Class,
    /// Why it is no better.
    pub class_reasons: Vec<String>,
    /// What is the same for every case.
    pub constant: BTreeMap<String, String>,
    /// Gebru's questions.
    pub question: BTreeMap<String, String>,
    /// The reference standard.
    pub reference_standard: ReferenceStandard,
    /// Probes for shortcuts.
    #[serde(default)]
    pub shortcut_probe: Vec<ShortcutProbe>,
    /// Copies that travel as demonstration samples: reading one opens no label and is no look.
    #[serde(default)]
    pub demonstration_copy: Vec<DemonstrationCopy>,
}

/// A copy of a case among the demonstration's samples.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemonstrationCopy {
    /// The member's name.
    pub file: String,
    /// Its digest.
    pub sha256: vidimus_log::Digest,
}

impl Datasheet {
    /// Reads `datasheet.toml`.
    pub fn parse(bytes: &[u8]) -> Result<Self, DatasetError> {
        let fault = |rule: String| DatasetError::Text { file: file::DATASHEET, rule };
        let text = std::str::from_utf8(bytes).map_err(|error| fault(error.to_string()))?;
        let sheet: Self = toml::from_str(text).map_err(|error| fault(error.message().to_owned()))?;
        if sheet.class != Class::A && sheet.class_reasons.is_empty() {
            return Err(fault("class_reasons: expected at least one for a class below A".to_owned()));
        }
        Ok(sheet)
    }
}
