//! The vault: commitments open to their values, nothing lies in clear, and an erased key breaks no proof.

use std::{fs, path::Path};

use diesel::connection::SimpleConnection as _;
use vidimus_log::{Digest, Receipt, Recorder as _, commit};
use vidimus_store::{Batch, ObjectId, Site, VaultError};

use crate::common::{incident, intent, made, model, opened, outcome, raw};

const SECRET: &[u8] = b"MRN-000123-very-recognisable";

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn holds(dir: &Path, needle: &[u8]) -> bool {
    files(dir).iter().any(|path| fs::read(path).unwrap().windows(needle.len()).any(|window| window == needle))
}

/// Proves: REQ-STO-007
#[test]
fn a_commitment_opens_to_its_value_and_a_retry_gives_the_same_one() {
    let dir = made();
    let site = opened(dir.path());
    let subject = site.vault().subject(&site.keyed("patient", SECRET)).unwrap();
    let id = site.new_id();
    let big = vec![0x42; 300_000];
    let commits = site.vault().commit_all(&subject, &id, &[("patient", SECRET), ("output", &big)]).unwrap();
    let again = site.vault().commit(&subject, &id, "patient", SECRET).unwrap();
    assert_eq!(commits[0], again);
    let other = site.vault().commit(&subject, &id, "patient", b"another");
    assert!(matches!(other, Err(VaultError::Conflict)));
    for (field, value, found) in [("patient", SECRET, &commits[0]), ("output", &big, &commits[1])] {
        let opening = site.vault().opening(&id, field).unwrap();
        assert!(opening.value.open() == value, "{field}");
        assert_eq!(&commit::commitment(field, &opening.opening, value), found, "{field}");
    }
    assert!(matches!(site.vault().opening(&id, "study"), Err(VaultError::Missing)));
    let second = site.vault().commit(&subject, &site.new_id(), "patient", SECRET).unwrap();
    assert_ne!(second, commits[0], "a fresh opening for each entry");
}

/// Proves: REQ-STO-007
#[test]
fn no_file_of_the_site_holds_a_value_in_clear() {
    let dir = made();
    let site = opened(dir.path());
    let key = site.keyed("patient", SECRET);
    let subject = site.vault().subject(&key).unwrap();
    site.vault().commit(&subject, &site.new_id(), "patient", SECRET).unwrap();
    let object = site.vault().put(&subject, &[SECRET, &[0; 5_000]].concat()).unwrap();
    site.record(incident(site.new_id(), "after")).unwrap();
    assert!(!holds(dir.path(), SECRET));
    assert!(!holds(dir.path(), Digest::of(SECRET).as_bytes()), "not even a digest without a key");
    assert!(site.vault().get(&object).unwrap().open().starts_with(SECRET));
    assert_ne!(key, site.keyed("study", SECRET));
    let other = made();
    assert_ne!(key, opened(other.path()).keyed("patient", SECRET), "another site has another index");
}

/// Proves: REQ-STO-010
#[test]
fn an_erased_key_leaves_every_proof_verifying_and_the_documents_sealed() {
    let dir = made();
    let site = opened(dir.path());
    let patient = site.keyed("patient", SECRET);
    let subject = site.vault().subject(&patient).unwrap();
    let model = model(&site);
    let mut draft = intent(&site, &model);
    let id = draft.entry_id;
    let committed = site.vault().commit(&subject, &id, "patient", SECRET).unwrap();
    let object = site.vault().put(&subject, b"the image").unwrap();
    if let vidimus_log::Body::ReadIntent(body) = &mut draft.body {
        body.patient = committed;
    }
    let receipt = site.record(draft).unwrap();
    site.record(outcome(&site, &receipt)).unwrap();
    assert_eq!(site.vault().erase(&patient).unwrap(), 2);
    assert!(matches!(site.vault().opening(&id, "patient"), Err(VaultError::Erased)));
    assert!(matches!(site.vault().get(&object), Err(VaultError::Erased)));
    assert!(matches!(site.vault().erase(&patient), Err(VaultError::Missing)));
    site.verify().unwrap();
    let text = site.receipt(&id).unwrap().to_tlog_proof();
    Receipt::parse_tlog_proof(&text).unwrap().verify(site.verifying_key()).unwrap();
    let later = site.vault().subject(&patient).unwrap();
    let later = site.vault().put(&later, b"a later image").unwrap();
    assert_eq!(site.vault().get(&later).unwrap().open(), b"a later image");
    assert!(matches!(site.vault().get(&object), Err(VaultError::Erased)), "a new key opens nothing old");
}

