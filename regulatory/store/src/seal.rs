//! Sealing: XChaCha20-Poly1305 with a fresh random nonce; the sealed bytes are `nonce[24] || ciphertext and tag`.
//! What is sealed is bound to its place (log, entry, field) by the associated data, so that it cannot be moved.
//! Source: AUDIT_LOG section 4.

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};

use crate::{files, keys::Secret};

const NONCE_BYTES: usize = 24;

/// `"vidimus/vault/v1\n" || log || "\n" || place || "\n" || field`, where `place` is an entry's or an object's id.
pub(crate) fn place(log: &str, place: &str, field: &str) -> Vec<u8> {
    format!("vidimus/vault/v1\n{log}\n{place}\n{field}").into_bytes()
}

/// Seals `value`; `None` only if the machine has no randomness or the value is beyond the cipher's limit.
pub(crate) fn seal(key: &Secret, place: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let nonce = files::random::<NONCE_BYTES>()?;
    let cipher = XChaCha20Poly1305::new((&**key).into());
    let sealed = cipher.encrypt(&XNonce::from(nonce), Payload { msg: value, aad: place }).ok()?;
    let mut out = Vec::with_capacity(NONCE_BYTES + sealed.len());
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&sealed);
    Some(out)
}

/// Opens what [`seal`] sealed for this place under this key; `None` for anything else.
pub(crate) fn open(key: &Secret, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let cipher = XChaCha20Poly1305::new((&**key).into());
    cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: place }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-STO-007
    #[test]
    fn a_sealed_value_opens_only_whole_under_its_key_and_at_its_place() {
        let (key, other) = (Secret::new([1; 32]), Secret::new([2; 32]));
        let here = place("site.example/vidimus/a", "entry", "patient");
        let sealed = seal(&key, &here, b"value").unwrap();
        assert_eq!(open(&key, &here, &sealed).unwrap(), b"value");
        assert!(open(&other, &here, &sealed).is_none());
        assert!(open(&key, &place("site.example/vidimus/a", "entry", "study"), &sealed).is_none());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(open(&key, &here, &changed).is_none(), "byte {index}");
        }
    }
}
