//! A site from its making to its end.

use vidimus_log::{Receipt, RecordError, Recorder as _};
use vidimus_store::{Site, SiteError};

use crate::common::{boot, facts, fill, incident, intent, made, model, opened, outcome};

/// Proves: REQ-STO-001
#[test]
fn a_receipt_verifies_with_the_sites_key_and_the_log_verifies_whole() {
    let dir = made();
    let site = opened(dir.path());
    fill(&site, 300);
    let receipt = site.record(incident(site.new_id(), "the last")).unwrap();
    let text = receipt.to_tlog_proof();
    let verified = Receipt::parse_tlog_proof(&text).unwrap().verify(site.verifying_key()).unwrap();
    assert_eq!((verified.index, verified.kind.as_str()), (302, "incident"));
    let facts = site.verify().unwrap();
    assert_eq!((facts.size, facts.kinds["incident"], facts.open_intents.len()), (303, 301, 0));
    let first = site.receipt(&receipt.entry_id).unwrap();
    assert_eq!((first.index, first.leaf), (receipt.index, receipt.leaf));
}

/// Proves: REQ-STO-002
#[test]
fn a_second_process_on_a_site_is_refused_by_name() {
    let dir = made();
    let site = opened(dir.path());
    assert!(matches!(Site::open(dir.path(), &boot()), Err(SiteError::Locked { .. })));
    let reader = Site::open_read(dir.path()).unwrap();
    assert!(matches!(reader.record(incident(reader.new_id(), "from a reader")), Err(RecordError::ReadOnly { .. })));
    assert_eq!(reader.verify().unwrap().size, site.size());
    assert!(matches!(Site::create(dir.path(), &facts()), Err(SiteError::Locked { .. })));
    site.shutdown("test").unwrap();
    drop(site);
    assert!(matches!(Site::create(dir.path(), &facts()), Err(SiteError::Exists { .. })));
    assert_eq!(opened(dir.path()).size(), 4);
}

/// Proves: REQ-STO-003
#[test]
fn the_same_entry_again_is_the_first_one_and_other_content_is_an_incident() {
    let dir = made();
    let site = opened(dir.path());
    let id = site.new_id();
    let first = site.record(incident(id, "once")).unwrap();
    fill(&site, 3);
    let again = site.record(incident(id, "once")).unwrap();
    assert_eq!((again.index, again.leaf, again.entry), (first.index, first.leaf, first.entry));
    assert_eq!(site.size(), 6);
    assert!(matches!(site.record(incident(id, "twice")), Err(RecordError::Duplicate { entry_id }) if entry_id == id));
    let last = String::from_utf8(site.entry(6).unwrap()).unwrap();
    assert!(last.contains("duplicate_id"), "{last}");
    site.verify().unwrap();
}

/// Proves: REQ-STO-004
#[test]
fn an_intent_left_open_is_closed_as_interrupted_at_the_next_start() {
    let dir = made();
    let site = opened(dir.path());
    let model = model(&site);
    let done = site.record(intent(&site, &model)).unwrap();
    site.record(outcome(&site, &done)).unwrap();
    assert!(matches!(site.record(outcome(&site, &done)), Err(RecordError::Refused { .. })));
    let open = site.record(intent(&site, &model)).unwrap();
    assert_eq!(site.verify().unwrap().open_intents, [open.entry_id]);
    drop(site);
    let site = opened(dir.path());
    assert!(site.verify().unwrap().open_intents.is_empty());
    let last = String::from_utf8(site.entry(site.size() - 1).unwrap()).unwrap();
    assert!(last.contains("\"status\":\"interrupted\"") && last.contains(&open.entry_id.to_string()), "{last}");
}

/// Proves: REQ-STO-002
#[test]
fn a_reader_follows_and_audits_a_log_that_grows_beside_it() {
    let dir = made();
    let site = opened(dir.path());
    let reader = Site::open_read(dir.path()).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..150 {
                site.record(incident(site.new_id(), &format!("{number}"))).unwrap();
            }
        });
        while !writer.is_finished() {
            reader.verify().unwrap();
        }
    });
    let last = site.record(incident(site.new_id(), "last")).unwrap();
    let seen = reader.receipt(&last.entry_id).unwrap();
    assert_eq!((seen.index, &seen.checkpoint), (last.index, &site.checkpoint()));
    assert_eq!(reader.size(), site.size());
}
