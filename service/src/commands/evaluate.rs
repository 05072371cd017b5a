//! `vidimus evaluate`: a model on a locked set, by a protocol registered beforehand. The look is in the log before the
//! first label is read.
//!
//! A shipped verdict is repeated (purpose `reference_audit`, no budget spent) and must come out byte for byte; a new
//! candidate gets the one look that its protocol has.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use vidimus_imaging::{
    Instance,
    import::{ImportFacts, picture_to_instance},
};
use vidimus_log::{Body, Digest, Draft, Receipt, Recorder as _, Ref};
use vidimus_reader::{Bundle, Candidate, NotAccepted};
use vidimus_validation::{
    Ledger, LockedSet, Look, LookRequest, Protocol, Rating, Release, Subject, Verdict, evaluate_with, judge,
    signatures_to_toml,
};

use super::{Common, exit};
use crate::{gate, shipped, site::House, training};

/// Arguments of `vidimus evaluate`.
#[derive(Args)]
#[command(after_help = "Examples:
  vidimus evaluate                    repeat the shipped model's evaluation on the set that travels with the source
  vidimus evaluate --bundle my-bundle --protocol my-protocol.toml --out my-evidence")]
pub(crate) struct Evaluate {
    /// The bundle's folder (default: the shipped model).
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// The locked set's folder.
    #[arg(long, value_name = "DIR", default_value = "validation/datasets/cxr-pneumonia-test")]
    set: PathBuf,
    /// The protocol.
    #[arg(long, value_name = "FILE", default_value = "validation/protocols/cxr-pneumonia-2.toml")]
    protocol: PathBuf,
    /// Where verdict and receipts are written (default: `evaluations` in the site's folder).
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Also propose a release for demonstration and let two role-play persons sign it (for the makers of a bundle).
    #[arg(long)]
    propose_demonstration: bool,
    /// What is other than in the release before, in a sentence (for the makers of a bundle).
    #[arg(long, value_name = "TEXT", default_value = "first release", requires = "propose_demonstration")]
    change: String,
}

pub(super) fn run(verb: &Evaluate, common: &Common) -> anyhow::Result<ExitCode> {
    let output = common.output();
    let dir = common.dir()?;
    let set = LockedSet::open_manifest(&verb.set)?;
    let protocol = Protocol::load(&verb.protocol)?;
    let (bundle, known) = subject(verb.bundle.as_deref())?;
    let candidate = Candidate::load(bundle)?;
    let house = if House::exists(&dir) { House::open(&dir)? } else { House::create(&dir)? };
    let evaluated = evaluate(&house, &set, &protocol, &candidate, &known)?;
    let out = verb.out.clone().unwrap_or_else(|| dir.join("evaluations").join(evaluated.verdict.digest().hex()));
    let protocol = fs::read(&verb.protocol).with_context(|| format!("{}: cannot be read", verb.protocol.display()))?;
    write(&house, &out, &evaluated, protocol)?;
    if verb.propose_demonstration {
        let previous = previous(&candidate.bundle().package().name)?;
        let release = gate::propose(candidate.bundle(), &evaluated.verdict, previous, &verb.change)?;
        let (_, signatures, _) = gate::role_play(&house, &release, &evaluated.evaluation)?;
        fs::write(out.join("release.toml"), release.bytes())?;
        fs::write(out.join("signatures.toml"), signatures_to_toml(&signatures)?)?;
    }
    house.close()?;

    let verdict = &evaluated.verdict;
    let repeated = evaluated.repeats.as_ref().map(|digest| *digest == verdict.digest());
    let mut object = verdict.value().clone();
    object["verdict_sha256"] = json!(verdict.digest());
    object["repeats_shipped_verdict"] = json!(repeated);
    object["files"] = json!(out.to_string_lossy());
    output.result(&object, || text(verdict, &out, repeated))?;
    Ok(exit(usize::from(repeated == Some(false))))
}

