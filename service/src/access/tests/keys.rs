//! The issuer's keys: made once, by whoever comes first, and read by their owner only.

use std::{
    collections::BTreeSet,
    sync::{Arc, Barrier},
    thread,
};

use super::*;

/// Proves: REQ-SVC-107
#[test]
fn openers_that_race_end_with_one_key() {
    for _ in 0..20 {
        let folder = folder();
        let start = Arc::new(Barrier::new(8));
        let racers: Vec<_> = (0..8)
            .map(|_| {
                let (dir, start) = (folder.path().to_owned(), Arc::clone(&start));
                thread::spawn(move || {
                    start.wait();
                    let issuer = Issuer::open(&dir, ORIGIN).unwrap();
                    (issuer.jwks().to_owned(), issuer.actor(Role::Clinician, "N").unwrap().id)
                })
            })
            .collect();
        let seen: BTreeSet<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
        assert_eq!(seen.len(), 1);
        let mut names: Vec<_> =
            fs::read_dir(folder.path().join("keys")).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["issuer.key", "staff.key"], "nothing is left of the losers");
    }
}

/// Proves: REQ-SVC-107
#[test]
fn keys_are_private_and_refused_when_they_are_not() {
    let folder = folder();
    let path = folder.path().join("keys/issuer.key");
    let open = || Issuer::open(folder.path(), ORIGIN).map(drop).map_err(|error| format!("{error:#}"));
    open().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(open().unwrap_err().contains("chmod 0600"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(folder.path().join("keys"), fs::Permissions::from_mode(0o750)).unwrap();
    assert!(open().unwrap_err().contains("chmod 0700"));
    fs::set_permissions(folder.path().join("keys"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(&path, "short\n").unwrap();
    assert!(open().unwrap_err().contains("64 hexadecimal characters"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "short\n", "a damaged key is never made anew");
}

/// Proves: REQ-SVC-108
#[test]
fn a_folder_without_a_site_is_named_and_stays_empty() {
    let folder = TempDir::new().unwrap();
    let error = super::super::origin(folder.path()).unwrap_err().to_string();
    assert!(error.contains(folder.path().to_str().unwrap()) && error.contains("vidimus demo --dir"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(super::super::origin(&folder.path().join("missing")).is_err());
}
