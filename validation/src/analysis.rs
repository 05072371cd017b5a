//! The figures of an evaluation: endpoints, analyses beside them, calibration, subgroups, leakage, aggregates.
//! Shapes: [`Sample`] is the cases of one analysis; each function gives a JSON value of decimal texts and counts.
//! A case without a score ranks as the wrong answer: a positive one below all, a negative one above all.
//! Errors: [`StatisticsError`]; what cannot be estimated is written as such, with the reason.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use vidimus_log::Digest;

use crate::{
    decimal::{DIGITS, fixed},
    evaluation::{Judged, Outcome},
    protocol::{IntervalMethod, Statistic},
    statistics::{
        self, Auc, BootstrapPlan, Cluster, Confidence, Confusion, Interval, Proportion, StatisticsError, bootstrap,
        count,
    },
};

/// The cases of one analysis, as columns.
pub(crate) struct Sample<'a> {
    pub(crate) cases: Vec<&'a Judged>,
    scores: Vec<f64>,
    outcomes: Vec<bool>,
    patients: Vec<&'a str>,
}

impl<'a> Sample<'a> {
    pub(crate) fn new(cases: impl IntoIterator<Item = &'a Judged>) -> Self {
        let cases: Vec<&Judged> = cases.into_iter().collect();
        let scores = cases
            .iter()
            .map(|case| match &case.outcome {
                Outcome::Scored { finding, .. } => *finding,
                _ if case.positive => f64::NEG_INFINITY,
                _ => f64::INFINITY,
            })
            .collect();
        let outcomes = cases.iter().map(|case| case.positive).collect();
        let patients = cases.iter().map(|case| case.patient.as_str()).collect();
        Self { cases, scores, outcomes, patients }
    }

    pub(crate) fn is_scored(case: &Judged) -> bool {
        matches!(case.outcome, Outcome::Scored { .. })
    }

    fn of_class(&self, positive: bool) -> Vec<(f64, &'a str)> {
        let all = self.scores.iter().zip(&self.outcomes).zip(&self.patients);
        all.filter(|((_, outcome), _)| **outcome == positive).map(|((score, _), patient)| (*score, *patient)).collect()
    }

    fn scores_of_class(&self, positive: bool) -> Vec<f64> {
        self.of_class(positive).into_iter().map(|(score, _)| score).collect()
    }

    pub(crate) fn confusion(&self, threshold: f64) -> Result<Confusion, StatisticsError> {
        Confusion::at(threshold, &self.scores, &self.outcomes)
    }

    pub(crate) fn auc(&self, method: IntervalMethod) -> Result<Auc, StatisticsError> {
        if method == IntervalMethod::Obuchowski {
            statistics::clustered_auc(&self.of_class(true), &self.of_class(false))
        } else {
            statistics::delong(&self.scores_of_class(true), &self.scores_of_class(false))
        }
    }

    /// The interval of an area without variance (all pairs won, or all lost), which a normal interval would shrink to
    /// a point: as many pairs of different patients as there are, each won with the probability that the area is.
    fn independent_pairs(&self, area: f64, confidence: Confidence) -> Result<Interval, StatisticsError> {
        let patients = |positive| {
            let ids: BTreeSet<&str> = self.of_class(positive).into_iter().map(|(_, patient)| patient).collect();
            count(ids.len())
        };
        let pairs = patients(true).min(patients(false));
        let won = if area >= 0.5 { pairs } else { 0 };
        Ok(statistics::clopper_pearson(Proportion::new(won, pairs)?, confidence))
    }

    /// Patients in the order of their ids, each with their cases; strata by the classes that a patient has.
    pub(crate) fn clusters(&self) -> Vec<Cluster<(f64, bool)>> {
        let mut patients = BTreeMap::<&str, Vec<(f64, bool)>>::new();
        for ((score, outcome), patient) in self.scores.iter().zip(&self.outcomes).zip(&self.patients) {
            patients.entry(patient).or_default().push((*score, *outcome));
        }
        patients
            .into_values()
            .map(|cases| {
                let stratum = u8::from(cases.iter().any(|c| c.1)) + 2 * u8::from(cases.iter().any(|c| !c.1));
                Cluster { stratum, cases }
            })
            .collect()
    }

