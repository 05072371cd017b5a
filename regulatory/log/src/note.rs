//! Checkpoints and their signatures: C2SP signed-note, tlog-checkpoint and the Ed25519 cosignature.
//! A text is read strictly: whatever is accepted prints again as the same bytes. Only a signature by a key that the
//! caller trusts counts; others are named as unchecked.
//! Errors: [`NoteError`]. Source: C2SP signed-note, tlog-checkpoint, tlog-cosignature; AUDIT_LOG section 5.

use ed25519_dalek::{Signature as Ed25519Signature, Signer as _};
use zeroize::Zeroizing;

use crate::{Digest, limits, strict64};

const ALGORITHM_ED25519: u8 = 0x01;
const ALGORITHM_COSIGNATURE: u8 = 0x04;

/// Why a note, checkpoint or key cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoteError {
    /// The verification key is not one line `name+id+key` of a known algorithm.
    #[error(
        "vkey: expected one line <name>+<8 hexadecimal characters>+<base64 key>, with the id that belongs to the key"
    )]
    Key,
    /// The checkpoint is not three lines of origin, size and root.
    #[error("checkpoint: expected the lines origin, size and base64 root")]
    Checkpoint,
    /// The note is not a text, an empty line and signature lines.
    #[error("signed note: expected a text, an empty line and signature lines")]
    Note,
    /// No signature by a trusted key.
    #[error("no signature by {name}")]
    Untrusted {
        /// The trusted key's name.
        name: String,
    },
    /// A signature by a trusted key that does not verify.
    #[error("the signature by {name} does not belong to this text")]
    BadSignature {
        /// The trusted key's name.
        name: String,
    },
    /// The checkpoint's origin is not the key's name.
    #[error("checkpoint of another log: its origin is not the key's name {name}")]
    Origin {
        /// The trusted key's name.
        name: String,
    },
}

/// Whether `text` can be the origin of a log and the name of its key.
pub fn is_origin(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'+' | b'"' | b'\\');
    (1..=limits::ORIGIN_BYTES_MAX).contains(&text.len()) && text.bytes().all(good)
}

/// The state of a log: how many entries, and the root over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
}

impl Checkpoint {
    /// The signed text.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, strict64::encode(self.root.as_bytes()))
    }

    /// Reads exactly what [`Checkpoint::text`] prints; extension lines are refused.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let read = || {
            let mut lines = text.strip_suffix('\n')?.split('\n');
            let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
            let root = strict64::decode_digest(root)?;
            let checkpoint = Self { origin: origin.to_owned(), size: size.parse().ok()?, root };
            (lines.next().is_none() && is_origin(origin) && checkpoint.text() == text).then_some(checkpoint)
        };
        read().ok_or(NoteError::Checkpoint)
    }
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Name of the key.
    pub name: String,
    /// Its id.
    pub key_id: [u8; 4],
    /// The signature's bytes; what they are depends on the key's algorithm.
    pub bytes: Vec<u8>,
}

impl Signature {
    /// The line, without its newline.
    pub fn line(&self) -> String {
        let bytes: Vec<u8> = self.key_id.iter().chain(&self.bytes).copied().collect();
        format!("\u{2014} {} {}", self.name, strict64::encode(&bytes))
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, text) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let bytes = strict64::decode(text)?;
        let (key_id, bytes) = bytes.split_at_checked(4)?;
        let good = !name.is_empty() && !name.contains(['+', '\n']) && !name.contains(char::is_whitespace);
        (good && !bytes.is_empty()).then_some(Self {
            name: name.to_owned(),
            key_id: key_id.try_into().ok()?,
            bytes: bytes.to_vec(),
        })
    }
}

/// A checkpoint with its signatures, as read; trusted only after [`SignedCheckpoint::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// What is signed.
    pub checkpoint: Checkpoint,
    /// Who signed, verified or not.
    pub signatures: Vec<Signature>,
}

impl SignedCheckpoint {
    /// The signed note.
    pub fn note(&self) -> String {
        let mut note = self.checkpoint.text();
        note.push('\n');
        for signature in &self.signatures {
            note.push_str(&signature.line());
            note.push('\n');
        }
        note
    }

