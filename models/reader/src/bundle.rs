//! A model package as data: weights, input contract, classes, operating points, intended use, training record.
//!
//! A package is named by its root: the Merkle root (RFC 6962 hashing) over one line a file, `<sha256> <bytes>
//! <path>\n`, sorted by path. What is said *about* a package (evaluation, signatures, release) names the root and lies
//! beside it in `evidence/`, outside it.
//! Errors: [`BundleError`] names the file and what is wrong with it.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};
use vidimus_log::{Digest, leaf_hash, tree};
use vidimus_networks::Preparation;

use crate::contract::InputContract;

/// The file that describes the package.
const PACKAGE: &str = "package.toml";
/// The folder beside the package that its root does not cover.
const EVIDENCE: &str = "evidence";
/// A bundle larger than this is refused before it is read: the largest shipped one has 4 MB.
const BYTES_MAX: u64 = 64 << 20;

/// A code of a published code system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coding {
    /// The code system's address.
    pub system: String,
    /// The code.
    pub code: String,
    /// Its short display.
    pub display: String,
}

/// One output of the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Name of the class, in the order of the network's logits.
    pub name: String,
}

/// A threshold fixed before the evaluation, by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPointSpec {
    /// Name, for example `even-odds`.
    pub name: String,
    /// The finding is called present at this probability and above.
    pub threshold: f64,
    /// How and when the threshold was fixed.
    pub fixed: String,
}

/// What the model says about an image: the summed probability of some classes, under one code.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindingSpec {
    /// Name of the finding in protocols and records.
    pub id: String,
    /// Its code.
    pub code: Coding,
    /// Where it is.
    pub body_site: Coding,
    /// The classes whose probabilities add up to the finding's.
    pub classes: Vec<String>,
    /// The threshold.
    pub operating_point: OperatingPointSpec,
}

/// How the explanation is made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaliencySpec {
    /// The method, for example `grad-cam`.
    pub method: String,
    /// Version of the method's implementation and parameters.
    pub version: String,
}

/// What the model may be used for, and what not.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntendedUse {
    /// Identity of the statement in the labelling.
    pub id: String,
    /// The statement.
    pub text: String,
    /// What it must not be used for and what is not known of it.
    pub limits: Vec<String>,
}

/// `package.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Name of the model family.
    pub name: String,
    /// Version, SemVer.
    pub version: String,
    /// A line for people.
    pub title: String,
    /// The precision profile of its arithmetic.
    pub precision: String,
    /// The network's name in `models/networks`.
    pub architecture: String,
    /// Path of the weights, safetensors.
    pub weights: String,
    /// Path of the guard's reference, safetensors.
    pub guard: String,
    /// Path of the training record, JSON.
    pub training_record: String,
    /// Path of the model card, Markdown.
    pub card: String,
    /// Logits are divided by it before the softmax; 1 is none.
    pub temperature: f64,
    /// From display values to the network's input.
    pub preparation: Preparation,
    /// The network's outputs.
    pub classes: Vec<Class>,
    /// What is said of them.
    pub findings: Vec<FindingSpec>,
    /// What may come in.
    pub input: InputContract,
    /// The explanation.
    pub saliency: SaliencySpec,
    /// The claim.
    pub intended_use: IntendedUse,
}

/// A package could not be read as one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A file or folder cannot be read.
    #[error("model bundle: {path} cannot be read")]
    Read {
        /// Path inside the bundle.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file that the package names is not there.
    #[error("model bundle: {path} is missing")]
    Missing {
        /// Path inside the bundle.
        path: String,
    },
    /// The bundle holds more than [`BYTES_MAX`] bytes.
    #[error("model bundle: larger than {BYTES_MAX} bytes")]
    TooLarge,
    /// A file says something that cannot be.
    #[error("model bundle: {path}: {what}")]
    Invalid {
        /// Path inside the bundle.
        path: String,
        /// What is wrong.
        what: String,
    },
}

/// The files of one package, its description and its root. The root is computed from the bytes that this value holds.
#[derive(Clone)]
pub struct Bundle {
    files: BTreeMap<String, Vec<u8>>,
    package: Package,
    root: Digest,
}

