//! Explanations: where in an image the evidence for a score lies, how that was found, and how far it can be trusted.
//!
//! One file a method behind one interface ([`Method`]): a [`Subject`] (graph, weights, score) and a prepared input give
//! an [`Attribution`] over the input, in planes and volumes alike. Every method runs on compiled plans, so a map has
//! the same bits on any number of threads and any instruction set; method, version and parameters belong to its digest.
//! [`quality`] measures whether a method deserves belief; [`badge`] judges one map of one reading by cheap checks.
//! [`Saliency`] is the map that a reading carries, in the coordinates of the image as it came.
//! Errors: [`ExplainError`]. Source: the papers named at each method.

pub mod badge;
mod boundary;
mod cam;
mod integrated;
mod occlusion;
pub mod quality;
mod saliency;
mod smooth;
mod subject;

pub use boundary::{Boundary, boundary};
pub use cam::{EigenCam, GradCam, GradCamPlusPlus};
pub use integrated::IntegratedGradients;
pub use occlusion::Occlusion;
pub use saliency::{Region, Saliency, colour_film_png, film_png, overlay_png, saliency_png};
pub use smooth::SmoothGrad;
pub use subject::{Attribution, ExplainError, Method, Score, Subject};
