//! Recalibration, fitted on a tuning set and kept as data: temperature scaling and isotonic regression.
//! Shapes: logits `[cases][classes]` with the right class of each case; or one probability and one outcome a case.
//! Determinism: no random number, no order of cases in the result; block means are compared as exact integer ratios.
//! Errors: `Length` and `OutOfRange` for input that is none; `NotConverged` where the best temperature has no bound.
//! Sources: Guo et al., ICML 2017 (temperature); Ayer et al. 1955, Barlow et al. 1972 (pool adjacent violators);
//! Zadrozny & Elkan 2002 (its use). Between knots the line is straight, beyond them level, as in scikit-learn.

use super::{StatisticsError, Sum, calibration::check, count, float};

/// Bounds of the inverse temperature; a best value outside means separated classes, or answers worse than none.
const INVERSE: (f64, f64) = (1e-3, 1e3);
/// Steps before the fit is given up; bisection alone needs 80.
const STEPS_MAX: u32 = 200;
/// Relative width of the bracket, or length of Newton's step, that ends the fit.
const STEP_MIN: f64 = 1e-13;

/// A fitted temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperature {
    /// Logits are divided by it: above 1 answers become more cautious.
    pub value: f64,
    /// Mean negative log-likelihood before.
    pub loss_before: f64,
    /// And after.
    pub loss_after: f64,
    /// Cases.
    pub n: u64,
}

/// The temperature of least mean log loss. The loss is convex in `1 / temperature`, so Newton's step is taken where it
/// stays within the bracket of the derivative's zero, and the bracket is halved where it does not.
pub fn fit_temperature(logits: &[Vec<f64>], classes: &[usize]) -> Result<Temperature, StatisticsError> {
    const WHAT: &str = "temperature: logits and classes";
    if logits.len() != classes.len() {
        return Err(StatisticsError::Length { what: WHAT, left: logits.len(), right: classes.len() });
    }
    if logits.is_empty() {
        return Err(StatisticsError::Empty { what: WHAT });
    }
    for (index, (row, class)) in logits.iter().zip(classes).enumerate() {
        let strange = row.iter().find(|value| !value.is_finite()).copied();
        let missing = (*class >= row.len()).then(|| float(count(*class)));
        if let Some(found) = strange.or(missing) {
            let expected = "finite logits and a class that has one";
            return Err(StatisticsError::OutOfRange { what: WHAT, index, expected, found });
        }
    }
    let (mut low, mut high) = INVERSE;
    if slope(logits, classes, low).0 >= 0.0 || slope(logits, classes, high).0 <= 0.0 {
        return Err(StatisticsError::NotConverged { what: "temperature", steps: 0 });
    }
    let mut inverse = 1.0;
    for _ in 0..STEPS_MAX {
        let (gradient, curvature) = slope(logits, classes, inverse);
        if gradient > 0.0 {
            high = inverse;
        } else {
            low = inverse;
        }
        let newton = inverse - gradient / curvature;
        let next = if newton > low && newton < high { newton } else { f64::midpoint(low, high) };
        let moved = (next - inverse).abs();
        inverse = next;
        if moved <= STEP_MIN * inverse {
            return Ok(Temperature {
                value: 1.0 / inverse,
                loss_before: loss(logits, classes, 1.0),
                loss_after: loss(logits, classes, inverse),
                n: count(logits.len()),
            });
        }
    }
    Err(StatisticsError::NotConverged { what: "temperature", steps: STEPS_MAX })
}

/// Mean negative log-likelihood of the right classes at an inverse temperature.
fn loss(logits: &[Vec<f64>], classes: &[usize], inverse: f64) -> f64 {
    let term = |(row, class): (&Vec<f64>, &usize)| {
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|z| libm::exp(inverse * (z - top))).sum();
        libm::log(sum) - inverse * (row[*class] - top)
    };
    logits.iter().zip(classes).map(term).collect::<Sum>().value() / float(count(logits.len()))
}

