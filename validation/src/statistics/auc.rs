//! Area under the ROC curve: DeLong in its fast mid-rank form, the difference of two, Obuchowski for several images of
//! one patient.
//! Shapes: one score a case, higher means more likely positive; ties count one half.
//! Errors: `OneClass` below two positives or two negatives, `OutOfRange` for `NaN`.
//! Exactness: the structural components are integer pair counts (doubled, so that a tie is 1), so the estimate itself
//! has no rounding but its last division.
//! Sources: DeLong, DeLong & Clarke-Pearson 1988; Sun & Xu 2014 (mid-ranks); Obuchowski 1997 (clusters).

use std::cmp::Ordering;

use super::{Confidence, Interval, StatisticsError, Sum, check_scores, count, float, normal_cdf};

/// The pairs that the area is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairCounts {
    /// Positive cases.
    pub positives: u64,
    /// Negative cases.
    pub negatives: u64,
    /// Pairs in which the positive case scores higher, counted twice, plus ties, counted once.
    pub wins_doubled: u64,
}

/// An area under the ROC curve with its variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Auc {
    /// The estimate.
    pub value: f64,
    /// The variance of the estimate.
    pub variance: f64,
    /// The pair counts behind the estimate.
    pub pairs: PairCounts,
}

impl Auc {
    /// The normal interval, cut to 0..=1.
    pub fn interval(&self, confidence: Confidence) -> Interval {
        Interval::normal(self.value, self.variance.max(0.0).sqrt(), confidence, (0.0, 1.0))
    }
}

/// The difference of two areas measured on the same cases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AucDifference {
    /// First area less second.
    pub value: f64,
    /// Standard error of the difference.
    pub standard_error: f64,
    /// Two-sided p of the normal test; 1 for two identical markers.
    pub p: f64,
}

impl AucDifference {
    /// The normal interval of the difference, cut to -1..=1.
    pub fn interval(&self, confidence: Confidence) -> Interval {
        Interval::normal(self.value, self.standard_error, confidence, (-1.0, 1.0))
    }
}

/// The area by DeLong: `positives` and `negatives` are the scores of independent cases.
pub fn delong(positives: &[f64], negatives: &[f64]) -> Result<Auc, StatisticsError> {
    let parts = Components::new(positives, negatives)?;
    Ok(Auc { value: parts.value, variance: covariance(&parts, &parts), pairs: parts.pairs })
}

/// The difference of two markers on the same cases, in the same order.
pub fn delong_difference(first: (&[f64], &[f64]), second: (&[f64], &[f64])) -> Result<AucDifference, StatisticsError> {
    for (left, right) in [(first.0, second.0), (first.1, second.1)] {
        if left.len() != right.len() {
            let what = "difference of two areas";
            return Err(StatisticsError::Length { what, left: left.len(), right: right.len() });
        }
    }
    let a = Components::new(first.0, first.1)?;
    let b = Components::new(second.0, second.1)?;
    let value = a.value - b.value;
    let variance = covariance(&a, &a) + covariance(&b, &b) - 2.0 * covariance(&a, &b);
    let standard_error = variance.max(0.0).sqrt();
    let p = if standard_error > 0.0 { 2.0 * normal_cdf(-(value / standard_error).abs()) } else { 1.0 };
    Ok(AucDifference { value, standard_error, p })
}

