//! The rows that travel with an entry: written in its transaction, so that they come with it or not at all. They hold
//! keyed hashes (HMAC), ids, codes and numbers; no patient data stands in them.
//! Errors: `RecordError::Refused` for a row that contradicts an earlier one; the texts of [`refusal`] are its rules.

use diesel::SqliteConnection;
use vidimus_log::{Digest, EntryId};

use crate::{
    InstanceRow, ModelRow, ObjectId, PublishedRow, ReadingRow, RequestRow, ResourceRow, SignedRow, WorkRow, registry,
    resources, work, worklist,
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
    /// A study that has new instances and waits for a reading. It waits once: a later arrival takes the place of the
    /// earlier one, keeps its turn and begins again with no attempts.
    Work {
        /// Keyed hash of the study instance UID.
        study: Digest,
        /// Keyed hash of the patient's id.
        patient: Digest,
        /// The entry of the arrival.
        arrival: EntryId,
        /// The vault document that a worker begins with.
        document: ObjectId,
    },
    /// The study's reading is done, unless another arrival came meanwhile: then it waits on.
    WorkDone {
        /// Keyed hash of the study instance UID.
        study: Digest,
        /// The arrival that was read.
        arrival: EntryId,
    },
    /// A reading that can be seen from now on.
    Published {
        /// The reading: the entry of its outcome or refusal.
        reading: EntryId,
        /// Keyed hash of the study instance UID.
        study: Digest,
        /// Keyed hash of the patient's id.
        patient: Digest,
        /// The status that a user sees.
        status: String,
        /// The finding's decision; `None` where there is none.
        decision: Option<String>,
        /// Place in the worklist, of [`attention`].
        attention: u32,
        /// The model's package root.
        model_root: Digest,
        /// The vault document that holds the reading.
        document: ObjectId,
        /// When it was published, UTC milliseconds.
        issued_ms: u64,
    },
    /// A clinician has signed a published reading: once, and its attention becomes [`attention::SIGNED`].
    Signed {
        /// The reading.
        reading: EntryId,
        /// The `sign_off` or `override`.
        sign_off: EntryId,
        /// Whether the clinician agrees.
        agrees: bool,
    },
    /// A version of a resource: the first is 1, each later one the newest + 1.
    Resource {
        /// The resource's type.
        kind: String,
        /// The resource's id.
        id: String,
        /// The version.
        version: u32,
        /// Keyed hash of the patient's id, if one is concerned.
        patient: Option<Digest>,
        /// Keyed hash of the study instance UID, if one is concerned.
        study: Option<Digest>,
        /// The reading, if it belongs to one.
        reading: Option<EntryId>,
        /// The resource's status.
        status: String,
        /// The resource's code, if it has one.
        code: Option<String>,
        /// The vault document that holds the version's bytes.
        document: ObjectId,
        /// When it was made, UTC milliseconds.
        updated_ms: u64,
    },
    /// A request that was answered: its key is used once.
    Request {
        /// Keyed hash of caller and idempotency key.
        key: Digest,
        /// Keyed hash of the request's body.
        body: Digest,
        /// The vault document that holds the answer.
        answer: ObjectId,
        /// When it was answered, UTC milliseconds.
        made_ms: u64,
    },
}

/// Places in the worklist: smaller is looked at first.
pub mod attention {
    /// The finding is present at the operating point.
    pub const PRESENT: u32 = 100;
    /// The reading failed.
    pub const FAILED: u32 = 200;
    /// The study was not evaluated.
    pub const NOT_EVALUATED: u32 = 300;
    /// The finding is absent at the operating point.
    pub const ABSENT: u32 = 400;
    /// A clinician has signed.
    pub const SIGNED: u32 = 900;
}

/// The rules of rows, as `RecordError::Refused` names them: a caller compares with these, not with words.
pub mod refusal {
    /// [`super::Row::Instance`]: other content under a UID.
    pub const INSTANCE: &str = "SOPInstanceUID: an instance with this UID and other content is held already";
    /// [`super::Row::Reading`]: a second outcome.
    pub const READING: &str = "the intent already has a reading";
    /// [`super::Row::Published`]: a second time, or two in one entry.
    pub const PUBLISHED: &str = "a reading is published once, by an entry of its own";
    /// [`super::Row::Published`]: a place that only a sign-off gives.
    pub const ATTENTION: &str = "attention: a reading is published unsigned";
    /// [`super::Row::Signed`]: a reading that was never published.
    pub const UNPUBLISHED: &str = "only a published reading can be signed";
    /// [`super::Row::Signed`]: a second time.
    pub const SIGNED: &str = "the reading is signed already";
    /// [`super::Row::Resource`]: another version came first, or one was left out.
    pub const VERSION: &str = "a resource's version must follow its newest one";
    /// [`super::Row::Request`]: the key was used.
    pub const REQUEST: &str = "the request's key was used already";
}

/// Why a row was not written.
pub(crate) enum RowError {
    Refused(String),
    Database(diesel::result::Error),
}

impl RowError {
    /// A rule of [`refusal`].
    pub(crate) fn rule(rule: &str) -> Self {
        Self::Refused(rule.to_owned())
    }
}

impl From<diesel::result::Error> for RowError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error)
    }
}

/// Writes a row within the transaction of entry `index`.
pub(crate) fn write(connection: &mut SqliteConnection, row: Row, index: u64) -> Result<(), RowError> {
    match row {
        Row::Instance { key, study, patient, content, object } => {
            registry::write_instance(connection, &InstanceRow { key, study, patient, content, object, index })
        }
        Row::Reading { intent, outcome, status, model_root, reading } => {
            let row = ReadingRow { intent, outcome, status, model_root, reading, index };
            registry::write_reading(connection, &row)
        }
        Row::Model { root, name, version, state } => {
            registry::write_model(connection, &ModelRow { root, name, version, state, index })
        }
        Row::Work { study, patient, arrival, document } => {
            work::wait(connection, &WorkRow { study, patient, arrival, document, attempts: 0, index })
        }
        Row::WorkDone { study, arrival } => work::done(connection, &study, &arrival),
        Row::Published { reading, study, patient, status, decision, attention, model_root, document, issued_ms } => {
            let signed = None;
            let row = PublishedRow {
                reading,
                study,
                patient,
                status,
                decision,
                attention,
                model_root,
                document,
                issued_ms,
                index,
                signed,
            };
            worklist::publish(connection, &row)
        }
        Row::Signed { reading, sign_off, agrees } => {
            worklist::sign(connection, &reading, &SignedRow { sign_off, agrees, index })
        }
        Row::Resource { kind, id, version, patient, study, reading, status, code, document, updated_ms } => {
            let sequence = 0;
            let row = ResourceRow {
                kind,
                id,
                version,
                patient,
                study,
                reading,
                status,
                code,
                document,
                updated_ms,
                index,
                sequence,
            };
            resources::write(connection, &row)
        }
        Row::Request { key, body, answer, made_ms } => {
            work::answered(connection, &RequestRow { key, body, answer, made_ms }, index)
        }
    }
}
