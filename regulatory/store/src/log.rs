//! The log as rows: its head, its first entry, and the receipt of an entry under a head.
//! Errors: [`SiteError`]. Source: AUDIT_LOG sections 5 and 6.

use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _,
};
use vidimus_log::{
    Actor, Digest, Entry, EntryId, Receipt, RecordError, body, leaf_hash,
    note::SigningKey,
    tile::Edge,
    tree::{self, Frontier},
};

use crate::{
    SiteError,
    nodes::{TileNodes, natural, sql},
    tables::{log_entry, log_head},
};

/// A state of the log: the newest one, or the one of a receipt.
#[derive(Clone)]
pub(crate) struct Head {
    pub(crate) frontier: Frontier,
    pub(crate) edge: Edge,
    pub(crate) note: String,
    pub(crate) last_t_ms: u64,
}

/// An entry with its place in the log.
pub(crate) struct Placed {
    pub(crate) entry_id: EntryId,
    pub(crate) index: u64,
    pub(crate) leaf: Digest,
    pub(crate) bytes: Vec<u8>,
}

/// The entry with this id.
pub(crate) fn find(connection: &mut SqliteConnection, id: &EntryId) -> Result<Option<Placed>, diesel::result::Error> {
    let row: Option<(i64, Vec<u8>)> = log_entry::table
        .filter(log_entry::entry_id.eq(id.as_bytes().as_slice()))
        .select((log_entry::idx, log_entry::body))
        .first(connection)
        .optional()?;
    Ok(row.map(|(index, bytes)| Placed { entry_id: *id, index: natural(index), leaf: leaf_hash(&bytes), bytes }))
}

/// The receipt of an entry under a head. What it says is checked here once more against the head that was signed: a row
/// that was changed gives no receipt.
pub(crate) fn receipt(connection: &mut SqliteConnection, head: &Head, entry: Placed) -> Result<Receipt, SiteError> {
    let Placed { entry_id, index, leaf, bytes } = entry;
    let tree_size = head.frontier.size();
    let proof = tree::inclusion_proof(&mut TileNodes::new(connection, &head.edge), index, tree_size)?;
    if !tree::verify_inclusion(&leaf, index, tree_size, &proof, &head.frontier.root()) {
        return Err(SiteError::Tampered { file: "log.db", what: format!("entry {index} is not in its tree") });
    }
    Ok(Receipt { entry_id, index, leaf, tree_size, entry: bytes, proof, checkpoint: head.note.clone() })
}

/// Writes the first entry of a log and its head in one transaction; returns the signed note and the root.
pub(crate) fn first(
    connection: &mut SqliteConnection,
    origin: &str,
    key: &SigningKey,
    body: body::SiteOpened,
) -> Result<(String, Digest), SiteError> {
    let t_ms = now_ms();
    let entry = Entry {
        log: origin.to_owned(),
        entry_id: new_id(),
        t_ms,
        boot: None,
        trace: None,
        actor: Actor::system(),
        refs: Vec::new(),
        body: body.into(),
    };
    let bytes = entry.to_bytes().map_err(RecordError::Invalid)?;
    let leaf = leaf_hash(&bytes);
    let (mut frontier, mut edge) = (Frontier::default(), Edge::default());
    frontier.push(leaf);
    edge.push(leaf);
    let root = frontier.root();
    let head = Head { frontier, edge, note: key.sign(1, root).note(), last_t_ms: t_ms };
    let failed = SiteError::database("log.db", "write the first entry");
    connection.batch_execute("BEGIN IMMEDIATE").map_err(&failed)?;
    insert_entry(connection, 0, entry.entry_id, leaf, &bytes).map_err(&failed)?;
    write_head(connection, &head, root).map_err(&failed)?;
    connection.batch_execute("COMMIT").map_err(&failed)?;
    Ok((head.note, root))
}

pub(crate) fn insert_entry(
    connection: &mut SqliteConnection,
    index: u64,
    id: EntryId,
    leaf: Digest,
    bytes: &[u8],
) -> Result<usize, diesel::result::Error> {
    diesel::insert_into(log_entry::table)
        .values((
            log_entry::idx.eq(sql(index)),
            log_entry::entry_id.eq(id.as_bytes().as_slice()),
            log_entry::leaf.eq(leaf.as_bytes().as_slice()),
            log_entry::body.eq(bytes),
        ))
        .execute(connection)
}

pub(crate) fn write_head(
    connection: &mut SqliteConnection,
    head: &Head,
    root: Digest,
) -> Result<(), diesel::result::Error> {
    let frontier: Vec<u8> = head.frontier.hashes().iter().flat_map(|hash| *hash.as_bytes()).collect();
    let values = (
        log_head::size.eq(sql(head.frontier.size())),
        log_head::root.eq(root.as_bytes().as_slice()),
        log_head::frontier.eq(frontier),
        log_head::note.eq(&head.note),
        log_head::last_t_ms.eq(sql(head.last_t_ms)),
    );
    let rows = diesel::update(log_head::table).set(values.clone()).execute(connection)?;
    if rows == 0 {
        diesel::insert_into(log_head::table).values((log_head::one.eq(1_i64), values)).execute(connection)?;
    }
    Ok(())
}

/// An incident of the program's own.
pub(crate) fn incident(code: &str, detail: Digest, text: &str) -> body::Incident {
    body::Incident { code: code.into(), severity: "warning".into(), detail: detail.into(), text: text.into() }
}

/// A fresh id.
pub(crate) fn new_id() -> EntryId {
    loop {
        if let Ok(id) = EntryId::from_uuid(uuid::Uuid::now_v7()) {
            return id;
        }
    }
}

/// UTC milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(0)
}
