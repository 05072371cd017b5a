//! The checks at start, in time that does not grow with the log: signature of the head, its root against frontier and
//! tiles, the last entries against their leaves, nothing beyond the head, and the anchor.
//! Errors: [`SiteError::Tampered`] and [`SiteError::Rollback`], naming what differs. Source: AUDIT_LOG section 8.

use std::path::Path;

use diesel::{QueryDsl as _, RunQueryDsl as _, SqliteConnection, dsl::max};
use vidimus_log::{
    Body, Digest, Entry, leaf_hash,
    note::{SignedCheckpoint, VerifyingKey},
    tree::{self, Frontier},
};

use crate::{
    SiteError,
    anchor::State,
    log::Head,
    nodes::{self, TileNodes, natural},
    tables::{log_entry, log_head},
};

/// How many of the last entries are hashed again at start.
const ENTRIES_CHECKED: u64 = 1_024;

fn tampered(what: &str) -> SiteError {
    SiteError::Tampered { file: "log.db", what: what.to_owned() }
}

/// The head row, verified: signature, sizes, roots.
pub(crate) fn head(connection: &mut SqliteConnection, key: &VerifyingKey) -> Result<Head, SiteError> {
    type Columns = (i64, i64, Vec<u8>, Vec<u8>, String, i64);
    let read = SiteError::database("log.db", "read the head");
    let rows: Vec<Columns> = log_head::table.load(connection).map_err(&read)?;
    let (_, size, root, frontier, note, last_t_ms) = rows.into_iter().next().ok_or_else(|| tampered("no head"))?;
    let (size, root) = (natural(size), nodes::digest(&root, "the head's root")?);
    let signed = SignedCheckpoint::parse(&note).map_err(|error| tampered(&format!("the head's note: {error}")))?;
    signed.verify(key).map_err(|error| tampered(&format!("the head's note: {error}")))?;
    if (signed.checkpoint.size, signed.checkpoint.root) != (size, root) {
        return Err(tampered("the head's size or root differs from its signed note"));
    }
    let (hashes, rest) = frontier.as_chunks::<32>();
    let hashes = hashes.iter().map(|hash| Digest::from_bytes(*hash)).collect();
    let frontier = Frontier::from_parts(size, hashes).filter(|frontier| rest.is_empty() && frontier.root() == root);
    let frontier = frontier.ok_or_else(|| tampered("the head's frontier does not give the signed root"))?;
    let last: Option<i64> = log_entry::table.select(max(log_entry::idx)).first(connection).map_err(&read)?;
    if last.map_or(0, |last| natural(last) + 1) != size {
        return Err(tampered("the last entry is not the one that the head says"));
    }
    let edge = nodes::edge(connection, size)?;
    if tree::range_root(&mut TileNodes::new(connection, &edge), 0, size)? != root {
        return Err(tampered("the tiles do not give the signed root"));
    }
    Ok(Head { frontier, edge, note, last_t_ms: natural(last_t_ms) })
}

/// The last entries against their leaves.
pub(crate) fn tail(connection: &mut SqliteConnection, size: u64) -> Result<(), SiteError> {
    let from = size.saturating_sub(ENTRIES_CHECKED);
    let leaves = nodes::leaves(connection, from, size)?;
    let bodies = nodes::bodies(connection, from, size)?;
    let differing = (from..).zip(leaves.iter().zip(&bodies)).find(|(_, (leaf, body))| leaf_hash(body) != **leaf);
    differing.map_or(Ok(()), |(index, _)| Err(tampered(&format!("entry {index} differs from its leaf"))))
}

/// The anchor must be a state that this log has been in. Where another process may append meanwhile, read the anchor
/// before the log: it follows each commit.
pub(crate) fn anchor(state: &State, connection: &mut SqliteConnection, head: &Head) -> Result<(), SiteError> {
    let size = head.frontier.size();
    if state.size > size {
        let what = format!("it holds {size} entries, and the anchor has seen {}", state.size);
        return Err(SiteError::Rollback { what });
    }
    let root = tree::range_root(&mut TileNodes::new(connection, &head.edge), 0, state.size)?;
    if root != state.root {
        let what =
            format!("another history: the root at {} entries is not the one that the anchor has seen", state.size);
        return Err(SiteError::Rollback { what });
    }
    Ok(())
}

/// The policy file and the public key must be those that the first entry names.
pub(crate) fn policy(dir: &Path, connection: &mut SqliteConnection, key: &VerifyingKey) -> Result<(), SiteError> {
    let path = dir.join("log.policy");
    let policy = std::fs::read(&path).map_err(SiteError::io("read", &path))?;
    let first = nodes::bodies(connection, 0, 1)?.pop().and_then(|entry| Entry::parse(&entry).ok());
    let Some(Body::SiteOpened(opened)) = first.map(|entry| entry.body) else {
        return Err(tampered("the first entry is no site_opened"));
    };
    if Digest::from(opened.policy) != Digest::of(&policy) {
        let what = "it is not the policy that the first entry names".to_owned();
        return Err(SiteError::Tampered { file: "log.policy", what });
    }
    if !opened.vkeys.iter().any(|vkey| vkey.as_str() == key.text()) {
        let what = "it is not a key that the first entry names".to_owned();
        return Err(SiteError::Tampered { file: "log.vkey", what });
    }
    Ok(())
}
