//! Sites to measure at: the demonstration's, and the same with thousands of published readings, put there through the
//! store as the pipeline would publish them.
//! Errors: panics, as a measurement without its site is none.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use vidimus_log::{Digest, Draft, Recorder as _, body::Incident, values::Sha256};
use vidimus_store::{BootFacts, Order, PublishedRow, Row, Site, WorklistQuery};
use vidimus_tests::vidimus_run;

/// Entries of one transaction.
const BATCH: usize = 64;
/// Threads that seal documents.
const THREADS: usize = 8;

/// The demonstration's site in `folder`.
pub(crate) fn demo(folder: &Path) -> PathBuf {
    let dir = folder.join("demo");
    let name = dir.to_str().expect("the folder's name is text");
    vidimus_run(&["demo", "--no-serve", "--dir", name]).expect_code(0);
    dir
}

/// A copy of a site.
pub(crate) fn copy(from: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to).expect("the folder can be made");
    fs::set_permissions(to, fs::metadata(from).expect("the site is there").permissions()).expect("its mode can be set");
    for entry in fs::read_dir(from).expect("the site can be read") {
        let entry = entry.expect("the site can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("the site can be copied");
        }
    }
    to.to_owned()
}

/// Publishes the readings of a site again until it has `count` of them: each with a record of its own, sealed.
pub(crate) fn fill(dir: &Path, count: usize) {
    let nothing = Digest::of(b"bench");
    let boot = BootFacts {
        binary: nothing,
        version: "bench".into(),
        config: nothing,
        host: "local".into(),
        backend: "cpu".into(),
    };
    let site = Site::open(dir, &boot).expect("the site opens");
    let query = WorklistQuery { order: Order::Newest, limit: 200, ..WorklistQuery::default() };
    let known = site.worklist(&query).expect("the site has a worklist");
    assert!(!known.is_empty(), "the demonstration publishes its readings");
    let missing: Vec<&PublishedRow> = (known.len()..count).map(|number| &known[number % known.len()]).collect();
    thread::scope(|scope| {
        for share in missing.chunks(missing.len().div_ceil(THREADS).max(1)) {
            let site = &site;
            scope.spawn(move || share.chunks(BATCH).for_each(|batch| publish(site, batch)));
        }
    });
    site.shutdown("done").expect("the site closes");
}

fn publish(site: &Site, batch: &[&PublishedRow]) {
    let drafts = batch.iter().map(|row| {
        let subject = site.vault().subject(&row.patient).expect("the patient is known");
        let record = site.vault().get(&row.document).expect("the record opens");
        let document = site.vault().put(&subject, record.open()).expect("the vault has room");
        let id = site.new_id();
        let body = Incident {
            code: "bench".into(),
            severity: "info".into(),
            detail: Sha256(Digest::of(b"bench")),
            text: "a reading published for a measurement".into(),
        };
        let row = Row::Published {
            reading: id,
            study: row.study,
            patient: row.patient,
            status: row.status.clone(),
            decision: row.decision.clone(),
            attention: row.attention,
            model_root: row.model_root,
            document,
            issued_ms: row.issued_ms,
        };
        (Draft::system(id, body), vec![row])
    });
    site.record_all(drafts.collect()).expect("the log has room");
}
