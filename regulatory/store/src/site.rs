//! A site: one folder with its log, vault, registry, keys and models, held by one writing process.
//! `log.vkey` (the public key), `log.policy`, `log.db`, `vault.db`, `anchor.tlog`, `lock`, and the folders `keys`
//! (0700), `objects` (sealed files) and `models`.
//! Errors: [`SiteError`]. Source: AUDIT_LOG sections 5 to 8.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use diesel::{RunQueryDsl as _, SqliteConnection, connection::SimpleConnection as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use vidimus_log::{Digest, Draft, EntryId, LogFacts, Receipt, RecordError, Recorder, body, note::VerifyingKey, tile};

use crate::{
    AppendLatency, Row, SiteError, Vault, audit, check,
    keys::Secret,
    log::{self, Head, new_id},
    nodes::{self, Published},
    reads::Reads,
    sequencer::Sequencer,
};

/// An open site. All methods may be called from any thread. Reading waits neither for writing nor for other reading.
pub struct Site {
    pub(crate) dir: PathBuf,
    pub(crate) key: VerifyingKey,
    pub(crate) index_key: Secret,
    // Closed before the writer, whose connection is the last one and empties the write-ahead log.
    pub(crate) reads: Reads,
    pub(crate) writer: Option<Sequencer>,
    pub(crate) seen: Mutex<Arc<Head>>,
    pub(crate) vault: Vault,
    pub(crate) _lock: Option<File>,
}

