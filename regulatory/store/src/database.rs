//! Opening of a SQLite file so that what it says it has written is written: version gate, settings read back, schema
//! and triggers held against the migrations of this program, and a probe that tries to change a row.
//! Errors: [`SiteError`] naming the setting or the file. Source: AUDIT_LOG section 7.

use std::path::Path;

use diesel::{
    Connection as _, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _,
    dsl::sql,
    sql_types::{BigInt, Text},
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use vidimus_log::Digest;

use crate::SiteError;

const LOG_STEPS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");
const VAULT_STEPS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite_vault");

/// Versions before this one can lose committed transactions (the WAL-reset race).
const SQLITE_VERSION_MIN: (u64, u64, u64) = (3, 51, 3);

/// A database file of a site.
pub(crate) struct Kind {
    /// Its name in the site's folder.
    pub(crate) file: &'static str,
    application_id: i64,
    schema: i64,
    steps: &'static EmbeddedMigrations,
}

/// Log and registry.
pub(crate) const LOG: Kind = Kind { file: "log.db", application_id: 0x5644_4D31, schema: 2, steps: &LOG_STEPS };
/// Vault.
pub(crate) const VAULT: Kind = Kind { file: "vault.db", application_id: 0x5644_4D32, schema: 1, steps: &VAULT_STEPS };

/// Settings that are set and read back: name, value to set, value to find.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", "2"),
    ("fullfsync", "ON", "1"),
    ("checkpoint_fullfsync", "ON", "1"),
    ("wal_autocheckpoint", "4000", "4000"),
    ("cell_size_check", "ON", "1"),
    ("trusted_schema", "OFF", "0"),
    ("foreign_keys", "ON", "1"),
    ("recursive_triggers", "ON", "1"),
    ("secure_delete", "ON", "1"),
    ("cache_size", "-65536", "-65536"),
    ("busy_timeout", "5000", "5000"),
    ("mmap_size", "0", "0"),
    ("temp_store", "MEMORY", "2"),
];

/// Makes a new file with its tables.
pub(crate) fn make(dir: &Path, kind: &Kind) -> Result<(), SiteError> {
    let path = dir.join(kind.file);
    crate::files::private().write(true).create_new(true).open(&path).map_err(SiteError::io("make", &path))?;
    let mut connection = connect(&path, kind)?;
    settle(&mut connection, kind)?;
    migrate(&mut connection, kind)
}

/// Opens a file for writing; an older schema is brought up to date.
pub(crate) fn open(dir: &Path, kind: &Kind) -> Result<SqliteConnection, SiteError> {
    let mut connection = open_checked(dir, kind)?;
    settle(&mut connection, kind)?;
    if number(&mut connection, kind, "PRAGMA user_version")? < kind.schema {
        migrate(&mut connection, kind)?;
    }
    check_schema(&mut connection, kind)?;
    Ok(connection)
}

/// Opens a file for reading and checks its schema: nothing that this connection does can change it.
pub(crate) fn open_read(dir: &Path, kind: &Kind) -> Result<SqliteConnection, SiteError> {
    let mut connection = open_reading(dir, kind)?;
    let found = number(&mut connection, kind, "PRAGMA user_version")?;
    if found < kind.schema {
        return Err(SiteError::OlderSchema { path: dir.join(kind.file), found, known: kind.schema });
    }
    check_schema(&mut connection, kind)?;
    Ok(connection)
}

/// Opens a further connection for reading, to a file whose schema was checked.
pub(crate) fn open_reading(dir: &Path, kind: &Kind) -> Result<SqliteConnection, SiteError> {
    let mut connection = open_checked(dir, kind)?;
    let readonly = "PRAGMA query_only=ON; PRAGMA wal_autocheckpoint=0; PRAGMA busy_timeout=5000; \
                    PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF; PRAGMA mmap_size=0; \
                    PRAGMA cache_size=-8192; PRAGMA temp_store=MEMORY;";
    connection.batch_execute(readonly).map_err(SiteError::database(kind.file, "set up for reading"))?;
    Ok(connection)
}

fn open_checked(dir: &Path, kind: &Kind) -> Result<SqliteConnection, SiteError> {
    let path = dir.join(kind.file);
    // SQLite would make a missing file, and open an unreadable one only at the first query.
    std::fs::File::open(&path).map_err(SiteError::io("open", &path))?;
    crate::files::refuse_others(&path, 0o022, "write the database")?;
    let mut connection = connect(&path, kind)?;
    let found = number(&mut connection, kind, "PRAGMA application_id")?;
    if found != kind.application_id {
        return Err(SiteError::Foreign { path, found });
    }
    let found = number(&mut connection, kind, "PRAGMA user_version")?;
    if found > kind.schema {
        return Err(SiteError::NewerSchema { path, found, known: kind.schema });
    }
    Ok(connection)
}

