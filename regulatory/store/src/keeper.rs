//! The one thread that writes the vault's file: what waits is one transaction, so that callers share the wait for the
//! disk. A request whose place is taken is undone alone (savepoint). On doubt about an outcome nothing more is kept
//! until a restart. Errors: [`NotKept`].

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use diesel::{
    ExpressionMethods as _, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _,
    result::{DatabaseErrorKind, Error},
};
use vidimus_log::{Digest, EntryId};

use crate::{
    ObjectId, SiteError, VaultError,
    error::{Trouble, trouble},
    nodes::sql,
    queue::{NotTaken, Thread, Weight},
    tables::{vault_key, vault_object, vault_opening},
    vault::KeyId,
};

/// Bytes of a row beside what is sealed in it.
const ROW_BYTES: usize = 128;

/// A row of the vault.
pub(crate) enum Document {
    /// A subject's wrapped key.
    Key { id: KeyId, subject: Digest, epoch: u64, wrapped: Vec<u8> },
    /// What a commitment opens to.
    Opening { entry: EntryId, field: String, key: KeyId, sealed: Vec<u8> },
    /// A sealed file, which is durable already.
    Object { id: ObjectId, key: KeyId },
}

/// Why documents were not kept; none of the request is there.
#[derive(Debug)]
pub(crate) enum NotKept {
    /// There is a document at the place of one of them.
    Taken,
    Failed(VaultError),
}

impl From<NotKept> for VaultError {
    fn from(error: NotKept) -> Self {
        match error {
            NotKept::Taken => Self::Taken,
            NotKept::Failed(error) => error,
        }
    }
}

/// The writer of the vault's file.
pub(crate) struct Keeper {
    thread: Thread<Vec<Document>, Result<(), NotKept>>,
    file: Arc<Mutex<File>>,
}

struct File {
    connection: SqliteConnection,
    fenced: bool,
}

/// The file between two batches.
pub(crate) struct Locked<'a>(MutexGuard<'a, File>);

impl std::ops::Deref for Locked<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.0.connection
    }
}

impl std::ops::DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.0.connection
    }
}

impl Keeper {
    /// Starts the thread.
    pub(crate) fn start(connection: SqliteConnection) -> Result<Self, SiteError> {
        let file = Arc::new(Mutex::new(File { connection, fenced: false }));
        let written = Arc::clone(&file);
        let thread = Thread::start("vidimus-vault", move |batch| {
            let (requests, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|waiting| waiting.split()).unzip();
            let kept = lock(&written).run(requests);
            for (answer, kept) in answers.into_iter().zip(kept) {
                // A caller that is gone needs no answer.
                let _ = answer.send(kept);
            }
        });
        let thread = thread.map_err(|source| SiteError::Database { operation: "start", source: Box::new(source) })?;
        Ok(Self { thread, file })
    }

    /// Whether the file is not fenced. While a batch is being written it is not.
    pub(crate) fn takes_documents(&self) -> bool {
        match self.file.try_lock() {
            Ok(file) => !file.fenced,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Poisoned(_)) => false,
        }
    }

    /// The file's connection for a change of another sort, between two batches.
    pub(crate) fn connection(&self) -> Result<Locked<'_>, VaultError> {
        let file = lock(&self.file);
        if file.fenced { Err(VaultError::Fenced) } else { Ok(Locked(file)) }
    }

    /// Keeps documents, all or none; they are durable when this returns.
    pub(crate) fn keep(&self, documents: Vec<Document>) -> Result<(), NotKept> {
        if documents.is_empty() {
            return Ok(());
        }
        let bytes = documents.iter().map(|document| ROW_BYTES + document.bytes()).sum();
        let weight = Weight { rows: documents.len(), bytes };
        match self.thread.queue.push(documents, weight) {
            Ok(answer) => answer.recv().unwrap_or(Err(NotKept::Failed(VaultError::Fenced))),
            Err(NotTaken::Full) => Err(NotKept::Failed(VaultError::Busy)),
            Err(NotTaken::Closed) => Err(NotKept::Failed(VaultError::Fenced)),
        }
    }
}

/// A panic within a transaction leaves its outcome in doubt.
fn lock(file: &Mutex<File>) -> MutexGuard<'_, File> {
    file.lock().unwrap_or_else(|poisoned| {
        let mut file = poisoned.into_inner();
        file.fenced = true;
        file
    })
}

impl File {
    /// Serves a batch in one transaction: an answer for each request, in order.
    fn run(&mut self, requests: Vec<Vec<Document>>) -> Vec<Result<(), NotKept>> {
        let count = requests.len();
        if self.fenced {
            return (0..count).map(|_| Err(NotKept::Failed(VaultError::Fenced))).collect();
        }
        self.transaction(requests).unwrap_or_else(|error| {
            // SQLite may have rolled back already; then this has nothing to do.
            let _ = self.connection.batch_execute("ROLLBACK");
            if trouble(&error) == Trouble::Doubt {
                tracing::error!(error = %error, "vault fenced: the outcome of a write is in doubt");
                self.fenced = true;
            }
            let again = || match trouble(&error) {
                Trouble::Full => VaultError::DiskFull(error.to_string().into()),
                Trouble::Busy => VaultError::Busy,
                Trouble::Doubt => VaultError::Fenced,
            };
            (0..count).map(|_| Err(NotKept::Failed(again()))).collect()
        })
    }

    fn transaction(&mut self, requests: Vec<Vec<Document>>) -> Result<Vec<Result<(), NotKept>>, Error> {
        self.connection.batch_execute("BEGIN IMMEDIATE")?;
        let mut answers = Vec::with_capacity(requests.len());
        for documents in requests {
            self.connection.batch_execute("SAVEPOINT request")?;
            let inserted = documents.into_iter().try_for_each(|document| document.insert(&mut self.connection));
            answers.push(match inserted {
                Ok(()) => {
                    self.connection.batch_execute("RELEASE request")?;
                    Ok(())
                }
                Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
                    self.connection.batch_execute("ROLLBACK TO request; RELEASE request")?;
                    Err(NotKept::Taken)
                }
                Err(error) => return Err(error),
            });
        }
        self.connection.batch_execute("COMMIT")?;
        Ok(answers)
    }
}

impl Document {
    fn bytes(&self) -> usize {
        match self {
            Self::Key { wrapped: bytes, .. } | Self::Opening { sealed: bytes, .. } => bytes.len(),
            Self::Object { .. } => 0,
        }
    }

    fn insert(self, connection: &mut SqliteConnection) -> Result<(), Error> {
        match self {
            Self::Key { id, subject, epoch, wrapped } => diesel::insert_into(vault_key::table)
                .values((
                    vault_key::id.eq(id.as_slice()),
                    vault_key::subject.eq(subject.as_bytes().as_slice()),
                    vault_key::epoch.eq(sql(epoch)),
                    vault_key::wrapped.eq(wrapped),
                ))
                .execute(connection)?,
            Self::Opening { entry, field, key, sealed } => diesel::insert_into(vault_opening::table)
                .values((
                    vault_opening::entry_id.eq(entry.as_bytes().as_slice()),
                    vault_opening::field.eq(field),
                    vault_opening::key_id.eq(key.as_slice()),
                    vault_opening::sealed.eq(sealed),
                ))
                .execute(connection)?,
            Self::Object { id, key } => diesel::insert_into(vault_object::table)
                .values((vault_object::id.eq(id.as_bytes().as_slice()), vault_object::key_id.eq(key.as_slice())))
                .execute(connection)?,
        };
        Ok(())
    }
}
