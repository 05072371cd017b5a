//! The sequencer: one `IMMEDIATE` transaction holds entry, tiles, head and registry rows under a fresh signature; the
//! receipt is made after COMMIT. On doubt about an outcome the log fences itself: read-only until a restart checks it.
//! Errors: `RecordError`, each saying whether to correct, retry or restart. Source: AUDIT_LOG section 6.

use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _,
};
use vidimus_log::{
    Actor, Body, Digest, Draft, Entry, EntryId, Receipt, RecordError, body, leaf_hash,
    limits::CLOCK_STEP_MS_MAX,
    note::SigningKey,
    tile::Edge,
    tree::{self, Frontier},
};

use crate::{
    Row, SiteError,
    anchor::Anchor,
    error::{Trouble, trouble},
    nodes::{self, TileNodes, natural, sql},
    rows,
    rows::RowError,
    rules,
    rules::Breach,
    tables::{log_entry, log_head, log_tile},
    work,
};

/// The newest state of the log.
#[derive(Clone)]
pub(crate) struct Head {
    pub(crate) frontier: Frontier,
    pub(crate) edge: Edge,
    pub(crate) note: String,
    pub(crate) last_t_ms: u64,
}

/// The log of a site. With a key and an anchor it appends, without it reads.
pub(crate) struct Log {
    pub(crate) connection: SqliteConnection,
    pub(crate) origin: String,
    pub(crate) head: Head,
    pub(crate) boot: Option<EntryId>,
    pub(crate) writer: Option<Writer>,
    pub(crate) fence: Option<String>,
    pub(crate) clock: fn() -> u64,
}

/// What only the writing process has.
pub(crate) struct Writer {
    pub(crate) key: SigningKey,
    pub(crate) anchor: Anchor,
}

/// Why a transaction was not committed.
enum Stop {
    Record(RecordError),
    Conflict(EntryId, Digest),
    Database(diesel::result::Error),
    Damage(SiteError),
}

impl From<diesel::result::Error> for Stop {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error)
    }
}

impl Log {
    /// Appends drafts with their rows in one transaction; all or none.
    pub(crate) fn append(&mut self, drafts: Vec<(Draft, Vec<Row>)>) -> Result<Vec<Receipt>, RecordError> {
        if let Some(why) = &self.fence {
            return Err(RecordError::ReadOnly { why: why.clone() });
        }
        if self.writer.is_none() {
            return Err(RecordError::ReadOnly { why: "the site was opened for reading".to_owned() });
        }
        let ids: Vec<EntryId> = drafts.iter().map(|(draft, _)| draft.entry_id).collect();
        match self.transaction(drafts) {
            Ok(()) => {
                ids.iter().map(|id| self.receipt(id)).collect::<Result<_, _>>().map_err(|error| self.damage(error))
            }
            Err(Stop::Conflict(entry_id, content)) => {
                self.log_conflict(content)?;
                Err(RecordError::Duplicate { entry_id })
            }
            Err(Stop::Record(error)) => Err(error),
            Err(Stop::Damage(error)) => Err(self.damage(error)),
            Err(Stop::Database(error)) => Err(self.classify(error)),
        }
    }

    /// Counts an attempt with a study that waits: one statement, a transaction of its own.
    pub(crate) fn work_begin(&mut self, study: &Digest) -> Result<u32, RecordError> {
        if let Some(why) = &self.fence {
            return Err(RecordError::ReadOnly { why: why.clone() });
        }
        if self.writer.is_none() {
            return Err(RecordError::ReadOnly { why: "the site was opened for reading".to_owned() });
        }
        work::begin(&mut self.connection, study).map_err(|error| self.classify(error))
    }

