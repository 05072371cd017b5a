//! A log in memory: entries, the key, and the published files as a map. Shared with the tests of `vidimus-verify`.

use std::collections::BTreeMap;

use vidimus_log::{
    Actor, Body, Digest, Entry, EntryId, Receipt, Ref, Source, SourceError, body, commit, leaf_hash,
    note::{SigningKey, VerifyingKey},
    tile::{self, Edge},
    tree,
    values::Commit,
};
use zeroize::Zeroizing;

pub(crate) const ORIGIN: &str = "test.example/vidimus/log-1";
pub(crate) const T_MS: u64 = 1_766_000_000_000;

pub(crate) fn signing_key() -> SigningKey {
    SigningKey::from_seed(ORIGIN, &Zeroizing::new([7; 32])).unwrap()
}

pub(crate) fn key() -> VerifyingKey {
    signing_key().verifying_key()
}

/// A version 7 id that says its number.
pub(crate) fn id(number: u64) -> EntryId {
    EntryId::parse(&format!("019b2f0a0000700080{number:014x}")).unwrap()
}

pub(crate) fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

pub(crate) fn committed(text: &str) -> Commit {
    commit::commitment("test", &[0; 32], text.as_bytes())
}

pub(crate) fn person(number: u8) -> Actor {
    Actor::staff([number; 16], "quality_officer")
}

/// A log that grows in memory without any rule: what it publishes is for the verifier to judge.
pub(crate) struct Log {
    pub(crate) entries: Vec<Vec<u8>>,
}

impl Log {
    /// A log with `site_opened` and `boot`.
    pub(crate) fn opened() -> Self {
        let mut log = Self { entries: Vec::new() };
        let site = body::SiteOpened {
            site: "test".into(),
            policy: digest("policy").into(),
            vkeys: vec![key().text().into()],
            schema: vidimus_log::schema::digest().into(),
            vault: "local".into(),
            opened_by: "tests".into(),
            previous: None,
        };
        log.push(entry(0, None, Actor::system(), vec![], site));
        let boot = body::Boot {
            binary: digest("binary").into(),
            version: "1".into(),
            config: digest("config").into(),
            host: "test".into(),
            backend: "cpu".into(),
            db: body::Database { engine: "sqlite".into(), version: "3".into(), settings: digest("settings").into() },
            prev_size: 1,
            anchor_size: 1,
        };
        log.push(entry(1, Some(id(1)), Actor::system(), vec![], boot));
        log
    }