fn connect(path: &Path, kind: &Kind) -> Result<SqliteConnection, SiteError> {
    let Some(url) = path.to_str() else {
        return Err(SiteError::Fact { what: "folder of the site", why: "its path is not UTF-8".into() });
    };
    let mut connection = SqliteConnection::establish(url)
        .map_err(|error| SiteError::Database { operation: "open", source: Box::new(error) })?;
    let version = text(&mut connection, kind, "SELECT sqlite_version()")?;
    let mut parts = version.split('.').map(|part| part.parse::<u64>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    if (next(), next(), next()) < SQLITE_VERSION_MIN {
        let expected = "3.51.3 or later (earlier ones can lose committed transactions)".to_owned();
        return Err(SiteError::Setting { setting: "version", expected, found: version });
    }
    let threads = "SELECT count(*) FROM pragma_compile_options WHERE compile_options LIKE 'THREADSAFE=0%'";
    if number(&mut connection, kind, threads)? != 0 {
        return Err(SiteError::Setting {
            setting: "THREADSAFE",
            expected: "1 or 2".into(),
            found: "0: not safe with threads".into(),
        });
    }
    Ok(connection)
}

fn settle(connection: &mut SqliteConnection, kind: &Kind) -> Result<(), SiteError> {
    for (name, value, expected) in SETTINGS {
        let set = format!("PRAGMA {name}={value}");
        connection.batch_execute(&set).map_err(SiteError::database(kind.file, "set up"))?;
        let found = setting(connection, kind, name)?;
        if found != *expected {
            return Err(SiteError::Setting { setting: name, expected: (*expected).to_owned(), found });
        }
    }
    Ok(())
}

fn setting(connection: &mut SqliteConnection, kind: &Kind, name: &str) -> Result<String, SiteError> {
    if name == "journal_mode" {
        return text(connection, kind, "PRAGMA journal_mode");
    }
    Ok(number(connection, kind, &format!("PRAGMA {name}"))?.to_string())
}

/// The library's version and the digest of all settings as read back.
pub(crate) fn facts(connection: &mut SqliteConnection) -> Result<(String, Digest), SiteError> {
    let mut read_back = String::new();
    for (name, ..) in SETTINGS {
        read_back.push_str(&format!("{name}={}\n", setting(connection, &LOG, name)?));
    }
    Ok((text(connection, &LOG, "SELECT sqlite_version()")?, Digest::of(read_back.as_bytes())))
}

fn migrate(connection: &mut SqliteConnection, kind: &Kind) -> Result<(), SiteError> {
    struct Steps(&'static EmbeddedMigrations);
    impl diesel::migration::MigrationSource<diesel::sqlite::Sqlite> for Steps {
        fn migrations(
            &self,
        ) -> diesel::migration::Result<Vec<Box<dyn diesel::migration::Migration<diesel::sqlite::Sqlite>>>> {
            self.0.migrations()
        }
    }
    match connection.run_pending_migrations(Steps(kind.steps)) {
        Ok(_) => Ok(()),
        Err(source) => Err(SiteError::Database { operation: "make the tables", source }),
    }
}

/// Tables, indices and triggers must be, letter for letter, those that the migrations make.
fn check_schema(connection: &mut SqliteConnection, kind: &Kind) -> Result<(), SiteError> {
    let mut model = SqliteConnection::establish(":memory:")
        .map_err(|error| SiteError::Database { operation: "open", source: Box::new(error) })?;
    migrate(&mut model, kind)?;
    let (expected, found) = (schema(&mut model, kind)?, schema(connection, kind)?);
    let differs = |one: &[String], other: &[String]| one.iter().find(|row| !other.contains(row)).cloned();
    match differs(&expected, &found).or_else(|| differs(&found, &expected)) {
        None => Ok(()),
        Some(row) => {
            let name = row.split('\n').take(2).collect::<Vec<_>>().join(" ");
            Err(SiteError::Tampered { file: kind.file, what: format!("{name} is missing, added or altered") })
        }
    }
}

fn schema(connection: &mut SqliteConnection, kind: &Kind) -> Result<Vec<String>, SiteError> {
    let rows = "SELECT type || char(10) || name || char(10) || coalesce(sql, '') FROM sqlite_schema ORDER BY 1";
    sql::<Text>(rows).load(connection).map_err(SiteError::database(kind.file, "read the schema"))
}

/// Tries the four ways to change a row of the log; each must be refused.
pub(crate) fn probe(connection: &mut SqliteConnection) -> Result<(), SiteError> {
    const WAYS: &[(&str, &str)] = &[
        ("UPDATE", "UPDATE log_entry SET body = body WHERE idx = 0"),
        ("DELETE", "DELETE FROM log_entry WHERE idx = 0"),
        (
            "REPLACE by index",
            "INSERT OR REPLACE INTO log_entry SELECT idx, randomblob(16), leaf, body FROM log_entry WHERE idx = 0",
        ),
        (
            "REPLACE by id",
            "INSERT OR REPLACE INTO log_entry SELECT (SELECT max(idx) FROM log_entry) + 1, entry_id, leaf, body \
             FROM log_entry WHERE idx = 0",
        ),
    ];
    connection.batch_execute("BEGIN IMMEDIATE").map_err(SiteError::database(LOG.file, "begin the probe"))?;
    let open = WAYS.iter().find(|(_, statement)| {
        connection.batch_execute(statement).err().is_none_or(|error| !error.to_string().contains("append only"))
    });
    connection.batch_execute("ROLLBACK").map_err(SiteError::database(LOG.file, "end the probe"))?;
    match open {
        None => Ok(()),
        Some((way, _)) => Err(SiteError::Tampered { file: LOG.file, what: format!("a row can be changed by {way}") }),
    }
}

fn number(connection: &mut SqliteConnection, kind: &Kind, query: &str) -> Result<i64, SiteError> {
    sql::<BigInt>(query).get_result(connection).map_err(SiteError::database(kind.file, "read a setting"))
}

fn text(connection: &mut SqliteConnection, kind: &Kind, query: &str) -> Result<String, SiteError> {
    sql::<Text>(query).get_result(connection).map_err(SiteError::database(kind.file, "read a setting"))
}
