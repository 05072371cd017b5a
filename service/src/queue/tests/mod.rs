//! The queue at real sites with the shipped model: what waits is read once and published, whatever happens meanwhile.
//! A process that dies is played by a copy of its folder, taken while a reading stands still at a known stage.

mod faults;
mod kills;
mod readings;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use tempfile::TempDir;
use vidimus_imaging::Instance;
use vidimus_log::{
    Actor, Body, Draft, Entry, RecordError, Recorder as _,
    body::{Access, AccessAction, AccessResult, AccessWhat, Incident, OutcomeStatus},
    commit::commitment,
    values::Sha256,
};
use vidimus_store::{ObjectId, PublishedRow, Row, WorklistQuery, attention};

use super::*;
use crate::{
    gate,
    pipeline::{Record, ViewError, pixels, rendered},
    shipped,
};

/// Longer than any reading here takes; a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(120);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

struct Place {
    house: Arc<House>,
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let house = House::create(&dir.path().join("site")).unwrap();
        gate::release_shipped(&house).unwrap();
        Self { house: Arc::new(house), dir }
    }

    /// The site of a process that has ended, one way or another.
    fn open(dir: TempDir) -> Self {
        let house = House::open(&dir.path().join("site")).unwrap();
        Self { house: Arc::new(house), dir }
    }

    /// Ends this process's work on the site, whose whole log verifies.
    fn close(self) -> TempDir {
        self.assert_log_whole();
        // A worker gives its share of the house back a moment after it has ended.
        while Arc::strong_count(&self.house) > 1 {
            std::thread::yield_now();
        }
        Arc::into_inner(self.house).unwrap().close().unwrap();
        self.dir
    }

    /// What a process finds that starts after this one died here.
    fn after_a_crash(&self) -> Self {
        let dir = TempDir::new().unwrap();
        copy(self.house.site.dir(), &dir.path().join("site"));
        Self::open(dir)
    }

    /// Takes films as the network's side does: sealed, and with one entry that says what waits.
    fn take(&self, films: &[&[u8]]) -> WorkRow {
        let site = &self.house.site;
        let first = Instance::from_bytes(films[0]).unwrap();
        let study = site.keyed("study", first.study_instance_uid.open().as_bytes());
        let patient = site.keyed("patient", first.patient.id.open().as_bytes());
        let subject = self.house.subject(&patient).unwrap();
        let mut rows = Vec::new();
        let mut document = ObjectId::from_bytes([0; 16]);
        for film in films {
            let instance = Instance::from_bytes(film).unwrap();
            document = site.vault().put(&subject, film).unwrap();
            let key = site.keyed("instance", instance.sop_instance_uid.open().as_bytes());
            let content = site.keyed("content", instance.bytes_digest.as_bytes());
            rows.push(Row::Instance { key, study, patient, content, object: document });
        }
        let id = site.new_id();
        rows.push(Row::Work { study, patient, arrival: id, document });
        let body = Access {
            operation: "dicomweb.store".into(),
            action: AccessAction::Create,
            what: AccessWhat::Image,
            subject: None,
            result: AccessResult::Granted,
            why: "stored".into(),
            policy: Sha256(Digest::of(b"policy")),
            client: site.vault().commit(&subject, &id, "client", b"test").unwrap(),
        };
        let draft =
            Draft { entry_id: id, actor: sender(), refs: Vec::new(), body: body.into(), trace: Some(TRACE.into()) };
        site.record_with(draft, rows).unwrap();
        site.work(64).unwrap().into_iter().find(|row| row.study == study).unwrap()
    }

    fn queue(&self, observer: Arc<dyn Observer>) -> Arc<Queue> {
        Queue::start(Arc::clone(&self.house), observer, QueueOptions { threads: 1, capacity: 8 }).unwrap()
    }

    fn list(&self) -> Vec<PublishedRow> {
        self.house.site.worklist(&WorklistQuery::default()).unwrap()
    }

    fn bodies(&self) -> Vec<Entry> {
        let site = &self.house.site;
        site.entries(0..site.size()).unwrap().iter().map(|bytes| Entry::parse(bytes).unwrap()).collect()
    }

    /// Reads all that waits.
    fn read(&self) -> Vec<PublishedRow> {
        let queue = self.queue(Arc::new(Quiet));
        self.wait_for_all(&queue);
        assert!(queue.stop(LONG));
        self.list()
    }

    fn wait_for_all(&self, queue: &Queue) {
        let end = Instant::now() + LONG;
        let mut seen = 0;
        while self.house.site.work_count().unwrap() > 0 {
            assert!(Instant::now() < end, "a study waits for ever");
            seen = queue.changed(seen, Duration::from_secs(1));
        }
    }

    fn assert_log_whole(&self) {
        self.house.site.verify().unwrap();
    }
}

fn sender() -> Actor {
    Actor::service([7; 16], "modality")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if !entry.file_name().to_string_lossy().ends_with("-shm") {
            // the index of a write-ahead log is made anew by whoever opens the database
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A sample film of the repository, counted from 0.
fn film(number: usize) -> &'static [u8] {
    shipped::samples().nth(number).unwrap().1
}

/// The same film with another value in the place of one of the same length, everywhere.
fn altered(film: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = film.to_vec();
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty(), "the film holds {from}");
    for place in places {
        bytes[place..place + from.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

struct Quiet;

impl Observer for Quiet {
    fn stage(&self, _: &'static str, _: f64) {}
    fn reading(&self, _: &'static str, _: Option<&str>) {}
}

/// Panics at the end of a stage, so many times.
struct Panics {
    at: &'static str,
    left: Mutex<u32>,
}

impl Panics {
    fn new(at: &'static str, times: u32) -> Arc<Self> {
        Arc::new(Self { at, left: Mutex::new(times) })
    }
}

impl Observer for Panics {
    fn stage(&self, name: &'static str, _: f64) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if name == self.at && *left > 0 {
            *left -= 1;
            panic!("a fault that the test put here");
        }
    }
    fn reading(&self, _: &'static str, _: Option<&str>) {}
}

/// Stands still at the end of a stage, once, until told to go on.
struct Holds {
    at: &'static str,
    doors: Mutex<Option<(SyncSender<()>, Receiver<()>)>>,
}

impl Holds {
    /// The observer, what tells that it stands, and what lets it go on.
    fn new(at: &'static str) -> (Arc<Self>, Receiver<()>, SyncSender<()>) {
        let (reached, stands) = sync_channel(1);
        let (go, wait) = sync_channel(1);
        (Arc::new(Self { at, doors: Mutex::new(Some((reached, wait))) }), stands, go)
    }
}

impl Observer for Holds {
    fn stage(&self, name: &'static str, _: f64) {
        if name != self.at {
            return;
        }
        let doors = self.doors.lock().unwrap().take();
        if let Some((reached, wait)) = doors {
            reached.send(()).unwrap();
            wait.recv_timeout(LONG).unwrap();
        }
    }
    fn reading(&self, _: &'static str, _: Option<&str>) {}
}

fn count(entries: &[Entry], kind: &str) -> usize {
    entries.iter().filter(|entry| entry.body.kind() == kind).count()
}

fn outcomes(entries: &[Entry]) -> Vec<OutcomeStatus> {
    let status = |entry: &Entry| match &entry.body {
        Body::ReadOutcome(outcome) => Some(outcome.status),
        _ => None,
    };
    entries.iter().filter_map(status).collect()
}

fn reason(place: &Place, row: &PublishedRow) -> String {
    let record = Record::open(&place.house, row).unwrap();
    record.object["reason"]["code"].as_str().unwrap_or_default().to_owned()
}
