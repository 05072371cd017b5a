//! What happens at a threshold: confusion counts, sensitivity, specificity, likelihood ratios; and the ROC curve.
//! Rule: a case is called positive where its probability is at least the threshold.
//! Errors: a ratio without cases is an error of [`Proportion::new`]; a likelihood ratio without one of its cells has no
//! interval, and none at all where it divides by nothing.
//! Source: Simel 1991 (likelihood ratios, log interval).

use super::{Confidence, Interval, Proportion, StatisticsError, check_scores, count, float};

/// Counts at one threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Confusion {
    /// Positive cases called positive.
    pub true_positives: u64,
    /// Negative cases called positive.
    pub false_positives: u64,
    /// Negative cases called negative.
    pub true_negatives: u64,
    /// Positive cases called negative.
    pub false_negatives: u64,
}

/// A likelihood ratio with its interval, where it has one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LikelihoodRatio {
    /// The estimate.
    pub value: f64,
    /// The interval on the log scale; `None` where a count is 0.
    pub interval: Option<Interval>,
}

impl Confusion {
    /// Counts `scores` (positive where at least `threshold`) against `outcomes`.
    pub fn at(threshold: f64, scores: &[f64], outcomes: &[bool]) -> Result<Self, StatisticsError> {
        if scores.len() != outcomes.len() {
            let what = "confusion: scores and outcomes";
            return Err(StatisticsError::Length { what, left: scores.len(), right: outcomes.len() });
        }
        check_scores("confusion: scores", scores)?;
        let mut counts = Self::default();
        for (score, outcome) in scores.iter().zip(outcomes) {
            *match (*score >= threshold, *outcome) {
                (true, true) => &mut counts.true_positives,
                (true, false) => &mut counts.false_positives,
                (false, false) => &mut counts.true_negatives,
                (false, true) => &mut counts.false_negatives,
            } += 1;
        }
        Ok(counts)
    }

    /// True positives of all positives.
    pub fn sensitivity(&self) -> Result<Proportion, StatisticsError> {
        Proportion::new(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// True negatives of all negatives.
    pub fn specificity(&self) -> Result<Proportion, StatisticsError> {
        Proportion::new(self.true_negatives, self.true_negatives + self.false_positives)
    }

    /// Sensitivity / (1 - specificity); `None` without a false positive.
    pub fn likelihood_ratio_positive(&self, confidence: Confidence) -> Option<LikelihoodRatio> {
        ratio(
            (self.true_positives, self.true_positives + self.false_negatives),
            (self.false_positives, self.true_negatives + self.false_positives),
            confidence,
        )
    }

    /// (1 - sensitivity) / specificity; `None` without a true negative.
    pub fn likelihood_ratio_negative(&self, confidence: Confidence) -> Option<LikelihoodRatio> {
        ratio(
            (self.false_negatives, self.true_positives + self.false_negatives),
            (self.true_negatives, self.true_negatives + self.false_positives),
            confidence,
        )
    }
}

/// The ratio of two proportions `(x, n)`, with Simel's log interval.
fn ratio(top: (u64, u64), bottom: (u64, u64), confidence: Confidence) -> Option<LikelihoodRatio> {
    if top.1 == 0 || bottom.0 == 0 {
        return None;
    }
    let value = (float(top.0) / float(top.1)) / (float(bottom.0) / float(bottom.1));
    let interval = (top.0 > 0).then(|| {
        let variance = 1.0 / float(top.0) - 1.0 / float(top.1) + 1.0 / float(bottom.0) - 1.0 / float(bottom.1);
        let (centre, half) = (libm::log(value), confidence.z() * variance.max(0.0).sqrt());
        Interval { low: libm::exp(centre - half), high: libm::exp(centre + half), confidence }
    });
    Some(LikelihoodRatio { value, interval })
}

/// One corner of the ROC curve, in counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RocPoint {
    /// Negatives called positive at this threshold.
    pub false_positives: u64,
    /// Positives called positive at this threshold.
    pub true_positives: u64,
}

/// The ROC curve from (0, 0) to (all, all) in at most `at_most` points: its corners, thinned evenly where there are
/// more. `at_most` is taken as 2 at the least, for the two ends always stay.
pub fn roc_points(positives: &[f64], negatives: &[f64], at_most: usize) -> Result<Vec<RocPoint>, StatisticsError> {
    check_scores("scores of positive cases", positives)?;
    check_scores("scores of negative cases", negatives)?;
    let labelled = |scores: &[f64], label: bool| scores.iter().map(|score| (*score, label)).collect::<Vec<_>>();
    let mut cases = [labelled(positives, true), labelled(negatives, false)].concat();
    cases.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut points = vec![RocPoint { false_positives: 0, true_positives: 0 }];
    let (mut false_positives, mut true_positives) = (0, 0);
    for (index, (score, label)) in cases.iter().enumerate() {
        *(if *label { &mut true_positives } else { &mut false_positives }) += 1;
        let tied = cases.get(index + 1).is_some_and(|next| next.0 >= *score);
        if !tied {
            points.push(RocPoint { false_positives, true_positives });
        }
    }
    let corners = corners(&points);
    let at_most = at_most.max(2);
    if corners.len() <= at_most {
        return Ok(corners);
    }
    Ok((0..at_most).map(|k| corners[k * (corners.len() - 1) / (at_most - 1)]).collect())
}

/// The points at which the curve turns, both ends included.
fn corners(points: &[RocPoint]) -> Vec<RocPoint> {
    let mut kept: Vec<RocPoint> = Vec::with_capacity(points.len());
    for point in points {
        while let [.., a, b] = kept.as_slice() {
            let cross = i128::from(b.false_positives - a.false_positives)
                * i128::from(point.true_positives - a.true_positives)
                - i128::from(b.true_positives - a.true_positives)
                    * i128::from(point.false_positives - a.false_positives);
            if cross != 0 {
                break;
            }
            kept.pop();
        }
        kept.push(*point);
    }
    debug_assert!(count(kept.len()) <= count(points.len()));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scores() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec((0_u32..30).prop_map(|grid| f64::from(grid) / 30.0), 2..80)
    }

