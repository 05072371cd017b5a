//! A classifier on the trunk: means of stages 4 and 5, one linear layer; its activation map and its features.
//! Shapes: in `[N, 1 or 3, S, S]`; pooled `[N, 192]`; logits `[N, classes]`; an activation map `[rows, columns]` of
//! stride 16.
//! Since the head is linear on means over the map, a score's gradient with respect to a channel's map is the same
//! number everywhere: Grad-CAM is then the weighted sum of the maps, exact, and its mean plus the bias part is the
//! score itself (the map's completeness, held by a test).
//! Errors: `NetworkError`.
//! Source: Selvaraju et al. 2017 (Grad-CAM); Zhou et al. 2016 (class activation maps).

use crate::NetworkError;
use crate::efficientnet_lite0::{Parameters, STAGE_CHANNELS, Stages, Trunk};
use candle_core::{Result as ComputeResult, Tensor};
use serde::{Deserialize, Serialize};
use vidimus_engine::{Activation, global_mean, pointwise_conv2d};

/// Numbers that the head sees: the channels of stages 4 and 5.
pub const POOLED: usize = STAGE_CHANNELS[3] + STAGE_CHANNELS[4];

/// What the weights do not say themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierConfig {
    /// The classes, in the order of the logits.
    pub classes: Vec<String>,
}

/// A trunk and a linear head.
#[derive(Clone, Debug)]
pub struct Classifier {
    trunk: Trunk,
    weight: Tensor,
    bias: Tensor,
    classes: Vec<String>,
}

/// Everything that one pass computed.
#[derive(Clone, Debug)]
pub struct Forward {
    /// The named maps.
    pub stages: Stages,
    /// `[N, 192]`: means of stage 4, then of stage 5.
    pub pooled: Tensor,
    /// `[N, classes]`.
    pub logits: Tensor,
}

/// A number made of the logits that can be explained.
#[derive(Clone, Debug, PartialEq)]
pub enum Score {
    /// The logit of one class.
    Class(usize),
    /// The log odds of a group of classes against all others: `ln Σ_group p - ln Σ_others p`.
    Against {
        /// The group.
        group: Vec<usize>,
    },
}

impl Score {
    /// The score's gradient with respect to the logits, `None` if it names a class that is not there.
    #[must_use]
    pub fn gradient(&self, logits: &[f32]) -> Option<Vec<f64>> {
        match self {
            Self::Class(class) => {
                (*class < logits.len()).then(|| (0..logits.len()).map(|k| f64::from(u8::from(k == *class))).collect())
            }
            Self::Against { group } => {
                let inside = |k: usize| group.contains(&k);
                let all_known = group.iter().all(|&k| k < logits.len());
                let split = (0..logits.len()).any(inside) && !(0..logits.len()).all(inside);
                (all_known && split).then(|| {
                    let weights = probabilities(logits);
                    let total = |side: bool| {
                        weights.iter().enumerate().filter(|&(k, _)| inside(k) == side).map(|(_, w)| w).sum::<f64>()
                    };
                    let (group, others) = (total(true), total(false));
                    weights.iter().enumerate().map(|(k, w)| if inside(k) { w / group } else { -w / others }).collect()
                })
            }
        }
    }
}

/// Softmax in f64 with a fixed order of sums and the project's own `exp`: the same bits everywhere.
#[must_use]
pub fn probabilities(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f32::MIN, f32::max);
    let weights: Vec<f64> = logits.iter().map(|&v| libm::exp(f64::from(v) - f64::from(top))).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| w / total).collect()
}

/// Where a score comes from: signed contributions over the picture that the network saw, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationMap {
    /// Rows of the map.
    pub rows: usize,
    /// Columns of the map.
    pub columns: usize,
    /// Contributions; their mean plus `offset` is the linearised score.
    pub signed: Vec<f32>,
    /// The part of the score that has no place: the bias's.
    pub offset: f32,
}

impl ActivationMap {
    /// What speaks for the score: Grad-CAM's map, negative contributions set to zero.
    #[must_use]
    pub fn positive(&self) -> Vec<f32> {
        self.signed.iter().map(|v| v.max(0.0)).collect()
    }
}

impl Classifier {
    /// Reads weights: the trunk's tensors by their published names, `head.weight` and `head.bias`.
    pub fn load(safetensors: &[u8], config: &ClassifierConfig) -> Result<Self, NetworkError> {
        let mut from = Parameters::from_safetensors(safetensors)?;
        let classifier = Self::from_parameters(&mut from, config)?;
        from.finish()?;
        Ok(classifier)
    }

    /// Takes trunk and head out of tensors at hand.
    pub fn from_parameters(from: &mut Parameters, config: &ClassifierConfig) -> Result<Self, NetworkError> {
        let count = config.classes.len();
        if count < 2 {
            let problem = format!("{count} classes, at least 2 are needed");
            return Err(NetworkError::Setting { setting: "classes", problem });
        }
        Ok(Self {
            trunk: Trunk::load(from)?,
            weight: from.take("head.weight", &[count, POOLED])?,
            bias: from.take("head.bias", &[count])?,
            classes: config.classes.clone(),
        })
    }

