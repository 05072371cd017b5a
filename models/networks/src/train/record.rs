//! What a training run leaves behind: weights, the record that ties them to their causes, answers on the tuning part,
//! features for the guard. No patient's code is in the record.

use super::figures::Figure;
use super::recipe::Recipe;
use serde::{Deserialize, Serialize};
use vidimus_log::Digest;

/// A training run's causes and course.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// The recipe, whole.
    pub recipe: Recipe,
    /// The data.
    pub data: DataFacts,
    /// Digest of the trunk's file.
    pub trunk_sha256: Digest,
    /// Digest of the resulting weights.
    pub weights_sha256: Digest,
    /// The code that ran, as the caller names it.
    pub code_version: String,
    /// The course.
    pub curve: Vec<CurvePoint>,
    /// Figures of the final weights on the tuning part.
    pub tuning: TuningFigures,
}

/// The data of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFacts {
    /// Over the digests of the train split's files, by name.
    pub sha256: Digest,
    /// Images learnt from.
    pub learning_images: usize,
    /// Their patients.
    pub learning_patients: usize,
    /// Images kept apart.
    pub tuning_images: usize,
    /// Their patients.
    pub tuning_patients: usize,
}

/// A point of the course.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Steps done.
    pub step: usize,
    /// Mean loss since the last point.
    pub loss: f64,
    /// The last block's rate.
    pub learning_rate: f64,
    /// Mean norm of the gradients since the last point, before clipping.
    pub gradient_norm: f64,
    /// Area of the finding on the tuning part, with the averaged weights, where it was computed.
    pub tuning_auc: Option<f64>,
}

/// Figures on the tuning part. They flatter: the test split differs from the train split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TuningFigures {
    /// The finding against the other classes.
    pub finding_auc: Option<Figure>,
    /// At even odds.
    pub sensitivity: Option<f64>,
    /// At even odds.
    pub specificity: Option<f64>,
    /// The finding's first class against its others, among images of the finding.
    pub subtype_auc: Option<Figure>,
    /// Mean distance of the finding's probability from the outcome, in ten bins of probability.
    pub calibration_error: f64,
}

/// The answer to one image of the tuning part.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct TuningAnswer {
    /// The member's name.
    pub file: String,
    /// The patient's code in the data.
    pub patient: String,
    /// The class.
    pub class: String,
    /// The final network's logits.
    pub logits: Vec<f32>,
}

/// Features of images as the final network sees them, for the guard to compare with.
#[derive(Clone, PartialEq)]
pub struct Reference {
    /// Position of each image's class.
    pub classes: Vec<usize>,
    /// Whether each image is of the tuning part (not learnt from).
    pub tuning: Vec<bool>,
    /// One row an image.
    pub features: Vec<Vec<f32>>,
}

/// All that a run leaves.
pub struct Trained {
    /// Trunk and head, safetensors, f32.
    pub weights: Vec<u8>,
    /// The record.
    pub record: TrainingRecord,
    /// Answers on the tuning part.
    pub tuning: Vec<TuningAnswer>,
    /// For the guard.
    pub reference: Reference,
}
