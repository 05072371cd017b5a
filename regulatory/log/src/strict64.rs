//! Base64 of RFC 4648 section 4, read strictly: padding required, no loose trailing bits, nothing else between.
//! One text, one value: a changed character of a receipt can never decode to the same bytes.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The standard alphabet with padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// `None` unless `text` is exactly what [`encode`] would print for the result.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(text).ok()?;
    (STANDARD.encode(&bytes) == text).then_some(bytes)
}

/// [`decode`] of 32 bytes.
pub(crate) fn decode_digest(text: &str) -> Option<crate::Digest> {
    let bytes: [u8; 32] = decode(text)?.try_into().ok()?;
    Some(crate::Digest::from_bytes(bytes))
}
