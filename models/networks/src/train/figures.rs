//! Figures of the tuning part: areas under the curve with intervals by patients, sensitivity and specificity.
//! They tell that a run went as it should; TRAINING.md's warning holds: they flatter, and rank augmentations wrongly.
//! Errors: none; a figure that cannot be had (a class is missing) is `None`.
//! Source: Mann and Whitney 1947; Efron's percentile interval over patients.

use super::random::{Random, Use};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bootstrap samples of an interval.
const SAMPLES: usize = 1000;

/// A value with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The estimate.
    pub value: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

/// One scored image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scored {
    pub(crate) patient: usize,
    pub(crate) positive: bool,
    pub(crate) score: f64,
}

/// The share of (positive, negative) pairs in the right order, ties half; `None` without both kinds.
#[must_use]
pub fn auc(scores: &[(bool, f64)]) -> Option<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (mut below, mut won, mut positives) = (0.0, 0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.1.total_cmp(&b.1).is_eq()) {
        let hits = tied.iter().filter(|(positive, _)| *positive).count() as f64;
        let misses = tied.len() as f64 - hits;
        won += hits * (below + misses / 2.0);
        below += misses;
        positives += hits;
    }
    (positives > 0.0 && below > 0.0).then(|| won / (positives * below))
}

/// The area with an interval from whole patients drawn with replacement.
pub(crate) fn auc_by_patient(scored: &[Scored], seed: u64) -> Option<Figure> {
    let pairs = |of: &[Scored]| of.iter().map(|s| (s.positive, s.score)).collect::<Vec<_>>();
    let value = auc(&pairs(scored))?;
    let mut patients: BTreeMap<usize, Vec<Scored>> = BTreeMap::new();
    for one in scored {
        patients.entry(one.patient).or_default().push(*one);
    }
    let patients: Vec<_> = patients.into_values().collect();
    let mut found: Vec<f64> = (0..SAMPLES)
        .filter_map(|sample| {
            let mut random = Random::new(seed, Use::Bootstrap, sample);
            let drawn: Vec<Scored> =
                (0..patients.len()).flat_map(|_| patients[random.below(patients.len())].clone()).collect();
            auc(&pairs(&drawn))
        })
        .collect();
    found.sort_by(f64::total_cmp);
    let at = |share: f64| found.get(((found.len() as f64 * share) as usize).min(found.len().saturating_sub(1)));
    Some(Figure { value, low: *at(0.025)?, high: *at(0.975)? })
}

/// The share of the positives (or negatives) that the threshold puts on the right side.
pub(crate) fn right_share(scored: &[Scored], positive: bool, threshold: f64) -> Option<f64> {
    let of: Vec<_> = scored.iter().filter(|s| s.positive == positive).collect();
    let right = of.iter().filter(|s| (s.score >= threshold) == positive).count();
    (!of.is_empty()).then(|| right as f64 / of.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::{Scored, auc, auc_by_patient, right_share};

    /// Proves: REQ-NET-020
    #[test]
    fn the_area_is_the_share_of_ordered_pairs() {
        let scores: Vec<(bool, f64)> = (0..60).map(|i| (i * 7 % 5 < 2, f64::from(i * 31 % 17))).collect();
        let (mut won, mut pairs) = (0.0, 0.0);
        for (_, high) in scores.iter().filter(|s| s.0) {
            for (_, low) in scores.iter().filter(|s| !s.0) {
                pairs += 1.0;
                won += if high > low { 1.0 } else { 0.5 * f64::from(u8::from((high - low).abs() < 1e-12)) };
            }
        }
        assert!((auc(&scores).unwrap() - won / pairs).abs() < 1e-12);
        assert_eq!(auc(&[(true, 1.0)]), None);
    }

    /// Proves: REQ-NET-020
    #[test]
    fn the_interval_holds_the_value_and_repeats() {
        let scored: Vec<Scored> = (0..80)
            .map(|i| Scored {
                patient: i / 2,
                positive: i / 2 % 2 == 0,
                score: ((i * 37 % 80) as f64) - (i / 2 % 2 * 20) as f64,
            })
            .collect();
        let figure = auc_by_patient(&scored, 3).unwrap();
        assert!(figure.low <= figure.value && figure.value <= figure.high && figure.low < figure.high);
        assert_eq!(auc_by_patient(&scored, 3), Some(figure));
        assert!(right_share(&scored, true, f64::NEG_INFINITY).unwrap() >= 1.0);
    }
}
