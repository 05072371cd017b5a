//! The bootstrap by cluster (a patient with all of their images), stratified by class; percentile and BCa intervals.
//! Shapes: a [`Cluster`] holds its cases and its stratum; a replicate draws as many clusters from each stratum as there
//! are in it. Random numbers: ChaCha20 under a key made of the registered seed and the statistic's name, so the streams
//! of two statistics are independent and the order of computing them changes nothing.
//! Errors: `Empty` without a cluster; a replicate in which the statistic is undefined is counted, never dropped unseen.
//! Sources: Efron 1987 (BCa); Field & Welsh 2007 (whole clusters); unbiased bounded draws by Lemire 2019.

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use vidimus_log::Digest;

use super::{Confidence, Interval, StatisticsError, Sum, count, float, normal_cdf, normal_quantile};

/// The cases of one patient and the stratum that the patient is drawn within.
#[derive(Debug, Clone)]
pub struct Cluster<T> {
    /// Patients of one stratum replace each other.
    pub stratum: u8,
    /// The cases; drawn together or not at all.
    pub cases: Vec<T>,
}

/// How often, from which seed, for which level.
#[derive(Debug, Clone, Copy)]
pub struct BootstrapPlan<'a> {
    /// Number of replicates.
    pub replicates: u32,
    /// The registered seed.
    pub seed: [u8; 8],
    /// The name of the statistic: part of the key of its random numbers.
    pub label: &'a str,
    /// The level of the intervals.
    pub confidence: Confidence,
}

/// Both intervals of one statistic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// The statistic on the sample itself.
    pub estimate: f64,
    /// Quantiles of the replicates (linear between order statistics).
    pub percentile: Interval,
    /// Bias-corrected and accelerated; the percentile interval where the correction is undefined.
    pub bca: Interval,
    /// Replicates asked for.
    pub replicates: u32,
    /// Replicates in which the statistic was undefined.
    pub undefined: u32,
}

/// Draws the replicates of `statistic`. Clusters must come in an order of their own (by key), for that order is part of
/// the draw. `statistic` gives `None` where it is undefined.
pub fn bootstrap<T>(
    clusters: &[Cluster<T>],
    statistic: impl Fn(&[&T]) -> Option<f64>,
    plan: BootstrapPlan<'_>,
) -> Result<Bootstrap, StatisticsError> {
    let all: Vec<&T> = clusters.iter().flat_map(|cluster| &cluster.cases).collect();
    let Some(estimate) = statistic(&all) else {
        return Err(StatisticsError::Empty { what: "bootstrap: the statistic on the sample itself" });
    };
    let mut strata = std::collections::BTreeMap::<u8, Vec<&Cluster<T>>>::new();
    for cluster in clusters {
        strata.entry(cluster.stratum).or_default().push(cluster);
    }
    let mut random = stream(plan);
    let mut values = Vec::with_capacity(plan.replicates as usize);
    let mut sample = Vec::with_capacity(all.len() * 2);
    for _ in 0..plan.replicates {
        sample.clear();
        for members in strata.values() {
            for _ in 0..members.len() {
                sample.extend(&members[below(&mut random, members.len())].cases);
            }
        }
        values.extend(statistic(&sample));
    }
    let undefined = plan.replicates - u32::try_from(values.len()).unwrap_or(plan.replicates);
    if values.is_empty() {
        return Err(StatisticsError::Empty { what: "bootstrap: replicates with a defined statistic" });
    }
    values.sort_by(f64::total_cmp);
    let tail = plan.confidence.tail();
    let percentile =
        Interval { low: quantile(&values, tail), high: quantile(&values, 1.0 - tail), confidence: plan.confidence };
    let bca = bias_corrected(clusters, &statistic, &values, estimate, plan.confidence).unwrap_or(percentile);
    Ok(Bootstrap { estimate, percentile, bca, replicates: plan.replicates, undefined })
}

/// The random numbers of one statistic.
fn stream(plan: BootstrapPlan<'_>) -> ChaCha20Rng {
    let key = Digest::of_parts([b"vidimus/bootstrap/v1\n".as_slice(), &plan.seed, b"\n", plan.label.as_bytes()]);
    ChaCha20Rng::from_seed(*key.as_bytes())
}

/// A uniform index below `bound`, without bias (Lemire's multiplication with rejection).
fn below(random: &mut ChaCha20Rng, bound: usize) -> usize {
    let bound = count(bound);
    let threshold = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(random.next_u64()) * u128::from(bound);
        #[expect(clippy::cast_possible_truncation, reason = "the low half of the product is meant")]
        let (low, high) = (product as u64, (product >> 64) as usize);
        if low >= threshold {
            return high;
        }
    }
}

/// The quantile of sorted values, linear between order statistics (type 7 of Hyndman & Fan 1996).
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let last = sorted.len() - 1;
    let position = p.clamp(0.0, 1.0) * float(count(last));
    let lower = position.floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "floor of a position within the slice")]
    let index = (lower as usize).min(last);
    let next = (index + 1).min(last);
    sorted[index] + (position - lower) * (sorted[next] - sorted[index])
}

