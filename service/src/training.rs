//! From a training run to a bundle: weights, guard reference, record, manifest of what was learnt from, description
//! and card. The description and the card are files beside the recipe; nothing of a package is written in code.
//! Errors: files that cannot be read, a reference that cannot be fitted, a bundle that is none.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::Context as _;
use serde::Deserialize;
use vidimus_log::Digest;
use vidimus_networks::train::{Recipe, Trained};
use vidimus_reader::{Bundle, GuardReference};
use vidimus_validation::TrainingManifest;

/// Which files and patients the model was trained and tuned on, for the leakage check of the gate.
const MANIFEST: &str = "training-manifest.csv";

/// The guard's reference is fitted with the covariance shrunk by this towards its diagonal.
const SHRINKAGE: f64 = 0.05;
/// The limit is this quantile of the distances of the tuning films ...
const QUANTILE: f64 = 0.99;
/// ... times this. Films of other days lie a little further away than tuning films, images of other things half as far
/// again and more.
const SLACK: f64 = 1.25;

/// The parts of a finished run that make a bundle.
pub(crate) struct Run {
    pub weights: Vec<u8>,
    pub record: Vec<u8>,
    pub learnt: Vec<Vec<f32>>,
    pub tuning: Vec<Vec<f32>>,
}

impl Run {
    pub(crate) fn of(trained: Trained) -> anyhow::Result<Self> {
        let Trained { weights, record, reference, .. } = trained;
        let (mut learnt, mut tuning) = (Vec::new(), Vec::new());
        for (features, is_tuning) in reference.features.into_iter().zip(reference.tuning) {
            if is_tuning { tuning.push(features) } else { learnt.push(features) }
        }
        Ok(Self { weights, record: serde_json::to_vec_pretty(&record)?, learnt, tuning })
    }
}

/// The recipe and the files beside it: `NAME.toml`, `NAME/package.toml`, `NAME/card.md`.
pub(crate) struct Shelf {
    pub recipe: Recipe,
    package: Vec<u8>,
    card: Vec<u8>,
}

impl Shelf {
    pub(crate) fn open(recipe: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(recipe).with_context(|| format!("{}: cannot be read", recipe.display()))?;
        let beside = |name: &str| {
            let path = recipe.with_extension("").join(name);
            fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))
        };
        Ok(Self { recipe: Recipe::parse(&text)?, package: beside("package.toml")?, card: beside("card.md")? })
    }

    /// The bundle of a run on the data in `data`.
    pub(crate) fn bundle(self, run: Run, data: &Path) -> anyhow::Result<Bundle> {
        // Features are the channels' means, then their deviations: the guard compares the means.
        let means = |films: &[Vec<f32>]| -> Vec<Vec<f32>> {
            films.iter().map(|film| film.get(..film.len() / 2).unwrap_or_default().to_vec()).collect()
        };
        let guard = GuardReference::fit(&means(&run.learnt), &means(&run.tuning), SHRINKAGE, QUANTILE, SLACK)?;
        let files = [
            ("package.toml", self.package),
            ("card.md", self.card),
            ("weights.safetensors", run.weights),
            ("training-record.json", run.record),
            ("guard.safetensors", guard),
            (MANIFEST, manifest(data)?),
        ];
        let bundle = Bundle::from_files(files.map(|(path, bytes)| (path.to_owned(), bytes)))?;
        let prepared = serde_json::to_value(&bundle.package().preparation)?;
        anyhow::ensure!(
            prepared == serde_json::to_value(&self.recipe.preparation)?,
            "package.toml prepares images in another way than the recipe trained on"
        );
        Ok(bundle)
    }
}

#[derive(Deserialize)]
struct Row {
    split: String,
    patient: String,
    file_sha256: String,
}

/// One line a train row: digest of the file, patient's code of the data set.
fn manifest(data: &Path) -> anyhow::Result<Vec<u8>> {
    let path = data.join("labels.csv");
    let mut reader = csv::Reader::from_path(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let mut lines = BTreeSet::new();
    for row in reader.deserialize() {
        let row: Row = row.with_context(|| format!("{}: a row", path.display()))?;
        if row.split == "train" {
            lines.insert(format!("{},{}\n", row.file_sha256, row.patient));
        }
    }
    Ok(format!("file_sha256,patient\n{}", lines.into_iter().collect::<String>()).into_bytes())
}

/// The manifest of a bundle, if it declares one.
pub(crate) fn declared(bundle: &Bundle) -> anyhow::Result<Option<TrainingManifest>> {
    let Ok(bytes) = bundle.file(MANIFEST) else { return Ok(None) };
    let mut manifest = TrainingManifest::default();
    for line in std::str::from_utf8(bytes)?.lines().skip(1) {
        let (digest, patient) = line.split_once(',').with_context(|| format!("{MANIFEST}: a line without a comma"))?;
        manifest.files.insert(digest.parse::<Digest>()?);
        manifest.patients.insert(patient.to_owned());
    }
    Ok(Some(manifest))
}
