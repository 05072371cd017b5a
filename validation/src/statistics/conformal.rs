//! Conformal prediction sets by a split: what a set leaves out is wrong at most as often as was stated, whatever the
//! model, as long as the cases to come are drawn as the calibration cases were.
//! Shapes: probabilities `[cases][classes]` with the right class of each; a set is one flag a class.
//! Rule: a class is in the set where its score is at most the `ceil((n + 1)(1 - alpha))`-th smallest score of the right
//! classes of the `n` calibration cases; with fewer cases than that asks for, every class is in.
//! Guarantee: coverage in the mean over calibration sets of at least `1 - alpha`; class-conditional: in each class.
//! Errors: `OutOfRange`, `Length`, `Empty`.
//! Sources: Vovk et al. 2005; Sadinle et al. 2019 (LAC); Romano et al. 2020 (APS, here without the random tie-breaking,
//! which makes it cautious); Angelopoulos & Bates 2023 (the correction).

use super::{Confidence, Interval, Proportion, StatisticsError, check_probabilities, clopper_pearson, count, float};

/// How strange a class is for a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConformalScore {
    /// One less the class's probability: smallest sets.
    Lac,
    /// The probability of the class and of all that are likelier: sets that adapt to the case.
    Aps,
}

impl ConformalScore {
    /// The score of a class of a case.
    fn of(self, probabilities: &[f64], class: usize) -> f64 {
        let own = probabilities[class];
        match self {
            Self::Lac => 1.0 - own,
            Self::Aps => {
                let before = |(other, p): &(usize, &f64)| **p > own || (**p >= own && *other <= class);
                let mut with: Vec<f64> = probabilities.iter().enumerate().filter(before).map(|(_, p)| *p).collect();
                if with.len() == probabilities.len() {
                    return 1.0; // all classes together, whatever the rounding
                }
                with.sort_by(|a, b| b.total_cmp(a));
                with.iter().sum()
            }
        }
    }
}

/// The `ceil((n + 1)(1 - alpha))`-th smallest score; infinite where there are too few for it.
pub fn conformal_quantile(scores: &[f64], alpha: f64) -> Result<f64, StatisticsError> {
    super::check_scores("conformal scores", scores)?;
    if !(alpha > 0.0 && alpha < 1.0) {
        let expected = "more than 0 and less than 1";
        return Err(StatisticsError::OutOfRange { what: "conformal alpha", index: 0, expected, found: alpha });
    }
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    // a product that should be whole may come out a last digit above it
    let rank = ((float(count(scores.len())) + 1.0) * (1.0 - alpha) - 1e-9).ceil().max(1.0);
    let place = (1..=sorted.len()).find(|place| float(count(*place)) >= rank);
    Ok(place.map_or(f64::INFINITY, |place| sorted[place - 1]))
}

/// A conformal rule: one quantile for all classes, or one a class.
#[derive(Debug, Clone, PartialEq)]
pub struct Conformal {
    /// The score.
    pub score: ConformalScore,
    /// What may be left out.
    pub alpha: f64,
    /// Whether the guarantee holds in each class.
    pub by_class: bool,
    /// The quantile of each class; all equal unless `by_class`.
    pub quantiles: Vec<f64>,
    /// Calibration cases of each class.
    pub n: Vec<u64>,
}

impl Conformal {
    /// Calibrates on cases that the model has not learnt from.
    pub fn fit(
        score: ConformalScore,
        alpha: f64,
        by_class: bool,
        probabilities: &[Vec<f64>],
        classes: &[usize],
    ) -> Result<Self, StatisticsError> {
        let known = check(probabilities, classes)?;
        let scored: Vec<(usize, f64)> =
            probabilities.iter().zip(classes).map(|(p, class)| (*class, score.of(p, *class))).collect();
        let of = |keep: &dyn Fn(usize) -> bool| -> Vec<f64> {
            scored.iter().filter(|(class, _)| keep(*class)).map(|(_, score)| *score).collect()
        };
        let quantile = |class: usize| conformal_quantile(&of(&|other| !by_class || other == class), alpha);
        Ok(Self {
            score,
            alpha,
            by_class,
            quantiles: (0..known).map(quantile).collect::<Result<_, _>>()?,
            n: (0..known).map(|class| count(of(&|other| other == class).len())).collect(),
        })
    }

