//! Judging: an evaluation becomes a verdict. A pure function: the same evaluation gives the same bytes.
//! Rules: an endpoint passes where its estimate and, if asked for, its lower limit reach what the protocol says; it is
//! inconclusive where only the estimate does; else it fails. Endpoints are tested in the fixed order: after the first
//! that does not pass, later ones are reported and bear no confirmatory claim. Intervals have the confidence that the
//! look's share of alpha leaves. Errors: [`JudgeError`]. Source: EVIDENCE sections 3 to 7.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    analysis::{self, Sample, figure, text},
    decimal::{DIGITS, fixed},
    evaluation::{Evaluation, Outcome},
    protocol::{Endpoint, IntervalMethod, ProtocolError, SecondaryStatistic, Statistic, Subgroup, SubgroupAction},
    selective,
    statistics::{BootstrapPlan, Confidence, StatisticsError},
    verdict::{GATE_VERSION, Verdict, VerdictError, conclude},
};

/// Why no verdict could be given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// A primary endpoint could not be computed.
    #[error("judging: endpoint {id}: {source}")]
    Endpoint {
        /// The endpoint.
        id: String,
        /// Why.
        #[source]
        source: StatisticsError,
    },
    /// An aggregate could not be computed.
    #[error("judging: {what}: {source}")]
    Aggregate {
        /// The aggregate.
        what: &'static str,
        /// Why.
        #[source]
        source: StatisticsError,
    },
    /// The protocol leaves no confidence at this look.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The verdict would not be canonical.
    #[error(transparent)]
    Verdict(#[from] VerdictError),
}

/// Judges an evaluation by its protocol.
pub fn judge(evaluation: &Evaluation) -> Result<Verdict, JudgeError> {
    let protocol = evaluation.protocol.text();
    let confidence = evaluation.protocol.confidence_of_look(evaluation.look)?;
    let threshold = protocol.operating_point.threshold;
    let all = Sample::new(&evaluation.cases);
    let scored = Sample::new(evaluation.cases.iter().filter(|case| Sample::is_scored(case)));
    let aggregate = |what| move |source| JudgeError::Aggregate { what, source };

    let endpoints = endpoints(evaluation, &all, confidence)?;
    let confusion = all.confusion(threshold).map_err(aggregate("confusion"))?;
    let subgroups: Vec<Value> =
        protocol.subgroup.iter().flat_map(|rule| subgroup(&all, rule, threshold, confidence)).collect();
    let leakage = leakage(evaluation);
    let plan = plan(evaluation, "calibration", confidence);
    let (calibration, reliability) =
        analysis::calibration(&scored, protocol.aggregates.reliability_bins, plan).map_err(aggregate("calibration"))?;
    let secondary: Vec<Value> = protocol
        .secondary
        .iter()
        .map(|rule| {
            let mut value = match (rule.statistic, &rule.positive, &rule.negative) {
                (SecondaryStatistic::Calibration, _, _) => calibration.clone(),
                (SecondaryStatistic::LikelihoodRatios, _, _) => analysis::likelihood_ratios(&confusion, confidence),
                (SecondaryStatistic::Between, Some(positive), Some(negative)) => {
                    analysis::between(&scored, positive, negative, confidence)
                }
                (SecondaryStatistic::Between, _, _) => json!({ "state": "not_estimable", "why": "no pair named" }),
            };
            value["id"] = json!(rule.id);
            value["statistic"] = json!(match rule.statistic {
                SecondaryStatistic::Calibration => "calibration",
                SecondaryStatistic::LikelihoodRatios => "likelihood_ratios",
                SecondaryStatistic::Between => "auc_between",
            });
            value["claim"] = json!(rule.claim);
            value
        })
        .collect();
    let (unique, left_out) = analysis::first_of_equal_pixels(&all.cases);
    let mut without_duplicates = analysis::beside(&Sample::new(unique), threshold, confidence);
    without_duplicates["id"] = json!("first_of_equal_pixels");
    without_duplicates["left_out"] = json!(left_out);
    let mut without_missing = analysis::beside(&scored, threshold, confidence);
    without_missing["id"] = json!("without_missing");
    without_missing["left_out"] = json!(all.cases.len() - scored.cases.len());

    let blocking = subgroups.iter().filter(|subgroup| subgroup["action"] == "block");
    let results: Vec<&str> =
        endpoints.iter().chain(&leakage).chain(blocking).filter_map(|check| check["result"].as_str()).collect();
    let mut value = json!({
        "v": 1,
        "kind": "verdict",
        "gate": { "version": GATE_VERSION },
        "protocol": {
            "id": protocol.id,
            "digest": evaluation.protocol.digest().hex(),
            "intended_use": protocol.intended_use,
        },
        "package": {
            "family": evaluation.subject.family,
            "version": evaluation.subject.version,
            "root": evaluation.subject.root.hex(),
        },
        "set": set_json(evaluation),
        "look": {
            "number": evaluation.look, "budget": protocol.looks,
            "alpha": fixed(evaluation.protocol.alpha_of_look(evaluation.look), 12),
            "confidence": text(confidence.level()),
        },
        "seed": evaluation.protocol.seed().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "operating_point": { "name": protocol.operating_point.name, "threshold": text(threshold) },
        "cases": cases_json(evaluation),
        "endpoints": endpoints,
        "secondary": secondary,
        "subgroups": subgroups,
        "analyses": [without_missing, without_duplicates],
        "leakage": leakage,
        "suites_not_run":
            protocol.suite_not_run.iter().map(|s| json!({ "id": s.id, "why": s.why })).collect::<Vec<_>>(),
        "aggregates": {
            "confusion": {
                "true_positives": confusion.true_positives, "false_positives": confusion.false_positives,
                "true_negatives": confusion.true_negatives, "false_negatives": confusion.false_negatives,
            },
            "roc": analysis::roc(&all, protocol.aggregates.roc_points_max).map_err(aggregate("ROC curve"))?,
            "reliability": reliability,
        },
        "limits": protocol.limits,
        "result": conclude(&results).as_str(),
    });
    if let Some(rule) = &protocol.selective {
        let plan = self::plan(evaluation, "selective", confidence);
        value["selective"] = selective::analysis(&scored, rule, threshold, plan).map_err(aggregate("abstention"))?;
    }
    Ok(Verdict::from_value(&value)?)
}

