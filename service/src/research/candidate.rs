//! An imported network at this site: its description, its weights, its card, and the entry that says which bytes they
//! are.
//! Where: `research/NAME/` in the site's folder. The weights keep the bytes that came in; what they are, their bytes
//! say.
//! Errors: a name that is taken, a file that cannot be read, weights that do not fit, digests that differ from the
//! log's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use vidimus_log::{
    Body, Digest, Draft, Entry, EntryId, Receipt, Recorder as _,
    body::{Incident, ModelRegistered},
    values::{Sha256, is_code},
};
use vidimus_networks::{
    architecture::{Description, Network},
    import::{BYTES_MAX, Format, read_weights},
};

use super::NOTICE;
use crate::site::House;

const ARCHITECTURE: &str = "architecture.toml";
const WEIGHTS: &str = "weights";
const CARD: &str = "card.md";
const RECORD: &str = "candidate.json";
/// A description or a card larger than this is none.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// The three files that make a candidate.
pub(crate) struct Files {
    architecture: Vec<u8>,
    weights: Vec<u8>,
    card: Vec<u8>,
}

impl Files {
    /// Reads them.
    pub(crate) fn read(architecture: &Path, weights: &Path, card: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self {
            architecture: bounded(architecture, TEXT_BYTES_MAX)?,
            weights: bounded(weights, BYTES_MAX as u64)?,
            card: card.map(|card| bounded(card, TEXT_BYTES_MAX)).transpose()?.unwrap_or_default(),
        })
    }

    fn root(&self) -> Digest {
        let parts = [&self.architecture, &self.weights, &self.card].map(|bytes| Digest::of(bytes));
        Digest::of_parts(parts.iter().map(|digest| digest.as_bytes().as_slice()))
    }

    /// The network that they are.
    fn build(&self) -> anyhow::Result<Built> {
        let text = std::str::from_utf8(&self.architecture).context("architecture: the file is not UTF-8 text")?;
        let mut description = Description::parse(text)?;
        let (weights, format) = read_weights(&self.weights)?;
        let network = Network::build(&description, weights)?;
        let mut notes = Vec::new();
        let named = description.labels.len();
        if named != 0 && named != network.outputs {
            // a structure is never called by a name that may be another's
            notes.push(format!(
                "labels: {named} names for {} channels of the output; none is used, channels go by number",
                network.outputs
            ));
            description.labels.clear();
        }
        Ok(Built { description, network, format, notes })
    }
}

/// A network as the files say it.
struct Built {
    description: Description,
    network: Network,
    format: Format,
    notes: Vec<String>,
}

fn bounded(path: &Path, most: u64) -> anyhow::Result<Vec<u8>> {
    let length = fs::metadata(path).with_context(|| format!("{}: cannot be read", path.display()))?.len();
    anyhow::ensure!(length <= most, "{}: {length} bytes, at most {most} are taken in", path.display());
    fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))
}

/// What lies beside the files: where the log speaks of them.
#[derive(Serialize, Deserialize)]
struct Record {
    name: String,
    registered: String,
}

/// A candidate whose files agree with the log.
pub(crate) struct Candidate {
    pub name: String,
    pub description: Description,
    pub network: Network,
    pub format: Format,
    /// Digest of the weights as they came in.
    pub weights: Digest,
    /// Digest of the description.
    pub architecture: Digest,
    /// Digest over the three files' digests.
    pub root: Digest,
    /// Its `model_registered` entry.
    pub registered: Receipt,
    /// What people should know of how its files fit each other.
    pub notes: Vec<String>,
}

fn folder(house: &House, name: &str) -> PathBuf {
    house.site.dir().join("research").join(name)
}

