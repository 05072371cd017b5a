//! The system from outside, in one binary.

mod canary;
mod faults;
mod gate;
mod reading;
mod site;
mod tidy;