fn plan<'a>(evaluation: &Evaluation, label: &'a str, confidence: Confidence) -> BootstrapPlan<'a> {
    let replicates = evaluation.protocol.text().bootstrap.replicates;
    BootstrapPlan { replicates, seed: evaluation.protocol.seed(), label, confidence }
}

fn endpoints(evaluation: &Evaluation, sample: &Sample<'_>, confidence: Confidence) -> Result<Vec<Value>, JudgeError> {
    let threshold = evaluation.protocol.text().operating_point.threshold;
    let mut confirmatory = true;
    let mut values = Vec::new();
    for endpoint in &evaluation.protocol.text().endpoint {
        let fault = |source| JudgeError::Endpoint { id: endpoint.id.clone(), source };
        let figure_of = |method| figure(sample, endpoint.statistic, method, threshold, confidence).map_err(fault);
        let deciding = figure_of(endpoint.interval)?;
        let beside: Vec<Value> = other_methods(endpoint)
            .into_iter()
            .map(|method| Ok(analysis::interval_json(analysis::method_word(method), &figure_of(method)?.interval)))
            .collect::<Result<_, JudgeError>>()?;
        let resampled =
            analysis::resampled(sample, endpoint.statistic, threshold, plan(evaluation, &endpoint.id, confidence))
                .map_err(fault)?;
        let point_holds = deciding.estimate >= endpoint.point_min;
        let lower_holds = endpoint.lower_min.is_none_or(|least| deciding.interval.low >= least);
        let result = match (point_holds, lower_holds) {
            (true, true) => "pass",
            (true, false) => "inconclusive",
            (false, _) => "fail",
        };
        let mut value = analysis::figure_json(&deciding);
        value["id"] = json!(endpoint.id);
        value["statistic"] = json!(analysis::statistic_word(endpoint.statistic));
        value["unit"] = json!("image");
        value["intervals_beside"] = json!(beside);
        // What a page shows beside the figure: the usual interval, whatever error this look spends.
        let usual =
            figure(sample, endpoint.statistic, endpoint.interval, threshold, Confidence::NINETY_FIVE).map_err(fault)?;
        value["ci95"] = analysis::interval_json(usual.method, &usual.interval);
        value["bootstrap"] = resampled;
        value["point_min"] = json!(text(endpoint.point_min));
        if let Some(least) = endpoint.lower_min {
            value["lower_min"] = json!(text(least));
        }
        if let Some(goal) = endpoint.goal {
            value["goal"] = json!(text(goal));
            value["goal_reached"] = json!(deciding.estimate >= goal);
        }
        value["confirmatory"] = json!(confirmatory);
        value["result"] = json!(result);
        confirmatory &= result == "pass";
        values.push(value);
    }
    Ok(values)
}

