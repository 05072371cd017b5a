//! Studies that wait for a reading, and requests that were answered: what a restart must not forget.
//! Errors: [`RowError`] at writing, [`SiteError`] at reading.

use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection, upsert::excluded,
};
use vidimus_log::{Digest, EntryId};

use crate::{
    ObjectId, SiteError,
    nodes::{digest, natural, sql},
    registry::{database, id, object},
    rows::{RowError, refusal},
    tables::{registry_request, registry_work},
};

/// A study that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkRow {
    /// Keyed hash of the study instance UID.
    pub study: Digest,
    /// Keyed hash of the patient's id.
    pub patient: Digest,
    /// The entry of the newest arrival.
    pub arrival: EntryId,
    /// The vault document that a worker begins with.
    pub document: ObjectId,
    /// How often a worker has begun with this arrival.
    pub attempts: u32,
    /// The entry with which the study began to wait: its turn.
    pub index: u64,
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRow {
    /// Keyed hash of caller and idempotency key.
    pub key: Digest,
    /// Keyed hash of the request's body.
    pub body: Digest,
    /// The vault document that holds the answer.
    pub answer: ObjectId,
    /// When it was answered, UTC milliseconds.
    pub made_ms: u64,
}

/// Lets a study wait. One that waits already keeps its turn, and its newer arrival begins with no attempts.
pub(crate) fn wait(connection: &mut SqliteConnection, row: &WorkRow) -> Result<(), RowError> {
    diesel::insert_into(registry_work::table)
        .values((
            registry_work::study.eq(row.study.as_bytes().as_slice()),
            registry_work::patient.eq(row.patient.as_bytes().as_slice()),
            registry_work::arrival.eq(row.arrival.as_bytes().as_slice()),
            registry_work::document.eq(row.document.as_bytes().as_slice()),
            registry_work::attempts.eq(i64::from(row.attempts)),
            registry_work::idx.eq(sql(row.index)),
        ))
        .on_conflict(registry_work::study)
        .do_update()
        .set((
            registry_work::patient.eq(excluded(registry_work::patient)),
            registry_work::arrival.eq(excluded(registry_work::arrival)),
            registry_work::document.eq(excluded(registry_work::document)),
            registry_work::attempts.eq(excluded(registry_work::attempts)),
        ))
        .execute(connection)?;
    Ok(())
}

/// Ends the wait for this arrival; another one that came meanwhile waits on.
pub(crate) fn done(connection: &mut SqliteConnection, study: &Digest, arrival: &EntryId) -> Result<(), RowError> {
    let row = registry_work::table
        .filter(registry_work::study.eq(study.as_bytes().as_slice()))
        .filter(registry_work::arrival.eq(arrival.as_bytes().as_slice()));
    diesel::delete(row).execute(connection)?;
    Ok(())
}

/// Counts one attempt more; 0 if the study does not wait.
pub(crate) fn begin(connection: &mut SqliteConnection, study: &Digest) -> Result<u32, diesel::result::Error> {
    let row = registry_work::table.find(study.as_bytes().as_slice());
    diesel::update(row).set(registry_work::attempts.eq(registry_work::attempts + 1)).execute(connection)?;
    let attempts: Option<i64> = row.select(registry_work::attempts).first(connection).optional()?;
    Ok(attempts.map_or(0, small))
}

/// A small number of a row.
pub(crate) fn small(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The studies that wait, oldest first.
pub(crate) fn waiting(connection: &mut SqliteConnection, limit: usize) -> Result<Vec<WorkRow>, SiteError> {
    type Columns = (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>, i64, i64);
    let rows: Vec<Columns> = registry_work::table
        .order((registry_work::idx, registry_work::study))
        .limit(rows_max(limit))
        .load(connection)
        .map_err(database)?;
    let read = |(study, patient, arrival, document, attempts, index): Columns| {
        Ok(WorkRow {
            study: digest(&study, "a key of the registry")?,
            patient: digest(&patient, "a key of the registry")?,
            arrival: id(&arrival)?,
            document: object(&document)?,
            attempts: small(attempts),
            index: natural(index),
        })
    };
    rows.into_iter().map(read).collect()
}

/// A limit as SQLite takes it.
pub(crate) fn rows_max(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Whether a study waits; one that is being read does until its reading is published.
pub(crate) fn waits(connection: &mut SqliteConnection, study: &Digest) -> Result<bool, SiteError> {
    let row = registry_work::table.find(study.as_bytes().as_slice()).count();
    let count: i64 = row.get_result(connection).map_err(database)?;
    Ok(count > 0)
}

/// How many studies wait.
pub(crate) fn count(connection: &mut SqliteConnection) -> Result<u64, SiteError> {
    let count: i64 = registry_work::table.count().get_result(connection).map_err(database)?;
    Ok(natural(count))
}

/// Keeps the answer to a request, once.
pub(crate) fn answered(connection: &mut SqliteConnection, row: &RequestRow, index: u64) -> Result<(), RowError> {
    let held = registry_request::table.find(row.key.as_bytes().as_slice()).count();
    if held.get_result::<i64>(connection)? > 0 {
        return Err(RowError::rule(refusal::REQUEST));
    }
    diesel::insert_into(registry_request::table)
        .values((
            registry_request::key.eq(row.key.as_bytes().as_slice()),
            registry_request::body.eq(row.body.as_bytes().as_slice()),
            registry_request::answer.eq(row.answer.as_bytes().as_slice()),
            registry_request::made_ms.eq(sql(row.made_ms)),
            registry_request::idx.eq(sql(index)),
        ))
        .execute(connection)?;
    Ok(())
}

/// The request under this key.
pub(crate) fn request(connection: &mut SqliteConnection, key: &Digest) -> Result<Option<RequestRow>, SiteError> {
    type Columns = (Vec<u8>, Vec<u8>, Vec<u8>, i64, i64);
    let row: Option<Columns> =
        registry_request::table.find(key.as_bytes().as_slice()).first(connection).optional().map_err(database)?;
    let read = |(key, body, answer, made_ms, _): Columns| {
        Ok(RequestRow {
            key: digest(&key, "a key of the registry")?,
            body: digest(&body, "a key of the registry")?,
            answer: object(&answer)?,
            made_ms: natural(made_ms),
        })
    };
    row.map(read).transpose()
}