/// The area with Obuchowski's variance: cases of one cluster (a patient) may depend on each other.
/// Each case is (score, cluster); a cluster may hold positives, negatives or both.
pub fn clustered_auc<K: Ord + Copy>(positives: &[(f64, K)], negatives: &[(f64, K)]) -> Result<Auc, StatisticsError> {
    let scores = |cases: &[(f64, K)]| cases.iter().map(|(score, _)| *score).collect::<Vec<_>>();
    let parts = Components::new(&scores(positives), &scores(negatives))?;
    let mut clusters = std::collections::BTreeMap::<K, ClusterSums>::new();
    for ((_, key), component) in positives.iter().zip(&parts.positive) {
        let cluster = clusters.entry(*key).or_default();
        cluster.positives += 1;
        cluster.positive.add(*component);
    }
    for ((_, key), component) in negatives.iter().zip(&parts.negative) {
        let cluster = clusters.entry(*key).or_default();
        cluster.negatives += 1;
        cluster.negative.add(*component);
    }
    let with_positives = float(count(clusters.values().filter(|c| c.positives > 0).count()));
    let with_negatives = float(count(clusters.values().filter(|c| c.negatives > 0).count()));
    if with_positives < 2.0 || with_negatives < 2.0 {
        return Err(StatisticsError::OneClass {
            what: "clustered area (in clusters)",
            positives: count(clusters.values().filter(|c| c.positives > 0).count()),
            negatives: count(clusters.values().filter(|c| c.negatives > 0).count()),
            least: 2,
        });
    }
    let (m, n) = (float(parts.pairs.positives), float(parts.pairs.negatives));
    let (mut s10, mut s01, mut s11) = (Sum::default(), Sum::default(), Sum::default());
    for cluster in clusters.values() {
        let positive = cluster.positive.value() - float(cluster.positives) * parts.value;
        let negative = cluster.negative.value() - float(cluster.negatives) * parts.value;
        s10.add(positive * positive);
        s01.add(negative * negative);
        s11.add(positive * negative);
    }
    let groups = float(count(clusters.len()));
    let s10 = s10.value() * with_positives / ((with_positives - 1.0) * m);
    let s01 = s01.value() * with_negatives / ((with_negatives - 1.0) * n);
    let s11 = s11.value() * groups / (groups - 1.0);
    let variance = (s10 / m + s01 / n + 2.0 * s11 / (m * n)).max(0.0);
    Ok(Auc { value: parts.value, variance, pairs: parts.pairs })
}

/// Sums of the structural components of one cluster.
#[derive(Default)]
struct ClusterSums {
    positives: u64,
    negatives: u64,
    positive: Sum,
    negative: Sum,
}

/// The structural components V10 (a positive's share of negatives below it) and V01.
struct Components {
    value: f64,
    pairs: PairCounts,
    positive: Vec<f64>,
    negative: Vec<f64>,
}

impl Components {
    fn new(positives: &[f64], negatives: &[f64]) -> Result<Self, StatisticsError> {
        check_scores("scores of positive cases", positives)?;
        check_scores("scores of negative cases", negatives)?;
        if positives.len() < 2 || negatives.len() < 2 {
            return Err(StatisticsError::OneClass {
                what: "area under the ROC curve",
                positives: count(positives.len()),
                negatives: count(negatives.len()),
                least: 2,
            });
        }
        let pooled: Vec<f64> = positives.iter().chain(negatives).copied().collect();
        let pooled = ranks_doubled(&pooled);
        let (pooled_positive, pooled_negative) = pooled.split_at(positives.len());
        let (m, n) = (count(positives.len()), count(negatives.len()));
        // a doubled mid-rank counts twice what lies below plus once what ties, plus one for the case itself
        let below: Vec<u64> =
            pooled_positive.iter().zip(ranks_doubled(positives)).map(|(all, own)| all - own).collect();
        let above: Vec<u64> =
            pooled_negative.iter().zip(ranks_doubled(negatives)).map(|(all, own)| 2 * m - (all - own)).collect();
        let wins_doubled = below.iter().sum();
        Ok(Self {
            value: float(wins_doubled) / (2.0 * float(m) * float(n)),
            pairs: PairCounts { positives: m, negatives: n, wins_doubled },
            positive: below.iter().map(|wins| float(*wins) / (2.0 * float(n))).collect(),
            negative: above.iter().map(|wins| float(*wins) / (2.0 * float(m))).collect(),
        })
    }
}

/// The covariance of two areas on the same cases.
fn covariance(a: &Components, b: &Components) -> f64 {
    let part = |x: &[f64], y: &[f64]| {
        let products: Sum = x.iter().zip(y).map(|(x, y)| (x - a.value) * (y - b.value)).collect();
        let n = float(count(x.len()));
        products.value() / (n - 1.0) / n
    };
    part(&a.positive, &b.positive) + part(&a.negative, &b.negative)
}

