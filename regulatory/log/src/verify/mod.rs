//! Verification of a whole log, entry by entry, from nothing but its published files and its key.
//! First the signature of the checkpoint, then every bundle against the tiles and every tile against the one below,
//! then the root; a breach of canonical form, schema or of a rule between entries is reported under a valid root only.
//! Errors: [`VerifyError`], each with its [`Reason`]. Source: AUDIT_LOG sections 5 and 11.

mod rules;

use std::collections::BTreeMap;

use crate::{
    Digest, EntryError, EntryId, canonical, leaf_hash,
    note::{NoteError, SignedCheckpoint, VerifyingKey},
    schema::{self, Header, SchemaError},
    tile, tree,
};

/// The word for a verdict that is not "verified".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A hash, root, proof or leaf differs.
    Tampered,
    /// Something is missing or cannot be read.
    Unreadable,
    /// No trusted signature, or a bad one.
    Signature,
    /// A breach of schema, canonical form or rules under a valid root: an insider's entry.
    Schema,
    /// Two histories of one log, or one that shrank.
    Fork,
    /// A version that this program does not know.
    Version,
}

impl Reason {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tampered => "tampered",
            Self::Unreadable => "unreadable",
            Self::Signature => "signature",
            Self::Schema => "schema",
            Self::Fork => "fork",
            Self::Version => "version",
        }
    }
}

/// Why a log, receipt or entry is not verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A hash, root, proof or leaf differs.
    #[error("tampered: {what}")]
    Tampered {
        /// What differs.
        what: String,
    },
    /// Something is missing or malformed.
    #[error("unreadable: {what}")]
    Unreadable {
        /// What, and why.
        what: String,
    },
    /// No trusted signature.
    #[error("signature: {0}")]
    Signature(#[source] NoteError),
    /// An entry that the schema refuses, under a valid root.
    #[error("schema: entry{}: {source}", index.map_or_else(String::new, |index| format!(" {index}")))]
    Schema {
        /// Its index, where it was read at one.
        index: Option<u64>,
        /// What it breaks.
        source: Box<EntryError>,
    },
    /// Two histories.
    #[error("fork: {what}")]
    Fork {
        /// What differs.
        what: String,
    },
    /// An entry of a later version.
    #[error("version: entry {index} has a version that this program does not know")]
    Version {
        /// Its index.
        index: u64,
    },
}

impl VerifyError {
    /// The word for it.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Tampered { .. } => Reason::Tampered,
            Self::Unreadable { .. } => Reason::Unreadable,
            Self::Signature(_) => Reason::Signature,
            Self::Schema { .. } => Reason::Schema,
            Self::Fork { .. } => Reason::Fork,
            Self::Version { .. } => Reason::Version,
        }
    }
}

impl From<SchemaError> for Box<EntryError> {
    fn from(error: SchemaError) -> Self {
        Self::new(EntryError::Schema(error))
    }
}

/// A published file that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct SourceError {
    /// Its path below the log's prefix.
    pub path: String,
    /// Why.
    pub why: String,
}

/// Where the published files of a log come from: a folder, a database, a server.
pub trait Source {
    /// The file at `path` (`checkpoint`, `tile/..`, `tile/entries/..`).
    fn read(&mut self, path: &str) -> Result<Vec<u8>, SourceError>;
}

/// What a verified log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFacts {
    /// Its name.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
    /// Number of entries by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Reads that were begun and have no outcome (yet).
    pub open_intents: Vec<EntryId>,
    /// Fields and kinds that this version does not know, with the index of their entry.
    pub unknown: Vec<(u64, String)>,
    /// Names of signatures on the checkpoint that were not checked.
    pub unchecked: Vec<String>,
}

/// Canonical form and schema of one entry.
pub(crate) fn read_entry(bytes: &[u8], index: u64) -> Result<Header<'_>, VerifyError> {
    let node = canonical::check(bytes)
        .map_err(|error| VerifyError::Schema { index: Some(index), source: Box::new(EntryError::Canonical(error)) })?;
    if node.member("v").is_some_and(|v| v.integer() != Some(1)) {
        return Err(VerifyError::Version { index });
    }
    schema::read(node).map_err(|error| VerifyError::Schema { index: Some(index), source: error.into() })
}

