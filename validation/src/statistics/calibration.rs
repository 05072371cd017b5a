//! Calibration of probabilities: Brier score and its parts, expected calibration error over equal-mass bins,
//! calibration line on the logit scale, Spiegelhalter's z.
//! Shapes: one probability in `0.0..=1.0` and one outcome a case.
//! Errors: `OutOfRange` for a probability outside, `OneClass` and `NotConverged` for a line that does not exist.
//! Ties: equal probabilities always share a bin (the earlier one), so the order of cases changes nothing.
//! Sources: Brier 1950; Murphy 1973; Naeini 2015 (ECE, here with equal mass); Cox 1958; Spiegelhalter 1986;
//! Van Calster 2019.

use super::{StatisticsError, Sum, check_probabilities, count, float, normal_cdf};

/// Probabilities are taken away from 0 and 1 by this much before their logit is taken.
pub const LOGIT_MARGIN: f64 = 1e-6;

/// One bin of a reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Cases.
    pub n: u64,
    /// Positive cases.
    pub positives: u64,
    /// Mean probability.
    pub probability_mean: f64,
}

impl Bin {
    /// The share of positive cases.
    pub fn observed(&self) -> f64 {
        float(self.positives) / float(self.n)
    }
}

/// Murphy's parts over bins: `reliability - resolution + uncertainty` is the Brier score of the bins' means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BrierParts {
    /// Mean squared distance of probability and observed share; 0 is best.
    pub reliability: f64,
    /// Mean squared distance of observed share and prevalence; more is better.
    pub resolution: f64,
    /// Variance of the outcome.
    pub uncertainty: f64,
}

/// logit(outcome) = intercept + slope x logit(probability), by maximum likelihood.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationLine {
    /// Intercept with the slope held at 1 (calibration in the large); 0 is best.
    pub intercept: f64,
    /// Standard error of it.
    pub intercept_error: f64,
    /// Slope of the line with its own intercept; 1 is best, below 1 means too extreme.
    pub slope: f64,
    /// Standard error of it.
    pub slope_error: f64,
    /// Cases whose probability was moved off 0 or 1 by [`LOGIT_MARGIN`].
    pub moved: u64,
}

/// The Brier score: mean squared distance of probability and outcome.
pub fn brier(probabilities: &[f64], outcomes: &[bool]) -> Result<f64, StatisticsError> {
    check(probabilities, outcomes)?;
    let squares: Sum = probabilities.iter().zip(outcomes).map(|(p, y)| square(p - f64::from(u8::from(*y)))).collect();
    Ok(squares.value() / float(count(probabilities.len())))
}

/// Murphy's decomposition over `bins`.
pub fn brier_parts(bins: &[Bin]) -> Result<BrierParts, StatisticsError> {
    let n: u64 = bins.iter().map(|bin| bin.n).sum();
    if n == 0 {
        return Err(StatisticsError::Empty { what: "Brier parts" });
    }
    let prevalence = float(bins.iter().map(|bin| bin.positives).sum()) / float(n);
    let weighted = |f: &dyn Fn(&Bin) -> f64| {
        bins.iter().map(|bin| float(bin.n) * square(f(bin))).collect::<Sum>().value() / float(n)
    };
    Ok(BrierParts {
        reliability: weighted(&|bin| bin.probability_mean - bin.observed()),
        resolution: weighted(&|bin| bin.observed() - prevalence),
        uncertainty: prevalence * (1.0 - prevalence),
    })
}

/// At most `bins` bins of equal mass, lowest probability first: bin k ends at the case `k n / bins` in order, and later
/// where equal probabilities go on.
pub fn equal_mass_bins(probabilities: &[f64], outcomes: &[bool], bins: usize) -> Result<Vec<Bin>, StatisticsError> {
    check(probabilities, outcomes)?;
    let mut cases: Vec<(f64, bool)> = probabilities.iter().copied().zip(outcomes.iter().copied()).collect();
    cases.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut result = Vec::with_capacity(bins);
    let mut start = 0;
    for k in 1..=bins {
        let mut end = k * cases.len() / bins;
        while end > 0 && end < cases.len() && cases[end].0 <= cases[end - 1].0 {
            end += 1;
        }
        if end > start {
            let members = &cases[start..end];
            let total: Sum = members.iter().map(|case| case.0).collect();
            result.push(Bin {
                n: count(members.len()),
                positives: count(members.iter().filter(|case| case.1).count()),
                probability_mean: total.value() / float(count(members.len())),
            });
            start = end;
        }
    }
    Ok(result)
}

/// The expected calibration error: mean distance of probability and observed share, weighted by the bins' cases.
pub fn expected_calibration_error(bins: &[Bin]) -> Result<f64, StatisticsError> {
    let n: u64 = bins.iter().map(|bin| bin.n).sum();
    if n == 0 {
        return Err(StatisticsError::Empty { what: "expected calibration error" });
    }
    let sum: Sum = bins.iter().map(|bin| float(bin.n) * (bin.probability_mean - bin.observed()).abs()).collect();
    Ok(sum.value() / float(n))
}

