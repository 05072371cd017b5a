//! The log as a whole: one binary, one module a subject.

mod canonical;
mod common;
mod entries;
mod proofs;
mod receipts;
mod tamper;
mod tiles;
mod vectors;