/// First and second derivative of the summed loss: expectation less value of the right logit, and variance.
fn slope(logits: &[Vec<f64>], classes: &[usize], inverse: f64) -> (f64, f64) {
    let (mut first, mut second) = (Sum::default(), Sum::default());
    for (row, class) in logits.iter().zip(classes) {
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = row.iter().map(|z| libm::exp(inverse * (z - top))).collect();
        let total: f64 = weights.iter().sum();
        let mean = weights.iter().zip(row).map(|(w, z)| w * (z - top)).sum::<f64>() / total;
        let variance = weights.iter().zip(row).map(|(w, z)| w * (z - top - mean) * (z - top - mean)).sum::<f64>();
        first.add(mean - (row[*class] - top));
        second.add(variance / total);
    }
    (first.value(), second.value())
}

/// A fitted isotonic regression: knots of rising probability and never falling value.
#[derive(Debug, Clone, PartialEq)]
pub struct Isotonic {
    knots: Vec<(f64, f64)>,
}

/// Cases that share a value.
#[derive(Clone, Copy)]
struct Block {
    first: f64,
    last: f64,
    positives: u64,
    n: u64,
}

impl Block {
    fn value(self) -> f64 {
        float(self.positives) / float(self.n)
    }

    /// Whether this block's share is at least the other's, exactly.
    fn reaches(self, other: Self) -> bool {
        u128::from(self.positives) * u128::from(other.n) >= u128::from(other.positives) * u128::from(self.n)
    }
}

impl Isotonic {
    /// Pools adjacent violators. Equal probabilities are one case with their share.
    pub fn fit(probabilities: &[f64], outcomes: &[bool]) -> Result<Self, StatisticsError> {
        check(probabilities, outcomes)?;
        let mut cases: Vec<(f64, bool)> = probabilities.iter().copied().zip(outcomes.iter().copied()).collect();
        cases.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut blocks: Vec<Block> = Vec::new();
        for same in cases.chunk_by(|a, b| a.0 >= b.0) {
            let positives = count(same.iter().filter(|case| case.1).count());
            let mut block = Block { first: same[0].0, last: same[0].0, positives, n: count(same.len()) };
            while let Some(before) = blocks.pop_if(|before| before.reaches(block)) {
                block = Block {
                    first: before.first,
                    last: block.last,
                    positives: before.positives + block.positives,
                    n: before.n + block.n,
                };
            }
            blocks.push(block);
        }
        let mut knots = Vec::new();
        for block in blocks {
            knots.push((block.first, block.value()));
            if block.last > block.first {
                knots.push((block.last, block.value()));
            }
        }
        Ok(Self { knots })
    }

    /// The knots: the data that a bundle keeps.
    pub fn knots(&self) -> &[(f64, f64)] {
        &self.knots
    }

