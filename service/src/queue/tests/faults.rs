//! The queue under faults within one process: crashes played by a copy, panics, withdrawals, a full disk, a stop.

use super::*;

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
