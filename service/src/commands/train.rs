//! `vidimus train`: a model from a recipe, as a bundle that waits for its evaluation.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use vidimus_networks::train::{Progress, train};

use super::Common;
use crate::training::{Run, Shelf};

/// Arguments of `vidimus train`.
#[derive(Args)]
#[command(after_help = "Example:
  vidimus train --recipe models/recipes/cxr-pneumonia.toml --out my-bundle
The recipe's split is `train`; a row of another split cannot enter. The tuning figures flatter: only `vidimus evaluate` tells.")]
pub(crate) struct Train {
    /// The recipe; its `package.toml` and `card.md` lie in the folder of the same name beside it.
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    /// The folder with `labels.csv` and `train.tar` (default: by the recipe's name in the data folder).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The safetensors file to start from (default: the trunk in the data folder).
    #[arg(long, value_name = "FILE")]
    trunk: Option<PathBuf>,
    /// Where the bundle is written.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn run(verb: &Train, common: &Common) -> anyhow::Result<ExitCode> {
    let output = common.output();
    let shelf = Shelf::open(&verb.recipe)?;
    let data = verb.data.clone().unwrap_or_else(|| data_folder().join(&shelf.recipe.name));
    let start = "weights/efficientnet-lite0-imagenet/trunk.safetensors";
    let trunk = verb.trunk.clone().unwrap_or_else(|| data_folder().join(start));
    let bar = ProgressBar::new(shelf.recipe.schedule.steps as u64);
    bar.set_style(ProgressStyle::with_template("training {bar:40} {pos}/{len} steps, {msg}, {eta} left")?);
    let version = format!("vidimus {}", env!("CARGO_PKG_VERSION"));
    let trained = train(&shelf.recipe, &data, &trunk, &version, &mut |at: Progress| {
        bar.set_position(at.step as u64);
        bar.set_message(format!("loss {:.3}", at.loss));
    })?;
    bar.finish_and_clear();
    let bundle = shelf.bundle(Run::of(trained)?, &data)?;
    bundle.write(&verb.out)?;
    let package = bundle.package();
    let object = json!({ "id": package.name, "version": package.version, "package_root": bundle.root(), "dir": verb.out.to_string_lossy() });
    output.result(&object, || {
        format!(
            "{} {} written to {}, package root {}\nA candidate reads nothing: evaluate it by a protocol registered beforehand (vidimus evaluate).",
            package.name,
            package.version,
            verb.out.display(),
            bundle.root()
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The folder of reference data: `VIDIMUS_DATA`, or `../shared/data`.
fn data_folder() -> PathBuf {
    std::env::var_os("VIDIMUS_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from)
}
