//! The networks from outside: against published golden tensors, against autograd, against wrong input; a small
//! training run on made-up pictures.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

mod classifier;
mod data;
mod golden;
mod made;
mod preparation;
mod published;
mod training;
