//! The gate at a site: what the log must hold before a model may read, and how the shipped one comes to hold it.
//!
//! A new site's log is empty. Opening it for demonstration appends registration, set, protocol and the makers' verdict
//! (`evaluation` with
//! `made_by`), then the sign-offs of two role-play persons with keys made here and now, and the release decision of
//! this site. At a real site two people sign instead; until then no model reads.
//! Errors: [`AdmissionError`] is a result (the reason why nothing is read); anything else is a fault of the log or of
//! a file.

use std::path::PathBuf;

use anyhow::Context as _;
use vidimus_log::{
    Body, Digest, Draft, Entry, Receipt, Recorder as _, Ref,
    body::{
        Authentication, DatasetLocked, Decision, Incident, ModelRegistered, ReleaseDecision, Rollout, RolloutState,
        SignOff,
    },
    values::Sha256,
};
use vidimus_reader::{AdmissionError, Bundle, ReleaseEvidence, ReleasedModel};
use vidimus_store::{ModelRow, Row};
use vidimus_validation::{
    Mode, Protocol, Release, ReleaseFacts, Role, Signature, Signer, SigningFacts, Verdict, parse_signatures,
};

use crate::{
    shipped::{self, Shipped},
    sign,
    site::House,
};

/// Files beside a package that say what is said about it.
const VERDICT: &str = "evidence/verdict.json";
const PROTOCOL: &str = "evidence/protocol.toml";
const LOCKED: &str = "evidence/dataset-locked.tlog-proof";
const RELEASE: &str = "evidence/release.toml";
const SIGNATURES: &str = "evidence/signatures.toml";
const EVALUATION: &str = "evidence/evaluation.tlog-proof";
const MAKERS_KEY: &str = "evidence/makers.vkey";

/// Who made the shipped verdicts.
const MAKERS: &str = "the makers of Vidimus; their log's receipts lie beside the verdict";

/// Registers and releases, for demonstration, the newest shipped bundle of each family that this site does not know
/// yet.
pub(crate) fn release_shipped(house: &House) -> anyhow::Result<()> {
    for shipped in shipped::newest() {
        let bundle = Bundle::from_files(shipped.files.clone())?;
        // The log decides, not the registry: what was released, or withdrawn, is not released again.
        if !Held::collect(house, &bundle.root())?.decisions.is_empty() {
            continue;
        }
        release(house, &shipped, &bundle).with_context(|| format!("release of the shipped bundle {}", shipped.name))?;
    }
    Ok(())
}

/// A file of the shipped evidence.
fn evidence<'a>(shipped: &'a Shipped, path: &str) -> anyhow::Result<&'a [u8]> {
    shipped.files.get(path).map(Vec::as_slice).with_context(|| format!("{path} is missing"))
}

fn release(house: &House, shipped: &Shipped, bundle: &Bundle) -> anyhow::Result<()> {
    let verdict = Verdict::parse(evidence(shipped, VERDICT)?)?;
    let protocol = Protocol::parse(evidence(shipped, PROTOCOL)?)?;
    let made = makers(shipped, &verdict)?;
    write_package(house, shipped, bundle)?;

    let site = &house.site;
    let record = |refs: Vec<Ref>, body: Body| -> anyhow::Result<Receipt> {
        let draft = Draft { entry_id: site.new_id(), actor: house.actor(), refs, body, trace: house.trace() };
        Ok(site.record(draft)?)
    };
    let registered = record(Vec::new(), registration(bundle)?.into())?;
    let locked = record(Vec::new(), made.locked.into())?;
    let about = || vec![registered.as_ref_to("model"), locked.as_ref_to("dataset")];
    let protocol = record(about(), protocol.to_body().into())?;
    let mut refs = about();
    refs.push(protocol.as_ref_to("protocol"));
    let harness = Digest::of(vidimus_validation::GATE_VERSION.to_string().as_bytes());
    let evaluation = record(refs, verdict.to_body(harness, Some(MAKERS)).into())?;

    let release = Release::parse(evidence(shipped, RELEASE)?)?;
    let (leaves, signatures, trusted) = role_play(house, &release, &evaluation)?;
    let signed = release.verify(std::slice::from_ref(&verdict), &signatures, evaluation.leaf, &trusted)?;
    let reason = "demonstration: signed by two role-play persons with keys made for this site";
    let decision = signed.to_body(reason, house.now_ms(), leaves);
    let refs = vec![registered.as_ref_to("model"), evaluation.as_ref_to("evaluation")];
    let id = site.new_id();
    let draft = Draft { entry_id: id, actor: house.actor(), refs, body: decision.into(), trace: house.trace() };
    let package = bundle.package();
    let row = Row::Model {
        root: bundle.root(),
        name: package.name.clone(),
        version: package.version.clone(),
        state: "released".into(),
    };
    let decision = site.record_with(draft, vec![row])?;
    let rollout = Rollout {
        from: RolloutState::Off,
        to: RolloutState::Demonstration,
        share_permille: 1000,
        rule: "demonstration".into(),
        reason: "a site for demonstration: every output is marked".into(),
    };
    record(vec![decision.as_ref_to("decision")], rollout.into())?;
    Ok(())
}

