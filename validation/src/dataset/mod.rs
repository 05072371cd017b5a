//! Locked data sets: the reference cases that a model is judged by, bound by a Merkle root.
//! A set is a folder: `images.tar` (uncompressed), `manifest.jsonl` (one canonical line a case), `openings.jsonl` (the
//! salted commitment of each line and its opening), `root` (hexadecimal), `datasheet.toml`, `provenance.toml`,
//! `licence/`, `SHA256SUMS`. Sets that travel with the source are public, so their openings lie beside the manifest.
//! A leaf is `SHA-256(0x00 || text of the commitment)`, label `locked-case`; the tree is RFC 6962's; leaves stand in
//! the order of the manifest, which is that of the case ids and so says nothing of the classes.
//! [`LockedSet`] knows the set's facts and no label: the reference standard is reached through a [`crate::Look`] alone.
//! Errors: [`DatasetError`] names the file and the case or member that differs. Source: EVIDENCE sections 1 and 2.

mod archive;
mod datasheet;
mod import;
mod manifest;
mod pixels;

use std::path::{Path, PathBuf};

use vidimus_log::{Digest, body::DatasetLocked};

pub use datasheet::{Class, Datasheet, ReferenceStandard, ShortcutProbe};
pub use import::{ImportFacts, Imported, import, lock};

pub use pixels::picture_pixel_digest;

pub(crate) use manifest::{Case, read_cases};

/// Names of a set's files.
pub(crate) mod file {
    pub(crate) const IMAGES: &str = "images.tar";
    pub(crate) const MANIFEST: &str = "manifest.jsonl";
    pub(crate) const OPENINGS: &str = "openings.jsonl";
    pub(crate) const ROOT: &str = "root";
    pub(crate) const DATASHEET: &str = "datasheet.toml";
    pub(crate) const PROVENANCE: &str = "provenance.toml";
    pub(crate) const LICENCE: &str = "licence";
    pub(crate) const SUMS: &str = "SHA256SUMS";
}

/// Why a set is not what its root says, or could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// A file of the set could not be read or written.
    #[error("locked set: {file}: {action} failed")]
    File {
        /// The file's name.
        file: String,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A line of a JSON Lines or CSV file breaks its form.
    #[error("locked set: {file} line {line}: {rule}")]
    Line {
        /// The file's name.
        file: &'static str,
        /// Counted from 1.
        line: usize,
        /// The rule that it breaks.
        rule: String,
    },
    /// A manifest line is not the one that was committed to.
    #[error(
        "locked set: {file} line {line} (case {case}) differs from its commitment: the set was changed after the lock"
    )]
    Commitment {
        /// The file's name.
        file: &'static str,
        /// Counted from 1.
        line: usize,
        /// The case.
        case: String,
    },
    /// The leaves do not give the root.
    #[error("locked set: root says {expected}, the leaves of openings.jsonl give {found}: changed after the lock")]
    Root {
        /// From the file `root`.
        expected: Digest,
        /// Computed.
        found: Digest,
    },
    /// A member of the archive differs, is missing or is not listed.
    #[error("locked set: images.tar: {member}: {what}")]
    Member {
        /// The member's name.
        member: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A file differs from its line in `SHA256SUMS`.
    #[error("locked set: {file}: digest differs from SHA256SUMS: the set was changed after the lock")]
    Sum {
        /// The file's name.
        file: String,
    },
    /// A TOML file of the set is not in its form.
    #[error("locked set: {file}: {rule}")]
    Text {
        /// The file's name.
        file: &'static str,
        /// The rule that it breaks.
        rule: String,
    },
    /// The folder holds a locked set already.
    #[error("locked set: the folder is locked (it has a root); import a new version into another folder")]
    Locked,
}

/// A verified locked set: its facts, and no label.
#[derive(Debug, Clone)]
pub struct LockedSet {
    folder: PathBuf,
    datasheet: Datasheet,
    root: Digest,
    manifest: Digest,
    datasheet_digest: Digest,
    items: u64,
    patients: u64,
}

impl LockedSet {
    /// Opens the folder and checks all of it: every manifest line against its commitment, the commitments against the
    /// root, every member of the archive against the manifest, every file against `SHA256SUMS`.
    pub fn open_manifest(folder: &Path) -> Result<Self, DatasetError> {
        let manifest = read(folder, file::MANIFEST)?;
        let openings = read(folder, file::OPENINGS)?;
        let cases = manifest::parse(&manifest)?;
        let found = manifest::verify(&manifest, &cases, &openings)?;
        let expected = read_root(folder)?;
        if expected != found {
            return Err(DatasetError::Root { expected, found });
        }
        archive::verify(folder, &cases)?;
        import::verify_sums(folder)?;
        let datasheet_bytes = read(folder, file::DATASHEET)?;
        let datasheet = Datasheet::parse(&datasheet_bytes)?;
        let patients: std::collections::BTreeSet<&str> = cases.iter().map(|case| case.patient.as_str()).collect();
        Ok(Self {
            folder: folder.to_owned(),
            datasheet,
            root: expected,
            manifest: Digest::of(&manifest),
            datasheet_digest: Digest::of(&datasheet_bytes),
            items: crate::statistics::count(cases.len()),
            patients: crate::statistics::count(patients.len()),
        })
    }

    /// The Merkle root: the set's identity.
    pub const fn root(&self) -> Digest {
        self.root
    }

    /// The digest of the manifest file.
    pub const fn manifest_digest(&self) -> Digest {
        self.manifest
    }

    /// What the set's makers say of it.
    pub const fn datasheet(&self) -> &Datasheet {
        &self.datasheet
    }

    /// The digest of the datasheet's bytes.
    pub const fn datasheet_digest(&self) -> Digest {
        self.datasheet_digest
    }

    /// Number of cases.
    pub const fn items(&self) -> u64 {
        self.items
    }

    /// Number of patients.
    pub const fn patients(&self) -> u64 {
        self.patients
    }

    /// The folder it was opened from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The body of the entry by which a site takes the set into its log.
    pub fn to_body(&self) -> DatasetLocked {
        DatasetLocked {
            dataset: self.datasheet.name.as_str().into(),
            version: self.datasheet.version.as_str().into(),
            set_root: self.root.into(),
            manifest: self.manifest.into(),
            items: self.items,
            licence: self.datasheet.licence.to_lowercase().into(),
            split: self.datasheet.split.as_str().into(),
            locked_by: self.datasheet.locked_by.as_str().into(),
        }
    }
}

/// Reads one file of the set.
pub(crate) fn read(folder: &Path, name: &str) -> Result<Vec<u8>, DatasetError> {
    std::fs::read(folder.join(name)).map_err(|source| DatasetError::File {
        file: name.to_owned(),
        action: "reading",
        source,
    })
}

/// Writes one file of the set.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), DatasetError> {
    std::fs::write(folder.join(name), bytes).map_err(|source| DatasetError::File {
        file: name.to_owned(),
        action: "writing",
        source,
    })
}

fn read_root(folder: &Path) -> Result<Digest, DatasetError> {
    let text = read(folder, file::ROOT)?;
    std::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.strip_suffix('\n'))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| DatasetError::Text {
            file: file::ROOT,
            rule: "expected 64 lower-case hexadecimal characters".into(),
        })
}
