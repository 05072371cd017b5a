//! The tamper matrix of published files, first form: each change is found and named by its reason.

use vidimus_log::{Entry, Reason, Ref, body, leaf_hash, tile, verify_log};

use crate::common::{Files, Log, T_MS, entry, id, incident, key, person, related};

fn reason(files: &mut Files) -> Option<Reason> {
    verify_log(files, &key()).err().map(|error| error.reason())
}

/// The reason under a valid root: what an insider with the key could have written.
fn insider(log: &Log) -> Option<Reason> {
    reason(&mut log.publish())
}

fn with_read(log: &mut Log) -> Ref {
    let model = log.model();
    let intent = log.intent(&model);
    log.outcome(&intent);
    intent
}

/// Proves: REQ-LOG-012
#[test]
fn a_good_log_verifies_at_every_size_around_a_tile() {
    for size in [1, 2, 255, 256, 257, 513] {
        let facts = verify_log(&mut Log::of_size(size).publish(), &key()).unwrap();
        assert_eq!(facts.size, size);
    }
    let mut log = Log::opened();
    with_read(&mut log);
    let model = log.model();
    let open = log.intent(&model);
    let facts = verify_log(&mut log.publish(), &key()).unwrap();
    assert_eq!(facts.open_intents, [open.entry_id]);
    assert_eq!(facts.kinds["read_intent"], 2);
}

/// Proves: REQ-LOG-013
#[test]
fn one_changed_bit_in_each_published_file_is_found() {
    let good = Log::of_size(300).publish();
    for (path, bytes) in &good.0 {
        let step = (bytes.len() / 40).max(1);
        for at in (0..bytes.len()).step_by(step) {
            let mut files = good.clone();
            files.0.get_mut(path).unwrap()[at] ^= 1;
            let found = reason(&mut files).unwrap_or_else(|| panic!("{path} byte {at} passes"));
            let expected: &[Reason] =
                if path == "checkpoint" { &[Reason::Signature, Reason::Unreadable] } else { &[Reason::Tampered] };
            assert!(expected.contains(&found), "{path} byte {at}: {found:?}");
        }
    }
}

/// Proves: REQ-LOG-013
#[test]
fn a_missing_a_cut_and_an_exchanged_file_are_found() {
    let good = Log::of_size(300).publish();
    for path in good.0.keys() {
        let mut files = good.clone();
        files.0.remove(path);
        assert_eq!(reason(&mut files), Some(Reason::Unreadable), "{path} removed");
        if path != "checkpoint" {
            let mut files = good.clone();
            files.0.get_mut(path).unwrap().pop();
            assert_eq!(reason(&mut files), Some(Reason::Tampered), "{path} cut");
        }
    }
    let mut files = good.clone();
    let partial = files.0[&tile::path(0, 1, 44)].clone();
    files.0.insert(tile::path(0, 0, 256), partial);
    assert_eq!(reason(&mut files), Some(Reason::Tampered), "a partial tile served as full");
}

/// Proves: REQ-LOG-013
#[test]
fn entries_deleted_inserted_swapped_or_doubled_are_found() {
    let log = Log::of_size(20);
    let under_the_old_note = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut changed = Log { entries: log.entries.clone() };
        change(&mut changed.entries);
        let mut files = log.publish();
        let mut bundle = Vec::new();
        for entry in &changed.entries {
            tile::push_entry(&mut bundle, entry);
        }
        files.0.insert(tile::bundle_path(0, 20), bundle);
        assert_eq!(reason(&mut files), Some(Reason::Tampered));
        let mut rewritten = changed.publish();
        rewritten.0.insert("checkpoint".to_owned(), log.note().into_bytes());
        assert!(matches!(reason(&mut rewritten), Some(Reason::Tampered | Reason::Unreadable)));
    };
    under_the_old_note(&|entries| drop(entries.pop()));
    under_the_old_note(&|entries| drop(entries.remove(10)));
    under_the_old_note(&|entries| drop(entries.remove(0)));
    under_the_old_note(&|entries| entries.insert(5, entries[4].clone()));
    under_the_old_note(&|entries| entries.swap(3, 4));
}

/// Proves: REQ-LOG-014
#[test]
fn an_insiders_breach_under_a_valid_root_is_named_schema() {
    let breach = |name: &str, change: &dyn Fn(&mut Log)| {
        let mut log = Log::opened();
        change(&mut log);
        assert_eq!(insider(&log), Some(Reason::Schema), "{name}");
    };
    breach("not canonical", &|log| {
        let bytes = entry(2, Some(id(1)), person(1), vec![], incident("test")).to_bytes().unwrap();
        let text = String::from_utf8(bytes).unwrap().replace("\"v\":1", "\"v\": 1");
        log.push_raw(text.into_bytes(), id(2));
    });
    breach("the same id twice", &|log| {
        log.push(entry(5, Some(id(1)), person(1), vec![], incident("one")));
        log.push(entry(5, Some(id(1)), person(1), vec![], incident("two")));
    });
    breach("another log", &|log| {
        let entry = entry(2, Some(id(1)), person(1), vec![], incident("test"));
        log.push(Entry { log: "other.example/vidimus/log-2".to_owned(), ..entry });
    });
    breach("a reference to an entry that is not there", &|log| {
        let nowhere = Ref { entry_id: id(77), index: 77, leaf: leaf_hash(b"x"), rel: String::new() };
        log.intent(&nowhere);
    });
    breach("a reference to an entry of another kind", &|log| {
        let incident = log.incident("test");
        log.intent(&incident);
    });
    breach("an outcome for an intent that is not there", &|log| {
        let model = log.model();
        log.outcome(&related(&model, "intent"));
    });
    breach("two outcomes", &|log| {
        let intent = with_read(log);
        log.outcome(&intent);
    });
    breach("a second site_opened", &|log| {
        let first = Entry::parse(&log.entries[0]).unwrap();
        log.push(Entry { entry_id: id(2), boot: Some(id(1)), ..first });
    });
    breach("an unknown boot", &|log| {
        log.push(entry(2, Some(id(9)), person(1), vec![], incident("test")));
    });
}