    /// Reads exactly what [`SignedCheckpoint::note`] prints.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        let (text, lines) = note.split_once("\n\n").ok_or(NoteError::Note)?;
        let checkpoint = Checkpoint::parse(&format!("{text}\n"))?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Note)?;
        let signatures: Option<Vec<_>> = lines.split('\n').map(Signature::parse).collect();
        let signed = Self { checkpoint, signatures: signatures.ok_or(NoteError::Note)? };
        if note.len() > limits::NOTE_BYTES_MAX || signed.note() != note {
            return Err(NoteError::Note);
        }
        Ok(signed)
    }

    /// Verifies the log's own signature; returns the names under which unchecked signatures stand.
    pub fn verify(&self, key: &VerifyingKey) -> Result<Vec<String>, NoteError> {
        if self.checkpoint.origin != key.name {
            return Err(NoteError::Origin { name: key.name.clone() });
        }
        let (own, others): (Vec<_>, Vec<_>) =
            self.signatures.iter().partition(|signature| signature.name == key.name && signature.key_id == key.id);
        if own.is_empty() {
            return Err(NoteError::Untrusted { name: key.name.clone() });
        }
        let text = self.checkpoint.text();
        if !own.iter().all(|signature| key.verifies(text.as_bytes(), &signature.bytes)) {
            return Err(NoteError::BadSignature { name: key.name.clone() });
        }
        Ok(others.into_iter().map(|signature| signature.name.clone()).collect())
    }

    /// Verifies a witness's Ed25519 cosignature; returns its time in seconds since 1970.
    pub fn verify_cosignature(&self, witness: &VerifyingKey) -> Result<u64, NoteError> {
        let name = || witness.name.clone();
        let own = |signature: &&Signature| signature.name == witness.name && signature.key_id == witness.id;
        let signature = self.signatures.iter().find(own).ok_or_else(|| NoteError::Untrusted { name: name() })?;
        let bad = || NoteError::BadSignature { name: name() };
        let (time, bytes) = signature.bytes.split_at_checked(8).ok_or_else(bad)?;
        let time = u64::from_be_bytes(time.try_into().map_err(|_| bad())?);
        let message = format!("cosignature/v1\ntime {time}\n{}", self.checkpoint.text());
        let verified = witness.algorithm == ALGORITHM_COSIGNATURE && witness.raw_verifies(message.as_bytes(), bytes);
        if verified { Ok(time) } else { Err(bad()) }
    }
}

fn key_id(name: &str, algorithm: u8, public: &[u8; 32]) -> [u8; 4] {
    let digest = Digest::of_parts([name.as_bytes(), b"\n", &[algorithm], public]);
    let [a, b, c, d, ..] = *digest.as_bytes();
    [a, b, c, d]
}

/// A key that checkpoints are verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    algorithm: u8,
    id: [u8; 4],
    key: ed25519_dalek::VerifyingKey,
}

impl VerifyingKey {
    /// Reads one line `name+id+key`, with or without its newline.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let read = || {
            let (name, rest) = line.split_once('+')?;
            let (_, key) = rest.split_once('+')?;
            let bytes = strict64::decode(key)?;
            let (algorithm, public) = bytes.split_first()?;
            let public: [u8; 32] = public.try_into().ok()?;
            let known = matches!(*algorithm, ALGORITHM_ED25519 | ALGORITHM_COSIGNATURE);
            let key = ed25519_dalek::VerifyingKey::from_bytes(&public).ok()?;
            let id = key_id(name, *algorithm, &public);
            let key = Self { name: name.to_owned(), algorithm: *algorithm, id, key };
            (known && is_origin(name) && key.text() == line).then_some(key)
        };
        read().ok_or(NoteError::Key)
    }

    /// The line, without its newline.
    pub fn text(&self) -> String {
        let [a, b, c, d] = self.id;
        let mut bytes = vec![self.algorithm];
        bytes.extend_from_slice(self.key.as_bytes());
        format!("{}+{a:02x}{b:02x}{c:02x}{d:02x}+{}", self.name, strict64::encode(&bytes))
    }

    /// The key's name: for a log's key its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.algorithm == ALGORITHM_ED25519 && self.raw_verifies(message, signature)
    }

    fn raw_verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Ed25519Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

/// The key that a log signs its checkpoints with. It has no `Debug`; its bytes are wiped when it is dropped.
pub struct SigningKey {
    name: String,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// The key of the log `origin` from 32 secret bytes.
    pub fn from_seed(origin: &str, seed: &Zeroizing<[u8; 32]>) -> Result<Self, NoteError> {
        if !is_origin(origin) {
            return Err(NoteError::Key);
        }
        Ok(Self { name: origin.to_owned(), key: ed25519_dalek::SigningKey::from_bytes(seed) })
    }

    /// What verifies its signatures.
    pub fn verifying_key(&self) -> VerifyingKey {
        let key = self.key.verifying_key();
        let id = key_id(&self.name, ALGORITHM_ED25519, key.as_bytes());
        VerifyingKey { name: self.name.clone(), algorithm: ALGORITHM_ED25519, id, key }
    }

    /// The signed note of the log's state.
    pub fn sign(&self, size: u64, root: Digest) -> SignedCheckpoint {
        let checkpoint = Checkpoint { origin: self.name.clone(), size, root };
        let bytes = self.key.sign(checkpoint.text().as_bytes()).to_bytes().to_vec();
        let key_id = self.verifying_key().id;
        SignedCheckpoint { checkpoint, signatures: vec![Signature { name: self.name.clone(), key_id, bytes }] }
    }
}
