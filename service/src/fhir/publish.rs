//! Publication: the released transaction Bundle of one reading becomes the resources that `/fhir` serves.
//!
//! Ids: Patient and ImagingStudy by their keyed digests, Devices by package root and binary, all others by the UUID of
//! the Bundle (version 5 of the reading's id), so that the same reading has the same ids for ever. Patient, Devices and
//! ImagingStudy are shared between readings and get a new version only when what they say has changed. The exact bytes
//! lie sealed in the vault; what is returned are the rows that travel with the entry of the release.
//! Errors: the vault or the registry; a Bundle that is not one of ours.
//! Source: INTERFACES sections 1, 1.3 and 1.7.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;
use vidimus_log::{Digest, EntryId};
use vidimus_store::{ObjectId, Row, Subject};

use super::{
    BASE,
    shelf::{Opened, Shelf},
};
use crate::{sign::ServiceKey, site::House};

/// Whose reading it is.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    /// Keyed hash of the patient's id.
    pub patient: Digest,
    /// Keyed hash of the study instance UID.
    pub study: Digest,
    /// The reading.
    pub reading: EntryId,
    /// The arrival that asked for it, where it waited in the queue.
    pub arrival: Option<EntryId>,
}

/// Held from the making of rows until they are recorded: two publications at once would give the same version twice.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The rows of one reading's resources. Their bytes are durable when this returns.
pub(crate) fn rows(
    house: &House,
    subject: &Subject,
    bundle: &[u8],
    keys: &Keys,
    updated_ms: u64,
) -> anyhow::Result<Vec<Row>> {
    let bundle: Value = serde_json::from_slice(bundle).context("the Bundle of a reading")?;
    let entries = bundle["entry"].as_array().context("the Bundle of a reading has no entries")?;
    let mut parts = Vec::with_capacity(entries.len());
    let mut addresses = BTreeMap::new();
    for entry in entries {
        let (url, resource) = (entry["fullUrl"].as_str().unwrap_or_default(), &entry["resource"]);
        let kind = resource["resourceType"].as_str().context("a resource without a type")?;
        let id = id_of(kind, url, resource, keys).with_context(|| format!("{kind}: it has no id of ours"))?;
        addresses.insert(url.to_owned(), (kind.to_owned(), id.clone()));
        parts.push((kind.to_owned(), id, resource.clone()));
    }
    // what the Provenance signs must be there first
    parts.sort_by_key(|(kind, ..)| kind == "Provenance");
    let mut edition = Edition::new(house, *keys, updated_ms);
    for (kind, id, mut resource) in parts {
        rewrite(&mut resource, &addresses);
        match kind.as_str() {
            "Provenance" => edition.sign(&mut resource)?,
            "Media" => resource["content"]["url"] = json!(format!("/readings/{}/overlay", keys.reading)),
            _ => {}
        }
        edition.add(&kind, &id, resource)?;
    }
    edition.seal(subject, None)
}

/// A UUID of version 5 under a reading or an arrival.
pub(crate) fn derived(seed: &EntryId, name: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{seed}/{name}").as_bytes()).to_string()
}

/// The id of the Task of an arrival, while it waits and after.
pub(super) fn task_id(arrival: &EntryId) -> String {
    derived(arrival, "task")
}

/// Where a resource lives.
fn id_of(kind: &str, url: &str, resource: &Value, keys: &Keys) -> Option<String> {
    let digest = || {
        let identifiers = resource["identifier"].as_array()?;
        let system = format!("{BASE}/id/sha256");
        let own = identifiers.iter().find(|identifier| identifier["system"] == system.as_str())?;
        own["value"].as_str().map(str::to_owned)
    };
    match kind {
        "Patient" => Some(keys.patient.hex()),
        "ImagingStudy" => Some(keys.study.hex()),
        "Device" => digest(),
        "Task" if keys.arrival.is_some() => keys.arrival.as_ref().map(task_id),
        _ => url.strip_prefix("urn:uuid:").map(str::to_owned),
    }
}

