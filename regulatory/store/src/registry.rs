//! The registry: which instances, readings and models the site holds. Rows travel in the transaction of the entry that
//! they belong to. Keys are keyed hashes (HMAC); no patient data stands here in clear.
//! Errors: `RecordError::Refused` for a row that contradicts an earlier one.

use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection, upsert::excluded,
};
use vidimus_log::{Digest, EntryId};

use crate::{
    ObjectId, SiteError,
    nodes::{digest, natural, sql},
    rows::{RowError, refusal},
    tables::{registry_instance, registry_model, registry_reading},
};

/// An instance of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRow {
    /// Keyed hash of the SOP instance UID.
    pub key: Digest,
    /// Keyed hash of the study instance UID.
    pub study: Digest,
    /// Keyed hash of the patient's id.
    pub patient: Digest,
    /// Keyed hash of the digest of the bytes as received.
    pub content: Digest,
    /// The sealed bytes.
    pub object: ObjectId,
    /// The entry it came with.
    pub index: u64,
}

/// A reading of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadingRow {
    /// The `read_intent`.
    pub intent: EntryId,
    /// The `read_outcome`.
    pub outcome: EntryId,
    /// The status that a user sees.
    pub status: String,
    /// The model's package root.
    pub model_root: Digest,
    /// The vault document with the facts for a replay.
    pub reading: ObjectId,
    /// The entry it came with.
    pub index: u64,
}

/// A model of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRow {
    /// The package root.
    pub root: Digest,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its state.
    pub state: String,
    /// The entry that changed it last.
    pub index: u64,
}

/// Keeps an instance; the same content again changes nothing.
pub(crate) fn write_instance(connection: &mut SqliteConnection, row: &InstanceRow) -> Result<(), RowError> {
    let held: Option<(Vec<u8>, Vec<u8>, Vec<u8>)> = registry_instance::table
        .find(row.key.as_bytes().as_slice())
        .select((registry_instance::study, registry_instance::patient, registry_instance::content))
        .first(connection)
        .optional()?;
    let new = (row.study.as_bytes().to_vec(), row.patient.as_bytes().to_vec(), row.content.as_bytes().to_vec());
    match held {
        Some(held) if held == new => return Ok(()),
        Some(_) => return Err(RowError::rule(refusal::INSTANCE)),
        None => {}
    }
    diesel::insert_into(registry_instance::table)
        .values((
            registry_instance::key.eq(row.key.as_bytes().as_slice()),
            registry_instance::study.eq(row.study.as_bytes().as_slice()),
            registry_instance::patient.eq(row.patient.as_bytes().as_slice()),
            registry_instance::content.eq(row.content.as_bytes().as_slice()),
            registry_instance::object.eq(row.object.as_bytes().as_slice()),
            registry_instance::idx.eq(sql(row.index)),
        ))
        .execute(connection)?;
    Ok(())
}

/// Keeps a reading, once.
pub(crate) fn write_reading(connection: &mut SqliteConnection, row: &ReadingRow) -> Result<(), RowError> {
    let held = registry_reading::table.find(row.intent.as_bytes().as_slice()).count();
    if held.get_result::<i64>(connection)? > 0 {
        return Err(RowError::rule(refusal::READING));
    }
    diesel::insert_into(registry_reading::table)
        .values((
            registry_reading::intent_id.eq(row.intent.as_bytes().as_slice()),
            registry_reading::outcome_id.eq(row.outcome.as_bytes().as_slice()),
            registry_reading::status.eq(&row.status),
            registry_reading::model_root.eq(row.model_root.as_bytes().as_slice()),
            registry_reading::reading.eq(row.reading.as_bytes().as_slice()),
            registry_reading::idx.eq(sql(row.index)),
        ))
        .execute(connection)?;
    Ok(())
}

/// Keeps a model or its new state.
pub(crate) fn write_model(connection: &mut SqliteConnection, row: &ModelRow) -> Result<(), RowError> {
    diesel::insert_into(registry_model::table)
        .values((
            registry_model::root.eq(row.root.as_bytes().as_slice()),
            registry_model::name.eq(&row.name),
            registry_model::version.eq(&row.version),
            registry_model::state.eq(&row.state),
            registry_model::idx.eq(sql(row.index)),
        ))
        .on_conflict(registry_model::root)
        .do_update()
        .set((
            registry_model::state.eq(excluded(registry_model::state)),
            registry_model::idx.eq(excluded(registry_model::idx)),
        ))
        .execute(connection)?;
    Ok(())
}

