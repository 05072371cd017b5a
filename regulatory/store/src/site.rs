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
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use vidimus_log::{
    Actor, Body, Digest, Draft, Entry, EntryId, LogFacts, Receipt, RecordError, Recorder, body, leaf_hash,
    note::{SigningKey, VerifyingKey, is_origin},
    schema, tile,
};

use crate::{
    InstanceRow, ModelRow, ReadingRow, Row, SiteError, Vault, anchor,
    anchor::Anchor,
    audit, check, database, files, keys,
    keys::Secret,
    log::{Head, Log, Writer, new_id},
    nodes::{self, Published, natural},
    registry,
    tables::{log_entry, log_meta, open_intent},
};

/// What a site is, once for ever.
#[derive(Clone, Debug)]
pub struct SiteFacts {
    /// The site's code.
    pub site: String,
    /// The site's domain: the first part of the log's origin, `<domain>/vidimus/<log code>`.
    pub domain: String,
    /// The log's code; `None` draws a random one, so that no origin is ever used twice.
    pub log_code: Option<String>,
    /// Who opens it, a code.
    pub opened_by: String,
}

/// What a process is: software, configuration, host.
#[derive(Clone, Debug)]
pub struct BootFacts {
    /// Digest of the program's file.
    pub binary: Digest,
    /// The program's version.
    pub version: String,
    /// Digest of the configuration without its secrets.
    pub config: Digest,
    /// Code of the host.
    pub host: String,
    /// Code of the computing backend.
    pub backend: String,
}

/// An open site. All methods may be called from any thread.
pub struct Site {
    dir: PathBuf,
    key: VerifyingKey,
    index_key: Secret,
    log: Mutex<Log>,
    vault: Vault,
    _lock: Option<File>,
}

