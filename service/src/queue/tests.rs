//! The queue at real sites with the shipped model: what waits is read once and published, whatever happens meanwhile.
//! A process that dies is played by a copy of its folder, taken while a reading stands still at a known stage.

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
    _dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let house = House::create(&dir.path().join("site")).unwrap();
        gate::release_shipped(&house).unwrap();
        Self { house: Arc::new(house), _dir: dir }
    }

    /// What a process finds that starts after this one died here.
    fn after_a_crash(&self) -> Self {
        let dir = TempDir::new().unwrap();
        copy(self.house.site.dir(), &dir.path().join("site"));
        let house = House::open(&dir.path().join("site")).unwrap();
        Self { house: Arc::new(house), _dir: dir }
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

/// Proves: REQ-SVC-201
#[test]
fn the_sealed_record_holds_all_that_a_page_shows_and_the_log_commits_to_what_was_released() {
    let place = Place::new();
    place.take(&[film(0)]);
    let rows = place.read();
    let [row] = rows.as_slice() else { panic!("{} readings", rows.len()) };
    assert_eq!(row.status, "evaluated");
    let expected = if row.decision.as_deref() == Some("present") { attention::PRESENT } else { attention::ABSENT };
    assert_eq!(row.attention, expected);
    let record = Record::open(&place.house, row).unwrap();
    let original = Instance::from_bytes(film(0)).unwrap();
    assert_eq!(record.object["status"], "evaluated");
    assert_eq!(record.object["receipt"]["entry_id"], row.reading.to_string());
    assert!(record.object.get("files").is_none() && record.object.get("input").is_none(), "no name of a file");
    assert!(record.object["timing_ms"]["infer_explain"].as_f64().unwrap() > 0.0);
    assert_eq!(record.patient.id, *original.patient.id.open());
    assert_eq!(record.patient.name, *original.patient.name.open());
    assert_eq!(record.study.study_instance_uid, *original.study_instance_uid.open());
    assert_eq!((record.films, record.images.len(), record.study.key), (1, 1, row.study));
    assert!(!record.limits.is_empty());
    let explanation = record.explanation.as_ref().unwrap();
    assert_eq!(explanation.values.len(), explanation.grid[0] * explanation.grid[1]);
    assert!(explanation.values.iter().all(|value| (0.0..=1.0).contains(value)));
    assert_eq!((explanation.image, explanation.rows, explanation.columns), (0, 224, 224));
    for picture in [record.saliency_png(&place.house), record.overlay_png(&place.house)] {
        assert!(picture.unwrap().unwrap().open().starts_with(b"\x89PNG"));
    }
    // the entry that published it commits to the very bytes of the Bundle
    let bundle = record.bundle(&place.house).unwrap();
    let entry = Entry::parse(&place.house.site.entry(row.index).unwrap()).unwrap();
    let Body::FindingReleased(released) = &entry.body else { panic!("{}", entry.body.kind()) };
    let opening = place.house.site.vault().opening(&entry.entry_id, "resource").unwrap().opening;
    assert_eq!(commitment("resource", &opening, bundle.open()), released.resource);
    place.assert_log_whole();
}

/// Proves: REQ-SVC-200, REQ-SVC-202
#[test]
fn a_films_stored_values_reach_the_screen_exactly_and_what_is_not_there_is_named() {
    let place = Place::new();
    place.take(&[film(0)]);
    let row = place.read().remove(0);
    let record = Record::open(&place.house, &row).unwrap();
    let original = Instance::from_bytes(film(0)).unwrap();
    let decoded = original.decode().unwrap();
    let shown = pixels(&place.house, &record, 0, 0).unwrap();
    assert_eq!((shown.rows, shown.columns), (224, 224));
    let numbers: Vec<f64> =
        shown.bytes.chunks_exact(2).map(|pair| f64::from(u16::from_le_bytes([pair[0], pair[1]]))).collect();
    let stored: Vec<f64> = decoded.stored.floats(decoded.frame_range(0)).collect();
    assert!(numbers.iter().zip(&stored).all(|(number, stored)| (number - stored).abs() < 1e-9));
    assert_eq!(numbers.len(), stored.len());
    let png = rendered(&place.house, &record, 0, 0).unwrap();
    assert_eq!(png[16..24], [0, 0, 0, 224, 0, 0, 0, 224]);
    let missing = |instance, frame| pixels(&place.house, &record, instance, frame).err().unwrap();
    assert!(matches!(missing(1, 0), ViewError::NoImage { instance: 1 }));
    assert!(matches!(missing(0, 1), ViewError::NoFrame { instance: 0, frames: 1 }));
}

/// Proves: REQ-SVC-203
#[test]
fn a_study_that_was_taken_before_a_crash_is_read_after_the_restart() {
    let place = Place::new();
    place.take(&[film(1)]);
    let after = place.after_a_crash();
    assert_eq!(after.house.site.work_count().unwrap(), 1);
    let rows = after.read();
    assert_eq!((rows.len(), rows[0].status.as_str()), (1, "evaluated"));
    assert_eq!(after.house.site.work_count().unwrap(), 0);
    after.assert_log_whole();
}

/// Proves: REQ-SVC-203, REQ-SVC-204
#[test]
fn a_crash_between_outcome_and_release_shows_nothing_and_the_restart_publishes_once() {
    let place = Place::new();
    place.take(&[film(2)]);
    let (observer, stands, go) = Holds::new("outcome");
    let queue = place.queue(observer);
    stands.recv_timeout(LONG).unwrap();
    let after = place.after_a_crash();
    go.send(()).unwrap();
    assert!(queue.stop(LONG));
    assert!(after.list().is_empty(), "an outcome that was not released is not seen");
    assert_eq!(outcomes(&after.bodies()), [OutcomeStatus::Ok]);
    let rows = after.read();
    assert_eq!((rows.len(), rows[0].status.as_str()), (1, "evaluated"));
    assert_eq!(count(&after.bodies(), "finding_released"), 1);
    after.assert_log_whole();
    assert_eq!(place.list().len(), 1, "the process that lived on published it too");
}

/// Proves: REQ-SVC-204
#[test]
fn a_crash_within_an_inference_is_closed_as_interrupted_and_the_study_is_read_again() {
    let place = Place::new();
    place.take(&[film(2)]);
    let (observer, stands, go) = Holds::new("infer_explain");
    let queue = place.queue(observer);
    stands.recv_timeout(LONG).unwrap();
    let after = place.after_a_crash();
    go.send(()).unwrap();
    assert!(queue.stop(LONG));
    let rows = after.read();
    assert_eq!((rows.len(), rows[0].status.as_str()), (1, "evaluated"));
    assert_eq!(outcomes(&after.bodies()), [OutcomeStatus::Interrupted, OutcomeStatus::Ok]);
    after.assert_log_whole();
}

/// Proves: REQ-SVC-205
#[test]
fn a_withdrawal_made_while_serving_holds_for_the_next_reading() {
    let place = Place::new();
    place.take(&[film(3)]);
    let queue = place.queue(Arc::new(Quiet));
    place.wait_for_all(&queue);
    assert!(queue.model_is_admitted());
    let model = place.house.site.models().unwrap().remove(0);
    gate::withdraw(&place.house, &model, "a test of the withdrawal").unwrap();
    place.take(&[film(4)]);
    queue.wake();
    place.wait_for_all(&queue);
    assert!(queue.stop(LONG));
    assert!(!queue.model_is_admitted());
    let mut rows = place.list();
    rows.sort_by_key(|row| row.index);
    let states: Vec<&str> = rows.iter().map(|row| row.status.as_str()).collect();
    assert_eq!(states, ["evaluated", "failed"]);
    assert_eq!(reason(&place, &rows[1]), "model-not-admitted");
    assert_eq!(rows[1].attention, attention::FAILED);
    place.assert_log_whole();
}

/// Proves: REQ-SVC-205
#[test]
fn weights_that_change_while_serving_stop_the_next_reading_and_their_return_lets_it_go_on() {
    let place = Place::new();
    let queue = place.queue(Arc::new(Quiet));
    let model = place.house.site.models().unwrap().remove(0);
    let weights = gate::folder(&place.house, &model.root).join("weights.safetensors");
    let whole = fs::read(&weights).unwrap();
    let mut changed = whole.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    for (bytes, number) in [(&changed, 5), (&whole, 6)] {
        fs::write(&weights, bytes).unwrap();
        place.take(&[film(number)]);
        queue.wake();
        place.wait_for_all(&queue);
    }
    assert!(queue.stop(LONG));
    let mut rows = place.list();
    rows.sort_by_key(|row| row.index);
    assert_eq!(reason(&place, &rows[0]), "model-not-admitted");
    assert_eq!(rows[1].status, "evaluated");
    place.assert_log_whole();
}

/// Proves: REQ-SVC-206
#[test]
fn a_panic_in_a_reading_is_a_failed_reading_and_the_next_study_is_read() {
    for stage in ["open", "guard", "infer_explain", "outcome", "seal"] {
        let place = Place::new();
        place.take(&[film(7)]);
        let queue = place.queue(Panics::new(stage, 1));
        place.wait_for_all(&queue);
        place.take(&[film(8)]);
        queue.wake();
        place.wait_for_all(&queue);
        assert!(queue.stop(LONG), "{stage}");
        let mut rows = place.list();
        rows.sort_by_key(|row| row.index);
        assert_eq!((rows.len(), rows[0].status.as_str()), (2, "failed"), "{stage}");
        assert_eq!(reason(&place, &rows[0]), "crashed", "{stage}");
        assert_eq!(rows[1].status, "evaluated", "{stage}");
        let entries = place.bodies();
        assert_eq!(count(&entries, "read_intent"), outcomes(&entries).len(), "{stage}: no intent stays open");
        place.assert_log_whole();
    }
}

/// Proves: REQ-SVC-206
#[test]
fn what_cannot_even_be_given_up_is_left_for_the_next_start_and_others_are_read() {
    let place = Place::new();
    place.take(&[film(7)]);
    // the reading ends in a panic, and so does its publication as failed
    let queue = place.queue(Panics::new("seal", 2));
    place.take(&[film(8)]);
    queue.wake();
    assert!(queue.changed(0, LONG) > 0);
    assert!(queue.stop(LONG));
    assert_eq!((place.list().len(), place.house.site.work_count().unwrap()), (1, 1));
    let after = place.after_a_crash();
    assert_eq!(after.read().len(), 2);
    after.assert_log_whole();
}

/// Proves: REQ-SVC-207
#[test]
fn a_study_that_took_the_process_with_it_three_times_is_published_as_failed_unread() {
    let place = Place::new();
    let work = place.take(&[film(9)]);
    for _ in 0..ATTEMPTS_MAX {
        place.house.site.work_begin(&work.study).unwrap();
    }
    let rows = place.read();
    assert_eq!((rows.len(), rows[0].status.as_str()), (1, "failed"));
    assert_eq!(reason(&place, &rows[0]), "crashed");
    assert_eq!(count(&place.bodies(), "read_intent"), 0, "it was not tried a fourth time");
    let record = Record::open(&place.house, &rows[0]).unwrap();
    assert!(record.not_evaluated[0].text.contains("tried 3 times"), "{}", record.not_evaluated[0].text);
    place.assert_log_whole();
}

/// Proves: REQ-SVC-208
#[test]
fn a_queue_is_full_when_as_many_wait_as_it_holds_and_has_room_again_when_they_are_read() {
    let place = Place::new();
    let start = |capacity| {
        let options = QueueOptions { threads: 1, capacity };
        Queue::start(Arc::clone(&place.house), Arc::new(Quiet), options).unwrap()
    };
    let none = start(0);
    assert!(none.is_full());
    assert!(none.stop(LONG));
    let (observer, stands, go) = Holds::new("guard");
    let options = QueueOptions { threads: 1, capacity: 2 };
    let two = Queue::start(Arc::clone(&place.house), observer, options).unwrap();
    place.take(&[film(0)]);
    two.wake();
    stands.recv_timeout(LONG).unwrap();
    assert!(!two.is_full());
    place.take(&[film(1)]);
    assert!(two.is_full());
    assert_eq!((two.depth(), two.in_progress()), (1, 1));
    go.send(()).unwrap();
    two.wake();
    place.wait_for_all(&two);
    assert!(!two.is_full());
    assert!(two.stop(LONG));
    assert_eq!((place.list().len(), two.depth(), two.in_progress()), (2, 0, 0));
}

/// Proves: REQ-SVC-209
#[test]
fn a_stop_finishes_the_reading_in_progress_begins_none_and_loses_nothing() {
    let place = Place::new();
    place.take(&[film(2)]);
    let (observer, stands, go) = Holds::new("intent");
    let queue = place.queue(observer);
    stands.recv_timeout(LONG).unwrap();
    place.take(&[film(3)]);
    queue.wake();
    assert!(!queue.stop(Duration::ZERO), "the reading still stands");
    go.send(()).unwrap();
    assert!(queue.stop(LONG));
    assert_eq!((place.list().len(), place.house.site.work_count().unwrap()), (1, 1));
    assert_eq!(place.read().len(), 2);
    place.assert_log_whole();
}

/// Proves: REQ-SVC-210
#[test]
fn one_who_waits_for_changes_is_told_at_once_and_is_let_go_in_time() {
    let place = Place::new();
    let queue = place.queue(Arc::new(Quiet));
    assert_eq!(queue.changed(0, Duration::from_millis(20)), 0, "nothing happened");
    place.take(&[film(4)]);
    queue.wake();
    let tip = queue.changed(0, LONG);
    assert_eq!(tip, place.list()[0].index);
    assert_eq!(queue.changed(0, Duration::ZERO), tip, "what happened before is told at once");
    let waiting = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || queue.changed(tip, LONG))
    };
    assert!(queue.stop(LONG));
    assert_eq!(waiting.join().unwrap(), tip, "the end of the service lets everyone go");
}

