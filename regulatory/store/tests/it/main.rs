//! The store as a whole: one binary, one module a subject.

mod common;
mod site;
