//! `vidimus model`: the models of this site and what the log says of them.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use serde_json::{Value, json};
use vidimus_reader::{Interval, ReleasedModel};
use vidimus_store::ModelRow;

use super::{Common, bench, exit};
use crate::{
    gate,
    research::{self, Candidate, Files, NOTICE},
    site::House,
};

/// Verbs of `vidimus model`.
#[derive(Subcommand)]
#[command(after_help = "Examples:
  vidimus model show cxr-pneumonia
  vidimus model import --architecture models/networks/published/meshnet-tissue.toml --weights meshnet-tissue.safetensors
  vidimus model run meshnet-tissue t1.nii.gz --out result/
  vidimus model withdraw cxr-pneumonia --reason 'wrong in infants'")]
pub(crate) enum Model {
    /// The registered models, one a line.
    List,
    /// One model: package, claim, limits, operating point, figures, release.
    Show {
        /// The model's name, or the start of its package root.
        name: String,
    },
    /// Import a published network as a candidate: for research, never a released model.
    Import {
        /// What its tensors cannot tell: see models/networks/published/README.md.
        #[arg(long, value_name = "FILE.toml")]
        architecture: PathBuf,
        /// safetensors, or PyTorch's zip format with a state dictionary; no pickle is executed.
        #[arg(long, value_name = "FILE")]
        weights: PathBuf,
        /// Its card, kept beside it.
        #[arg(long, value_name = "FILE")]
        card: Option<PathBuf>,
        /// What it is called here (default: the weights' file name up to its first dot).
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Run a candidate outside clinical use; the run is in the log as research.
    Run {
        /// The candidate's name.
        name: String,
        /// A picture, a DICOM file or series, a NIfTI volume, or a .safetensors file with a prepared tensor `input`.
        input: PathBuf,
        /// Where the results go.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Withdraw a model: from here on it reads nothing at this site, whatever was or will be released.
    Withdraw {
        /// The model's name, or the start of its package root.
        name: String,
        /// Why, in a sentence that stays in the log.
        #[arg(long)]
        reason: String,
    },
    /// Time a network from outside, for the comparison with peers (tests/peers). Opens no site.
    Bench(bench::Bench),
}

pub(super) fn run(verb: &Model, common: &Common) -> anyhow::Result<ExitCode> {
    if let Model::Bench(verb) = verb {
        return bench::run(verb);
    }
    let output = common.output();
    let dir = common.dir()?;
    match verb {
        Model::Import { architecture, weights, card, name } => {
            let files = Files::read(architecture, weights, card.as_deref())?;
            let house = House::open(&dir)?;
            let candidate = research::import(&house, &files, weights, name.as_deref())?;
            output.result(&imported(&candidate), || {
                let (name, family, numbers) = (&candidate.name, candidate.family(), candidate.parameters());
                let mut lines = vec![format!("{name}: a {family} of {numbers} numbers, {NOTICE}")];
                lines.extend(candidate.notes.iter().map(|note| format!("  {note}")));
                lines.join("\n")
            })?;
            house.close()?;
            return Ok(ExitCode::SUCCESS);
        }
        Model::Run { name, input, out } => {
            let house = House::open(&dir)?;
            let object = research::run(&house, &Candidate::load(&house, name)?, input, out)?;
            output.result(&object, || run_text(&object))?;
            house.close()?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    if let Model::Withdraw { name, reason } = verb {
        let house = House::open(&dir)?;
        anyhow::ensure!(
            house.is_demonstration()?,
            "at this site two people sign a withdrawal; this version has role-play signers only"
        );
        for row in named(&house, Some(name))? {
            let receipt = gate::withdraw(&house, &row, reason)?;
            let object = json!({ "id": row.name, "version": row.version, "withdrawn_by": receipt.index });
            output.result(&object, || format!("{} {} withdrawn by entry {}", row.name, row.version, receipt.index))?;
        }
        house.close()?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = match verb {
        Model::Show { name } => Some(name.as_str()),
        _ => None,
    };
    let house = House::open_read(&dir)?;
    let mut faults = 0;
    for row in named(&house, name)? {
        let admitted = gate::admit_row(&house, &row)?;
        faults += usize::from(admitted.is_err());
        let mut object = json!({
            "id": row.name,
            "version": row.version,
            "package_root": row.root,
            "state": row.state,
            "admitted": admitted.is_ok(),
            "error": admitted.as_ref().err().map(ToString::to_string),
        });
        let mut text = match &admitted {
            Ok(model) => format!("{} {}  {}  root {}", row.name, row.version, model.deployment().mode(), row.root),
            Err(error) => format!("{} {}  NOT ADMITTED: {error}", row.name, row.version),
        };
        if let (Model::Show { .. }, Ok(model)) = (verb, &admitted) {
            let package = model.candidate().bundle().package();
            let figures = model.figures();
            object["package"] = json!(package);
            object["mode"] = json!(model.deployment().mode());
            object["figures"] = json!({
                "sensitivity": figures.sensitivity,
                "specificity": figures.specificity,
                "ci95": figures.ci95,
                "calibration": figures.calibration,
                "set": figures.set,
            });
            object["release"] =
                json!({ "entry_id": model.decision().entry_id.to_string(), "index": model.decision().index });
            text.push_str(&description(model));
        }
        output.result(&object, || text)?;
    }
    Ok(exit(faults))
}

/// The object of an import.
fn imported(candidate: &Candidate) -> Value {
    let network = &candidate.network;
    json!({
        "model": candidate.name,
        "architecture": candidate.family(),
        "title": candidate.description.title,
        "state": "candidate",
        "purpose": "research",
        "notice": NOTICE,
        "format": candidate.format.name(),
        "weights_sha256": candidate.weights,
        "architecture_sha256": candidate.architecture,
        "package_root": candidate.root,
        "parameters": candidate.parameters(),
        "channels": network.channels,
        "outputs": network.outputs,
        "notes": candidate.notes,
        "registered": { "entry_id": candidate.registered.entry_id.to_string(), "index": candidate.registered.index },
    })
}

/// A research run for a person.
fn run_text(object: &Value) -> String {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines = vec![format!("{} ({}): {NOTICE}", word(&object["model"]), word(&object["architecture"]))];
    for measured in object["measurements"].as_array().into_iter().flatten() {
        let value = measured["value"].as_f64().unwrap_or_default();
        lines.push(format!("  {:<28} {value:>14.1} {}", word(&measured["name"]), word(&measured["unit"])));
    }
    lines.extend(object["notes"].as_array().into_iter().flatten().map(|note| format!("  {}", word(note))));
    for (name, path) in object["files"].as_object().into_iter().flatten() {
        lines.push(format!("  {name}: {}", word(path)));
    }
    lines.join("\n")
}

/// The registered models, or those of this name or of a root that starts with it.
fn named(house: &House, name: Option<&str>) -> anyhow::Result<Vec<ModelRow>> {
    let mut rows = house.site.models()?;
    if let Some(name) = name {
        rows.retain(|row| row.name == name || row.root.hex().starts_with(name));
        anyhow::ensure!(
            !rows.is_empty(),
            "{name}: the site knows no such model; `vidimus model list` shows what it knows"
        );
    }
    Ok(rows)
}

/// Claim, limits, figures and release of a model, as lines.
fn description(model: &ReleasedModel) -> String {
    let package = model.candidate().bundle().package();
    let figures = model.figures();
    let proportion = |value: f64, interval: Interval| format!("{value:.3} [{:.3}, {:.3}]", interval.low, interval.high);
    let mut lines = vec![
        String::new(),
        package.title.clone(),
        format!("Intended use {}: {}", package.intended_use.id, package.intended_use.text),
    ];
    lines.extend(package.intended_use.limits.iter().map(|limit| format!("  - {limit}")));
    for finding in &package.findings {
        let point = &finding.operating_point;
        lines.push(format!("{} at {} ({}): {}", finding.code.display, point.threshold, point.name, point.fixed));
    }
    lines.push(format!(
        "Sensitivity {}, specificity {} on {}",
        proportion(figures.sensitivity, figures.ci95.sensitivity),
        proportion(figures.specificity, figures.ci95.specificity),
        figures.set
    ));
    if let Some(calibration) = &figures.calibration {
        lines.push(format!("Calibration there: {}", calibration.sentence()));
    }
    lines.push(format!("Released by entry {} of the log", model.decision().index));
    lines.join("\n")
}
