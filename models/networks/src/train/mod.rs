//! Training: from a recipe, a folder of labelled radiographs and a trunk to weights and their record.
//! Shapes: pictures of any size; a batch `[batch, 1, side, side]`; targets `[batch, classes]`.
//! Only rows of split `train` can enter: the loader has no way to make an item of another row, and reads no other
//! archive. A patient-grouped part of them is kept apart for figures, never for choosing.
//! Randomness: ChaCha8 streams of the recipe's seed, one for each use and each drawn image; so neither threads nor the
//! length of a run change what an image becomes.
//! Errors: [`TrainError`]. Source: the recipe of the project's training study.

mod augment;
mod dataset;
mod figures;
mod optimiser;
mod random;
mod recipe;
mod record;
mod run;

pub use dataset::{Picture, TrainSet};
pub use figures::{Figure, auc};
pub use recipe::{Augmentation, Optimiser, Recipe, Sampling, Schedule};
pub use record::{CurvePoint, DataFacts, Reference, Trained, TrainingRecord, TuningAnswer, TuningFigures};
pub use run::{Progress, train};

use crate::NetworkError;
use std::path::PathBuf;

/// A model cannot be trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The recipe is not TOML of the right keys.
    #[error("recipe: not readable; compare with the recipes that are shipped")]
    RecipeText(#[source] Box<toml::de::Error>),
    /// A recipe's setting makes no sense.
    #[error("recipe: {key}: {problem}")]
    Recipe {
        /// The key.
        key: &'static str,
        /// What it must be.
        problem: String,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The label table cannot be read.
    #[error("labels.csv: not a table with file, split, class, subtype, patient and file_sha256")]
    Labels(#[source] csv::Error),
    /// A member of the archive that may not be used, or a row without its member.
    #[error("{file}: {problem}")]
    Data {
        /// The member's name.
        file: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The loss is no longer a number.
    #[error("step {step}: the loss is not finite; lower optimiser.learning_rate")]
    Diverged {
        /// The step.
        step: usize,
    },
    /// The network or its weights.
    #[error("network")]
    Network(#[from] NetworkError),
    /// The result cannot be written down.
    #[error("weights: cannot be put into a safetensors file")]
    Encode(#[source] safetensors::SafeTensorError),
}

impl From<candle_core::Error> for TrainError {
    fn from(error: candle_core::Error) -> Self {
        Self::Network(error.into())
    }
}
