//! The gate's statistics against statsmodels, scikit-learn, SciPy, confidenceinterval and MLstatkit:
//! `tests/peers/golden.json`, made by `tests/peers/remake.py`.

use serde_json::Value;
use vidimus_validation::statistics as st;

fn golden() -> Value {
    serde_json::from_str(include_str!("../peers/golden.json")).unwrap()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn outcomes(value: &Value) -> Vec<bool> {
    numbers(value).into_iter().map(|x| x > 0.5).collect()
}

#[track_caller]
fn close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance * (1.0 + expected.abs()), "{what}: {found}, expected {expected}");
}

/// Proves: REQ-VAL-001
#[test]
fn special_functions_agree_with_scipy() {
    let golden = golden();
    for row in rows(&golden["normal_quantile"]) {
        close(st::normal_quantile(row[0]), row[1], 1e-13, "normal quantile");
    }
    for row in rows(&golden["normal_cdf"]) {
        close(st::normal_cdf(row[0]), row[1], 1e-14, "normal distribution");
    }
    for row in rows(&golden["beta"]) {
        close(st::regularized_beta(row[0], row[1], row[2]), row[3], 1e-12, "incomplete beta");
        close(st::beta_quantile(row[0], row[1], row[2]), row[4], 1e-12, "beta quantile");
    }
}

/// Proves: REQ-VAL-002
#[test]
fn wilson_and_clopper_pearson_agree_with_statsmodels() {
    for row in rows(&golden()["proportion"]) {
        let p = st::Proportion::new(row[0] as u64, row[1] as u64).unwrap();
        let confidence = st::Confidence::new(row[2]).unwrap();
        let (wilson, exact) = (st::wilson(p, confidence), st::clopper_pearson(p, confidence));
        for (found, expected) in [wilson.low, wilson.high, exact.low, exact.high].into_iter().zip(&row[3..]) {
            close(found, *expected, 1e-10, "proportion");
        }
    }
    // the values that EVIDENCE section 5 prints
    let p = st::Proportion::new(45, 50).unwrap();
    let (wilson, exact) =
        (st::wilson(p, st::Confidence::NINETY_FIVE), st::clopper_pearson(p, st::Confidence::NINETY_FIVE));
    for (found, printed) in [(wilson.low, 0.7864), (wilson.high, 0.9565), (exact.low, 0.7819), (exact.high, 0.9667)] {
        assert!((found - printed).abs() < 0.5e-4);
    }
}

struct Case {
    a: (Vec<f64>, Vec<f64>),
    b: (Vec<f64>, Vec<f64>),
    patients: (Vec<u64>, Vec<u64>),
}

fn split(case: &Value) -> Case {
    let outcome = outcomes(&case["outcome"]);
    let of = |key: &str, positive: bool| -> Vec<f64> {
        numbers(&case[key]).into_iter().zip(&outcome).filter(|(_, y)| **y == positive).map(|(x, _)| x).collect()
    };
    let patients = |positive| of("patient", positive).into_iter().map(|x| x as u64).collect();
    Case {
        a: (of("a", true), of("a", false)),
        b: (of("b", true), of("b", false)),
        patients: (patients(true), patients(false)),
    }
}

/// Proves: REQ-VAL-003
#[test]
fn the_area_its_interval_and_the_difference_agree_with_three_programs() {
    for golden in golden()["auc"].as_array().unwrap() {
        let case = split(golden);
        let expected = |key: &str| golden[key].as_f64().unwrap();
        let auc = st::delong(&case.a.0, &case.a.1).unwrap();
        close(auc.value, expected("auc_a"), 1e-12, "scikit-learn");
        let interval = auc.interval(st::Confidence::NINETY_FIVE);
        for (key, tolerance) in [("delong", 1e-9), ("delong_single_precision", 1e-6)] {
            let peer = numbers(&golden[key]);
            close(interval.low, peer[0], tolerance, key);
            close(interval.high, peer[1].min(1.0), tolerance, key);
        }
        let difference = st::delong_difference((&case.a.0, &case.a.1), (&case.b.0, &case.b.1)).unwrap();
        close(difference.value, expected("auc_a") - expected("auc_b"), 1e-12, "scikit-learn, difference");
        let z = difference.value / difference.standard_error;
        close(z.abs(), expected("difference_z").abs(), 1e-8, "MLstatkit, z");
        close(difference.p, expected("difference_p"), 1e-8, "MLstatkit, p");
    }
}

