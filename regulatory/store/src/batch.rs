//! The writing side of the log: one `IMMEDIATE` transaction holds the entries of a whole batch of requests, their
//! registry rows, the tiles and the head under one fresh signature. A request that breaks a rule is undone alone
//! (savepoint), all others stand. On doubt about an outcome the log fences itself: read-only until a restart checks it.
//! Errors: `RecordError`, each saying whether to correct, retry or restart. Source: AUDIT_LOG section 6.

use std::sync::Arc;

use diesel::{
    ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection, connection::SimpleConnection as _,
};
use vidimus_log::{
    Digest, Draft, Entry, EntryId, RecordError, leaf_hash, limits::CLOCK_STEP_MS_MAX, note::SigningKey, tree,
};

use crate::{
    Row, SiteError,
    anchor::Anchor,
    error::{Trouble, trouble},
    log::{Head, Placed, find, incident, insert_entry, new_id, write_head},
    nodes::{TileNodes, natural, sql},
    rows,
    rows::RowError,
    rules,
    rules::Breach,
    tables::{log_head, log_tile},
    work,
};

/// An entry ready to be placed, with its rows.
pub(crate) struct Prepared {
    pub(crate) entry: Entry,
    pub(crate) bytes: Vec<u8>,
    pub(crate) leaf: Digest,
    pub(crate) rows: Vec<Row>,
}

impl Prepared {
    /// The canonical bytes of a draft.
    pub(crate) fn new(origin: &str, boot: Option<EntryId>, t_ms: u64, draft: Draft) -> Result<Self, RecordError> {
        let Draft { entry_id, actor, refs, body, trace } = draft;
        let entry = Entry { log: origin.to_owned(), entry_id, t_ms, boot, trace, actor, refs, body };
        let bytes = entry.to_bytes()?;
        let leaf = leaf_hash(&bytes);
        Ok(Self { entry, bytes, leaf, rows: Vec::new() })
    }
}

/// What a caller asks of the writer.
pub(crate) enum Request {
    /// Entries with their rows: all or none.
    Append(Vec<Prepared>),
    /// One attempt more with a study that waits.
    Begin(Digest),
}

/// What was done, durably.
pub(crate) enum Done {
    /// The places of the entries, and the head that holds them.
    Placed(Vec<Placed>, Arc<Head>),
    /// How many attempts there were.
    Begun(u32),
}

/// What one request came to, within the transaction.
enum Outcome {
    Placed(Vec<Placed>),
    Begun(u32),
}

/// The log of the process that writes the site.
pub(crate) struct Log {
    pub(crate) connection: SqliteConnection,
    pub(crate) origin: String,
    pub(crate) head: Arc<Head>,
    pub(crate) boot: Option<EntryId>,
    pub(crate) key: SigningKey,
    pub(crate) anchor: Anchor,
    pub(crate) fence: Option<String>,
}

/// Why a whole batch was not committed.
enum Stop {
    Database(diesel::result::Error),
    Damage(SiteError),
}

impl From<diesel::result::Error> for Stop {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error)
    }
}

/// Why one request is undone.
enum Undo {
    Refused(RecordError),
    Conflict(EntryId, Digest),
    Stop(Stop),
}

impl From<diesel::result::Error> for Undo {
    fn from(error: diesel::result::Error) -> Self {
        Self::Stop(Stop::Database(error))
    }
}

/// A growing head within a transaction, and whether anything was written.
struct Growth {
    head: Head,
    changed: bool,
}

impl Log {
    /// Serves a batch in one transaction: an answer for each request, in order.
    pub(crate) fn run(&mut self, requests: Vec<Request>) -> Vec<Result<Done, RecordError>> {
        let count = requests.len();
        if let Some(why) = &self.fence {
            return (0..count).map(|_| Err(RecordError::ReadOnly { why: why.clone() })).collect();
        }
        match self.transaction(requests) {
            Ok(outcomes) => {
                let done = |outcome| match outcome {
                    Outcome::Placed(placed) => Done::Placed(placed, Arc::clone(&self.head)),
                    Outcome::Begun(attempts) => Done::Begun(attempts),
                };
                outcomes.into_iter().map(|outcome| outcome.map(done)).collect()
            }
            Err(stop) => self.stopped(stop, count),
        }
    }

    fn transaction(&mut self, requests: Vec<Request>) -> Result<Vec<Result<Outcome, RecordError>>, Stop> {
        self.connection.batch_execute("BEGIN IMMEDIATE")?;
        let filled = self.fill(requests).and_then(|(growth, outcomes)| {
            if growth.changed {
                self.connection.batch_execute("COMMIT")?;
            }
            Ok((growth, outcomes))
        });
        match filled {
            Ok((growth, outcomes)) if growth.changed => {
                if growth.head.frontier.size() > self.head.frontier.size() {
                    self.head = Arc::new(growth.head);
                    self.write_anchor();
                }
                Ok(outcomes)
            }
            other => {
                // SQLite may have rolled back already (disk full): then this says so, which is no error here.
                let _ = self.connection.batch_execute("ROLLBACK");
                self.compare_head()?;
                other.map(|(_, outcomes)| outcomes)
            }
        }
    }

