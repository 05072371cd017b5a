//! Verdicts: pure, canonical, true to the protocol's rules, and broken by one changed digit.

use std::cell::Cell;

use serde_json::Value;
use vidimus_log::{Digest, body::Verdict as Word, canonical};
use vidimus_validation::{Protocol, Rater, Rating, Subject, TrainingManifest, Verdict, VerdictError, evaluate, judge};

use crate::support::{MemoryLog, evaluated, good_rater, locked, open, protocol, protocol_text, subject};

fn judged_as(protocol: impl Fn(&str) -> String, subject: &Subject, rater: &dyn Rater) -> Verdict {
    let (_folder, set) = locked();
    let log = MemoryLog::new();
    let protocol = Protocol::parse(protocol(&protocol_text(&set, "P1")).as_bytes()).unwrap();
    log.add(set.to_body());
    log.add(protocol.to_body());
    let look = open(&log, &set, &protocol, subject, &[]).unwrap();
    judge(&evaluate(&protocol, look, rater).unwrap()).unwrap()
}

fn judged(rater: &dyn Rater) -> Verdict {
    judged_as(str::to_owned, &subject("m"), rater)
}

fn figure<'a>(verdict: &'a Verdict, path: &str) -> &'a str {
    verdict.value().pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("{path}"))
}

/// Proves: REQ-VAL-015
#[test]
fn the_same_inputs_give_the_same_bytes_whoever_asks_and_whenever() {
    let (first, second) = (judged(&good_rater), judged(&good_rater));
    assert_eq!(first.bytes(), second.bytes());
    canonical::check(first.bytes()).unwrap();
    assert_eq!(Verdict::parse(first.bytes()).unwrap(), first);
}

/// Proves: REQ-VAL-015
#[test]
fn the_gate_gives_the_bytes_that_it_gave_when_its_version_was_set() {
    // a change here without a new GATE_VERSION would break every shipped verdict
    assert_eq!(vidimus_validation::GATE_VERSION, "1");
    assert_eq!(judged(&good_rater).digest().hex(), "12e0ea8552ace1be4bf41a99b2a0b4e88cc5972328c8997e4939c8400d4112b8");
}

/// Proves: REQ-VAL-016
#[test]
fn every_ratio_has_its_counts_and_every_figure_its_digits() {
    let verdict = judged(&good_rater);
    // 4 of 100 wrong: cases 3 and 28 (normal), 53 and 78 (pneumonia)
    for (id, top, bottom, estimate) in [("E2", 58, 60, "0.966667"), ("E3", 38, 40, "0.950000")] {
        let endpoint = verdict.endpoint(id).unwrap();
        assert_eq!(
            (endpoint["counts"]["top"].as_u64(), endpoint["counts"]["bottom"].as_u64()),
            (Some(top), Some(bottom))
        );
        assert_eq!(endpoint["estimate"], estimate);
    }
    let confusion = &verdict.value()["aggregates"]["confusion"];
    assert_eq!(confusion["true_positives"], 58);
    assert_eq!(confusion["false_positives"], 2);
    assert_eq!(verdict.primary().metric.as_str(), "auc");
    assert_eq!(verdict.primary().n, 100);
    assert_eq!(verdict.value()["look"]["confidence"], "0.950000");
    for id in ["E1", "E2", "E3"] {
        let endpoint = verdict.endpoint(id).unwrap();
        assert_eq!(endpoint["ci95"], endpoint["interval"], "the first look's interval is the usual one");
    }
    let bins = verdict.value()["aggregates"]["reliability"].as_array().unwrap();
    assert_eq!(bins.iter().map(|bin| bin["n"].as_u64().unwrap()).sum::<u64>(), 100);
    assert!(verdict.value()["aggregates"]["roc"].as_array().unwrap().len() <= 60);
}

/// Proves: REQ-VAL-017
#[test]
fn results_follow_from_the_goals() {
    let lower = |least: &str| {
        let least = format!("lower_min = {least}");
        move |text: &str| text.replace("lower_min = 0.955", &least).replace("point_min = 0.97", "point_min = 0.9")
    };
    let good = subject("m");
    assert_eq!(judged_as(lower("0.5"), &good, &good_rater).result(), Word::Pass);
    assert_eq!(judged_as(lower("0.9999"), &good, &good_rater).result(), Word::Inconclusive);
    let coin = |case: &[u8]| evaluated(f64::from(case[1].wrapping_mul(97)) / 255.0, 0.5);
    let verdict = judged_as(lower("0.5"), &good, &coin);
    assert_eq!(verdict.result(), Word::Fail);
    // the fixed sequence: after the first that does not pass, no confirmatory claim
    let flags: Vec<bool> = ["E1", "E2", "E3"].map(|id| verdict.endpoint(id).unwrap()["confirmatory"] == true).into();
    assert_eq!(flags, [true, false, false]);
}

