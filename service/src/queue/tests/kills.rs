//! Processes that are killed after every step of a reading, and documents that are gone: what was taken is read, once,
//! no other study is held up, and the log verifies.

use std::{
    env,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
};

use super::*;

/// Where the process that is killed finds its site, and after which step it dies.
const DIR: &str = "VIDIMUS_TEST_DIR";
const STEP: &str = "VIDIMUS_TEST_STEP";

/// Kills its own process after a step, as nothing that can be caught does.
struct Kills(String);

impl Observer for Kills {
    fn stage(&self, name: &'static str, _: f64) {
        if name == self.0 {
            Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status().unwrap();
            thread::sleep(LONG);
        }
    }
    fn reading(&self, _: &'static str, _: Option<&str>) {}
}

/// Two at once, as a site with more than one reader has them.
fn two_readers(place: &Place, observer: Arc<dyn Observer>) -> Arc<Queue> {
    Queue::start(Arc::clone(&place.house), observer, QueueOptions { threads: 2, capacity: 100 }).unwrap()
}

/// Proves: REQ-SVC-203, REQ-SVC-204
#[test]
fn the_process_that_the_other_tests_kill() {
    let (Some(dir), Ok(step)) = (env::var_os(DIR), env::var(STEP)) else { return };
    let house = Arc::new(House::open(Path::new(&dir)).unwrap());
    let _queue = Queue::start(house, Arc::new(Kills(step)), QueueOptions { threads: 2, capacity: 100 }).unwrap();
    thread::sleep(LONG);
}

/// A film arrives while nobody reads.
fn takes(dir: TempDir, number: usize) -> (Digest, TempDir) {
    let place = Place::open(dir);
    let study = place.take(&[film(number)]).study;
    (study, place.close())
}

/// A process reads until it is killed after a step.
fn is_killed_after(dir: &TempDir, step: &str) {
    let ended = Command::new(env::current_exe().unwrap())
        .args(["--exact", "queue::tests::kills::the_process_that_the_other_tests_kill"])
        .env(DIR, dir.path().join("site"))
        .env(STEP, step)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(ended.signal(), Some(9), "{step}: {ended}");
}

/// The next start reads what waits.
fn starts_again(dir: TempDir) -> Place {
    let place = Place::open(dir);
    let queue = two_readers(&place, Arc::new(Quiet));
    place.wait_for_all(&queue);
    assert!(queue.stop(LONG));
    place
}

fn published(house: &House, study: &Digest) -> Vec<PublishedRow> {
    house.site.worklist(&WorklistQuery { study: Some(*study), ..WorklistQuery::default() }).unwrap()
}

/// The one reading of a study: status, and code and text of its reason.
fn only(place: &Place, study: &Digest) -> (String, String, String) {
    let rows = published(&place.house, study);
    assert_eq!(rows.len(), 1, "a study is read once");
    let said = Record::open(&place.house, &rows[0]).unwrap().object["reason"].clone();
    let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    (rows[0].status.clone(), text("code"), text("text"))
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

/// Proves: REQ-SVC-203, REQ-SVC-204
#[test]
fn a_process_killed_after_any_step_of_a_reading_leaves_one_published_reading() {
    let mut dir = Place::new().close();
    let steps = ["open", "guard", "intent", "infer_explain", "outcome", "seal", "release"];
    for (number, step) in steps.into_iter().enumerate() {
        let (study, taken) = takes(dir, number);
        is_killed_after(&taken, step);
        let seen = House::open_read(&taken.path().join("site")).unwrap();
        assert_eq!(published(&seen, &study).len(), usize::from(step == "release"), "{step}");
        drop(seen);
        let place = starts_again(taken);
        let rows = published(&place.house, &study);
        assert_eq!(rows.iter().map(|row| row.status.as_str()).collect::<Vec<_>>(), ["evaluated"], "{step}");
        dir = place.close();
    }
}

/// Proves: REQ-SVC-207
#[test]
fn a_study_that_takes_the_process_with_it_is_given_up_and_the_next_one_read() {
    let (study, dir) = takes(Place::new().close(), 0);
    for _ in 0..3 {
        is_killed_after(&dir, "open");
    }
    let (next, dir) = takes(dir, 1);
    let place = starts_again(dir);
    let (status, code, text) = only(&place, &study);
    assert_eq!((status.as_str(), code.as_str()), ("failed", "crashed"));
    assert!(text.contains("3 times"), "{text}");
    assert_eq!(only(&place, &next).0, "evaluated");
    place.close();
}

/// Proves: REQ-SVC-213
#[test]
fn a_document_that_is_gone_or_erased_holds_up_no_other_study() {
    let place = Place::new();
    let queue = two_readers(&place, Arc::new(Quiet));
    let read_all = || {
        queue.wake();
        place.wait_for_all(&queue);
    };
    let first = place.take(&[film(0)]);
    read_all();
    assert_eq!(only(&place, &first.study).0, "evaluated");
    // What was published of the patient cannot be opened any more; a later film of the same patient stands for itself.
    place.house.site.vault().erase(&first.patient).unwrap();
    let later = place.take(&[&again(film(0))]).study;
    let original = |study: &Digest| {
        let object = place.house.site.study_instances(study).unwrap()[0].object;
        place.house.site.dir().join("objects").join(object.to_string())
    };
    let gone = place.take(&[film(1)]).study;
    fs::remove_file(original(&gone)).unwrap();
    let blocked = place.take(&[film(2)]).study;
    let path = original(&blocked);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let last = place.take(&[film(3)]).study;
    read_all();
    assert_eq!(only(&place, &later).0, "evaluated");
    assert_eq!(only(&place, &last).0, "evaluated");
    let (status, code, _) = only(&place, &gone);
    assert_eq!((status.as_str(), code.as_str()), ("failed", "unreadable"));
    let (status, code, _) = only(&place, &blocked);
    assert_eq!((status.as_str(), code.as_str()), ("failed", "crashed"));
    assert!(queue.stop(LONG));
    drop(queue);
    place.close();
}
