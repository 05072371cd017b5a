//! A reading: findings with their operating points, explanation, uncertainty and digests.
//! A probability never travels without its operating point and the figures of the set on which that was measured.

use serde::Serialize;
use vidimus_log::Digest;

use crate::{
    bundle::Coding,
    explain::{Region, Saliency, badge::Badge},
    measure::Spread,
};

/// A number within 0..=1 that is meant as a probability.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Probability(f64);

/// The number is not within 0..=1.
#[derive(Debug, thiserror::Error)]
#[error("{value} is not a probability")]
pub struct NotAProbability {
    /// The number.
    pub value: f64,
}

impl Probability {
    /// `value` must be finite and within 0..=1.
    pub fn new(value: f64) -> Result<Self, NotAProbability> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err(NotAProbability { value }) }
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// A figure with its 95 % interval.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A threshold and what it was measured to do, on which set.
#[derive(Clone, Debug, Serialize)]
pub struct OperatingPoint {
    /// Name.
    pub name: String,
    /// Present at this probability and above.
    pub threshold: f64,
    /// Share of images with the finding that are called present.
    pub sensitivity: f64,
    /// Share of images without it that are called absent.
    pub specificity: f64,
    /// 95 % intervals of the two.
    pub ci95: OperatingIntervals,
    /// The set, its version and size.
    pub set: String,
}

/// 95 % intervals of sensitivity and specificity.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OperatingIntervals {
    /// Of the sensitivity.
    pub sensitivity: Interval,
    /// Of the specificity.
    pub specificity: Interval,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Name in protocols and records.
    pub id: String,
    /// Its code.
    pub code: Coding,
    /// Where it is.
    pub body_site: Coding,
    /// The calibrated probability.
    pub probability: Probability,
    /// The threshold and its figures.
    pub operating_point: OperatingPoint,
    /// `present` or `absent` at the operating point.
    pub decision: &'static str,
    /// Where in the image the explanation has its weight.
    pub regions: Vec<Region>,
}

/// A measure in a UCUM unit.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// Name.
    pub name: String,
    /// Value.
    pub value: f64,
    /// UCUM unit.
    pub unit: String,
    /// How far it may be off, and by which model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncertainty: Option<Spread>,
}

/// Something a reader should know, as a code and a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Code.
    pub code: String,
    /// Sentence without patient data.
    pub text: String,
}

/// How well probabilities fitted what was there, on the set of the operating point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Expected calibration error.
    pub error: f64,
    /// Slope of the calibration line; above 1 probabilities are too cautious, below 1 too bold.
    pub slope: Option<f64>,
}

impl Calibration {
    /// In words.
    pub fn sentence(&self) -> String {
        let slope = self.slope.map_or(String::new(), |slope| {
            let word = if slope > 1.0 { "too cautious" } else { "too bold" };
            format!(", slope {slope:.2} (probabilities are {word})")
        });
        format!("expected error {:.3}{slope}", self.error)
    }
}

/// What the reading is not sure of.
#[derive(Clone, Debug, Serialize)]
pub struct Uncertainty {
    /// Distance from the training data; higher is stranger.
    pub ood_score: f64,
    /// Above this an image is not evaluated.
    pub ood_limit: f64,
    /// Probability of the same image mirrored left to right, in the order of the findings.
    pub mirrored_probability: Vec<Probability>,
    /// Largest change of a probability under the mirroring.
    pub mirrored_spread: f64,
    /// Smallest distance of a probability from its threshold.
    pub margin: f64,
    /// How well probabilities fitted on the operating point's set.
    pub calibration: Option<Calibration>,
    /// Share of the explanation's weight on the outer tenth of the image, where no lung is.
    pub saliency_border_share: f64,
    /// Sentences.
    pub notes: Vec<Note>,
}

/// Which model answered.
#[derive(Clone, Debug, Serialize)]
pub struct ModelFacts {
    /// Model family.
    pub id: String,
    /// Version.
    pub version: String,
    /// Digest of the weights file, checked before this reading.
    pub weights_sha256: Digest,
    /// Precision profile.
    pub precision: String,
    /// Package root.
    pub package_root: Digest,
    /// Deployment mode at this site.
    pub mode: String,
}

/// Digests of what went in and what came out. In the log they stand as salted commitments only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Digests {
    /// Of the files of the study as received, in the order of reading.
    pub input: Digest,
    /// Of the tensors that the network saw.
    pub preprocessing: Digest,
    /// Of the logits and probabilities.
    pub output: Digest,
    /// Of the explanation, its method and its parameters.
    pub saliency: Digest,
}

/// A reading of one study.
#[derive(Clone)]
pub struct Reading {
    /// The model.
    pub model: ModelFacts,
    /// Findings.
    pub findings: Vec<Finding>,
    /// Measures.
    pub measurements: Vec<Measurement>,
    /// Quality of the input.
    pub quality: Vec<Note>,
    /// What it is not sure of.
    pub uncertainty: Uncertainty,
    /// Digests.
    pub digests: Digests,
    /// The explanation of the first finding, on the image that decided it.
    pub saliency: Saliency,
    /// How far that explanation can be trusted.
    pub badge: Badge,
    /// Place of that image among the accepted ones.
    pub image: usize,
}
