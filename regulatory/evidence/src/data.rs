//! The evidence files as types: one struct a table, unknown fields refused.
//! Shapes: `requirements/*.toml` hold `[[requirement]]`, `hazards.toml` `[[hazard]]` and `[[control]]`, `soup.toml`
//! `[[soup]]`, `labelling/*.toml` and `crosswalk/*.toml` one table each, `device.toml` the product.
//! Errors: [`Fault`] for a file that is missing or out of form.

use std::{fs, path::Path};

use serde::{Deserialize, de::DeserializeOwned};

use crate::Fault;

/// Folder of the evidence files below the root.
pub(crate) const FOLDER: &str = "regulatory/evidence";

/// Sort of a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequirementKind {
    /// What a user needs.
    User,
    /// What the whole product does.
    System,
    /// What a part of the software does.
    Software,
    /// Security.
    Security,
    /// Usability.
    Usability,
    /// Data.
    Data,
}

/// A requirement.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// `REQ-AREA-NNN`, never reused.
    pub id: String,
    /// One sentence.
    pub text: String,
    /// The sort.
    pub kind: RequirementKind,
    /// Where it comes from.
    #[serde(default)]
    pub source: Option<String>,
    /// Requirements that together prove this one, beside tests of its own.
    #[serde(default)]
    pub refined_by: Vec<String>,
}

/// A hazard with its risk before and after control.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hazard {
    /// `HAZ-NNN`.
    pub id: String,
    /// The hazard.
    pub hazard: String,
    /// The sequence of events.
    pub sequence: String,
    /// The harm.
    pub harm: String,
    /// 1 (negligible) to 5 (death).
    pub severity: u8,
    /// 1 (improbable) to 5 (frequent), before control.
    pub p_before: u8,
    /// The same, after control.
    pub p_after: u8,
    /// Controls by id.
    pub controls: Vec<String>,
    /// Cause that is particular to machine learning, or `none`.
    pub ai_cause: String,
    /// Why the residual risk is accepted for the intended mode.
    pub residual: String,
}

/// Order of preference of ISO 14971: design, then protection, then information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlKind {
    /// Safe by design.
    Design,
    /// A protective measure.
    Protection,
    /// Information for safety.
    Information,
}

/// A risk control.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// `RC-NNN`.
    pub id: String,
    /// What it does.
    pub text: String,
    /// Its kind.
    pub kind: ControlKind,
    /// The requirement that implements it.
    pub requirement: String,
    /// A risk that the control brings, or `none`.
    pub new_risk: String,
}

/// One piece of software of unknown provenance.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Soup {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: String,
    pub(crate) job: String,
    pub(crate) if_wrong: String,
    /// Where its answers are checked against something independent.
    pub(crate) checked_by: String,
}

/// A claim of the device file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// `CLM-NNN`.
    pub id: String,
    /// What is claimed.
    pub text: String,
    /// Endpoints: `protocol-id#endpoint-id`.
    pub endpoints: Vec<String>,
    /// Statements of a label: `LBL-NNN`.
    pub statements: Vec<String>,
}

/// The product.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Trade name.
    pub name: String,
    /// Manufacturer.
    pub manufacturer: String,
    /// UDI-DI, or why there is none.
    pub udi_di: String,
    /// What it is for.
    pub intended_use: String,
    /// Who uses it.
    pub users: Vec<String>,
    /// On whom.
    pub population: String,
    /// On whom not.
    pub contraindications: Vec<String>,
    /// How it works.
    pub principle: String,
    /// Class rationales.
    pub class: Vec<ClassRationale>,
    /// Modes that the evidence allows.
    pub mode_max: String,
    /// Claims.
    pub claim: Vec<Claim>,
}

/// A class under one law.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassRationale {
    /// The law.
    pub law: String,
    /// The class or the candidate.
    pub class: String,
    /// Why.
    pub why: String,
}

/// A statement of a label.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Statement {
    pub(crate) id: String,
    pub(crate) text: String,
}

