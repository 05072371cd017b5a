//! The reliability diagram: bins of equal width beside those of equal mass, each with its interval, and the largest
//! distance between probability and observed share.
//! Shapes: one probability in `0.0..=1.0` and one outcome a case; bins lowest probability first, empty ones left out.
//! Edges: bin k of m holds probabilities above `(k-1)/m` up to and with `k/m`, the first one 0 too, as in scikit-learn.
//! Errors: those of [`super::calibration`].
//! Sources: Murphy & Winkler 1977; Guo et al., ICML 2017 (equal width); Wilson 1927 (intervals).

use super::{
    Bin, Confidence, Interval, Proportion, StatisticsError, Sum, calibration::check, count, float, mean, wilson,
};

/// A bin of the diagram with the interval of its observed share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReliabilityPoint {
    /// Cases, positives and mean probability.
    pub bin: Bin,
    /// Wilson's interval of the observed share.
    pub interval: Interval,
}

/// At most `bins` bins of equal width.
pub fn equal_width_bins(probabilities: &[f64], outcomes: &[bool], bins: usize) -> Result<Vec<Bin>, StatisticsError> {
    check(probabilities, outcomes)?;
    let edges: Vec<f64> = (1..bins).map(|k| float(count(k)) / float(count(bins))).collect();
    let mut members: Vec<Vec<(f64, bool)>> = vec![Vec::new(); bins.max(1)];
    for (p, y) in probabilities.iter().zip(outcomes) {
        members[edges.partition_point(|edge| edge < p)].push((*p, *y));
    }
    let bin = |cases: Vec<(f64, bool)>| {
        // sorted: the mean does not depend on the order of cases
        let mut values: Vec<f64> = cases.iter().map(|case| case.0).collect();
        values.sort_by(f64::total_cmp);
        Some(Bin {
            n: count(cases.len()),
            positives: count(cases.iter().filter(|case| case.1).count()),
            probability_mean: mean(&values)?,
        })
    };
    Ok(members.into_iter().filter_map(bin).collect())
}

/// The points of the diagram.
pub fn reliability(bins: &[Bin], confidence: Confidence) -> Result<Vec<ReliabilityPoint>, StatisticsError> {
    let point = |bin: &Bin| {
        let observed = Proportion::new(bin.positives, bin.n)?;
        Ok(ReliabilityPoint { bin: *bin, interval: wilson(observed, confidence) })
    };
    bins.iter().map(point).collect()
}

/// The largest distance between probability and observed share of a bin.
pub fn maximum_calibration_error(bins: &[Bin]) -> Result<f64, StatisticsError> {
    let distances = bins.iter().map(|bin| (bin.probability_mean - bin.observed()).abs());
    distances.reduce(f64::max).ok_or(StatisticsError::Empty { what: "maximum calibration error" })
}

/// What Murphy's three parts leave of the Brier score where a bin holds different probabilities: the variance within
/// bins less twice their covariance with the outcome (Stephenson et al. 2008). With it the sum is exact.
pub fn brier_within(probabilities: &[f64], outcomes: &[bool], bins: &[Bin]) -> Result<f64, StatisticsError> {
    let parts = super::brier_parts(bins)?;
    let whole = super::brier(probabilities, outcomes)?;
    let sum: Sum = [whole, -parts.reliability, parts.resolution, -parts.uncertainty].into_iter().collect();
    Ok(sum.value())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::{brier_parts, equal_mass_bins, expected_calibration_error};
    use proptest::prelude::*;

    fn cases() -> impl Strategy<Value = (Vec<f64>, Vec<bool>)> {
        let case = ((0_u32..=40).prop_map(|grid| f64::from(grid) / 40.0), any::<bool>());
        prop::collection::vec(case, 1..150).prop_map(|cases| cases.into_iter().unzip())
    }

    proptest! {
        /// Proves: REQ-TRU-001
        #[test]
        fn every_case_is_in_one_bin_and_each_mean_lies_in_its_bin((p, y) in cases(), bins in 1_usize..20) {
            let found = equal_width_bins(&p, &y, bins).unwrap();
            prop_assert_eq!(found.iter().map(|bin| bin.n).sum::<u64>(), count(p.len()));
            prop_assert_eq!(
                found.iter().map(|bin| bin.positives).sum::<u64>(),
                count(y.iter().filter(|y| **y).count())
            );
            let width = 1.0 / float(count(bins));
            for pair in found.windows(2) {
                prop_assert!(pair[0].probability_mean < pair[1].probability_mean);
            }
            prop_assert!(found.len() <= bins && found.iter().all(|bin| bin.probability_mean <= 1.0 + width));
        }

        /// Proves: REQ-TRU-001
        #[test]
        fn the_interval_of_each_point_holds_its_share((p, y) in cases()) {
            for point in reliability(&equal_width_bins(&p, &y, 10).unwrap(), Confidence::NINETY_FIVE).unwrap() {
                let observed = point.bin.observed();
                prop_assert!(point.interval.low <= observed + 1e-12 && observed <= point.interval.high + 1e-12);
            }
        }

        /// Proves: REQ-TRU-001
        #[test]
        fn the_mean_error_is_at_most_the_largest((p, y) in cases()) {
            for bins in [equal_width_bins(&p, &y, 10).unwrap(), equal_mass_bins(&p, &y, 10).unwrap()] {
                let largest = maximum_calibration_error(&bins).unwrap();
                prop_assert!(expected_calibration_error(&bins).unwrap() <= largest + 1e-12 && largest <= 1.0);
            }
        }

        /// Proves: REQ-TRU-001
        #[test]
        fn within_bins_nothing_is_left_where_each_holds_one_probability((p, y) in cases()) {
            let fine = equal_mass_bins(&p, &y, 10_000).unwrap();
            prop_assert!(brier_within(&p, &y, &fine).unwrap().abs() < 1e-12);
            let coarse = equal_width_bins(&p, &y, 4).unwrap();
            let parts = brier_parts(&coarse).unwrap();
            let within: f64 = brier_within(&p, &y, &coarse).unwrap();
            let sum = parts.reliability - parts.resolution + parts.uncertainty + within;
            prop_assert!((sum - crate::statistics::brier(&p, &y).unwrap()).abs() < 1e-12);
        }
    }
}