    /// The file must hold the state that memory holds.
    fn compare_head(&mut self) -> Result<(), Stop> {
        let (size, note): (i64, String) =
            log_head::table.select((log_head::size, log_head::note)).first(&mut self.connection)?;
        if natural(size) == self.head.frontier.size() && note == self.head.note {
            return Ok(());
        }
        let what = "the head differs from the last one that this process wrote".to_owned();
        Err(Stop::Damage(SiteError::Tampered { file: "log.db", what }))
    }

    /// Writes what the requests bring, and the head under a new signature if there are new entries.
    fn fill(&mut self, requests: Vec<Request>) -> Result<(Growth, Vec<Result<Outcome, RecordError>>), Stop> {
        self.compare_head()?;
        let mut growth = Growth { head: Head::clone(&self.head), changed: false };
        let mut outcomes = Vec::with_capacity(requests.len());
        for request in requests {
            outcomes.push(match self.serve(&mut growth, request) {
                Ok(outcome) => Ok(outcome),
                Err(Undo::Refused(error)) => Err(error),
                Err(Undo::Conflict(entry_id, content)) => {
                    self.log_conflict(&mut growth, content)?;
                    Err(RecordError::Duplicate { entry_id })
                }
                Err(Undo::Stop(stop)) => return Err(stop),
            });
        }
        if growth.head.frontier.size() > self.head.frontier.size() {
            self.sign(&mut growth.head)?;
        }
        Ok((growth, outcomes))
    }

    fn sign(&mut self, head: &mut Head) -> Result<(), Stop> {
        let (size, root) = (head.frontier.size(), head.frontier.root());
        let again = tree::range_root(&mut TileNodes::new(&mut self.connection, &head.edge), 0, size);
        if again.map_err(Stop::Damage)? != root {
            let what = "the tiles do not give the root of the frontier".to_owned();
            return Err(Stop::Damage(SiteError::Tampered { file: "log.db", what }));
        }
        head.note = self.key.sign(size, root).note();
        write_head(&mut self.connection, head, root)?;
        Ok(())
    }

    /// One request within a savepoint: undone alone if it breaks a rule.
    fn serve(&mut self, growth: &mut Growth, request: Request) -> Result<Outcome, Undo> {
        self.connection.batch_execute("SAVEPOINT request")?;
        let served = match request {
            Request::Append(entries) => self.append(growth, entries).map(Outcome::Placed),
            Request::Begin(study) => {
                growth.changed = true;
                work::begin(&mut self.connection, &study).map(Outcome::Begun).map_err(Undo::from)
            }
        };
        match &served {
            Ok(_) => self.connection.batch_execute("RELEASE request")?,
            // The whole transaction ends, if SQLite has not ended it already.
            Err(Undo::Stop(_)) => {}
            Err(_) => self.connection.batch_execute("ROLLBACK TO request; RELEASE request")?,
        }
        served
    }

    /// Places the entries of a request, then lets the tree grow by them.
    fn append(&mut self, growth: &mut Growth, entries: Vec<Prepared>) -> Result<Vec<Placed>, Undo> {
        let mut placed = Vec::with_capacity(entries.len());
        let (mut next, mut last_t_ms) = (growth.head.frontier.size(), growth.head.last_t_ms);
        let mut leaves = Vec::new();
        for prepared in entries {
            let t_ms = prepared.entry.t_ms;
            if let Some(held) = find(&mut self.connection, &prepared.entry.entry_id)? {
                placed.push(same_content(held, &prepared)?);
                continue;
            }
            if t_ms + natural(CLOCK_STEP_MS_MAX) < last_t_ms {
                let step = incident("clock_step", Digest::of(&t_ms.to_be_bytes()), "the clock stepped back");
                let step = self.own(t_ms, step)?;
                leaves.push(self.place(next, step)?.leaf);
                (next, last_t_ms) = (next + 1, t_ms);
            }
            let new = self.place(next, prepared)?;
            leaves.push(new.leaf);
            placed.push(new);
            (next, last_t_ms) = (next + 1, last_t_ms.max(t_ms));
        }
        growth.changed |= !leaves.is_empty();
        growth.head.last_t_ms = last_t_ms;
        self.grow(&mut growth.head, leaves)?;
        Ok(placed)
    }