/// What the makers' own log proves about the shipped evidence.
struct Makers {
    locked: DatasetLocked,
}

/// Checks the makers' receipts and signatures: the verdict is the one of their log, and two persons signed its release.
fn makers(shipped: &Shipped, verdict: &Verdict) -> anyhow::Result<Makers> {
    let key = std::str::from_utf8(evidence(shipped, MAKERS_KEY)?)?;
    let key = vidimus_log::note::VerifyingKey::parse(key.trim_end())?;
    let proven = |path: &str| -> anyhow::Result<(Entry, Receipt)> {
        let receipt = Receipt::parse_tlog_proof(std::str::from_utf8(evidence(shipped, path)?)?)?;
        receipt.verify(&key).with_context(|| format!("{path} does not verify"))?;
        Ok((Entry::parse(&receipt.entry)?, receipt))
    };
    let (entry, evaluation) = proven(EVALUATION)?;
    match &entry.body {
        Body::Evaluation(body) if body.results == Sha256(verdict.digest()) => {}
        _ => anyhow::bail!("{EVALUATION} is not about {VERDICT}"),
    }
    let (entry, _) = proven(LOCKED)?;
    let Body::DatasetLocked(locked) = entry.body else { anyhow::bail!("{LOCKED} is of another kind of entry") };
    anyhow::ensure!(locked.set_root == Sha256(verdict.set_root()), "{LOCKED} is about another set than {VERDICT}");
    let release = Release::parse(evidence(shipped, RELEASE)?)?;
    let signatures = parse_signatures(std::str::from_utf8(evidence(shipped, SIGNATURES)?)?)?;
    let trusted: Vec<String> = signatures.iter().map(Signature::key_id).collect();
    release.verify(std::slice::from_ref(verdict), &signatures, evaluation.leaf, &trusted)?;
    Ok(Makers { locked })
}

/// The body of `model_registered`.
pub(crate) fn registration(bundle: &Bundle) -> anyhow::Result<ModelRegistered> {
    let package = bundle.package();
    let json = |value: serde_json::Value| Sha256(Digest::of(value.to_string().as_bytes()));
    Ok(ModelRegistered {
        model: package.name.as_str().into(),
        version: package.version.as_str().into(),
        package: Sha256(bundle.root()),
        weights: Sha256(bundle.digest(&package.weights)?),
        graph: Sha256(Digest::of(package.architecture.as_bytes())),
        preproc: Sha256(bundle.preparation_digest()),
        labels: json(serde_json::json!({ "classes": package.classes, "findings": package.findings })),
        card: Sha256(bundle.digest(&package.card)?),
        intended_use: json(serde_json::json!(package.intended_use)),
        sbom: None,
    })
}

/// The folder of a registered package.
pub(crate) fn folder(house: &House, root: &Digest) -> PathBuf {
    house.packages().join(root.hex())
}

fn write_package(house: &House, shipped: &Shipped, bundle: &Bundle) -> anyhow::Result<()> {
    let folder = folder(house, &bundle.root());
    bundle.write(&folder)?;
    for (path, bytes) in shipped.files.iter().filter(|(path, _)| path.starts_with("evidence/")) {
        let file = folder.join(path);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&file, bytes).with_context(|| format!("{}: cannot be written", file.display()))?;
    }
    Ok(())
}