/// Proves: REQ-STO-010
#[test]
fn the_wrapped_key_of_an_erased_subject_is_in_no_file() {
    use diesel::{QueryableByName, RunQueryDsl as _, sql_types::Binary};
    #[derive(QueryableByName)]
    struct Wrapped {
        #[diesel(sql_type = Binary)]
        wrapped: Vec<u8>,
    }
    let dir = made();
    let site = opened(dir.path());
    let patient = site.keyed("patient", SECRET);
    let subject = site.vault().subject(&patient).unwrap();
    site.vault().put(&subject, b"the image").unwrap();
    let rows: Vec<Wrapped> =
        diesel::sql_query("SELECT wrapped FROM vault_key").load(&mut raw(dir.path(), "vault.db")).unwrap();
    assert_eq!(rows.len(), 1);
    assert!(holds(dir.path(), &rows[0].wrapped), "there before");
    site.vault().erase(&patient).unwrap();
    assert!(!holds(dir.path(), &rows[0].wrapped), "gone after");
}

/// Proves: REQ-STO-007
#[test]
fn a_document_that_was_moved_or_changed_does_not_open() {
    let dir = made();
    let site = opened(dir.path());
    let subject = site.vault().subject(&site.keyed("patient", SECRET)).unwrap();
    let (one, two) = (site.new_id(), site.new_id());
    site.vault().commit(&subject, &one, "patient", b"one").unwrap();
    site.vault().commit(&subject, &two, "patient", b"two").unwrap();
    let object = site.vault().put(&subject, b"the image").unwrap();
    raw(dir.path(), "vault.db")
        .batch_execute("UPDATE vault_opening SET sealed = (SELECT sealed FROM vault_opening ORDER BY entry_id LIMIT 1)")
        .unwrap();
    assert_eq!(site.vault().opening(&one, "patient").unwrap().value.open(), b"one");
    assert!(matches!(site.vault().opening(&two, "patient"), Err(VaultError::Tampered { .. })));
    let path = dir.path().join("objects").join(object.to_string());
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let text = site.vault().get(&object).err().unwrap().to_string();
    assert!(text.contains("tampered") && text.contains(&object.to_string()), "{text}");
    fs::remove_file(&path).unwrap();
    assert!(matches!(site.vault().get(&object), Err(VaultError::Unreadable { .. })));
}

/// Proves: REQ-STO-007
#[test]
fn a_reader_opens_documents_and_keeps_none() {
    let dir = made();
    let site = opened(dir.path());
    let patient = site.keyed("patient", SECRET);
    let subject = site.vault().subject(&patient).unwrap();
    let object = site.vault().put(&subject, b"the image").unwrap();
    let reader = Site::open_read(dir.path()).unwrap();
    assert_eq!(reader.vault().get(&object).unwrap().open(), b"the image");
    assert!(matches!(reader.vault().put(&subject, b"x"), Err(VaultError::ReadOnly)));
    assert!(matches!(reader.vault().erase(&patient), Err(VaultError::ReadOnly)));
    assert!(matches!(reader.vault().subject(&Digest::of(b"new")), Err(VaultError::ReadOnly)));
}

fn objects(dir: &Path) -> usize {
    fs::read_dir(dir.join("objects")).unwrap().count()
}

