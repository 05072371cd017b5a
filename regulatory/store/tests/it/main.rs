//! The store as a whole: one binary, one module a subject.

mod common;
mod faults;
mod folder;
mod kill;
mod site;
mod tamper;
mod vault;
