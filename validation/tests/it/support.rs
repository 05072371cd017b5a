//! A small made-up set, its protocol, a log in memory, and raters. Nothing here comes from a real image.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

use tempfile::TempDir;
use vidimus_log::{Actor, Digest, Draft, Entry, EntryId, Receipt, RecordError, Recorder, leaf_hash, note, tree};
use vidimus_validation::{
    ImportFacts, Ledger, LockedSet, Look, LookError, LookRequest, Protocol, Rating, Subject, Verdict, import, lock,
};

pub(crate) const FINDING: &str = "pneumonia";

/// The log of one process in memory: real entries, tree and checkpoints, no disk.
pub(crate) struct MemoryLog {
    key: note::SigningKey,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ids: u64,
    entries: Vec<Vec<u8>>,
}

impl MemoryLog {
    pub(crate) fn new() -> Self {
        let key = note::SigningKey::from_seed("test.example/vidimus/validation", &[7; 32].into()).unwrap();
        Self { key, state: Mutex::default() }
    }

    pub(crate) fn entries(&self) -> Vec<Vec<u8>> {
        self.state.lock().unwrap().entries.clone()
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::read(self.entries()).unwrap()
    }

    pub(crate) fn add(&self, body: impl Into<vidimus_log::Body>) -> Receipt {
        self.record(Draft::system(self.new_id(), body)).unwrap()
    }
}

impl Recorder for MemoryLog {
    fn new_id(&self) -> EntryId {
        let mut state = self.state.lock().unwrap();
        state.ids += 1;
        EntryId::parse(&format!("{:012x}7000800000000000{:04x}", 0x019a_0000_0000_u64, state.ids)).unwrap()
    }

    fn record(&self, draft: Draft) -> Result<Receipt, RecordError> {
        let mut state = self.state.lock().unwrap();
        let index = state.entries.len() as u64;
        let bytes = Entry {
            log: "test.example/vidimus/validation".to_owned(),
            entry_id: draft.entry_id,
            t_ms: 1_766_000_000_000 + index,
            boot: Some(draft.entry_id),
            trace: draft.trace,
            actor: draft.actor,
            refs: draft.refs,
            body: draft.body,
        }
        .to_bytes()?;
        state.entries.push(bytes.clone());
        let leaves: Vec<Digest> = state.entries.iter().map(|entry| leaf_hash(entry)).collect();
        let root = tree::root(&leaves);
        Ok(Receipt {
            entry_id: draft.entry_id,
            index,
            leaf: leaf_hash(&bytes),
            tree_size: index + 1,
            entry: bytes,
            proof: Vec::new(),
            checkpoint: self.key.sign(index + 1, root).note(),
        })
    }
}

/// A made-up source: 40 normal and 60 pneumonia "images" of two bytes or more, two of each patient; the first byte is
/// the class, so that a rater can be as good as a test needs.
pub(crate) fn write_source(folder: &Path) {
    let mut tar = tar::Builder::new(Vec::new());
    let mut csv = String::from("file,split,class,subtype,patient,file_sha256\n");
    for index in 0..100_u8 {
        let (class, subtype, patient) = match index {
            0..40 => ("normal", "none", format!("IM-{:04}", index / 2)),
            40..75 => ("pneumonia", "bacteria", format!("person{}_bacteria", index / 2)),
            _ => ("pneumonia", "virus", format!("person{}_virus", index / 2)),
        };
        // the last normal image is a copy of the first one, but for its name
        let bytes = if index == 39 { vec![0, 0, 9] } else { vec![u8::from(class != "normal"), index, 9] };
        let file = format!("test/{class}/{index:03}.img");
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        tar.append_data(&mut header, &file, bytes.as_slice()).unwrap();
        csv.push_str(&format!("{file},test,{class},{subtype},{patient},{}\n", Digest::of(&bytes)));
    }
    std::fs::write(folder.join("test.tar"), tar.into_inner().unwrap()).unwrap();
    std::fs::write(folder.join("labels.csv"), csv).unwrap();
}

