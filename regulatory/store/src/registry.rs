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
    tables::{registry_instance, registry_model, registry_reading},
};

/// A row to be written with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A DICOM instance as received.
    Instance {
        /// Keyed hash of the SOP instance UID.
        key: Digest,
        /// Keyed hash of the study instance UID.
        study: Digest,
        /// Keyed hash of the patient's id.
        patient: Digest,
        /// Keyed hash of the digest of the bytes as received.
        content: Digest,
        /// The sealed bytes.
        object: ObjectId,
    },
    /// A reading that has ended.
    Reading {
        /// The `read_intent`.
        intent: EntryId,
        /// The `read_outcome`.
        outcome: EntryId,
        /// The status that a user sees.
        status: String,
        /// The model's package root.
        model_root: Digest,
        /// The vault document with the facts for a replay.
        reading: ObjectId,
    },
    /// A model and its state, replaced by each later row of the same root.
    Model {
        /// The package root.
        root: Digest,
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// Its state.
        state: String,
    },
}

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

/// Why a row was not written.
pub(crate) enum RowError {
    Refused(String),
    Database(diesel::result::Error),
}

impl From<diesel::result::Error> for RowError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error)
    }
}

/// Writes a row within the transaction of entry `index`.
pub(crate) fn write(connection: &mut SqliteConnection, row: &Row, index: u64) -> Result<(), RowError> {
    match row {
        Row::Instance { key, study, patient, content, object } => {
            let held: Option<(Vec<u8>, Vec<u8>, Vec<u8>)> = registry_instance::table
                .find(key.as_bytes().as_slice())
                .select((registry_instance::study, registry_instance::patient, registry_instance::content))
                .first(connection)
                .optional()?;
            let new = (study.as_bytes().to_vec(), patient.as_bytes().to_vec(), content.as_bytes().to_vec());
            match held {
                Some(held) if held == new => return Ok(()),
                Some(_) => {
                    let rule = "SOPInstanceUID: an instance with this UID and other content is held already";
                    return Err(RowError::Refused(rule.to_owned()));
                }
                None => {}
            }
            diesel::insert_into(registry_instance::table)
                .values((
                    registry_instance::key.eq(key.as_bytes().as_slice()),
                    registry_instance::study.eq(study.as_bytes().as_slice()),
                    registry_instance::patient.eq(patient.as_bytes().as_slice()),
                    registry_instance::content.eq(content.as_bytes().as_slice()),
                    registry_instance::object.eq(object.as_bytes().as_slice()),
                    registry_instance::idx.eq(sql(index)),
                ))
                .execute(connection)?;
        }
        Row::Reading { intent, outcome, status, model_root, reading } => {
            let held = registry_reading::table.find(intent.as_bytes().as_slice()).count();
            if held.get_result::<i64>(connection)? > 0 {
                return Err(RowError::Refused("the intent already has a reading".to_owned()));
            }
            diesel::insert_into(registry_reading::table)
                .values((
                    registry_reading::intent_id.eq(intent.as_bytes().as_slice()),
                    registry_reading::outcome_id.eq(outcome.as_bytes().as_slice()),
                    registry_reading::status.eq(status),
                    registry_reading::model_root.eq(model_root.as_bytes().as_slice()),
                    registry_reading::reading.eq(reading.as_bytes().as_slice()),
                    registry_reading::idx.eq(sql(index)),
                ))
                .execute(connection)?;
        }
        Row::Model { root, name, version, state } => {
            diesel::insert_into(registry_model::table)
                .values((
                    registry_model::root.eq(root.as_bytes().as_slice()),
                    registry_model::name.eq(name),
                    registry_model::version.eq(version),
                    registry_model::state.eq(state),
                    registry_model::idx.eq(sql(index)),
                ))
                .on_conflict(registry_model::root)
                .do_update()
                .set((
                    registry_model::state.eq(excluded(registry_model::state)),
                    registry_model::idx.eq(excluded(registry_model::idx)),
                ))
                .execute(connection)?;
        }
    }
    Ok(())
}

fn database(error: diesel::result::Error) -> SiteError {
    SiteError::database("log.db", "read the registry")(error)
}

fn id(bytes: &[u8]) -> Result<EntryId, SiteError> {
    let id = bytes.try_into().ok().and_then(|bytes| EntryId::from_bytes(bytes).ok());
    id.ok_or_else(|| SiteError::Tampered { file: "log.db", what: "an entry_id of the registry".to_owned() })
}

fn object(bytes: &[u8]) -> Result<ObjectId, SiteError> {
    let id = bytes.try_into().ok().map(ObjectId::from_bytes);
    id.ok_or_else(|| SiteError::Tampered { file: "log.db", what: "an object id of the registry".to_owned() })
}

pub(crate) fn instance(connection: &mut SqliteConnection, key: &Digest) -> Result<Option<InstanceRow>, SiteError> {
    type Columns = (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>, i64);
    let row: Option<Columns> =
        registry_instance::table.find(key.as_bytes().as_slice()).first(connection).optional().map_err(database)?;
    let read = |(key, study, patient, content, stored, index): Columns| {
        Ok(InstanceRow {
            key: digest(&key, "a key of the registry")?,
            study: digest(&study, "a key of the registry")?,
            patient: digest(&patient, "a key of the registry")?,
            content: digest(&content, "a key of the registry")?,
            object: object(&stored)?,
            index: natural(index),
        })
    };
    row.map(read).transpose()
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
