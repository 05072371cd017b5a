//! The typed states of a model: a candidate runs for evaluation only; a released model reads for people.
//!
//! Admission (ARCHITECTURE.md, "One model, all the way"): every file's digest is computed again, and the log must hold, each proven under the
//! signed checkpoint: the registration of this package root, an evaluation of it that passed, and a decision to release that cites both
//! and lists two signatures. A later withdrawal or suspension wins over every release.
//! Errors: [`AdmissionError`] names what is missing.

use candle_core::Tensor;
use serde::Deserialize;
use vidimus_log::{
    Body, Digest, Entry, Receipt,
    body::{Decision, Verdict},
    note::VerifyingKey,
    values::Sha256,
};
use vidimus_networks::{Classifier, ClassifierConfig, Forward};

use crate::{
    bundle::{Bundle, BundleError},
    explain::Saliency,
    guard::{AcceptedImage, GuardReference, GuardScore},
    reading::{Interval, ModelFacts, NotAProbability, OperatingIntervals, Probability},
    read::ReadError,
};

/// The precision profile that this build computes.
const PRECISION: &str = "f32-candle";
/// The architecture that this build knows.
const ARCHITECTURE: &str = "efficientnet-lite0-two-stage-head";

/// A bundle whose files agree with its package: it runs, but only for evaluation.
pub struct Candidate {
    bundle: Bundle,
    classifier: Classifier,
    guard: GuardReference,
}

/// What the network said about one image.
#[derive(Clone, Debug)]
pub struct Scores {
    /// Logits in the order of the classes.
    pub logits: Vec<f32>,
    /// Probabilities of the classes; they add up to 1.
    pub classes: Vec<f64>,
    /// Probabilities of the findings, in the package's order.
    pub findings: Vec<Probability>,
}

impl Candidate {
    /// Loads the network and the guard's reference of a bundle.
    pub fn load(bundle: Bundle) -> Result<Self, BundleError> {
        let package = bundle.package();
        let invalid = |what: String| BundleError::Invalid { path: "package.toml".into(), what };
        if package.precision != PRECISION {
            return Err(invalid(format!("precision: this build computes {PRECISION}, found {}", package.precision)));
        }
        if package.architecture != ARCHITECTURE {
            return Err(invalid(format!("architecture: this build knows {ARCHITECTURE}, found {}", package.architecture)));
        }
        let config = ClassifierConfig { classes: package.classes.len() };
        let classifier = Classifier::load(bundle.file(&package.weights)?, &config)
            .map_err(|error| BundleError::Invalid { path: package.weights.clone(), what: error.to_string() })?;
        let guard = GuardReference::load(&package.guard, bundle.file(&package.guard)?)?;
        Ok(Self { bundle, classifier, guard })
    }

    /// The bundle.
    pub const fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Runs the network on an input `[1, C, side, side]`.
    pub fn score(&self, input: &Tensor) -> Result<(Scores, Forward), ReadError> {
        let forward = self.classifier.forward(input)?;
        let logits = forward.logits.flatten_all()?.to_vec1::<f32>()?;
        let classes = softmax(&logits, self.bundle.package().temperature);
        let findings = self
            .bundle
            .package()
            .findings
            .iter()
            .map(|finding| self.finding_probability(&finding.classes, &classes))
            .collect::<Result<_, _>>()?;
        Ok((Scores { logits, classes, findings }, forward))
    }

    fn finding_probability(&self, names: &[String], classes: &[f64]) -> Result<Probability, NotAProbability> {
        let sum = self
            .bundle
            .package()
            .classes
            .iter()
            .zip(classes)
            .filter(|(class, _)| names.contains(&class.name))
            .map(|(_, probability)| probability)
            .sum::<f64>();
        // Three rounded shares may add up to a last digit more than 1.
        Probability::new(if sum > 1.0 && sum < 1.0 + 1e-9 { 1.0 } else { sum })
    }

    /// Distance of an input from the training films.
    pub(crate) fn distance(&self, input: &Tensor) -> Result<GuardScore, candle_core::Error> {
        Ok(self.guard.score(&self.classifier.guard_features(input)?))
    }

