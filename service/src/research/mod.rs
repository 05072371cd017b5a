//! Candidates outside clinical use: published networks imported, and run for research, each run in the log.
//!
//! A candidate is never a released model: it has no registry row, the reader cannot be given one, and every output says
//! that it is for research. Its files are held to the digests of its `model_registered` entry before each use.
//! Shapes: as the network's description says; see `models/networks/published/README.md`.
//! Errors: a file that does not fit is named and refused with an entry; log and vault as everywhere.

mod candidate;
mod entries;
mod input;
mod output;
mod run;

pub(crate) use candidate::{Candidate, Files, import};
pub(crate) use run::run;

/// What every output says.
pub(crate) const NOTICE: &str = "research, not for clinical use";

/// The log's reason where an input does not fit a candidate.
pub(crate) const REFUSED: &str = "input-unsupported";