/// `urn:uuid:` addresses become relative ones.
fn rewrite(value: &mut Value, addresses: &BTreeMap<String, (String, String)>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, addresses)),
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "reference"
                    && let Some((kind, id)) = value.as_str().and_then(|url| addresses.get(url))
                {
                    *value = json!(format!("{kind}/{id}"));
                } else {
                    rewrite(value, addresses);
                }
            }
        }
        _ => {}
    }
}

/// RFC 3339, UTC, of milliseconds.
pub(crate) fn instant(ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// Whose key seals a resource.
enum Owner {
    Patient,
    Site,
    Staff,
}

fn owner(kind: &str) -> Owner {
    match kind {
        "Device" => Owner::Site,
        "Practitioner" => Owner::Staff,
        _ => Owner::Patient,
    }
}

/// A version to be published.
struct Version {
    kind: String,
    id: String,
    version: u32,
    status: String,
    code: Option<String>,
}

/// The versions that one act publishes.
pub(crate) struct Edition<'a> {
    house: &'a House,
    keys: Keys,
    updated_ms: u64,
    of_patient: Shelf,
    of_site: Shelf,
    of_staff: Shelf,
    versions: Vec<Version>,
    /// Exact bytes of the reports among them.
    bytes: BTreeMap<String, String>,
}

impl<'a> Edition<'a> {
    pub(crate) fn new(house: &'a House, keys: Keys, updated_ms: u64) -> Self {
        Self {
            house,
            keys,
            updated_ms,
            of_patient: Shelf::default(),
            of_site: Shelf::default(),
            of_staff: Shelf::default(),
            versions: Vec::new(),
            bytes: BTreeMap::new(),
        }
    }

    /// Adds the next version of a resource; a shared one only where it says something new. Returns its version.
    pub(crate) fn add(&mut self, kind: &str, id: &str, mut resource: Value) -> anyhow::Result<u32> {
        let newest = self.house.site.resource(kind, id)?;
        if let Some(row) = &newest {
            // of an erased patient nothing is left to compare with: what comes later begins anew
            if let Some(held) = Opened::new(self.house).unless_erased(row)? {
                if kind == "ImagingStudy" {
                    keep_instances(&mut resource, &held);
                }
                if content(&held, id) == content(&resource, id) {
                    return Ok(row.version);
                }
            }
        }
        let version = newest.map_or(1, |row| row.version + 1);
        stamp(&mut resource, id, version, self.updated_ms);
        let coding = &resource["code"]["coding"][0];
        let code = coding["code"].as_str().map(|code| format!("{}|{code}", coding["system"].as_str().unwrap_or("")));
        let status = resource["status"].as_str().unwrap_or_default().to_owned();
        let bytes = resource.to_string();
        if kind == "DiagnosticReport" {
            self.bytes.insert(format!("{kind}/{id}/_history/{version}"), bytes.clone());
        }
        let shelf = match owner(kind) {
            Owner::Patient => &mut self.of_patient,
            Owner::Site => &mut self.of_site,
            Owner::Staff => &mut self.of_staff,
        };
        shelf.add(kind, id, version, bytes);
        self.versions.push(Version { kind: kind.into(), id: id.into(), version, status, code });
        Ok(version)
    }

    /// Makes a Provenance's targets versioned and signs the exact bytes of its report with the service's key.
    fn sign(&self, provenance: &mut Value) -> anyhow::Result<()> {
        let mut signed = None;
        for target in provenance["target"].as_array_mut().into_iter().flatten() {
            let reference = target["reference"].as_str().unwrap_or_default().to_owned();
            let made = self.versions.iter().find(|made| format!("{}/{}", made.kind, made.id) == reference);
            if let Some(made) = made {
                let versioned = format!("{reference}/_history/{}", made.version);
                signed = signed.or_else(|| self.bytes.get(&versioned));
                target["reference"] = json!(versioned);
            }
        }
        if let Some(bytes) = signed
            && let Some(signature) = provenance["signature"].get_mut(0)
        {
            signature["data"] = json!(STANDARD.encode(ServiceKey::open(self.house)?.detached(bytes.as_bytes())));
        }
        Ok(())
    }

