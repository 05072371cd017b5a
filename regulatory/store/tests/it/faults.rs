//! Faults: no room, a clock that steps back, many callers, rows that contradict earlier ones.

use std::collections::BTreeSet;

use diesel::connection::SimpleConnection as _;
use vidimus_log::{Actor, Digest, Draft, RecordError, Recorder as _, body};
use vidimus_store::{ObjectId, Row};

use crate::common::{behind_the_triggers, fill, incident, made, model, opened, raw};

/// Proves: REQ-STO-011
#[test]
fn a_full_disk_loses_nothing_and_the_same_entry_goes_in_when_there_is_room() {
    let dir = made();
    let site = opened(dir.path());
    fill(&site, 20);
    site.limit_pages(1).unwrap();
    let (mut acknowledged, refused) = (Vec::new(), loop_until_full(&site));
    acknowledged.extend(refused.1);
    let size = site.size();
    assert_eq!(site.verify().unwrap().size, size);
    for receipt in &acknowledged {
        assert_eq!(site.receipt(&receipt.entry_id).unwrap().leaf, receipt.leaf);
    }
    site.limit_pages(1_000_000).unwrap();
    let receipt = site.record(refused.0).unwrap();
    assert_eq!(receipt.index, size);
    site.verify().unwrap();
}