/// Spiegelhalter's z and its two-sided p: 0 and 1 under perfect calibration.
pub fn spiegelhalter_z(probabilities: &[f64], outcomes: &[bool]) -> Result<(f64, f64), StatisticsError> {
    check(probabilities, outcomes)?;
    let top: Sum =
        probabilities.iter().zip(outcomes).map(|(p, y)| (f64::from(u8::from(*y)) - p) * (1.0 - 2.0 * p)).collect();
    let bottom: Sum = probabilities.iter().map(|p| square(1.0 - 2.0 * p) * p * (1.0 - p)).collect();
    if bottom.value() <= 0.0 {
        return Err(StatisticsError::NotConverged { what: "Spiegelhalter z", steps: 0 });
    }
    let z = top.value() / bottom.value().sqrt();
    Ok((z, 2.0 * normal_cdf(-z.abs())))
}

/// Intercept and slope of the calibration line, by Newton's method.
pub fn calibration_line(probabilities: &[f64], outcomes: &[bool]) -> Result<CalibrationLine, StatisticsError> {
    check(probabilities, outcomes)?;
    let positives = count(outcomes.iter().filter(|y| **y).count());
    let negatives = count(outcomes.len()) - positives;
    if positives < 2 || negatives < 2 {
        return Err(StatisticsError::OneClass { what: "calibration line", positives, negatives, least: 2 });
    }
    let inside = LOGIT_MARGIN..=1.0 - LOGIT_MARGIN;
    let moved = count(probabilities.iter().filter(|p| !inside.contains(p)).count());
    let logits: Vec<f64> = probabilities
        .iter()
        .map(|p| {
            let p = p.clamp(LOGIT_MARGIN, 1.0 - LOGIT_MARGIN);
            libm::log(p) - libm::log1p(-p)
        })
        .collect();
    let (intercept, intercept_error) = fit_intercept(&logits, outcomes)?;
    let (slope, slope_error) = fit_slope(&logits, outcomes)?;
    Ok(CalibrationLine { intercept, intercept_error, slope, slope_error, moved })
}

/// Newton's steps before the fit is given up.
const STEPS_MAX: u32 = 60;
/// A step smaller than this ends the fit.
const STEP_MIN: f64 = 1e-12;
/// Coefficients beyond this mean that the classes are separated.
const COEFFICIENT_MAX: f64 = 1e3;

/// One-parameter fit: offset `logits`, free intercept.
fn fit_intercept(logits: &[f64], outcomes: &[bool]) -> Result<(f64, f64), StatisticsError> {
    let mut a = 0.0;
    for _ in 0..STEPS_MAX {
        let (mut gradient, mut curvature) = (Sum::default(), Sum::default());
        for (x, y) in logits.iter().zip(outcomes) {
            let p = sigmoid(a + x);
            gradient.add(f64::from(u8::from(*y)) - p);
            curvature.add(p * (1.0 - p));
        }
        let curvature = curvature.value();
        if curvature <= 0.0 {
            break;
        }
        let step = (gradient.value() / curvature).clamp(-4.0, 4.0);
        a += step;
        if a.abs() > COEFFICIENT_MAX {
            break;
        }
        if step.abs() < STEP_MIN {
            return Ok((a, (1.0 / curvature).sqrt()));
        }
    }
    Err(StatisticsError::NotConverged { what: "calibration intercept", steps: STEPS_MAX })
}

/// Two-parameter fit; returns slope and its standard error.
fn fit_slope(logits: &[f64], outcomes: &[bool]) -> Result<(f64, f64), StatisticsError> {
    let (mut a, mut b) = (0.0_f64, 1.0_f64);
    let mut likelihood = log_likelihood(logits, outcomes, a, b);
    for _ in 0..STEPS_MAX {
        let mut sums = [Sum::default(); 5];
        for (x, y) in logits.iter().zip(outcomes) {
            let p = sigmoid(a + b * x);
            let (residual, weight) = (f64::from(u8::from(*y)) - p, p * (1.0 - p));
            for (sum, value) in sums.iter_mut().zip([residual, residual * x, weight, weight * x, weight * x * x]) {
                sum.add(value);
            }
        }
        let [g0, g1, h00, h01, h11] = sums.map(Sum::value);
        let determinant = h00 * h11 - h01 * h01;
        if determinant <= 1e-12 * h00 * h11 {
            break;
        }
        let (step_a, step_b) = ((h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant);
        // halve the step until the likelihood does not fall: Newton alone may overshoot
        let mut part = 1.0;
        let mut next = log_likelihood(logits, outcomes, a + step_a, b + step_b);
        while next < likelihood - 1e-9 && part > 1e-6 {
            part /= 2.0;
            next = log_likelihood(logits, outcomes, a + part * step_a, b + part * step_b);
        }
        (a, b, likelihood) = (a + part * step_a, b + part * step_b, next);
        if a.abs() > COEFFICIENT_MAX || b.abs() > COEFFICIENT_MAX {
            break;
        }
        if step_a.abs() < STEP_MIN * (1.0 + a.abs()) && step_b.abs() < STEP_MIN * (1.0 + b.abs()) {
            return Ok((b, (h00 / determinant).sqrt()));
        }
    }
    Err(StatisticsError::NotConverged { what: "calibration slope", steps: STEPS_MAX })
}

fn log_likelihood(logits: &[f64], outcomes: &[bool], a: f64, b: f64) -> f64 {
    let terms: Sum = logits
        .iter()
        .zip(outcomes)
        .map(|(x, y)| {
            let eta = if *y { a + b * x } else { -(a + b * x) };
            // -ln(1 + e^-eta), without overflow
            if eta > 0.0 { -libm::log1p(libm::exp(-eta)) } else { eta - libm::log1p(libm::exp(eta)) }
        })
        .collect();
    terms.value()
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + libm::exp(-x))
    } else {
        let e = libm::exp(x);
        e / (1.0 + e)
    }
}

