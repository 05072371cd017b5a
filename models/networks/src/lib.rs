//! Networks as structs with named stages, the one preparation that training and reading share, and training.
//!
//! Shapes: pictures are grey display values 0..=1 of any size; prepared tensors `[N, 1, side, side]`; maps
//! `[N, rows, columns, channels]` as in `vidimus_engine`.
//! Exactness: every sum runs in an order fixed by the shapes, and every random number comes from a seeded ChaCha
//! stream; so a read has the same bits at any batch and thread count, and a training run repeats from its recipe.
//! What is outside that promise: softmax and loss use the platform's `exp` and `log`, and the optimiser follows them,
//! so a training run repeats bit for bit on the same build, and nearly so elsewhere.
//! Errors: [`NetworkError`], [`train::TrainError`]; each names the tensor, row or key at fault.
//! Source: Tan and Le 2019 (EfficientNet); the weights' cards; the recipes beside this crate.

pub mod architecture;
pub mod classifier;
pub mod efficientnet_lite0;
mod error;
pub mod exact;
pub mod import;
pub mod preparation;
pub mod train;

pub use classifier::{ActivationMap, Classifier, ClassifierConfig, Forward, Score, probabilities};
pub use error::NetworkError;
pub use exact::ExactClassifier;
pub use preparation::Preparation;
