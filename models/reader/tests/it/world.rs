//! The shipped bundle, films of the repository, and a log in memory that signs what a test writes into it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use uuid::{NoContext, Timestamp, Uuid};
use vidimus_imaging::{
    Instance,
    import::{ImportFacts, picture_to_instance},
};
use vidimus_log::{
    Actor, Body, Digest, Entry, EntryId, Receipt, Ref,
    body::{
        Decision, Evaluation, ModelRegistered, Primary, ReadIntent, ReadPurpose, ReleaseDecision, Rollout,
        RolloutState, Verdict,
    },
    leaf_hash,
    note::{SigningKey, VerifyingKey},
    tree,
    values::{Commit, Sha256},
};
use vidimus_reader::{Bundle, ReleaseEvidence};
use zeroize::Zeroizing;

const ORIGIN: &str = "test.example/vidimus/reader";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Files of the shipped bundle, evidence left out.
pub(crate) fn shipped() -> BTreeMap<String, Vec<u8>> {
    let folder = root().join("models/bundles/cxr-pneumonia/1.1.0");
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            files.insert(entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// The shipped verdict.
pub(crate) fn verdict() -> Vec<u8> {
    fs::read(root().join("models/bundles/cxr-pneumonia/1.1.0/evidence/verdict.json")).unwrap()
}

/// A sample film of the repository.
pub(crate) fn film(number: usize) -> Instance {
    Instance::open(root().join(format!("service/samples/sample-{number:02}.dcm"))).unwrap()
}

/// Grey pixels as a child's chest film: what its attributes say is right, whatever it shows.
pub(crate) fn chest_film(rows: u32, columns: u32, grey: impl Fn(u32, u32) -> u8) -> Instance {
    let picture = image::GrayImage::from_fn(columns, rows, |x, y| image::Luma([grey(y, x)]));
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let text = |text: &str| Some(text.to_owned());
    let facts = ImportFacts {
        modality: text("DX"),
        body_part: text("CHEST"),
        view: text("AP"),
        age: text("004Y"),
        ..ImportFacts::default()
    };
    Instance::from_vec(picture_to_instance(&png.into_inner(), &facts).unwrap()).unwrap()
}

/// A log in memory.
pub(crate) struct Ledger {
    key: SigningKey,
    entries: Vec<Vec<u8>>,
}

impl Ledger {
    pub(crate) fn new(seed: u8) -> Self {
        Self { key: SigningKey::from_seed(ORIGIN, &Zeroizing::new([seed; 32])).unwrap(), entries: Vec::new() }
    }

    pub(crate) fn key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    /// Appends an entry; its reference.
    pub(crate) fn append(&mut self, refs: Vec<Ref>, body: impl Into<Body>) -> Ref {
        let index = self.entries.len() as u64;
        let uuid = Uuid::new_v7(Timestamp::from_unix(NoContext, 1_766_000_000 + index, 0));
        let entry = Entry {
            log: ORIGIN.into(),
            entry_id: EntryId::from_uuid(uuid).unwrap(),
            t_ms: 1_766_000_000_000 + index,
            boot: Some(EntryId::from_uuid(uuid).unwrap()),
            trace: None,
            actor: Actor::system(),
            refs,
            body: body.into(),
        };
        let bytes = entry.to_bytes().unwrap();
        let leaf = leaf_hash(&bytes);
        self.entries.push(bytes);
        Ref { entry_id: entry.entry_id, index, leaf, rel: String::new() }
    }

    /// The receipt of an entry under the newest checkpoint.
    pub(crate) fn receipt(&self, of: &Ref) -> Receipt {
        let leaves: Vec<Digest> = self.entries.iter().map(|entry| leaf_hash(entry)).collect();
        let size = leaves.len() as u64;
        let proof = tree::inclusion_proof(&mut leaves.as_slice(), of.index, size).unwrap();
        Receipt {
            entry_id: of.entry_id,
            index: of.index,
            leaf: of.leaf,
            tree_size: size,
            entry: self.entries[of.index as usize].clone(),
            proof,
            checkpoint: self.key.sign(size, tree::root(&leaves)).note(),
        }
    }
}

pub(crate) fn related(to: &Ref, rel: &str) -> Ref {
    Ref { rel: rel.into(), ..to.clone() }
}

fn nothing() -> Sha256 {
    Sha256(Digest::of(b"nothing"))
}

/// What a site's log holds about a model: the input of admission, before anything is proven.
pub(crate) struct Held {
    pub(crate) log: Ledger,
    pub(crate) registered: Ref,
    pub(crate) evaluation: Ref,
    pub(crate) decisions: Vec<Ref>,
    pub(crate) rollouts: Vec<Ref>,
    pub(crate) verdict: Vec<u8>,
}

impl Held {
    /// Registration, evaluation that ended so, and a release for `scope`.
    pub(crate) fn new(bundle: &Bundle, verdict: Verdict, scope: &str) -> Self {
        let mut held = Self::undecided(bundle, verdict);
        held.decide(Decision::Approve, scope);
        held
    }

    /// Registration and evaluation, nothing decided.
    pub(crate) fn undecided(bundle: &Bundle, verdict: Verdict) -> Self {
        let mut log = Ledger::new(1);
        let package = bundle.package();
        let registered = log.append(
            Vec::new(),
            ModelRegistered {
                model: package.name.as_str().into(),
                version: package.version.as_str().into(),
                package: Sha256(bundle.root()),
                weights: Sha256(bundle.digest(&package.weights).unwrap()),
                graph: nothing(),
                preproc: nothing(),
                labels: nothing(),
                card: nothing(),
                intended_use: nothing(),
                sbom: None,
            },
        );
        let bytes = self::verdict();
        let primary = Primary {
            metric: "auc".into(),
            value: "0.99".into(),
            ci_low: "0.98".into(),
            ci_high: "0.99".into(),
            n: 500,
        };
        let evaluation = log.append(
            vec![related(&registered, "dataset"), related(&registered, "model")],
            Evaluation {
                protocol: nothing(),
                harness: nothing(),
                seed: 0.into(),
                results: Sha256(Digest::of(&bytes)),
                primary,
                verdict,
                made_by: Some("a test".into()),
            },
        );
        Self { log, registered, evaluation, decisions: Vec::new(), rollouts: Vec::new(), verdict: bytes }
    }

    /// Appends a decision about the model.
    pub(crate) fn decide(&mut self, decision: Decision, scope: &str) {
        let body = ReleaseDecision {
            decision,
            scope: scope.into(),
            reason: "a test".into(),
            effective_ms: 0,
            signoffs: vec![Digest::of(b"one"), Digest::of(b"two")],
        };
        let refs = vec![related(&self.evaluation, "evaluation"), related(&self.registered, "model")];
        let place = self.log.append(refs, body);
        self.decisions.push(place);
    }

    /// Appends a rollout of the newest decision.
    pub(crate) fn roll_out(&mut self, to: RolloutState) {
        let decision = self.decisions.last().unwrap().clone();
        let from = RolloutState::Demonstration;
        let body = Rollout { from, to, share_permille: 1000, rule: "test".into(), reason: "a test".into() };
        let place = self.log.append(vec![related(&decision, "decision")], body);
        self.rollouts.push(place);
    }

    /// Calls `judge` with the proven evidence.
    pub(crate) fn with<T>(&self, judge: impl FnOnce(&ReleaseEvidence<'_>) -> T) -> T {
        let key = self.log.key();
        let registrations = [self.log.receipt(&self.registered)];
        let evaluation = self.log.receipt(&self.evaluation);
        let receipts = |of: &[Ref]| -> Vec<Receipt> { of.iter().map(|one| self.log.receipt(one)).collect() };
        let (decisions, rollouts) = (receipts(&self.decisions), receipts(&self.rollouts));
        judge(&ReleaseEvidence {
            key: &key,
            registrations: &registrations,
            evaluation: &evaluation,
            verdict: &self.verdict,
            decisions: &decisions,
            rollouts: &rollouts,
        })
    }

    /// The receipt of an intent to read with the model of this root.
    pub(crate) fn intent(&mut self, root: Digest) -> Receipt {
        let commit = || Commit::from(format!("c1:{}", Digest::of(b"x")));
        let body = ReadIntent {
            patient: commit(),
            study: commit(),
            inputs: commit(),
            modality: "dx".into(),
            body_part: "chest".into(),
            n_images: 1,
            model: Sha256(root),
            preproc: nothing(),
            runtime: nothing(),
            request: commit(),
            purpose: ReadPurpose::Research,
            priority: "routine".into(),
            deadline_ms: 0,
        };
        let place = self.log.append(vec![related(&self.registered, "model")], body);
        self.log.receipt(&place)
    }
}