    fn transaction(&mut self, drafts: Vec<(Draft, Vec<Row>)>) -> Result<(), Stop> {
        self.connection.batch_execute("BEGIN IMMEDIATE")?;
        let committed = self.fill(drafts).and_then(|head| match head {
            Some(head) => {
                self.connection.batch_execute("COMMIT")?;
                Ok(Some(head))
            }
            None => Ok(None),
        });
        match committed {
            Ok(Some(head)) => {
                self.head = head;
                self.anchor();
                Ok(())
            }
            other => {
                // SQLite may have rolled back already (disk full): then this says so, which is no error here.
                let _ = self.connection.batch_execute("ROLLBACK");
                self.compare_head()?;
                other.map(|_| ())
            }
        }
    }

    /// After a roll-back the file must hold the state that memory holds.
    fn compare_head(&mut self) -> Result<(), Stop> {
        let (size, note): (i64, String) =
            log_head::table.select((log_head::size, log_head::note)).first(&mut self.connection)?;
        if natural(size) == self.head.frontier.size() && note == self.head.note {
            return Ok(());
        }
        let what = "the head differs from the last one that this process wrote".to_owned();
        Err(Stop::Damage(SiteError::Tampered { file: "log.db", what }))
    }

    /// Writes the rows of new drafts; `None` if there are none.
    fn fill(&mut self, drafts: Vec<(Draft, Vec<Row>)>) -> Result<Option<Head>, Stop> {
        self.compare_head()?;
        let mut head = self.head.clone();
        let now_ms = (self.clock)();
        if now_ms + natural(CLOCK_STEP_MS_MAX) < head.last_t_ms {
            let step = incident("clock_step", Digest::of(&now_ms.to_be_bytes()), "the clock stepped back");
            self.push(&mut head, Draft::system(new_id(), step), &[], now_ms)?;
            head.last_t_ms = now_ms;
        }
        for (draft, rows) in drafts {
            self.push(&mut head, draft, &rows, now_ms)?;
        }
        if head.frontier.size() == self.head.frontier.size() {
            return Ok(None);
        }
        head.last_t_ms = head.last_t_ms.max(now_ms);
        let root = head.frontier.root();
        let Some(writer) = &self.writer else {
            return Err(Stop::Record(RecordError::ReadOnly { why: "the site was opened for reading".to_owned() }));
        };
        let mut nodes = TileNodes::new(&mut self.connection, &head.edge);
        let again = tree::range_root(&mut nodes, 0, head.frontier.size()).map_err(Stop::Damage)?;
        if again != root {
            let what = "the tiles do not give the root of the frontier".to_owned();
            return Err(Stop::Damage(SiteError::Tampered { file: "log.db", what }));
        }
        head.note = writer.key.sign(head.frontier.size(), root).note();
        write_head(&mut self.connection, &head, root)?;
        Ok(Some(head))
    }

    fn push(&mut self, head: &mut Head, draft: Draft, rows: &[Row], t_ms: u64) -> Result<(), Stop> {
        let invalid = |error| Stop::Record(RecordError::Invalid(error));
        let refused = |rule| Stop::Record(RecordError::Refused { rule });
        let boot = if matches!(draft.body, Body::Boot(_)) { Some(draft.entry_id) } else { self.boot };
        let Draft { entry_id, actor, refs, body, trace } = draft;
        let entry = Entry { log: self.origin.clone(), entry_id, t_ms, boot, trace, actor, refs, body };
        let bytes = entry.to_bytes().map_err(invalid)?;
        let content = entry.content_digest().map_err(invalid)?;
        let held: Option<Vec<u8>> = log_entry::table
            .filter(log_entry::entry_id.eq(entry_id.as_bytes().as_slice()))
            .select(log_entry::body)
            .first(&mut self.connection)
            .optional()?;
        if let Some(held) = held {
            let same = Entry::parse(&held).and_then(|held| held.content_digest()).map_err(invalid)? == content;
            return if same { Ok(()) } else { Err(Stop::Conflict(entry_id, content)) };
        }
        let index = head.frontier.size();
        rules::apply(&mut self.connection, &entry, index).map_err(|breach| match breach {
            Breach::Rule(rule) => refused(rule),
            Breach::Database(error) => Stop::Database(error),
        })?;
        let leaf = leaf_hash(&bytes);
        insert_entry(&mut self.connection, index, entry_id, leaf, bytes)?;
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
        for row in rows {
            rows::write(&mut self.connection, row.clone(), index).map_err(|error| match error {
                RowError::Refused(rule) => refused(rule),
                RowError::Database(error) => Stop::Database(error),
            })?;
        }
        Ok(())
    }

