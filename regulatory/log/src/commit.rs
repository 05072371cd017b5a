//! Salted commitments: how personal data appears in the log without being there.
//! `c1 = SHA-256("vidimus/commit/v1\n" || label || "\n" || opening[32] || value)`; the opening lies in the vault, and
//! who destroys it turns the commitment into noise. Source: AUDIT_LOG section 4.

use crate::{Digest, values::Commit};

/// Bytes of an opening: fresh randomness for each field of each entry.
pub const OPENING_BYTES: usize = 32;

/// The commitment to `value` under the field name `label`.
pub fn commitment(label: &str, opening: &[u8; OPENING_BYTES], value: &[u8]) -> Commit {
    let digest = Digest::of_parts([b"vidimus/commit/v1\n", label.as_bytes(), b"\n", opening, value]);
    Commit::from(format!("c1:{}", digest.hex()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-LOG-004
    #[test]
    fn the_commitment_of_the_published_vector() {
        let mut opening = [0; OPENING_BYTES];
        for (byte, value) in opening.iter_mut().zip(0..) {
            *byte = value;
        }
        assert_eq!(
            commitment("patient", &opening, b"MRN-000123").as_str(),
            "c1:414c5141261309479854b324cca92ffad9b8d2f3cc734c8665763efa4dce3500"
        );
    }

    /// Proves: REQ-LOG-004
    #[test]
    fn another_label_opening_or_value_is_another_commitment() {
        let opening = [7; OPENING_BYTES];
        let first = commitment("patient", &opening, b"value");
        assert_ne!(first, commitment("study", &opening, b"value"));
        assert_ne!(first, commitment("patient", &[8; OPENING_BYTES], b"value"));
        assert_ne!(first, commitment("patient", &opening, b"valuf"));
    }
}
