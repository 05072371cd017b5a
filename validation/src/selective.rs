//! Abstention in a verdict: the error among the surest cases, at the coverages that the protocol names.
//! Sureness is the distance of the finding's probability from the threshold; a mistake is a case on the wrong side.
//! Shapes: the scored cases of an analysis in, a JSON value of decimal texts and counts out.
//! Errors: [`StatisticsError`]; a coverage that no case reaches is written as such.

use serde_json::{Value, json};

use crate::{
    analysis::{Sample, interval_json, text},
    protocol::SelectiveRule,
    statistics::{
        BootstrapPlan, CoveragePoint, RiskCoverage, StatisticsError, bootstrap, clopper_pearson, risk_coverage,
    },
};

/// The curve, its area with the interval by patient, and the error at each coverage.
pub(crate) fn analysis(
    sample: &Sample<'_>,
    rule: &SelectiveRule,
    threshold: f64,
    plan: BootstrapPlan<'_>,
) -> Result<Value, StatisticsError> {
    let clusters = sample.clusters();
    let cases: Vec<&(f64, bool)> = clusters.iter().flat_map(|cluster| &cluster.cases).collect();
    let curve = curve(&cases, threshold)?;
    let area = bootstrap(&clusters, |drawn| self::curve(drawn, threshold).ok().map(|curve| curve.area), plan)?;
    let at = |coverage: &f64| match curve.at(*coverage) {
        Some(error) => json!({
            "coverage": text(*coverage), "covered": error.n, "mistakes": error.successes,
            "error": text(error.value()),
            "interval": interval_json("clopper-pearson", &clopper_pearson(error, plan.confidence)),
        }),
        None => json!({ "coverage": text(*coverage), "state": "not_estimable", "why": "no case" }),
    };
    let point = |point: &CoveragePoint| {
        let (covered, mistakes) = (point.covered, point.mistakes);
        json!({ "sureness_min": text(point.sureness_min), "covered": covered, "mistakes": mistakes })
    };
    Ok(json!({
        "n": curve.n,
        "sureness": "distance of the probability from the threshold",
        "area": {
            "estimate": text(curve.area),
            "excess": text(curve.excess),
            "interval": interval_json("bootstrap-by-patient-percentile", &area.percentile),
        },
        "at": rule.coverages.iter().map(at).collect::<Vec<_>>(),
        "points": curve.thinned(rule.points_max).iter().map(point).collect::<Vec<_>>(),
    }))
}

fn curve(cases: &[&(f64, bool)], threshold: f64) -> Result<RiskCoverage, StatisticsError> {
    let (sureness, mistakes): (Vec<f64>, Vec<bool>) =
        cases.iter().map(|(score, positive)| ((score - threshold).abs(), (*score >= threshold) != *positive)).unzip();
    risk_coverage(&sureness, &mistakes)
}
