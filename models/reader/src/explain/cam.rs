//! Class-activation maps at a stage: a weighted sum of its channels, enlarged to the input.
//! Shapes: the stage's `[channels, depth, rows, columns]`; out one channel of the input's extent, none negative.
//! Grad-CAM needs the gradient only from the score down to the stage, so it costs little more than a forward pass.
//! Errors: [`ExplainError`].
//! Source: Selvaraju et al. 2017 (Grad-CAM); Chattopadhay et al. 2018, equation 19 (Grad-CAM++); Muhammad and Yeasin
//! 2020 (Eigen-CAM, not centred, with the sign of a map whose sum is not negative).

use super::subject::{Attribution, ExplainError, Method, Seen, Subject, enlarged};
use vidimus_engine::Shape;

/// Turns of the power iteration: on maps of networks the first singular value stands well apart.
const TURNS: usize = 200;

/// Channels weighted by the mean of their gradients.
#[derive(Clone, Debug)]
pub struct GradCam {
    /// The stage, for example `features`.
    pub stage: String,
}

/// Channels weighted by their positive gradients, each place by how much it alone would account for.
#[derive(Clone, Debug)]
pub struct GradCamPlusPlus {
    /// The stage.
    pub stage: String,
}

/// The stage's first principal component; it asks for no class.
#[derive(Clone, Debug)]
pub struct EigenCam {
    /// The stage.
    pub stage: String,
}

fn stage_map(
    method: &dyn Method,
    (stage, gradients): (&str, bool),
    subject: &Subject<'_>,
    x: &[f32],
    combine: impl Fn(&[f32], &[f32], usize) -> Vec<f32>,
) -> Result<Attribution, ExplainError> {
    subject.one(x)?;
    let node = subject.stage(stage)?;
    let at = if gradients { vec![node] } else { Vec::new() };
    let Seen { values, scores } = subject.seen(&[node], &at, x)?;
    let Some(map) = values.first() else { return Err(ExplainError::NotFinite) };
    let Shape { channels, extent } = map.shape;
    let gradient = values.get(1).map(|gradient| gradient.image(0)).unwrap_or_default();
    let small = combine(map.image(0), gradient, channels);
    let large = enlarged(&small, extent, subject.input.extent);
    Attribution::new(method, Shape { channels: 1, extent: subject.input.extent }, large, vec![("score", scores[0])])
}

/// The positive part of the channels' weighted sum.
fn weighted(map: &[f32], weights: &[f64]) -> Vec<f32> {
    let space = map.len() / weights.len();
    (0..space)
        .map(|at| {
            let sum = weights.iter().enumerate().fold(0.0, |sum, (k, w)| sum + w * f64::from(map[k * space + at]));
            sum.max(0.0) as f32
        })
        .collect()
}

impl Method for GradCam {
    fn name(&self) -> &'static str {
        "grad-cam"
    }

    fn parameters(&self) -> String {
        format!("stage {}", self.stage)
    }

    fn explain(&self, subject: &Subject<'_>, x: &[f32]) -> Result<Attribution, ExplainError> {
        stage_map(self, (&self.stage, true), subject, x, |map, gradient, channels| {
            let space = map.len() / channels;
            let mean = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>() / space as f64;
            weighted(map, &gradient.chunks_exact(space).map(mean).collect::<Vec<_>>())
        })
    }
}

impl Method for GradCamPlusPlus {
    fn name(&self) -> &'static str {
        "grad-cam-plus-plus"
    }

    fn parameters(&self) -> String {
        format!("stage {}", self.stage)
    }

    fn explain(&self, subject: &Subject<'_>, x: &[f32]) -> Result<Attribution, ExplainError> {
        stage_map(self, (&self.stage, true), subject, x, |map, gradient, channels| {
            let space = map.len() / channels;
            let channel = |(map, gradient): (&[f32], &[f32])| {
                let total: f64 = map.iter().map(|&v| f64::from(v)).sum();
                let weight = |g: &f32| {
                    let g = f64::from(*g);
                    let below = 2.0 * g * g + total * g * g * g;
                    if below.abs() > 0.0 { g * g / below * g.max(0.0) } else { 0.0 }
                };
                gradient.iter().map(weight).sum::<f64>()
            };
            let each = map.chunks_exact(space).zip(gradient.chunks_exact(space));
            weighted(map, &each.map(channel).collect::<Vec<_>>())
        })
    }
}

impl Method for EigenCam {
    fn name(&self) -> &'static str {
        "eigen-cam"
    }

    fn parameters(&self) -> String {
        format!("stage {}, not centred, {TURNS} turns", self.stage)
    }

    fn explain(&self, subject: &Subject<'_>, x: &[f32]) -> Result<Attribution, ExplainError> {
        stage_map(self, (&self.stage, false), subject, x, |map, _, channels| {
            let mut weights = principal(map, channels);
            let space = map.len() / channels;
            let total: f64 = weights
                .iter()
                .zip(map.chunks_exact(space))
                .map(|(w, map)| w * map.iter().map(|&v| f64::from(v)).sum::<f64>())
                .sum();
            if total < 0.0 {
                weights.iter_mut().for_each(|weight| *weight = -*weight);
            }
            weighted(map, &weights)
        })
    }
}

/// The first right singular vector of the places-by-channels matrix, by the power iteration on its Gram matrix.
fn principal(map: &[f32], channels: usize) -> Vec<f64> {
    let space = map.len() / channels;
    let row = |k: usize| &map[k * space..(k + 1) * space];
    let mut gram = vec![0.0; channels * channels];
    for a in 0..channels {
        for b in 0..=a {
            let inner = row(a).iter().zip(row(b)).fold(0.0, |sum, (x, y)| sum + f64::from(*x) * f64::from(*y));
            gram[a * channels + b] = inner;
            gram[b * channels + a] = inner;
        }
    }
    // a start that no channel is orthogonal to, other than by chance
    let mut vector: Vec<f64> = (0..channels).map(|k| 1.0 + k as f64 / channels as f64).collect();
    for _ in 0..TURNS {
        let next: Vec<f64> =
            gram.chunks_exact(channels).map(|row| row.iter().zip(&vector).map(|(a, b)| a * b).sum()).collect();
        let length = next.iter().map(|v| v * v).sum::<f64>().sqrt();
        if length <= 0.0 {
            return vec![0.0; channels];
        }
        vector = next.into_iter().map(|v| v / length).collect();
    }
    vector
}
