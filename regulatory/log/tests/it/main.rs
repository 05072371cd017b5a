//! The log as a whole: one binary, one module a subject.

#[cfg(test)]
mod canonical;
#[cfg(test)]
mod common;
#[cfg(test)]
mod entries;
#[cfg(test)]
mod proofs;
#[cfg(test)]
mod receipts;
#[cfg(test)]
mod tamper;
#[cfg(test)]
mod tiles;
#[cfg(test)]
mod vectors;