/// Proves: REQ-VAL-017
#[test]
fn a_perfect_area_keeps_an_honest_lower_limit() {
    let verdict = judged(&|case: &[u8]| evaluated(if case[0] == 1 { 0.9 } else { 0.1 }, 0.5));
    let endpoint = verdict.endpoint("E1").unwrap();
    assert_eq!(endpoint["estimate"], "1.000000");
    assert_eq!(endpoint["interval"]["method"], "clopper-pearson-independent-pairs");
    // 20 normal and 31 other patients: 20 pairs, all won, lower limit .025^(1/20)
    assert_eq!(endpoint["interval"]["low"], "0.831567");
    assert_eq!(endpoint["result"], "inconclusive");
}

/// Proves: REQ-VAL-018
#[test]
fn refused_and_failed_cases_count_as_wrong_and_the_analysis_without_them_stands_beside() {
    let rater = |case: &[u8]| match case[1] {
        10 => Rating::NotEvaluated { code: "not_chest".to_owned() },
        50 => Rating::NotEvaluated { code: "not_chest".to_owned() },
        60 => Rating::Failed { text: "out of memory".to_owned() },
        70 => evaluated(f64::NAN, 0.5),
        _ => evaluated(if case[0] == 1 { 0.9 } else { 0.1 }, 0.5),
    };
    let verdict = judged(&rater);
    let cases = &verdict.value()["cases"];
    assert_eq!((cases["evaluated"].as_u64(), cases["not_evaluated"].as_u64()), (Some(96), Some(2)));
    assert_eq!((cases["failed"].as_u64(), cases["refusal_codes"][0]["n"].as_u64()), (Some(2), Some(2)));
    assert_eq!(verdict.endpoint("E2").unwrap()["counts"]["top"], 57);
    assert_eq!(verdict.endpoint("E3").unwrap()["counts"]["top"], 39);
    // pairs lost: 3 positives below all 40 negatives, 1 negative above the other 57 positives
    assert_eq!(verdict.endpoint("E1").unwrap()["counts"]["top"], 2 * (60 * 40 - 3 * 40 - 57));
    let without = &verdict.value()["analyses"][0];
    assert_eq!((without["id"].as_str(), without["left_out"].as_u64()), (Some("without_missing"), Some(4)));
    assert_eq!(without["figures"][0]["estimate"], "1.000000");
    let text = String::from_utf8_lossy(verdict.bytes()).into_owned();
    assert!(!text.contains("out of memory"), "a failure's text stays sealed");
}

/// Proves: REQ-VAL-018
#[test]
fn the_effect_of_identical_images_is_reported() {
    let verdict = judged(&good_rater);
    let beside = &verdict.value()["analyses"][1];
    assert_eq!((beside["id"].as_str(), beside["left_out"].as_u64()), (Some("first_of_equal_pixels"), Some(1)));
    assert_eq!(beside["n"], 99);
}

/// Proves: REQ-VAL-019
#[test]
fn a_model_that_fails_one_subgroup_raises_its_alarm() {
    // virus is cases 75 and up: half of them missed
    let rater = |case: &[u8]| {
        let missed = case[1] >= 75 && case[1].is_multiple_of(2);
        evaluated(if case[0] == 1 && !missed { 0.9 } else { 0.1 }, 0.5)
    };
    let block =
        |text: &str| text.replace("action = \"label\"", "action = \"block\"").replace("min_n = 30", "min_n = 20");
    let lenient = |text: &str| {
        block(text)
            .replace("point_min = 0.97", "point_min = 0.5")
            .replace("lower_min = 0.955", "lower_min = 0.5")
            .replace("point_min = 0.95", "point_min = 0.5")
    };
    let verdict = judged_as(lenient, &subject("m"), &rater);
    let alarms: Vec<&Value> =
        verdict.value()["subgroups"].as_array().unwrap().iter().filter(|s| s["result"] == "fail").collect();
    assert!(alarms.iter().any(|s| s["value"] == "virus" && s["statistic"] == "sensitivity"), "{alarms:?}");
    assert_eq!(verdict.result(), Word::Fail, "the endpoints pass, the subgroup blocks");
    let few = judged(&rater);
    let virus = few.value()["subgroups"].as_array().unwrap().iter().find(|s| s["value"] == "virus").unwrap();
    assert_eq!(virus["result"], "too_few");
}