    fn log_conflict(&mut self, content: Digest) -> Result<(), RecordError> {
        let text = "an entry_id was used again with other content; the first entry stays";
        let draft = Draft::system(new_id(), incident("duplicate_id", content, text));
        self.append(vec![(draft, Vec::new())]).map(|_| ())
    }

    fn classify(&mut self, error: diesel::result::Error) -> RecordError {
        match trouble(&error) {
            Trouble::Busy => RecordError::Busy(Box::new(error)),
            Trouble::Full => RecordError::DiskFull(Box::new(error)),
            Trouble::Doubt => {
                tracing::error!(error = %error, "log fenced: the outcome of a write is in doubt");
                self.fence = Some("the outcome of an earlier write is in doubt: restart the program".to_owned());
                RecordError::Fenced(Box::new(error))
            }
        }
    }

    fn damage(&mut self, error: SiteError) -> RecordError {
        tracing::error!(error = %error, "log fenced: it differs from what this process knows");
        self.fence = Some("the log differs from what this process wrote: restart the program".to_owned());
        RecordError::Fenced(Box::new(error))
    }

    /// The anchor follows the commit; should it fail, the commit stands and an older anchor stays true.
    fn anchor(&mut self) {
        let (size, root) = (self.head.frontier.size(), self.head.frontier.root());
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.anchor.write(size, root, &self.head.note)
        {
            tracing::warn!(error = %error, "the anchor file was not written");
        }
    }

    /// The receipt of an entry under the newest checkpoint.
    pub(crate) fn receipt(&mut self, id: &EntryId) -> Result<Receipt, SiteError> {
        let row: Option<(i64, Vec<u8>, Vec<u8>)> = log_entry::table
            .filter(log_entry::entry_id.eq(id.as_bytes().as_slice()))
            .select((log_entry::idx, log_entry::leaf, log_entry::body))
            .first(&mut self.connection)
            .optional()
            .map_err(SiteError::database("log.db", "read the log"))?;
        let (index, leaf, entry) = row.ok_or(SiteError::NoSuchEntry { entry_id: *id })?;
        let (index, tree_size) = (natural(index), self.head.frontier.size());
        let mut nodes = TileNodes::new(&mut self.connection, &self.head.edge);
        let proof = tree::inclusion_proof(&mut nodes, index, tree_size)?;
        let leaf = nodes::digest(&leaf, "a leaf")?;
        let included = tree::verify_inclusion(&leaf, index, tree_size, &proof, &self.head.frontier.root());
        if leaf != leaf_hash(&entry) || !included {
            return Err(SiteError::Tampered { file: "log.db", what: format!("entry {index} is not in its tree") });
        }
        Ok(Receipt { entry_id: *id, index, leaf, tree_size, entry, proof, checkpoint: self.head.note.clone() })
    }
}

