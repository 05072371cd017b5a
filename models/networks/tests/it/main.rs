//! The networks from outside: against published golden tensors, against autograd, against wrong input.

mod data;
mod golden;
