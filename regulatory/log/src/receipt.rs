//! The receipt of an entry: a C2SP tlog-proof whose `extra` line holds the entry, so that one file and the log's key
//! are enough to check it. The verifier makes the leaf from that line, so the proof covers it.
//! Errors: [`VerifyError`]; a file is read only in the one spelling that [`Receipt::to_tlog_proof`] prints.
//! Source: C2SP tlog-proof, AUDIT_LOG section 5.

use crate::{
    Digest, EntryId, Ref, VerifyError, canonical, leaf_hash, limits,
    note::{Checkpoint, SignedCheckpoint, VerifyingKey},
    schema, strict64, tree,
};

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Proof that an entry is in the log, handed out only after both are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's name.
    pub entry_id: EntryId,
    /// Its index.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Digest,
    /// Number of entries under the checkpoint.
    pub tree_size: u64,
    /// The entry's bytes.
    pub entry: Vec<u8>,
    /// Inclusion proof.
    pub proof: Vec<Digest>,
    /// The signed note.
    pub checkpoint: String,
}

/// An entry that a receipt proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEntry {
    /// The entry's name.
    pub entry_id: EntryId,
    /// Its kind.
    pub kind: String,
    /// Its index.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Digest,
    /// Its bytes.
    pub entry: Vec<u8>,
    /// The checkpoint that proves it.
    pub checkpoint: Checkpoint,
    /// Names of signatures that were not checked, as no key for them was given.
    pub unchecked: Vec<String>,
    /// Fields that this version does not know.
    pub unknown: Vec<String>,
}

impl Receipt {
    /// The reference to this entry in the relation `rel`.
    pub fn as_ref_to(&self, rel: &str) -> Ref {
        Ref { entry_id: self.entry_id, index: self.index, leaf: self.leaf, rel: rel.to_owned() }
    }

    /// Name of its file.
    pub fn file_name(&self) -> String {
        format!("{}.tlog-proof", self.entry_id)
    }

    /// The file.
    pub fn to_tlog_proof(&self) -> String {
        print(Some(&self.entry), self.index, &self.proof, &self.checkpoint)
    }

    /// The file without the entry, as other programs write it; the entry's bytes travel beside it.
    pub fn to_detached_proof(&self) -> String {
        print(None, self.index, &self.proof, &self.checkpoint)
    }

    /// Reads a file with the entry inside. Nothing is verified yet but the form.
    pub fn parse_tlog_proof(text: &str) -> Result<Self, VerifyError> {
        Self::of(Proof::parse(text, None)?)
    }

    /// Reads a file without the entry, whose bytes are given beside it.
    pub fn parse_detached_proof(text: &str, entry: &[u8]) -> Result<Self, VerifyError> {
        Self::of(Proof::parse(text, Some(entry))?)
    }

    fn of(found: Proof) -> Result<Self, VerifyError> {
        let node = canonical::check(&found.entry).map_err(|error| malformed(&error.to_string()))?;
        let entry_id = node.member("entry_id").and_then(canonical::Node::text);
        let entry_id = entry_id.and_then(|text| EntryId::parse(&text).ok());
        Ok(Self {
            entry_id: entry_id.ok_or_else(|| malformed("the entry has no entry_id"))?,
            index: found.index,
            leaf: leaf_hash(&found.entry),
            tree_size: found.signed.checkpoint.size,
            checkpoint: found.signed.note(),
            entry: found.entry,
            proof: found.proof,
        })
    }

    /// Verifies signature, inclusion, canonical form and schema, in this order.
    pub fn verify(&self, key: &VerifyingKey) -> Result<VerifiedEntry, VerifyError> {
        let verified = verify_tlog_proof(&self.to_tlog_proof(), key)?;
        let same = (verified.entry_id, verified.leaf, verified.checkpoint.size);
        if same != (self.entry_id, self.leaf, self.tree_size) {
            let what = "the receipt's id, leaf or size is not the one that it proves".to_owned();
            return Err(VerifyError::Tampered { what });
        }
        Ok(verified)
    }
}

