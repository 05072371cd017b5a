//! Instances that come over the network: STOW-RS and the single upload, from the first byte to the durable answer.
//!
//! `multipart` finds the parts of a body as it comes, `spool` keeps and hashes them outside of memory.
//! Source: DICOM PS3.18 section 10.5.

mod arrival;
mod budget;
mod failure;
mod media;
mod multipart;
#[cfg(test)]
mod multipart_tests;
mod spool;