    /// (called right, cases) of one class by patient.
    fn patient_counts(&self, positive: bool, threshold: f64) -> Vec<(u64, u64)> {
        let mut patients = BTreeMap::<&str, (u64, u64)>::new();
        for (score, patient) in self.of_class(positive) {
            let counts = patients.entry(patient).or_default();
            counts.0 += u64::from((score >= threshold) == positive);
            counts.1 += 1;
        }
        patients.into_values().collect()
    }
}

/// A score of probabilities against outcomes.
type Score<'a> = dyn Fn(&[f64], &[bool]) -> Option<f64> + 'a;

/// One figure: estimate, deciding interval, counts.
pub(crate) struct Figure {
    pub(crate) estimate: f64,
    pub(crate) interval: Interval,
    pub(crate) method: &'static str,
    /// The ratio's counts, doubled pairs for an area.
    pub(crate) top: u64,
    pub(crate) bottom: u64,
    pub(crate) n: u64,
}

/// Estimate and interval of a statistic.
pub(crate) fn figure(
    sample: &Sample<'_>,
    statistic: Statistic,
    method: IntervalMethod,
    threshold: f64,
    confidence: Confidence,
) -> Result<Figure, StatisticsError> {
    let positive = statistic != Statistic::Specificity;
    if statistic == Statistic::Auc {
        let auc = sample.auc(method)?;
        let (m, n) = (auc.pairs.positives, auc.pairs.negatives);
        let top = auc.pairs.wins_doubled;
        let (interval, method) = if auc.variance > 0.0 {
            (auc.interval(confidence), method_word(method))
        } else {
            (sample.independent_pairs(auc.value, confidence)?, "clopper-pearson-independent-pairs")
        };
        return Ok(Figure { estimate: auc.value, interval, method, top, bottom: 2 * m * n, n: m + n });
    }
    let confusion = sample.confusion(threshold)?;
    let proportion = if positive { confusion.sensitivity()? } else { confusion.specificity()? };
    let interval = match method {
        IntervalMethod::ClopperPearson => statistics::clopper_pearson(proportion, confidence),
        IntervalMethod::ClusteredWilson => {
            statistics::clustered_wilson(&sample.patient_counts(positive, threshold), confidence)?.1
        }
        _ => statistics::wilson(proportion, confidence),
    };
    let Proportion { successes: top, n: bottom } = proportion;
    let method = method_word(method);
    Ok(Figure { estimate: proportion.value(), interval, method, top, bottom, n: bottom })
}

/// The bootstrap by patient of a statistic, both intervals.
pub(crate) fn resampled(
    sample: &Sample<'_>,
    statistic: Statistic,
    threshold: f64,
    plan: BootstrapPlan<'_>,
) -> Result<Value, StatisticsError> {
    let of = |drawn: &[&(f64, bool)], positive: bool| {
        drawn.iter().filter(|case| case.1 == positive).map(|case| case.0).collect::<Vec<f64>>()
    };
    let share = |scores: &[f64], positive: bool| {
        let right = scores.iter().filter(|score| (**score >= threshold) == positive).count();
        Proportion::new(count(right), count(scores.len())).ok().map(Proportion::value)
    };
    let result = bootstrap(
        &sample.clusters(),
        |drawn| match statistic {
            Statistic::Auc => statistics::delong(&of(drawn, true), &of(drawn, false)).ok().map(|auc| auc.value),
            Statistic::Sensitivity => share(&of(drawn, true), true),
            Statistic::Specificity => share(&of(drawn, false), false),
        },
        plan,
    )?;
    Ok(json!({
        "percentile": interval_json("bootstrap-by-patient-percentile", &result.percentile),
        "bca": interval_json("bootstrap-by-patient-bca", &result.bca),
        "replicates": result.replicates,
        "undefined": result.undefined,
    }))
}

