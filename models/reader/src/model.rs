//! A model package that runs: its network, its scores, its explanation. A candidate runs for evaluation only; for
//! people reads what [`crate::ReleasedModel`] admits.
//! Shapes: input `[1, channels, side, side]`; logits and class probabilities in the order of the package's classes.
//! Errors: [`BundleError`] for a package that this build cannot run, [`ReadError`] for a run that fails.

use candle_core::Tensor;
use vidimus_networks::{Classifier, ClassifierConfig, Forward, NetworkError, Score};

use crate::{
    bundle::{Bundle, BundleError},
    explain::Saliency,
    guard::{AcceptedImage, GuardReference, GuardScore},
    read::ReadError,
    reading::{NotAProbability, Probability},
};

/// The precision profile that this build computes.
const PRECISION: &str = "f32-candle";
/// The architecture that this build knows.
const ARCHITECTURE: &str = "efficientnet-lite0-two-stage-head";

/// A bundle whose files agree with its package: it runs, but only for evaluation.
pub struct Candidate {
    bundle: Bundle,
    classifier: Classifier,
    guard: GuardReference,
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
        if package.precision != PRECISION {
            return Err(invalid(format!("precision: this build computes {PRECISION}, found {}", package.precision)));
        }
        if package.architecture != ARCHITECTURE {
            return Err(invalid(format!(
                "architecture: this build knows {ARCHITECTURE}, found {}",
                package.architecture
            )));
        }
        let config = ClassifierConfig { classes: package.classes.iter().map(|class| class.name.clone()).collect() };
        let classifier = Classifier::load(bundle.file(&package.weights)?, &config)
            .map_err(|error| BundleError::Invalid { path: package.weights.clone(), what: error.to_string() })?;
        let guard = GuardReference::load(&package.guard, bundle.file(&package.guard)?)?;
        Ok(Self { bundle, classifier, guard })
    }

    /// The bundle.
    pub const fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Runs the network on an input `[1, C, side, side]`.
    pub fn score(&self, input: &Tensor) -> Result<(Scores, Forward), ReadError> {
        let forward = self.classifier.forward(input)?;
        let logits = forward.logits.flatten_all()?.to_vec1::<f32>()?;
        let classes = softmax(&logits, self.bundle.package().temperature);
        let findings = self
            .bundle
            .package()
            .findings
            .iter()
            .map(|finding| self.finding_probability(&finding.classes, &classes))
            .collect::<Result<_, _>>()?;
        Ok((Scores { logits, classes, findings }, forward))
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

    /// Distance of an input from the training films. Runs the trunk alone: before the intent no answer is computed.
    pub(crate) fn distance(&self, input: &Tensor) -> Result<GuardScore, NetworkError> {
        Ok(self.guard.score(&Classifier::features(&self.classifier.stages(input)?, 0)?))
    }

    /// Grad-CAM of the first finding's log-odds.
    pub(crate) fn explain(&self, forward: &Forward, image: &AcceptedImage) -> Result<Saliency, ReadError> {
        let package = self.bundle.package();
        let of_finding = |class: &str| {
            package.findings.first().is_some_and(|finding| finding.classes.iter().any(|one| one == class))
        };
        let group =
            package.classes.iter().enumerate().filter(|(_, class)| of_finding(&class.name)).map(|(k, _)| k).collect();
        let map = self.classifier.grad_cam(forward, 0, &Score::Against { group })?;
        let method = format!("{}/{}", package.saliency.method, package.saliency.version);
        let image = [image.display.rows, image.display.columns];
        Ok(Saliency::new(method, [map.rows, map.columns], map.positive(), package.preparation.cut_per_side, image))
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
