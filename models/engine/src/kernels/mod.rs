//! Loops over memory in vector instructions: what the compiled plans are made of.
//! Everything here works on raw addresses; the plans check them once, when they are compiled.

pub(crate) mod plane;
pub(crate) mod volume;