    proptest! {
        /// Proves: REQ-VAL-007
        #[test]
        fn the_whole_curve_has_the_area_of_delong(p in scores(), n in scores()) {
            let points = roc_points(&p, &n, usize::MAX).unwrap();
            let doubled: u64 = points
                .windows(2)
                .map(|w| (w[1].false_positives - w[0].false_positives) * (w[0].true_positives + w[1].true_positives))
                .sum();
            prop_assert_eq!(doubled, super::super::delong(&p, &n).unwrap().pairs.wins_doubled);
        }

        /// Proves: REQ-VAL-007
        #[test]
        fn a_thinned_curve_keeps_its_ends_and_never_falls(p in scores(), n in scores(), most in 2_usize..60) {
            let points = roc_points(&p, &n, most).unwrap();
            prop_assert!(points.len() <= most);
            prop_assert_eq!(points[0], RocPoint { false_positives: 0, true_positives: 0 });
            let end = RocPoint { false_positives: count(n.len()), true_positives: count(p.len()) };
            prop_assert_eq!(points[points.len() - 1], end);
            let rises = |w: &[RocPoint]| {
                w[0].false_positives <= w[1].false_positives && w[0].true_positives <= w[1].true_positives
            };
            prop_assert!(points.windows(2).all(rises));
        }

        /// Proves: REQ-VAL-007
        #[test]
        fn a_higher_threshold_never_calls_more_positive(p in scores(), a in 0.0_f64..1.0, b in 0.0_f64..1.0) {
            let outcomes: Vec<bool> = (0..p.len()).map(|i| i % 3 == 0).collect();
            let at = |threshold| Confusion::at(threshold, &p, &outcomes).unwrap();
            let (low, high) = (at(a.min(b)), at(a.max(b)));
            prop_assert!(high.true_positives <= low.true_positives && high.false_positives <= low.false_positives);
        }
    }

    /// Proves: REQ-VAL-007
    #[test]
    fn a_score_at_the_threshold_is_positive() {
        let counts = Confusion::at(0.5, &[0.5, 0.499, 0.5, 0.1], &[true, true, false, false]).unwrap();
        let expected = Confusion { true_positives: 1, false_negatives: 1, false_positives: 1, true_negatives: 1 };
        assert_eq!(counts, expected);
    }

    /// Proves: REQ-VAL-007
    #[test]
    fn a_ratio_that_divides_by_nothing_is_absent() {
        let counts = Confusion { true_positives: 9, false_negatives: 1, false_positives: 0, true_negatives: 10 };
        assert!(counts.likelihood_ratio_positive(Confidence::NINETY_FIVE).is_none());
        assert!(counts.likelihood_ratio_negative(Confidence::NINETY_FIVE).unwrap().interval.is_some());
    }
}
