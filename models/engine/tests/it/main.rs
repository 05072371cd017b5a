//! The engine from outside: against a slow textbook form, against plain Candle, against itself on other instruction
//! sets, thread counts and batches.

mod exact;
mod gradients;
mod textbook;
