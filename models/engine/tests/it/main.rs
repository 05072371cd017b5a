//! The engine from outside: against a slow textbook form, against plain Candle, against itself on other instruction
//! sets, thread counts and batches.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

mod exact;
mod gradients;
mod graph;
mod networks;
mod operations;
mod parity;
mod parity_networks;
mod textbook;
mod tracked;
mod volumes;