/// Proves: REQ-SVC-211
#[test]
fn a_reading_names_who_sent_the_study_and_goes_on_with_the_senders_trace() {
    let place = Place::new();
    place.take(&[film(5)]);
    place.read();
    let entries = place.bodies();
    let intent = entries.iter().find(|entry| entry.body.kind() == "read_intent").unwrap();
    assert_eq!(intent.actor, sender());
    for kind in ["read_intent", "read_outcome", "finding_released"] {
        let entry = entries.iter().find(|entry| entry.body.kind() == kind).unwrap();
        assert_eq!(entry.trace.as_deref(), Some(TRACE), "{kind}");
    }
    let outcome = entries.iter().find(|entry| entry.body.kind() == "read_outcome").unwrap();
    assert_eq!(outcome.actor, Actor::system(), "what the program concludes is its own");
}

/// Proves: REQ-SVC-212
#[test]
fn what_the_guard_refuses_is_published_with_its_reason_and_no_probability() {
    let place = Place::new();
    place.take(&[&altered(film(6), "CHEST ", "ANKLE ")]);
    let row = place.read().remove(0);
    assert_eq!(
        (row.status.as_str(), row.attention, row.decision.clone()),
        ("not_evaluated", attention::NOT_EVALUATED, None)
    );
    let record = Record::open(&place.house, &row).unwrap();
    assert_eq!(record.object["findings"], serde_json::json!([]));
    assert_eq!(record.not_evaluated[0].code, "body-part-unsupported");
    assert!(record.explanation.is_none() && record.saliency.is_none() && record.images.len() == 1);
    let entry = Entry::parse(&place.house.site.entry(row.index).unwrap()).unwrap();
    let Body::Access(access) = &entry.body else { panic!("{}", entry.body.kind()) };
    assert_eq!((access.operation.as_str(), access.why.as_str()), ("publish", "not_evaluated"));
    assert_eq!(entry.actor, Actor::system());
    place.assert_log_whole();
}

