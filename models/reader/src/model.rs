//! A model package that runs: its network, its scores, its explanation. A candidate runs for evaluation only; for
//! people reads what [`crate::ReleasedModel`] admits.
//! Shapes: input `[1, channels, side, side]`; logits and class probabilities in the order of the package's classes.
//! Errors: [`BundleError`] for a package that this build cannot run, [`ReadError`] for a run that fails.

use candle_core::Tensor;
use vidimus_engine::Memory;
use vidimus_networks::{
    ActivationMap, Classifier, ClassifierConfig, ExactClassifier, Forward, NetworkError, Score,
    efficientnet_lite0::Stages,
};

use crate::{
    bundle::{Bundle, BundleError, Package},
    explain::{self, Saliency},
    guard::{AcceptedImage, GuardReference, GuardScore},
    read::ReadError,
    reading::{NotAProbability, Probability},
};

/// The precision profile of releases from 1.1.0 on: compiled plans, the same bits on every machine.
const EXACT: &str = vidimus_engine::PROFILE;
/// The profile of the first release, kept so that its readings can be replayed: Candle's glue between exact kernels.
const CANDLE: &str = "f32-candle";
/// The architecture that this build knows.
const ARCHITECTURE: &str = "efficientnet-lite0-two-stage-head";

/// A bundle whose files agree with its package: it runs, but only for evaluation.
pub struct Candidate {
    bundle: Bundle,
    runner: Runner,
    guard: GuardReference,
}

/// The network under the package's precision profile.
enum Runner {
    Candle(Box<Classifier>),
    Exact(Box<ExactClassifier>),
}

impl Runner {
    fn load(weights: &[u8], package: &Package) -> Result<Self, NetworkError> {
        let config = ClassifierConfig { classes: package.classes.iter().map(|class| class.name.clone()).collect() };
        Ok(if package.precision == EXACT {
            Self::Exact(Box::new(ExactClassifier::load(weights, &config, package.preparation.side)?))
        } else {
            Self::Candle(Box::new(Classifier::load(weights, &config)?))
        })
    }

    /// The head, by which a score's gradient is known in closed form.
    fn classifier(&self) -> &Classifier {
        match self {
            Self::Candle(classifier) => classifier,
            Self::Exact(exact) => exact.classifier(),
        }
    }

    fn forward(&self, input: &Tensor) -> Result<Forward, NetworkError> {
        match self {
            Self::Candle(classifier) => classifier.forward(input),
            Self::Exact(exact) => exact.forward(input),
        }
    }

    fn stages(&self, input: &Tensor) -> Result<Stages, NetworkError> {
        match self {
            Self::Candle(classifier) => classifier.stages(input),
            Self::Exact(exact) => exact.stages(input),
        }
    }

    fn memory(&self) -> Memory {
        match self {
            // Candle's form holds the file's tensors and nothing packed
            Self::Candle(_) => Memory::default(),
            Self::Exact(exact) => exact.memory(),
        }
    }
}

/// What the network said about one image.
#[derive(Clone, Debug)]
pub struct Scores {
    /// Logits in the order of the classes.
    pub logits: Vec<f32>,
    /// Probabilities of the classes; they add up to 1.
    pub classes: Vec<f64>,
    /// Probabilities of the findings, in the package's order.
    pub findings: Vec<Probability>,
}

impl Candidate {
    /// Loads the network and the guard's reference of a bundle.
    pub fn load(bundle: Bundle) -> Result<Self, BundleError> {
        let package = bundle.package();
        let invalid = |what: String| BundleError::Invalid { path: "package.toml".into(), what };
        if ![EXACT, CANDLE].contains(&package.precision.as_str()) {
            let found = &package.precision;
            return Err(invalid(format!("precision: this build computes {EXACT} and {CANDLE}, found {found}")));
        }
        if package.architecture != ARCHITECTURE {
            return Err(invalid(format!(
                "architecture: this build knows {ARCHITECTURE}, found {}",
                package.architecture
            )));
        }
        let runner = Runner::load(bundle.file(&package.weights)?, package)
            .map_err(|error| BundleError::Invalid { path: package.weights.clone(), what: error.to_string() })?;
        let guard = GuardReference::load(&package.guard, bundle.file(&package.guard)?)?;
        Ok(Self { bundle, runner, guard })
    }