/// Two fictitious persons sign; their keys live only in this call. Returns leaves, signatures and trusted key ids.
pub(crate) fn role_play(
    house: &House,
    release: &Release,
    evaluation: &Receipt,
) -> anyhow::Result<(Vec<Digest>, Vec<Signature>, Vec<String>)> {
    let site = &house.site;
    let (mut leaves, mut signatures, mut trusted) = (Vec::new(), Vec::new(), Vec::new());
    for (name, role) in [("Eva Role-Play", Role::Evaluator), ("Abel Role-Play", Role::Approver)] {
        let (mut seed, mut pseudonym) = (zeroize::Zeroizing::new([0; 32]), [0; 16]);
        getrandom::fill(seed.as_mut_slice()).context("the system's source of randomness")?;
        getrandom::fill(&mut pseudonym).context("the system's source of randomness")?;
        let actor = vidimus_log::Actor::staff(pseudonym, role.as_str());
        let signer = Signer::new(&actor.id, name, role, &seed);
        sign::enrol(house, &signer.public_key(), &format!("{name}, {}: a role-play person", role.as_str()))?;
        let t_ms = house.now_ms();
        let facts = SigningFacts { release: release.digest(), signed_leaf: evaluation.leaf, t_ms, tz: "UTC" };
        let signature = signer.sign(&facts)?;
        let id = site.new_id();
        let subject = site.vault().staff(&site.keyed("staff", actor.id.as_bytes()))?;
        let manifest = site.vault().commit(&subject, &id, "manifest", signature.manifest())?;
        let auth = Authentication { method: "role-play".into(), factors: 1, auth_ms: t_ms, first_in_session: true };
        let body: SignOff = signature.to_body(manifest, evaluation.leaf, auth);
        let refs = vec![evaluation.as_ref_to("evaluation")];
        let receipt = site.record(Draft { entry_id: id, actor, refs, body: body.into(), trace: house.trace() })?;
        leaves.push(receipt.leaf);
        trusted.push(signer.key_id());
        signatures.push(signature);
    }
    Ok((leaves, signatures, trusted))
}

/// The makers' record of a release for demonstration: what their two role-play persons sign beside the verdict.
/// `previous` is the digest of the release that it follows, `change` what is other than there.
pub(crate) fn propose(
    bundle: &Bundle,
    verdict: &Verdict,
    previous: Option<Digest>,
    change: &str,
) -> anyhow::Result<Release> {
    let package = bundle.package();
    let facts = ReleaseFacts {
        id: format!("REL-{}-{}", package.name, package.version),
        intended_use: package.intended_use.id.clone(),
        labelling: "1".into(),
        sites: vec!["any site for demonstration".into()],
        mode: Mode::Demonstration,
        previous,
        change: change.into(),
        anomalies: package.intended_use.limits.clone(),
        contributors: vec!["the makers of Vidimus".into()],
    };
    Ok(Release::propose(facts, std::slice::from_ref(verdict))?)
}

/// The newest registered model of this site, admitted against the log's own proofs; or why none is.
pub(crate) fn admit(house: &House) -> anyhow::Result<Result<ReleasedModel, AdmissionError>> {
    let models = house.site.models()?;
    let Some(row) = models.iter().max_by_key(|row| row.index) else { return Ok(Err(AdmissionError::NoDecision)) };
    let admitted = admit_row(house, row)?;
    if let Err(error) = &admitted {
        // What tried to read and may not is an incident, before anyone is told.
        let incident = Incident {
            code: "model-not-admitted".into(),
            severity: "error".into(),
            detail: Sha256(row.root),
            text: error.to_string().into(),
        };
        house.site.record(Draft::system(house.site.new_id(), incident))?;
    }
    Ok(admitted)
}