impl Site {
    /// The newest head that this process knows: the committed one of a writer, the last one that a reader has seen.
    fn head(&self) -> Arc<Head> {
        match &self.writer {
            Some(writer) => writer.newest(),
            None => Arc::clone(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Reads on one snapshot under a head that holds all of it: a reader's follows the process that writes.
    fn at_newest<T>(
        &self,
        read: impl FnOnce(&mut SqliteConnection, &Head) -> Result<T, SiteError>,
    ) -> Result<T, SiteError> {
        self.reads.take()?.snapshot(|connection| {
            let head = Arc::new(check::head(connection, &self.key)?);
            if self.writer.is_none() {
                *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&head);
            }
            read(connection, &head)
        })
    }

    fn writer(&self) -> Result<&Sequencer, RecordError> {
        let why = || RecordError::ReadOnly { why: "the site was opened for reading".to_owned() };
        self.writer.as_ref().ok_or_else(why)
    }

    /// The site's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        self.key.name()
    }

    /// The log's public key.
    pub const fn verifying_key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The vault.
    pub const fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The keyed hash (HMAC-SHA-256) under which `value` is found in the registry; `label` says what sort it is.
    pub fn keyed(&self, label: &str, value: &[u8]) -> Digest {
        // RFC 2104: a key shorter than the block is filled with zeros.
        let mut block = zeroize::Zeroizing::new([0_u8; 64]);
        for (to, from) in block.iter_mut().zip(self.index_key.iter()) {
            *to = *from;
        }
        let mut mac = Hmac::<Sha256>::new(&(*block).into());
        for part in [b"vidimus/index/v1\n", label.as_bytes(), b"\n", value] {
            mac.update(part);
        }
        Digest::from_bytes(mac.finalize().into_bytes().into())
    }

    /// Appends a draft and its registry rows in one transaction.
    pub fn record_with(&self, draft: Draft, rows: Vec<Row>) -> Result<Receipt, RecordError> {
        self.record_all(vec![(draft, rows)])?.pop().ok_or_else(|| RecordError::Refused { rule: "no draft".to_owned() })
    }

    /// Appends several drafts in one transaction: all or none. A later draft may refer to an earlier one only by the
    /// receipt of an earlier call.
    pub fn record_all(&self, drafts: Vec<(Draft, Vec<Row>)>) -> Result<Vec<Receipt>, RecordError> {
        self.writer()?.append(&self.reads, drafts)
    }

    /// Whether log and vault are written: the site was opened for writing, and no write's outcome is in doubt.
    pub fn takes_entries(&self) -> bool {
        self.writer.as_ref().is_some_and(Sequencer::takes_entries) && self.vault.takes_documents()
    }

    /// Number of entries; for a reader those at its opening or its last receipt.
    pub fn size(&self) -> u64 {
        self.head().frontier.size()
    }

    /// The bytes of entry `index`.
    pub fn entry(&self, index: u64) -> Result<Vec<u8>, SiteError> {
        let mut found = self.entries(index..index.saturating_add(1))?;
        let missing = || SiteError::Fact { what: "index", why: format!("there is no entry {index}") };
        found.pop().ok_or_else(missing)
    }

    /// The bytes of the entries in `range`, as far as the log goes.
    pub fn entries(&self, range: std::ops::Range<u64>) -> Result<Vec<Vec<u8>>, SiteError> {
        nodes::bodies(&mut *self.reads.take()?, range.start, range.end)
    }

    /// The index of an entry.
    pub fn find(&self, id: &EntryId) -> Result<Option<u64>, SiteError> {
        nodes::index_of(&mut *self.reads.take()?, id)
    }

    /// The receipt of an entry under the newest checkpoint.
    pub fn receipt(&self, id: &EntryId) -> Result<Receipt, SiteError> {
        let find = |connection: &mut SqliteConnection| {
            let found = log::find(connection, id).map_err(SiteError::database("log.db", "read the log"))?;
            found.ok_or(SiteError::NoSuchEntry { entry_id: *id })
        };
        if let Some(writer) = &self.writer {
            let mut connection = self.reads.take()?;
            let (found, head) = (find(&mut connection)?, writer.newest());
            // Between a commit and its answers the file is ahead of memory: then the snapshot below has the head.
            if found.index < head.frontier.size() {
                return log::receipt(&mut connection, &head, found);
            }
        }
        self.at_newest(|connection, head| {
            let found = find(connection)?;
            log::receipt(connection, head, found)
        })
    }

    /// The newest signed checkpoint; for a reader the one at its opening or its last receipt.
    pub fn checkpoint(&self) -> String {
        self.head().note.clone()
    }

    /// A published file of the log (`checkpoint`, `tile/..`, `tile/entries/..`); `None` for any other path.
    pub fn published(&self, path: &str) -> Result<Option<Vec<u8>>, SiteError> {
        Published(&mut *self.reads.take()?).file(path)
    }

    /// Writes the log as a folder of C2SP tlog-tiles: bundles, tiles, and the checkpoint last.
    pub fn write_tiles(&self, out: &Path) -> Result<(), SiteError> {
        self.at_newest(|connection, head| {
            let size = head.frontier.size();
            let mut published = Published(connection);
            let mut paths: Vec<String> =
                tile::tiles_at(size, 0).map(|(n, width)| tile::bundle_path(n, width)).collect();
            for level in 0..tile::LEVELS_MAX {
                paths.extend(tile::tiles_at(size, level).map(|(n, width)| tile::path(level, n, width)));
            }
            for path in paths {
                let missing = || SiteError::Tampered { file: "log.db", what: format!("{path} cannot be cut from it") };
                let bytes = published.file(&path)?.ok_or_else(missing)?;
                write_public(&out.join(&path), &bytes)?;
            }
            write_public(&out.join("checkpoint"), head.note.as_bytes())
        })
    }

    /// Verifies the whole log from the database, on a snapshot of its own, and the anchor.
    pub fn verify(&self) -> Result<LogFacts, SiteError> {
        audit::verify(&self.dir, &self.key)
    }

    /// Counts, durably, that a worker begins with the study that waits; returns how often one has. 0 if none waits.
    pub fn work_begin(&self, study: &Digest) -> Result<u32, RecordError> {
        self.writer()?.begin(study)
    }

    /// How long durable appends took, and how many entries came in how many transactions; nothing for a reader.
    pub fn append_latency(&self) -> AppendLatency {
        self.writer.as_ref().map(Sequencer::latency).unwrap_or_default()
    }

    /// Limits the log's file to so many pages of 4,096 bytes (a quota); an append beyond it is `DiskFull`.
    pub fn limit_pages(&self, pages: u32) -> Result<(), SiteError> {
        let limit = format!("PRAGMA max_page_count={pages}");
        let mut log = self.writer()?.log();
        log.connection.batch_execute(&limit).map_err(SiteError::database("log.db", "limit the file"))
    }

    /// Announces the end of the process, makes the anchor durable and empties the write-ahead log.
    pub fn shutdown(&self, reason: &str) -> Result<(), SiteError> {
        let body = body::Shutdown { reason: reason.into(), last_size: self.size() };
        self.record(Draft::system(new_id(), body))?;
        let mut log = self.writer()?.log();
        // Busy with a reader: the log stays in the write-ahead file, as durable as before.
        let _ = diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut log.connection);
        log.anchor.sync()
    }
}

impl Recorder for Site {
    fn new_id(&self) -> EntryId {
        new_id()
    }

    fn record(&self, draft: Draft) -> Result<Receipt, RecordError> {
        self.record_with(draft, Vec::new())
    }
}

fn write_public(path: &Path, bytes: &[u8]) -> Result<(), SiteError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(SiteError::io("make the folder", folder))?;
    }
    std::fs::write(path, bytes).map_err(SiteError::io("write", path))
}
