//! Integrated gradients: the gradient along the straight line from a baseline to the input, times their difference.
//! Shapes: the input's. Midpoints of equal steps (Captum's `riemann_middle`); all steps run as one batch.
//! Completeness: the map adds up to the difference of the scores at both ends, but for the steps' size; the gap is
//! reported with each map as `completeness-gap`, a share of that difference.
//! Errors: [`ExplainError::Parameter`] for no step or a baseline of another size.
//! Source: Sundararajan et al. 2017 (arXiv 1703.01365).

use super::subject::{Attribution, ExplainError, Method, Seen, Subject};

/// Steps at most.
const STEPS_MAX: usize = 512;

/// Gradients along a line.
#[derive(Clone, Debug)]
pub struct IntegratedGradients {
    /// Steps; 32 are usual.
    pub steps: usize,
    /// The value that stands for "nothing" in every place of the prepared input; its name belongs to the parameters.
    pub baseline: f32,
}

impl Method for IntegratedGradients {
    fn name(&self) -> &'static str {
        "integrated-gradients"
    }

    fn parameters(&self) -> String {
        format!("{} midpoints from a constant {}", self.steps, self.baseline)
    }

    fn explain(&self, subject: &Subject<'_>, x: &[f32]) -> Result<Attribution, ExplainError> {
        if self.steps == 0 || self.steps > STEPS_MAX || !self.baseline.is_finite() {
            let problem = format!("{} steps from {}: 1 to {STEPS_MAX} from a finite value", self.steps, self.baseline);
            return Err(ExplainError::Parameter { parameter: "steps", problem });
        }
        subject.one(x)?;
        let from = f64::from(self.baseline);
        let along = |step: usize| {
            let share = (step as f64 + 0.5) / self.steps as f64;
            x.iter().map(move |&v| (from + share * (f64::from(v) - from)) as f32)
        };
        let copies: Vec<f32> = (0..self.steps).flat_map(along).collect();
        let Seen { values, .. } = subject.seen(&[], &[subject.graph.input()], &copies)?;
        let gradients = &values[0];
        let mut total = 0.0;
        let map = (0..x.len())
            .map(|at| {
                let sum: f64 = (0..self.steps).map(|step| f64::from(gradients.image(step)[at])).sum();
                let part = sum / self.steps as f64 * (f64::from(x[at]) - from);
                total += part;
                part as f32
            })
            .collect();
        let ends = subject.scores(&[x, &vec![self.baseline; x.len()]].concat())?;
        let difference = ends[0] - ends[1];
        let gap = (total - difference).abs() / difference.abs().max(1e-9);
        let facts = vec![("score", ends[0]), ("score-of-baseline", ends[1]), ("completeness-gap", gap)];
        Attribution::new(self, subject.input, map, facts)
    }
}