/// Proves: REQ-SVC-212
#[test]
fn all_films_of_a_study_are_read_together_and_those_set_aside_are_named() {
    let place = Place::new();
    let uid = Instance::from_bytes(film(7)).unwrap().sop_instance_uid.open().clone();
    let mut other = uid.clone().into_bytes();
    let last = other.len() - 1;
    other[last] = b'9';
    assert!(other > uid.clone().into_bytes(), "films without a number stand in the order of their identifiers");
    let second = altered(film(7), &uid, std::str::from_utf8(&other).unwrap());
    place.take(&[film(7), &altered(&second, "CHEST ", "ANKLE ")]);
    let row = place.read().remove(0);
    assert_eq!(row.status, "evaluated");
    let record = Record::open(&place.house, &row).unwrap();
    assert_eq!((record.films, record.images.len()), (2, 2));
    let named: Vec<&str> = record.not_evaluated.iter().map(|why| why.code.as_str()).collect();
    assert_eq!(named, ["body-part-unsupported"]);
    assert!(record.not_evaluated[0].text.starts_with("Image 2: "), "{}", record.not_evaluated[0].text);
}

/// Proves: REQ-SVC-213
#[test]
fn a_patient_who_is_erased_while_the_study_waits_stops_no_other() {
    let place = Place::new();
    let work = place.take(&[film(8)]);
    place.take(&[film(9)]);
    place.house.site.vault().erase(&work.patient).unwrap();
    let mut rows = place.read();
    rows.sort_by_key(|row| row.index);
    let states: Vec<&str> = rows.iter().map(|row| row.status.as_str()).collect();
    assert_eq!(states, ["failed", "evaluated"]);
    let record = Record::open(&place.house, &rows[0]).unwrap();
    assert!(record.patient.name.is_empty() && record.images.is_empty());
    assert_eq!(record.not_evaluated[1].text, "An image that came with the study: its sealed original cannot be opened");
    place.assert_log_whole();
}