impl Site {
    /// Makes a site in `dir` with the first entry of its log. A making that was interrupted leaves no `log.vkey`, and
    /// [`Site::open`] says so.
    pub fn create(dir: &Path, facts: &SiteFacts) -> Result<(), SiteError> {
        files::make_folder(dir)?;
        let _lock = files::lock(dir)?;
        if ["log.vkey", database::LOG.file, "keys"].iter().any(|name| dir.join(name).exists()) {
            return Err(SiteError::Exists { dir: dir.to_owned() });
        }
        let code = match &facts.log_code {
            Some(code) => code.clone(),
            None => format!("{:016x}", u64::from_be_bytes(files::random().ok_or(SiteError::Randomness)?)),
        };
        let origin = format!("{}/vidimus/{code}", facts.domain);
        if !is_origin(&origin) {
            return Err(SiteError::Fact { what: "domain or log code", why: format!("{origin} is no origin") });
        }
        for folder in ["keys", "objects", "models"] {
            files::make_folder(&dir.join(folder))?;
        }
        keys::make(&dir.join("keys").join("log.key"))?;
        keys::make(&dir.join("keys").join("index.key"))?;
        keys::make(&dir.join("keys").join("kek.1"))?;
        let key = keys::signing(dir, &origin)?;
        let vkey = key.verifying_key().text();
        let policy = format!("log {vkey}\nquorum none\n");
        database::make(dir, &database::VAULT)?;
        database::make(dir, &database::LOG)?;
        let body = body::SiteOpened {
            site: facts.site.as_str().into(),
            policy: Digest::of(policy.as_bytes()).into(),
            vkeys: vec![vkey.as_str().into()],
            schema: schema::digest().into(),
            vault: "local".into(),
            opened_by: facts.opened_by.as_str().into(),
            previous: None,
        };
        first_entry(dir, &origin, &key, body)?;
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            files::write_whole(&path, text.as_bytes()).map_err(SiteError::io("write", &path))
        };
        write("log.policy", policy)?;
        write("log.vkey", format!("{vkey}\n"))
    }

    /// Opens the site for work: takes its lock, checks the log, announces this process and closes what an earlier one
    /// left open.
    pub fn open(dir: &Path, boot: &BootFacts) -> Result<Self, SiteError> {
        let vkey = read_vkey(dir)?;
        let lock = files::lock(dir)?;
        files::refuse_others(dir, 0o022, "write the site's folder")?;
        files::refuse_others(&dir.join("keys"), 0o077, "enter the folder of keys")?;
        let mut connection = database::open(dir, &database::LOG)?;
        let head = check::head(&mut connection, &vkey)?;
        check::tail(&mut connection, head.frontier.size())?;
        check::anchor(&anchor::read(dir)?, &mut connection, &head)?;
        check::policy(dir, &mut connection, &vkey)?;
        database::probe(&mut connection)?;
        let key = keys::signing(dir, vkey.name())?;
        if key.verifying_key() != vkey {
            let why = "it does not belong to log.vkey".to_owned();
            return Err(SiteError::Fact { what: "keys/log.key", why });
        }
        let (version, settings) = database::facts(&mut connection)?;
        let anchor = Anchor::open(dir)?;
        let body = body::Boot {
            binary: boot.binary.into(),
            version: boot.version.as_str().into(),
            config: boot.config.into(),
            host: boot.host.as_str().into(),
            backend: boot.backend.as_str().into(),
            db: body::Database { engine: "sqlite".into(), version: version.into(), settings: settings.into() },
            prev_size: head.frontier.size(),
            anchor_size: anchor.newest().size,
        };
        let vault = database::open(dir, &database::VAULT)?;
        let kek = keys::read(&dir.join("keys").join("kek.1"))?;
        let writer = Some(Writer { key, anchor });
        let log = Log { connection, origin: vkey.name().to_owned(), head, boot: None, writer, fence: None };
        let site = Self {
            dir: dir.to_owned(),
            index_key: keys::read(&dir.join("keys").join("index.key"))?,
            vault: Vault::new(vault, dir, vkey.name(), kek, true),
            key: vkey,
            log: Mutex::new(log),
            _lock: Some(lock),
        };
        let receipt = site.record(Draft::system(new_id(), body))?;
        site.log().boot = Some(receipt.entry_id);
        site.close_interrupted()?;
        Ok(site)
    }

    /// Opens the site for reading, beside a process that writes it: nothing is appended, nothing can be.
    pub fn open_read(dir: &Path) -> Result<Self, SiteError> {
        let key = read_vkey(dir)?;
        let mut connection = database::open_read(dir, &database::LOG)?;
        let head = read_head(&mut connection, &key)?;
        let vault = database::open_read(dir, &database::VAULT)?;
        let kek = keys::read(&dir.join("keys").join("kek.1"))?;
        let origin = key.name().to_owned();
        let log = Log { connection, origin, head, boot: None, writer: None, fence: None };
        Ok(Self {
            dir: dir.to_owned(),
            index_key: keys::read(&dir.join("keys").join("index.key"))?,
            vault: Vault::new(vault, dir, key.name(), kek, false),
            key,
            log: Mutex::new(log),
            _lock: None,
        })
    }

    /// A panic within an append leaves its outcome in doubt: the log is read-only from then on.
    fn log(&self) -> MutexGuard<'_, Log> {
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

    /// Closes the intents that a process before this one left open.
    fn close_interrupted(&self) -> Result<(), SiteError> {
        let rows: Vec<(Vec<u8>, i64)> = open_intent::table
            .select((open_intent::intent_id, open_intent::idx))
            .load(&mut self.log().connection)
            .map_err(SiteError::database("log.db", "read the open intents"))?;
        for (_, index) in rows {
            let entry = self.entry(natural(index))?;
            let damaged = || SiteError::Tampered { file: "log.db", what: format!("entry {index} is no intent") };
            let leaf = leaf_hash(&entry);
            let intent = Entry::parse(&entry).map_err(|_| damaged())?;
            let Body::ReadIntent(body) = intent.body else { return Err(damaged()) };
            let refs = vec![vidimus_log::Ref {
                entry_id: intent.entry_id,
                index: natural(index),
                leaf,
                rel: "intent".to_owned(),
            }];
            let outcome = body::ReadOutcome {
                status: body::OutcomeStatus::Interrupted,
                input: None,
                prepared: None,
                output: None,
                saliency: None,
                report: None,
                saliency_method: None,
                model: body.model,
                runtime: body.runtime,
                duration_us: 0,
                warnings: Vec::new(),
                error: Some("process_ended".into()),
            };
            let body = Body::ReadOutcome(outcome);
            self.record(Draft { entry_id: new_id(), actor: Actor::system(), refs, body, trace: None })?;
        }
        Ok(())
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

    /// The instance under this keyed hash of its SOP instance UID.
    pub fn instance(&self, key: &Digest) -> Result<Option<InstanceRow>, SiteError> {
        registry::instance(&mut self.log().connection, key)
    }

    /// The keyed hash of the patient of a study, if the study is held.
    pub fn study_patient(&self, study: &Digest) -> Result<Option<Digest>, SiteError> {
        registry::study_patient(&mut self.log().connection, study)
    }

    /// All readings, in the order of the log.
    pub fn readings(&self) -> Result<Vec<ReadingRow>, SiteError> {
        registry::readings(&mut self.log().connection)
    }

    /// The reading with this intent or outcome.
    pub fn reading(&self, entry: &EntryId) -> Result<Option<ReadingRow>, SiteError> {
        registry::reading(&mut self.log().connection, entry)
    }

    /// All models of the registry.
    pub fn models(&self) -> Result<Vec<ModelRow>, SiteError> {
        registry::models(&mut self.log().connection)
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
        let _ = diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut log.connection);
        log.writer.as_ref().map_or(Ok(()), |writer| writer.anchor.sync())
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

/// The verified head on a snapshot, as another process may append meanwhile.
fn read_head(connection: &mut SqliteConnection, key: &VerifyingKey) -> Result<Head, SiteError> {
    let failed = SiteError::database("log.db", "begin reading");
    connection.batch_execute("BEGIN").map_err(&failed)?;
    let head = check::head(connection, key);
    connection.batch_execute("COMMIT").map_err(&failed)?;
    head
}

fn read_vkey(dir: &Path) -> Result<VerifyingKey, SiteError> {
    let not = |why: &str| SiteError::NotASite { dir: dir.to_owned(), why: why.to_owned() };
    if !dir.exists() {
        return Err(not("there is no such folder"));
    }
    let path = dir.join("log.vkey");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let began = dir.join(database::LOG.file).exists() || dir.join("keys").exists();
            return Err(not(if began {
                "its making was interrupted (no log.vkey): remove the folder and make it again"
            } else {
                "there is no log.vkey in it"
            }));
        }
        Err(error) => return Err(SiteError::io("read", &path)(error)),
    };
    VerifyingKey::parse(&text).map_err(|error| SiteError::Tampered { file: "log.vkey", what: error.to_string() })
}

fn first_entry(dir: &Path, origin: &str, key: &SigningKey, body: body::SiteOpened) -> Result<(), SiteError> {
    let mut connection = database::open(dir, &database::LOG)?;
    let failed = SiteError::database("log.db", "write the first entry");
    diesel::insert_into(log_meta::table)
        .values((log_meta::key.eq("origin"), log_meta::value.eq(origin)))
        .execute(&mut connection)
        .map_err(&failed)?;
    let (note, root) = crate::log::first(&mut connection, origin, key, body)?;
    anchor::make(dir, 1, root, &note)?;
    diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).map_err(&failed)?;
    Ok(())
}

fn write_public(path: &Path, bytes: &[u8]) -> Result<(), SiteError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(SiteError::io("make the folder", folder))?;
    }
    std::fs::write(path, bytes).map_err(SiteError::io("write", path))
}