/// Proves: REQ-LOG-015
#[test]
fn a_release_needs_sign_offs_of_its_evaluation_by_two_people() {
    let release = |signers: &[u8], other: bool| {
        let mut log = Log::opened();
        let model = log.model();
        let evaluation = log.evaluation(&model);
        let signed = if other { log.evaluation(&model) } else { evaluation.clone() };
        let leaves = signers.iter().map(|number| log.sign_off(person(*number), &signed).leaf).collect();
        log.decision(&model, &evaluation, leaves);
        insider(&log)
    };
    assert_eq!(release(&[1, 2], false), None);
    assert_eq!(release(&[1, 1], false), Some(Reason::Schema));
    assert_eq!(release(&[1, 2], true), Some(Reason::Schema));
    let mut log = Log::opened();
    let model = log.model();
    let evaluation = log.evaluation(&model);
    let incident = log.incident("test");
    log.decision(&model, &evaluation, vec![incident.leaf, evaluation.leaf]);
    assert_eq!(insider(&log), Some(Reason::Schema));
}

/// Proves: REQ-LOG-016
#[test]
fn a_step_back_of_the_clock_needs_its_incident() {
    let at = |log: &mut Log, t_ms: u64, code: &str| {
        let entry = entry(log.size(), Some(id(1)), person(1), vec![], incident(code));
        log.push(Entry { t_ms, ..entry });
    };
    let mut log = Log::opened();
    at(&mut log, T_MS + 60_000, "test");
    at(&mut log, T_MS, "test");
    assert_eq!(insider(&log), None);
    at(&mut log, T_MS - 1, "test");
    assert_eq!(insider(&log), Some(Reason::Schema));
    log.entries.pop();
    at(&mut log, T_MS - 1, "clock_step");
    at(&mut log, T_MS - 1, "test");
    assert_eq!(insider(&log), None);
}

/// Proves: REQ-LOG-017
#[test]
fn what_a_later_version_wrote_is_kept_and_reported_and_a_later_form_is_named() {
    let mut log = Log::opened();
    let text = |entry: Entry| String::from_utf8(entry.to_bytes().unwrap()).unwrap();
    let known = text(entry(2, Some(id(1)), person(1), vec![], incident("test")));
    let field = known.replace("\"text\":\"a test\"", "\"text\":\"a test\",\"zz\":1");
    log.push_raw(field.into_bytes(), id(2));
    let known = text(entry(3, Some(id(1)), person(1), vec![], incident("test")));
    log.push_raw(known.replace("\"kind\":\"incident\"", "\"kind\":\"later_kind\"").into_bytes(), id(3));
    let facts = verify_log(&mut log.publish(), &key()).unwrap();
    let expected = [(2, "body.zz".to_owned()), (3, "kind later_kind".to_owned())];
    assert_eq!(facts.unknown, expected);
    let later = text(entry(4, Some(id(1)), person(1), vec![], incident("test"))).replace("\"v\":1", "\"v\":2");
    log.push_raw(later.into_bytes(), id(4));
    assert_eq!(insider(&log), Some(Reason::Version));
}

/// Proves: REQ-LOG-013
#[test]
fn a_log_signed_again_with_another_key_is_refused() {
    let log = Log::of_size(5);
    let mut files = log.publish();
    let other = vidimus_log::note::SigningKey::from_seed(key().name(), &zeroize::Zeroizing::new([9; 32])).unwrap();
    let note = other.sign(5, vidimus_log::tree::root(&log.leaves())).note();
    files.0.insert("checkpoint".to_owned(), note.into_bytes());
    assert_eq!(reason(&mut files), Some(Reason::Signature));
}

/// Proves: REQ-LOG-002
#[test]
fn an_outcome_that_claims_success_names_what_it_read_and_gave() {
    let mut log = Log::opened();
    let model = log.model();
    let intent = log.intent(&model);
    let outcome = log.outcome(&intent);
    let mut good = Entry::parse(&log.entries[usize::try_from(outcome.index).unwrap()]).unwrap();
    assert!(good.to_bytes().is_ok());
    if let vidimus_log::Body::ReadOutcome(body) = &mut good.body {
        body.output = None;
    }
    assert!(good.to_bytes().is_err());
    if let vidimus_log::Body::ReadOutcome(body) = &mut good.body {
        body.status = body::OutcomeStatus::Failed;
    }
    assert!(good.to_bytes().is_ok());
}