/// The model of one registry row, admitted.
pub(crate) fn admit_row(house: &House, row: &ModelRow) -> anyhow::Result<Result<ReleasedModel, AdmissionError>> {
    let held = Held::collect(house, &row.root)?;
    let folder = folder(house, &row.root);
    let bundle = match Bundle::read(&folder) {
        Ok(bundle) => bundle,
        Err(error) => return Ok(Err(error.into())),
    };
    let verdict = match std::fs::read(folder.join(VERDICT)) {
        Ok(verdict) => verdict,
        Err(error) => return Ok(Err(AdmissionError::Evidence(format!("{VERDICT} cannot be read: {error}")))),
    };
    let Some(evaluation) = &held.evaluation else { return Ok(Err(AdmissionError::NoDecision)) };
    let evidence = ReleaseEvidence {
        key: house.site.verifying_key(),
        registrations: &held.registrations,
        evaluation,
        verdict: &verdict,
        decisions: &held.decisions,
        rollouts: &held.rollouts,
    };
    Ok(ReleasedModel::admit(bundle, &evidence))
}

/// The log's entries about one package.
pub(crate) struct Held {
    /// Every `model_registered` of its root.
    pub registrations: Vec<Receipt>,
    /// The `evaluation` that the newest decision cites.
    pub evaluation: Option<Receipt>,
    /// Every `release_decision` about it.
    pub decisions: Vec<Receipt>,
    /// Every `rollout` of such a decision.
    pub rollouts: Vec<Receipt>,
}

/// An entry and its place.
struct Found {
    index: u64,
    entry: Entry,
}

impl Found {
    /// Whether it refers, in this relation, to one of these.
    fn cites(&self, rel: &str, of: &[Self]) -> bool {
        of.iter().any(|one| self.entry.refs.iter().any(|named| named.rel == rel && named.index == one.index))
    }
}

impl Held {
    /// Scans the log once.
    pub(crate) fn collect(house: &House, root: &Digest) -> anyhow::Result<Self> {
        const STEP: u64 = 1024;
        let site = &house.site;
        let (mut registrations, mut decisions, mut rollouts) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        while start < site.size() {
            for (index, bytes) in (start..).zip(site.entries(start..start + STEP)?) {
                let found = Found { index, entry: Entry::parse(&bytes)? };
                match &found.entry.body {
                    Body::ModelRegistered(body) if body.package == Sha256(*root) => registrations.push(found),
                    // Every registration of these files counts: a withdrawal is not undone by registering again.
                    Body::ReleaseDecision(_) if found.cites("model", &registrations) => decisions.push(found),
                    Body::Rollout(_) if found.cites("decision", &decisions) => rollouts.push(found),
                    _ => {}
                }
            }
            start += STEP;
        }
        let evaluation =
            decisions.last().and_then(|found| found.entry.refs.iter().find(|named| named.rel == "evaluation"));
        let receipts = |of: &[Found]| -> anyhow::Result<Vec<Receipt>> {
            of.iter().map(|found| Ok(site.receipt(&found.entry.entry_id)?)).collect()
        };
        Ok(Self {
            evaluation: evaluation.map(|named| site.receipt(&named.entry_id)).transpose()?,
            registrations: receipts(&registrations)?,
            decisions: receipts(&decisions)?,
            rollouts: receipts(&rollouts)?,
        })
    }
}

/// Withdraws a model at a site for demonstration: a decision signed by two role-play persons, which wins over every
/// release. Returns its receipt.
pub(crate) fn withdraw(house: &House, row: &ModelRow, reason: &str) -> anyhow::Result<Receipt> {
    let held = Held::collect(house, &row.root)?;
    let (Some(registered), Some(evaluation)) = (held.registrations.last(), &held.evaluation) else {
        anyhow::bail!("{} {}: the log holds no release that could be withdrawn", row.name, row.version);
    };
    let release = Release::parse(&std::fs::read(folder(house, &row.root).join(RELEASE))?)?;
    let (signoffs, ..) = role_play(house, &release, evaluation)?;
    let decision = ReleaseDecision {
        decision: Decision::Withdraw,
        scope: "demonstration".into(),
        reason: reason.into(),
        effective_ms: house.now_ms(),
        signoffs,
    };
    let refs = vec![registered.as_ref_to("model"), evaluation.as_ref_to("evaluation")];
    let entry_id = house.site.new_id();
    let draft = Draft { entry_id, actor: house.actor(), refs, body: decision.into(), trace: house.trace() };
    let row =
        Row::Model { root: row.root, name: row.name.clone(), version: row.version.clone(), state: "withdrawn".into() };
    Ok(house.site.record_with(draft, vec![row])?)
}