/// Proves: REQ-VAL-004
#[test]
fn obuchowskis_variance_agrees_with_the_formula_over_all_pairs_and_with_the_bootstrap() {
    for golden in golden()["auc"].as_array().unwrap() {
        let case = split(golden);
        let keyed =
            |scores: &[f64], patients: &[u64]| scores.iter().copied().zip(patients.iter().copied()).collect::<Vec<_>>();
        let (positives, negatives) = (keyed(&case.a.0, &case.patients.0), keyed(&case.a.1, &case.patients.1));
        let auc = st::clustered_auc(&positives, &negatives).unwrap();
        close(auc.variance, golden["obuchowski_variance"].as_f64().unwrap(), 1e-12, "Obuchowski");

        let mut patients = std::collections::BTreeMap::<u64, st::Cluster<(f64, bool)>>::new();
        for (cases, positive) in [(&positives, true), (&negatives, false)] {
            for (score, patient) in cases {
                let stratum = u8::from(positive);
                let cluster = patients.entry(*patient).or_insert(st::Cluster { stratum, cases: Vec::new() });
                cluster.cases.push((*score, positive));
            }
        }
        let clusters: Vec<_> = patients.into_values().collect();
        let of = |drawn: &[&(f64, bool)], y: bool| drawn.iter().filter(|c| c.1 == y).map(|c| c.0).collect::<Vec<_>>();
        let plan = st::BootstrapPlan {
            replicates: 4_000,
            seed: *b"vidimus1",
            label: "peer",
            confidence: st::Confidence::NINETY_FIVE,
        };
        let resampled = st::bootstrap(
            &clusters,
            |drawn| st::delong(&of(drawn, true), &of(drawn, false)).ok().map(|auc| auc.value),
            plan,
        )
        .unwrap();
        let ratio = resampled.percentile.width() / auc.interval(st::Confidence::NINETY_FIVE).width();
        assert!((ratio - 1.0).abs() < 0.1, "width of bootstrap over Obuchowski: {ratio}");
    }
}

/// Proves: REQ-VAL-006
#[test]
fn calibration_agrees_with_scikit_learn_and_statsmodels() {
    let golden = &golden()["calibration"];
    let (p, y) = (numbers(&golden["p"]), outcomes(&golden["outcome"]));
    let expected = |key: &str| golden[key].as_f64().unwrap();
    close(st::brier(&p, &y).unwrap(), expected("brier"), 1e-12, "Brier score");
    let bins = st::equal_mass_bins(&p, &y, 15).unwrap();
    close(st::expected_calibration_error(&bins).unwrap(), expected("ece"), 1e-12, "ECE");
    let line = st::calibration_line(&p, &y).unwrap();
    for (found, key) in [
        (line.slope, "slope"),
        (line.slope_error, "slope_error"),
        (line.intercept, "intercept"),
        (line.intercept_error, "intercept_error"),
    ] {
        close(found, expected(key), 1e-8, key);
    }
    let (z, p) = st::spiegelhalter_z(&p, &y).unwrap();
    close(z, expected("spiegelhalter_z"), 1e-12, "Spiegelhalter z");
    close(p, expected("spiegelhalter_p"), 1e-12, "Spiegelhalter p");
}

/// Proves: REQ-VAL-007
#[test]
fn likelihood_ratios_agree_with_statsmodels() {
    for row in rows(&golden()["likelihood_ratio"]) {
        let confusion = st::Confusion {
            true_positives: row[0] as u64,
            false_negatives: row[1] as u64,
            false_positives: row[2] as u64,
            true_negatives: row[3] as u64,
        };
        let plus = confusion.likelihood_ratio_positive(st::Confidence::NINETY_FIVE).unwrap();
        let minus = confusion.likelihood_ratio_negative(st::Confidence::NINETY_FIVE).unwrap();
        let found = [plus, minus].into_iter().flat_map(|ratio| {
            let interval = ratio.interval.unwrap();
            [ratio.value, interval.low, interval.high]
        });
        for (found, expected) in found.zip(&row[4..]) {
            close(found, *expected, 1e-10, "likelihood ratio");
        }
    }
}

/// Proves: REQ-VAL-005
#[test]
fn bootstrap_intervals_agree_with_scipy_within_simulation_error() {
    let golden = &golden()["bootstrap_mean"];
    let clusters: Vec<_> =
        numbers(&golden["sample"]).iter().map(|x| st::Cluster { stratum: 0, cases: vec![*x] }).collect();
    let plan = st::BootstrapPlan {
        replicates: 40_000,
        seed: *b"vidimus1",
        label: "mean",
        confidence: st::Confidence::NINETY_FIVE,
    };
    let mean = |drawn: &[&f64]| st::mean(&drawn.iter().map(|x| **x).collect::<Vec<_>>());
    let found = st::bootstrap(&clusters, mean, plan).unwrap();
    for (interval, key) in [(found.bca, "bca"), (found.percentile, "percentile")] {
        let expected = numbers(&golden[key]);
        for (limit, expected) in [interval.low, interval.high].into_iter().zip(&expected) {
            assert!((limit - expected).abs() < 0.03 * interval.width(), "{key}: {limit}, expected {expected}");
        }
    }
}

