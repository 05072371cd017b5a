//! The tamper matrix of the database, first form: each change is found at start, by the audit, or by both.

use std::{fs, path::Path};

use diesel::connection::SimpleConnection as _;
use vidimus_log::{Reason, Recorder as _};
use vidimus_store::{Site, SiteError};

use crate::common::{behind_the_triggers, boot, copy, fill, incident, made, opened, raw};

/// Overwrites byte `at` (1-based) of a blob column with one of two values, whichever differs.
fn overwrite(table: &str, column: &str, place: &str, at: usize) -> String {
    let (before, after) = (at - 1, at + 1);
    format!(
        "UPDATE {table} SET {column} = CAST(substr({column}, 1, {before}) || \
         CASE WHEN substr({column}, {at}, 1) = x'41' THEN x'40' ELSE x'41' END || \
         substr({column}, {after}) AS BLOB) WHERE {place}"
    )
}

struct Found {
    at_start: bool,
    by_audit: bool,
}

fn found(dir: &Path) -> Found {
    let audit = Site::open_read(dir).and_then(|site| site.verify());
    let by_audit = match audit {
        Ok(_) => false,
        Err(SiteError::Tampered { .. } | SiteError::Rollback { .. }) => true,
        Err(SiteError::Verify(error)) => matches!(error.reason(), Reason::Tampered | Reason::Schema),
        Err(error) => panic!("another error: {error}"),
    };
    let at_start = match Site::open(dir, &boot()) {
        Ok(_) => false,
        Err(SiteError::Tampered { .. } | SiteError::Rollback { .. }) => true,
        Err(error) => panic!("another error: {error}"),
    };
    Found { at_start, by_audit }
}

fn big() -> tempfile::TempDir {
    let dir = made();
    let site = opened(dir.path());
    fill(&site, 1_400);
    site.shutdown("test").unwrap();
    dir
}

/// Proves: REQ-STO-005
#[test]
fn one_changed_byte_in_any_row_of_the_log_is_found() {
    let original = big();
    let cases: &[(&str, String, bool)] = &[
        ("body of an old entry", overwrite("log_entry", "body", "idx = 10", 200), false),
        ("body of a late entry", overwrite("log_entry", "body", "idx = 1390", 200), true),
        ("leaf of an old entry", overwrite("log_entry", "leaf", "idx = 10", 5), false),
        ("leaf of a late entry", overwrite("log_entry", "leaf", "idx = 1390", 5), true),
        ("id of an entry", overwrite("log_entry", "entry_id", "idx = 10", 16), false),
        ("hash of a tile", overwrite("log_tile", "data", "level = 0 AND n = 2", 77), false),
        ("root of a tile", overwrite("log_tile", "root", "level = 0 AND n = 2", 9), true),
        ("root of the head", overwrite("log_head", "root", "one = 1", 1), true),
        ("frontier of the head", overwrite("log_head", "frontier", "one = 1", 40), true),
        ("text of the note", "UPDATE log_head SET note = replace(note, 'test.example', 'tesu.example')".into(), true),
        (
            "signature of the note",
            "UPDATE log_head SET note = substr(note, 1, length(note) - 6) || \
             CASE substr(note, -6, 1) WHEN 'A' THEN 'B' ELSE 'A' END || substr(note, -5)"
                .into(),
            true,
        ),
        ("size of the head", "UPDATE log_head SET size = size + 1".into(), true),
        ("the last entry deleted", "DELETE FROM log_entry WHERE idx = (SELECT max(idx) FROM log_entry)".into(), true),
        ("an old entry deleted", "DELETE FROM log_entry WHERE idx = 10".into(), false),
        ("a tile deleted", "DELETE FROM log_tile WHERE level = 0 AND n = 1".into(), true),
        (
            "an entry added",
            "INSERT INTO log_entry SELECT 1 + (SELECT max(idx) FROM log_entry), randomblob(16), leaf, body \
             FROM log_entry WHERE idx = 5"
                .into(),
            true,
        ),
        (
            "an open intent invented",
            "INSERT INTO open_intent VALUES (x'019b2f0a00007000800000000000ffff', 5, 0)".into(),
            true,
        ),
    ];
    for (name, statement, at_start) in cases {
        let dir = tempfile::TempDir::new().unwrap();
        copy(original.path(), dir.path());
        behind_the_triggers(dir.path(), statement);
        let found = found(dir.path());
        assert!(found.by_audit, "{name}: not found by the audit");
        assert_eq!(found.at_start, *at_start, "{name}: found at start");
    }
    let untouched = found(original.path());
    assert!(!untouched.by_audit && !untouched.at_start);
}

/// Proves: REQ-STO-005
#[test]
fn a_missing_altered_or_added_trigger_or_table_is_named() {
    for statement in [
        "DROP TRIGGER log_entry_no_update",
        "DROP TRIGGER log_head_no_shrink; \
         CREATE TRIGGER log_head_no_shrink BEFORE UPDATE ON log_head BEGIN SELECT 1; END",
        "CREATE TABLE other (a INTEGER)",
        "CREATE TRIGGER other AFTER INSERT ON log_entry BEGIN DELETE FROM registry_model; END",
    ] {
        let dir = made();
        raw(dir.path(), "log.db").batch_execute(statement).unwrap();
        assert!(matches!(Site::open(dir.path(), &boot()), Err(SiteError::Tampered { .. })), "{statement}");
        assert!(matches!(Site::open_read(dir.path()), Err(SiteError::Tampered { .. })), "{statement}");
    }
}