pub(crate) fn facts() -> ImportFacts {
    ImportFacts {
        name: "made-up".to_owned(),
        version: "1".to_owned(),
        archive: "test.tar".to_owned(),
        labels: "labels.csv".to_owned(),
        split: "test".to_owned(),
    }
}

pub(crate) const DATASHEET: &str = r#"
name = "made-up"
version = "1"
title = "A made-up set"
split = "test"
licence = "CC0-1.0"
locked_by = "tests"
retire_after = "2030-01-01"
class = "C"
class_reasons = ["made up"]
[constant]
modality = "none"
[question]
motive = "tests"
[reference_standard]
readers = "none"
blinding = "none"
agreement = "not measured"
adjudication = "none"
label_noise = "none"
"#;

/// Imports the source into `folder` and adds what a person writes.
pub(crate) fn imported(folder: &Path) {
    let source = TempDir::new().unwrap();
    write_source(source.path());
    import(source.path(), folder, &facts(), &|bytes| Ok(Digest::of(bytes))).unwrap();
    std::fs::write(folder.join("datasheet.toml"), DATASHEET).unwrap();
    std::fs::write(folder.join("provenance.toml"), "origin = \"made up\"\n").unwrap();
    std::fs::create_dir_all(folder.join("licence")).unwrap();
    std::fs::write(folder.join("licence/ATTRIBUTION.md"), "none\n").unwrap();
}

/// A locked made-up set.
pub(crate) fn locked() -> (TempDir, LockedSet) {
    let folder = TempDir::new().unwrap();
    imported(folder.path());
    lock(folder.path()).unwrap();
    let set = LockedSet::open_manifest(folder.path()).unwrap();
    (folder, set)
}

/// The committed protocol's text, made to fit the made-up set; `id` tells protocols apart.
pub(crate) fn protocol_text(set: &LockedSet, id: &str) -> String {
    let committed = std::fs::read_to_string(validation_folder().join("protocols/cxr-pneumonia-1.toml")).unwrap();
    let mut text = committed
        .replace("PRT-CXR-1", id)
        .replace("name = \"cxr-pneumonia-test\"", "name = \"made-up\"")
        .replace("replicates = 10000", "replicates = 200");
    let start = text.find("root = \"").unwrap();
    let end = start + text[start..].find('\n').unwrap();
    text.replace_range(start..end, &format!("root = \"{}\"", set.root()));
    text
}

pub(crate) fn protocol(set: &LockedSet, id: &str) -> Protocol {
    Protocol::parse(protocol_text(set, id).as_bytes()).unwrap()
}

pub(crate) fn subject(name: &str) -> Subject {
    Subject {
        family: "cxr-pneumonia".to_owned(),
        version: "1.0.0".to_owned(),
        root: Digest::of(name.as_bytes()),
        training: None,
    }
}

pub(crate) fn open(
    log: &MemoryLog,
    set: &LockedSet,
    protocol: &Protocol,
    subject: &Subject,
    verdicts: &[Verdict],
) -> Result<Look, LookError> {
    let ledger = log.ledger();
    let request = LookRequest {
        set,
        protocol,
        subject,
        gate: Digest::of(b"gate"),
        ledger: &ledger,
        verdicts,
        actor: Actor::system(),
    };
    Look::open(&request, log)
}

/// A rater that is nearly right: it errs on every 25th case and spreads its probabilities.
pub(crate) fn good_rater(case: &[u8]) -> Rating {
    let spread = f64::from(case[1]) / 400.0;
    let right = case[1] % 25 != 3;
    let p = if (case[0] == 1) == right { 0.95 - spread } else { 0.05 + spread };
    evaluated(p, 0.6 + spread)
}

pub(crate) fn evaluated(p: f64, bacteria_share: f64) -> Rating {
    let probabilities = [
        (FINDING.to_owned(), p),
        ("bacteria".to_owned(), p * bacteria_share),
        ("virus".to_owned(), p * (1.0 - bacteria_share)),
    ];
    Rating::Evaluated { probabilities: probabilities.into() }
}

/// The folder of this crate.
pub(crate) fn validation_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