    /// An entry of the log about itself.
    fn own(&self, t_ms: u64, body: vidimus_log::body::Incident) -> Result<Prepared, Undo> {
        Prepared::new(&self.origin, self.boot, t_ms, Draft::system(new_id(), body)).map_err(Undo::Refused)
    }

    /// Writes the rows of an entry at `index`.
    fn place(&mut self, index: u64, prepared: Prepared) -> Result<Placed, Undo> {
        let refused = |rule| Undo::Refused(RecordError::Refused { rule });
        let Prepared { entry, bytes, leaf, rows } = prepared;
        rules::apply(&mut self.connection, &entry, index).map_err(|breach| match breach {
            Breach::Rule(rule) => refused(rule),
            Breach::Database(error) => Undo::from(error),
        })?;
        insert_entry(&mut self.connection, index, entry.entry_id, leaf, &bytes)?;
        for row in rows {
            rows::write(&mut self.connection, row, index).map_err(|error| match error {
                RowError::Refused(rule) => refused(rule),
                RowError::Database(error) => Undo::from(error),
            })?;
        }
        Ok(Placed { entry_id: entry.entry_id, index, leaf, bytes })
    }

    fn grow(&mut self, head: &mut Head, leaves: Vec<Digest>) -> Result<(), diesel::result::Error> {
        for leaf in leaves {
            head.frontier.push(leaf);
            for full in head.edge.push(leaf) {
                diesel::insert_into(log_tile::table)
                    .values((
                        log_tile::level.eq(i64::from(full.level)),
                        log_tile::n.eq(sql(full.index)),
                        log_tile::data.eq(full.data),
                        log_tile::root.eq(full.root.as_bytes().as_slice()),
                    ))
                    .execute(&mut self.connection)?;
            }
        }
        Ok(())
    }

    /// An id that was used again for other content is an incident of its own, in the same transaction.
    fn log_conflict(&mut self, growth: &mut Growth, content: Digest) -> Result<(), Stop> {
        let text = "an entry_id was used again with other content; the first entry stays";
        let own = self.own(growth.head.last_t_ms, incident("duplicate_id", content, text));
        match own.and_then(|own| self.append(growth, vec![own])) {
            Ok(_) => Ok(()),
            Err(Undo::Stop(stop)) => Err(stop),
            Err(Undo::Refused(_) | Undo::Conflict(..)) => {
                let what = "an incident could not be recorded".to_owned();
                Err(Stop::Damage(SiteError::Tampered { file: "log.db", what }))
            }
        }
    }

    /// The answers to a batch of which nothing was committed, or whose outcome is in doubt.
    fn stopped(&mut self, stop: Stop, count: usize) -> Vec<Result<Done, RecordError>> {
        type Make = fn(Box<dyn std::error::Error + Send + Sync>) -> RecordError;
        let (text, make): (String, Make) = match stop {
            Stop::Damage(error) => {
                let text = error.to_string();
                self.damage(&error);
                (text, RecordError::Fenced)
            }
            Stop::Database(error) => {
                let make: Make = match trouble(&error) {
                    Trouble::Busy => RecordError::Busy,
                    Trouble::Full => RecordError::DiskFull,
                    Trouble::Doubt => {
                        tracing::error!(error = %error, "log fenced: the outcome of a write is in doubt");
                        let why = "the outcome of an earlier write is in doubt: restart the program";
                        self.fence = Some(why.to_owned());
                        RecordError::Fenced
                    }
                };
                (error.to_string(), make)
            }
        };
        (0..count).map(|_| Err(make(text.as_str().into()))).collect()
    }

    /// The log differs from what this process knows: it is read-only from now on.
    pub(crate) fn damage(&mut self, error: &SiteError) {
        tracing::error!(error = %error, "log fenced: it differs from what this process knows");
        self.fence = Some("the log differs from what this process wrote: restart the program".to_owned());
    }

    /// The anchor follows the commit; should it fail, the commit stands and an older anchor stays true.
    fn write_anchor(&mut self) {
        let (size, root) = (self.head.frontier.size(), self.head.frontier.root());
        if let Err(error) = self.anchor.write(size, root, &self.head.note) {
            tracing::warn!(error = %error, "the anchor file was not written");
        }
    }
}

/// The entry that holds the id already, if it is the same but for time, trace and boot.
fn same_content(held: Placed, again: &Prepared) -> Result<Placed, Undo> {
    let invalid = |error| Undo::Refused(RecordError::Invalid(error));
    let content = again.entry.content_digest().map_err(invalid)?;
    let same = Entry::parse(&held.bytes).and_then(|held| held.content_digest()).map_err(invalid)? == content;
    if same { Ok(held) } else { Err(Undo::Conflict(again.entry.entry_id, content)) }
}