    /// [`Log::opened`] and incidents up to `size`.
    pub(crate) fn of_size(size: u64) -> Self {
        let mut log = Self::opened();
        for _ in 2..size {
            log.incident("filler");
        }
        log.entries.truncate(usize::try_from(size).unwrap());
        log
    }

    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.entries.len()).unwrap()
    }

    pub(crate) fn push(&mut self, entry: Entry) -> Ref {
        self.push_raw(entry.to_bytes().unwrap(), entry.entry_id)
    }

    pub(crate) fn push_raw(&mut self, bytes: Vec<u8>, entry_id: EntryId) -> Ref {
        let (index, leaf) = (self.size(), leaf_hash(&bytes));
        self.entries.push(bytes);
        Ref { entry_id, index, leaf, rel: String::new() }
    }

    /// Appends a body under the next id.
    pub(crate) fn add(&mut self, actor: Actor, refs: Vec<Ref>, body: impl Into<Body>) -> Ref {
        self.push(entry(self.size(), Some(id(1)), actor, refs, body))
    }

    pub(crate) fn incident(&mut self, code: &str) -> Ref {
        self.add(Actor::system(), vec![], incident(code))
    }

    pub(crate) fn model(&mut self) -> Ref {
        let body = body::ModelRegistered {
            model: "test".into(),
            version: "1".into(),
            package: digest("package").into(),
            weights: digest("weights").into(),
            graph: digest("graph").into(),
            preproc: digest("preproc").into(),
            labels: digest("labels").into(),
            card: digest("card").into(),
            intended_use: digest("use").into(),
            sbom: None,
        };
        self.add(Actor::system(), vec![], body)
    }

    pub(crate) fn intent(&mut self, model: &Ref) -> Ref {
        let body = body::ReadIntent {
            patient: committed("patient"),
            study: committed("study"),
            inputs: committed("inputs"),
            modality: "dx".into(),
            body_part: "chest".into(),
            n_images: 1,
            model: digest("package").into(),
            preproc: digest("preproc").into(),
            runtime: digest("runtime").into(),
            request: committed("request"),
            purpose: body::ReadPurpose::Research,
            priority: "routine".into(),
            deadline_ms: T_MS,
        };
        self.add(Actor::system(), vec![related(model, "model")], body)
    }

    pub(crate) fn outcome(&mut self, intent: &Ref) -> Ref {
        let body = body::ReadOutcome {
            status: body::OutcomeStatus::Ok,
            input: Some(committed("input")),
            prepared: Some(committed("prepared")),
            output: Some(committed("output")),
            saliency: None,
            report: None,
            saliency_method: None,
            model: digest("package").into(),
            runtime: digest("runtime").into(),
            duration_us: 1,
            warnings: vec!["low_contrast".into()],
            error: None,
        };
        self.add(Actor::system(), vec![related(intent, "intent")], body)
    }

    pub(crate) fn evaluation(&mut self, model: &Ref) -> Ref {
        let set = body::DatasetLocked {
            dataset: "test".into(),
            version: "1".into(),
            set_root: digest("set").into(),
            manifest: digest("manifest").into(),
            items: 10,
            licence: "cc-by-4.0".into(),
            split: "test".into(),
            locked_by: "tests".into(),
        };
        let set = self.add(Actor::system(), vec![], set);
        let body = body::Evaluation {
            protocol: digest("protocol").into(),
            harness: digest("harness").into(),
            seed: 42.into(),
            results: digest("results").into(),
            primary: body::Primary {
                metric: "auc".into(),
                value: "0.990".into(),
                ci_low: "0.983".into(),
                ci_high: "0.995".into(),
                n: 624,
            },
            verdict: body::Verdict::Pass,
            made_by: Some("the makers".into()),
        };
        self.add(Actor::system(), vec![related(model, "model"), related(&set, "dataset")], body)
    }

    pub(crate) fn sign_off(&mut self, person: Actor, evaluation: &Ref) -> Ref {
        let body = body::SignOff {
            manifest: committed("manifest"),
            meaning: body::Meaning::Approval,
            signed_leaf: evaluation.leaf,
            auth: body::Authentication { method: "password".into(), factors: 2, auth_ms: T_MS, first_in_session: true },
            signer_kid: "key-1".into(),
            jws: "a..b".into(),
        };
        self.add(person, vec![related(evaluation, "evaluation")], body)
    }

    pub(crate) fn decision(&mut self, model: &Ref, evaluation: &Ref, signoffs: Vec<Digest>) -> Ref {
        let body = body::ReleaseDecision {
            decision: body::Decision::Approve,
            scope: "demonstration".into(),
            reason: "it passed".into(),
            effective_ms: T_MS,
            signoffs,
        };
        self.add(person(1), vec![related(model, "model"), related(evaluation, "evaluation")], body)
    }

    pub(crate) fn leaves(&self) -> Vec<Digest> {
        self.entries.iter().map(|entry| leaf_hash(entry)).collect()
    }

    pub(crate) fn note(&self) -> String {
        signing_key().sign(self.size(), tree::root(&self.leaves())).note()
    }

    pub(crate) fn receipt(&self, index: u64) -> Receipt {
        let leaves = self.leaves();
        let entry = self.entries[usize::try_from(index).unwrap()].clone();
        Receipt {
            entry_id: Entry::parse(&entry).unwrap().entry_id,
            index,
            leaf: leaf_hash(&entry),
            tree_size: self.size(),
            proof: tree::inclusion_proof(&mut leaves.as_slice(), index, self.size()).unwrap(),
            entry,
            checkpoint: self.note(),
        }
    }

    /// The published files.
    pub(crate) fn publish(&self) -> Files {
        let mut files = BTreeMap::new();
        let mut edge = Edge::default();
        for leaf in self.leaves() {
            for full in edge.push(leaf) {
                files.insert(tile::path(full.level, full.index, tile::WIDTH), full.data);
            }
        }
        for level in 0..tile::LEVELS_MAX {
            let partial = edge.partial(level);
            if !partial.is_empty() {
                let index = tile::hashes_at(self.size(), level) / tile::WIDTH;
                let width = u64::try_from(partial.len()).unwrap();
                files.insert(tile::path(level, index, width), tile::bytes(partial));
            }
        }
        for (index, entries) in self.entries.chunks(256).enumerate() {
            let mut bundle = Vec::new();
            for entry in entries {
                tile::push_entry(&mut bundle, entry);
            }
            let (index, width) = (u64::try_from(index).unwrap(), u64::try_from(entries.len()).unwrap());
            files.insert(tile::bundle_path(index, width), bundle);
        }
        files.insert("checkpoint".to_owned(), self.note().into_bytes());
        Files(files)
    }
}

/// The published files by path.
#[derive(Clone)]
pub(crate) struct Files(pub(crate) BTreeMap<String, Vec<u8>>);

impl Source for Files {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, SourceError> {
        let found = self.0.get(path).cloned();
        found.ok_or_else(|| SourceError { path: path.to_owned(), why: "no such file".to_owned() })
    }
}

pub(crate) fn related(to: &Ref, rel: &str) -> Ref {
    Ref { rel: rel.to_owned(), ..to.clone() }
}

pub(crate) fn incident(code: &str) -> body::Incident {
    body::Incident { code: code.into(), severity: "info".into(), detail: digest(code).into(), text: "a test".into() }
}

pub(crate) fn entry(number: u64, boot: Option<EntryId>, actor: Actor, refs: Vec<Ref>, body: impl Into<Body>) -> Entry {
    let body = body.into();
    Entry { log: ORIGIN.to_owned(), entry_id: id(number), t_ms: T_MS + number, boot, trace: None, actor, refs, body }
}
