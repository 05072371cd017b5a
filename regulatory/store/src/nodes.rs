//! Tiles and entries of the log as rows: hashes for proofs, and the published files cut from the database.
//! Errors: [`SiteError`]; a row that is missing or of a wrong length is damage, and named.

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection};
use vidimus_log::{
    Digest, EntryId, Source, SourceError,
    tile::{self, Edge, Name},
    tree::{self, Nodes},
};

use crate::{
    SiteError,
    tables::{log_entry, log_head, log_tile},
};

/// A number as SQLite keeps it; a log never comes near 2^63.
pub(crate) fn sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number of a row; the tables' checks keep it from being negative.
pub(crate) fn natural(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(crate) fn digest(bytes: &[u8], what: &str) -> Result<Digest, SiteError> {
    let bytes = bytes.try_into().map(Digest::from_bytes);
    bytes.map_err(|_| SiteError::Tampered { file: "log.db", what: format!("{what} is not 32 bytes") })
}

fn database(error: diesel::result::Error) -> SiteError {
    SiteError::database("log.db", "read the log")(error)
}

/// The leaf hashes of entries `from..to`.
pub(crate) fn leaves(connection: &mut SqliteConnection, from: u64, to: u64) -> Result<Vec<Digest>, SiteError> {
    let rows: Vec<(i64, Vec<u8>)> = log_entry::table
        .filter(log_entry::idx.ge(sql(from)))
        .filter(log_entry::idx.lt(sql(to)))
        .order(log_entry::idx)
        .select((log_entry::idx, log_entry::leaf))
        .load(connection)
        .map_err(database)?;
    let mut out = Vec::with_capacity(rows.len());
    for (expected, (idx, leaf)) in (from..to).zip(&rows) {
        if natural(*idx) != expected {
            return Err(SiteError::Tampered { file: "log.db", what: format!("entry {expected} is missing") });
        }
        out.push(digest(leaf, "a leaf")?);
    }
    if u64::try_from(out.len()) != Ok(to.saturating_sub(from)) {
        return Err(SiteError::Tampered { file: "log.db", what: format!("entries are missing below {to}") });
    }
    Ok(out)
}

/// The bytes of entries `from..to`, in order.
pub(crate) fn bodies(connection: &mut SqliteConnection, from: u64, to: u64) -> Result<Vec<Vec<u8>>, SiteError> {
    log_entry::table
        .filter(log_entry::idx.ge(sql(from)))
        .filter(log_entry::idx.lt(sql(to)))
        .order(log_entry::idx)
        .select(log_entry::body)
        .load(connection)
        .map_err(database)
}

/// The index of the entry with this id.
pub(crate) fn index_of(connection: &mut SqliteConnection, id: &EntryId) -> Result<Option<u64>, SiteError> {
    let row: Option<i64> = log_entry::table
        .filter(log_entry::entry_id.eq(id.as_bytes().as_slice()))
        .select(log_entry::idx)
        .first(connection)
        .optional()
        .map_err(database)?;
    Ok(row.map(natural))
}

/// The roots of the full tiles `from..to` of a level.
fn roots(connection: &mut SqliteConnection, level: u32, from: u64, to: u64) -> Result<Vec<Digest>, SiteError> {
    let rows: Vec<Vec<u8>> = log_tile::table
        .filter(log_tile::level.eq(i64::from(level)))
        .filter(log_tile::n.ge(sql(from)))
        .filter(log_tile::n.lt(sql(to)))
        .order(log_tile::n)
        .select(log_tile::root)
        .load(connection)
        .map_err(database)?;
    if u64::try_from(rows.len()) != Ok(to.saturating_sub(from)) {
        return Err(SiteError::Tampered { file: "log.db", what: format!("tiles of level {level} are missing") });
    }
    rows.iter().map(|row| digest(row, "a tile's root")).collect()
}

/// The hashes of one tile, the first `width` of them, from a full tile or cut from the rows below.
fn hashes(connection: &mut SqliteConnection, level: u32, index: u64, width: u64) -> Result<Vec<Digest>, SiteError> {
    if width == tile::WIDTH {
        let data: Option<Vec<u8>> = log_tile::table
            .filter(log_tile::level.eq(i64::from(level)))
            .filter(log_tile::n.eq(sql(index)))
            .select(log_tile::data)
            .first(connection)
            .optional()
            .map_err(database)?;
        let hashes = data.and_then(|data| tile::hashes(&data));
        let missing = || SiteError::Tampered { file: "log.db", what: format!("tile {level}/{index} is missing") };
        return hashes.ok_or_else(missing);
    }
    let from = index * tile::WIDTH;
    match level.checked_sub(1) {
        None => leaves(connection, from, from + width),
        Some(below) => roots(connection, below, from, from + width),
    }
}

/// The right edge of a log of `size` entries, from its rows.
pub(crate) fn edge(connection: &mut SqliteConnection, size: u64) -> Result<Edge, SiteError> {
    let mut levels = Vec::new();
    for level in 0..tile::LEVELS_MAX {
        let count = tile::hashes_at(size, level);
        let width = count % tile::WIDTH;
        levels.push(if width == 0 { Vec::new() } else { hashes(connection, level, count / tile::WIDTH, width)? });
    }
    let wrong = || SiteError::Tampered { file: "log.db", what: "the right edge of the tiles".to_owned() };
    Edge::from_parts(size, levels).ok_or_else(wrong)
}

/// Hashes of perfect subtrees, from full tiles and the edge in memory.
pub(crate) struct TileNodes<'a> {
    connection: &'a mut SqliteConnection,
    edge: &'a Edge,
    last: Option<(u32, u64, Vec<Digest>)>,
}

