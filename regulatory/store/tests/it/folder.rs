//! Folders that are no site, or not ours, or open to others: each refused by name.

use std::fs;

use diesel::connection::SimpleConnection as _;
use vidimus_store::{Site, SiteError, SiteFacts};

use crate::common::{boot, facts, made, opened, raw};

fn refusal(dir: &std::path::Path) -> SiteError {
    Site::open(dir, &boot()).err().expect("refused")
}

/// Proves: REQ-STO-008
#[test]
fn a_folder_that_is_no_site_is_refused() {
    let dir = tempfile::TempDir::new().unwrap();
    assert!(matches!(refusal(dir.path()), SiteError::NotASite { .. }));
    assert!(matches!(refusal(&dir.path().join("none")), SiteError::NotASite { .. }));
    let made = made();
    fs::remove_file(made.path().join("log.vkey")).unwrap();
    let text = refusal(made.path()).to_string();
    assert!(text.contains("interrupted"), "{text}");
}

/// Proves: REQ-STO-008
#[test]
fn an_interrupted_making_is_made_again_and_a_site_without_its_key_file_is_not_touched() {
    let dir = made();
    fs::remove_file(dir.path().join("log.vkey")).unwrap();
    Site::create(dir.path(), &facts()).unwrap();
    let site = opened(dir.path());
    crate::common::fill(&site, 2);
    site.shutdown("test").unwrap();
    drop(site);
    fs::remove_file(dir.path().join("log.vkey")).unwrap();
    let before = fs::read(dir.path().join("log.db")).unwrap();
    assert!(matches!(Site::create(dir.path(), &facts()), Err(SiteError::Exists { .. })));
    assert_eq!(fs::read(dir.path().join("log.db")).unwrap(), before);
}

/// Proves: REQ-STO-008
#[test]
fn a_database_of_another_program_a_later_schema_and_bytes_that_are_none_are_named() {
    let dir = made();
    raw(dir.path(), "log.db").batch_execute("PRAGMA user_version = 99").unwrap();
    assert!(matches!(refusal(dir.path()), SiteError::NewerSchema { found: 99, .. }));
    raw(dir.path(), "log.db").batch_execute("PRAGMA user_version = 1; PRAGMA application_id = 7").unwrap();
    assert!(matches!(refusal(dir.path()), SiteError::Foreign { found: 7, .. }));
    let dir = made();
    fs::write(dir.path().join("log.db"), vec![0x5a; 8_192]).unwrap();
    assert!(matches!(refusal(dir.path()), SiteError::Tampered { file: "log.db", .. }));
    let dir = made();
    fs::remove_file(dir.path().join("vault.db")).unwrap();
    let text = refusal(dir.path()).to_string();
    assert!(text.contains("vault.db"), "{text}");
}

/// Proves: REQ-STO-008
#[test]
fn damaged_pages_of_the_database_are_an_error_and_never_a_good_log() {
    let dir = made();
    let site = opened(dir.path());
    crate::common::fill(&site, 200);
    site.shutdown("test").unwrap();
    drop(site);
    let path = dir.path().join("log.db");
    let good = fs::read(&path).unwrap();
    let clean = {
        let site = Site::open_read(dir.path()).unwrap();
        (site.checkpoint(), site.entries(0..site.size()).unwrap())
    };
    for at in (0..good.len()).step_by(good.len() / 60) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        let audit = Site::open_read(dir.path()).and_then(|site| {
            site.verify()?;
            Ok((site.checkpoint(), site.entries(0..site.size())?))
        });
        if let Ok(read) = audit {
            assert!(read == clean, "byte {at} changed the log and passed");
        }
    }
}

/// Proves: REQ-STO-009
#[cfg(unix)]
#[test]
fn keys_and_databases_are_for_their_owner_only_and_open_modes_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = made();
    drop(opened(dir.path()));
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    for name in ["keys/log.key", "keys/kek.1", "keys/index.key", "log.db", "vault.db", "anchor.tlog"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    assert_eq!((mode("keys"), mode("objects")), (0o700, 0o700));
    for (name, open) in [("keys/log.key", 0o644), ("keys/kek.1", 0o640), ("keys", 0o755), ("log.db", 0o622)] {
        let path = dir.path().join(name);
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
        assert!(matches!(refusal(dir.path()), SiteError::Permissions { .. }), "{name}");
        fs::set_permissions(&path, before).unwrap();
    }
    drop(opened(dir.path()));
}

/// Proves: REQ-STO-009
#[test]
fn another_sites_key_is_refused() {
    let (dir, other) = (made(), made());
    fs::copy(other.path().join("keys/log.key"), dir.path().join("keys/log.key")).unwrap();
    assert!(matches!(refusal(dir.path()), SiteError::Fact { what: "keys/log.key", .. }));
    fs::copy(other.path().join("log.vkey"), dir.path().join("log.vkey")).unwrap();
    assert!(matches!(refusal(dir.path()), SiteError::Tampered { .. }));
}

/// Proves: REQ-STO-008
#[test]
fn an_origin_that_cannot_be_one_is_refused_before_anything_is_made() {
    let dir = tempfile::TempDir::new().unwrap();
    let bad = SiteFacts { domain: "a b".into(), ..facts() };
    assert!(matches!(Site::create(dir.path(), &bad), Err(SiteError::Fact { .. })));
    assert!(!dir.path().join("keys").exists());
    Site::create(dir.path(), &facts()).unwrap();
}

/// Proves: REQ-STO-005
#[test]
fn a_changed_policy_is_refused_at_start() {
    let dir = made();
    fs::write(dir.path().join("log.policy"), "quorum none\n").unwrap();
    assert!(matches!(refusal(dir.path()), SiteError::Tampered { file: "log.policy", .. }));
}