/// AUC, sensitivity and specificity of an analysis beside the primary one.
pub(crate) fn beside(sample: &Sample<'_>, threshold: f64, confidence: Confidence) -> Value {
    let figures: Vec<Value> = [
        (Statistic::Auc, IntervalMethod::Obuchowski),
        (Statistic::Sensitivity, IntervalMethod::ClusteredWilson),
        (Statistic::Specificity, IntervalMethod::ClusteredWilson),
    ]
    .into_iter()
    .map(|(statistic, method)| {
        let mut value = match figure(sample, statistic, method, threshold, confidence) {
            Ok(figure) => figure_json(&figure),
            Err(error) => not_estimable(&error),
        };
        value["statistic"] = json!(statistic_word(statistic));
        value
    })
    .collect();
    json!({ "n": sample.cases.len(), "figures": figures })
}

/// Calibration of the scored cases, with the bins of the reliability diagram.
pub(crate) fn calibration(
    sample: &Sample<'_>,
    bins: usize,
    plan: BootstrapPlan<'_>,
) -> Result<(Value, Value), StatisticsError> {
    let (p, y) = (&sample.scores, &sample.outcomes);
    let diagram = statistics::equal_mass_bins(p, y, bins)?;
    let parts = statistics::brier_parts(&diagram)?;
    let split = |drawn: &[&(f64, bool)]| drawn.iter().map(|case| **case).unzip::<f64, bool, Vec<f64>, Vec<bool>>();
    let clusters = sample.clusters();
    let spread = |label: &'static str, statistic: &Score| {
        bootstrap(
            &clusters,
            |drawn| {
                let (p, y) = split(drawn);
                statistic(&p, &y)
            },
            BootstrapPlan { label, ..plan },
        )
    };
    let brier = spread("brier", &|p, y| statistics::brier(p, y).ok())?;
    let ece = spread("ece", &|p, y| {
        statistics::equal_mass_bins(p, y, bins).and_then(|bins| statistics::expected_calibration_error(&bins)).ok()
    })?;
    let line = match statistics::calibration_line(p, y) {
        Ok(line) => json!({
            "intercept": text(line.intercept), "intercept_standard_error": text(line.intercept_error),
            "slope": text(line.slope), "slope_standard_error": text(line.slope_error),
            "probabilities_moved_off_0_or_1": line.moved,
        }),
        Err(error) => not_estimable(&error),
    };
    let z = match statistics::spiegelhalter_z(p, y) {
        Ok((z, p)) => json!({ "z": text(z), "p": text(p) }),
        Err(error) => not_estimable(&error),
    };
    let value = json!({
        "n": sample.cases.len(),
        "brier": {
            "estimate": text(brier.estimate),
            "interval": interval_json("bootstrap-by-patient-percentile", &brier.percentile),
            "reliability": text(parts.reliability),
            "resolution": text(parts.resolution),
            "uncertainty": text(parts.uncertainty),
        },
        "ece": { "estimate": text(ece.estimate), "bins": diagram.len(),
            "interval": interval_json("bootstrap-by-patient-percentile", &ece.percentile) },
        "line": line,
        "spiegelhalter": z,
    });
    let reliability: Vec<Value> = diagram
        .iter()
        .map(|bin| json!({ "n": bin.n, "positives": bin.positives, "probability_mean": text(bin.probability_mean) }))
        .collect();
    Ok((value, json!(reliability)))
}

/// AUC between two subtypes among the scored cases, of the first one's share of both probabilities.
pub(crate) fn between(sample: &Sample<'_>, positive: &str, negative: &str, confidence: Confidence) -> Value {
    let share = |case: &Judged| match &case.outcome {
        Outcome::Scored { all, .. } => {
            let (a, b) = (*all.get(positive)?, *all.get(negative)?);
            (a + b > 0.0).then(|| a / (a + b))
        }
        _ => None,
    };
    let of = |subtype: &str| -> Vec<(f64, &str)> {
        let members = sample.cases.iter().filter(|case| case.subtype == subtype);
        members.filter_map(|case| Some((share(case)?, case.patient.as_str()))).collect()
    };
    match statistics::clustered_auc(&of(positive), &of(negative)) {
        Ok(auc) => json!({
            "state": "estimated", "positive": positive, "negative": negative, "estimate": text(auc.value),
            "interval": interval_json("obuchowski", &auc.interval(confidence)),
            "positives": auc.pairs.positives, "negatives": auc.pairs.negatives, "wins_doubled": auc.pairs.wins_doubled,
        }),
        Err(error) => not_estimable(&error),
    }
}