    /// The exact bytes of a report that is added.
    pub(crate) fn report(&self, id: &str, version: u32) -> Option<&str> {
        self.bytes.get(&format!("DiagnosticReport/{id}/_history/{version}")).map(String::as_str)
    }

    /// Seals the bytes under patient, site and the signer; the rows that point to them.
    pub(crate) fn seal(self, patient: &Subject, staff: Option<&Subject>) -> anyhow::Result<Vec<Row>> {
        let vault = self.house.site.vault();
        let site = vault.site()?;
        let (of_patient, of_staff, of_site) = vault.batch(|batch| -> anyhow::Result<_> {
            let of_staff = staff.map(|staff| self.of_staff.seal(batch, staff)).transpose()?.flatten();
            Ok((self.of_patient.seal(batch, patient)?, of_staff, self.of_site.seal(batch, &site)?))
        })?;
        let (keys, updated_ms) = (self.keys, self.updated_ms);
        let row = |made: Version| {
            let document: Option<ObjectId> = match owner(&made.kind) {
                Owner::Patient => of_patient,
                Owner::Site => of_site,
                Owner::Staff => of_staff,
            };
            let shared = matches!(made.kind.as_str(), "Patient" | "Device" | "ImagingStudy" | "Practitioner");
            let concerns_patient = !matches!(made.kind.as_str(), "Device" | "Practitioner");
            let concerns_study = !shared || made.kind == "ImagingStudy";
            Some(Row::Resource {
                patient: concerns_patient.then_some(keys.patient),
                study: concerns_study.then_some(keys.study),
                reading: (!shared).then_some(keys.reading),
                kind: made.kind,
                id: made.id,
                version: made.version,
                status: made.status,
                code: made.code,
                document: document?,
                updated_ms,
            })
        };
        Ok(self.versions.into_iter().filter_map(row).collect())
    }
}

/// Gives a resource its id and version.
fn stamp(resource: &mut Value, id: &str, version: u32, updated_ms: u64) {
    resource["id"] = json!(id);
    let meta = resource["meta"].take();
    let mut meta = if let Value::Object(meta) = meta { meta } else { Map::new() };
    meta.insert("versionId".into(), json!(version.to_string()));
    meta.insert("lastUpdated".into(), json!(instant(updated_ms)));
    resource["meta"] = Value::Object(meta);
}

/// What a resource says, apart from its version.
fn content(resource: &Value, id: &str) -> Value {
    let mut content = resource.clone();
    content["id"] = json!(id);
    let meta = content["meta"].take();
    if let Value::Object(mut meta) = meta {
        meta.remove("versionId");
        meta.remove("lastUpdated");
        content["meta"] = json!((!meta.is_empty()).then_some(meta));
    }
    content
}

/// A reading of a part of a study takes nothing away from what is known of it, and changes no order.
fn keep_instances(study: &mut Value, held: &Value) {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let union = |held: Vec<Value>, new: Vec<Value>, merge: &dyn Fn(&Value, &Value) -> Value| {
        let same = |a: &Value, b: &Value| a["uid"] == b["uid"];
        let mut all: Vec<Value> = held
            .iter()
            .map(|old| new.iter().find(|new| same(old, new)).map_or_else(|| old.clone(), |new| merge(old, new)))
            .collect();
        all.extend(new.into_iter().filter(|new| !held.iter().any(|old| same(old, new))));
        all
    };
    let series = union(list(&held["series"]), list(&study["series"]), &|old, new| {
        let instances = union(list(&old["instance"]), list(&new["instance"]), &|_, new| new.clone());
        let mut merged = new.clone();
        if !instances.is_empty() {
            merged["instance"] = json!(instances);
        }
        merged
    });
    let listed: usize = series.iter().map(|one| list(&one["instance"]).len()).sum();
    for (name, least) in [("numberOfSeries", series.len()), ("numberOfInstances", listed)] {
        let known = [&*study, held].map(|one| one[name].as_u64().unwrap_or(0));
        study[name] = json!(known.into_iter().max().unwrap_or(0).max(least as u64));
    }
    if !series.is_empty() {
        study["series"] = json!(series);
    }
}