/// Reads and verifies the checkpoint.
pub fn verify_checkpoint(note: &[u8], key: &VerifyingKey) -> Result<(SignedCheckpoint, Vec<String>), VerifyError> {
    let unreadable = |what: String| VerifyError::Unreadable { what };
    let note = std::str::from_utf8(note).map_err(|_| unreadable("checkpoint: not UTF-8".to_owned()))?;
    let signed = SignedCheckpoint::parse(note).map_err(|error| unreadable(error.to_string()))?;
    let unchecked = signed.verify(key).map_err(VerifyError::Signature)?;
    Ok((signed, unchecked))
}

/// Verifies every byte that the checkpoint covers. Memory grows with the number of entries by about 100 bytes each
/// (ids and leaves, which references are held against), never with their content.
pub fn verify_log(source: &mut impl Source, key: &VerifyingKey) -> Result<LogFacts, VerifyError> {
    let note = fetch(source, "checkpoint")?;
    let (signed, unchecked) = verify_checkpoint(&note, key)?;
    let (size, root) = (signed.checkpoint.size, signed.checkpoint.root);
    let mut tree = TreeCheck::default();
    let mut rules = rules::Rules::new(&signed.checkpoint.origin);
    let mut breach = None;
    for (bundle, width) in tile::tiles_at(size, 0) {
        let path = tile::bundle_path(bundle, width);
        let bytes = fetch(source, &path)?;
        let mut count = 0;
        for entry in tile::entries(&bytes) {
            let entry = entry.map_err(|error| VerifyError::Tampered { what: format!("{path}: {error}") })?;
            let index = bundle * tile::WIDTH + count;
            let leaf = leaf_hash(entry);
            tree.push(source, leaf)?;
            if breach.is_none() {
                breach = rules.entry(index, leaf, entry).err();
            }
            count += 1;
        }
        if count != width {
            return Err(VerifyError::Tampered { what: format!("{path}: holds {count} entries, not {width}") });
        }
    }
    tree.finish(source, size)?;
    if tree.frontier.root() != root {
        return Err(VerifyError::Tampered { what: "the entries do not give the signed root".to_owned() });
    }
    if let Some(breach) = breach {
        return Err(breach);
    }
    let (kinds, open_intents, unknown) = rules.finish()?;
    Ok(LogFacts { origin: signed.checkpoint.origin, size, root, kinds, open_intents, unknown, unchecked })
}

fn fetch(source: &mut impl Source, path: &str) -> Result<Vec<u8>, VerifyError> {
    source.read(path).map_err(|error| VerifyError::Unreadable { what: error.to_string() })
}

/// The tree as it grows, held against the published tiles.
#[derive(Default)]
struct TreeCheck {
    frontier: tree::Frontier,
    edge: tile::Edge,
}

impl TreeCheck {
    fn push(&mut self, source: &mut impl Source, leaf: Digest) -> Result<(), VerifyError> {
        self.frontier.push(leaf);
        for full in self.edge.push(leaf) {
            same(source, &tile::path(full.level, full.index, tile::WIDTH), &full.data)?;
        }
        Ok(())
    }

    fn finish(&self, source: &mut impl Source, size: u64) -> Result<(), VerifyError> {
        for level in 0..tile::LEVELS_MAX {
            let partial = self.edge.partial(level);
            if !partial.is_empty() {
                let (index, width) = (tile::hashes_at(size, level) / tile::WIDTH, partial.len());
                let width = u64::try_from(width).unwrap_or(tile::WIDTH);
                same(source, &tile::path(level, index, width), &tile::bytes(partial))?;
            }
        }
        Ok(())
    }
}

fn same(source: &mut impl Source, path: &str, expected: &[u8]) -> Result<(), VerifyError> {
    if fetch(source, path)? == expected {
        Ok(())
    } else {
        Err(VerifyError::Tampered { what: format!("{path} differs from the entries below it") })
    }
}