/// Likelihood ratios at the operating point.
pub(crate) fn likelihood_ratios(confusion: &Confusion, confidence: Confidence) -> Value {
    let ratio = |ratio: Option<statistics::LikelihoodRatio>| match ratio {
        None => json!({ "state": "not_estimable", "why": "a count in the denominator is 0" }),
        Some(ratio) => {
            let mut value = json!({ "state": "estimated", "estimate": text(ratio.value) });
            if let Some(interval) = &ratio.interval {
                value["interval"] = interval_json("simel-log", interval);
            }
            value
        }
    };
    json!({
        "positive": ratio(confusion.likelihood_ratio_positive(confidence)),
        "negative": ratio(confusion.likelihood_ratio_negative(confidence)),
    })
}

/// The values of a stratum, and the cases of each.
pub(crate) fn strata<'a>(sample: &Sample<'a>, by: &str) -> BTreeMap<String, Vec<&'a Judged>> {
    let mut values = BTreeMap::<String, Vec<&Judged>>::new();
    for case in &sample.cases {
        let value = if by == "subtype" { Some(&case.subtype) } else { case.strata.get(by) };
        values.entry(value.cloned().unwrap_or_else(|| "unknown".to_owned())).or_default().push(case);
    }
    values
}

/// ROC corners in counts.
pub(crate) fn roc(sample: &Sample<'_>, at_most: usize) -> Result<Value, StatisticsError> {
    let points = statistics::roc_points(&sample.scores_of_class(true), &sample.scores_of_class(false), at_most)?;
    let points =
        points.iter().map(|p| json!({ "false_positives": p.false_positives, "true_positives": p.true_positives }));
    Ok(points.collect())
}

/// The first case (by case id) of each set of equal pixels, and how many were left out.
pub(crate) fn first_of_equal_pixels<'a>(cases: &[&'a Judged]) -> (Vec<&'a Judged>, usize) {
    let mut seen = BTreeSet::<Digest>::new();
    let kept: Vec<&Judged> = cases.iter().copied().filter(|case| seen.insert(case.pixels)).collect();
    let left_out = cases.len() - kept.len();
    (kept, left_out)
}

pub(crate) fn figure_json(figure: &Figure) -> Value {
    json!({
        "state": "estimated",
        "estimate": text(figure.estimate),
        "interval": interval_json(figure.method, &figure.interval),
        "counts": { "top": figure.top, "bottom": figure.bottom },
        "n": figure.n,
    })
}

pub(crate) fn interval_json(method: &str, interval: &Interval) -> Value {
    json!({
        "method": method,
        "low": text(interval.low),
        "high": text(interval.high),
        "confidence": text(interval.confidence.level()),
    })
}

pub(crate) fn not_estimable(error: &StatisticsError) -> Value {
    json!({ "state": "not_estimable", "why": error.to_string() })
}

/// A finite figure as decimal text; the statistics above give no other.
pub(crate) fn text(value: f64) -> String {
    fixed(value, DIGITS).unwrap_or_else(|| "not finite".to_owned())
}

pub(crate) const fn statistic_word(statistic: Statistic) -> &'static str {
    match statistic {
        Statistic::Auc => "auc",
        Statistic::Sensitivity => "sensitivity",
        Statistic::Specificity => "specificity",
    }
}

pub(crate) const fn method_word(method: IntervalMethod) -> &'static str {
    match method {
        IntervalMethod::Delong => "delong",
        IntervalMethod::Obuchowski => "obuchowski",
        IntervalMethod::Wilson => "wilson",
        IntervalMethod::ClusteredWilson => "clustered-wilson",
        IntervalMethod::ClopperPearson => "clopper-pearson",
    }
}
