//! Releases: two different persons, the right digest, and a mode within what class and result allow.

use vidimus_log::{Digest, body::Verdict as Word};
use vidimus_validation::{
    Mode, Release, ReleaseError, ReleaseFacts, Role, Signature, Signer, SigningFacts, Verdict, evaluate, judge,
    parse_signatures, signatures_to_toml,
};

use crate::support::{MemoryLog, good_rater, locked, open, protocol_text, subject};

fn verdict(goal: &str) -> Verdict {
    let (_folder, set) = locked();
    let log = MemoryLog::new();
    let text =
        protocol_text(&set, "P1").replace("lower_min = 0.955", goal).replace("point_min = 0.97", "point_min = 0.5");
    let protocol = vidimus_validation::Protocol::parse(text.as_bytes()).unwrap();
    log.add(set.to_body());
    log.add(protocol.to_body());
    let look = open(&log, &set, &protocol, &subject("m"), &[]).unwrap();
    judge(&evaluate(&protocol, look, &good_rater).unwrap()).unwrap()
}

fn passed() -> Verdict {
    let verdict = verdict("lower_min = 0.5");
    assert_eq!(verdict.result(), Word::Pass);
    verdict
}

fn facts(mode: Mode) -> ReleaseFacts {
    ReleaseFacts {
        id: "REL-1".to_owned(),
        intended_use: "IU-CXR-1".to_owned(),
        labelling: "1".to_owned(),
        sites: vec!["any".to_owned()],
        mode,
        previous: None,
        change: "first release".to_owned(),
        anomalies: Vec::new(),
        contributors: vec!["Carla Trainer".to_owned()],
    }
}

fn leaf() -> Digest {
    Digest::of(b"leaf of the evaluation")
}

fn evaluator() -> Signer {
    Signer::new("stf_a", "Ada Example", Role::Evaluator, &[1; 32])
}

fn approver() -> Signer {
    Signer::new("stf_b", "Ben Example", Role::Approver, &[2; 32])
}

fn sign(signer: &Signer, release: &Release) -> Signature {
    let facts = SigningFacts { release: release.digest(), signed_leaf: leaf(), t_ms: 1_766_000_000_000, tz: "UTC" };
    signer.sign(&facts).unwrap()
}

fn verify(release: &Release, verdict: &Verdict, signers: &[&Signer]) -> Result<(), ReleaseError> {
    let signatures: Vec<Signature> = signers.iter().map(|signer| sign(signer, release)).collect();
    let trusted: Vec<String> = signers.iter().map(|signer| signer.key_id()).collect();
    release.verify(std::slice::from_ref(verdict), &signatures, leaf(), &trusted).map(drop)
}

/// Proves: REQ-VAL-022
#[test]
fn two_persons_release_a_passed_package_for_demonstration() {
    let verdict = passed();
    let release = Release::propose(facts(Mode::Demonstration), std::slice::from_ref(&verdict)).unwrap();
    verify(&release, &verdict, &[&evaluator(), &approver()]).unwrap();
    verify(&release, &verdict, &[&approver(), &evaluator()]).unwrap();
    // from the files, as a stranger reads them
    let read = Release::parse(release.bytes()).unwrap();
    assert_eq!(read, release);
    let file = signatures_to_toml(&[sign(&evaluator(), &release), sign(&approver(), &release)]).unwrap();
    let trusted = [evaluator().key_id(), approver().key_id()];
    let signed = read.verify(&[verdict], &parse_signatures(&file).unwrap(), leaf(), &trusted).unwrap();
    let body = signed.to_body("first release", 1, vec![Digest::of(b"1"), Digest::of(b"2")]);
    assert_eq!(body.scope.as_str(), "demonstration");
}

/// Proves: REQ-VAL-023
#[test]
fn the_same_person_cannot_sign_twice() {
    let verdict = passed();
    let release = Release::propose(facts(Mode::Demonstration), std::slice::from_ref(&verdict)).unwrap();
    let same_subject = Signer::new("stf_a", "Ben Example", Role::Approver, &[2; 32]);
    let same_key = Signer::new("stf_b", "Ben Example", Role::Approver, &[1; 32]);
    let same_name = Signer::new("stf_b", "ada  EXAMPLE", Role::Approver, &[2; 32]);
    for (second, what) in [(same_subject, "signer"), (same_key, "key"), (same_name, "printed name")] {
        let error = verify(&release, &verdict, &[&evaluator(), &second]).unwrap_err();
        assert!(matches!(error, ReleaseError::SamePerson { what: found } if found == what), "{error}");
    }
    let twice = Signer::new("stf_b", "Ben Example", Role::Evaluator, &[2; 32]);
    assert!(matches!(verify(&release, &verdict, &[&evaluator(), &twice]), Err(ReleaseError::Roles)));
    assert!(matches!(verify(&release, &verdict, &[&evaluator()]), Err(ReleaseError::Roles)));
    let trainer = Signer::new("stf_c", "Carla Trainer", Role::Approver, &[3; 32]);
    assert!(matches!(verify(&release, &verdict, &[&evaluator(), &trainer]), Err(ReleaseError::Contributor)));
}

