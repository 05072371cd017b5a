//! The value types of an entry's body: what a `code`, `text`, `dec`, `digest` or `commit` may hold.
//! The wrappers are plain texts while an entry is put together; the schema judges them when the entry is made
//! canonical ([`crate::Entry::to_bytes`]) and again when it is read. Source: AUDIT_LOG section 2.

use std::{fmt, ops::Deref};

use serde::{Deserialize, Serialize};

use crate::{Digest, limits, schema::Shape};

/// A type that can be a field of a body, and the rule that its JSON must satisfy.
pub trait Field {
    /// The rule.
    const SHAPE: Shape;
    /// Whether the field may be absent.
    const OPTIONAL: bool = false;
}

macro_rules! text_value {
    ($(#[$meta:meta])* $name:ident, $shape:expr) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Field for $name {
            const SHAPE: Shape = $shape;
        }
    };
}

text_value!(
    /// `[a-z0-9_.-]{1,64}`: a word of a vocabulary.
    Code,
    Shape::Code
);
text_value!(
    /// Prose of 1 to 2,000 characters in NFC, never about a patient.
    Text,
    Shape::Text
);
text_value!(
    /// A decimal number as text, `-?(0|[1-9][0-9]*)(\.[0-9]+)?`, so that no reader rounds it.
    Decimal,
    Shape::Decimal
);
text_value!(
    /// `c1:` and 64 lower-case hexadecimal characters: a salted commitment to personal data.
    Commit,
    Shape::Commit
);
text_value!(
    /// 64 bits as 16 lower-case hexadecimal characters: they do not fit an integer of section 3.
    Seed,
    Shape::Seed
);

impl From<u64> for Seed {
    fn from(seed: u64) -> Self {
        Self(format!("{seed:016x}"))
    }
}

/// A digest of something that is not personal: `sha256:` and 64 lower-case hexadecimal characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub Digest);

impl From<Digest> for Sha256 {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

impl From<Sha256> for Digest {
    fn from(digest: Sha256) -> Self {
        digest.0
    }
}

impl Serialize for Sha256 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.prefixed())
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let hex = text.strip_prefix("sha256:").ok_or_else(|| serde::de::Error::custom("digest without sha256:"))?;
        hex.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl Field for Sha256 {
    const SHAPE: Shape = Shape::Digest;
}

/// A leaf hash (bare hexadecimal characters).
impl Field for Digest {
    const SHAPE: Shape = Shape::Leaf;
}

impl Field for u64 {
    const SHAPE: Shape = Shape::Natural;
}

impl Field for i64 {
    const SHAPE: Shape = Shape::Integer;
}

impl Field for bool {
    const SHAPE: Shape = Shape::Bool;
}

impl<T: Field> Field for Option<T> {
    const SHAPE: Shape = T::SHAPE;
    const OPTIONAL: bool = true;
}

impl<T: Field> Field for Vec<T> {
    const SHAPE: Shape = Shape::List(&T::SHAPE);
}

/// Whether `text` is a `code`.
pub fn is_code(text: &str) -> bool {
    (1..=limits::CODE_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'))
}

/// Whether `text` is a `text`: NFC, 1 to 2,000 characters.
pub fn is_text(text: &str) -> bool {
    !text.is_empty()
        && text.chars().take(limits::TEXT_CHARS_MAX + 1).count() <= limits::TEXT_CHARS_MAX
        && unicode_normalization::is_nfc(text)
}

/// Whether `text` is a `dec`.
pub fn is_decimal(text: &str) -> bool {
    if text.len() > limits::DECIMAL_BYTES_MAX {
        return false;
    }
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (unsigned, None),
    };
    digits(whole) && (whole == "0" || !whole.starts_with('0')) && fraction.is_none_or(digits)
}

/// Whether `text` is `count` lower-case hexadecimal characters.
pub fn is_hex(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-LOG-002
    #[test]
    fn codes_texts_and_decimals_are_judged_at_their_bounds() {
        for (text, expected) in [("a", true), ("", false), ("A", false), ("a b", false), ("a_b.c-1", true)] {
            assert_eq!(is_code(text), expected, "code {text:?}");
        }
        assert!(is_code(&"a".repeat(64)) && !is_code(&"a".repeat(65)));
        assert!(is_text(&"ä".repeat(2_000)) && !is_text(&"ä".repeat(2_001)));
        assert!(!is_text("") && !is_text("a\u{308}") && is_text("\u{e4}"));
        for (text, expected) in [
            ("0", true),
            ("-0.5", true),
            ("01", false),
            ("1.", false),
            (".5", false),
            ("1e3", false),
            ("", false),
            ("-", false),
            ("0.99", true),
            ("+1", false),
        ] {
            assert_eq!(is_decimal(text), expected, "decimal {text:?}");
        }
        assert!(is_decimal(&"1".repeat(40)) && !is_decimal(&"1".repeat(41)));
    }
}
