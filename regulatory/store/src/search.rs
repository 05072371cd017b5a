//! Entries of the log by kind, actor, operation and time, newest first, a page at a time by index (keyset).
//! The columns that are searched are read out of the entries' bytes by the database itself.
//! Errors: [`SiteError`].

use diesel::{
    ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection,
    dsl::{max, min},
};

use crate::{
    SiteError,
    nodes::{natural, sql},
    tables::log_entry::{self, dsl},
    work::rows_max,
};

/// A page of entries. Everything that is given must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryQuery {
    /// The entry's kind.
    pub kind: Option<String>,
    /// The actor's id.
    pub actor: Option<String>,
    /// The operation of an `access` entry.
    pub operation: Option<String>,
    /// The entry's time or later, UTC milliseconds.
    pub from_ms: Option<u64>,
    /// The entry's time or earlier, UTC milliseconds.
    pub to_ms: Option<u64>,
    /// Index of the last entry of the page before.
    pub before: Option<u64>,
    /// At most so many entries.
    pub limit: usize,
}

impl Default for EntryQuery {
    fn default() -> Self {
        Self { kind: None, actor: None, operation: None, from_ms: None, to_ms: None, before: None, limit: 50 }
    }
}

/// Index and bytes of the entries that fit, newest first.
pub(crate) fn page(connection: &mut SqliteConnection, query: &EntryQuery) -> Result<Vec<(u64, Vec<u8>)>, SiteError> {
    let failed = SiteError::database("log.db", "search the log");
    let mut rows = log_entry::table.select((dsl::idx, dsl::body)).into_boxed();
    if query.from_ms.is_some() || query.to_ms.is_some() {
        let (from, to) = (sql(query.from_ms.unwrap_or(0)), sql(query.to_ms.unwrap_or(u64::MAX)));
        // An old day's page does not walk through all later entries.
        let bounds: (Option<i64>, Option<i64>) = log_entry::table
            .filter(dsl::t_ms.between(from, to))
            .select((min(dsl::idx), max(dsl::idx)))
            .first(connection)
            .map_err(&failed)?;
        let Some((first, last)) = bounds.0.zip(bounds.1) else { return Ok(Vec::new()) };
        rows = rows.filter(dsl::idx.between(first, last)).filter(dsl::t_ms.between(from, to));
    }
    if let Some(kind) = &query.kind {
        rows = rows.filter(dsl::kind.eq(kind));
    }
    if let Some(actor) = &query.actor {
        rows = rows.filter(dsl::actor.eq(actor));
    }
    if let Some(operation) = &query.operation {
        rows = rows.filter(dsl::operation.eq(operation));
    }
    if let Some(before) = query.before {
        rows = rows.filter(dsl::idx.lt(sql(before)));
    }
    let rows: Vec<(i64, Vec<u8>)> =
        rows.order(dsl::idx.desc()).limit(rows_max(query.limit)).load(connection).map_err(&failed)?;
    Ok(rows.into_iter().map(|(index, body)| (natural(index), body)).collect())
}
