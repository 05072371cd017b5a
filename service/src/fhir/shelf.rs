//! Where the exact bytes of resources lie: one sealed document of the vault for all that one act publishes of one
//! subject, so that a reading costs one durable file and not one a resource. Row::Resource names document and version.
//! Errors: the vault; a document that lacks what its row names was tampered with or is of another program.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;
use serde_json::Value;
use vidimus_store::{Batch, ObjectId, ResourceRow, Subject, VaultError};

use crate::site::House;

/// Resources on their way into the vault, by type, id and version.
#[derive(Default)]
pub(super) struct Shelf(BTreeMap<String, String>);

fn place(kind: &str, id: &str, version: u32) -> String {
    format!("{kind}/{id}/_history/{version}")
}

impl Shelf {
    /// Adds the exact bytes of a version.
    pub(super) fn add(&mut self, kind: &str, id: &str, version: u32, bytes: String) {
        self.0.insert(place(kind, id, version), bytes);
    }

    /// Seals all of them under `subject`; durable with the batch. None where there is nothing.
    pub(super) fn seal(&self, batch: &mut Batch<'_>, subject: &Subject) -> anyhow::Result<Option<ObjectId>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        Ok(Some(batch.put(subject, &serde_json::to_vec(&self.0)?)?))
    }
}

/// Opens shelves; each once.
pub(crate) struct Opened<'a> {
    house: &'a House,
    shelves: HashMap<ObjectId, BTreeMap<String, String>>,
}

impl<'a> Opened<'a> {
    /// Shelves kept open at a time: resources of neighbouring rows lie on the same one.
    const MOST: usize = 256;

    pub(crate) fn new(house: &'a House) -> Self {
        Self { house, shelves: HashMap::new() }
    }

    /// The exact bytes of a version.
    pub(crate) fn bytes(&mut self, row: &ResourceRow) -> anyhow::Result<&str> {
        if !self.shelves.contains_key(&row.document) {
            let sealed = self.house.site.vault().get(&row.document)?;
            let shelf = serde_json::from_slice(sealed.open()).context("a document of resources has another form")?;
            if self.shelves.len() >= Self::MOST {
                self.shelves.clear();
            }
            self.shelves.insert(row.document, shelf);
        }
        let shelf = self.shelves.get(&row.document);
        let bytes = shelf.and_then(|shelf| shelf.get(&place(&row.kind, &row.id, row.version)));
        bytes.map(String::as_str).with_context(|| {
            format!("{}/{} version {}: its document in the vault lacks it", row.kind, row.id, row.version)
        })
    }

    /// The resource of a version.
    pub(crate) fn resource(&mut self, row: &ResourceRow) -> anyhow::Result<Value> {
        let bytes = self.bytes(row)?;
        serde_json::from_str(bytes).with_context(|| format!("{}/{}: the stored resource", row.kind, row.id))
    }

    /// The resource of a version; none where its patient's data was erased.
    pub(crate) fn unless_erased(&mut self, row: &ResourceRow) -> anyhow::Result<Option<Value>> {
        match self.resource(row) {
            Ok(resource) => Ok(Some(resource)),
            Err(error) if matches!(error.downcast_ref(), Some(VaultError::Erased)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