/// Proves: REQ-TRU-001
#[test]
fn the_reliability_diagram_agrees_with_scikit_learn() {
    let golden = golden();
    let (p, width) = (numbers(&golden["calibration"]["p"]), &golden["trust"]["width"]);
    let bins = st::equal_width_bins(&p, &outcomes(&golden["trust"]["outcome"]), 10).unwrap();
    close(st::expected_calibration_error(&bins).unwrap(), width["ece"].as_f64().unwrap(), 1e-12, "ECE");
    close(st::maximum_calibration_error(&bins).unwrap(), width["mce"].as_f64().unwrap(), 1e-12, "largest error");
    let points = st::reliability(&bins, st::Confidence::NINETY_FIVE).unwrap();
    let (observed, mean, wilson) = (numbers(&width["observed"]), numbers(&width["mean"]), rows(&width["wilson"]));
    assert_eq!(points.len(), observed.len());
    for (place, point) in points.iter().enumerate() {
        close(point.bin.observed(), observed[place], 1e-12, "observed share");
        close(point.bin.probability_mean, mean[place], 1e-12, "mean probability");
        close(point.interval.low, wilson[place][0], 1e-12, "lower limit");
        close(point.interval.high, wilson[place][1], 1e-12, "upper limit");
    }
}

/// Proves: REQ-TRU-002, REQ-TRU-003
#[test]
fn recalibration_agrees_with_scikit_learn_and_scipy() {
    let golden = &golden()["trust"];
    let y = outcomes(&golden["outcome"]);
    for case in golden["isotonic"].as_array().unwrap() {
        let fit = st::Isotonic::fit(&numbers(&case["p"]), &y).unwrap();
        for (at, expected) in numbers(&case["grid"]).into_iter().zip(numbers(&case["at"])) {
            close(fit.at(at), expected, 1e-12, "isotonic regression");
        }
    }
    let case = &golden["temperature"];
    let right: Vec<usize> = numbers(&case["right"]).into_iter().map(|class| class as usize).collect();
    let fit = st::fit_temperature(&rows(&case["logits"]), &right).unwrap();
    // the peer minimises the loss itself, so its place is known to the root of a last digit
    for (found, key, tolerance) in
        [(fit.value, "value", 1e-6), (fit.loss_before, "before", 1e-12), (fit.loss_after, "after", 1e-12)]
    {
        close(found, case[key].as_f64().unwrap(), tolerance, key);
    }
}

/// Proves: REQ-TRU-004
#[test]
fn conformal_sets_agree_with_mapie() {
    let golden = &golden()["trust"];
    let probabilities = rows(&golden["probabilities"]);
    let right: Vec<usize> = numbers(&golden["temperature"]["right"]).into_iter().map(|class| class as usize).collect();
    for case in golden["conformal"].as_array().unwrap() {
        let score = if case["score"] == "lac" { st::ConformalScore::Lac } else { st::ConformalScore::Aps };
        let alpha = case["alpha"].as_f64().unwrap();
        let rule = st::Conformal::fit(score, alpha, false, &probabilities[..120], &right[..120]).unwrap();
        close(rule.quantiles[0], case["quantile"].as_f64().unwrap(), 1e-12, "quantile");
        for (place, expected) in rows(&case["sets"]).into_iter().enumerate() {
            let expected: Vec<bool> = expected.into_iter().map(|inside| inside > 0.5).collect();
            let found = rule.set(&probabilities[120 + place]);
            assert_eq!(found, expected, "{score:?} at {alpha}, case {place}");
        }
    }
}

/// Proves: REQ-TRU-005
#[test]
fn the_curve_of_error_against_coverage_agrees_with_its_definition() {
    let golden = &golden()["trust"]["selective"];
    let curve = st::risk_coverage(&numbers(&golden["sure"]), &outcomes(&golden["wrong"])).unwrap();
    close(curve.area, golden["area"].as_f64().unwrap(), 1e-12, "area");
    close(curve.excess, golden["excess"].as_f64().unwrap(), 1e-12, "excess");
    for row in rows(&golden["at"]) {
        close(curve.at(row[0]).unwrap().value(), row[1], 1e-12, "error at a coverage");
    }
}
