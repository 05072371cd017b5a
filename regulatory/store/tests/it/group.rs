//! Many callers at once: one linear log, each call whole or not at all, and reading that waits for nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use diesel::connection::SimpleConnection as _;
use proptest::prelude::*;
use vidimus_log::{Digest, Entry, EntryId, Receipt, RecordError, Recorder as _};
use vidimus_store::{EntryQuery, ObjectId, ResourceQuery, Row, Site, WorklistQuery};

use crate::common::{fill, incident, made, opened, raw};

/// What a caller does, one after another.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// So many entries in one call.
    Append(usize),
    /// A call whose last row breaks a rule.
    Refused(usize),
    /// The caller's last entry once more.
    Again,
    /// The id of the caller's last entry with other content.
    Conflict,
    /// A version of the caller's own resource.
    Version,
    /// An attempt with the study that waits.
    Begin,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1_usize..4).prop_map(Act::Append),
        2 => (1_usize..4).prop_map(Act::Refused),
        1 => Just(Act::Again),
        1 => Just(Act::Conflict),
        2 => Just(Act::Version),
        1 => Just(Act::Begin),
    ]
}

fn version(id: &str, version: u32) -> Row {
    Row::Resource {
        kind: "Observation".into(),
        id: id.into(),
        version,
        patient: None,
        study: None,
        reading: None,
        status: "preliminary".into(),
        code: None,
        document: ObjectId::from_bytes([1; 16]),
        updated_ms: 1,
    }
}

/// What a caller was told.
#[derive(Default)]
struct Told {
    receipts: Vec<Receipt>,
    again: Vec<Receipt>,
    refused: Vec<EntryId>,
    conflicts: usize,
    versions: Vec<u64>,
    begun: Vec<u32>,
}

fn call(site: &Site, caller: usize, acts: &[Act]) -> Told {
    let mut told = Told::default();
    let mut last: Option<(EntryId, String)> = None;
    for (number, act) in acts.iter().enumerate() {
        let text = |part: usize| format!("caller {caller} act {number} part {part}");
        let drafts = |count: usize| (0..count).map(|part| (incident(site.new_id(), &text(part)), Vec::new()));
        match act {
            Act::Append(count) => {
                let receipts = site.record_all(drafts(*count).collect()).unwrap();
                last = receipts.last().map(|receipt| (receipt.entry_id, text(count - 1)));
                told.receipts.extend(receipts);
            }
            Act::Refused(count) => {
                let mut drafts: Vec<_> = drafts(*count).collect();
                drafts.last_mut().unwrap().1.push(version("no first version", 7));
                let ids: Vec<_> = drafts.iter().map(|(draft, _)| draft.entry_id).collect();
                assert!(matches!(site.record_all(drafts), Err(RecordError::Refused { .. })));
                told.refused.extend(ids);
            }
            Act::Again => {
                if let Some((id, text)) = &last {
                    told.again.push(site.record(incident(*id, text)).unwrap());
                }
            }
            Act::Conflict => {
                if let Some((id, _)) = &last {
                    let other = site.record(incident(*id, "other content"));
                    assert!(matches!(other, Err(RecordError::Duplicate { entry_id }) if entry_id == *id));
                    told.conflicts += 1;
                }
            }
            Act::Version => {
                let next = u32::try_from(told.versions.len()).unwrap() + 1;
                let row = version(&format!("of {caller}"), next);
                let receipt = site.record_with(incident(site.new_id(), &text(0)), vec![row]).unwrap();
                told.versions.push(receipt.index);
                told.receipts.push(receipt);
            }
            Act::Begin => told.begun.push(site.work_begin(&Digest::of(b"study")).unwrap()),
        }
    }
    told
}

