//! Abstention: how the error falls when the least sure cases are left to people.
//! Shapes: one sureness (higher is surer, any finite scale) and one mistake a case.
//! Ties: cases of equal sureness are taken together; within them the error is spread evenly, so the order of cases
//! changes nothing.
//! Errors: `Length`, `Empty`, `OutOfRange`.
//! Sources: El-Yaniv & Wiener 2010 (risk and coverage); Geifman et al. 2019 (AURC and its excess over the best order).

use super::{Proportion, StatisticsError, Sum, check_scores, count, float};

/// A point of the curve: the cases at least this sure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CoveragePoint {
    /// The least sureness among them.
    pub sureness_min: f64,
    /// How many they are.
    pub covered: u64,
    /// Mistakes among them.
    pub mistakes: u64,
}

/// The curve, the surest cases first, and its area.
#[derive(Debug, Clone, PartialEq)]
pub struct RiskCoverage {
    /// One point for each value of sureness, rising coverage.
    pub points: Vec<CoveragePoint>,
    /// Cases.
    pub n: u64,
    /// Area under the curve: the mean error over every number of covered cases.
    pub area: f64,
    /// What of it lies above the area of the best order of the same mistakes.
    pub excess: f64,
}

/// The curve of error against coverage.
pub fn risk_coverage(sureness: &[f64], mistakes: &[bool]) -> Result<RiskCoverage, StatisticsError> {
    const WHAT: &str = "sureness and mistakes";
    if sureness.len() != mistakes.len() {
        return Err(StatisticsError::Length { what: WHAT, left: sureness.len(), right: mistakes.len() });
    }
    if sureness.is_empty() {
        return Err(StatisticsError::Empty { what: WHAT });
    }
    check_scores(WHAT, sureness)?;
    let mut cases: Vec<(f64, bool)> = sureness.iter().copied().zip(mistakes.iter().copied()).collect();
    cases.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut points = Vec::new();
    let (mut covered, mut wrong, mut area) = (0_u64, 0_u64, Sum::default());
    for same in cases.chunk_by(|a, b| a.0 <= b.0) {
        let (of, among) = (count(same.len()), count(same.iter().filter(|case| case.1).count()));
        for place in 1..=of {
            let expected = float(wrong) + float(among) * float(place) / float(of);
            area.add(expected / float(covered + place));
        }
        covered += of;
        wrong += among;
        points.push(CoveragePoint { sureness_min: same[0].0, covered, mistakes: wrong });
    }
    let n = covered;
    let best: Sum = (n - wrong..n).map(|right| float(right + 1 - (n - wrong)) / float(right + 1)).collect();
    let (area, best) = (area.value() / float(n), best.value() / float(n));
    Ok(RiskCoverage { points, n, area, excess: area - best })
}

impl RiskCoverage {
    /// Mistakes among the fewest cases that reach this coverage (0 to 1), whole ties taken.
    pub fn at(&self, coverage: f64) -> Option<Proportion> {
        let wanted = coverage * float(self.n) - 1e-9;
        let point = self.points.iter().find(|point| float(point.covered) >= wanted)?;
        Proportion::new(point.mistakes, point.covered).ok()
    }

    /// At most so many points, the last among them, for a drawing.
    pub fn thinned(&self, at_most: usize) -> Vec<CoveragePoint> {
        let last = self.points.len().saturating_sub(1);
        let steps = at_most.clamp(2, self.points.len().max(2)) - 1;
        let mut places: Vec<usize> = (0..=steps).map(|step| step * last / steps).collect();
        places.dedup();
        places.iter().filter_map(|place| self.points.get(*place)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cases() -> impl Strategy<Value = (Vec<f64>, Vec<bool>)> {
        let case = ((0_u32..=30).prop_map(|grid| f64::from(grid) / 30.0), any::<bool>());
        prop::collection::vec(case, 1..100).prop_map(|cases| cases.into_iter().unzip())
    }

    proptest! {
        /// Proves: REQ-TRU-005
        #[test]
        fn the_curve_ends_at_the_whole_error_and_its_area_exceeds_the_best((sure, wrong) in cases()) {
            let curve = risk_coverage(&sure, &wrong).unwrap();
            let last = curve.points.last().unwrap();
            prop_assert_eq!(last.covered, count(sure.len()));
            prop_assert_eq!(last.mistakes, count(wrong.iter().filter(|wrong| **wrong).count()));
            prop_assert_eq!(curve.at(1.0).unwrap().n, last.covered);
            prop_assert!((0.0..=1.0).contains(&curve.area) && curve.excess >= -1e-12);
            prop_assert!(curve.points.windows(2).all(|pair| pair[0].covered < pair[1].covered));
            prop_assert!(curve.at(0.5).unwrap().n * 2 >= curve.n);
            let thin = curve.thinned(5);
            prop_assert!(thin.len() <= 5 && thin.last() == curve.points.last());
        }

        /// Proves: REQ-TRU-005
        #[test]
        fn neither_order_nor_a_rising_change_of_scale_moves_the_curve((sure, wrong) in cases()) {
            let curve = risk_coverage(&sure, &wrong).unwrap();
            let (other, same): (Vec<f64>, Vec<bool>) =
                sure.iter().map(|s| libm::exp(2.0 * s)).zip(wrong.iter().copied()).rev().unzip();
            let moved = risk_coverage(&other, &same).unwrap();
            prop_assert!((curve.area - moved.area).abs() < 1e-12);
            for (a, b) in curve.points.iter().zip(&moved.points) {
                prop_assert_eq!((a.covered, a.mistakes), (b.covered, b.mistakes));
            }
        }

        /// Proves: REQ-TRU-005
        #[test]
        fn sureness_that_knows_every_mistake_has_no_excess(wrong in prop::collection::vec(any::<bool>(), 1..80)) {
            let sure: Vec<f64> = wrong
                .iter()
                .enumerate()
                .map(|(place, wrong)| float(count(place)) + if *wrong { 0.0 } else { 1000.0 })
                .collect();
            prop_assert!(risk_coverage(&sure, &wrong).unwrap().excess.abs() < 1e-12);
        }
    }

    /// Proves: REQ-TRU-005
    #[test]
    fn what_cannot_be_ordered_is_refused() {
        assert!(matches!(risk_coverage(&[], &[]), Err(StatisticsError::Empty { .. })));
        assert!(matches!(risk_coverage(&[0.1], &[]), Err(StatisticsError::Length { .. })));
        assert!(matches!(risk_coverage(&[f64::NAN], &[true]), Err(StatisticsError::OutOfRange { .. })));
    }
}