/// Writes the first entry of a log and its head in one transaction; returns the signed note and the root.
pub(crate) fn first(
    connection: &mut SqliteConnection,
    origin: &str,
    key: &SigningKey,
    body: body::SiteOpened,
) -> Result<(String, Digest), SiteError> {
    let t_ms = now_ms();
    let entry = Entry {
        log: origin.to_owned(),
        entry_id: new_id(),
        t_ms,
        boot: None,
        trace: None,
        actor: Actor::system(),
        refs: Vec::new(),
        body: body.into(),
    };
    let bytes = entry.to_bytes().map_err(RecordError::Invalid)?;
    let leaf = leaf_hash(&bytes);
    let (mut frontier, mut edge) = (Frontier::default(), Edge::default());
    frontier.push(leaf);
    edge.push(leaf);
    let root = frontier.root();
    let head = Head { frontier, edge, note: key.sign(1, root).note(), last_t_ms: t_ms };
    let failed = SiteError::database("log.db", "write the first entry");
    connection.batch_execute("BEGIN IMMEDIATE").map_err(&failed)?;
    insert_entry(connection, 0, entry.entry_id, leaf, bytes).map_err(&failed)?;
    write_head(connection, &head, root).map_err(&failed)?;
    connection.batch_execute("COMMIT").map_err(&failed)?;
    Ok((head.note, root))
}

fn insert_entry(
    connection: &mut SqliteConnection,
    index: u64,
    id: EntryId,
    leaf: Digest,
    bytes: Vec<u8>,
) -> Result<usize, diesel::result::Error> {
    diesel::insert_into(log_entry::table)
        .values((
            log_entry::idx.eq(sql(index)),
            log_entry::entry_id.eq(id.as_bytes().as_slice()),
            log_entry::leaf.eq(leaf.as_bytes().as_slice()),
            log_entry::body.eq(bytes),
        ))
        .execute(connection)
}

fn write_head(connection: &mut SqliteConnection, head: &Head, root: Digest) -> Result<(), diesel::result::Error> {
    let frontier: Vec<u8> = head.frontier.hashes().iter().flat_map(|hash| *hash.as_bytes()).collect();
    let values = (
        log_head::size.eq(sql(head.frontier.size())),
        log_head::root.eq(root.as_bytes().as_slice()),
        log_head::frontier.eq(frontier),
        log_head::note.eq(&head.note),
        log_head::last_t_ms.eq(sql(head.last_t_ms)),
    );
    let rows = diesel::update(log_head::table).set(values.clone()).execute(connection)?;
    if rows == 0 {
        diesel::insert_into(log_head::table).values((log_head::one.eq(1_i64), values)).execute(connection)?;
    }
    Ok(())
}

/// An incident of the program's own.
pub(crate) fn incident(code: &str, detail: Digest, text: &str) -> body::Incident {
    body::Incident { code: code.into(), severity: "warning".into(), detail: detail.into(), text: text.into() }
}

/// A fresh id.
pub(crate) fn new_id() -> EntryId {
    loop {
        if let Ok(id) = EntryId::from_uuid(uuid::Uuid::now_v7()) {
            return id;
        }
    }
}

/// UTC milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BootFacts, Site, SiteFacts};

    /// Proves: REQ-STO-012
    #[test]
    fn a_clock_that_steps_back_is_an_incident_before_the_entry() {
        let dir = tempfile::TempDir::new().unwrap();
        let facts =
            SiteFacts { site: "t".into(), domain: "t.example".into(), log_code: None, opened_by: "tests".into() };
        Site::create(dir.path(), &facts).unwrap();
        let boot = BootFacts {
            binary: Digest::of(b"binary"),
            version: "1".into(),
            config: Digest::of(b"config"),
            host: "test".into(),
            backend: "cpu".into(),
        };
        let site = Site::open(dir.path(), &boot).unwrap();
        let append = || site.record_with(Draft::system(new_id(), incident("test", Digest::of(b""), "x")), vec![]);
        site.log().clock = || now_ms() - 50_000;
        assert_eq!(append().unwrap().index, 2, "within a minute: no incident");
        site.log().clock = || now_ms() - 3_600_000;
        assert_eq!(append().unwrap().index, 4);
        assert!(String::from_utf8(site.entry(3).unwrap()).unwrap().contains("\"code\":\"clock_step\""));
        assert_eq!(append().unwrap().index, 5, "one step, one incident");
        site.log().clock = now_ms;
        assert_eq!(append().unwrap().index, 6);
        site.verify().unwrap();
    }
}