/// Proves: REQ-VAL-024
#[test]
fn a_signature_cannot_be_moved_changed_or_made_by_a_stranger() {
    let verdict = passed();
    let release = Release::propose(facts(Mode::Demonstration), std::slice::from_ref(&verdict)).unwrap();
    let other = Release::propose(facts(Mode::Shadow), std::slice::from_ref(&verdict)).unwrap();
    let (first, second) = (sign(&evaluator(), &release), sign(&approver(), &release));
    let trusted = [evaluator().key_id(), approver().key_id()];
    let verify = |release: &Release, signatures: &[Signature], leaf, trusted: &[String]| {
        release.verify(std::slice::from_ref(&verdict), signatures, leaf, trusted).unwrap_err().to_string()
    };
    let both = [first.clone(), second.clone()];
    assert!(verify(&other, &both, leaf(), &trusted).contains("digest of another release.toml"));
    assert!(verify(&release, &both, Digest::of(b"other"), &trusted).contains("another evaluation"));
    assert!(verify(&release, &both, leaf(), &trusted[..1]).contains("not enrolled"));
    let file = signatures_to_toml(&both).unwrap();
    for (from, to, what) in [
        ("Ada Example", "Eve Example", "does not verify"),
        ("1766000000000", "1766000000001", "does not verify"),
        ("role = \"evaluator\"", "role = \"approver\"", "expected one signature of an evaluator"),
    ] {
        let changed = parse_signatures(&file.replace(from, to)).unwrap();
        assert!(verify(&release, &changed, leaf(), &trusted).contains(what), "{from}");
    }
    // roles exchanged: the header binds them
    let exchanged =
        file.replace("role = \"evaluator\"", "role = \"x\"").replace("role = \"approver\"", "role = \"evaluator\"");
    let exchanged = parse_signatures(&exchanged.replace("role = \"x\"", "role = \"approver\"")).unwrap();
    assert!(verify(&release, &exchanged, leaf(), &trusted).contains("another key, role or algorithm"));
}

/// Proves: REQ-VAL-025
#[test]
fn class_and_result_cap_the_mode() {
    let passed = passed();
    for mode in [Mode::Canary, Mode::Active] {
        let error = Release::propose(facts(mode), std::slice::from_ref(&passed)).unwrap_err();
        assert!(matches!(error, ReleaseError::Mode { cap: "demonstration", .. }), "{error}");
    }
    let inconclusive = verdict("lower_min = 0.9999");
    assert_eq!(inconclusive.result(), Word::Inconclusive);
    Release::propose(facts(Mode::Demonstration), &[inconclusive]).unwrap();
    let failed = {
        let text = String::from_utf8(passed.bytes().to_vec()).unwrap();
        let text = text.replacen("\"result\":\"pass\"", "\"result\":\"fail\"", 1);
        let (head, tail) = text.rsplit_once("\"result\":\"pass\",\"secondary\"").unwrap();
        Verdict::parse(format!("{head}\"result\":\"fail\",\"secondary\"{tail}").as_bytes()).unwrap()
    };
    let error = Release::propose(facts(Mode::Demonstration), std::slice::from_ref(&failed)).unwrap_err();
    assert!(matches!(error, ReleaseError::Mode { cap: "shadow", .. }), "{error}");
    Release::propose(facts(Mode::Shadow), &[failed]).unwrap();
    assert!(matches!(Release::propose(facts(Mode::Shadow), &[]), Err(ReleaseError::NoVerdict)));
}

/// Proves: REQ-VAL-025
#[test]
fn a_record_that_cites_what_no_verdict_says_is_refused() {
    let verdict = passed();
    let release = Release::propose(facts(Mode::Demonstration), std::slice::from_ref(&verdict)).unwrap();
    let text = String::from_utf8(release.bytes().to_vec()).unwrap();
    let root = verdict.package_root().hex();
    for (from, to, what) in [
        ("mode = \"demonstration\"", "mode = \"active\"", "above demonstration"),
        ("class = \"C\"", "class = \"A\"", "something else than the record cites"),
        (root.as_str(), &Digest::of(b"other package").hex(), "another package"),
        (&verdict.digest().hex(), &Digest::of(b"other verdict").hex(), "not at hand"),
    ] {
        let changed = Release::parse(text.replace(from, to).as_bytes()).unwrap();
        let error = self::verify(&changed, &verdict, &[&evaluator(), &approver()]).unwrap_err();
        assert!(error.to_string().contains(what), "{from}: {error}");
    }
}
