//! The table of codes: the only place from which a resource or a DICOM object takes a code and its display.
//! Compiled into the program from `terminology.toml`, so that what was reviewed is what is used.
//! Errors: [`TerminologyError`]. Source: INTERFACES section 1.2 (evidence of each code).

use serde::Deserialize;

/// The table is not in its form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TerminologyError {
    /// Not TOML of the table's form.
    #[error("terminology.toml: {0}")]
    Form(String),
    /// A code twice.
    #[error("terminology.toml: {system} {code} is there twice")]
    Twice {
        /// The code system.
        system: String,
        /// The code.
        code: String,
    },
}

/// One code.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// URI of the code system.
    pub system: String,
    /// The code.
    pub code: String,
    /// The display.
    pub display: String,
    /// Where its meaning was read.
    pub source_1: String,
    /// A second, independent place; "none yet" where there is one source only.
    pub source_2: String,
    /// When it was looked up.
    pub date: String,
}

/// The table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terminology {
    term: Vec<Term>,
}

impl Terminology {
    /// Reads the table; every code once.
    pub fn parse(text: &str) -> Result<Self, TerminologyError> {
        let table: Self = toml::from_str(text).map_err(|error| TerminologyError::Form(error.message().to_owned()))?;
        for (index, term) in table.term.iter().enumerate() {
            if table.term[..index].iter().any(|other| (&other.system, &other.code) == (&term.system, &term.code)) {
                return Err(TerminologyError::Twice { system: term.system.clone(), code: term.code.clone() });
            }
        }
        Ok(table)
    }

    /// The term of a code.
    pub fn find(&self, system: &str, code: &str) -> Option<&Term> {
        self.term.iter().find(|term| term.system == system && term.code == code)
    }

    /// The display of a code.
    pub fn display(&self, system: &str, code: &str) -> Option<&str> {
        self.find(system, code).map(|term| term.display.as_str())
    }

    /// All terms, in the order of the file.
    pub fn terms(&self) -> &[Term] {
        &self.term
    }
}

/// The table that this build was made with.
pub fn terminology() -> Result<Terminology, TerminologyError> {
    Terminology::parse(include_str!("../terminology.toml"))
}
