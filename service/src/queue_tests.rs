//! The service's line under faults of the machine: processes killed after every step, documents that are gone.
//! What was taken is read, once, and the log verifies.

use std::{
    env, fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use vidimus_imaging::Instance;
use vidimus_log::{
    Actor, Digest, Draft, EntryId, Recorder as _,
    body::{Access, AccessAction, AccessResult, AccessWhat},
    values::Sha256,
};
use vidimus_store::{Order, PublishedRow, Row, WorklistQuery};

use crate::{
    gate,
    pipeline::{Observer, Record, holding::patient_key},
    queue::{Queue, QueueOptions},
    site::House,
};

/// Where the process that is killed finds its site, and after which step it dies.
const DIR: &str = "VIDIMUS_TEST_DIR";
const STEP: &str = "VIDIMUS_TEST_STEP";
const PATIENCE: Duration = Duration::from_secs(200);

/// Who only looks on.
struct Nobody;

impl Observer for Nobody {
    fn stage(&self, _: &'static str, _: f64) {}
    fn reading(&self, _: &'static str, _: Option<&str>) {}
}

/// Kills its own process after a step, as nothing that can be caught does.
struct Kills(String);

impl Observer for Kills {
    fn stage(&self, name: &'static str, _: f64) {
        if name == self.0 {
            Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status().unwrap();
            thread::sleep(PATIENCE);
        }
    }
    fn reading(&self, _: &'static str, _: Option<&str>) {}
}

/// Proves: REQ-SVC-203, REQ-SVC-204
#[test]
fn the_process_that_the_other_tests_kill() {
    let (Some(dir), Ok(step)) = (env::var_os(DIR), env::var(STEP)) else { return };
    let house = Arc::new(House::open(Path::new(&dir)).unwrap());
    let _queue = start(&house, Arc::new(Kills(step)));
    thread::sleep(PATIENCE);
}

fn start(house: &Arc<House>, observer: Arc<dyn Observer>) -> Arc<Queue> {
    Queue::start(Arc::clone(house), observer, QueueOptions { threads: 2, capacity: 100 }).unwrap()
}

/// A site with the shipped model released for demonstration.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: TempDir::new().unwrap() };
        let house = House::create(&place.dir()).unwrap();
        gate::release_shipped(&house).unwrap();
        house.close().unwrap();
        place
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("site")
    }

    fn open(&self) -> Arc<House> {
        Arc::new(House::open(&self.dir()).unwrap())
    }

    /// A film arrives while nobody reads.
    fn takes(&self, number: usize) -> Digest {
        let house = House::open(&self.dir()).unwrap();
        let (study, _) = arrive(&house, &film(number));
        house.close().unwrap();
        study
    }

    /// A process reads until it is killed after a step.
    fn is_killed_after(&self, step: &str) {
        let ended = Command::new(env::current_exe().unwrap())
            .args(["--exact", "queue_tests::the_process_that_the_other_tests_kill"])
            .env(DIR, self.dir())
            .env(STEP, step)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(ended.signal(), Some(9), "{step}: {ended}");
    }

    /// The next start reads what waits; its log verifies.
    fn starts_again(&self) {
        let house = self.open();
        let queue = start(&house, Arc::new(Nobody));
        read_all(&house, &queue);
        end(house, queue);
    }

    fn published(&self, study: &Digest) -> Vec<PublishedRow> {
        let house = House::open_read(&self.dir()).unwrap();
        published(&house, study)
    }
}

fn film(number: usize) -> Vec<u8> {
    fs::read(format!("{}/samples/sample-{number:02}.dcm", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The same film as another study of the same patient.
fn again(film: &[u8]) -> Vec<u8> {
    let mut bytes = film.to_vec();
    let places: Vec<usize> =
        film.windows(5).enumerate().filter(|(_, window)| window == b"2.25.").map(|(place, _)| place).collect();
    for place in places {
        bytes[place + 5] = b'1' + (bytes[place + 5] - b'0') % 9;
    }
    bytes
}

/// What STOW-RS records of a film.
fn arrive(house: &House, film: &[u8]) -> (Digest, Digest) {
    let instance = Instance::from_bytes(film).unwrap();
    let (site, vault) = (&house.site, house.site.vault());
    let patient = patient_key(house, &instance);
    let study = site.keyed("study", instance.study_instance_uid.open().as_bytes());
    let key = site.keyed("instance", instance.sop_instance_uid.open().as_bytes());
    let content = site.keyed("content", instance.bytes_digest.as_bytes());
    let object = vault.put(&house.subject(&patient).unwrap(), film).unwrap();
    let id: EntryId = site.new_id();
    let body = Access {
        operation: "stow".into(),
        action: AccessAction::Create,
        what: AccessWhat::Study,
        subject: None,
        result: AccessResult::Granted,
        why: "stored".into(),
        policy: Sha256(Digest::of(b"policy")),
        client: vault.commit(&vault.site().unwrap(), &id, "client", b"test").unwrap(),
    };
    let actor = Actor { id: "svc_aaaaaaaaaaaaaaaaaaaaaaaaaa".into(), role: "modality".into() };
    let draft = Draft { entry_id: id, actor, refs: Vec::new(), body: body.into(), trace: None };
    let rows = vec![
        Row::Instance { key, study, patient, content, object },
        Row::Work { study, patient, arrival: id, document: object },
    ];
    site.record_with(draft, rows).unwrap();
    (study, patient)
}

fn read_all(house: &House, queue: &Queue) {
    queue.wake();
    let begun = Instant::now();
    while house.site.work_count().unwrap() > 0 || queue.in_progress() > 0 {
        assert!(begun.elapsed() < PATIENCE, "what waits is not read");
        thread::sleep(Duration::from_millis(20));
    }
}

fn published(house: &House, study: &Digest) -> Vec<PublishedRow> {
    let query = WorklistQuery { order: Order::Newest, study: Some(*study), limit: 10, ..WorklistQuery::default() };
    house.site.worklist(&query).unwrap()
}

/// The one reading of a study: status, and code and text of its reason.
fn only(house: &House, study: &Digest) -> (String, String, String) {
    let rows = published(house, study);
    assert_eq!(rows.len(), 1, "a study is read once");
    let reason = Record::open(house, &rows[0]).unwrap().object["reason"].clone();
    let text = |name: &str| reason[name].as_str().unwrap_or_default().to_owned();
    (rows[0].status.clone(), text("code"), text("text"))
}

/// Stops the queue and ends the process's work on the site, whose whole log verifies.
fn end(house: Arc<House>, queue: Arc<Queue>) {
    assert!(queue.stop(PATIENCE));
    drop(queue);
    house.site.verify().unwrap();
    // a worker gives its share of the house back a moment after it has ended
    while Arc::strong_count(&house) > 1 {
        thread::yield_now();
    }
    Arc::into_inner(house).unwrap().close().unwrap();
}

/// Proves: REQ-SVC-203, REQ-SVC-204
#[test]
fn a_process_killed_after_any_step_of_a_reading_leaves_one_published_reading() {
    let place = Place::new();
    let steps = ["open", "guard", "intent", "infer_explain", "outcome", "seal", "release"];
    for (number, step) in (1..).zip(steps) {
        let study = place.takes(number);
        place.is_killed_after(step);
        assert_eq!(place.published(&study).len(), usize::from(step == "release"), "{step}");
        place.starts_again();
        let rows = place.published(&study);
        assert_eq!(rows.iter().map(|row| row.status.as_str()).collect::<Vec<_>>(), ["evaluated"], "{step}");
    }
}

/// Proves: REQ-SVC-207
#[test]
fn a_study_that_takes_the_process_with_it_is_given_up_and_the_next_one_read() {
    let place = Place::new();
    let study = place.takes(1);
    for _ in 0..3 {
        place.is_killed_after("open");
    }
    let next = place.takes(2);
    place.starts_again();
    let house = place.open();
    let (status, code, text) = only(&house, &study);
    assert_eq!((status.as_str(), code.as_str()), ("failed", "crashed"));
    assert!(text.contains("3 times"), "{text}");
    assert_eq!(only(&house, &next).0, "evaluated");
}

/// Proves: REQ-SVC-213
#[test]
fn a_document_that_is_gone_or_erased_holds_up_no_other_study() {
    let place = Place::new();
    let house = place.open();
    let queue = start(&house, Arc::new(Nobody));
    let (first, patient) = arrive(&house, &film(1));
    read_all(&house, &queue);
    assert_eq!(only(&house, &first).0, "evaluated");
    // What was published of the patient cannot be opened any more; a later film of the same patient stands for itself.
    house.site.vault().erase(&patient).unwrap();
    let (later, _) = arrive(&house, &again(&film(1)));
    let (gone, _) = arrive(&house, &film(2));
    let object = house.site.study_instances(&gone).unwrap()[0].object;
    fs::remove_file(place.dir().join("objects").join(object.to_string())).unwrap();
    let (blocked, _) = arrive(&house, &film(3));
    let object = house.site.study_instances(&blocked).unwrap()[0].object;
    let path = place.dir().join("objects").join(object.to_string());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let (last, _) = arrive(&house, &film(4));
    read_all(&house, &queue);
    assert_eq!(only(&house, &later).0, "evaluated");
    assert_eq!(only(&house, &last).0, "evaluated");
    let (status, code, _) = only(&house, &gone);
    assert_eq!((status.as_str(), code.as_str()), ("failed", "unreadable"));
    let (status, code, _) = only(&house, &blocked);
    assert_eq!((status.as_str(), code.as_str()), ("failed", "crashed"));
    end(house, queue);
}
