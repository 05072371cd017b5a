//! The evidence file: requirements, hazards, SOUP, labelling, terminology and crosswalks as data (TOML beside this
//! crate's sources), and the checker that binds them to the tests and to each other.
//! [`check`] walks the chain requirement, test, hazard, control, claim, label, clause, and returns every fault;
//! an empty list is the only good answer. [`terminology`] is the table of codes that the service may use.
//! Errors: a [`Fault`] names file, item and rule. Source: EVIDENCE section 12; ISO 14971, IEC 62304 by number.

mod check;
mod data;
mod soup;
mod source;
mod terminology;

use std::fmt;

pub use check::check;
pub use data::{
    Claim, Clause, Control, ControlKind, Crosswalk, Device, Hazard, Labelling, Library, Requirement, RequirementKind,
};
pub use terminology::{Term, Terminology, TerminologyError, terminology};

/// One breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file, below the repository's root.
    pub file: String,
    /// The item: an id, a crate, a test.
    pub item: String,
    /// The rule, and what to do.
    pub rule: String,
}

impl Fault {
    pub(crate) fn new(file: impl Into<String>, item: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { file: file.into(), item: item.into(), rule: rule.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file, self.item, self.rule)
    }
}
