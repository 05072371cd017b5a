//! Admission: from a candidate to a model that may read at this site.
//!
//! ARCHITECTURE.md, "One model, all the way": every file's digest is computed again, and the log must hold, each proven
//! under the signed checkpoint: the registrations of this package root, an evaluation of it, and a decision to release
//! that cites both and lists two signatures. A withdrawal or suspension wins over every release.
//! Errors: [`AdmissionError`] names what is missing or what differs.

use serde::Deserialize;
use vidimus_log::{
    Body, Digest, Entry, Receipt, Ref,
    body::{Decision, RolloutState, Verdict},
    note::VerifyingKey,
    values::Sha256,
};

use crate::{
    bundle::{Bundle, BundleError},
    model::Candidate,
    reading::{Calibration, Interval, ModelFacts, OperatingIntervals},
};

/// What the log holds about a package: the input of admission. Receipts are of this site's log.
pub struct ReleaseEvidence<'a> {
    /// The log's key.
    pub key: &'a VerifyingKey,
    /// Receipts of every `model_registered` of this package root, in the order of the log.
    pub registrations: &'a [Receipt],
    /// Receipt of the `evaluation` that the newest decision cites.
    pub evaluation: &'a Receipt,
    /// The verdict whose digest that evaluation holds.
    pub verdict: &'a [u8],
    /// Receipts of every `release_decision` of the log that cites one of the registrations, in the order of the log.
    pub decisions: &'a [Receipt],
    /// Receipts of every `rollout` that cites one of the decisions, in the order of the log.
    pub rollouts: &'a [Receipt],
}

/// How a model is deployed at a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment(String);

impl Deployment {
    /// The mode: `demonstration`, `shadow`, `canary` or `active`.
    pub fn mode(&self) -> &str {
        &self.0
    }
}

/// Figures of an operating point, from the verdict.
#[derive(Clone, Debug)]
pub struct OperatingFigures {
    /// Sensitivity.
    pub sensitivity: f64,
    /// Specificity.
    pub specificity: f64,
    /// Their intervals.
    pub ci95: OperatingIntervals,
    /// How the probabilities fitted there, where the verdict says it.
    pub calibration: Option<Calibration>,
    /// The set.
    pub set: String,
}

/// A model that may read at this site.
pub struct ReleasedModel {
    candidate: Candidate,
    figures: OperatingFigures,
    decision: Receipt,
    registered: Receipt,
    deployment: Deployment,
}

/// A model is not admitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionError {
    /// A proof does not hold.
    #[error("model admission: the log's proof of {what} does not verify: {why}")]
    Proof {
        /// Which entry.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The bundle is not the one that was registered.
    #[error(
        "model admission: a file differs from the released package: package root expected {expected}, found {found}"
    )]
    OtherPackage {
        /// Root in the log.
        expected: Digest,
        /// Root of the files.
        found: Digest,
    },
    /// The weights differ.
    #[error(
        "model admission: weights digest expected {expected}, found {found}: the weights were changed after their release"
    )]
    OtherWeights {
        /// Digest in the log.
        expected: Digest,
        /// Digest of the file.
        found: Digest,
    },
    /// No decision releases it.
    #[error("model admission: the log holds no decision that releases this package at this site")]
    NoDecision,
    /// It was withdrawn or suspended.
    #[error("model admission: entry {index} of the log says {decision}: the package may not read here")]
    Withdrawn {
        /// `withdraw`, `suspend`, `off` or `recalled`.
        decision: &'static str,
        /// Index of the entry.
        index: u64,
    },
    /// The decision or evaluation does not say what it must.
    #[error("model admission: {0}")]
    Evidence(String),
    /// A file of the package is missing or not what it should be.
    #[error("model admission: {0}")]
    Bundle(#[from] BundleError),
}

fn evidence(what: impl Into<String>) -> AdmissionError {
    AdmissionError::Evidence(what.into())
}

