//! Looks: an entry first, a registered and unused protocol, a budget; repeats spend none.

use vidimus_log::{
    Digest, Entry,
    body::{Body, Granted, ModelRegistered, OpenPurpose},
};
use vidimus_validation::{LookError, Verdict, evaluate, judge};

use crate::support::{MemoryLog, good_rater, locked, open, protocol, protocol_text, subject};

fn refused(error: LookError) -> &'static str {
    match error {
        LookError::Refused { code, .. } => code,
        other => panic!("{other}"),
    }
}

fn last_opening(log: &MemoryLog) -> vidimus_log::body::DatasetOpened {
    match Entry::parse(log.entries().last().unwrap()).unwrap().body {
        Body::DatasetOpened(body) => body,
        other => panic!("{}", other.kind()),
    }
}

fn verdict(log: &MemoryLog, set: &vidimus_validation::LockedSet, id: &str, name: &str) -> Verdict {
    let protocol = protocol(set, id);
    log.add(protocol.to_body());
    let look = open(log, set, &protocol, &subject(name), &[]).unwrap();
    judge(&evaluate(&protocol, look, &good_rater).unwrap()).unwrap()
}

/// Proves: REQ-VAL-010
#[test]
fn a_look_is_an_entry_before_any_case_is_read() {
    let (folder, set) = locked();
    let log = MemoryLog::new();
    let protocol = protocol(&set, "P1");
    log.add(set.to_body());
    log.add(protocol.to_body());
    // the reading after the entry fails, and the entry stays: the look is spent
    std::fs::write(folder.path().join("images.tar"), b"").unwrap();
    assert!(matches!(open(&log, &set, &protocol, &subject("m"), &[]), Err(LookError::Dataset(_))));
    let body = last_opening(&log);
    assert_eq!((body.result, body.purpose, body.look), (Granted::Granted, OpenPurpose::Gate, 1));
    assert_eq!(refused(open(&log, &set, &protocol, &subject("m"), &[]).unwrap_err()), "used_protocol");
}

/// Proves: REQ-VAL-010
#[test]
fn a_set_that_the_log_does_not_hold_is_not_opened() {
    let (_folder, set) = locked();
    let log = MemoryLog::new();
    let error = open(&log, &set, &protocol(&set, "P1"), &subject("m"), &[]).unwrap_err();
    assert!(matches!(error, LookError::NotLocked));
    assert!(log.entries().is_empty());
}

/// Proves: REQ-VAL-011
#[test]
fn an_unregistered_protocol_is_refused_and_the_refusal_is_logged() {
    let (_folder, set) = locked();
    let log = MemoryLog::new();
    log.add(set.to_body());
    assert_eq!(refused(open(&log, &set, &protocol(&set, "P1"), &subject("m"), &[]).unwrap_err()), "no_protocol");
    let body = last_opening(&log);
    assert_eq!((body.result, body.why.as_deref()), (Granted::Refused, Some("no_protocol")));
}

/// Proves: REQ-VAL-011
#[test]
fn a_protocol_edited_after_its_look_is_another_protocol() {
    let (_folder, set) = locked();
    let log = MemoryLog::new();
    log.add(set.to_body());
    verdict(&log, &set, "P1", "m");
    let edited = protocol_text(&set, "P1").replace("point_min = 0.97", "point_min = 0.90");
    let edited = vidimus_validation::Protocol::parse(edited.as_bytes()).unwrap();
    assert_ne!(edited.digest(), protocol(&set, "P1").digest());
    assert_eq!(refused(open(&log, &set, &edited, &subject("m"), &[]).unwrap_err()), "no_protocol");
}

/// Proves: REQ-VAL-011
#[test]
fn a_protocol_serves_one_look_only() {
    let (_folder, set) = locked();
    let log = MemoryLog::new();
    log.add(set.to_body());
    verdict(&log, &set, "P1", "m");
    assert_eq!(refused(open(&log, &set, &protocol(&set, "P1"), &subject("other"), &[]).unwrap_err()), "used_protocol");
}

