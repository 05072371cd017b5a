//! The access ledger: what a site's log says of locked sets, protocols, models, looks and evaluations.
//! A view, never a record: it is read from the log's entries each time and holds only what they hold.
//! Errors: [`LedgerError`] names the index. Source: EVIDENCE section 3.

use vidimus_log::{
    Body, Digest, Entry, EntryId, Ref,
    body::{DatasetLocked, DatasetOpened, Evaluation, Granted, ModelRegistered, OpenPurpose, ProtocolRegistered},
    leaf_hash,
};

/// An entry of the log is not readable.
#[derive(Debug, thiserror::Error)]
#[error("access ledger: entry {index} is not readable")]
pub struct LedgerError {
    /// The entry's index.
    pub index: u64,
    /// Why.
    #[source]
    pub source: vidimus_log::EntryError,
}

/// A body and the place of its entry.
#[derive(Debug, Clone)]
pub struct Placed<T> {
    /// The entry's id.
    pub entry_id: EntryId,
    /// Its index.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Digest,
    /// The body.
    pub body: T,
    /// What the entry refers to.
    pub refs: Vec<Ref>,
}

impl<T> Placed<T> {
    /// The reference to this entry in the relation `rel`.
    pub fn as_ref_to(&self, rel: &str) -> Ref {
        Ref { entry_id: self.entry_id, index: self.index, leaf: self.leaf, rel: rel.to_owned() }
    }
}

/// What the log says, in its order.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Sets taken into the log.
    pub sets: Vec<Placed<DatasetLocked>>,
    /// Protocols registered.
    pub protocols: Vec<Placed<ProtocolRegistered>>,
    /// Models registered.
    pub models: Vec<Placed<ModelRegistered>>,
    /// Openings of sets, granted and refused.
    pub openings: Vec<Placed<DatasetOpened>>,
    /// Evaluations.
    pub evaluations: Vec<Placed<Evaluation>>,
}

impl Ledger {
    /// Reads the log's entries, from index 0 on.
    pub fn read<I: IntoIterator<Item = Vec<u8>>>(entries: I) -> Result<Self, LedgerError> {
        let mut ledger = Self::default();
        for (index, bytes) in (0_u64..).zip(entries) {
            ledger.push(index, &bytes)?;
        }
        Ok(ledger)
    }

    /// Adds the entry at `index`.
    pub fn push(&mut self, index: u64, bytes: &[u8]) -> Result<(), LedgerError> {
        let entry = Entry::parse(bytes).map_err(|source| LedgerError { index, source })?;
        let (entry_id, leaf, refs) = (entry.entry_id, leaf_hash(bytes), entry.refs);
        match entry.body {
            Body::DatasetLocked(body) => self.sets.push(Placed { entry_id, index, leaf, body, refs }),
            Body::ProtocolRegistered(body) => self.protocols.push(Placed { entry_id, index, leaf, body, refs }),
            Body::ModelRegistered(body) => self.models.push(Placed { entry_id, index, leaf, body, refs }),
            Body::DatasetOpened(body) => self.openings.push(Placed { entry_id, index, leaf, body, refs }),
            Body::Evaluation(body) => self.evaluations.push(Placed { entry_id, index, leaf, body, refs }),
            _ => {}
        }
        Ok(())
    }

    /// The newest entry that locked the set of this root.
    pub fn set(&self, root: Digest) -> Option<&Placed<DatasetLocked>> {
        self.sets.iter().rev().find(|placed| placed.body.set_root.0 == root)
    }

    /// The first entry that registered this protocol for this set.
    pub fn protocol(&self, protocol: Digest, set_root: Digest) -> Option<&Placed<ProtocolRegistered>> {
        self.protocols.iter().find(|p| p.body.protocol.0 == protocol && p.body.set_root.0 == set_root)
    }

    /// The newest entry that registered the package of this root.
    pub fn model(&self, package: Digest) -> Option<&Placed<ModelRegistered>> {
        self.models.iter().rev().find(|placed| placed.body.package.0 == package)
    }

    /// Granted gate looks at a set by models of `family`; a model that the log does not name counts too.
    pub fn looks<'a>(&'a self, set_root: Digest, family: &'a str) -> impl Iterator<Item = &'a Placed<DatasetOpened>> {
        self.openings.iter().filter(move |placed| {
            let body = &placed.body;
            let of_family = body
                .package_root
                .and_then(|package| self.model(package.0))
                .is_none_or(|model| model.body.model.as_str() == family);
            body.set_root.0 == set_root
                && body.purpose == OpenPurpose::Gate
                && body.result == Granted::Granted
                && of_family
        })
    }
}
