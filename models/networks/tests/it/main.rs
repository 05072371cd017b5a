//! The networks from outside: against published golden tensors, against autograd, against wrong input; a small
//! training run on made-up pictures.

mod classifier;
mod data;
mod golden;
mod made;
mod preparation;
mod training;
