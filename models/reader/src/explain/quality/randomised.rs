//! Parameter randomisation: a map must change when the network's parameters are shuffled, layer by layer from the end.
//! Each convolution's weight is shuffled within itself by a seeded order, so that its distribution stays and its
//! meaning goes.
//! Out: for each share of the layers shuffled, the rank correlation of the magnitudes with the map of the network as it
//! is. A method whose maps stay alike explains the image, not the network.
//! Errors: [`ExplainError`]. Source: Adebayo et al. 2018 (arXiv 1810.03292), cascading randomisation.

use super::super::subject::{ExplainError, Method, Subject};
use super::similarity::rank_correlation;
use candle_core::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use vidimus_engine::{EngineError, Op, Weights};

/// Shares of the layers that are shuffled, from the end.
const SHARES: [f64; 4] = [0.05, 0.25, 0.5, 1.0];

/// One share of layers shuffled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Randomised {
    /// Layers shuffled, counted from the end.
    pub layers: usize,
    /// Layers that there are.
    pub of: usize,
    /// Rank correlation with the map of the network as it is.
    pub correlation: f64,
}

/// Shuffles more and more layers and compares the maps.
pub fn randomised(
    method: &dyn Method,
    subject: &Subject<'_>,
    x: &[f32],
    seed: u64,
) -> Result<Vec<Randomised>, ExplainError> {
    let as_is = method.explain(subject, x)?.magnitude();
    let names: Vec<&str> = subject
        .graph
        .ops()
        .iter()
        .filter_map(|op| match op {
            Op::Conv { weight, .. } | Op::ConvTransposed { weight, .. } => Some(weight.as_str()),
            _ => None,
        })
        .collect();
    let mut weights: Weights = subject.weights.clone();
    let mut stream = ChaCha8Rng::seed_from_u64(seed);
    let mut found = Vec::new();
    let mut done = 0;
    for share in SHARES {
        let layers = ((names.len() as f64 * share).ceil() as usize).clamp(1, names.len().max(1));
        for name in names.iter().rev().take(layers).skip(done) {
            if let Some(tensor) = weights.get_mut(*name) {
                *tensor = shuffled(tensor, &mut stream).map_err(EngineError::from)?;
            }
        }
        done = done.max(layers);
        let other = Subject { weights: &weights, ..subject.clone() };
        let correlation = match method.explain(&other, x) {
            Ok(map) => rank_correlation(&as_is, &map.magnitude()),
            // a shuffled network that answers with no number has no map that could be alike
            Err(ExplainError::NotFinite) => 0.0,
            Err(error) => return Err(error),
        };
        found.push(Randomised { layers, of: names.len(), correlation });
    }
    Ok(found)
}

fn shuffled(tensor: &Tensor, stream: &mut ChaCha8Rng) -> candle_core::Result<Tensor> {
    let mut values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    for at in (1..values.len()).rev() {
        values.swap(at, (stream.next_u64() % (at as u64 + 1)) as usize);
    }
    Tensor::from_vec(values, tensor.shape(), &Device::Cpu)
}
