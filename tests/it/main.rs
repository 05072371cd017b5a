//! The system from outside, in one binary.

mod tidy;