fn check(callers: &[Vec<Act>]) {
    let dir = made();
    let site = opened(dir.path());
    let arrival = site.new_id();
    let work = Row::Work {
        study: Digest::of(b"study"),
        patient: Digest::of(b"patient"),
        arrival,
        document: ObjectId::from_bytes([1; 16]),
    };
    site.record_with(incident(arrival, "arrival"), vec![work]).unwrap();
    let before = site.size();
    let told: Vec<Told> = std::thread::scope(|scope| {
        let site = &site;
        let callers = callers.iter().enumerate();
        let callers: Vec<_> = callers.map(|(caller, acts)| scope.spawn(move || call(site, caller, acts))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let latency = site.append_latency();
    drop(site);
    let site = opened(dir.path());
    site.verify().unwrap();
    let mut places = BTreeMap::new();
    for receipt in told.iter().flat_map(|told| told.receipts.iter().chain(&told.again)) {
        receipt.verify(site.verifying_key()).unwrap();
        assert_eq!(site.entry(receipt.index).unwrap(), receipt.entry);
        assert_eq!(*places.entry(receipt.entry_id).or_insert(receipt.index), receipt.index, "the first one for ever");
    }
    let indices: BTreeSet<u64> = places.values().copied().collect();
    assert_eq!(indices.len(), places.len(), "each entry has its own place");
    let conflicts: usize = told.iter().map(|told| told.conflicts).sum();
    let grown = u64::try_from(places.len() + conflicts).unwrap();
    // The boot of this second opening is one more.
    assert_eq!(site.size(), before + grown + 1, "nothing but what was answered");
    assert!(latency.entries >= grown && latency.batches <= latency.entries, "{latency:?}");
    let mut attempts = BTreeSet::new();
    for (caller, told) in told.iter().enumerate() {
        let own: Vec<u64> = told.receipts.iter().map(|receipt| places[&receipt.entry_id]).collect();
        assert!(own.is_sorted(), "what was answered first stands first: {own:?}");
        for id in &told.refused {
            assert_eq!(site.find(id).unwrap(), None, "a refused call leaves nothing");
        }
        let mut held = site.resource_history("Observation", &format!("of {caller}")).unwrap();
        held.reverse();
        assert_eq!(held.iter().map(|row| row.index).collect::<Vec<_>>(), told.versions);
        attempts.extend(told.begun.iter().copied());
    }
    let begun = u32::try_from(attempts.len()).unwrap();
    assert_eq!(attempts, (1..=begun).collect(), "each attempt is counted once");
    assert_eq!(site.work(1).unwrap()[0].attempts, begun);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Proves: REQ-STO-108
    #[test]
    fn any_calls_of_many_callers_give_one_log_of_whole_calls_in_order(
        callers in prop::collection::vec(prop::collection::vec(act(), 1..8), 2..9),
    ) {
        check(&callers);
    }
}

/// Proves: REQ-STO-108
#[test]
fn sixteen_callers_with_refused_calls_among_them_share_transactions() {
    let acts = [Act::Append(1), Act::Refused(2), Act::Append(3), Act::Conflict, Act::Version, Act::Begin, Act::Again];
    check(&vec![acts.repeat(4); 16]);
}

/// Proves: REQ-STO-107
#[test]
fn reading_goes_on_while_a_write_is_held_up_and_the_write_succeeds_after() {
    let dir = made();
    let site = opened(dir.path());
    fill(&site, 300);
    let known = site.record(incident(site.new_id(), "known")).unwrap();
    let mut held = raw(dir.path(), "log.db");
    held.batch_execute("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let late = scope.spawn(|| site.record(incident(site.new_id(), "late")).unwrap());
        // More readers than there are connections, each asking everything.
        let readers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    assert_eq!(site.worklist(&WorklistQuery::default()).unwrap(), []);
                    assert_eq!(site.resources(&ResourceQuery::default()).unwrap(), []);
                    assert_eq!(site.search_entries(&EntryQuery::default()).unwrap().len(), 50);
                    assert_eq!(site.entries(0..10).unwrap().len(), 10);
                    assert_eq!(site.find(&known.entry_id).unwrap(), Some(known.index));
                    assert!(site.published("tile/0/000").unwrap().is_some());
                    site.receipt(&known.entry_id).unwrap().verify(site.verifying_key()).unwrap();
                    assert_eq!(site.size(), known.index + 1);
                })
            })
            .collect();
        for reader in readers {
            reader.join().unwrap();
        }
        assert!(!late.is_finished(), "the write is still held up");
        held.batch_execute("ROLLBACK").unwrap();
        assert_eq!(late.join().unwrap().index, known.index + 1);
    });
}

/// Proves: REQ-STO-107
#[test]
fn what_was_answered_is_seen_by_every_reader_at_once() {
    let dir = made();
    let site = opened(dir.path());
    let written = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let (site, written) = (&site, &written);
            scope.spawn(move || {
                for number in 0..25 {
                    let receipt = site.record(incident(site.new_id(), &format!("{caller} {number}"))).unwrap();
                    written.lock().unwrap().push(receipt.entry_id);
                    let known = written.lock().unwrap().clone();
                    let id = known[number * 7 % known.len()];
                    let index = site.find(&id).unwrap().expect("answered, so there");
                    assert!(index < site.size());
                    let again = site.receipt(&id).unwrap();
                    assert_eq!(again.verify(site.verifying_key()).unwrap().index, index);
                    assert_eq!(Entry::parse(&site.entry(index).unwrap()).unwrap().entry_id, id);
                }
            });
        }
    });
}