/// The bundle under test, and the verdicts at hand about its family: those of the shipped bundles. They are counted as
/// looks that were had, whatever this site's own log holds.
fn subject(folder: Option<&Path>) -> anyhow::Result<(Bundle, Vec<Verdict>)> {
    let verdicts = shipped::bundles()
        .iter()
        .filter_map(|bundle| bundle.files.get("evidence/verdict.json"))
        .map(|bytes| Ok(Verdict::parse(bytes)?))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let bundle = match folder {
        Some(folder) => Bundle::read(folder)?,
        None => {
            let newest = shipped::newest().into_iter().next();
            Bundle::from_files(newest.context("this build carries no model: name one with --bundle DIR")?.files)?
        }
    };
    let family = bundle.package().name.clone();
    Ok((bundle, verdicts.into_iter().filter(|verdict| verdict.family() == family).collect()))
}

/// The digest of the newest shipped release of a family.
fn previous(family: &str) -> anyhow::Result<Option<Digest>> {
    let shipped = shipped::newest().into_iter().find(|shipped| shipped.name.split('/').next() == Some(family));
    let Some(shipped) = shipped else { return Ok(None) };
    shipped.files.get("evidence/release.toml").map(|bytes| Ok(Release::parse(bytes)?.digest())).transpose()
}

/// What an evaluation left.
struct Evaluated {
    verdict: Verdict,
    /// The shipped verdict that it repeats.
    repeats: Option<Digest>,
    locked: Receipt,
    look: Receipt,
    evaluation: Receipt,
}

/// Registration, look, rating, verdict and evaluation, each an entry of the log.
fn evaluate(
    house: &House,
    set: &LockedSet,
    protocol: &Protocol,
    candidate: &Candidate,
    known: &[Verdict],
) -> anyhow::Result<Evaluated> {
    let bundle = candidate.bundle();
    let package = bundle.package();
    let record = |refs: Vec<Ref>, body: Body| -> anyhow::Result<Receipt> {
        let site = &house.site;
        let draft = Draft { entry_id: site.new_id(), actor: house.actor(), refs, body, trace: house.trace() };
        Ok(site.record(draft)?)
    };
    let mut ledger = ledger(house)?;
    // What this log does not hold yet is registered before the look; the order of the tree proves it.
    if ledger.model(bundle.root()).is_none() {
        record(Vec::new(), gate::registration(bundle)?.into())?;
    }
    if ledger.set(set.root()).is_none() {
        record(Vec::new(), set.to_body().into())?;
    }
    if ledger.protocol(protocol.digest(), set.root()).is_none() {
        record(Vec::new(), protocol.to_body().into())?;
    }
    ledger = self::ledger(house)?;
    let subject = Subject {
        family: package.name.clone(),
        version: package.version.clone(),
        root: bundle.root(),
        training: training::declared(bundle)?,
    };
    let gate_build = house.runtime;
    let request = LookRequest {
        set,
        protocol,
        subject: &subject,
        gate: gate_build,
        ledger: &ledger,
        verdicts: known,
        actor: house.actor(),
    };
    let look = Look::open(&request, &house.site)?;
    let opened = look.receipt().clone();
    let bar = ProgressBar::new(look.len() as u64);
    bar.set_style(ProgressStyle::with_template("evaluating {bar:40} {pos}/{len}, {eta} left")?);
    let evaluation = evaluate_with(protocol, look, &|case: &[u8]| rate(candidate, case), &mut |done, _| {
        bar.set_position(done as u64)
    })?;
    bar.finish_and_clear();
    let verdict = judge(&evaluation)?;
    let reference =
        |placed: Option<Ref>, what: &str| placed.with_context(|| format!("the log lost its entry of the {what}"));
    let refs = vec![
        reference(ledger.model(bundle.root()).map(|placed| placed.as_ref_to("model")), "model")?,
        reference(ledger.set(set.root()).map(|placed| placed.as_ref_to("dataset")), "set")?,
        opened.as_ref_to("opened"),
    ];
    let receipt = record(refs, verdict.to_body(gate_build, None).into())?;
    let same = |one: &&Verdict| one.package_root() == verdict.package_root() && one.protocol() == verdict.protocol();
    Ok(Evaluated {
        repeats: known.iter().find(same).map(Verdict::digest),
        verdict,
        locked: house
            .site
            .receipt(&reference(ledger.set(set.root()).map(|placed| placed.as_ref_to("dataset")), "set")?.entry_id)?,
        look: opened,
        evaluation: receipt,
    })
}

