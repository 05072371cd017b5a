//! Versions of published resources: which there are, of whom, and where their bytes lie in the vault.
//! A search sees the newest version of each, newest first, a page at a time by `sequence` (keyset).
//! Errors: [`RowError`] at writing, [`SiteError`] at reading.

use diesel::{
    ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection,
    dsl::{max, min},
    sqlite::Sqlite,
};
use vidimus_log::{Digest, EntryId};

use crate::{
    ObjectId, SiteError,
    nodes::{digest, natural, sql},
    registry::{database, id, object},
    rows::{RowError, refusal},
    tables::registry_resource::{self as resource, dsl},
    work::{rows_max, small},
};

/// A version of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceRow {
    /// The resource's type.
    pub kind: String,
    /// The resource's id.
    pub id: String,
    /// The version, from 1.
    pub version: u32,
    /// Keyed hash of the patient's id, if one is concerned.
    pub patient: Option<Digest>,
    /// Keyed hash of the study instance UID, if one is concerned.
    pub study: Option<Digest>,
    /// The reading, if it belongs to one.
    pub reading: Option<EntryId>,
    /// The resource's status.
    pub status: String,
    /// The resource's code, if it has one.
    pub code: Option<String>,
    /// The vault document that holds the version's bytes.
    pub document: ObjectId,
    /// When it was made, UTC milliseconds.
    pub updated_ms: u64,
    /// The entry it came with.
    pub index: u64,
    /// Place among all versions of all resources, in order of their making.
    pub sequence: u64,
}

/// A page of resources of one type. Everything that is given must hold; an empty list is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceQuery {
    /// The resource's type.
    pub kind: String,
    /// One of these ids.
    pub ids: Vec<String>,
    /// Keyed hash of the patient's id.
    pub patient: Option<Digest>,
    /// Keyed hash of the study instance UID.
    pub study: Option<Digest>,
    /// The reading.
    pub reading: Option<EntryId>,
    /// One of these states.
    pub status: Vec<String>,
    /// One of these codes.
    pub code: Vec<String>,
    /// Made at this time or later, UTC milliseconds.
    pub updated_from_ms: Option<u64>,
    /// Made at this time or earlier, UTC milliseconds.
    pub updated_to_ms: Option<u64>,
    /// Sequence of the last row of the page before.
    pub before: Option<u64>,
    /// At most so many rows.
    pub limit: usize,
}

impl Default for ResourceQuery {
    fn default() -> Self {
        Self {
            kind: String::new(),
            ids: Vec::new(),
            patient: None,
            study: None,
            reading: None,
            status: Vec::new(),
            code: Vec::new(),
            updated_from_ms: None,
            updated_to_ms: None,
            before: None,
            limit: 50,
        }
    }
}

/// Keeps a version, which must follow the newest one. The row's `sequence` is given here.
pub(crate) fn write(connection: &mut SqliteConnection, row: &ResourceRow) -> Result<(), RowError> {
    let versions = resource::table.filter(dsl::kind.eq(&row.kind)).filter(dsl::id.eq(&row.id));
    let newest: Option<i64> = versions.select(max(dsl::version)).first(connection)?;
    if newest.unwrap_or(0) + 1 != i64::from(row.version) {
        return Err(RowError::rule(refusal::VERSION));
    }
    if let Some(newest) = newest {
        diesel::update(versions.filter(dsl::version.eq(newest))).set(dsl::newest.eq(false)).execute(connection)?;
    }
    diesel::insert_into(resource::table)
        .values((
            dsl::kind.eq(&row.kind),
            dsl::id.eq(&row.id),
            dsl::version.eq(i64::from(row.version)),
            dsl::patient.eq(row.patient.as_ref().map(|patient| patient.as_bytes().as_slice())),
            dsl::study.eq(row.study.as_ref().map(|study| study.as_bytes().as_slice())),
            dsl::reading.eq(row.reading.as_ref().map(|reading| reading.as_bytes().as_slice())),
            dsl::status.eq(&row.status),
            dsl::code.eq(&row.code),
            dsl::document.eq(row.document.as_bytes().as_slice()),
            dsl::updated_ms.eq(sql(row.updated_ms)),
            dsl::idx.eq(sql(row.index)),
            dsl::newest.eq(true),
        ))
        .execute(connection)?;
    Ok(())
}

type Columns = (
    i64,
    String,
    String,
    i64,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    String,
    Option<String>,
    Vec<u8>,
    i64,
    i64,
    bool,
);