    /// The set of a case: one flag a class.
    pub fn set(&self, probabilities: &[f64]) -> Vec<bool> {
        let inside = |(class, quantile): (usize, &f64)| {
            class < probabilities.len() && self.score.of(probabilities, class) <= *quantile
        };
        self.quantiles.iter().enumerate().map(inside).collect()
    }
}

/// How often sets held the right class, and how large they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// Sets that held the right class, of all.
    pub all: Proportion,
    /// The same of the cases of each class; none where a class has no case.
    pub by_class: Vec<Option<Proportion>>,
    /// Sets by the number of classes in them, from none to all.
    pub sizes: Vec<u64>,
}

impl Coverage {
    /// Counts.
    pub fn of(sets: &[Vec<bool>], classes: &[usize]) -> Result<Self, StatisticsError> {
        const WHAT: &str = "conformal sets and classes";
        if sets.len() != classes.len() {
            return Err(StatisticsError::Length { what: WHAT, left: sets.len(), right: classes.len() });
        }
        let known = sets.iter().map(Vec::len).max().ok_or(StatisticsError::Empty { what: WHAT })?;
        let mut sizes = vec![0; known + 1];
        let mut held = vec![(0, 0); known.max(classes.iter().copied().max().map_or(0, |class| class + 1))];
        for (set, class) in sets.iter().zip(classes) {
            sizes[set.iter().filter(|inside| **inside).count()] += 1;
            held[*class].0 += u64::from(set.get(*class).copied().unwrap_or(false));
            held[*class].1 += 1;
        }
        let all = Proportion::new(held.iter().map(|one| one.0).sum(), held.iter().map(|one| one.1).sum())?;
        Ok(Self { all, by_class: held.iter().map(|(x, n)| Proportion::new(*x, *n).ok()).collect(), sizes })
    }

    /// The interval of the coverage of all cases.
    pub fn interval(&self, confidence: Confidence) -> Interval {
        clopper_pearson(self.all, confidence)
    }
}

