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
        self.print(&format!("extra {}\n", strict64::encode(&self.entry)))
    }

    /// The file without the entry, as other programs write it; the entry's bytes travel beside it.
    pub fn to_detached_proof(&self) -> String {
        self.print("")
    }

    fn print(&self, extra: &str) -> String {
        let mut text = format!("{HEADER}\n{extra}index {}\n", self.index);
        for hash in &self.proof {
            text.push_str(&strict64::encode(hash.as_bytes()));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads a file with the entry inside. Nothing is verified yet but the form.
    pub fn parse_tlog_proof(text: &str) -> Result<Self, VerifyError> {
        Self::parse(text, None)
    }

    /// Reads a file without the entry, whose bytes are given beside it.
    pub fn parse_detached_proof(text: &str, entry: &[u8]) -> Result<Self, VerifyError> {
        Self::parse(text, Some(entry))
    }

    fn parse(text: &str, detached: Option<&[u8]>) -> Result<Self, VerifyError> {
        let malformed = |what: &str| VerifyError::Unreadable { what: format!("receipt: {what}") };
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
        let node = canonical::check(&entry).map_err(|error| malformed(&error.to_string()))?;
        let entry_id = node.member("entry_id").and_then(canonical::Node::text);
        let entry_id = entry_id.and_then(|text| EntryId::parse(&text).ok());
        let receipt = Self {
            entry_id: entry_id.ok_or_else(|| malformed("the entry has no entry_id"))?,
            index,
            leaf: leaf_hash(&entry),
            tree_size: signed.checkpoint.size,
            entry,
            proof,
            checkpoint: checkpoint.to_owned(),
        };
        let again = if detached.is_some() { receipt.to_detached_proof() } else { receipt.to_tlog_proof() };
        if again != text {
            return Err(malformed("not in the one form that a receipt has"));
        }
        Ok(receipt)
    }

    /// Verifies signature, inclusion, canonical form and schema, in this order.
    pub fn verify(&self, key: &VerifyingKey) -> Result<VerifiedEntry, VerifyError> {
        let unreadable = |error: crate::note::NoteError| VerifyError::Unreadable { what: error.to_string() };
        let signed = SignedCheckpoint::parse(&self.checkpoint).map_err(unreadable)?;
        let unchecked = signed.verify(key).map_err(VerifyError::Signature)?;
        let checkpoint = signed.checkpoint;
        let leaf = leaf_hash(&self.entry);
        let included = tree::verify_inclusion(&leaf, self.index, checkpoint.size, &self.proof, &checkpoint.root);
        if !included || leaf != self.leaf || checkpoint.size != self.tree_size {
            return Err(VerifyError::Tampered { what: "the entry is not in the signed tree at this index".to_owned() });
        }
        let header = crate::verify::read_entry(&self.entry, self.index)?;
        if header.entry_id != self.entry_id || header.log != checkpoint.origin {
            let rule = schema::SchemaError::new("log", "the entry is of another log or bears another id");
            return Err(VerifyError::Schema { index: Some(self.index), source: rule.into() });
        }
        Ok(VerifiedEntry {
            entry_id: header.entry_id,
            kind: header.kind.to_owned(),
            index: self.index,
            leaf,
            entry: self.entry.clone(),
            checkpoint,
            unchecked,
            unknown: header.unknown,
        })
    }
}
