//! The whole log, hashed and judged again from the database: every entry, row, tile and rule.
//! Works on a connection and a snapshot of its own, so that appends go on beside it.
//! Errors: [`SiteError`], with the reasons of `vidimus_log::verify_log` and those of rows that it does not see.

use std::{collections::HashSet, path::Path};

use diesel::{
    ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection, connection::SimpleConnection as _,
};
use vidimus_log::{Entry, EntryId, LogFacts, leaf_hash, note::VerifyingKey, tile, tree, verify_log};

use crate::{
    SiteError, anchor, check, database,
    nodes::{Published, natural, sql},
    tables::{log_entry, log_tile, open_intent},
};

/// Verifies the log of the site in `dir`.
pub(crate) fn verify(dir: &Path, key: &VerifyingKey) -> Result<LogFacts, SiteError> {
    let state = anchor::read(dir)?;
    let mut connection = database::open_read(dir, &database::LOG)?;
    let begin = SiteError::database("log.db", "begin reading");
    connection.batch_execute("BEGIN").map_err(begin)?;
    let head = check::head(&mut connection, key)?;
    let size = head.frontier.size();
    rows(&mut connection, size)?;
    tiles(&mut connection, size)?;
    let facts = verify_log(&mut Published(&mut connection), key)?;
    intents(&mut connection, &facts.open_intents)?;
    check::anchor(&state, &mut connection, &head)?;
    Ok(facts)
}

type EntryColumns = (i64, Vec<u8>, Vec<u8>, Vec<u8>);

fn tampered(what: String) -> SiteError {
    SiteError::Tampered { file: "log.db", what }
}

/// Each row's leaf and id against its body.
fn rows(connection: &mut SqliteConnection, size: u64) -> Result<(), SiteError> {
    let mut from = 0;
    while from < size {
        let rows: Vec<EntryColumns> = log_entry::table
            .filter(log_entry::idx.ge(sql(from)))
            .order(log_entry::idx)
            .select((log_entry::idx, log_entry::entry_id, log_entry::leaf, log_entry::body))
            .limit(256)
            .load(connection)
            .map_err(SiteError::database("log.db", "read the log"))?;
        for (expected, (idx, id, leaf, body)) in (from..).zip(&rows) {
            if natural(*idx) != expected {
                return Err(tampered(format!("entry {expected} is missing")));
            }
            if leaf != leaf_hash(body).as_bytes() {
                return Err(tampered(format!("entry {expected} differs from its leaf")));
            }
            // A body that cannot be read is a breach of the schema, which the verifier names.
            if Entry::parse(body).is_ok_and(|entry| id != entry.entry_id.as_bytes()) {
                return Err(tampered(format!("entry {expected} stands under another id")));
            }
        }
        if rows.is_empty() {
            return Err(tampered(format!("entry {from} is missing")));
        }
        from += u64::try_from(rows.len()).unwrap_or(256);
    }
    Ok(())
}

/// Each full tile's root against its hashes, and no tile beyond the log.
fn tiles(connection: &mut SqliteConnection, size: u64) -> Result<(), SiteError> {
    let read = SiteError::database("log.db", "read the tiles");
    let names: Vec<(i64, i64)> =
        log_tile::table.select((log_tile::level, log_tile::n)).load(connection).map_err(&read)?;
    for (level, n) in names {
        let (data, root): (Vec<u8>, Vec<u8>) = log_tile::table
            .find((level, n))
            .select((log_tile::data, log_tile::root))
            .first(connection)
            .map_err(&read)?;
        let hashes = tile::hashes(&data).ok_or_else(|| tampered(format!("tile {level}/{n} is cut")))?;
        if tree::root(&hashes).as_bytes() != root.as_slice() {
            return Err(tampered(format!("tile {level}/{n} differs from its root")));
        }
        let within = u32::try_from(level).is_ok_and(|level| natural(n) < tile::hashes_at(size, level) / tile::WIDTH);
        if !within {
            return Err(tampered(format!("tile {level}/{n} lies beyond the log")));
        }
    }
    Ok(())
}

/// The table of open intents against the entries.
fn intents(connection: &mut SqliteConnection, open: &[EntryId]) -> Result<(), SiteError> {
    let read = SiteError::database("log.db", "read the open intents");
    let rows: Vec<Vec<u8>> = open_intent::table.select(open_intent::intent_id).load(connection).map_err(read)?;
    let rows: HashSet<&[u8]> = rows.iter().map(Vec::as_slice).collect();
    let entries: HashSet<&[u8]> = open.iter().map(|id| id.as_bytes().as_slice()).collect();
    if rows == entries { Ok(()) } else { Err(tampered("the open intents differ from the entries".to_owned())) }
}
