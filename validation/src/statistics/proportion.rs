//! Proportions: counts, Wilson score interval, Clopper-Pearson interval, Wilson with a design effect for clusters.
//! Shapes: counts are integers; an estimate is `successes / n`, both kept.
//! Errors: `Counts` for more successes than trials or no trial.
//! Sources: Wilson 1927; Newcombe 1998 (method 3); Clopper & Pearson 1934; Rao & Scott 1992 (design effect, here with
//! the variance of a ratio of cluster totals).

use super::{Confidence, Interval, StatisticsError, Sum, beta_quantile, count, float};

/// A proportion with its counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proportion {
    /// Successes.
    pub successes: u64,
    /// Trials.
    pub n: u64,
}

impl Proportion {
    /// `successes` of `n`, `n` above 0.
    pub fn new(successes: u64, n: u64) -> Result<Self, StatisticsError> {
        if n == 0 || successes > n {
            return Err(StatisticsError::Counts { what: "proportion", successes, n });
        }
        Ok(Self { successes, n })
    }

    /// `successes / n`.
    pub fn value(self) -> f64 {
        float(self.successes) / float(self.n)
    }
}

/// The Wilson score interval.
pub fn wilson(proportion: Proportion, confidence: Confidence) -> Interval {
    score(proportion.value(), float(proportion.n), confidence)
}

/// The Clopper-Pearson interval: covers at least at its level, always.
pub fn clopper_pearson(proportion: Proportion, confidence: Confidence) -> Interval {
    let (x, n) = (float(proportion.successes), float(proportion.n));
    let tail = confidence.tail();
    let low = if proportion.successes == 0 { 0.0 } else { beta_quantile(tail, x, n - x + 1.0) };
    let high = if proportion.successes == proportion.n { 1.0 } else { beta_quantile(1.0 - tail, x + 1.0, n - x) };
    Interval { low, high, confidence }
}

/// The Wilson interval with the effective number of trials of a clustered sample; `clusters` are (successes, trials).
/// The design effect is the ratio of the variance over clusters to the binomial one, never taken below 1.
/// Returns the interval and the design effect.
pub fn clustered_wilson(
    clusters: &[(u64, u64)],
    confidence: Confidence,
) -> Result<(Proportion, Interval, f64), StatisticsError> {
    let trials: u64 = clusters.iter().map(|(_, n)| n).sum();
    let all = Proportion::new(clusters.iter().map(|(x, _)| x).sum(), trials)?;
    let (p, n) = (all.value(), float(all.n));
    let groups = float(count(clusters.iter().filter(|(_, n)| *n > 0).count()));
    let binomial = p * (1.0 - p) / n;
    let design = if groups < 2.0 || binomial <= 0.0 {
        1.0
    } else {
        let squares: Sum = clusters
            .iter()
            .map(|(x, m)| {
                let residual = float(*x) - p * float(*m);
                residual * residual
            })
            .collect();
        (squares.value() * groups / (groups - 1.0) / (n * n) / binomial).max(1.0)
    };
    Ok((all, score(p, n / design, confidence), design))
}

/// The score interval for a proportion `p` of `n` (effective) trials.
fn score(p: f64, n: f64, confidence: Confidence) -> Interval {
    let z = confidence.z();
    let denominator = 1.0 + z * z / n;
    let centre = (p + z * z / (2.0 * n)) / denominator;
    let half = z / denominator * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    // at 0 and n the limit is the end itself; the formula would miss it by a rounding error
    let low = if p <= 0.0 { 0.0 } else { (centre - half).clamp(0.0, 1.0) };
    let high = if p >= 1.0 { 1.0 } else { (centre + half).clamp(0.0, 1.0) };
    Interval { low, high, confidence }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts() -> impl Strategy<Value = Proportion> {
        counts_up_to(2_000)
    }

    fn counts_up_to(most: u64) -> impl Strategy<Value = Proportion> {
        (1..most).prop_flat_map(|n| (0..=n, Just(n))).prop_map(|(x, n)| Proportion::new(x, n).unwrap())
    }

    proptest! {
        /// Proves: REQ-VAL-002
        #[test]
        fn intervals_hold_the_estimate_and_stay_within_bounds(p in counts()) {
            for interval in [wilson(p, Confidence::NINETY_FIVE), clopper_pearson(p, Confidence::NINETY_FIVE)] {
                prop_assert!(0.0 <= interval.low && interval.low <= p.value() + 1e-12);
                prop_assert!(p.value() <= interval.high + 1e-12 && interval.high <= 1.0);
            }
        }

        /// Proves: REQ-VAL-002
        #[test]
        fn failures_have_the_mirrored_interval_of_successes(p in counts()) {
            let mirrored = Proportion::new(p.n - p.successes, p.n).unwrap();
            for function in [wilson, clopper_pearson] {
                let (a, b) = (function(p, Confidence::NINETY_FIVE), function(mirrored, Confidence::NINETY_FIVE));
                prop_assert!((a.low - (1.0 - b.high)).abs() < 1e-12 && (a.high - (1.0 - b.low)).abs() < 1e-12);
            }
        }

        /// Proves: REQ-VAL-002
        #[test]
        fn clopper_pearson_has_the_exact_binomial_tails(p in counts_up_to(200)) {
            // P(X >= x | low) = tail by a direct sum, from the end that does not underflow
            prop_assume!(p.successes > 0);
            let (x, n) = (p.successes, p.n);
            let low = clopper_pearson(p, Confidence::NINETY_FIVE).low;
            let tail = if 2 * x > n {
                let mut term = libm::pow(low, float(n));
                let mut at_least = Sum::default();
                for k in (x..=n).rev() {
                    at_least.add(term);
                    term *= float(k) / float(n - k + 1) * (1.0 - low) / low;
                }
                at_least.value()
            } else {
                let mut term = libm::pow(1.0 - low, float(n));
                let mut below = Sum::default();
                for k in 0..x {
                    below.add(term);
                    term *= float(n - k) / float(k + 1) * low / (1.0 - low);
                }
                1.0 - below.value()
            };
            prop_assert!((tail - 0.025).abs() < 1e-9);
        }

        /// Proves: REQ-VAL-002
        #[test]
        fn clusters_of_one_change_nothing_and_larger_ones_never_narrow(
            outcomes in prop::collection::vec(any::<bool>(), 8..200),
        ) {
            let single: Vec<_> = outcomes.iter().map(|hit| (u64::from(*hit), 1)).collect();
            let (p, alone, design) = clustered_wilson(&single, Confidence::NINETY_FIVE).unwrap();
            prop_assert!(design < 1.0 + 2.0 / float(p.n - 1));
            let plain = wilson(p, Confidence::NINETY_FIVE);
            prop_assert!(alone.width() >= plain.width() - 1e-12);
            let fours: Vec<_> = outcomes.chunks(4).map(|c| (count(c.iter().filter(|h| **h).count()), count(c.len())))
                .collect();
            let (_, clustered, _) = clustered_wilson(&fours, Confidence::NINETY_FIVE).unwrap();
            prop_assert!(clustered.width() >= plain.width() - 1e-12);
        }
    }

    /// Proves: REQ-VAL-002
    #[test]
    fn impossible_counts_are_refused() {
        assert!(Proportion::new(1, 0).is_err());
        assert!(Proportion::new(3, 2).is_err());
    }
}