    /// Grad-CAM of the first finding's log-odds.
    pub(crate) fn explain(
        &self,
        forward: &Forward,
        scores: &Scores,
        image: &AcceptedImage,
    ) -> Result<Saliency, ReadError> {
        let package = self.bundle.package();
        let inside: Vec<bool> = package
            .classes
            .iter()
            .map(|class| package.findings.first().is_some_and(|finding| finding.classes.contains(&class.name)))
            .collect();
        let weights = log_odds_gradient(&scores.classes, &inside);
        let (grid, values) = self.classifier.grad_cam(forward, &weights)?;
        let method = format!("{}/{}", package.saliency.method, package.saliency.version);
        let cut = package.preparation.cut_per_side;
        Ok(Saliency::new(method, grid, values, cut, [image.display.rows, image.display.columns]))
    }
}

/// Softmax of logits over the temperature, in f64, by the pinned `exp`.
fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let scaled: Vec<f64> = logits.iter().map(|&logit| f64::from(logit) / temperature).collect();
    let largest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scaled.iter().map(|&value| libm::exp(value - largest)).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// Gradient of ln(p / (1 - p)) to the logits, p being the summed probability of the classes `inside`:
/// each class by its share of its own side, positive inside and negative outside.
fn log_odds_gradient(classes: &[f64], inside: &[bool]) -> Vec<f32> {
    let side = |which: bool| -> f64 {
        classes.iter().zip(inside).filter(|&(_, &is)| is == which).map(|(probability, _)| probability).sum()
    };
    let (present, absent) = (side(true).max(f64::MIN_POSITIVE), side(false).max(f64::MIN_POSITIVE));
    let share = |(probability, &is): (&f64, &bool)| if is { probability / present } else { -probability / absent };
    classes.iter().zip(inside).map(|pair| share(pair) as f32).collect()
}

/// What the log holds about a package: the input of admission. Receipts are of this site's log.
pub struct ReleaseEvidence<'a> {
    /// The log's key.
    pub key: &'a VerifyingKey,
    /// Receipt of `model_registered`.
    pub registered: &'a Receipt,
    /// Receipt of the `evaluation` that the decision cites.
    pub evaluation: &'a Receipt,
    /// The verdict whose digest that evaluation holds.
    pub verdict: &'a [u8],
    /// Receipts of every `release_decision` of the log that cites the registration, in the order of the log.
    pub decisions: &'a [Receipt],
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
    /// The set.
    pub set: String,
}

/// A model that may read at this site.
pub struct ReleasedModel {
    candidate: Candidate,
    figures: Vec<OperatingFigures>,
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
    #[error("model admission: a file differs from the released package: package root expected {expected}, found {found}")]
    OtherPackage {
        /// Root in the log.
        expected: Digest,
        /// Root of the files.
        found: Digest,
    },
    /// The weights differ.
    #[error("model admission: weights digest expected {expected}, found {found}: the weights were changed after their release")]
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
        /// `withdraw` or `suspend`.
        decision: &'static str,
        /// Index of the entry.
        index: u64,
    },
    /// The decision or evaluation does not say what it must.
    #[error("model admission: {0}")]
    Evidence(String),
}

fn evidence(what: impl Into<String>) -> AdmissionError {
    AdmissionError::Evidence(what.into())
}