/// Twice the mid-rank of each value, ranks counted from 1: an integer, ties included.
fn ranks_doubled(values: &[f64]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let mut end = start + 1;
        // partial_cmp, not total_cmp: -0.0 and 0.0 tie
        while end < order.len() && values[order[end]].partial_cmp(&values[order[start]]) == Some(Ordering::Equal) {
            end += 1;
        }
        for index in &order[start..end] {
            ranks[*index] = count(start + end + 1);
        }
        start = end;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Scores on a coarse grid, so that ties are frequent.
    fn scores() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec((0_u32..40).prop_map(|grid| f64::from(grid) / 40.0), 2..60)
    }

    fn textbook(positives: &[f64], negatives: &[f64]) -> f64 {
        let mut wins = 0.0;
        for p in positives {
            for n in negatives {
                wins += if p > n {
                    1.0
                } else if p < n {
                    0.0
                } else {
                    0.5
                };
            }
        }
        wins / float(count(positives.len() * negatives.len()))
    }

    proptest! {
        /// Proves: REQ-VAL-003
        #[test]
        fn the_area_equals_the_count_over_all_pairs(p in scores(), n in scores()) {
            let auc = delong(&p, &n).unwrap();
            prop_assert!((auc.value - textbook(&p, &n)).abs() < 1e-12);
            prop_assert!((0.0..=1.0).contains(&auc.value) && auc.variance >= 0.0);
        }

        /// Proves: REQ-VAL-003
        #[test]
        fn swapped_classes_mirror_the_area_and_keep_the_variance(p in scores(), n in scores()) {
            let (a, b) = (delong(&p, &n).unwrap(), delong(&n, &p).unwrap());
            prop_assert!((a.value + b.value - 1.0).abs() < 1e-12);
            prop_assert!((a.variance - b.variance).abs() < 1e-12);
        }

        /// Proves: REQ-VAL-003
        #[test]
        fn a_monotone_transform_and_another_order_change_nothing(p in scores(), n in scores()) {
            let transform = |values: &[f64]| values.iter().rev().map(|v| libm::exp(3.0 * v)).collect::<Vec<_>>();
            let (a, b) = (delong(&p, &n).unwrap(), delong(&transform(&p), &transform(&n)).unwrap());
            prop_assert_eq!(a.pairs, b.pairs);
            prop_assert!((a.variance - b.variance).abs() < 1e-12);
        }

        /// Proves: REQ-VAL-004
        #[test]
        fn clusters_of_one_give_delongs_variance(p in scores(), n in scores()) {
            let positives: Vec<_> = p.iter().copied().zip(0_usize..).collect();
            let negatives: Vec<_> = n.iter().copied().zip(10_000_usize..).collect();
            let (a, b) = (delong(&p, &n).unwrap(), clustered_auc(&positives, &negatives).unwrap());
            prop_assert!((a.variance - b.variance).abs() < 1e-12, "{} {}", a.variance, b.variance);
        }

        /// Proves: REQ-VAL-004
        #[test]
        fn cases_copied_within_their_patient_leave_the_variance_as_it_was(p in scores(), n in scores()) {
            let keyed = |values: &[f64], from: usize| values.iter().copied().zip(from..).collect::<Vec<_>>();
            let twice = |cases: &[(f64, usize)]| [cases, cases].concat();
            let (p, n) = (keyed(&p, 0), keyed(&n, 10_000));
            let (once, copied) = (clustered_auc(&p, &n).unwrap(), clustered_auc(&twice(&p), &twice(&n)).unwrap());
            prop_assert!((once.value - copied.value).abs() < 1e-12);
            prop_assert!((once.variance - copied.variance).abs() < 1e-12);
        }

        /// Proves: REQ-VAL-003
        #[test]
        fn a_marker_does_not_differ_from_itself(p in scores(), n in scores()) {
            let difference = delong_difference((&p, &n), (&p, &n)).unwrap();
            prop_assert!(difference.value.abs() < 1e-15 && difference.standard_error < 1e-7);
        }
    }

    /// Proves: REQ-VAL-003
    #[test]
    fn a_score_that_is_not_a_number_is_refused_and_an_infinite_one_ranks_last() {
        assert!(matches!(delong(&[0.5, f64::NAN], &[0.1, 0.2]), Err(StatisticsError::OutOfRange { index: 1, .. })));
        let auc = delong(&[f64::NEG_INFINITY, 0.9], &[0.1, 0.2]).unwrap();
        assert_eq!(auc.pairs.wins_doubled, 4);
        assert!(matches!(delong(&[0.5], &[0.1, 0.2]), Err(StatisticsError::OneClass { positives: 1, .. })));
    }
}