/// Proves: REQ-STO-005
#[test]
fn the_triggers_refuse_every_change_of_a_row() {
    let dir = made();
    let site = opened(dir.path());
    fill(&site, 300);
    drop(site);
    let mut connection = raw(dir.path(), "log.db");
    connection.batch_execute("PRAGMA recursive_triggers=ON").unwrap();
    for statement in [
        "UPDATE log_entry SET body = x'00' WHERE idx = 3",
        "DELETE FROM log_entry WHERE idx = 3",
        "INSERT OR REPLACE INTO log_entry SELECT idx, randomblob(16), leaf, x'00' FROM log_entry WHERE idx = 3",
        "UPDATE log_tile SET root = randomblob(32)",
        "DELETE FROM log_tile",
        "REPLACE INTO log_tile SELECT level, n, data, randomblob(32) FROM log_tile",
        "UPDATE log_head SET size = size - 1",
        "DELETE FROM log_head",
    ] {
        let error = connection.batch_execute(statement).unwrap_err().to_string();
        assert!(error.contains("append only"), "{statement}: {error}");
    }
    drop(connection);
    opened(dir.path()).verify().unwrap();
}

/// Proves: REQ-STO-006
#[test]
fn a_log_put_back_to_an_earlier_day_is_found_by_the_anchor() {
    let dir = made();
    opened(dir.path()).shutdown("test").unwrap();
    let earlier = fs::read(dir.path().join("log.db")).unwrap();
    let site = opened(dir.path());
    fill(&site, 5);
    site.shutdown("test").unwrap();
    drop(site);
    fs::write(dir.path().join("log.db"), earlier).unwrap();
    assert!(matches!(Site::open(dir.path(), &boot()), Err(SiteError::Rollback { .. })));
    let audit = Site::open_read(dir.path()).unwrap().verify();
    assert!(matches!(audit, Err(SiteError::Rollback { .. })));
}

/// Proves: REQ-STO-006
#[test]
fn a_write_ahead_log_that_was_removed_is_a_rollback() {
    let dir = made();
    let site = opened(dir.path());
    fill(&site, 5);
    let other = tempfile::TempDir::new().unwrap();
    copy(dir.path(), other.path());
    fs::remove_file(other.path().join("log.db-wal")).unwrap();
    let _ = fs::remove_file(other.path().join("log.db-shm"));
    assert!(matches!(Site::open(other.path(), &boot()), Err(SiteError::Rollback { .. })));
}

/// Proves: REQ-STO-006
#[test]
fn another_history_under_the_same_key_is_found_by_the_anchor() {
    let dir = made();
    opened(dir.path()).shutdown("test").unwrap();
    let other = tempfile::TempDir::new().unwrap();
    copy(dir.path(), other.path());
    for (place, count) in [(dir.path(), 5), (other.path(), 9)] {
        let site = opened(place);
        fill(&site, count);
        site.shutdown("test").unwrap();
    }
    fs::copy(other.path().join("log.db"), dir.path().join("log.db")).unwrap();
    let refused = Site::open(dir.path(), &boot()).err().unwrap().to_string();
    assert!(refused.contains("another history"), "{refused}");
}

/// Proves: REQ-STO-006
#[test]
fn a_changed_anchor_falls_back_to_an_older_state_and_a_destroyed_one_is_refused() {
    let dir = made();
    let site = opened(dir.path());
    fill(&site, 5);
    site.shutdown("test").unwrap();
    drop(site);
    let path = dir.path().join("anchor.tlog");
    let good = fs::read(&path).unwrap();
    for at in [0, 9, 17, 25, 60, 300, 511] {
        let mut bytes = good.clone();
        for record in bytes.chunks_mut(512).skip(1) {
            record[at] ^= 1;
        }
        fs::write(&path, &bytes).unwrap();
        assert!(Site::open_read(dir.path()).unwrap().verify().is_ok(), "byte {at}");
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(Site::open(dir.path(), &boot()), Err(SiteError::Tampered { file: "anchor.tlog", .. })));
        fs::write(&path, &good).unwrap();
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(Site::open(dir.path(), &boot()), Err(SiteError::Unreadable { .. })));
}

/// Proves: REQ-STO-005
#[test]
fn an_exported_folder_with_one_changed_bit_does_not_verify() {
    let dir = made();
    let site = opened(dir.path());
    fill(&site, 300);
    let out = tempfile::TempDir::new().unwrap();
    site.write_tiles(out.path()).unwrap();
    let source = |dir: &Path| Folder(dir.to_owned());
    assert_eq!(vidimus_log::verify_log(&mut source(out.path()), site.verifying_key()).unwrap().size, site.size());
    for name in ["checkpoint", "tile/0/000", "tile/0/001.p/46", "tile/1/000.p/1", "tile/entries/001.p/46"] {
        let path = out.path().join(name);
        let good = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut bytes = good.clone();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(vidimus_log::verify_log(&mut source(out.path()), site.verifying_key()).is_err(), "{name}");
        fs::write(&path, good).unwrap();
    }
    let receipt = site.record(incident(site.new_id(), "after the export")).unwrap();
    assert_eq!(site.published("tile/0/000.p/7").unwrap().unwrap().len(), 7 * 32);
    assert_eq!(site.published(&format!("tile/0/00{}.p/255", receipt.index / 256)).unwrap(), None);
    assert_eq!(site.published("../log.db").unwrap(), None);
}

struct Folder(std::path::PathBuf);

impl vidimus_log::Source for Folder {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, vidimus_log::SourceError> {
        let why = |error: std::io::Error| vidimus_log::SourceError { path: path.to_owned(), why: error.to_string() };
        fs::read(self.0.join(path)).map_err(why)
    }
}
