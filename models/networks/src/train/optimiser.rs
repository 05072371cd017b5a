//! AdamW with a rate for each block, one norm over all gradients, and the running average of the weights.
//! Shapes: each parameter flat, in the order of its tensor. Sums run by parameter name, then by element, in f64.
//! Errors: Candle's, from reading and setting tensors.
//! Source: Loshchilov and Hutter 2019 (decoupled decay); Polyak averaging.

use super::TrainError;
use super::recipe::{Optimiser, Schedule};
use crate::efficientnet_lite0::{BLOCKS, block_of};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use std::collections::BTreeMap;

/// One learnt tensor and what the optimiser remembers of it.
struct Learnt {
    var: Var,
    values: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    average: Vec<f32>,
    factor: f64,
    decayed: bool,
}

/// The learnt tensors by name.
pub(crate) struct AdamW {
    learnt: BTreeMap<String, Learnt>,
    settings: Optimiser,
    average: f64,
    step: i32,
}

/// The share of its height that the rate has at a step (counted from 0): up along a line, then down along a cosine.
pub(crate) fn rate_share(step: usize, schedule: &Schedule) -> f64 {
    let (at, total) = (step as f64 + 1.0, schedule.steps as f64);
    let warm = (schedule.warm_up_share * total).max(1.0);
    if at <= warm {
        at / warm
    } else {
        0.5 * (1.0 + libm::cos(std::f64::consts::PI * (at - warm) / (total - warm).max(1.0)))
    }
}

/// The factor of a tensor's rate, or `None` if it does not learn.
pub(crate) fn rate_factor(name: &str, settings: &Optimiser) -> Option<f64> {
    if name.ends_with("running_mean") || name.ends_with("running_var") {
        return None;
    }
    if name.starts_with("head.") {
        return Some(settings.head_factor);
    }
    let block = block_of(name).filter(|&block| block >= settings.frozen_blocks)?;
    Some(libm::pow(settings.per_block, (BLOCKS - 1 - block) as f64))
}

impl AdamW {
    pub(crate) fn new(
        tensors: &BTreeMap<String, Tensor>,
        settings: &Optimiser,
        average: f64,
    ) -> Result<Self, TrainError> {
        let mut learnt = BTreeMap::new();
        for (name, tensor) in tensors {
            let Some(factor) = rate_factor(name, settings) else { continue };
            let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            let zeros = vec![0.0; values.len()];
            let decayed = name.ends_with("conv.weight") || name == "head.weight";
            let (first, second, average) = (zeros.clone(), zeros, values.clone());
            let var = Var::from_tensor(tensor)?;
            learnt.insert(name.clone(), Learnt { var, values, first, second, average, factor, decayed });
        }
        Ok(Self { learnt, settings: settings.clone(), average, step: 0 })
    }

    /// The tensors to run with: those that learn replaced by their variables.
    pub(crate) fn tracked(&self, tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
        let variable = |name: &String, tensor: &Tensor| {
            self.learnt.get(name).map_or_else(|| tensor.clone(), |learnt| learnt.var.as_tensor().clone())
        };
        tensors.iter().map(|(name, tensor)| (name.clone(), variable(name, tensor))).collect()
    }

    /// The tensors with those that learn replaced by their running averages.
    pub(crate) fn averaged(&self, tensors: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let mut all = tensors.clone();
        for (name, learnt) in &self.learnt {
            all.insert(name.clone(), Tensor::from_slice(&learnt.average, learnt.var.shape(), &Device::Cpu)?);
        }
        Ok(all)
    }

    /// One step at a rate; returns the norm of all gradients before it was clipped.
    #[expect(clippy::cast_possible_truncation, reason = "the weights are f32; each is rounded once a step")]
    pub(crate) fn step(&mut self, gradients: &GradStore, rate: f64) -> Result<f64, TrainError> {
        self.step += 1;
        let mut flat = BTreeMap::new();
        let mut squares = 0.0;
        for (name, learnt) in &self.learnt {
            let Some(gradient) = gradients.get(&learnt.var) else { continue };
            let values: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
            squares += values.iter().fold(0.0, |sum, &g| sum + f64::from(g) * f64::from(g));
            flat.insert(name.as_str(), values);
        }
        let norm = squares.sqrt();
        let Optimiser { beta1, beta2, epsilon, decay, clip, .. } = self.settings;
        let shrink = (clip / norm.max(1e-12)).min(1.0) as f32;
        let (unbias1, unbias2) = (1.0 - beta1.powi(self.step), 1.0 - beta2.powi(self.step));
        let (b1, b2, root, tiny) = (beta1 as f32, beta2 as f32, (1.0 / unbias2.sqrt()) as f32, epsilon as f32);
        let keep = self.average as f32;
        let gradients: Vec<Option<Vec<f32>>> = self.learnt.keys().map(|name| flat.remove(name.as_str())).collect();
        for (learnt, gradient) in self.learnt.values_mut().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            let rate = rate * learnt.factor;
            let (pull, stay) =
                ((rate / unbias1) as f32, if learnt.decayed { (1.0 - rate * decay) as f32 } else { 1.0 });
            let Learnt { values, first, second, average, .. } = &mut *learnt;
            for (at, g) in gradient.iter().enumerate() {
                let g = g * shrink;
                first[at] = b1 * first[at] + (1.0 - b1) * g;
                second[at] = b2 * second[at] + (1.0 - b2) * g * g;
                values[at] = values[at] * stay - pull * first[at] / (second[at].sqrt() * root + tiny);
                average[at] = keep * average[at] + (1.0 - keep) * values[at];
            }
            learnt.var.set(&Tensor::from_slice(&learnt.values, learnt.var.shape(), &Device::Cpu)?)?;
        }
        Ok(norm)
    }
}

