//! `vidimus-verify` as a whole: one binary, one module a subject.

#[cfg(test)]
#[path = "../../../log/tests/it/common.rs"]
mod common;
#[cfg(test)]
mod program;