/// Checks the cases; how many classes there are.
fn check(probabilities: &[Vec<f64>], classes: &[usize]) -> Result<usize, StatisticsError> {
    const WHAT: &str = "conformal calibration: probabilities and classes";
    if probabilities.len() != classes.len() {
        return Err(StatisticsError::Length { what: WHAT, left: probabilities.len(), right: classes.len() });
    }
    let known = probabilities.first().map(Vec::len).ok_or(StatisticsError::Empty { what: WHAT })?;
    for (index, (row, class)) in probabilities.iter().zip(classes).enumerate() {
        check_probabilities(WHAT, row)?;
        if row.len() != known || *class >= known {
            let expected = "as many classes in every case, the right one among them";
            return Err(StatisticsError::OutOfRange { what: WHAT, index, expected, found: float(count(*class)) });
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

    fn uniform(random: &mut ChaCha20Rng) -> f64 {
        f64::from(random.next_u32()) / f64::from(u32::MAX)
    }

    /// A case whose probabilities are wrong in a way of their own, so that nothing but the method gives coverage.
    fn case(random: &mut ChaCha20Rng) -> (Vec<f64>, usize) {
        let class = usize::from(uniform(random) < 0.3) + usize::from(uniform(random) < 0.2);
        let raw: Vec<f64> =
            (0..3).map(|k| libm::exp(4.0 * uniform(random) + if k == class { 1.0 } else { 0.0 })).collect();
        let total: f64 = raw.iter().sum();
        (raw.iter().map(|value| value / total).collect(), class)
    }

    /// In the mean over 400 calibration sets of 60 cases, 40 test cases each.
    /// Proves: REQ-TRU-004
    #[test]
    fn sets_hold_the_right_class_as_often_as_stated() {
        let mut random = ChaCha20Rng::from_seed([7; 32]);
        for (score, by_class) in [
            (ConformalScore::Lac, false),
            (ConformalScore::Lac, true),
            (ConformalScore::Aps, false),
            (ConformalScore::Aps, true),
        ] {
            let alpha = 0.1;
            let mut held = [(0_u64, 0_u64); 3];
            for _ in 0..400 {
                let (p, classes): (Vec<_>, Vec<_>) = (0..60).map(|_| case(&mut random)).unzip();
                let rule = Conformal::fit(score, alpha, by_class, &p, &classes).unwrap();
                for _ in 0..40 {
                    let (p, class) = case(&mut random);
                    held[class].0 += u64::from(rule.set(&p)[class]);
                    held[class].1 += 1;
                }
            }
            // four standard errors of calibration sets that vary
            let slack = 4.0 * (alpha * (1.0 - alpha) / 60.0 / 400.0_f64).sqrt();
            let all = held.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            let share = |(x, n): (u64, u64)| float(x) / float(n);
            assert!(share(all) >= 1.0 - alpha - slack, "{score:?} {by_class}: {}", share(all));
            if score == ConformalScore::Lac && !by_class {
                assert!(share(all) <= 1.0 - alpha + 1.0 / 61.0 + slack, "{}", share(all));
            }
            if by_class {
                assert!(held.iter().all(|one| share(*one) >= 1.0 - alpha - 3.0 * slack), "{score:?}: {held:?}");
            }
        }
    }

    proptest! {
        /// Proves: REQ-TRU-004
        #[test]
        fn more_may_be_left_out_only_where_more_error_is_allowed(seed in any::<u64>(), by_class in any::<bool>()) {
            let mut random = ChaCha20Rng::seed_from_u64(seed);
            let (p, classes): (Vec<_>, Vec<_>) = (0..50).map(|_| case(&mut random)).unzip();
            for score in [ConformalScore::Lac, ConformalScore::Aps] {
                let strict = Conformal::fit(score, 0.05, by_class, &p, &classes).unwrap();
                let loose = Conformal::fit(score, 0.3, by_class, &p, &classes).unwrap();
                for row in &p {
                    let (wide, narrow) = (strict.set(row), loose.set(row));
                    prop_assert!(narrow.iter().zip(&wide).all(|(narrow, wide)| *wide || !narrow));
                }
                let sets: Vec<_> = p.iter().map(|row| strict.set(row)).collect();
                let coverage = Coverage::of(&sets, &classes).unwrap();
                prop_assert!(coverage.all.value() >= 0.95);
                prop_assert_eq!(coverage.sizes.iter().sum::<u64>(), 50);
                let interval = coverage.interval(Confidence::NINETY_FIVE);
                prop_assert!(interval.low <= coverage.all.value() && coverage.all.value() <= interval.high);
            }
        }
    }

    /// Proves: REQ-TRU-004
    #[test]
    fn the_quantile_has_its_correction_and_too_few_cases_leave_nothing_out() {
        let scores: Vec<f64> = (1..=19).map(f64::from).collect();
        let at = |alpha: f64| conformal_quantile(&scores, alpha).unwrap();
        assert!((at(0.1) - 18.0).abs() < 1e-12 && (at(0.05) - 19.0).abs() < 1e-12);
        assert!(at(0.049).is_infinite());
        assert!(conformal_quantile(&[], 0.1).unwrap().is_infinite());
        assert!(conformal_quantile(&scores, 0.0).is_err() && conformal_quantile(&[f64::NAN], 0.5).is_err());
        let rule = Conformal::fit(ConformalScore::Lac, 0.1, true, &[vec![0.9, 0.1]], &[0]).unwrap();
        assert_eq!(rule.set(&[0.5, 0.5]), [true, true]);
    }
}