/// The intervals reported beside the deciding one.
fn other_methods(endpoint: &Endpoint) -> Vec<IntervalMethod> {
    let all: &[IntervalMethod] = match endpoint.statistic {
        Statistic::Auc => &[IntervalMethod::Delong, IntervalMethod::Obuchowski],
        Statistic::Sensitivity | Statistic::Specificity => {
            &[IntervalMethod::Wilson, IntervalMethod::ClusteredWilson, IntervalMethod::ClopperPearson]
        }
    };
    all.iter().copied().filter(|method| *method != endpoint.interval).collect()
}

fn subgroup(all: &Sample<'_>, rule: &Subgroup, threshold: f64, confidence: Confidence) -> Vec<Value> {
    let strata = analysis::strata(all, &rule.by);
    let mut values = Vec::new();
    for (name, members) in &strata {
        let within = Sample::new(members.iter().copied());
        let rest = Sample::new(strata.iter().filter(|(other, _)| *other != name).flat_map(|(_, cases)| cases).copied());
        for statistic in [Statistic::Sensitivity, Statistic::Specificity] {
            let of = |sample: &Sample<'_>| {
                figure(sample, statistic, IntervalMethod::ClusteredWilson, threshold, confidence).ok()
            };
            let Some(own) = of(&within) else { continue };
            let mut value = analysis::figure_json(&own);
            let action = match rule.action {
                SubgroupAction::Label => "label",
                SubgroupAction::Block => "block",
            };
            value["by"] = json!(rule.by);
            value["value"] = json!(name);
            value["statistic"] = json!(analysis::statistic_word(statistic));
            value["action"] = json!(action);
            value["min_n"] = json!(rule.min_n);
            value["max_gap"] = json!(text(rule.max_gap));
            value["result"] = json!(match of(&rest) {
                _ if own.n < rule.min_n => "too_few",
                None => "no_rest",
                Some(rest) => {
                    value["difference_to_rest"] = json!(text(own.estimate - rest.estimate));
                    if own.interval.high < rest.estimate - rule.max_gap { "fail" } else { "pass" }
                }
            });
            values.push(value);
        }
    }
    values
}

/// Overlap of the set with what the package declares as its training data.
fn leakage(evaluation: &Evaluation) -> Vec<Value> {
    let check = |id: &str, overlap: Option<usize>| match overlap {
        None => json!({ "id": id, "result": "not_measured", "why": "the package declares no training manifest" }),
        Some(count) => json!({ "id": id, "overlap": count, "result": if count == 0 { "pass" } else { "fail" } }),
    };
    let training = evaluation.subject.training.as_ref();
    let patients: BTreeSet<&str> = evaluation.cases.iter().map(|case| case.patient.as_str()).collect();
    let shared = |t: &crate::look::TrainingManifest| patients.iter().filter(|p| t.patients.contains(**p)).count();
    let files = |t: &crate::look::TrainingManifest| evaluation.files.iter().filter(|f| t.files.contains(f)).count();
    vec![check("patient_overlap", training.map(shared)), check("file_overlap", training.map(files))]
}

fn set_json(evaluation: &Evaluation) -> Value {
    let set = &evaluation.set;
    let probes: Vec<Value> =
        set.shortcut_probe.iter().map(|(input, auc)| json!({ "input": input, "auc": auc })).collect();
    json!({
        "name": set.name, "version": set.version, "root": set.root.hex(), "datasheet": set.datasheet.hex(),
        "class": set.class.letter(), "class_reasons": set.class_reasons, "shortcut_probes": probes,
        "items": set.items, "patients": set.patients,
    })
}

fn cases_json(evaluation: &Evaluation) -> Value {
    let (mut scored, mut failed) = (0_u64, 0_u64);
    let mut refusals = BTreeMap::<&str, u64>::new();
    for case in &evaluation.cases {
        match &case.outcome {
            Outcome::Scored { .. } => scored += 1,
            Outcome::Failed => failed += 1,
            Outcome::NotEvaluated(code) => *refusals.entry(code).or_default() += 1,
        }
    }
    let positives = evaluation.cases.iter().filter(|case| case.positive).count();
    json!({
        "n": evaluation.cases.len(), "positives": positives, "negatives": evaluation.cases.len() - positives,
        "evaluated": scored, "failed": failed, "not_evaluated": refusals.values().sum::<u64>(),
        "refusal_codes": refusals.iter().map(|(code, n)| json!({ "code": code, "n": n })).collect::<Vec<_>>(),
        "missing_counted_as": "wrong",
    })
}

/// Digits of every figure in a verdict; named here so that a reader of the gate finds it.
const _: () = assert!(DIGITS == 6);
