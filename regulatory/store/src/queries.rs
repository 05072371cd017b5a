//! What a site answers about its registry and its entries. All methods may be called from any thread.
//! Errors: [`SiteError`].

use diesel::SqliteConnection;
use vidimus_log::{Digest, EntryId};

use crate::{
    EntryQuery, InstanceRow, ModelRow, PublishedRow, ReadingRow, RequestRow, ResourceQuery, ResourceRow, Site,
    SiteError, WorkRow, WorklistQuery, registry, resources, search, work, worklist,
};

impl Site {
    /// Reads on a connection.
    fn read<T>(&self, query: impl FnOnce(&mut SqliteConnection) -> Result<T, SiteError>) -> Result<T, SiteError> {
        query(&mut *self.reads.take()?)
    }

    /// The instance under this keyed hash of its SOP instance UID.
    pub fn instance(&self, key: &Digest) -> Result<Option<InstanceRow>, SiteError> {
        self.read(|connection| registry::instance(connection, key))
    }

    /// The instances of a study, in order of arrival.
    pub fn study_instances(&self, study: &Digest) -> Result<Vec<InstanceRow>, SiteError> {
        self.read(|connection| registry::instances(connection, study))
    }

    /// The keyed hash of the patient of a study, if the study is held.
    pub fn study_patient(&self, study: &Digest) -> Result<Option<Digest>, SiteError> {
        self.read(|connection| registry::study_patient(connection, study))
    }

    /// All readings, in the order of the log.
    pub fn readings(&self) -> Result<Vec<ReadingRow>, SiteError> {
        self.read(registry::readings)
    }

    /// The reading with this intent or outcome.
    pub fn reading(&self, entry: &EntryId) -> Result<Option<ReadingRow>, SiteError> {
        self.read(|connection| registry::reading(connection, entry))
    }

    /// All models of the registry.
    pub fn models(&self) -> Result<Vec<ModelRow>, SiteError> {
        self.read(registry::models)
    }

    /// The studies that wait for a reading, oldest first.
    pub fn work(&self, limit: usize) -> Result<Vec<WorkRow>, SiteError> {
        self.read(|connection| work::waiting(connection, limit))
    }

    /// Whether a study waits for a reading, or is being read.
    pub fn waits(&self, study: &Digest) -> Result<bool, SiteError> {
        self.read(|connection| work::waits(connection, study))
    }

    /// How many studies wait for a reading.
    pub fn work_count(&self) -> Result<u64, SiteError> {
        self.read(work::count)
    }

    /// A page of the readings that can be seen.
    pub fn worklist(&self, query: &WorklistQuery) -> Result<Vec<PublishedRow>, SiteError> {
        self.read(|connection| worklist::page(connection, query))
    }

    /// A reading that can be seen.
    pub fn published_reading(&self, reading: &EntryId) -> Result<Option<PublishedRow>, SiteError> {
        self.read(|connection| worklist::find(connection, reading))
    }

    /// The largest index at which a reading was published or signed; 0 if none was.
    pub fn last_published(&self) -> Result<u64, SiteError> {
        self.read(worklist::last)
    }

    /// The newest version of a resource.
    pub fn resource(&self, kind: &str, id: &str) -> Result<Option<ResourceRow>, SiteError> {
        self.read(|connection| resources::newest(connection, kind, id))
    }

    /// A version of a resource.
    pub fn resource_version(&self, kind: &str, id: &str, version: u32) -> Result<Option<ResourceRow>, SiteError> {
        self.read(|connection| resources::version(connection, kind, id, version))
    }

    /// All versions of a resource, newest first.
    pub fn resource_history(&self, kind: &str, id: &str) -> Result<Vec<ResourceRow>, SiteError> {
        self.read(|connection| resources::history(connection, kind, id))
    }

    /// The newest version of each resource that fits, newest first.
    pub fn resources(&self, query: &ResourceQuery) -> Result<Vec<ResourceRow>, SiteError> {
        self.read(|connection| resources::page(connection, query))
    }

    /// The request that was answered under this key.
    pub fn request(&self, key: &Digest) -> Result<Option<RequestRow>, SiteError> {
        self.read(|connection| work::request(connection, key))
    }

    /// Index and bytes of the entries that fit, newest first.
    pub fn search_entries(&self, query: &EntryQuery) -> Result<Vec<(u64, Vec<u8>)>, SiteError> {
        self.read(|connection| search::page(connection, query))
    }
}
