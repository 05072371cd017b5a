//! The run itself: draw, vary, forward, backward, step; then the final figures.
//! Shapes: batches `[batch, 1, side, side]`, targets and log-probabilities `[batch, classes]`.
//! Frozen parts are no variables, so Candle keeps no graph for them and the engine computes no gradient.
//! Errors: `TrainError`; a loss that is not finite ends the run.

use super::TrainError;
use super::augment::vary;
use super::dataset::TrainSet;
use super::figures::{Scored, auc_by_patient, right_share};
use super::optimiser::{AdamW, rate_share};
use super::random::{Random, Use};
use super::recipe::Recipe;
use super::record::{CurvePoint, DataFacts, Reference, Trained, TrainingRecord, TuningAnswer, TuningFigures};
use crate::classifier::{Classifier, ClassifierConfig, POOLED, probabilities};
use crate::efficientnet_lite0::Parameters;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use vidimus_log::Digest;

/// Steps that one point of the curve covers.
const CURVE_STEPS: usize = 10;
/// Images of one pass without gradients.
const PASS_IMAGES: usize = 16;
/// Learnt images whose features the guard gets.
const REFERENCE_IMAGES: usize = 1500;

/// What the caller is told after each step.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// This step's loss.
    pub loss: f64,
    /// Area of the finding on the tuning part, where it was just computed.
    pub tuning_auc: Option<f64>,
}

/// Trains by a recipe: `data` is the folder with `labels.csv` and `train.tar`, `trunk` the safetensors file to start
/// from, `code_version` what the record calls this program.
pub fn train(
    recipe: &Recipe,
    data: &Path,
    trunk: &Path,
    code_version: &str,
    progress: &mut dyn FnMut(Progress),
) -> Result<Trained, TrainError> {
    let set = TrainSet::load(data, recipe)?;
    let bytes = std::fs::read(trunk).map_err(|source| TrainError::File { path: trunk.into(), source })?;
    let mut run = Run::new(recipe, &set, &bytes)?;
    let curve = run.steps(progress)?;
    let tensors = run.optimiser.averaged(&run.tensors)?;
    let network = run.classifier(tensors.clone())?;
    let answers = run.answers(&network)?;
    let weights = encode(&tensors)?;
    let record = TrainingRecord {
        recipe: recipe.clone(),
        data: DataFacts {
            sha256: set.digest,
            learning_images: set.learning.len(),
            learning_patients: set.patients(&set.learning),
            tuning_images: set.tuning.len(),
            tuning_patients: set.patients(&set.tuning),
        },
        trunk_sha256: Digest::of(&bytes),
        weights_sha256: Digest::of(&weights),
        code_version: code_version.into(),
        curve,
        tuning: run.figures(&answers),
    };
    let reference = run.reference(&network)?;
    Ok(Trained { weights, record, tuning: run.named(answers), reference })
}

struct Run<'a> {
    recipe: &'a Recipe,
    set: &'a TrainSet,
    tensors: BTreeMap<String, Tensor>,
    optimiser: AdamW,
    /// For each class, how many images a batch takes and the running sum of their weights.
    drawn: Vec<(usize, Vec<(f64, usize)>)>,
}

impl<'a> Run<'a> {
    fn new(recipe: &'a Recipe, set: &'a TrainSet, trunk: &[u8]) -> Result<Self, TrainError> {
        let mut tensors: BTreeMap<String, Tensor> =
            candle_core::safetensors::load_buffer(trunk, &Device::Cpu)?.into_iter().collect();
        let count = recipe.classes.len();
        let mut random = Random::new(recipe.seed, Use::Head, 0);
        let bound = 1.0 / (POOLED as f64).sqrt();
        let first: Vec<f32> = (0..count * POOLED).map(|_| random.around(bound) as f32).collect();
        tensors.insert("head.weight".into(), Tensor::from_vec(first, (count, POOLED), &Device::Cpu)?);
        tensors.insert("head.bias".into(), Tensor::zeros(count, candle_core::DType::F32, &Device::Cpu)?);
        let optimiser = AdamW::new(&tensors, &recipe.optimiser, recipe.schedule.average)?;
        let drawn = (0..count).map(|class| drawing(recipe, set, class)).collect::<Result<_, _>>()?;
        Ok(Self { recipe, set, tensors, optimiser, drawn })
    }

    fn classifier(&self, tensors: BTreeMap<String, Tensor>) -> Result<Classifier, TrainError> {
        let mut from = Parameters::from_tensors(tensors);
        let config = ClassifierConfig { classes: self.recipe.classes.clone() };
        let classifier = Classifier::from_parameters(&mut from, &config)?;
        from.finish()?;
        Ok(classifier)
    }