/// Efron's BCa limits; the acceleration comes from leaving out one cluster at a time.
fn bias_corrected<T>(
    clusters: &[Cluster<T>],
    statistic: &impl Fn(&[&T]) -> Option<f64>,
    sorted: &[f64],
    estimate: f64,
    confidence: Confidence,
) -> Option<Interval> {
    let below = count(sorted.iter().filter(|value| **value < estimate).count());
    let above = count(sorted.iter().filter(|value| **value > estimate).count());
    let total = count(sorted.len());
    let bias = normal_quantile((float(below) + 0.5 * float(total - below - above)) / float(total));
    let jackknife: Option<Vec<f64>> = (0..clusters.len())
        .map(|left_out| {
            let rest: Vec<&T> = clusters
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != left_out)
                .flat_map(|(_, cluster)| &cluster.cases)
                .collect();
            statistic(&rest)
        })
        .collect();
    let jackknife = jackknife?;
    let mean = super::mean(&jackknife)?;
    let power = |n: u8| jackknife.iter().map(|v| (0..n).fold(1.0, |p, _| p * (mean - v))).collect::<Sum>().value();
    let (squares, cubes) = (power(2), power(3));
    if squares <= 0.0 || !bias.is_finite() {
        return None;
    }
    let acceleration = cubes / (6.0 * squares * squares.sqrt());
    let limit = |z: f64| {
        let shifted = bias + z;
        quantile(sorted, normal_cdf(bias + shifted / (1.0 - acceleration * shifted)))
    };
    Some(Interval { low: limit(-confidence.z()), high: limit(confidence.z()), confidence })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(label: &str) -> BootstrapPlan<'_> {
        BootstrapPlan { replicates: 4_000, seed: *b"12345678", label, confidence: Confidence::NINETY_FIVE }
    }

    fn mean_of(sample: &[&f64]) -> Option<f64> {
        super::super::mean(&sample.iter().map(|v| **v).collect::<Vec<_>>())
    }

    /// Proves: REQ-VAL-005
    #[test]
    fn the_interval_of_a_mean_agrees_with_its_standard_error() {
        let values: Vec<f64> = (0..200).map(|i| normal_quantile((f64::from(i) + 0.5) / 200.0)).collect();
        let clusters: Vec<_> = values.iter().map(|v| Cluster { stratum: 0, cases: vec![*v] }).collect();
        let result = bootstrap(&clusters, mean_of, plan("mean")).unwrap();
        let expected = 2.0 * 1.959_964 / 200.0_f64.sqrt();
        for interval in [result.percentile, result.bca] {
            assert!((interval.width() / expected - 1.0).abs() < 0.08, "{interval:?}");
        }
        assert_eq!(result.undefined, 0);
    }

    /// Proves: REQ-VAL-005
    #[test]
    fn patients_are_drawn_whole_so_copies_of_an_image_do_not_narrow_the_interval() {
        let once: Vec<_> = (0..60).map(|i| Cluster { stratum: 0, cases: vec![f64::from(i % 7)] }).collect();
        let tenfold: Vec<_> = once.iter().map(|c| Cluster { stratum: 0, cases: c.cases.repeat(10) }).collect();
        let (a, b) = (bootstrap(&once, mean_of, plan("m")).unwrap(), bootstrap(&tenfold, mean_of, plan("m")).unwrap());
        assert!((a.percentile.width() - b.percentile.width()).abs() < 1e-12);
    }

    /// Proves: REQ-VAL-005
    #[test]
    fn the_same_seed_gives_the_same_bits_and_another_label_does_not() {
        let clusters: Vec<_> = (0..50).map(|i| Cluster { stratum: i % 2, cases: vec![f64::from(i)] }).collect();
        let run = |label| bootstrap(&clusters, mean_of, plan(label)).unwrap();
        assert_eq!(run("a"), run("a"));
        assert_ne!(run("a"), run("b"));
    }

    /// Proves: REQ-VAL-005
    #[test]
    fn each_replicate_keeps_the_size_of_each_stratum() {
        let clusters: Vec<_> =
            (0..30).map(|i| Cluster { stratum: u8::from(i < 10), cases: vec![f64::from(u8::from(i < 10))] }).collect();
        let result = bootstrap(&clusters, mean_of, plan("share")).unwrap();
        assert!(result.percentile.width() < 1e-12 && (result.estimate - 1.0 / 3.0).abs() < 1e-12);
    }

    /// Proves: REQ-VAL-005
    #[test]
    fn an_undefined_replicate_is_counted() {
        let clusters = [1.0, 2.0, 3.0].map(|v| Cluster { stratum: 0, cases: vec![v] });
        let only_with_one = |sample: &[&f64]| sample.iter().any(|v| **v < 1.5).then_some(1.0);
        let result = bootstrap(&clusters, only_with_one, plan("undefined")).unwrap();
        assert!(result.undefined > 800 && result.undefined < 1_600, "{}", result.undefined); // (2/3)^3 of 4,000
    }
}