/// The name under which weights are known where nobody gives another: the file's, up to its first dot.
fn name_of(weights: &Path) -> String {
    let name = weights.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// Imports a network as a candidate under `name`. The same files under the same name are the candidate that is there.
pub(crate) fn import(house: &House, files: &Files, weights: &Path, name: Option<&str>) -> anyhow::Result<Candidate> {
    let name = name.map_or_else(|| name_of(weights), str::to_owned);
    anyhow::ensure!(
        is_code(&name) && !name.contains(['/', '\\']) && !name.starts_with('.'),
        "--name {name}: a word of lower-case letters, digits, dots and dashes is needed"
    );
    let folder = folder(house, &name);
    if folder.join(RECORD).is_file() {
        let there = Candidate::load(house, &name)?;
        anyhow::ensure!(there.root == files.root(), "{name}: another candidate has this name; choose one with --name");
        return Ok(there);
    }
    let built = files.build().inspect_err(|_| {
        let text = "a network was not imported: its files do not fit each other or are not taken in";
        incident(house, "import-refused", Digest::of(&files.weights), text);
    })?;
    let registered = register(house, &name, files, &built.description)?;
    fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let record = Record { name: name.clone(), registered: registered.entry_id.to_string() };
    for (file, bytes) in [
        (ARCHITECTURE, files.architecture.as_slice()),
        (WEIGHTS, &files.weights),
        (CARD, &files.card),
        // last: a candidate is there when its record is
        (RECORD, &serde_json::to_vec(&record)?),
    ] {
        let path = folder.join(file);
        fs::write(&path, bytes).with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    let Built { description, network, format, notes } = built;
    Ok(Candidate {
        name,
        description,
        network,
        format,
        notes,
        weights: Digest::of(&files.weights),
        architecture: Digest::of(&files.architecture),
        root: files.root(),
        registered,
    })
}

/// Says in the log what went wrong; that it cannot be said changes nothing for the caller.
fn incident(house: &House, code: &str, detail: Digest, text: &str) {
    let incident =
        Incident { code: code.into(), severity: "warning".into(), detail: Sha256(detail), text: text.into() };
    if let Err(error) = house.site.record(Draft::system(house.site.new_id(), incident)) {
        tracing::warn!(target: "vidimus", %error, "an incident could not be recorded");
    }
}

fn register(house: &House, name: &str, files: &Files, description: &Description) -> anyhow::Result<Receipt> {
    let digest = |bytes: &[u8]| Sha256(Digest::of(bytes));
    let body = ModelRegistered {
        model: name.into(),
        version: "candidate".into(),
        package: Sha256(files.root()),
        weights: digest(&files.weights),
        graph: digest(&files.architecture),
        preproc: digest(&serde_json::to_vec(&description.preparation)?),
        labels: digest(&serde_json::to_vec(&description.labels)?),
        card: digest(&files.card),
        intended_use: digest(NOTICE.as_bytes()),
        sbom: None,
    };
    let entry_id = house.site.new_id();
    let draft = Draft { entry_id, actor: house.actor(), refs: Vec::new(), body: body.into(), trace: house.trace() };
    Ok(house.site.record(draft)?)
}

impl Candidate {
    /// The candidate of this name, its files held to the log.
    pub(crate) fn load(house: &House, name: &str) -> anyhow::Result<Self> {
        let known = is_code(name) && !name.contains(['/', '\\']);
        let folder = folder(house, name);
        anyhow::ensure!(
            known && folder.join(RECORD).is_file(),
            "{name}: this site has no such candidate; `vidimus model import` makes one"
        );
        let record: Record = serde_json::from_slice(&bounded(&folder.join(RECORD), TEXT_BYTES_MAX)?)
            .with_context(|| format!("{name}: {RECORD} is damaged"))?;
        let card = folder.join(CARD);
        let files = Files::read(&folder.join(ARCHITECTURE), &folder.join(WEIGHTS), Some(&card))?;
        let id = EntryId::parse(&record.registered).with_context(|| format!("{name}: {RECORD} names no entry"))?;
        let registered = house.site.receipt(&id)?;
        let Body::ModelRegistered(body) = Entry::parse(&registered.entry)?.body else {
            anyhow::bail!("{name}: the entry that {RECORD} names registers no model");
        };
        for (file, expected, bytes) in [
            (ARCHITECTURE, body.graph, &files.architecture),
            (WEIGHTS, body.weights, &files.weights),
            (CARD, body.card, &files.card),
        ] {
            let found = Digest::of(bytes);
            let digest = expected.0;
            if digest != found {
                incident(house, "candidate-changed", found, "a candidate's file differs from what was imported");
                anyhow::bail!(
                    "{name}: {file} differs from what was imported: expected {digest}, found {found}; import it again"
                );
            }
        }
        let Built { description, network, format, notes } = files.build()?;
        Ok(Self {
            name: record.name,
            notes,
            description,
            network,
            format,
            weights: body.weights.0,
            architecture: body.graph.0,
            root: body.package.0,
            registered,
        })
    }

    /// Numbers in its tensors.
    pub(crate) fn parameters(&self) -> usize {
        self.network.weights.values().map(candle_core::Tensor::elem_count).sum()
    }

    /// The family, as its description names it.
    pub(crate) fn family(&self) -> String {
        serde_json::to_value(self.description.family)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}