/// Proves: REQ-SVC-214
#[test]
fn a_full_disk_makes_a_study_wait_and_it_is_read_when_there_is_room() {
    let place = Place::new();
    place.take(&[film(10)]);
    let site = &place.house.site;
    site.limit_pages(1).unwrap();
    let filler = || Incident {
        code: "test".into(),
        severity: "warning".into(),
        detail: Sha256(Digest::of(b"")),
        text: "x".repeat(1_900).as_str().into(),
    };
    let full = loop {
        match site.record(Draft::system(site.new_id(), filler())) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(full, RecordError::DiskFull(_)), "{full}");
    let queue = place.queue(Arc::new(Quiet));
    assert_eq!(queue.changed(0, Duration::from_millis(300)), 0, "nothing is published that the log cannot hold");
    assert_eq!(site.work_count().unwrap(), 1);
    site.limit_pages(1_000_000).unwrap();
    place.wait_for_all(&queue);
    assert!(queue.stop(LONG));
    assert_eq!(place.list()[0].status, "evaluated");
    place.assert_log_whole();
}

/// Proves: REQ-SVC-215
#[test]
fn every_stage_of_a_reading_is_told_with_how_it_ended() {
    #[derive(Default)]
    struct Listens(Mutex<Vec<String>>);
    impl Observer for Listens {
        fn stage(&self, name: &'static str, seconds: f64) {
            assert!(seconds >= 0.0);
            self.0.lock().unwrap().push(name.to_owned());
        }
        fn reading(&self, status: &'static str, reason: Option<&str>) {
            self.0.lock().unwrap().push(format!("{status}/{}", reason.unwrap_or_default()));
        }
    }
    let place = Place::new();
    place.take(&[film(11)]);
    let listens = Arc::new(Listens::default());
    let queue = place.queue(Arc::clone(&listens) as _);
    place.wait_for_all(&queue);
    assert!(queue.stop(LONG));
    let told = listens.0.lock().unwrap().join(" ");
    // no folder: nothing is written outside of the site
    assert_eq!(told, "open guard intent infer_explain draw outcome write seal release evaluated/");
    assert!(!place.house.readings().exists());
}

/// The folder of a path that a test of the command line writes to.
fn folder(place: &Place) -> PathBuf {
    place.house.readings()
}

/// Proves: REQ-SVC-212
#[test]
fn a_reading_of_the_command_line_is_published_and_a_file_that_is_no_film_is_not() {
    let place = Place::new();
    let films = TempDir::new().unwrap();
    fs::write(films.path().join("1.dcm"), film(0)).unwrap();
    fs::write(films.path().join("2.dcm"), b"no film at all").unwrap();
    let model = gate::admit(&place.house).unwrap();
    let out = folder(&place);
    let asked = Asked::on_command_line(&place.house);
    let reader = Pipeline::new(&place.house, model.as_ref(), Pipeline::purpose_of(&model), asked).into_folder(&out);
    let facts = vidimus_imaging::import::ImportFacts::default();
    let mut published = Vec::new();
    for group in pipeline::gather(&[films.path().to_owned()], &facts) {
        published.extend(reader.read(group, &facts).unwrap().iter().map(|result| result.published));
    }
    assert_eq!(published, [true, false]);
    assert_eq!(place.list().len(), 1);
    place.assert_log_whole();
}