impl<'a> TileNodes<'a> {
    pub(crate) const fn new(connection: &'a mut SqliteConnection, edge: &'a Edge) -> Self {
        Self { connection, edge, last: None }
    }
}

impl Nodes for TileNodes<'_> {
    type Error = SiteError;

    fn node(&mut self, level: u32, index: u64) -> Result<Digest, SiteError> {
        let (level, tile, range) = tile::locate(level, index);
        let outside = || SiteError::Tampered { file: "log.db", what: format!("tile {level}/{tile} is too short") };
        if tile == tile::hashes_at(self.edge.size(), level) / tile::WIDTH {
            return self.edge.partial(level).get(range).map(tree::root).ok_or_else(outside);
        }
        if self.last.as_ref().is_none_or(|(held, at, _)| (*held, *at) != (level, tile)) {
            self.last = Some((level, tile, hashes(self.connection, level, tile, tile::WIDTH)?));
        }
        let hashes = self.last.as_ref().and_then(|(_, _, hashes)| hashes.get(range));
        hashes.map(tree::root).ok_or_else(outside)
    }
}

/// The published files of the log, cut from the database on request.
pub(crate) struct Published<'a>(pub(crate) &'a mut SqliteConnection);

impl Published<'_> {
    /// The file at `path`; only paths within the present size exist.
    pub(crate) fn file(&mut self, path: &str) -> Result<Option<Vec<u8>>, SiteError> {
        if path == "checkpoint" {
            let note: String = log_head::table.select(log_head::note).first(self.0).map_err(database)?;
            return Ok(Some(note.into_bytes()));
        }
        let size: i64 = log_head::table.select(log_head::size).first(self.0).map_err(database)?;
        let within = |level: u32, index: u64, width: u64| {
            index
                .checked_mul(tile::WIDTH)
                .and_then(|start| start.checked_add(width))
                .is_some_and(|end| end <= tile::hashes_at(natural(size), level))
        };
        match Name::parse(path) {
            Some(Name::Tile { level, index, width }) if within(level, index, width) => {
                Ok(Some(tile::bytes(&hashes(self.0, level, index, width)?)))
            }
            Some(Name::Bundle { index, width }) if within(0, index, width) => {
                let from = index * tile::WIDTH;
                let mut bundle = Vec::new();
                for body in bodies(self.0, from, from + width)? {
                    tile::push_entry(&mut bundle, &body);
                }
                Ok(Some(bundle))
            }
            _ => Ok(None),
        }
    }
}

impl Source for Published<'_> {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, SourceError> {
        let why = match self.file(path) {
            Ok(Some(bytes)) => return Ok(bytes),
            Ok(None) => "not in this log".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(SourceError { path: path.to_owned(), why })
    }
}