/// Proves: REQ-VAL-012
#[test]
fn a_sixth_look_is_refused_and_each_look_spends_half_of_what_is_left() {
    let (_folder, set) = locked();
    let log = MemoryLog::new();
    log.add(set.to_body());
    for k in 1..=5_u32 {
        let verdict = verdict(&log, &set, &format!("P{k}"), &format!("m{k}"));
        assert_eq!(verdict.look(), u64::from(k));
        let alpha: f64 = verdict.value()["look"]["alpha"].as_str().unwrap().parse().unwrap();
        assert!((alpha - 0.05 / f64::from(1 << k)).abs() < 1e-12);
        let confidence: f64 = verdict.value()["look"]["confidence"].as_str().unwrap().parse().unwrap();
        assert!((confidence - (1.0 - 2.0 * alpha)).abs() < 1e-6);
    }
    let sixth = protocol(&set, "P6");
    log.add(sixth.to_body());
    assert_eq!(refused(open(&log, &set, &sixth, &subject("m6"), &[]).unwrap_err()), "budget_spent");
    assert_eq!(last_opening(&log).look, 6);
}

/// Proves: REQ-VAL-012
#[test]
fn another_familys_looks_do_not_spend_the_budget_of_this_one() {
    let (_folder, set) = locked();
    let log = MemoryLog::new();
    log.add(set.to_body());
    verdict(&log, &set, "P1", "m1");
    let digest = Digest::of(b"x");
    log.add(ModelRegistered {
        model: "other-family".into(),
        version: "1.0.0".into(),
        package: subject("m1").root.into(),
        weights: digest.into(),
        graph: digest.into(),
        preproc: digest.into(),
        labels: digest.into(),
        card: digest.into(),
        intended_use: digest.into(),
        sbom: None,
    });
    assert_eq!(verdict(&log, &set, "P2", "m2").look(), 1);
}

/// Proves: REQ-VAL-013
#[test]
fn a_repeat_is_an_audit_bears_its_looks_number_and_gives_the_same_bytes() {
    let (_folder, set) = locked();
    let makers = MemoryLog::new();
    makers.add(set.to_body());
    verdict(&makers, &set, "P0", "m0");
    let shipped = verdict(&makers, &set, "P1", "m");
    assert_eq!(shipped.look(), 2);

    // another site, whose log knows no look
    let log = MemoryLog::new();
    let protocol = protocol(&set, "P1");
    log.add(set.to_body());
    log.add(protocol.to_body());
    for _ in 0..7 {
        let verdicts = std::slice::from_ref(&shipped);
        let look = open(&log, &set, &protocol, &subject("m"), verdicts).unwrap();
        assert_eq!((look.purpose(), look.number()), (OpenPurpose::ReferenceAudit, 2));
        assert_eq!(last_opening(&log).purpose, OpenPurpose::ReferenceAudit);
        let again = judge(&evaluate(&protocol, look, &good_rater).unwrap()).unwrap();
        assert_eq!(again.bytes(), shipped.bytes());
    }
    // the shipped look counts for the next one
    let next = crate::support::protocol(&set, "P2");
    log.add(next.to_body());
    assert_eq!(open(&log, &set, &next, &subject("m2"), &[shipped]).unwrap().number(), 3);
}

/// Proves: REQ-VAL-011
#[test]
fn a_protocol_about_another_set_or_family_is_refused() {
    let (_folder, set) = locked();
    let log = MemoryLog::new();
    log.add(set.to_body());
    let text = protocol_text(&set, "P1");
    let other_root = text.replace(&set.root().hex(), &Digest::of(b"other").hex());
    let other_class = text.replace("class = \"C\"", "class = \"A\"");
    let other_family = text.replace("family = \"cxr-pneumonia\"", "family = \"fracture\"");
    for (text, code) in [(other_root, "wrong_set"), (other_class, "wrong_class"), (other_family, "wrong_family")] {
        let protocol = vidimus_validation::Protocol::parse(text.as_bytes()).unwrap();
        log.add(protocol.to_body());
        assert_eq!(refused(open(&log, &set, &protocol, &subject("m"), &[]).unwrap_err()), code);
    }
}
