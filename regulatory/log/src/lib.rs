//! The audit log as pure functions: entries, canonical JSON, Merkle tree, tiles, checkpoints, proofs.
//! No clock, no disk, no network, no randomness: what this crate computes, any stranger can compute again.
//! Source: RFC 6962 (tree), RFC 8785 (JSON), C2SP tlog-tiles, signed-note, tlog-checkpoint, tlog-proof.
//! Errors: every verdict against a log has a [`verify::Reason`]; nothing unverified is returned as verified.

pub mod body;
pub mod canonical;
pub mod commit;
mod digest;
mod entry;
mod id;
pub mod limits;
pub mod note;
mod phi;
mod receipt;
mod recorder;
pub mod schema;
mod strict64;
pub mod tile;
pub mod tree;
pub mod values;
pub mod verify;

pub use body::Body;
pub use digest::{Digest, DigestParseError};
pub use entry::{Actor, Entry, EntryError, NO_BOOT, NO_TRACE, Ref, leaf_hash};
pub use id::{EntryId, EntryIdError};
pub use phi::Phi;
pub use receipt::{Receipt, VerifiedEntry, verify_detached_proof, verify_tlog_proof};
pub use recorder::{Draft, RecordError, Recorder};
pub use verify::{LogFacts, Reason, Source, SourceError, VerifyError, verify_log};