fn loop_until_full(site: &vidimus_store::Site) -> (Draft, Vec<vidimus_log::Receipt>) {
    let mut receipts = Vec::new();
    for number in 0..1_000 {
        let draft = incident(site.new_id(), &format!("{number} {}", "long ".repeat(300)));
        match site.record(draft.clone()) {
            Ok(receipt) => receipts.push(receipt),
            Err(RecordError::DiskFull(_)) => return (draft, receipts),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the limit was never met");
}

/// Proves: REQ-STO-012
#[test]
fn a_clock_before_the_last_entry_refuses_the_start() {
    let dir = made();
    drop(opened(dir.path()));
    let ahead = "UPDATE log_head SET last_t_ms = last_t_ms + 3600000";
    raw(dir.path(), "log.db").batch_execute(ahead).unwrap();
    let refused = vidimus_store::Site::open(dir.path(), &crate::common::boot()).err();
    assert!(matches!(refused, Some(vidimus_store::SiteError::Clock { behind_ms }) if behind_ms > 3_500_000));
}

/// Proves: REQ-STO-001
#[test]
fn callers_on_many_threads_get_one_linear_log() {
    let dir = made();
    let site = opened(dir.path());
    let indices: BTreeSet<u64> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|caller| {
                let site = &site;
                scope.spawn(move || {
                    let draft = |number: u64| incident(site.new_id(), &format!("{caller} {number}"));
                    (0..20).map(|number| site.record(draft(number)).unwrap().index).collect::<Vec<_>>()
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(indices, (2..162).collect());
    assert_eq!(site.verify().unwrap().size, 162);
}

fn instance(content: &[u8]) -> Row {
    Row::Instance {
        key: Digest::of(b"key"),
        study: Digest::of(b"study"),
        patient: Digest::of(b"patient"),
        content: Digest::of(content),
        object: ObjectId::from_bytes([1; 16]),
    }
}

/// Proves: REQ-STO-013
#[test]
fn registry_rows_come_with_their_entry_or_not_at_all() {
    let dir = made();
    let site = opened(dir.path());
    let receipt = site.record_with(incident(site.new_id(), "one"), vec![instance(b"pixels")]).unwrap();
    let row = site.instance(&Digest::of(b"key")).unwrap().unwrap();
    assert_eq!((row.content, row.index), (Digest::of(b"pixels"), receipt.index));
    assert_eq!(site.study_patient(&Digest::of(b"study")).unwrap(), Some(Digest::of(b"patient")));
    let size = site.size();
    let again = site.record_with(incident(site.new_id(), "two"), vec![instance(b"other pixels")]);
    assert!(matches!(again, Err(RecordError::Refused { .. })));
    assert_eq!(site.size(), size, "the refused row took its entry with it");
    assert_eq!(site.instance(&Digest::of(b"key")).unwrap().unwrap().content, Digest::of(b"pixels"));
    site.record_with(incident(site.new_id(), "three"), vec![instance(b"pixels")]).unwrap();
    let state = |state: &str| Row::Model {
        root: Digest::of(b"root"),
        name: "test".into(),
        version: "1".into(),
        state: state.into(),
    };
    site.record_with(incident(site.new_id(), "four"), vec![state("candidate")]).unwrap();
    site.record_with(incident(site.new_id(), "five"), vec![state("active")]).unwrap();
    let models = site.models().unwrap();
    assert_eq!((models.len(), models[0].state.as_str()), (1, "active"));
    site.verify().unwrap();
}

/// Proves: REQ-STO-013
#[test]
fn a_reading_is_found_by_its_intent_and_by_its_outcome() {
    let dir = made();
    let site = opened(dir.path());
    let model = model(&site);
    let intent = site.record(crate::common::intent(&site, &model)).unwrap();
    let outcome = crate::common::outcome(&site, &intent);
    let row = Row::Reading {
        intent: intent.entry_id,
        outcome: outcome.entry_id,
        status: "evaluated".into(),
        model_root: Digest::of(b"package"),
        reading: ObjectId::from_bytes([2; 16]),
    };
    let outcome = site.record_with(outcome, vec![row]).unwrap();
    let readings = site.readings().unwrap();
    assert_eq!((readings.len(), readings[0].index), (1, outcome.index));
    for id in [intent.entry_id, outcome.entry_id] {
        assert_eq!(site.reading(&id).unwrap().as_ref(), readings.first());
    }
    assert_eq!(site.reading(&model.entry_id).unwrap(), None);
}

/// Proves: REQ-STO-014
#[test]
fn rules_between_entries_are_checked_at_append() {
    let dir = made();
    let site = opened(dir.path());
    let model = model(&site);
    let refused = |draft: Draft| {
        let size = site.size();
        assert!(matches!(site.record(draft), Err(RecordError::Refused { .. } | RecordError::Invalid(_))));
        assert_eq!(site.size(), size);
    };
    let mut nowhere = crate::common::intent(&site, &model);
    nowhere.refs[0].index = 99;
    refused(nowhere);
    let mut other = crate::common::intent(&site, &model);
    other.refs[0].leaf = Digest::of(b"other");
    refused(other);
    let mut kind = crate::common::intent(&site, &model);
    kind.refs = vec![site.receipt(&crate_boot(&site)).unwrap().as_ref_to("model")];
    refused(kind);
    let mut no_refs = crate::common::intent(&site, &model);
    no_refs.refs.clear();
    refused(no_refs);
    let mut long = incident(site.new_id(), "x");
    long.body = body::Incident {
        code: "Not A Code".into(),
        severity: "info".into(),
        detail: Digest::of(b"x").into(),
        text: "x".into(),
    }
    .into();
    refused(long);
    let decision = body::ReleaseDecision {
        decision: body::Decision::Approve,
        scope: "demonstration".into(),
        reason: "none".into(),
        effective_ms: 0,
        signoffs: vec![model.leaf, model.leaf],
    };
    let refs = vec![model.as_ref_to("model"), model.as_ref_to("evaluation")];
    let actor = Actor::staff([3; 16], "quality_officer");
    refused(Draft { entry_id: site.new_id(), actor, refs, body: decision.into(), trace: None });
    let mut wrong_actor = incident(site.new_id(), "x");
    wrong_actor.actor = Actor { id: "Doe^Jane".into(), role: "reader".into() };
    refused(wrong_actor);
}

fn crate_boot(site: &vidimus_store::Site) -> vidimus_log::EntryId {
    vidimus_log::Entry::parse(&site.entry(1).unwrap()).unwrap().entry_id
}

/// Proves: REQ-STO-005
#[test]
fn a_head_changed_under_a_running_process_fences_it() {
    let dir = made();
    let site = opened(dir.path());
    fill(&site, 5);
    behind_the_triggers(dir.path(), "UPDATE log_head SET size = size - 1");
    assert!(matches!(site.record(incident(site.new_id(), "x")), Err(RecordError::Fenced(_))));
    assert!(matches!(site.record(incident(site.new_id(), "y")), Err(RecordError::ReadOnly { .. })));
}