fn square(x: f64) -> f64 {
    x * x
}

/// As many outcomes as probabilities, each within 0 to 1.
pub(super) fn check(probabilities: &[f64], outcomes: &[bool]) -> Result<(), StatisticsError> {
    if probabilities.len() != outcomes.len() {
        return Err(StatisticsError::Length {
            what: "calibration: probabilities and outcomes",
            left: probabilities.len(),
            right: outcomes.len(),
        });
    }
    check_probabilities("calibration: probabilities", probabilities)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cases() -> impl Strategy<Value = Vec<(f64, bool)>> {
        prop::collection::vec(((0_u32..=50).prop_map(|grid| f64::from(grid) / 50.0), any::<bool>()), 20..200)
    }

    fn split(cases: &[(f64, bool)]) -> (Vec<f64>, Vec<bool>) {
        cases.iter().copied().unzip()
    }

    proptest! {
        /// Proves: REQ-VAL-006
        #[test]
        fn bins_hold_every_case_once_and_keep_ties_together(cases in cases()) {
            let (p, y) = split(&cases);
            let bins = equal_mass_bins(&p, &y, 15).unwrap();
            prop_assert_eq!(bins.iter().map(|b| b.n).sum::<u64>(), count(cases.len()));
            prop_assert_eq!(bins.iter().map(|b| b.positives).sum::<u64>(), count(y.iter().filter(|y| **y).count()));
            prop_assert!(bins.len() <= 15 && bins.windows(2).all(|w| w[0].probability_mean < w[1].probability_mean));
        }

        /// Proves: REQ-VAL-006
        #[test]
        fn the_order_of_cases_changes_nothing(cases in cases()) {
            let (p, y) = split(&cases);
            let (q, z) = split(&cases.iter().rev().copied().collect::<Vec<_>>());
            let (a, b) = (equal_mass_bins(&p, &y, 15).unwrap(), equal_mass_bins(&q, &z, 15).unwrap());
            prop_assert_eq!(a.len(), b.len());
            let error = |bins: &[Bin]| expected_calibration_error(bins).unwrap();
            prop_assert!((error(&a) - error(&b)).abs() < 1e-12);
            prop_assert!((brier(&p, &y).unwrap() - brier(&q, &z).unwrap()).abs() < 1e-12);
        }

        /// Proves: REQ-VAL-006
        #[test]
        fn the_parts_of_the_brier_score_add_up_where_bins_hold_one_probability(cases in cases()) {
            let (p, y) = split(&cases);
            // one bin a grid value: 51 values, so 10,000 bins separate them all
            let parts = brier_parts(&equal_mass_bins(&p, &y, 10_000).unwrap()).unwrap();
            let sum = parts.reliability - parts.resolution + parts.uncertainty;
            prop_assert!((sum - brier(&p, &y).unwrap()).abs() < 1e-12);
        }

        /// Proves: REQ-VAL-006
        #[test]
        fn inverted_classes_keep_score_and_slope_and_mirror_the_intercept(cases in cases()) {
            let (p, y) = split(&cases);
            let (q, z): (Vec<_>, Vec<_>) = cases.iter().map(|(p, y)| (1.0 - p, !y)).unzip();
            prop_assert!((brier(&p, &y).unwrap() - brier(&q, &z).unwrap()).abs() < 1e-12);
            if let (Ok(a), Ok(b)) = (calibration_line(&p, &y), calibration_line(&q, &z)) {
                prop_assert!((a.slope - b.slope).abs() < 1e-6 && (a.intercept + b.intercept).abs() < 1e-6);
            }
        }
    }

    /// Proves: REQ-VAL-006
    #[test]
    fn separated_classes_have_no_slope_and_the_error_says_so() {
        let (p, y) = ([0.1, 0.2, 0.3, 0.7, 0.8, 0.9], [false, false, false, true, true, true]);
        assert!(matches!(calibration_line(&p, &y), Err(StatisticsError::NotConverged { .. })));
    }

    /// Proves: REQ-VAL-006
    #[test]
    fn a_probability_outside_its_range_is_refused_by_position() {
        assert!(matches!(brier(&[0.5, 1.5], &[true, false]), Err(StatisticsError::OutOfRange { index: 1, .. })));
        assert!(brier(&[0.5], &[true, false]).is_err());
    }
}
