//! The store of one site: audit log, vault and registry on SQLite through Diesel, and the files around them.
//! A receipt is handed out only after its entry, the tree and the signed checkpoint are durable in one transaction;
//! patient data lies only in the vault, sealed under a key for each patient; the registry holds keyed hashes.
//! One process writes a site ([`Site::open`]), any number may read it ([`Site::open_read`]).
//! Errors: [`SiteError`], [`VaultError`] and `vidimus_log::RecordError`; each says what to do.
//! Source: AUDIT_LOG sections 4, 6, 7 and 8.

mod anchor;
mod audit;
mod batch;
mod check;
mod database;
mod error;
mod files;
mod keeper;
mod keys;
mod latency;
mod log;
mod nodes;
mod opening;
mod queries;
mod queue;
mod reads;
mod registry;
mod resources;
mod rows;
mod rules;
mod seal;
mod sealing;
mod search;
mod sequencer;
mod site;
mod tables;
mod vault;
mod work;
mod worklist;

pub use error::{SiteError, VaultError};
pub use latency::AppendLatency;
pub use opening::{BootFacts, SiteFacts};
pub use registry::{InstanceRow, ModelRow, ReadingRow};
pub use resources::{ResourceQuery, ResourceRow};
pub use rows::{Row, attention, refusal};
pub use sealing::Batch;
pub use search::EntryQuery;
pub use site::Site;
pub use vault::{ObjectId, Opening, Subject, Vault};
pub use work::{RequestRow, WorkRow};
pub use worklist::{Order, PublishedRow, SignedRow, WorklistQuery};
