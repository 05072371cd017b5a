//! Connections for reading: queries wait neither for the writer nor, up to [`CONNECTIONS_MAX`], for one another. They
//! see everything that was committed before they began, so also what their own process has just written.
//! Errors: [`SiteError`] of the opening of a connection.

use std::{
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use diesel::{SqliteConnection, connection::SimpleConnection as _};

use crate::{SiteError, database, database::Kind};

/// Connections to one file; a caller beyond them waits for one.
const CONNECTIONS_MAX: usize = 4;

/// The connections of one file, made when they are first needed.
pub(crate) struct Reads {
    dir: PathBuf,
    kind: &'static Kind,
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    idle: Vec<SqliteConnection>,
    made: usize,
}

/// A connection that goes back when it is dropped.
pub(crate) struct Lent<'a> {
    reads: &'a Reads,
    connection: Option<SqliteConnection>,
}

impl Reads {
    /// Connections to a file whose schema was checked; `first` is one that there is already.
    pub(crate) fn new(dir: &Path, kind: &'static Kind, first: Option<SqliteConnection>) -> Self {
        let state = Mutex::new(State { made: first.iter().len(), idle: first.into_iter().collect() });
        Self { dir: dir.to_owned(), kind, state, freed: Condvar::new() }
    }

    /// No code that can panic runs under this lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for one query or one snapshot. Whoever has one must not ask for a second.
    pub(crate) fn take(&self) -> Result<Lent<'_>, SiteError> {
        let mut state = self.state();
        loop {
            if let Some(connection) = state.idle.pop() {
                return Ok(Lent { reads: self, connection: Some(connection) });
            }
            if state.made < CONNECTIONS_MAX {
                state.made += 1;
                break;
            }
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        // From here on the place is taken: without a connection the lent one gives it back when dropped.
        let mut lent = Lent { reads: self, connection: None };
        lent.connection = Some(database::open_reading(&self.dir, self.kind)?);
        Ok(lent)
    }
}

impl Lent<'_> {
    /// Runs queries on one snapshot of the file.
    pub(crate) fn snapshot<T>(
        &mut self,
        read: impl FnOnce(&mut SqliteConnection) -> Result<T, SiteError>,
    ) -> Result<T, SiteError> {
        self.batch_execute("BEGIN").map_err(SiteError::database(self.reads.kind.file, "begin reading"))?;
        let found = read(self);
        self.batch_execute("ROLLBACK").map_err(SiteError::database(self.reads.kind.file, "end reading"))?;
        found
    }
}

impl Deref for Lent<'_> {
    type Target = SqliteConnection;

    #[expect(clippy::expect_used, reason = "only its drop and its making leave it without a connection")]
    fn deref(&self) -> &SqliteConnection {
        self.connection.as_ref().expect("a lent connection")
    }
}

impl DerefMut for Lent<'_> {
    #[expect(clippy::expect_used, reason = "only its drop and its making leave it without a connection")]
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.connection.as_mut().expect("a lent connection")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut state = self.reads.state();
        match self.connection.take() {
            // A panic may have left a snapshot open: that connection is not lent again.
            Some(connection) if !std::thread::panicking() => state.idle.push(connection),
            _ => state.made -= 1,
        }
        drop(state);
        self.reads.freed.notify_one();
    }
}
