//! The roles, their scopes (SMART v2 and own) and what the pages offer to each.
//! Source: INTERFACES section 6. Errors: [`UnknownRole`].

use std::{fmt, str::FromStr};

/// In which role somebody acts. Which role may call what stands in the table of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Reads, uploads and signs.
    Clinician,
    /// The quality officer: reads, searches and checks the log, computes readings again.
    Quality,
    /// Sees evidence and the log, and no patient.
    Regulator,
    /// The operator and data steward: the service's own state, and no patient.
    Admin,
    /// A sending device: stores, and nothing else.
    Modality,
}

/// The text names no role.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownRole;

impl fmt::Display for UnknownRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("role: expected clinician, quality, regulator, admin or modality")
    }
}

impl std::error::Error for UnknownRole {}

impl Role {
    /// Every role.
    pub(crate) const ALL: [Self; 5] = [Self::Clinician, Self::Quality, Self::Regulator, Self::Admin, Self::Modality];

    /// The word of tokens, log and command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Clinician => "clinician",
            Self::Quality => "quality",
            Self::Regulator => "regulator",
            Self::Admin => "admin",
            Self::Modality => "modality",
        }
    }

    /// The scopes of a token for this role.
    pub(super) const fn scope(self) -> &'static str {
        match self {
            Self::Clinician => {
                "user/DiagnosticReport.rs user/Observation.rs user/ImagingStudy.rs user/Task.cruds vidimus/sign"
            }
            Self::Quality => {
                "user/DiagnosticReport.rs user/Observation.rs user/ImagingStudy.rs user/Task.rs vidimus/audit.read"
            }
            Self::Regulator => "user/AuditEvent.rs user/Device.rs vidimus/audit.read",
            Self::Admin => "vidimus/admin vidimus/audit.read",
            Self::Modality => "system/ImagingStudy.c",
        }
    }

    /// What the pages may offer.
    pub(super) const fn capabilities(self) -> &'static [&'static str] {
        match self {
            Self::Clinician => &["readings", "sign", "upload", "models"],
            Self::Quality => &["readings", "log", "models", "verify", "replay", "metrics"],
            Self::Regulator => &["log", "models", "verify"],
            Self::Admin => &["log", "models", "verify", "metrics"],
            Self::Modality => &[],
        }
    }

    /// Whether there is a page for this role: a device does not sign in.
    pub(super) const fn has_pages(self) -> bool {
        !matches!(self, Self::Modality)
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}
