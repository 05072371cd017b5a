//! From a released model and a study to a reading: bundle, guard, prepare, infer, explain.
//!
//! The types are the safety case. A [`Candidate`] is a bundle whose files agree with its package; a [`ReleasedModel`]
//! exists only by [`ReleasedModel::admit`] against the log's own release decision; an [`Accepted`] study exists only
//! by the guard; and [`read`] asks for the receipt of a durable intent.
//! Shapes: images are `[rows, columns]` display values in 0..=1; the network's input is `[1, 1, side, side]`.
//! Errors: [`BundleError`], [`AdmissionError`], [`ReadError`]; a refusal by the guard is a result, [`Refusal`].

mod admission;
mod bundle;
mod contract;
pub mod explain;
mod guard;
mod hippodeep;
pub mod measure;
mod model;
mod read;
mod reading;

pub use admission::{AdmissionError, Deployment, OperatingFigures, ReleaseEvidence, ReleasedModel};
pub use bundle::{
    Bundle, BundleError, Class, Coding, FindingSpec, IntendedUse, OperatingPointSpec, Package, SaliencySpec,
};
pub use contract::{AgeRange, InputContract};
pub use explain::{Region, Saliency, colour_film_png, film_png, overlay_png, saliency_png};
pub use guard::{
    Accepted, AcceptedImage, FitError, GuardReference, GuardScore, NotAccepted, Refusal, RefusalCode, SetAside,
};
pub use hippodeep::{Hippodeep, HippodeepVolumes, ProtocolError};
pub use model::{Candidate, Scores};
pub use read::{IntentReceipt, ReadError, read};
pub use reading::{
    Calibration, Digests, Finding, Interval, Measurement, ModelFacts, NotAProbability, Note, OperatingIntervals,
    OperatingPoint, Probability, Reading, Uncertainty,
};