/// Proves: REQ-STO-111
#[test]
fn a_batch_of_documents_is_kept_whole_or_not_at_all() {
    let dir = made();
    let site = opened(dir.path());
    let vault = site.vault();
    let subject = vault.subject(&site.keyed("patient", SECRET)).unwrap();
    let (id, big) = (site.new_id(), vec![0x42; 100_000]);
    let fill = |batch: &mut Batch<'_>| -> Result<_, VaultError> {
        let images = (0..70_u8).map(|number| batch.put(&subject, &[number; 50])).collect::<Result<Vec<_>, _>>()?;
        assert_eq!(batch.get(&subject, &images[3])?.open(), &[3; 50]);
        assert!(matches!(vault.get(&images[3]), Err(VaultError::Missing)), "before the batch is kept");
        let first = batch.commit(&subject, &id, "patient", SECRET)?;
        assert_eq!(batch.commit(&subject, &id, "patient", SECRET)?, first, "the same value within the batch");
        assert!(matches!(batch.commit(&subject, &id, "patient", b"other"), Err(VaultError::Conflict)));
        Ok((images, first, batch.commit(&subject, &id, "inputs", &big)?))
    };
    let mut unkept = Vec::new();
    let failed: Result<(), VaultError> = vault.batch(|batch| {
        unkept = fill(batch)?.0;
        Err(VaultError::Conflict)
    });
    assert!(matches!(failed, Err(VaultError::Conflict)));
    assert_eq!(objects(dir.path()), 0, "no file is left");
    assert!(matches!(vault.get(&unkept[0]), Err(VaultError::Missing)));
    assert!(matches!(vault.opening(&id, "patient"), Err(VaultError::Missing)));
    let (images, patient, inputs) = vault.batch(fill).unwrap();
    assert_eq!(objects(dir.path()), 71);
    drop(site);
    let site = opened(dir.path());
    for (number, image) in (0_u8..).zip(&images) {
        assert_eq!(site.vault().get(image).unwrap().open(), &[number; 50]);
    }
    for (field, value, made) in [("patient", SECRET, patient), ("inputs", &big, inputs)] {
        let opening = site.vault().opening(&id, field).unwrap();
        assert_eq!(commit::commitment(field, &opening.opening, value), made);
    }
    let again: Result<_, VaultError> = site.vault().batch(|batch| batch.commit(&subject, &id, "patient", SECRET));
    assert_eq!(
        again.unwrap(),
        commit::commitment("patient", &site.vault().opening(&id, "patient").unwrap().opening, SECRET)
    );
}

/// Proves: REQ-STO-111
#[test]
fn callers_that_meet_at_one_subject_or_one_field_get_the_same_key_and_the_same_commitment() {
    let dir = made();
    let site = opened(dir.path());
    let id = site.new_id();
    let meeting = std::sync::Barrier::new(8);
    let told: Vec<_> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8_u8)
            .map(|caller| {
                let (site, meeting) = (&site, &meeting);
                scope.spawn(move || {
                    meeting.wait();
                    let subject = site.vault().subject(&site.keyed("patient", SECRET)).unwrap();
                    let object = site.vault().put(&subject, &[caller; 10]).unwrap();
                    let commit = site.vault().commit(&subject, &id, "patient", SECRET).unwrap();
                    // Of those that meet at this field one is kept, all others differ from it.
                    let own = site.vault().commit(&subject, &id, "caller", &[caller]);
                    (object, commit, own.map_err(|error| assert!(matches!(error, VaultError::Conflict))).is_ok())
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    for (caller, (object, commit, _)) in (0_u8..).zip(&told) {
        assert_eq!(site.vault().get(object).unwrap().open(), &[caller; 10]);
        assert_eq!(commit, &told[0].1);
    }
    assert_eq!(told.iter().filter(|(.., kept)| *kept).count(), 1);
    assert_eq!(site.vault().erase(&site.keyed("patient", SECRET)).unwrap(), 10, "one key for all of them");
    let erased: Vec<ObjectId> = told.iter().map(|(object, ..)| *object).collect();
    assert!(erased.iter().all(|object| matches!(site.vault().get(object), Err(VaultError::Erased))));
}
