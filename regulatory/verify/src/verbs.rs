//! The verbs: each reads its files, asks `vidimus_log`, and says what was verified as text and as JSON.
//! Errors: `VerifyError`, whose reason becomes the word of the verdict.

use std::path::Path;

use serde_json::{Value, json};
use vidimus_log::{
    EntryError, VerifiedEntry, VerifyError, canonical, leaf_hash, limits,
    note::{SignedCheckpoint, VerifyingKey},
    schema, tree, verify, verify_detached_proof, verify_log, verify_tlog_proof,
};

use crate::files::{self, Folder, FolderNodes};

/// What was verified.
pub(crate) struct Verified {
    pub(crate) text: String,
    pub(crate) object: Value,
}

/// A receipt, with its entry inside or beside it.
pub(crate) fn receipt(file: &Path, key: &Path, entry: Option<&Path>) -> Result<Verified, VerifyError> {
    let key = files::read_key(key)?;
    let text = files::read_text(file, limits::RECEIPT_BYTES_MAX)?;
    let verified = match entry {
        None => verify_tlog_proof(&text, &key)?,
        Some(path) => verify_detached_proof(&text, &files::read(path, limits::ENTRY_BYTES_MAX)?, &key)?,
    };
    Ok(entry_verdict(&verified))
}

fn entry_verdict(verified: &VerifiedEntry) -> Verified {
    let checkpoint = &verified.checkpoint;
    let mut text = format!(
        "verified: entry {} ({}) is entry {} of the {} in log {}",
        verified.entry_id, verified.kind, verified.index, checkpoint.size, checkpoint.origin
    );
    name_unchecked(&mut text, &verified.unchecked, verified.unknown.len());
    let object = json!({
        "verified": true,
        "entry_id": verified.entry_id.to_string(),
        "kind": verified.kind,
        "index": verified.index,
        "leaf": verified.leaf.hex(),
        "tree_size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "origin": checkpoint.origin,
        "unchecked": verified.unchecked,
        "unknown": verified.unknown,
    });
    Verified { text, object }
}

fn name_unchecked(text: &mut String, unchecked: &[String], unknown: usize) {
    if !unchecked.is_empty() {
        text.push_str(&format!("\nunchecked (no key given for them): signatures by {}", unchecked.join(", ")));
    }
    if unknown > 0 {
        text.push_str(&format!("\nunknown to this version: {unknown} fields or kinds (see --json)"));
    }
}

/// A whole log.
pub(crate) fn log(folder: &Path, key: &Path) -> Result<Verified, VerifyError> {
    let key = files::read_key(key)?;
    let facts = verify_log(&mut Folder(folder.to_owned()), &key)?;
    let mut text = format!("verified: {} entries of log {}, root {}", facts.size, facts.origin, facts.root);
    if !facts.open_intents.is_empty() {
        text.push_str(&format!("\nopen: {} reads without an outcome (yet)", facts.open_intents.len()));
    }
    name_unchecked(&mut text, &facts.unchecked, facts.unknown.len());
    let unknown: Vec<Value> =
        facts.unknown.iter().map(|(index, what)| json!({ "index": index, "what": what })).collect();
    let object = json!({
        "verified": true,
        "origin": facts.origin,
        "size": facts.size,
        "root": facts.root.hex(),
        "kinds": facts.kinds,
        "open_intents": facts.open_intents.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unchecked": facts.unchecked,
        "unknown": unknown,
    });
    Ok(Verified { text, object })
}

fn signed(file: &Path, key: &VerifyingKey) -> Result<(SignedCheckpoint, Vec<String>), VerifyError> {
    verify::verify_checkpoint(&files::read(file, limits::NOTE_BYTES_MAX)?, key)
}

/// A checkpoint.
pub(crate) fn checkpoint(file: &Path, key: &Path) -> Result<Verified, VerifyError> {
    let (signed, unchecked) = signed(file, &files::read_key(key)?)?;
    let found = signed.checkpoint;
    let mut text = format!("verified: log {} had {} entries under root {}", found.origin, found.size, found.root);
    name_unchecked(&mut text, &unchecked, 0);
    let object = json!({
        "verified": true,
        "origin": found.origin,
        "size": found.size,
        "root": found.root.hex(),
        "unchecked": unchecked,
    });
    Ok(Verified { text, object })
}

/// One entry, with its proof or alone.
pub(crate) fn entry(file: &Path, proof: Option<(&Path, &Path)>) -> Result<Verified, VerifyError> {
    if let Some((proof, key)) = proof {
        return receipt(proof, key, Some(file));
    }
    let bytes = files::read(file, limits::ENTRY_BYTES_MAX)?;
    let breach = |error: EntryError| VerifyError::Schema { index: None, source: Box::new(error) };
    let node = canonical::check(&bytes).map_err(|error| breach(error.into()))?;
    let header = schema::read(node).map_err(|error| breach(error.into()))?;
    let leaf = leaf_hash(&bytes);
    let mut text = format!(
        "entry {} ({}) is canonical and fits the schema; leaf {leaf}; no proof was given, so it may be of no log",
        header.entry_id, header.kind
    );
    name_unchecked(&mut text, &[], header.unknown.len());
    let object = json!({
        "verified": true,
        "included": false,
        "entry_id": header.entry_id.to_string(),
        "kind": header.kind,
        "leaf": leaf.hex(),
        "unknown": header.unknown,
    });
    Ok(Verified { text, object })
}

/// Two checkpoints of one log.
pub(crate) fn consistency(old: &Path, new: &Path, tiles: &Path, key: &Path) -> Result<Verified, VerifyError> {
    let key = files::read_key(key)?;
    let (old, new) = (signed(old, &key)?.0.checkpoint, signed(new, &key)?.0.checkpoint);
    let fork = |what: String| VerifyError::Fork { what };
    if old.size > new.size {
        return Err(fork(format!("the newer checkpoint has {} entries, the older {}", new.size, old.size)));
    }
    let mut nodes = FolderNodes { folder: Folder(tiles.to_owned()), size: new.size };
    let proof = tree::consistency_proof(&mut nodes, old.size, new.size)?;
    if tree::range_root(&mut nodes, 0, new.size)? != new.root {
        return Err(VerifyError::Tampered { what: "the tiles do not give the newer checkpoint's root".to_owned() });
    }
    if !tree::verify_consistency(old.size, &old.root, new.size, &new.root, &proof) {
        return Err(fork(format!("the log of {} entries is no prefix of the one of {}", old.size, new.size)));
    }
    let text =
        format!("verified: the first {} of the {} entries are unchanged in log {}", old.size, new.size, new.origin);
    let object = json!({ "verified": true, "origin": new.origin, "old_size": old.size, "size": new.size });
    Ok(Verified { text, object })
}
