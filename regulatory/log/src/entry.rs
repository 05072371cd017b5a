//! An entry: who did what, when, under which software, referring to which earlier entries.
//! The canonical bytes are the entry ([`Entry::to_bytes`]); its leaf is the hash of them ([`leaf_hash`]).
//! Errors: [`EntryError`] names the field and the rule, never a value. Source: AUDIT_LOG sections 2, 3 and 5.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Body, Digest, EntryId,
    canonical::{self, CanonicalError},
    limits::ENTRY_BYTES_MAX,
    schema::{self, SchemaError},
    values::is_hex,
};

/// `boot` of the first entry of a log, which no process has announced.
pub const NO_BOOT: &str = "00000000000000000000000000000000";
/// `trace` of an entry without one.
pub const NO_TRACE: &str = NO_BOOT;

/// Why bytes are not an entry, or an entry has no bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Not canonical JSON.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// Against the schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Empty, or longer than a bundle holds.
    #[error("entry: expected 1 to {ENTRY_BYTES_MAX} bytes, found {bytes}; put the long part into the vault")]
    Length {
        /// Its length.
        bytes: usize,
    },
}

/// Who acted: a random pseudonym (the person's name is a document of the vault) and the role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// `sys`, or `stf_` or `svc_` and 26 base32 characters.
    pub id: String,
    /// The role in which the actor acted.
    pub role: String,
}

impl Actor {
    /// The program itself.
    pub fn system() -> Self {
        Self { id: "sys".to_owned(), role: "system".to_owned() }
    }

    /// A member of staff, by 16 random bytes.
    pub fn staff(random: [u8; 16], role: &str) -> Self {
        Self { id: format!("stf_{}", base32(random)), role: role.to_owned() }
    }

    /// A service account, by 16 random bytes.
    pub fn service(random: [u8; 16], role: &str) -> Self {
        Self { id: format!("svc_{}", base32(random)), role: role.to_owned() }
    }
}

/// 128 bits as 26 characters of the lower-case base32 alphabet of RFC 4648, without padding.
fn base32(bytes: [u8; 16]) -> String {
    const ALPHABET: [char; 32] = [
        'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v',
        'w', 'x', 'y', 'z', '2', '3', '4', '5', '6', '7',
    ];
    let value = u128::from_be_bytes(bytes);
    let digit = |index: u32| {
        let five = 128_u32.checked_sub(5 * (index + 1)).map_or(value << 2, |shift| value >> shift) & 31;
        usize::try_from(five).ok().and_then(|five| ALPHABET.get(five)).copied().unwrap_or('a')
    };
    (0..26).map(digit).collect()
}

pub(crate) fn is_actor(id: &str) -> bool {
    let pseudonym = id.strip_prefix("stf_").or_else(|| id.strip_prefix("svc_"));
    id == "sys"
        || pseudonym
            .is_some_and(|text| text.len() == 26 && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')))
}

/// A reference to an earlier entry, bound to its place and to its content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ref {
    /// The entry's name.
    pub entry_id: EntryId,
    /// Its index.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Digest,
    /// In which relation: one of [`schema::RELATIONS`].
    pub rel: String,
}

/// One record of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The log's origin: an entry cannot be replayed into another log.
    pub log: String,
    /// Its name.
    pub entry_id: EntryId,
    /// UTC milliseconds; the order of the log is the index, not the time.
    pub t_ms: u64,
    /// The `boot` entry of the process that appended it; `None` in the first entry of a log.
    pub boot: Option<EntryId>,
    /// W3C trace id, 32 lower-case hexadecimal characters.
    pub trace: Option<String>,
    /// Who acted.
    pub actor: Actor,
    /// What it refers to; sorted by [`Entry::to_bytes`].
    pub refs: Vec<Ref>,
    /// What happened.
    pub body: Body,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame {
    actor: Actor,
    body: Value,
    boot: String,
    entry_id: EntryId,
    kind: String,
    log: String,
    refs: Vec<Ref>,
    t_ms: u64,
    trace: String,
    #[expect(dead_code, reason = "the schema has judged it; named here so that no other field passes as unknown")]
    v: u64,
}

impl Entry {
    /// The canonical bytes, judged by the schema: unknown fields and kinds are refused.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EntryError> {
        let bytes = self.write(self.t_ms, self.boot, self.trace.as_deref())?;
        if bytes.is_empty() || bytes.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::Length { bytes: bytes.len() });
        }
        let header = schema::read(canonical::check(&bytes)?)?;
        if let Some(field) = header.unknown.first() {
            return Err(SchemaError::new(field.clone(), "unknown field").into());
        }
        Ok(bytes)
    }

    /// Digest of what makes a retry the same entry: all but `t_ms`, `trace` and `boot`.
    pub fn content_digest(&self) -> Result<Digest, EntryError> {
        Ok(Digest::of(&self.write(0, None, None)?))
    }

    fn write(&self, t_ms: u64, boot: Option<EntryId>, trace: Option<&str>) -> Result<Vec<u8>, EntryError> {
        let json = |error: serde_json::Error| SchemaError::new("body", error.to_string());
        let mut refs = self.refs.clone();
        refs.sort_by(|a, b| (&a.rel, a.index).cmp(&(&b.rel, b.index)));
        let value = json!({
            "actor": { "id": self.actor.id, "role": self.actor.role },
            "body": self.body.to_value().map_err(json)?,
            "boot": boot.map_or_else(|| NO_BOOT.to_owned(), |boot| boot.to_string()),
            "entry_id": self.entry_id.to_string(),
            "kind": self.body.kind(),
            "log": self.log,
            "refs": serde_json::to_value(&refs).map_err(json)?,
            "t_ms": t_ms,
            "trace": trace.unwrap_or(NO_TRACE),
            "v": 1,
        });
        Ok(canonical::to_bytes(&value)?)
    }

    /// Reads canonical bytes of a kind that this version knows.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.is_empty() || bytes.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::Length { bytes: bytes.len() });
        }
        let header = schema::read(canonical::check(bytes)?)?;
        if let Some(field) = header.unknown.first() {
            return Err(SchemaError::new(field.clone(), "unknown to this version").into());
        }
        let frame: Frame =
            serde_json::from_slice(bytes).map_err(|error| SchemaError::new("entry", error.to_string()))?;
        let trace = (frame.trace != NO_TRACE && is_hex(&frame.trace, 32)).then_some(frame.trace);
        Ok(Self {
            log: frame.log,
            entry_id: frame.entry_id,
            t_ms: frame.t_ms,
            boot: EntryId::parse(&frame.boot).ok(),
            trace,
            actor: frame.actor,
            refs: frame.refs,
            body: Body::from_value(&frame.kind, frame.body)?,
        })
    }
}

/// `SHA-256(0x00 || entry)`.
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Digest::of_parts([&[0x00][..], entry])
}
