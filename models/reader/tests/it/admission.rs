//! Admission: a model reads only against its release's proof.

use vidimus_log::{
    Digest,
    body::{Decision, RolloutState, Verdict},
};
use vidimus_reader::{AdmissionError, Bundle, IntentReceipt, ReadError, ReleasedModel};

use crate::world::{Held, Ledger, shipped};

fn bundle() -> Bundle {
    Bundle::from_files(shipped()).unwrap()
}

fn admit(bundle: Bundle, held: &Held) -> Result<ReleasedModel, AdmissionError> {
    held.with(|evidence| ReleasedModel::admit(bundle, evidence))
}

/// Proves: REQ-RDR-001
#[test]
fn a_released_model_is_admitted_with_the_figures_of_its_verdict() {
    let held = Held::new(&bundle(), Verdict::Pass, "demonstration");
    let model = admit(bundle(), &held).unwrap();
    assert_eq!(model.deployment().mode(), "demonstration");
    let figures = model.figures();
    let interval = figures.ci95.sensitivity;
    assert!(interval.low < figures.sensitivity && figures.sensitivity < interval.high);
    assert!(figures.set.starts_with("cxr-pneumonia-test 1 (500 images)"));
    assert!(figures.calibration.is_some());
}

/// Proves: REQ-RDR-002
#[test]
fn without_a_decision_or_with_a_rejection_there_is_no_model() {
    let mut held = Held::undecided(&bundle(), Verdict::Pass);
    assert!(matches!(admit(bundle(), &held), Err(AdmissionError::NoDecision)));
    held.decide(Decision::Reject, "demonstration");
    assert!(matches!(admit(bundle(), &held), Err(AdmissionError::NoDecision)));
}

/// Proves: REQ-RDR-003
#[test]
fn a_withdrawal_wins_over_every_release_before_and_after_it() {
    for decision in [Decision::Withdraw, Decision::Suspend] {
        let mut held = Held::new(&bundle(), Verdict::Pass, "demonstration");
        held.decide(decision, "demonstration");
        held.decide(Decision::Approve, "demonstration");
        let refused = admit(bundle(), &held).err().unwrap();
        assert!(matches!(refused, AdmissionError::Withdrawn { index: 3, .. }), "{refused}");
        assert!(refused.to_string().contains(decision.as_str()), "{refused}");
    }
}

/// Proves: REQ-RDR-003
#[test]
fn a_model_rolled_out_to_off_or_recalled_does_not_read() {
    for (to, reads) in
        [(RolloutState::Demonstration, true), (RolloutState::Off, false), (RolloutState::Recalled, false)]
    {
        let mut held = Held::new(&bundle(), Verdict::Pass, "demonstration");
        held.roll_out(to);
        assert_eq!(admit(bundle(), &held).is_ok(), reads, "{}", to.as_str());
    }
}

/// Proves: REQ-RDR-004
#[test]
fn one_changed_bit_of_any_file_is_refused_by_name() {
    let held = Held::new(&bundle(), Verdict::Pass, "demonstration");
    for (name, _) in shipped() {
        let mut files = shipped();
        let bytes = files.get_mut(&name).unwrap();
        let place = bytes.len() - 20;
        bytes[place] ^= 1;
        // A text that no longer is one is refused even earlier.
        let Ok(bundle) = Bundle::from_files(files) else { continue };
        let refused = admit(bundle, &held).err().unwrap();
        match name.as_str() {
            "weights.safetensors" => assert!(matches!(refused, AdmissionError::OtherWeights { .. }), "{refused}"),
            _ => assert!(matches!(refused, AdmissionError::OtherPackage { .. }), "{name}: {refused}"),
        }
    }
}

/// Proves: REQ-RDR-005
#[test]
fn a_verdict_allows_only_the_uses_that_it_supports() {
    for (verdict, scope, allowed) in [
        (Verdict::Pass, "demonstration", true),
        (Verdict::Inconclusive, "demonstration", true),
        (Verdict::Inconclusive, "active", false),
        (Verdict::Fail, "demonstration", false),
        (Verdict::Fail, "shadow", true),
    ] {
        let held = Held::new(&bundle(), verdict, scope);
        assert_eq!(admit(bundle(), &held).is_ok(), allowed, "{} {scope}", verdict.as_str());
    }
}

/// Proves: REQ-RDR-005
#[test]
fn another_verdict_than_the_logged_one_is_refused() {
    let mut held = Held::new(&bundle(), Verdict::Pass, "demonstration");
    held.verdict.push(b' ');
    let refused = admit(bundle(), &held).err().unwrap();
    assert!(refused.to_string().contains("verdict.json differs"), "{refused}");
}

/// Proves: REQ-RDR-006
#[test]
fn evidence_of_another_log_or_another_evaluation_is_refused() {
    let held = Held::new(&bundle(), Verdict::Pass, "demonstration");
    let other = Ledger::new(2).key();
    let refused = held
        .with(|evidence| ReleasedModel::admit(bundle(), &vidimus_reader::ReleaseEvidence { key: &other, ..*evidence }));
    assert!(matches!(refused, Err(AdmissionError::Proof { .. })));

    // The decision cites the evaluation; given another entry in its place, the chain is broken.
    let mut held = Held::new(&bundle(), Verdict::Pass, "demonstration");
    held.evaluation = held.registered.clone();
    assert!(matches!(admit(bundle(), &held), Err(AdmissionError::Evidence(_))));
}

/// Proves: REQ-RDR-007
#[test]
fn only_the_receipt_of_an_intent_for_this_model_permits_inference() {
    let mut held = Held::new(&bundle(), Verdict::Pass, "demonstration");
    let model = admit(bundle(), &held).unwrap();
    let right = held.intent(bundle().root());
    assert!(IntentReceipt::new(right, &model).is_ok());
    let other = held.intent(Digest::of(b"another model"));
    assert!(matches!(IntentReceipt::new(other, &model), Err(ReadError::Intent(_))));
    let registration = held.log.receipt(&held.registered);
    assert!(matches!(IntentReceipt::new(registration, &model), Err(ReadError::Intent(_))));
}
