//! The seam between those who act and the log that remembers: `log` defines it, `store` implements it.
//! Errors: [`RecordError`] says what the caller must do (correct the draft, try later, stop).

use crate::{Actor, Body, EntryError, EntryId, Receipt, Ref};

/// An entry before it has time, boot and place.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Its name, made before the first try and kept for every retry.
    pub entry_id: EntryId,
    /// Who acts.
    pub actor: Actor,
    /// What it refers to.
    pub refs: Vec<Ref>,
    /// What happens.
    pub body: Body,
    /// W3C trace id, if there is one.
    pub trace: Option<String>,
}

impl Draft {
    /// A draft by the program itself without refs.
    pub fn system(entry_id: EntryId, body: impl Into<Body>) -> Self {
        Self { entry_id, actor: Actor::system(), refs: Vec::new(), body: body.into(), trace: None }
    }
}

/// Why an entry was not recorded. In each case nothing was appended for the draft.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The draft breaks the schema: correct it.
    #[error("entry refused: {0}")]
    Invalid(#[from] EntryError),
    /// The id is taken by an entry of other content: an `incident` was logged; make a new id for a new entry.
    #[error("entry {entry_id} refused: the id already names an entry of other content")]
    Duplicate {
        /// The id.
        entry_id: EntryId,
    },
    /// A rule between entries is broken (a missing reference, an outcome without intent, one person signing twice).
    #[error("entry refused: {rule}")]
    Refused {
        /// The rule.
        rule: String,
    },
    /// No room; nothing was lost. Make room and try again with the same id.
    #[error("disk full: nothing was recorded and nothing was lost; make room, then try again")]
    DiskFull(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another process holds the database; try again with the same id.
    #[error("the log is busy: try again with the same entry_id")]
    Busy(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log is read-only, as the outcome of an earlier write is in doubt or the site was opened for reading.
    #[error("the log is read-only: {why}")]
    ReadOnly {
        /// Why.
        why: String,
    },
    /// This write failed in a way that leaves its outcome in doubt: the log is now read-only; restart the program.
    #[error("the log fenced itself read-only: restart the program and let it check the log")]
    Fenced(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Appends entries.
///
/// The contract: when [`Recorder::record`] returns a receipt, the entry, the tree and the signed checkpoint of the
/// receipt are durable in one transaction, and stay so if the process or the machine stops in the next instant. An
/// error means that no receipt will ever be given for this try; after [`RecordError::Fenced`] the entry may or may not
/// be there, and a retry with the same id after a restart gives the answer. The same id with the same content (all but
/// `t_ms`, `trace` and `boot`) is the same entry for ever: its index and leaf come back, nothing is appended.
pub trait Recorder: Send + Sync {
    /// A fresh id for an entry, time-ordered.
    fn new_id(&self) -> EntryId;

    /// Appends the draft and returns when it is durable.
    fn record(&self, draft: Draft) -> Result<Receipt, RecordError>;
}