impl Bundle {
    /// A bundle of these files (path with `/` between folders, bytes). Files below `evidence/` are left out.
    pub fn from_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, BundleError> {
        let files: BTreeMap<String, Vec<u8>> =
            files.into_iter().filter(|(path, _)| !path.starts_with("evidence/")).collect();
        let text = files.get(PACKAGE).ok_or_else(|| BundleError::Missing { path: PACKAGE.into() })?;
        let text = std::str::from_utf8(text).map_err(|error| invalid(PACKAGE, error))?;
        let package: Package = toml::from_str(text).map_err(|error| invalid(PACKAGE, error))?;
        check(&package, &files)?;
        let root = root(&files);
        Ok(Self { files, package, root })
    }

    /// Reads the bundle in folder `dir`.
    pub fn read(dir: &Path) -> Result<Self, BundleError> {
        let mut files = Vec::new();
        let mut budget = BYTES_MAX;
        walk(dir, "", &mut budget, &mut files)?;
        Self::from_files(files)
    }

    /// Writes the files below `dir`, which is made.
    pub fn write(&self, dir: &Path) -> Result<(), BundleError> {
        for (path, bytes) in &self.files {
            let target = dir.join(path);
            let failed = |source| BundleError::Read { path: path.clone(), source };
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            fs::write(&target, bytes).map_err(failed)?;
        }
        Ok(())
    }

    /// The description.
    pub const fn package(&self) -> &Package {
        &self.package
    }

    /// The digest of the preparation, as the log names it: of its JSON form.
    pub fn preparation_digest(&self) -> Digest {
        Digest::of(serde_json::json!(self.package.preparation).to_string().as_bytes())
    }

    /// The package root.
    pub const fn root(&self) -> Digest {
        self.root
    }

    /// The bytes of a file.
    pub fn file(&self, path: &str) -> Result<&[u8], BundleError> {
        self.files.get(path).map(Vec::as_slice).ok_or_else(|| BundleError::Missing { path: path.into() })
    }

    /// The digest of a file.
    pub fn digest(&self, path: &str) -> Result<Digest, BundleError> {
        self.file(path).map(Digest::of)
    }
}

/// The Merkle root over the files.
fn root(files: &BTreeMap<String, Vec<u8>>) -> Digest {
    let leaves: Vec<Digest> = files
        .iter()
        .map(|(path, bytes)| leaf_hash(format!("{} {} {path}\n", Digest::of(bytes), bytes.len()).as_bytes()))
        .collect();
    tree::root(&leaves)
}

fn invalid(path: &str, what: impl ToString) -> BundleError {
    BundleError::Invalid { path: path.into(), what: what.to_string() }
}

/// Rules that the description must keep by itself.
fn check(package: &Package, files: &BTreeMap<String, Vec<u8>>) -> Result<(), BundleError> {
    for path in [&package.weights, &package.guard, &package.training_record, &package.card] {
        if !files.contains_key(path) {
            return Err(BundleError::Missing { path: path.clone() });
        }
    }
    if package.findings.is_empty() {
        return Err(invalid(PACKAGE, "no finding"));
    }
    for finding in &package.findings {
        let threshold = finding.operating_point.threshold;
        if !(threshold > 0.0 && threshold < 1.0) {
            return Err(invalid(PACKAGE, format!("finding {}: threshold {threshold} is not within 0..1", finding.id)));
        }
        for class in &finding.classes {
            if !package.classes.iter().any(|known| known.name == *class) {
                return Err(invalid(PACKAGE, format!("finding {}: no class {class}", finding.id)));
            }
        }
    }
    if !(package.temperature.is_finite() && package.temperature > 0.0) {
        return Err(invalid(PACKAGE, format!("temperature {} is not positive", package.temperature)));
    }
    Ok(())
}

/// Collects the files below `dir`, within the budget of bytes.
fn walk(dir: &Path, prefix: &str, budget: &mut u64, files: &mut Vec<(String, Vec<u8>)>) -> Result<(), BundleError> {
    let failed = |path: &str, source| BundleError::Read { path: path.into(), source };
    for entry in fs::read_dir(dir).map_err(|source| failed(prefix, source))? {
        let entry = entry.map_err(|source| failed(prefix, source))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        let facts = entry.metadata().map_err(|source| failed(&path, source))?;
        if facts.is_dir() {
            if !(prefix.is_empty() && name == EVIDENCE) {
                walk(&entry.path(), &path, budget, files)?;
            }
            continue;
        }
        *budget = budget.checked_sub(facts.len()).ok_or(BundleError::TooLarge)?;
        files.push((path.clone(), fs::read(entry.path()).map_err(|source| failed(&path, source))?));
    }
    Ok(())
}