/// Verifies a receipt's file: form, signature, inclusion, canonical form and schema, in this order.
pub fn verify_tlog_proof(text: &str, key: &VerifyingKey) -> Result<VerifiedEntry, VerifyError> {
    Proof::parse(text, None)?.verify(key)
}

/// [`verify_tlog_proof`] for a file without the entry, whose bytes are given beside it.
pub fn verify_detached_proof(text: &str, entry: &[u8], key: &VerifyingKey) -> Result<VerifiedEntry, VerifyError> {
    Proof::parse(text, Some(entry))?.verify(key)
}

fn malformed(what: &str) -> VerifyError {
    VerifyError::Unreadable { what: format!("receipt: {what}") }
}

fn print(entry: Option<&[u8]>, index: u64, proof: &[Digest], checkpoint: &str) -> String {
    let mut text = format!("{HEADER}\n");
    if let Some(entry) = entry {
        text.push_str(&format!("extra {}\n", strict64::encode(entry)));
    }
    text.push_str(&format!("index {index}\n"));
    for hash in proof {
        text.push_str(&strict64::encode(hash.as_bytes()));
        text.push('\n');
    }
    text.push('\n');
    text.push_str(checkpoint);
    text
}

/// A file as read: its entry is only bytes until they are proved.
struct Proof {
    index: u64,
    entry: Vec<u8>,
    proof: Vec<Digest>,
    signed: SignedCheckpoint,
}

impl Proof {
    fn parse(text: &str, detached: Option<&[u8]>) -> Result<Self, VerifyError> {
        if text.len() > limits::RECEIPT_BYTES_MAX {
            return Err(malformed("longer than a receipt can be"));
        }
        let (head, checkpoint) = text.split_once("\n\n").ok_or_else(|| malformed("no checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(malformed("expected the line c2sp.org/tlog-proof@v1"));
        }
        let entry = match detached {
            Some(entry) => Some(entry.to_vec()),
            None => lines.next().and_then(|line| strict64::decode(line.strip_prefix("extra ")?)),
        };
        let entry = entry.ok_or_else(|| malformed("expected the line extra <base64 of the entry>"))?;
        let index = lines.next().and_then(|line| line.strip_prefix("index ")?.parse::<u64>().ok());
        let index = index.ok_or_else(|| malformed("expected the line index <number>"))?;
        let proof: Option<Vec<Digest>> = lines.map(strict64::decode_digest).collect();
        let proof = proof.filter(|proof| proof.len() <= limits::PROOF_HASHES_MAX);
        let proof = proof.ok_or_else(|| malformed("expected base64 hashes"))?;
        let signed = SignedCheckpoint::parse(checkpoint).map_err(|error| malformed(&error.to_string()))?;
        let inside = detached.is_none().then_some(entry.as_slice());
        if print(inside, index, &proof, checkpoint) != text {
            return Err(malformed("not in the one form that a receipt has"));
        }
        Ok(Self { index, entry, proof, signed })
    }

    fn verify(self, key: &VerifyingKey) -> Result<VerifiedEntry, VerifyError> {
        let unchecked = self.signed.verify(key).map_err(VerifyError::Signature)?;
        let checkpoint = self.signed.checkpoint;
        let leaf = leaf_hash(&self.entry);
        if !tree::verify_inclusion(&leaf, self.index, checkpoint.size, &self.proof, &checkpoint.root) {
            return Err(VerifyError::Tampered { what: "the entry is not in the signed tree at this index".to_owned() });
        }
        let header = crate::verify::read_entry(&self.entry, self.index)?;
        if header.log != checkpoint.origin {
            let rule = schema::SchemaError::new("log", "the entry is of another log");
            return Err(VerifyError::Schema { index: Some(self.index), source: rule.into() });
        }
        let (entry_id, kind, unknown) = (header.entry_id, header.kind.to_owned(), header.unknown);
        Ok(VerifiedEntry { entry_id, kind, index: self.index, leaf, checkpoint, unchecked, unknown, entry: self.entry })
    }
}