/// Proves: REQ-VAL-020
#[test]
fn a_patient_in_both_training_and_test_fails_the_verdict() {
    let lenient = |text: &str| text.replace("0.955", "0.5").replace("point_min = 0.97", "point_min = 0.5");
    let with = |patients: &[&str], file: &[u8]| Subject {
        training: Some(TrainingManifest {
            patients: patients.iter().map(|p| (*p).to_owned()).collect(),
            files: [Digest::of(file)].into(),
        }),
        ..subject("m")
    };
    let clean = judged_as(lenient, &with(&["person1_bacteria"], b"train"), &good_rater);
    assert_eq!((clean.result(), &clean.value()["leakage"][0]["result"]), (Word::Pass, &Value::from("pass")));
    let patient = judged_as(lenient, &with(&["person25_bacteria"], b"train"), &good_rater);
    assert_eq!((patient.result(), patient.value()["leakage"][0]["overlap"].as_u64()), (Word::Fail, Some(1)));
    let file = judged_as(lenient, &with(&[], &[1, 50, 9]), &good_rater);
    assert_eq!((file.result(), file.value()["leakage"][1]["overlap"].as_u64()), (Word::Fail, Some(1)));
    assert_eq!(judged(&good_rater).value()["leakage"][0]["result"], "not_measured");
}

/// Proves: REQ-VAL-015
#[test]
fn a_verdict_with_one_digit_changed_is_found() {
    let verdict = judged(&good_rater);
    let text = String::from_utf8(verdict.bytes().to_vec()).unwrap();
    let auc = figure(&verdict, "/endpoints/0/estimate");
    let better = format!("0.99{}", &auc[4..]);
    for (from, to) in [
        (format!("\"estimate\":\"{auc}\""), format!("\"estimate\":\"{better}\"")),
        ("\"top\":58".to_owned(), "\"top\":59".to_owned()),
        ("\"result\":\"fail\",\"secondary\"".to_owned(), "\"result\":\"pass\",\"secondary\"".to_owned()),
        ("\"v\":1}".to_owned(), "\"v\":1 }".to_owned()),
    ] {
        if from.contains("fail") && verdict.result() != Word::Fail {
            continue;
        }
        assert!(text.contains(&from), "{from}");
        let changed = text.replace(&from, &to);
        let error = Verdict::parse(changed.as_bytes()).unwrap_err();
        assert!(matches!(error, VerdictError::Inconsistent { .. } | VerdictError::Canonical(_)), "{from}: {error}");
    }
    // and any other changed digit changes the digest, which release and log hold
    let seed = figure(&verdict, "/seed");
    let other = Verdict::parse(text.replace(seed, "0123456789abcdef").as_bytes()).unwrap();
    assert_ne!(other.digest(), verdict.digest());
}

/// Proves: REQ-VAL-021
#[test]
fn a_rater_sees_each_case_once_in_an_order_that_tells_nothing_of_its_class() {
    let (_folder, set) = locked();
    let log = MemoryLog::new();
    let protocol = protocol(&set, "P1");
    log.add(set.to_body());
    log.add(protocol.to_body());
    let look = open(&log, &set, &protocol, &subject("m"), &[]).unwrap();
    let (seen, changes, last) = (Cell::new(0_u32), Cell::new(0_u32), Cell::new(2_u8));
    let rater = |case: &[u8]| {
        seen.set(seen.get() + 1);
        changes.set(changes.get() + u32::from(last.replace(case[0]) != case[0]));
        good_rater(case)
    };
    let evaluation = evaluate(&protocol, look, &rater).unwrap();
    assert_eq!(seen.get(), 100);
    // 40 and 60 in random order change class 48 times on average (standard deviation 5)
    assert!((28..=68).contains(&changes.get()), "{}", changes.get());
    assert!(format!("{evaluation:?}").contains("sealed"));
}

/// Proves: REQ-TRU-006
#[test]
fn error_against_coverage_is_in_the_verdict_where_the_protocol_asks_for_it() {
    let asked = |text: &str| format!("{text}\n[selective]\ncoverages = [0.5, 0.9, 1.0]\npoints_max = 10\n");
    let verdict = judged_as(asked, &subject("m"), &good_rater);
    let found = &verdict.value()["selective"];
    assert_eq!(found["n"], 100);
    let last = &found["at"][2];
    assert_eq!((last["covered"].as_u64(), last["mistakes"].as_u64()), (Some(100), Some(4)));
    assert_eq!(last["error"], "0.040000");
    assert!(found["at"][0]["covered"].as_u64() >= Some(50));
    assert!((2..=10).contains(&found["points"].as_array().unwrap().len()));
    let number = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    let (area, interval) = (number(&found["area"]["estimate"]), &found["area"]["interval"]);
    assert!(number(&interval["low"]) <= area && area <= number(&interval["high"]));
    // without the table everything else has the bytes that it had
    assert!(judged(&good_rater).value().get("selective").is_none());
}

/// Proves: REQ-TRU-006
#[test]
fn coverages_that_are_none_are_refused() {
    let (_folder, set) = locked();
    for (coverages, points) in [("[]", 10), ("[0.0]", 10), ("[1.1]", 10), ("[0.5]", 1), ("[0.5]", 61)] {
        let text =
            format!("{}\n[selective]\ncoverages = {coverages}\npoints_max = {points}\n", protocol_text(&set, "P1"));
        assert!(Protocol::parse(text.as_bytes()).is_err(), "{coverages} {points}");
    }
}
