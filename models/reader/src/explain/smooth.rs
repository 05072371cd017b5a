//! SmoothGrad: the score's gradient at the input, averaged over noisy copies of it, times the input where asked.
//! Shapes: the input's. The noise comes from a seeded ChaCha stream, so a map repeats bit for bit.
//! Errors: [`ExplainError::Parameter`] for no draw or a deviation that is not finite.
//! Source: Smilkov et al. 2017 (arXiv 1706.03825); Shrikumar et al. 2016 (gradient times input).

use super::subject::{Attribution, ExplainError, Method, Seen, Subject};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Noisy copies at most.
const DRAWS_MAX: usize = 256;

/// Gradients at noisy copies of the input.
#[derive(Clone, Debug)]
pub struct SmoothGrad {
    /// Noisy copies; 1 with `deviation` 0 is the plain gradient.
    pub draws: usize,
    /// Standard deviation of the noise as a share of the input's range.
    pub deviation: f64,
    /// Seed of the noise.
    pub seed: u64,
    /// Whether the mean gradient is multiplied by the input.
    pub times_input: bool,
}

impl SmoothGrad {
    /// Standard normal numbers by Box and Muller, from the seed.
    fn noise(&self, count: usize) -> Vec<f64> {
        let mut stream = ChaCha8Rng::seed_from_u64(self.seed);
        // 53 bits above zero
        let mut uniform = || ((stream.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            let (radius, angle) = ((-2.0 * libm::log(uniform())).sqrt(), 2.0 * std::f64::consts::PI * uniform());
            values.extend([radius * libm::cos(angle), radius * libm::sin(angle)]);
        }
        values.truncate(count);
        values
    }
}

impl Method for SmoothGrad {
    fn name(&self) -> &'static str {
        "smooth-grad"
    }

    fn parameters(&self) -> String {
        let times = if self.times_input { ", times input" } else { "" };
        format!("{} draws, deviation {} of the range, seed {}{times}", self.draws, self.deviation, self.seed)
    }

    fn explain(&self, subject: &Subject<'_>, x: &[f32]) -> Result<Attribution, ExplainError> {
        subject.one(x)?;
        let wrong = |parameter, problem: String| Err(ExplainError::Parameter { parameter, problem });
        if self.draws == 0 || self.draws > DRAWS_MAX {
            return wrong("draws", format!("{} is not in 1..={DRAWS_MAX}", self.draws));
        }
        if !(0.0..=10.0).contains(&self.deviation) {
            return wrong("deviation", format!("{} is not in 0..=10", self.deviation));
        }
        let (least, most) = x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
        let step = self.deviation * f64::from(most - least);
        let noise = self.noise(self.draws * x.len());
        let copies: Vec<f32> =
            noise.iter().enumerate().map(|(at, n)| (f64::from(x[at % x.len()]) + step * n) as f32).collect();
        mean_gradient(self, subject, (x, &copies), self.times_input)
    }
}

/// The mean of the gradients at `copies`, one after another.
pub(super) fn mean_gradient(
    method: &dyn Method,
    subject: &Subject<'_>,
    (x, copies): (&[f32], &[f32]),
    times_input: bool,
) -> Result<Attribution, ExplainError> {
    let Seen { values, scores } = subject.seen(&[], &[subject.graph.input()], copies)?;
    let gradients = &values[0];
    let share = 1.0 / gradients.images as f64;
    let mean = |at: usize| {
        let sum: f64 = (0..gradients.images).map(|image| f64::from(gradients.image(image)[at])).sum();
        let factor = if times_input { f64::from(x[at]) } else { 1.0 };
        (sum * share * factor) as f32
    };
    let map = (0..x.len()).map(mean).collect();
    Attribution::new(method, subject.input, map, vec![("mean-score", scores.iter().sum::<f64>() * share)])
}