impl ReleasedModel {
    /// Admits a bundle against the log's own evidence. There is no other way to make a released model.
    /// Digests are judged before the weights are loaded: a changed file is named as changed, not as unreadable.
    pub fn admit(bundle: Bundle, held: &ReleaseEvidence<'_>) -> Result<Self, AdmissionError> {
        for receipt in held.registrations {
            registration_fits(&bundle, &proven(receipt, held.key, "a registration")?)?;
        }
        let registered = held.registrations.last().ok_or(AdmissionError::NoDecision)?;
        let evaluation = proven(held.evaluation, held.key, "the evaluation")?;
        let mut release = None;
        for receipt in held.decisions {
            let entry = proven(receipt, held.key, "a release decision")?;
            let Body::ReleaseDecision(decision) = &entry.body else {
                return Err(evidence("an entry given as a release decision is of another kind"));
            };
            if !cites(&entry, "model", held.registrations) {
                return Err(evidence("a release decision cites another model"));
            }
            match decision.decision {
                Decision::Approve => release = Some((receipt, entry)),
                Decision::Withdraw | Decision::Suspend => {
                    let decision = decision.decision.as_str();
                    return Err(AdmissionError::Withdrawn { decision, index: receipt.index });
                }
                Decision::Reject => {}
            }
        }
        let (receipt, entry) = release.ok_or(AdmissionError::NoDecision)?;
        let Body::ReleaseDecision(decision) = &entry.body else { return Err(AdmissionError::NoDecision) };
        if !cites(&entry, "evaluation", std::slice::from_ref(held.evaluation)) {
            return Err(evidence("the release decision cites another evaluation"));
        }
        if decision.signoffs.len() < 2 {
            return Err(evidence("the release decision lists fewer than two signatures"));
        }
        in_use(held)?;
        let figures = figures(&bundle, &evaluation, &decision.scope, held)?;
        Ok(Self {
            candidate: Candidate::load(bundle)?,
            figures,
            decision: receipt.clone(),
            registered: registered.clone(),
            deployment: Deployment(decision.scope.to_string()),
        })
    }

    /// The model.
    pub const fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// Figures of the operating point.
    pub const fn figures(&self) -> &OperatingFigures {
        &self.figures
    }

    /// Receipt of the decision that released it.
    pub const fn decision(&self) -> &Receipt {
        &self.decision
    }

    /// Receipt of its registration.
    pub const fn registered(&self) -> &Receipt {
        &self.registered
    }

    /// Its deployment at this site.
    pub const fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// What a reading says about its model.
    pub fn facts(&self) -> ModelFacts {
        let bundle = self.candidate.bundle();
        let package = bundle.package();
        ModelFacts {
            id: package.name.clone(),
            version: package.version.clone(),
            weights_sha256: bundle.digest(&package.weights).unwrap_or_else(|_| bundle.root()),
            precision: package.precision.clone(),
            package_root: bundle.root(),
            mode: self.deployment.0.clone(),
        }
    }
}

fn proven(receipt: &Receipt, key: &VerifyingKey, what: &'static str) -> Result<Entry, AdmissionError> {
    receipt.verify(key).map_err(|error| AdmissionError::Proof { what, why: error.to_string() })?;
    Entry::parse(&receipt.entry).map_err(|error| AdmissionError::Proof { what, why: error.to_string() })
}

/// The weights and the root of the files against the registration; weights first, as theirs is the plainest name for a
/// changed model.
fn registration_fits(bundle: &Bundle, entry: &Entry) -> Result<(), AdmissionError> {
    let Body::ModelRegistered(registered) = &entry.body else {
        return Err(evidence("the entry given as the registration is of another kind"));
    };
    let weights = bundle.digest(&bundle.package().weights).map_err(|error| evidence(error.to_string()))?;
    if Sha256(weights) != registered.weights {
        return Err(AdmissionError::OtherWeights { expected: registered.weights.0, found: weights });
    }
    if Sha256(bundle.root()) != registered.package {
        return Err(AdmissionError::OtherPackage { expected: registered.package.0, found: bundle.root() });
    }
    Ok(())
}

/// Whether the entry refers, in this relation, to one of these.
fn cites(entry: &Entry, relation: &str, of: &[Receipt]) -> bool {
    let names = |one: &Receipt| {
        let refers = |named: &Ref| named.rel == relation && named.index == one.index && named.leaf == one.leaf;
        entry.refs.iter().any(refers)
    };
    of.iter().any(names)
}

/// The newest rollout has not taken the model out of use.
fn in_use(held: &ReleaseEvidence<'_>) -> Result<(), AdmissionError> {
    let Some(receipt) = held.rollouts.last() else { return Ok(()) };
    let entry = proven(receipt, held.key, "a rollout")?;
    match &entry.body {
        Body::Rollout(rollout) if matches!(rollout.to, RolloutState::Off | RolloutState::Recalled) => {
            Err(AdmissionError::Withdrawn { decision: rollout.to.as_str(), index: receipt.index })
        }
        Body::Rollout(_) => Ok(()),
        _ => Err(evidence("an entry given as a rollout is of another kind")),
    }
}