/// A label: intended use, limits, warnings, performance by reference.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labelling {
    /// Intended use id.
    pub id: String,
    /// Version.
    pub version: String,
    /// The model family.
    pub family: String,
    /// Intended use.
    pub intended_use: String,
    /// The protocol that its figures come from: a file below the root.
    pub protocol: String,
    statement: Vec<Statement>,
    limit: Vec<Statement>,
    warning: Vec<Statement>,
    performance: Vec<Statement>,
}

impl Labelling {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Statement> {
        self.statement.iter().chain(&self.limit).chain(&self.warning).chain(&self.performance)
    }

    pub(crate) fn performance(&self) -> &[Statement] {
        &self.performance
    }
}

/// One clause of a law or standard, in own words.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clause {
    /// The clause's number.
    pub clause: String,
    /// What it asks, in own words.
    pub asks: String,
    /// Ids or files that answer it.
    #[serde(default)]
    pub artefacts: Vec<String>,
    /// Why it does not apply, or what is missing.
    #[serde(default)]
    pub not_applicable: Option<String>,
    /// `met`, `partly`, `open` or `not applicable`.
    pub status: String,
}

/// A law or standard, clause by clause.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crosswalk {
    /// The text.
    pub text: String,
    /// Since when it applies.
    pub applies_from: String,
    /// Clauses.
    pub clause: Vec<Clause>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequirementFile {
    requirement: Vec<Requirement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HazardFile {
    hazard: Vec<Hazard>,
    control: Vec<Control>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SoupFile {
    soup: Vec<Soup>,
}

/// All evidence files, each item with the file that it stands in.
#[derive(Debug, Clone)]
pub struct Library {
    /// Requirements and their files.
    pub requirements: Vec<(String, Requirement)>,
    /// Hazards.
    pub hazards: Vec<Hazard>,
    /// Controls.
    pub controls: Vec<Control>,
    /// Labels and their files.
    pub labels: Vec<(String, Labelling)>,
    /// Crosswalks and their files.
    pub crosswalks: Vec<(String, Crosswalk)>,
    /// The product.
    pub device: Device,
    pub(crate) soup: Vec<Soup>,
}

impl Library {
    /// Reads every file below `root`; the first that is missing or out of form is the fault.
    pub fn read(root: &Path) -> Result<Self, Fault> {
        let requirements = folder::<RequirementFile>(root, "requirements")?
            .into_iter()
            .flat_map(|(file, content)| content.requirement.into_iter().map(move |item| (file.clone(), item)))
            .collect();
        let hazards: HazardFile = one(root, "hazards.toml")?;
        let soup: SoupFile = one(root, "soup.toml")?;
        Ok(Self {
            requirements,
            hazards: hazards.hazard,
            controls: hazards.control,
            labels: folder(root, "labelling")?,
            crosswalks: folder(root, "crosswalk")?,
            device: one(root, "device.toml")?,
            soup: soup.soup,
        })
    }
}

fn one<T: DeserializeOwned>(root: &Path, name: &str) -> Result<T, Fault> {
    let file = format!("{FOLDER}/{name}");
    let text = fs::read_to_string(root.join(&file))
        .map_err(|error| Fault::new(&file, "file", format!("cannot be read: {error}")))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        Fault::new(&file, format!("line {line}"), error.message().to_owned())
    })
}

fn folder<T: DeserializeOwned>(root: &Path, name: &str) -> Result<Vec<(String, T)>, Fault> {
    let path = root.join(FOLDER).join(name);
    let fault =
        |error: std::io::Error| Fault::new(format!("{FOLDER}/{name}"), "folder", format!("cannot be read: {error}"));
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(fault)? {
        let file = entry.map_err(fault)?.file_name().to_string_lossy().into_owned();
        if file.ends_with(".toml") {
            names.push(format!("{name}/{file}"));
        }
    }
    names.sort();
    names.into_iter().map(|name| Ok((format!("{FOLDER}/{name}"), one(root, &name)?))).collect()
}