    /// The bundle.
    pub const fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// What the compiled network holds in memory.
    pub fn memory(&self) -> Memory {
        self.runner.memory()
    }

    /// Runs the network on an input `[1, C, side, side]`.
    pub fn score(&self, input: &Tensor) -> Result<(Scores, Forward), ReadError> {
        let forward = self.runner.forward(input)?;
        let logits = forward.logits.flatten_all()?.to_vec1::<f32>()?;
        Ok((self.scores(logits)?, forward))
    }

    /// Runs the network on several inputs at once, `[N, C, side, side]`; each gets the bits that it has alone.
    pub(crate) fn score_batch(&self, inputs: &Tensor) -> Result<(Vec<Scores>, Forward), ReadError> {
        let forward = self.runner.forward(inputs)?;
        let scores = forward.logits.to_vec2::<f32>()?.into_iter().map(|logits| self.scores(logits));
        Ok((scores.collect::<Result<_, _>>()?, forward))
    }

    /// Probabilities of classes and findings.
    fn scores(&self, logits: Vec<f32>) -> Result<Scores, ReadError> {
        let package = self.bundle.package();
        let classes = softmax(&logits, package.temperature);
        let findings = package
            .findings
            .iter()
            .map(|finding| self.finding_probability(&finding.classes, &classes))
            .collect::<Result<_, _>>()?;
        Ok(Scores { logits, classes, findings })
    }

    fn finding_probability(&self, names: &[String], classes: &[f64]) -> Result<Probability, NotAProbability> {
        let sum = self
            .bundle
            .package()
            .classes
            .iter()
            .zip(classes)
            .filter(|(class, _)| names.contains(&class.name))
            .map(|(_, probability)| probability)
            .sum::<f64>();
        // Three rounded shares may add up to a last digit more than 1.
        Probability::new(if sum > 1.0 && sum < 1.0 + 1e-9 { 1.0 } else { sum })
    }

    /// Distances of inputs `[N, C, side, side]` from the training films. Runs the trunk alone: before the intent no
    /// answer is computed.
    pub(crate) fn distances(&self, inputs: &Tensor) -> Result<Vec<GuardScore>, NetworkError> {
        let stages = self.runner.stages(inputs)?;
        let features = |image| Ok(self.guard.score(&Classifier::features(&stages, image)?));
        (0..inputs.dim(0)?).map(features).collect()
    }

    /// The first finding's classes among the logits.
    fn finding_group(&self) -> Vec<usize> {
        let package = self.bundle.package();
        let of_finding = |class: &str| {
            package.findings.first().is_some_and(|finding| finding.classes.iter().any(|one| one == class))
        };
        package.classes.iter().enumerate().filter(|(_, class)| of_finding(&class.name)).map(|(k, _)| k).collect()
    }

    /// The log odds of the first finding against all else.
    pub(crate) fn log_odds(&self, scores: &Scores) -> f64 {
        explain::Score::Against(self.finding_group()).value(&scores.logits, scores.logits.len())
    }

    /// Grad-CAM of the first finding's log-odds for image `at` of a pass, on the network's grid.
    pub(crate) fn activation_map(&self, forward: &Forward, at: usize) -> Result<ActivationMap, ReadError> {
        let score = Score::Against { group: self.finding_group() };
        Ok(self.runner.classifier().grad_cam(forward, at, &score)?)
    }

    /// That map in the coordinates of the image.
    pub(crate) fn saliency(&self, map: &ActivationMap, image: &AcceptedImage) -> Saliency {
        let package = self.bundle.package();
        let method = format!("{}/{}", package.saliency.method, package.saliency.version);
        let size = [image.display.rows, image.display.columns];
        Saliency::new(method, [map.rows, map.columns], map.positive(), package.preparation.cut_per_side, size)
    }
}

/// Softmax of logits over the temperature, in f64, by the pinned `exp`.
fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let scaled: Vec<f64> = logits.iter().map(|&logit| f64::from(logit) / temperature).collect();
    let largest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scaled.iter().map(|&value| libm::exp(value - largest)).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}