#[cfg(test)]
mod tests {
    use super::{AdamW, rate_factor, rate_share};
    use crate::train::Recipe;
    use candle_core::{Device, Tensor};
    use std::collections::BTreeMap;

    fn recipe() -> Recipe {
        Recipe::parse(include_str!("../../../recipes/cxr-pneumonia.toml")).unwrap()
    }

    /// Proves: REQ-NET-022
    #[test]
    fn steps_follow_the_textbook() {
        let settings = recipe().optimiser;
        let start = [0.5f32, -1.0, 2.0];
        let tensors: BTreeMap<String, Tensor> = [("head.weight", start), ("head.bias", start)]
            .map(|(name, values)| (name.to_owned(), Tensor::from_slice(&values, 3, &Device::Cpu).unwrap()))
            .into();
        let mut own = AdamW::new(&tensors, &settings, 0.9).unwrap();
        let pull = Tensor::from_slice(&[3.0f32, -0.1, 0.2], 3, &Device::Cpu).unwrap();
        let (mut w, mut m, mut v, mut mean) =
            ([start.map(f64::from); 2], [[0.0; 3]; 2], [[0.0; 3]; 2], [start.map(f64::from); 2]);
        for step in 1..=5 {
            // the loss is a sum of w * w * pull, so its gradient is 2 w pull
            let tracked = own.tracked(&tensors);
            let loss = |name: &str| (tracked[name].sqr().unwrap() * &pull).unwrap().sum_all().unwrap();
            let gradients = (loss("head.weight") + loss("head.bias")).unwrap().backward().unwrap();
            let norm = own.step(&gradients, 0.01).unwrap();
            let g = w.map(|w| [2.0 * w[0] * 3.0, 2.0 * w[1] * -0.1, 2.0 * w[2] * 0.2]);
            let expected = g.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
            assert!((norm - expected).abs() < 1e-4 * expected);
            let rate = 0.01 * settings.head_factor;
            for part in 0..2 {
                for i in 0..3 {
                    let g = g[part][i] * (settings.clip / expected).min(1.0);
                    m[part][i] = 0.9 * m[part][i] + 0.1 * g;
                    v[part][i] = 0.999 * v[part][i] + 0.001 * g * g;
                    let (mh, vh) = (m[part][i] / (1.0 - 0.9f64.powi(step)), v[part][i] / (1.0 - 0.999f64.powi(step)));
                    let decay = if part == 0 { settings.decay } else { 0.0 };
                    w[part][i] -= rate * decay * w[part][i] + rate * mh / (vh.sqrt() + settings.epsilon);
                    mean[part][i] = 0.9 * mean[part][i] + 0.1 * w[part][i];
                }
            }
        }
        let (now, kept) = (own.tracked(&tensors), own.averaged(&tensors).unwrap());
        for (part, name) in ["head.weight", "head.bias"].into_iter().enumerate() {
            for (of, expected) in [(&now, &w), (&kept, &mean)] {
                for (found, expected) in of[name].to_vec1::<f32>().unwrap().iter().zip(expected[part]) {
                    assert!((f64::from(*found) - expected).abs() < 1e-5, "{name}: {found} {expected}");
                }
            }
        }
    }

    /// Proves: REQ-NET-022
    #[test]
    fn rates_rise_then_fall_and_shrink_from_block_to_block() {
        let recipe = recipe();
        let shares: Vec<f64> = (0..recipe.schedule.steps).map(|step| rate_share(step, &recipe.schedule)).collect();
        let top = recipe.schedule.steps / 10;
        assert!((shares[top - 1] - 1.0).abs() < 1e-9 && shares[0] <= 0.01 && shares[shares.len() - 1] < 1e-9);
        assert!(shares[..top].is_sorted() && shares[top..].iter().rev().is_sorted());
        let factor = |name: &str| rate_factor(name, &recipe.optimiser);
        assert_eq!(factor("blocks.10.expand.conv.weight"), Some(1.0));
        assert!((factor("blocks.3.project.bn.bias").unwrap() - 0.75f64.powi(7)).abs() < 1e-12);
        assert_eq!(factor("head.bias"), Some(5.0));
        let frozen = ["stem.conv.weight", "blocks.2.expand.bn.weight", "blocks.9.expand.bn.running_var"];
        assert!(frozen.iter().all(|name| factor(name).is_none()));
    }
}