impl ReleasedModel {
    /// Admits a candidate against the log's own evidence. There is no other way to make a released model.
    pub fn admit(candidate: Candidate, held: &ReleaseEvidence<'_>) -> Result<Self, AdmissionError> {
        let registered = proven(held.registered, held.key, "the registration")?;
        let evaluation = proven(held.evaluation, held.key, "the evaluation")?;
        registration_fits(&candidate.bundle, &registered)?;
        let mut release = None;
        for receipt in held.decisions {
            let entry = proven(receipt, held.key, "a release decision")?;
            let Body::ReleaseDecision(decision) = &entry.body else {
                return Err(evidence("an entry given as a release decision is of another kind"));
            };
            if !cites(&entry, "model", held.registered) {
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
        if !cites(&entry, "evaluation", held.evaluation) {
            return Err(evidence("the release decision cites another evaluation"));
        }
        if decision.signoffs.len() < 2 {
            return Err(evidence("the release decision lists fewer than two signatures"));
        }
        let figures = passed(&candidate.bundle, &evaluation, held)?;
        Ok(Self {
            candidate,
            figures,
            decision: receipt.clone(),
            registered: held.registered.clone(),
            deployment: Deployment(decision.scope.to_string()),
        })
    }

    /// The model.
    pub const fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// Figures of the findings' operating points, in the package's order.
    pub fn figures(&self) -> &[OperatingFigures] {
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
        let bundle = &self.candidate.bundle;
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

/// The weights and the root of the files against the registration; weights first, as theirs is the plainest name for a changed model.
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

fn cites(entry: &Entry, relation: &str, of: &Receipt) -> bool {
    entry.refs.iter().any(|reference| {
        reference.rel == relation && reference.index == of.index && reference.leaf == of.leaf
    })
}

/// The part of a verdict that a reading needs; the whole is the gate's.
#[derive(Deserialize)]
struct VerdictFacts {
    package_root: String,
    result: String,
    set: SetFacts,
    operating_points: Vec<PointFacts>,
}

#[derive(Deserialize)]
struct SetFacts {
    name: String,
    version: String,
    cases: u64,
}

#[derive(Deserialize)]
struct PointFacts {
    finding: String,
    name: String,
    threshold: String,
    sensitivity: ProportionFacts,
    specificity: ProportionFacts,
}

#[derive(Deserialize)]
struct ProportionFacts {
    value: String,
    low: String,
    high: String,
}

impl ProportionFacts {
    fn figures(&self) -> Result<(f64, Interval), AdmissionError> {
        let number = |text: &str| text.parse::<f64>().map_err(|_| evidence(format!("verdict: {text} is no decimal")));
        Ok((number(&self.value)?, Interval { low: number(&self.low)?, high: number(&self.high)? }))
    }
}

/// The evaluation passed, its verdict is the one given and is about this package; the figures of each finding's operating point.
fn passed(
    bundle: &Bundle,
    entry: &Entry,
    held: &ReleaseEvidence<'_>,
) -> Result<Vec<OperatingFigures>, AdmissionError> {
    let Body::Evaluation(evaluation) = &entry.body else {
        return Err(evidence("the entry given as the evaluation is of another kind"));
    };
    if !cites(entry, "model", held.registered) {
        return Err(evidence("the evaluation is of another model"));
    }
    if evaluation.verdict != Verdict::Pass {
        return Err(evidence(format!("the evaluation's verdict is {}", evaluation.verdict.as_str())));
    }
    if Sha256(Digest::of(held.verdict)) != evaluation.results {
        return Err(evidence("verdict.json differs from the digest in the evaluation's entry"));
    }
    let verdict: VerdictFacts =
        serde_json::from_slice(held.verdict).map_err(|error| evidence(format!("verdict.json: {error}")))?;
    if verdict.package_root != bundle.root().hex() || verdict.result != "pass" {
        return Err(evidence("verdict.json is of another package, or did not pass"));
    }
    let set = format!("{} {} ({} images)", verdict.set.name, verdict.set.version, verdict.set.cases);
    let figures = |finding: &crate::FindingSpec| {
        let point = verdict
            .operating_points
            .iter()
            .find(|point| point.finding == finding.id && point.name == finding.operating_point.name)
            .ok_or_else(|| evidence(format!("verdict.json has no figures for {}", finding.id)))?;
        let same = point.threshold.parse::<f64>().is_ok_and(|t| t.total_cmp(&finding.operating_point.threshold).is_eq());
        if !same {
            return Err(evidence(format!("verdict.json has another threshold for {}", finding.id)));
        }
        let (sensitivity, sensitivity_interval) = point.sensitivity.figures()?;
        let (specificity, specificity_interval) = point.specificity.figures()?;
        let ci95 = OperatingIntervals { sensitivity: sensitivity_interval, specificity: specificity_interval };
        Ok(OperatingFigures { sensitivity, specificity, ci95, set: set.clone() })
    };
    bundle.package().findings.iter().map(figures).collect()
}