fn read(row: Columns) -> Result<ResourceRow, SiteError> {
    let (sequence, kind, name, version, patient, study, reading, status, code, document, updated_ms, index, _) = row;
    let keyed = |bytes: Option<Vec<u8>>| bytes.map(|bytes| digest(&bytes, "a key of the registry")).transpose();
    Ok(ResourceRow {
        kind,
        id: name,
        version: small(version),
        patient: keyed(patient)?,
        study: keyed(study)?,
        reading: reading.map(|reading| id(&reading)).transpose()?,
        status,
        code,
        document: object(&document)?,
        updated_ms: natural(updated_ms),
        index: natural(index),
        sequence: natural(sequence),
    })
}

type Boxed<'a> = resource::BoxedQuery<'a, Sqlite>;

fn load(connection: &mut SqliteConnection, rows: Boxed<'_>) -> Result<Vec<ResourceRow>, SiteError> {
    let rows: Vec<Columns> = rows.load(connection).map_err(database)?;
    rows.into_iter().map(read).collect()
}

/// All versions of a resource, newest first.
pub(crate) fn history(connection: &mut SqliteConnection, kind: &str, id: &str) -> Result<Vec<ResourceRow>, SiteError> {
    let rows = resource::table.filter(dsl::kind.eq(kind)).filter(dsl::id.eq(id)).order(dsl::version.desc());
    load(connection, rows.into_boxed())
}

/// The newest version of a resource.
pub(crate) fn newest(
    connection: &mut SqliteConnection,
    kind: &str,
    id: &str,
) -> Result<Option<ResourceRow>, SiteError> {
    let rows = resource::table.filter(dsl::kind.eq(kind)).filter(dsl::id.eq(id)).order(dsl::version.desc()).limit(1);
    Ok(load(connection, rows.into_boxed())?.pop())
}

/// A version of a resource.
pub(crate) fn version(
    connection: &mut SqliteConnection,
    kind: &str,
    id: &str,
    version: u32,
) -> Result<Option<ResourceRow>, SiteError> {
    let rows = resource::table.filter(dsl::kind.eq(kind)).filter(dsl::id.eq(id));
    Ok(load(connection, rows.filter(dsl::version.eq(i64::from(version))).into_boxed())?.pop())
}

/// The newest version of each resource that fits, newest first.
pub(crate) fn page(connection: &mut SqliteConnection, query: &ResourceQuery) -> Result<Vec<ResourceRow>, SiteError> {
    let mut rows = resource::table.filter(dsl::kind.eq(&query.kind)).filter(dsl::newest.eq(true)).into_boxed();
    if !query.ids.is_empty() {
        rows = rows.filter(dsl::id.eq_any(&query.ids));
    }
    if let Some(patient) = &query.patient {
        rows = rows.filter(dsl::patient.eq(patient.as_bytes().as_slice()));
    }
    if let Some(study) = &query.study {
        rows = rows.filter(dsl::study.eq(study.as_bytes().as_slice()));
    }
    if let Some(reading) = &query.reading {
        rows = rows.filter(dsl::reading.eq(reading.as_bytes().as_slice()));
    }
    // One value is compared, not looked for in a list: its rows lie in the index in the order of the page.
    rows = match query.status.as_slice() {
        [] => rows,
        [one] => rows.filter(dsl::status.eq(one)),
        several => rows.filter(dsl::status.eq_any(several)),
    };
    rows = match query.code.as_slice() {
        [] => rows,
        [one] => rows.filter(dsl::code.eq(one)),
        several => rows.filter(dsl::code.eq_any(several)),
    };
    if query.updated_from_ms.is_some() || query.updated_to_ms.is_some() {
        let time = (sql(query.updated_from_ms.unwrap_or(0)), sql(query.updated_to_ms.unwrap_or(u64::MAX)));
        let Some((first, last)) = span(connection, &query.kind, time)? else { return Ok(Vec::new()) };
        rows = rows.filter(dsl::sequence.between(first, last)).filter(dsl::updated_ms.between(time.0, time.1));
    }
    if let Some(before) = query.before {
        rows = rows.filter(dsl::sequence.lt(sql(before)));
    }
    load(connection, rows.order(dsl::sequence.desc()).limit(rows_max(query.limit)))
}

/// First and last sequence of what was made in this time, so that a page of an old day does not walk through all later
/// ones.
fn span(connection: &mut SqliteConnection, kind: &str, time: (i64, i64)) -> Result<Option<(i64, i64)>, SiteError> {
    let bounds: (Option<i64>, Option<i64>) = resource::table
        .filter(dsl::kind.eq(kind))
        .filter(dsl::newest.eq(true))
        .filter(dsl::updated_ms.between(time.0, time.1))
        .select((min(dsl::sequence), max(dsl::sequence)))
        .first(connection)
        .map_err(database)?;
    Ok(bounds.0.zip(bounds.1))
}