fn ledger(house: &House) -> anyhow::Result<Ledger> {
    Ok(Ledger::read(house.site.entries(0..house.site.size())?)?)
}

/// Rates one file of the set as a reader would: import, guard, network.
fn rate(candidate: &Candidate, case: &[u8]) -> Rating {
    let facts = ImportFacts {
        modality: Some("DX".into()),
        body_part: Some("CHEST".into()),
        view: Some("AP".into()),
        ..ImportFacts::default()
    };
    let instance = match picture_to_instance(case, &facts).and_then(Instance::from_vec) {
        Ok(instance) => instance,
        Err(error) => return Rating::Failed { text: error.to_string() },
    };
    let accepted = match candidate.accept(&[&instance]) {
        Ok(accepted) => accepted,
        Err(NotAccepted::Refused(refusal)) => return Rating::NotEvaluated { code: refusal.code.to_string() },
        Err(NotAccepted::Unreadable(error)) => return Rating::Failed { text: error.to_string() },
        Err(NotAccepted::Broken(error)) => return Rating::Failed { text: error.to_string() },
    };
    let package = candidate.bundle().package();
    match candidate.score(&accepted.images()[0].input) {
        Err(error) => Rating::Failed { text: error.to_string() },
        Ok((scores, _)) => {
            let classes = package.classes.iter().map(|class| class.name.clone()).zip(scores.classes);
            let findings = package.findings.iter().map(|finding| finding.id.clone());
            let findings = findings.zip(scores.findings.iter().map(|probability| probability.get()));
            Rating::Evaluated { probabilities: classes.chain(findings).collect() }
        }
    }
}

fn write(house: &House, out: &Path, evaluated: &Evaluated, protocol: Vec<u8>) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| format!("{}: cannot be made", out.display()))?;
    let key = format!("{}\n", house.site.verifying_key().text());
    let files = [
        ("verdict.json", evaluated.verdict.bytes().to_vec()),
        ("protocol.toml", protocol),
        ("dataset-locked.tlog-proof", evaluated.locked.to_tlog_proof().into_bytes()),
        ("look.tlog-proof", evaluated.look.to_tlog_proof().into_bytes()),
        ("evaluation.tlog-proof", evaluated.evaluation.to_tlog_proof().into_bytes()),
        ("makers.vkey", key.into_bytes()),
    ];
    for (name, bytes) in files {
        let path = out.join(name);
        fs::write(&path, bytes).with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    Ok(())
}

/// The verdict for a person.
fn text(verdict: &Verdict, out: &Path, repeated: Option<bool>) -> String {
    let value = verdict.value();
    let word = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines = vec![format!(
        "{} {} on {} {} ({} images): {}, look {} of {}",
        verdict.family(),
        verdict.version(),
        word(&value["set"]["name"]),
        word(&value["set"]["version"]),
        value["cases"]["n"],
        verdict.result().as_str(),
        value["look"]["number"],
        value["look"]["budget"],
    )];
    for endpoint in value["endpoints"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  {} {}: {}, 95 % [{}, {}], at least {}: {}",
            word(&endpoint["id"]),
            word(&endpoint["statistic"]),
            word(&endpoint["estimate"]),
            word(&endpoint["ci95"]["low"]),
            word(&endpoint["ci95"]["high"]),
            word(&endpoint["point_min"]),
            word(&endpoint["result"]),
        ));
    }
    lines.push(match repeated {
        None => format!("Written to {}", out.display()),
        Some(true) => format!("The same bytes as the shipped verdict. Written to {}", out.display()),
        Some(false) => format!("NOT the same bytes as the shipped verdict: see {}", out.display()),
    });
    lines.join("\n")
}