    /// The classes, in the order of the logits.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The answer for `x`, `[N, 1 or 3, H, W]`, prepared. One channel stands for three equal ones.
    pub fn forward(&self, x: &Tensor) -> Result<Forward, NetworkError> {
        let (stages, pooled) = self.pooled(x)?;
        let logits = self.logits(&pooled)?;
        Ok(Forward { stages, pooled, logits })
    }

    /// The trunk alone, for the guard: no logit is computed.
    pub fn stages(&self, x: &Tensor) -> Result<Stages, NetworkError> {
        Ok(self.pooled(x)?.0)
    }

    /// Stages and the head's input.
    pub(crate) fn pooled(&self, x: &Tensor) -> Result<(Stages, Tensor), NetworkError> {
        let wrong = || NetworkError::Input { expected: "[N, 1 or 3, H, W]", found: x.dims().to_vec() };
        let (_, planes, height, width) = x.dims4().map_err(|_| wrong())?;
        if !matches!(planes, 1 | 3) || height == 0 || width == 0 {
            return Err(wrong());
        }
        let stages = self.trunk.forward(&x.permute((0, 2, 3, 1))?.contiguous()?)?;
        let pooled = Tensor::cat(&[global_mean(&stages.stage4)?, global_mean(&stages.stage5)?], 1)?;
        Ok((stages, pooled))
    }

    /// The linear layer, in the engine's fixed order.
    pub(crate) fn logits(&self, pooled: &Tensor) -> ComputeResult<Tensor> {
        let (images, depth) = pooled.dims2()?;
        let x = pooled.reshape((images, 1, 1, depth))?;
        pointwise_conv2d(&x, &self.weight, &self.bias, Activation::None)?.flatten_from(1)
    }

    /// Grad-CAM of `score` for image `image` of the batch, on the concatenated maps of stages 4 and 5.
    #[expect(clippy::cast_possible_truncation, reason = "contributions are shown as f32; rounded once")]
    pub fn grad_cam(&self, forward: &Forward, image: usize, score: &Score) -> Result<ActivationMap, NetworkError> {
        let unknown = || NetworkError::Setting { setting: "score", problem: format!("{score:?} fits no class here") };
        let logits = forward.logits.get(image)?.to_vec1::<f32>()?;
        let gradient = score.gradient(&logits).ok_or_else(unknown)?;
        let by_class = self.weight.to_vec2::<f32>()?;
        let weights: Vec<f64> = (0..POOLED)
            .map(|k| gradient.iter().zip(&by_class).fold(0.0, |sum, (g, row)| sum + g * f64::from(row[k])))
            .collect();
        let offset = gradient.iter().zip(self.bias.to_vec1::<f32>()?).fold(0.0, |sum, (g, b)| sum + g * f64::from(b));
        let (rows, columns, near) = forward.stages.stage4.get(image)?.dims3()?;
        let maps = [&forward.stages.stage4, &forward.stages.stage5];
        let maps = [flat(&maps[0].get(image)?)?, flat(&maps[1].get(image)?)?];
        let signed = (0..rows * columns).map(|place| {
            let sum = |map: &[f32], weights: &[f64]| {
                let values = &map[place * weights.len()..][..weights.len()];
                values.iter().zip(weights).fold(0.0, |sum, (v, w)| sum + w * f64::from(*v))
            };
            (sum(&maps[0], &weights[..near]) + sum(&maps[1], &weights[near..])) as f32
        });
        Ok(ActivationMap { rows, columns, signed: signed.collect(), offset: offset as f32 })
    }

    /// What the guard compares: for image `image` the means, then the standard deviations over the map, of every
    /// channel of stages 1 to 5 (16 + 24 + 40 + 80 + 112 = 272 numbers each).
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "maps have fewer than 2^24 pixels; sums in f64, rounded once"
    )]
    pub fn features(stages: &Stages, image: usize) -> Result<Vec<f32>, NetworkError> {
        let Stages { stage1, stage2, stage3, stage4, stage5, .. } = stages;
        let (mut means, mut deviations) = (Vec::new(), Vec::new());
        for stage in [stage1, stage2, stage3, stage4, stage5] {
            let map = stage.get(image)?;
            let (rows, columns, channels) = map.dims3()?;
            let (mut sums, mut squares) = (vec![0.0; channels], vec![0.0; channels]);
            for pixel in flat(&map)?.chunks_exact(channels) {
                for ((sum, square), v) in sums.iter_mut().zip(&mut squares).zip(pixel) {
                    *sum += f64::from(*v);
                    *square += f64::from(*v) * f64::from(*v);
                }
            }
            let share = 1.0 / (rows * columns) as f64;
            for (sum, square) in sums.iter().zip(&squares) {
                let mean = sum * share;
                means.push(mean as f32);
                deviations.push((square * share - mean * mean).max(0.0).sqrt() as f32);
            }
        }
        means.extend(deviations);
        Ok(means)
    }
}

fn flat(tensor: &Tensor) -> ComputeResult<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}
