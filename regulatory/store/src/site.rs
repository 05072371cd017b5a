//! A site: one folder with its log, vault, registry, keys and models, held by one writing process.
//! `log.vkey` (the public key), `log.policy`, `log.db`, `vault.db`, `anchor.tlog`, `lock`, and the folders `keys`
//! (0700), `objects` (sealed files) and `models`.
//! Errors: [`SiteError`]. Source: AUDIT_LOG sections 5 to 8.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, connection::SimpleConnection as _,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use vidimus_log::{Digest, Draft, EntryId, LogFacts, Receipt, RecordError, Recorder, body, note::VerifyingKey, tile};

use crate::{
    Row, SiteError, Vault, audit,
    keys::Secret,
    log::{Log, new_id},
    nodes::{self, Published, natural},
    opening::read_head,
    tables::log_entry,
};

/// An open site. All methods may be called from any thread.
pub struct Site {
    pub(crate) dir: PathBuf,
    pub(crate) key: VerifyingKey,
    pub(crate) index_key: Secret,
    pub(crate) log: Mutex<Log>,
    pub(crate) vault: Vault,
    pub(crate) _lock: Option<File>,
}

impl Site {
    /// A panic within an append leaves its outcome in doubt: the log is read-only from then on.
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(|poisoned| {
            let mut log = poisoned.into_inner();
            log.fence = Some("a panic left the outcome of a write in doubt: restart the program".to_owned());
            log
        })
    }

    /// The log with its newest head: a reader's follows the process that writes.
    fn newest(&self) -> Result<MutexGuard<'_, Log>, SiteError> {
        let mut log = self.log();
        if log.writer.is_none() {
            log.head = read_head(&mut log.connection, &self.key)?;
        }
        Ok(log)
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
        self.log().append(drafts)
    }

    /// Number of entries; for a reader those at its opening or its last receipt.
    pub fn size(&self) -> u64 {
        self.log().head.frontier.size()
    }

    /// The bytes of entry `index`.
    pub fn entry(&self, index: u64) -> Result<Vec<u8>, SiteError> {
        let mut found = self.entries(index..index.saturating_add(1))?;
        let missing = || SiteError::Fact { what: "index", why: format!("there is no entry {index}") };
        found.pop().ok_or_else(missing)
    }

    /// The bytes of the entries in `range`, as far as the log goes.
    pub fn entries(&self, range: std::ops::Range<u64>) -> Result<Vec<Vec<u8>>, SiteError> {
        nodes::bodies(&mut self.log().connection, range.start, range.end)
    }

    /// The index of an entry.
    pub fn find(&self, id: &EntryId) -> Result<Option<u64>, SiteError> {
        let row: Option<i64> = log_entry::table
            .filter(log_entry::entry_id.eq(id.as_bytes().as_slice()))
            .select(log_entry::idx)
            .first(&mut self.log().connection)
            .optional()
            .map_err(SiteError::database("log.db", "read the log"))?;
        Ok(row.map(natural))
    }

    /// The receipt of an entry under the newest checkpoint.
    pub fn receipt(&self, id: &EntryId) -> Result<Receipt, SiteError> {
        self.newest()?.receipt(id)
    }

    /// The newest signed checkpoint; for a reader the one at its opening or its last receipt.
    pub fn checkpoint(&self) -> String {
        self.log().head.note.clone()
    }

    /// A published file of the log (`checkpoint`, `tile/..`, `tile/entries/..`); `None` for any other path.
    pub fn published(&self, path: &str) -> Result<Option<Vec<u8>>, SiteError> {
        Published(&mut self.log().connection).file(path)
    }

    /// Writes the log as a folder of C2SP tlog-tiles: bundles, tiles, and the checkpoint last.
    pub fn write_tiles(&self, out: &Path) -> Result<(), SiteError> {
        let mut log = self.newest()?;
        let size = log.head.frontier.size();
        let note = log.head.note.clone();
        let mut published = Published(&mut log.connection);
        let mut paths: Vec<String> = tile::tiles_at(size, 0).map(|(n, width)| tile::bundle_path(n, width)).collect();
        for level in 0..tile::LEVELS_MAX {
            paths.extend(tile::tiles_at(size, level).map(|(n, width)| tile::path(level, n, width)));
        }
        for path in paths {
            let missing = || SiteError::Tampered { file: "log.db", what: format!("{path} cannot be cut from it") };
            let bytes = published.file(&path)?.ok_or_else(missing)?;
            write_public(&out.join(&path), &bytes)?;
        }
        write_public(&out.join("checkpoint"), note.as_bytes())
    }

    /// Verifies the whole log from the database, on a snapshot of its own, and the anchor.
    pub fn verify(&self) -> Result<LogFacts, SiteError> {
        audit::verify(&self.dir, &self.key)
    }

    /// Counts, durably, that a worker begins with the study that waits; returns how often one has. 0 if none waits.
    pub fn work_begin(&self, study: &Digest) -> Result<u32, RecordError> {
        self.log().work_begin(study)
    }

    /// Limits the log's file to so many pages of 4,096 bytes (a quota); an append beyond it is `DiskFull`.
    pub fn limit_pages(&self, pages: u32) -> Result<(), SiteError> {
        let limit = format!("PRAGMA max_page_count={pages}");
        self.log().connection.batch_execute(&limit).map_err(SiteError::database("log.db", "limit the file"))
    }

    /// Announces the end of the process, makes the anchor durable and empties the write-ahead log.
    pub fn shutdown(&self, reason: &str) -> Result<(), SiteError> {
        let body = body::Shutdown { reason: reason.into(), last_size: self.size() };
        self.record(Draft::system(new_id(), body))?;
        let mut log = self.log();
        // Busy with a reader: the log stays in the write-ahead file, as durable as before.
        let _ = diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut log.connection);
        log.writer.as_mut().map_or(Ok(()), |writer| writer.anchor.sync())
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
