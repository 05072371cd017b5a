//! What can go wrong with a site, named by file and by what to do; never a value of a patient.

use std::{io, path::PathBuf};

use vidimus_log::{EntryId, RecordError, VerifyError};

/// Why a site cannot be made, opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// Another process has the site.
    #[error("{}: another process works on this site; end it, or name another folder", dir.display())]
    Locked {
        /// The site's folder.
        dir: PathBuf,
    },
    /// The folder already holds a site.
    #[error("{}: there is a site here already", dir.display())]
    Exists {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder is not a site.
    #[error("{}: not a site: {why}", dir.display())]
    NotASite {
        /// The folder.
        dir: PathBuf,
        /// What is missing.
        why: String,
    },
    /// A database of another program.
    #[error("{}: not a file of Vidimus (application_id {found:#x}); it is left untouched", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its `application_id`.
        found: i64,
    },
    /// A site of a later version of this program.
    #[error("{}: schema {found}, this program knows {known}: use the newer program", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// A site of an earlier version of this program, opened for reading: reading changes nothing, also not its tables.
    #[error(
        "{}: schema {found}, this program reads {known}: start a command that writes the site once (read, serve), \
         which brings it up to date",
        path.display()
    )]
    OlderSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The one that this program reads.
        known: i64,
    },
    /// Something differs from what the log proves.
    #[error("{file}: tampered or damaged: {what}; keep the folder as evidence and restore from a backup")]
    Tampered {
        /// The file, below the site's folder.
        file: &'static str,
        /// What differs.
        what: String,
    },
    /// The log is shorter than it has been.
    #[error("log.db: rolled back: {what}; keep the folder as evidence and find the newer file")]
    Rollback {
        /// What shows it.
        what: String,
    },
    /// No room; nothing was lost.
    #[error("disk full: nothing was lost; make room, then try again")]
    DiskFull(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file or folder cannot be read or written.
    #[error("{}: cannot {action}: {source}", path.display())]
    Unreadable {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Others may read a key or write the site.
    #[error("{}: mode {mode:o}: others must not {what}; change it with chmod", path.display())]
    Permissions {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// What others could do.
        what: &'static str,
    },
    /// The database library or one of its settings is not what durability needs.
    #[error("SQLite: {setting}: expected {expected}, found {found}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What is needed.
        expected: String,
        /// What was read back.
        found: String,
    },
    /// The clock is before the last entry.
    #[error("the clock stands {behind_ms} ms before the last entry of the log: set the clock, then start again")]
    Clock {
        /// By how much.
        behind_ms: u64,
    },
    /// There is no such entry.
    #[error("no entry {entry_id} in this log")]
    NoSuchEntry {
        /// The id.
        entry_id: EntryId,
    },
    /// A fact given for the site or its start does not fit the log.
    #[error("{what}: {why}")]
    Fact {
        /// Which fact.
        what: &'static str,
        /// Why it does not fit.
        why: String,
    },
    /// An entry of the start was not recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The log does not verify.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The database refused an operation.
    #[error("database: {operation}: {source}")]
    Database {
        /// The operation.
        operation: &'static str,
        /// Its answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The machine gives no randomness.
    #[error("the system's source of randomness fails")]
    Randomness,
}

/// Why the vault cannot keep or open something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The subject's key was erased: the document stays sealed for ever, and every proof still verifies.
    #[error("sealed: the key was erased")]
    Erased,
    /// There is no such document.
    #[error("the vault holds no such document")]
    Missing,
    /// The document does not open under its key and place: it was changed or moved.
    #[error("vault: {what}: tampered or damaged")]
    Tampered {
        /// Which document.
        what: String,
    },
    /// The field of this entry already has a commitment to another value; make a new entry for a new value.
    #[error("the entry's field already has a commitment to another value")]
    Conflict,
    /// Another caller has kept a document at the same place meanwhile; try again.
    #[error("another document was kept at the same place meanwhile: try again")]
    Taken,
    /// Too much waits to be written; try again later.
    #[error("too many documents wait to be written: try again later")]
    Busy,
    /// The outcome of a write is in doubt.
    #[error("the vault fenced itself read-only, as the outcome of a write is in doubt: restart the program")]
    Fenced,
    /// The key is erased, but its bytes stand in the write-ahead log until those who read the file end.
    #[error("the key is erased, but vault.db-wal still holds its bytes: end the programs that read the site, restart")]
    StillRead,
    /// The site was opened for reading.
    #[error("the site was opened for reading only")]
    ReadOnly,
    /// No room; nothing was lost.
    #[error("disk full: nothing was lost; make room, then try again")]
    DiskFull(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file or folder cannot be read or written.
    #[error("{}: cannot {action}: {source}", path.display())]
    Unreadable {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The database refused an operation.
    #[error("vault.db: {operation}: {source}")]
    Database {
        /// The operation.
        operation: &'static str,
        /// Its answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The machine gives no randomness.
    #[error("the system's source of randomness fails")]
    Randomness,
}

/// What a database error means for the outcome of what was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Harmless: someone else holds the lock.
    Busy,
    /// Harmless: no room, rolled back.
    Full,
    /// Anything else: the outcome is in doubt.
    Doubt,
}

/// Diesel hands over no SQLite code for most errors, only its text: what is not known to be harmless is in doubt.
pub(crate) fn trouble(error: &diesel::result::Error) -> Trouble {
    let text = error.to_string();
    if text.contains("database or disk is full") {
        Trouble::Full
    } else if text.contains("database is locked") || text.contains("database table is locked") {
        Trouble::Busy
    } else {
        Trouble::Doubt
    }
}

impl SiteError {
    pub(crate) fn database(file: &'static str, operation: &'static str) -> impl Fn(diesel::result::Error) -> Self {
        move |error| match trouble(&error) {
            Trouble::Full => Self::DiskFull(Box::new(error)),
            _ => {
                let text = error.to_string();
                if text.contains("not a database") || text.contains("malformed") {
                    Self::Tampered { file, what: text }
                } else {
                    Self::Database { operation, source: Box::new(error) }
                }
            }
        }
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull(Box::new(source)),
            _ => Self::Unreadable { action, path, source },
        }
    }
}

impl VaultError {
    /// A connection for reading that cannot be opened.
    pub(crate) fn reading(error: SiteError) -> Self {
        Self::Database { operation: "open the file for reading", source: Box::new(error) }
    }

    pub(crate) fn database(operation: &'static str) -> impl Fn(diesel::result::Error) -> Self {
        move |error| match trouble(&error) {
            Trouble::Full => Self::DiskFull(Box::new(error)),
            _ => Self::Database { operation, source: Box::new(error) },
        }
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull(Box::new(source)),
            _ => Self::Unreadable { action, path, source },
        }
    }
}