    fn steps(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<Vec<CurvePoint>, TrainError> {
        let schedule = &self.recipe.schedule;
        let network = self.classifier(self.optimiser.tracked(&self.tensors))?;
        let (mut curve, mut losses, mut norms) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..schedule.steps {
            let rate = self.recipe.optimiser.learning_rate * rate_share(step, schedule);
            let (x, targets) = self.batch(step)?;
            let loss = self.loss(&network, &x, &targets, step)?;
            let gradients = loss.backward()?;
            let loss = f64::from(loss.to_scalar::<f32>()?);
            if !loss.is_finite() {
                return Err(TrainError::Diverged { step });
            }
            losses.push(loss);
            norms.push(self.optimiser.step(&gradients, rate)?);
            let done = step + 1;
            let last = done == schedule.steps;
            let tuning_auc = if last || done.is_multiple_of(schedule.tuning_every) { self.tuning_auc()? } else { None };
            if last || done.is_multiple_of(CURVE_STEPS) {
                let mean = |values: &mut Vec<f64>| {
                    let sum: f64 = values.iter().sum();
                    let mean = sum / values.len() as f64;
                    values.clear();
                    mean
                };
                let (loss, gradient_norm) = (mean(&mut losses), mean(&mut norms));
                curve.push(CurvePoint { step: done, loss, learning_rate: rate, gradient_norm, tuning_auc });
            }
            progress(Progress { step: done, steps: schedule.steps, loss, tuning_auc });
        }
        Ok(curve)
    }

    /// The varied images of a step and their smoothed targets, class after class.
    fn batch(&self, step: usize) -> Result<(Tensor, Tensor), TrainError> {
        let (recipe, side, count) = (self.recipe, self.recipe.preparation.side, self.recipe.classes.len());
        let mut random = Random::new(recipe.seed, Use::Draw, step);
        let mut chosen = Vec::with_capacity(recipe.schedule.batch);
        for (images, sums) in &self.drawn {
            let total = sums.last().map_or(0.0, |(sum, _)| *sum);
            for _ in 0..*images {
                let at = random.share() * total;
                chosen.push(sums[sums.partition_point(|(sum, _)| *sum <= at).min(sums.len() - 1)].1);
            }
        }
        let first = step * recipe.schedule.batch;
        let varied: Vec<Vec<f32>> = chosen
            .par_iter()
            .enumerate()
            .map(|(slot, &at)| {
                let mut random = Random::new(recipe.seed, Use::Vary, first + slot);
                vary(&self.set.pictures[at], &recipe.preparation, &recipe.augmentation, &mut random)
            })
            .collect();
        let smooth = recipe.optimiser.label_smoothing;
        let target = |at: &usize| {
            let class = self.set.pictures[*at].class;
            let spread = smooth / count as f64;
            (0..count).map(move |k| if k == class { (1.0 - smooth + spread) as f32 } else { spread as f32 })
        };
        let targets: Vec<f32> = chosen.iter().flat_map(target).collect();
        let images = chosen.len();
        let x = Tensor::from_vec(varied.concat(), (images, 1, side, side), &Device::Cpu)?;
        Ok((x, Tensor::from_vec(targets, (images, count), &Device::Cpu)?))
    }

    fn loss(&self, network: &Classifier, x: &Tensor, targets: &Tensor, step: usize) -> Result<Tensor, TrainError> {
        let (_, pooled) = network.pooled(x)?;
        let dropout = self.recipe.optimiser.dropout;
        let mut random = Random::new(self.recipe.seed, Use::Drop, step);
        let kept = (1.0 / (1.0 - dropout)) as f32;
        let mask: Vec<f32> =
            (0..pooled.elem_count()).map(|_| if random.share() < dropout { 0.0 } else { kept }).collect();
        let pooled = (&pooled * Tensor::from_vec(mask, pooled.shape(), &Device::Cpu)?)?;
        let logs = candle_nn::ops::log_softmax(&network.logits(&pooled)?, 1)?;
        let images = targets.dim(0)? as f64;
        Ok(((logs * targets)?.sum_all()? * (-1.0 / images))?)
    }

    fn tuning_auc(&self) -> Result<Option<f64>, TrainError> {
        let network = self.classifier(self.optimiser.averaged(&self.tensors)?)?;
        let answers = self.answers(&network)?;
        let scored = self.scored(&answers);
        Ok(super::auc(&scored.iter().map(|s| (s.positive, s.score)).collect::<Vec<_>>()))
    }

    /// Images as reading prepares them.
    fn prepared(&self, of: &[usize]) -> Result<Tensor, TrainError> {
        let prepare = |&at: &usize| {
            let picture = &self.set.pictures[at];
            self.recipe.preparation.values(picture.rows, picture.columns, &picture.display())
        };
        let values: Vec<Vec<f32>> = of.par_iter().map(prepare).collect::<Result<_, _>>()?;
        let side = self.recipe.preparation.side;
        Ok(Tensor::from_vec(values.concat(), (of.len(), 1, side, side), &Device::Cpu)?)
    }

    /// Logits of the tuning part, in its order.
    fn answers(&self, network: &Classifier) -> Result<Vec<Vec<f32>>, TrainError> {
        let mut answers = Vec::with_capacity(self.set.tuning.len());
        for images in self.set.tuning.chunks(PASS_IMAGES) {
            answers.extend(network.forward(&self.prepared(images)?)?.logits.to_vec2::<f32>()?);
        }
        Ok(answers)
    }

    /// The tuning part by the finding's probability.
    fn scored(&self, answers: &[Vec<f32>]) -> Vec<Scored> {
        let finding = self.recipe.finding_classes();
        let mut patients = BTreeMap::new();
        let score = |logits: &[f32]| {
            let p = probabilities(logits);
            finding.iter().map(|&k| p[k]).sum()
        };
        let each = self.set.tuning.iter().zip(answers).map(|(&at, logits)| {
            let picture = &self.set.pictures[at];
            let next = patients.len();
            let patient = *patients.entry((picture.class, picture.patient.as_str())).or_insert(next);
            Scored { patient, positive: finding.contains(&picture.class), score: score(logits) }
        });
        each.collect()
    }

    fn figures(&self, answers: &[Vec<f32>]) -> TuningFigures {
        let scored = self.scored(answers);
        let finding = self.recipe.finding_classes();
        let seed = self.recipe.seed;
        let subtypes: Vec<Scored> = self
            .set
            .tuning
            .iter()
            .zip(answers)
            .zip(&scored)
            .filter(|(_, scored)| scored.positive)
            .map(|((&at, logits), scored)| {
                let p = probabilities(logits);
                let total: f64 = finding.iter().map(|&k| p[k]).sum();
                let positive = self.set.pictures[at].class == finding[0];
                Scored { positive, score: p[finding[0]] / total, ..*scored }
            })
            .collect();
        TuningFigures {
            finding_auc: auc_by_patient(&scored, seed),
            sensitivity: right_share(&scored, true, 0.5),
            specificity: right_share(&scored, false, 0.5),
            subtype_auc: auc_by_patient(&subtypes, seed),
            calibration_error: calibration_error(&scored),
        }
    }

    fn named(&self, answers: Vec<Vec<f32>>) -> Vec<TuningAnswer> {
        let name = |(&at, logits): (&usize, Vec<f32>)| {
            let picture = &self.set.pictures[at];
            let class = self.recipe.classes[picture.class].clone();
            TuningAnswer { file: picture.file.clone(), patient: picture.patient.clone(), class, logits }
        };
        self.set.tuning.iter().zip(answers).map(name).collect()
    }

    fn reference(&self, network: &Classifier) -> Result<Reference, TrainError> {
        let mut learning = self.set.learning.clone();
        Random::new(self.recipe.seed, Use::Reference, 0).shuffle(&mut learning);
        learning.truncate(REFERENCE_IMAGES);
        let mut reference = Reference { classes: Vec::new(), tuning: Vec::new(), features: Vec::new() };
        for (images, tuning) in [(&learning, false), (&self.set.tuning, true)] {
            for images in images.chunks(PASS_IMAGES) {
                let forward = network.forward(&self.prepared(images)?)?;
                for (slot, &at) in images.iter().enumerate() {
                    reference.classes.push(self.set.pictures[at].class);
                    reference.tuning.push(tuning);
                    reference.features.push(Classifier::features(&forward.stages, slot)?);
                }
            }
        }
        Ok(reference)
    }
}

/// How many images of a class a batch takes, and the running sums of their weights, 1/sqrt(images of the patient).
fn drawing(recipe: &Recipe, set: &TrainSet, class: usize) -> Result<(usize, Vec<(f64, usize)>), TrainError> {
    let images = recipe.sampling.per_batch.get(&recipe.classes[class]).copied().unwrap_or(0);
    let of: Vec<usize> = set.learning.iter().copied().filter(|&at| set.pictures[at].class == class).collect();
    if images > 0 && of.is_empty() {
        let problem = format!("no image of class {} to learn from", recipe.classes[class]);
        return Err(TrainError::Recipe { key: "sampling.per_batch", problem });
    }
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for &at in &of {
        *counts.entry(&set.pictures[at].patient).or_default() += 1;
    }
    let mut sum = 0.0;
    let sums = of.iter().map(|&at| {
        let count = counts.get(set.pictures[at].patient.as_str()).copied().unwrap_or(1);
        sum += 1.0 / f64::from(count).sqrt();
        (sum, at)
    });
    Ok((images, sums.collect()))
}

/// The mean distance between probability and outcome over ten bins of probability, weighted by their images.
fn calibration_error(scored: &[Scored]) -> f64 {
    let mut bins = [(0.0, 0.0); 10];
    for one in scored {
        let bin = &mut bins[((one.score * 10.0) as usize).min(9)];
        bin.0 += one.score;
        bin.1 += f64::from(u8::from(one.positive));
    }
    bins.iter().map(|(expected, found)| f64::abs(expected - found)).sum::<f64>() / scored.len().max(1) as f64
}

/// The tensors as a safetensors file; the same tensors give the same bytes.
fn encode(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>, TrainError> {
    let named: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    safetensors::serialize(named, None).map_err(TrainError::Encode)
}
