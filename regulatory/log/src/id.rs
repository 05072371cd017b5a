//! The name of an entry: a UUID of version 7, 32 lower-case hexadecimal characters, made before the first try.
//! Errors: [`EntryIdError`] for any other text. Source: RFC 9562, AUDIT_LOG section 2.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// Names one entry for ever; the same id with the same content is the same entry, however often it is sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(Uuid);

/// The text is not 32 lower-case hexadecimal characters of a version 7 UUID.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("entry_id: expected 32 lower-case hexadecimal characters of a UUID version 7")]
pub struct EntryIdError;

impl EntryId {
    /// The id of `uuid`, which must be of version 7 (time-ordered) and of the RFC 9562 variant.
    pub fn from_uuid(uuid: Uuid) -> Result<Self, EntryIdError> {
        if uuid.get_version_num() == 7 && uuid.get_variant() == uuid::Variant::RFC4122 {
            Ok(Self(uuid))
        } else {
            Err(EntryIdError)
        }
    }

    /// Reads 32 lower-case hexadecimal characters.
    pub fn parse(text: &str) -> Result<Self, EntryIdError> {
        if text.len() != 32 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(EntryIdError);
        }
        Self::from_uuid(Uuid::try_parse(text).map_err(|_| EntryIdError)?)
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id of these 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, EntryIdError> {
        Self::from_uuid(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.simple())
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EntryId {
    type Err = EntryIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl serde::Serialize for EntryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for EntryId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
