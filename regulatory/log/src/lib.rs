//! The audit log as pure functions: entries, canonical JSON, Merkle tree, tiles, checkpoints, proofs.
//! No clock, no disk, no network, no randomness: what this crate computes, any stranger can compute again.
//! Source: RFC 6962 (tree), RFC 8785 (JSON), C2SP tlog-tiles, signed-note, tlog-checkpoint, tlog-proof.

mod digest;
mod phi;

pub use digest::{Digest, DigestParseError};
pub use phi::Phi;
