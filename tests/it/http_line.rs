//! The line of a served site from outside: a full queue, and an end while studies wait.

use std::{
    fs,
    time::{Duration, Instant},
};

use vidimus_imaging::Instance;
use vidimus_tests::http::{Request, Served};

use crate::site::{assert_log_whole, copy, sample};

const UPLOAD: &str = "/readings";
const PATIENCE: Duration = Duration::from_secs(150);
/// A supervisor that waits no longer.
const END: Duration = Duration::from_secs(20);

/// A film of the samples as another study.
fn film(number: usize, mark: u8) -> Vec<u8> {
    let mut bytes = fs::read(sample(number)).unwrap();
    let places: Vec<usize> =
        bytes.windows(5).enumerate().filter(|(_, window)| window == b"2.25.").map(|(place, _)| place).collect();
    for place in places {
        bytes[place + 5] = b'1' + (bytes[place + 5] - b'0' + mark) % 9;
    }
    bytes
}

fn upload(token: &str, film: &[u8]) -> Request {
    Request::new("POST", UPLOAD).token(token).body("application/dicom", film)
}

/// How many readings a film's study has.
fn readings(served: &Served, token: &str, film: &[u8]) -> usize {
    let study = Instance::from_vec(film.to_vec()).unwrap().study_instance_uid.open().clone();
    let list = served.get(&format!("/readings?study_instance_uid={study}"), token).expect_status(200).json();
    list["readings"].as_array().unwrap().len()
}

/// Waits until every film has its one reading.
fn assert_read(served: &Served, token: &str, films: &[Vec<u8>]) {
    let begun = Instant::now();
    let mut tip = 0;
    while films.iter().any(|film| readings(served, token, film) == 0) {
        assert!(begun.elapsed() < PATIENCE, "a stored film is not read");
        let changed = served.get(&format!("/readings/changes?since={tip}&wait=5"), token).expect_status(200).json();
        tip = changed["tip"].as_u64().unwrap();
    }
    assert!(films.iter().all(|film| readings(served, token, film) == 1), "each is read once");
}

/// Proves: REQ-SVC-208
#[test]
fn a_full_queue_refuses_loses_nothing_and_takes_again_when_there_is_room() {
    let (_folder, dir) = copy();
    let served = Served::start(&dir, &["--waiting", "1"]);
    let clinician = served.token("clinician");
    let (mut stored, mut refused) = (Vec::new(), Vec::new());
    for number in 1..=12 {
        let film = film(number, 2);
        let answer = served.call(&upload(&clinician, &film));
        if answer.status == 202 {
            stored.push(film);
        } else {
            answer.expect_problem(503);
            let after: u32 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!(after > 0);
            refused.push(film);
        }
    }
    assert!(!stored.is_empty() && !refused.is_empty(), "{} stored, {} refused", stored.len(), refused.len());
    assert_read(&served, &clinician, &stored);
    assert!(refused.iter().all(|film| readings(&served, &clinician, film) == 0));
    let again = refused.swap_remove(0);
    served.call(&upload(&clinician, &again)).expect_status(202);
    assert_read(&served, &clinician, &[again]);
    let (code, messages) = served.end();
    assert_eq!(code, Some(0), "{messages}");
    assert_log_whole(&dir);
}

/// Proves: REQ-SVC-209
#[test]
fn a_service_told_to_end_ends_in_time_and_the_next_start_reads_what_waits() {
    let (_folder, dir) = copy();
    let served = Served::start(&dir, &[]);
    let clinician = served.token("clinician");
    let films: Vec<Vec<u8>> = (1..=12).map(|number| film(number, 3)).collect();
    for film in &films {
        served.call(&upload(&clinician, film)).expect_status(202);
    }
    let told = Instant::now();
    let (code, messages) = served.end();
    assert_eq!(code, Some(0), "{messages}");
    assert!(told.elapsed() < END, "it took {:?}", told.elapsed());
    assert_log_whole(&dir);
    let served = Served::start(&dir, &[]);
    let clinician = served.token("clinician");
    assert_read(&served, &clinician, &films);
    assert_eq!(served.end().0, Some(0));
    assert_log_whole(&dir);
}