    /// The value at a probability: straight between knots, level beyond them.
    pub fn at(&self, probability: f64) -> f64 {
        let after = self.knots.partition_point(|knot| knot.0 < probability);
        match (after.checked_sub(1).and_then(|before| self.knots.get(before)), self.knots.get(after)) {
            (Some(before), Some(after)) => {
                before.1 + (after.1 - before.1) * ((probability - before.0) / (after.0 - before.0))
            }
            (Some(only), None) | (None, Some(only)) => only.1,
            (None, None) => probability,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cases() -> impl Strategy<Value = (Vec<f64>, Vec<bool>)> {
        let case = ((0_u32..=60).prop_map(|grid| f64::from(grid) / 60.0), any::<bool>());
        prop::collection::vec(case, 1..120).prop_map(|cases| cases.into_iter().unzip())
    }

    fn squares(values: impl Iterator<Item = f64>, outcomes: &[bool]) -> f64 {
        values.zip(outcomes).map(|(p, y)| (p - f64::from(u8::from(*y))).powi(2)).sum()
    }

    proptest! {
        /// Proves: REQ-TRU-002
        #[test]
        fn the_isotonic_fit_never_falls_and_keeps_the_mean((p, y) in cases()) {
            let fit = Isotonic::fit(&p, &y).unwrap();
            for pair in fit.knots().windows(2) {
                prop_assert!(pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
            }
            let grid: Vec<f64> = (0..=100).map(|k| fit.at(f64::from(k) / 100.0)).collect();
            prop_assert!(grid.windows(2).all(|pair| pair[0] <= pair[1] + 1e-15));
            prop_assert!(grid.iter().all(|value| (0.0..=1.0).contains(value)));
            let fitted: f64 = p.iter().map(|p| fit.at(*p)).sum();
            let positives: f64 = y.iter().map(|y| f64::from(u8::from(*y))).sum();
            prop_assert!((fitted - positives).abs() < 1e-9);
        }

        /// No other monotone map that is level on ranges of the probability has a lower Brier score.
        /// Proves: REQ-TRU-002
        #[test]
        fn no_monotone_step_fits_better((p, y) in cases(), edge in 0.0_f64..1.0, a in 0.0_f64..1.0, b in 0.0_f64..1.0) {
            let fit = Isotonic::fit(&p, &y).unwrap();
            let own = squares(p.iter().map(|p| fit.at(*p)), &y);
            let step = squares(p.iter().map(|p| if *p < edge { a.min(b) } else { a.max(b) }), &y);
            prop_assert!(own <= step + 1e-9);
            prop_assert!(own <= squares(p.iter().copied(), &y) + 1e-9);
        }

        /// Proves: REQ-TRU-002
        #[test]
        fn the_order_of_cases_changes_no_knot((p, y) in cases()) {
            let (q, z): (Vec<f64>, Vec<bool>) = p.iter().copied().zip(y.iter().copied()).rev().unzip();
            prop_assert_eq!(Isotonic::fit(&p, &y).unwrap(), Isotonic::fit(&q, &z).unwrap());
        }

        /// Proves: REQ-TRU-003
        #[test]
        fn the_temperature_is_the_least_loss_and_scales_with_the_logits(
            rows in prop::collection::vec((prop::collection::vec(-3.0_f64..3.0, 3), 0_usize..3), 30..80),
            stretch in 0.5_f64..4.0,
        ) {
            let (logits, classes): (Vec<Vec<f64>>, Vec<usize>) = rows.into_iter().unzip();
            // answers that say next to nothing have a temperature without bound
            let Some(fit) = fit_temperature(&logits, &classes).ok().filter(|fit| fit.value < 20.0) else {
                return Ok(());
            };
            for other in [0.7, 0.95, 1.05, 1.5] {
                let elsewhere = loss(&logits, &classes, 1.0 / (fit.value * other));
                prop_assert!(fit.loss_after <= elsewhere + 1e-12);
            }
            prop_assert!(fit.loss_after <= fit.loss_before + 1e-12);
            let stretched: Vec<Vec<f64>> =
                logits.iter().map(|row| row.iter().map(|z| z * stretch).collect()).collect();
            let scaled = fit_temperature(&stretched, &classes).unwrap();
            prop_assert!((scaled.value - stretch * fit.value).abs() < 1e-6 * scaled.value, "{scaled:?} {fit:?}");
        }
    }

    /// Proves: REQ-TRU-003
    #[test]
    fn separated_or_inverted_classes_have_no_temperature() {
        let right = [vec![0.0, 2.0], vec![2.0, 0.0]];
        assert!(matches!(fit_temperature(&right, &[1, 0]), Err(StatisticsError::NotConverged { .. })));
        assert!(matches!(fit_temperature(&right, &[0, 1]), Err(StatisticsError::NotConverged { .. })));
        assert!(matches!(fit_temperature(&right, &[0, 2]), Err(StatisticsError::OutOfRange { index: 1, .. })));
        assert!(matches!(fit_temperature(&right, &[0]), Err(StatisticsError::Length { .. })));
    }
}
