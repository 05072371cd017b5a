//! The recipe: everything that decides a training run besides data, trunk and code, as a TOML file.
//! Units: shares and factors as plain numbers; `_log` are half-widths of a uniform draw of a natural logarithm.
//! Errors: `TrainError::Recipe` names the key. Unknown keys are refused.

use super::TrainError;
use crate::efficientnet_lite0::BLOCKS;
use crate::preparation::Preparation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A training run's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The model's name.
    pub name: String,
    /// Source of every random number.
    pub seed: u64,
    /// Classes in the order of the logits, by the names in the data's labels.
    pub classes: Vec<String>,
    /// The classes whose probabilities add up to the finding.
    pub finding: Vec<String>,
    /// From picture to input, as in reading.
    pub preparation: Preparation,
    /// Length and shape of the run.
    pub schedule: Schedule,
    /// Which images are drawn.
    pub sampling: Sampling,
    /// How the weights move.
    pub optimiser: Optimiser,
    /// How an image is varied.
    pub augmentation: Augmentation,
}

/// Length and shape of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Steps of the optimiser.
    pub steps: usize,
    /// Images a step.
    pub batch: usize,
    /// Share of the steps in which the rate rises; it then falls along a cosine.
    pub warm_up_share: f64,
    /// Decay of the running average of the weights, which is what is kept.
    pub average: f64,
    /// Share of each class's patients kept apart for tuning figures.
    pub tuning_share: f64,
    /// Steps between tuning figures.
    pub tuning_every: usize,
}

/// Which images are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Images of a batch by class.
    pub per_batch: BTreeMap<String, usize>,
}

/// How the weights move: AdamW with a rate for each block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimiser {
    /// Rate of the last block at its height.
    pub learning_rate: f64,
    /// Factor from one block to the one below.
    pub per_block: f64,
    /// Factor of the head's rate.
    pub head_factor: f64,
    /// Decoupled decay of weights (not of scales, shifts and biases).
    pub decay: f64,
    /// Largest norm of all gradients together.
    pub clip: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Blocks, from the stem on, that do not learn; the stem never does.
    pub frozen_blocks: usize,
    /// Share of the pooled numbers dropped.
    pub dropout: f64,
    /// Share of the target spread over all classes.
    pub label_smoothing: f64,
}

/// How an image is varied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Least share of the area in a crop.
    pub area_min: f64,
    /// Aspect of a crop.
    pub aspect_log: f64,
    /// Largest turn to either side.
    pub turn_degrees: f64,
    /// Share of mirrored images.
    pub flip: f64,
    /// Exponent on the grey values.
    pub gamma_log: f64,
    /// Factor on the distance from the mean.
    pub contrast_log: f64,
    /// Largest shift of the grey values.
    pub brightness: f64,
    /// Largest weight of the difference from a blurred copy; negative blurs, positive sharpens.
    pub sharpness: f64,
    /// Largest standard deviation of added noise.
    pub noise: f64,
    /// Share of images with an erased box.
    pub erase: f64,
    /// Least side of the box, as a share of the image's.
    pub erase_side_min: f64,
    /// Largest side of the box.
    pub erase_side_max: f64,
}

impl Recipe {
    /// Reads and checks a recipe.
    pub fn parse(text: &str) -> Result<Self, TrainError> {
        let recipe: Self = toml::from_str(text).map_err(|error| TrainError::RecipeText(Box::new(error)))?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Positions of the finding's classes among the logits.
    #[must_use]
    pub fn finding_classes(&self) -> Vec<usize> {
        (0..self.classes.len()).filter(|&k| self.finding.contains(&self.classes[k])).collect()
    }

    fn check(&self) -> Result<(), TrainError> {
        let wrong = |key: &'static str, problem: &str| Err(TrainError::Recipe { key, problem: problem.into() });
        self.preparation.check().map_err(TrainError::Network)?;
        let drawn: usize = self.sampling.per_batch.values().sum();
        let known = |name: &String| self.classes.contains(name);
        if self.classes.len() < 2 || !self.finding.iter().all(known) {
            return wrong("classes", "at least two, with every class of `finding` among them");
        }
        if self.finding_classes().is_empty() || self.finding_classes().len() == self.classes.len() {
            return wrong("finding", "some of the classes, not all");
        }
        if drawn != self.schedule.batch || drawn == 0 || !self.sampling.per_batch.keys().all(known) {
            return wrong("sampling.per_batch", "known classes whose images add up to schedule.batch");
        }
        if self.schedule.steps == 0 || self.schedule.tuning_every == 0 {
            return wrong("schedule.steps", "steps and tuning_every are at least 1");
        }
        if self.optimiser.frozen_blocks > BLOCKS {
            return wrong("optimiser.frozen_blocks", "no more than the trunk's blocks");
        }
        let s = &self.schedule;
        let (o, a) = (&self.optimiser, &self.augmentation);
        let shares = [
            ("schedule.warm_up_share", s.warm_up_share),
            ("schedule.average", s.average),
            ("schedule.tuning_share", s.tuning_share),
            ("optimiser.dropout", o.dropout),
            ("optimiser.label_smoothing", o.label_smoothing),
            ("optimiser.beta1", o.beta1),
            ("optimiser.beta2", o.beta2),
        ];
        for (key, share) in shares {
            if !(0.0..1.0).contains(&share) {
                return wrong(key, "a share from 0, below 1");
            }
        }
        let sides = 0.0 < a.erase_side_min && a.erase_side_min <= a.erase_side_max && a.erase_side_max <= 1.0;
        if !(0.0 < a.area_min && a.area_min <= 1.0 && sides) {
            return wrong("augmentation", "area_min and the erased sides lie in 0..=1, least before largest");
        }
        let factors = [o.learning_rate, o.per_block, o.head_factor, o.clip, o.epsilon];
        let widths = [
            o.decay,
            a.aspect_log,
            a.turn_degrees,
            a.flip,
            a.gamma_log,
            a.contrast_log,
            a.brightness,
            a.sharpness,
            a.noise,
            a.erase,
        ];
        if factors.iter().any(|v| !v.is_finite() || *v <= 0.0) || widths.iter().any(|v| !v.is_finite() || *v < 0.0) {
            return wrong("optimiser, augmentation", "numbers are finite, rates above zero, widths not below zero");
        }
        Ok(())
    }
}