pub(crate) fn database(error: diesel::result::Error) -> SiteError {
    SiteError::database("log.db", "read the registry")(error)
}

pub(crate) fn id(bytes: &[u8]) -> Result<EntryId, SiteError> {
    let id = bytes.try_into().ok().and_then(|bytes| EntryId::from_bytes(bytes).ok());
    id.ok_or_else(|| SiteError::Tampered { file: "log.db", what: "an entry_id of the registry".to_owned() })
}

pub(crate) fn object(bytes: &[u8]) -> Result<ObjectId, SiteError> {
    let id = bytes.try_into().ok().map(ObjectId::from_bytes);
    id.ok_or_else(|| SiteError::Tampered { file: "log.db", what: "an object id of the registry".to_owned() })
}

type InstanceColumns = (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>, i64);

fn read_instance(row: InstanceColumns) -> Result<InstanceRow, SiteError> {
    let (key, study, patient, content, stored, index) = row;
    Ok(InstanceRow {
        key: digest(&key, "a key of the registry")?,
        study: digest(&study, "a key of the registry")?,
        patient: digest(&patient, "a key of the registry")?,
        content: digest(&content, "a key of the registry")?,
        object: object(&stored)?,
        index: natural(index),
    })
}

pub(crate) fn instance(connection: &mut SqliteConnection, key: &Digest) -> Result<Option<InstanceRow>, SiteError> {
    let row: Option<InstanceColumns> =
        registry_instance::table.find(key.as_bytes().as_slice()).first(connection).optional().map_err(database)?;
    row.map(read_instance).transpose()
}

/// The instances of a study, in order of arrival.
pub(crate) fn instances(connection: &mut SqliteConnection, study: &Digest) -> Result<Vec<InstanceRow>, SiteError> {
    let rows: Vec<InstanceColumns> = registry_instance::table
        .filter(registry_instance::study.eq(study.as_bytes().as_slice()))
        .order((registry_instance::idx, registry_instance::key))
        .load(connection)
        .map_err(database)?;
    rows.into_iter().map(read_instance).collect()
}

pub(crate) fn study_patient(connection: &mut SqliteConnection, study: &Digest) -> Result<Option<Digest>, SiteError> {
    let row: Option<Vec<u8>> = registry_instance::table
        .filter(registry_instance::study.eq(study.as_bytes().as_slice()))
        .order(registry_instance::idx)
        .select(registry_instance::patient)
        .first(connection)
        .optional()
        .map_err(database)?;
    row.map(|row| digest(&row, "a key of the registry")).transpose()
}

type ReadingColumns = (Vec<u8>, Vec<u8>, String, Vec<u8>, Vec<u8>, i64);

fn read_reading(row: ReadingColumns) -> Result<ReadingRow, SiteError> {
    let (intent, outcome, status, model_root, reading, index) = row;
    Ok(ReadingRow {
        intent: id(&intent)?,
        outcome: id(&outcome)?,
        status,
        model_root: digest(&model_root, "a model root of the registry")?,
        reading: object(&reading)?,
        index: natural(index),
    })
}

pub(crate) fn readings(connection: &mut SqliteConnection) -> Result<Vec<ReadingRow>, SiteError> {
    let rows: Vec<ReadingColumns> =
        registry_reading::table.order(registry_reading::idx).load(connection).map_err(database)?;
    rows.into_iter().map(read_reading).collect()
}

/// By its intent or its outcome.
pub(crate) fn reading(connection: &mut SqliteConnection, entry: &EntryId) -> Result<Option<ReadingRow>, SiteError> {
    let row: Option<ReadingColumns> = registry_reading::table
        .filter(registry_reading::intent_id.eq(entry.as_bytes().as_slice()))
        .or_filter(registry_reading::outcome_id.eq(entry.as_bytes().as_slice()))
        .first(connection)
        .optional()
        .map_err(database)?;
    row.map(read_reading).transpose()
}

pub(crate) fn models(connection: &mut SqliteConnection) -> Result<Vec<ModelRow>, SiteError> {
    type Columns = (Vec<u8>, String, String, String, i64);
    let rows: Vec<Columns> = registry_model::table.order(registry_model::idx).load(connection).map_err(database)?;
    let read = |(root, name, version, state, index): Columns| {
        let root = digest(&root, "a model root of the registry")?;
        Ok(ModelRow { root, name, version, state, index: natural(index) })
    };
    rows.into_iter().map(read).collect()
}