/// The part of a verdict that a reading needs; the whole is the gate's.
#[derive(Deserialize)]
struct VerdictFacts {
    package: PackageFacts,
    set: SetFacts,
    operating_point: PointFacts,
    endpoints: Vec<EndpointFacts>,
    #[serde(default)]
    secondary: Vec<SecondaryFacts>,
}

/// A secondary endpoint; only the calibration's figures are taken.
#[derive(Deserialize)]
struct SecondaryFacts {
    statistic: String,
    ece: Option<FigureFacts>,
    line: Option<LineFacts>,
}

#[derive(Deserialize)]
struct FigureFacts {
    estimate: String,
}

#[derive(Deserialize)]
struct LineFacts {
    slope: Option<String>,
}

#[derive(Deserialize)]
struct PackageFacts {
    root: Digest,
}

#[derive(Deserialize)]
struct SetFacts {
    name: String,
    version: String,
    items: u64,
}

#[derive(Deserialize)]
struct PointFacts {
    name: String,
    threshold: String,
}

#[derive(Deserialize)]
struct EndpointFacts {
    statistic: String,
    estimate: Option<String>,
    ci95: Option<IntervalFacts>,
}

#[derive(Deserialize)]
struct IntervalFacts {
    low: String,
    high: String,
}

impl VerdictFacts {
    fn calibration(&self) -> Option<Calibration> {
        let facts = self.secondary.iter().find(|secondary| secondary.statistic == "calibration")?;
        let number = |text: &String| text.parse::<f64>().ok();
        Some(Calibration {
            error: number(&facts.ece.as_ref()?.estimate)?,
            slope: facts.line.as_ref().and_then(|line| number(line.slope.as_ref()?)),
        })
    }

    fn proportion(&self, statistic: &str) -> Result<(f64, Interval), AdmissionError> {
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.statistic == statistic);
        let (estimate, interval) = endpoint
            .and_then(|endpoint| endpoint.estimate.as_ref().zip(endpoint.ci95.as_ref()))
            .ok_or_else(|| evidence(format!("verdict.json has no {statistic} with its 95 % interval")))?;
        let number =
            |text: &str| text.parse::<f64>().map_err(|_| evidence(format!("verdict.json: {text} is no decimal")));
        Ok((number(estimate)?, Interval { low: number(&interval.low)?, high: number(&interval.high)? }))
    }
}

/// The evaluation allows this use, its verdict is the one given and is about this package; the figures of the
/// operating point.
fn figures(
    bundle: &Bundle,
    entry: &Entry,
    scope: &str,
    held: &ReleaseEvidence<'_>,
) -> Result<OperatingFigures, AdmissionError> {
    let Body::Evaluation(evaluation) = &entry.body else {
        return Err(evidence("the entry given as the evaluation is of another kind"));
    };
    if !cites(entry, "model", held.registrations) {
        return Err(evidence("the evaluation is of another model"));
    }
    let enough = match evaluation.verdict {
        Verdict::Pass => true,
        Verdict::Inconclusive => matches!(scope, "shadow" | "demonstration"),
        Verdict::Fail => scope == "shadow",
    };
    if !enough {
        return Err(evidence(format!("a verdict of {} does not allow the use {scope}", evaluation.verdict.as_str())));
    }
    if Sha256(Digest::of(held.verdict)) != evaluation.results {
        return Err(evidence("verdict.json differs from the digest in the evaluation's entry"));
    }
    let verdict: VerdictFacts =
        serde_json::from_slice(held.verdict).map_err(|error| evidence(format!("verdict.json: {error}")))?;
    if verdict.package.root != bundle.root() {
        return Err(evidence("verdict.json is of another package"));
    }
    for finding in &bundle.package().findings {
        let point = &finding.operating_point;
        let threshold = verdict.operating_point.threshold.parse::<f64>();
        let same = threshold.is_ok_and(|threshold| threshold.total_cmp(&point.threshold).is_eq());
        if verdict.operating_point.name != point.name || !same {
            return Err(evidence(format!("verdict.json is about another operating point than {}", point.name)));
        }
    }
    let (sensitivity, sensitivity_interval) = verdict.proportion("sensitivity")?;
    let (specificity, specificity_interval) = verdict.proportion("specificity")?;
    let ci95 = OperatingIntervals { sensitivity: sensitivity_interval, specificity: specificity_interval };
    let set = format!("{} {} ({} images)", verdict.set.name, verdict.set.version, verdict.set.items);
    Ok(OperatingFigures { sensitivity, specificity, ci95, calibration: verdict.calibration(), set })
}
