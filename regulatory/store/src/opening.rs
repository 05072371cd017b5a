//! Making and opening of a site: keys, databases, the first entry; lock, checks, boot, what an earlier process left.
//! Errors: [`SiteError`], before anything is appended. Source: AUDIT_LOG sections 6 to 8.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use diesel::{
    Connection as _, ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _,
};
use vidimus_log::{
    Actor, Body, Digest, Draft, Entry, Recorder as _, body, leaf_hash,
    limits::CLOCK_STEP_MS_MAX,
    note::{SigningKey, VerifyingKey, is_origin},
    schema,
};

use crate::{
    Site, SiteError, Vault, anchor,
    anchor::Anchor,
    batch::Log,
    check, database, files, keys,
    log::{Head, new_id, now_ms},
    nodes::natural,
    reads::Reads,
    sequencer::Sequencer,
    tables::{log_meta, open_intent},
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

impl Site {
    /// Makes a site in `dir` with the first entry of its log. A making that was interrupted leaves no `log.vkey`, which
    /// is written last: [`Site::open`] says so, and making again clears what it left, as nothing of it was handed out.
    pub fn create(dir: &Path, facts: &SiteFacts) -> Result<(), SiteError> {
        files::make_folder(dir)?;
        let _lock = files::lock(dir)?;
        if dir.join("log.vkey").exists() {
            return Err(SiteError::Exists { dir: dir.to_owned() });
        }
        clear_unfinished(dir)?;
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
        let behind_ms = head.last_t_ms.saturating_sub(now_ms());
        if behind_ms > natural(CLOCK_STEP_MS_MAX) {
            return Err(SiteError::Clock { behind_ms });
        }
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
        let head = Arc::new(head);
        let seen = Mutex::new(Arc::clone(&head));
        let log = Log { connection, origin: vkey.name().to_owned(), head, boot: None, key, anchor, fence: None };
        let site = Self {
            dir: dir.to_owned(),
            index_key: keys::read(&dir.join("keys").join("index.key"))?,
            reads: Reads::new(dir, &database::LOG, None),
            writer: Some(Sequencer::start(log)?),
            seen,
            vault: Vault::new(vault, dir, vkey.name(), kek)?,
            key: vkey,
            _lock: Some(lock),
        };
        let receipt = site.record(Draft::system(new_id(), body))?;
        if let Some(writer) = &site.writer {
            writer.announce(receipt.entry_id);
        }
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
        Ok(Self {
            dir: dir.to_owned(),
            index_key: keys::read(&dir.join("keys").join("index.key"))?,
            reads: Reads::new(dir, &database::LOG, Some(connection)),
            writer: None,
            seen: Mutex::new(Arc::new(head)),
            vault: Vault::new_read(vault, dir, key.name(), kek),
            key,
            _lock: None,
        })
    }

    /// Closes the intents that a process before this one left open.
    fn close_interrupted(&self) -> Result<(), SiteError> {
        let rows: Vec<(Vec<u8>, i64)> = open_intent::table
            .select((open_intent::intent_id, open_intent::idx))
            .load(&mut *self.reads.take()?)
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

/// Clears what an interrupted making left. A log with more than its first entry is a site that lost its key file: it is
/// left as it is.
fn clear_unfinished(dir: &Path) -> Result<(), SiteError> {
    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }
    let path = dir.join(database::LOG.file);
    if path.exists() {
        let exists = || SiteError::Exists { dir: dir.to_owned() };
        let url = path.to_str().ok_or_else(exists)?;
        let mut connection = SqliteConnection::establish(url).map_err(|_| exists())?;
        let mut count = |query: &str| -> Result<i64, SiteError> {
            let row: Count = diesel::sql_query(query).get_result(&mut connection).map_err(|_| exists())?;
            Ok(row.n)
        };
        let made = count("SELECT count(*) AS n FROM sqlite_master WHERE name = 'log_entry'")? > 0;
        if made && count("SELECT count(*) AS n FROM log_entry")? > 1 {
            return Err(exists());
        }
    }
    for database in [database::LOG.file, database::VAULT.file] {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            files::remove(&dir.join(format!("{database}{suffix}")))?;
        }
    }
    for name in ["log.key", "index.key", "kek.1"] {
        files::remove(&dir.join("keys").join(name))?;
    }
    files::remove(&dir.join("log.policy"))
}
