//! What is explained, and what every method answers.
//! Shapes: an input is `[channels, depth, rows, columns]` (a plane has depth 1); an attribution the same, or one
//! channel where a method has no channels.
//! Errors: [`ExplainError`] for a score that the network does not have, a stage that is not there, values that are not
//! finite.

use vidimus_engine::{EngineError, Graph, Node, Plan, Shape, Values, Weights};
use vidimus_log::Digest;

/// A map could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// The score names a channel that the output does not have, or has no opposite.
    #[error("score: {0}")]
    Score(String),
    /// The network has no stage of this name.
    #[error("stage {0}: the network has no stage of this name")]
    Stage(String),
    /// The input is not of the subject's shape.
    #[error("input: expected {expected} values, found {found}")]
    Input {
        /// Values of the input shape.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A parameter that makes no sense.
    #[error("{parameter}: {problem}")]
    Parameter {
        /// The parameter.
        parameter: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The map or the score is not finite: it is not shown.
    #[error("the explanation holds a value that is not finite")]
    NotFinite,
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A number made of the network's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Score {
    /// The sum of one channel over the output's space: a class's logit, or all of a segmentation's.
    Channel(usize),
    /// The log odds of a group of channels against all others, added up over the output's space.
    Against(Vec<usize>),
}

impl Score {
    fn check(&self, channels: usize) -> Result<(), ExplainError> {
        let wrong = |problem: String| Err(ExplainError::Score(problem));
        match self {
            Self::Channel(channel) if *channel >= channels => wrong(format!("channel {channel} of {channels}")),
            Self::Against(group) if group.iter().any(|&channel| channel >= channels) => {
                wrong(format!("channels {group:?} of {channels}"))
            }
            Self::Against(group) => {
                let inside = (0..channels).filter(|channel| group.contains(channel)).count();
                if inside == 0 || inside == channels {
                    return wrong(format!("channels {group:?} of {channels} have no opposite"));
                }
                Ok(())
            }
            Self::Channel(_) => Ok(()),
        }
    }

    /// The score of an output `[channels, space]`, in f64, place by place.
    pub(crate) fn value(&self, output: &[f32], channels: usize) -> f64 {
        let space = output.len() / channels;
        match self {
            Self::Channel(channel) => {
                output[channel * space..(channel + 1) * space].iter().map(|&v| f64::from(v)).sum()
            }
            Self::Against(group) => (0..space)
                .map(|at| {
                    let [inside, outside] = sides(output, (at, space), channels, group);
                    libm::log(inside) - libm::log(outside)
                })
                .sum(),
        }
    }

    /// Its gradient with respect to that output.
    pub(super) fn gradient(&self, output: &[f32], channels: usize) -> Vec<f32> {
        let space = output.len() / channels;
        let mut gradient = vec![0.0; output.len()];
        match self {
            Self::Channel(channel) => gradient[channel * space..(channel + 1) * space].fill(1.0),
            Self::Against(group) => {
                for at in 0..space {
                    let [inside, outside] = sides(output, (at, space), channels, group);
                    let top = top(output, (at, space), channels);
                    for channel in 0..channels {
                        let power = libm::exp(f64::from(output[channel * space + at]) - top);
                        let part = if group.contains(&channel) { power / inside } else { -power / outside };
                        gradient[channel * space + at] = part as f32;
                    }
                }
            }
        }
        gradient
    }
}

fn top(output: &[f32], (at, space): (usize, usize), channels: usize) -> f64 {
    (0..channels).map(|channel| f64::from(output[channel * space + at])).fold(f64::NEG_INFINITY, f64::max)
}

/// Sums of exponentials inside and outside of the group, both less the largest logit.
fn sides(output: &[f32], (at, space): (usize, usize), channels: usize, group: &[usize]) -> [f64; 2] {
    let top = top(output, (at, space), channels);
    let side = |wanted: bool| {
        (0..channels)
            .filter(|channel| group.contains(channel) == wanted)
            .map(|channel| libm::exp(f64::from(output[channel * space + at]) - top))
            .sum()
    };
    [side(true), side(false)]
}

/// A network, its weights, the shape of what it is given, and the score that is to be explained.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The network.
    pub graph: &'a Graph,
    /// Its weights.
    pub weights: &'a Weights,
    /// One input.
    pub input: Shape,
    /// The score.
    pub score: Score,
}

/// What several inputs gave.
pub(super) struct Seen {
    /// The wanted nodes' values.
    pub(super) values: Vec<Values>,
    /// The score of each input.
    pub(super) scores: Vec<f64>,
}

impl Subject<'_> {
    /// A named stage of the network.
    pub(super) fn stage(&self, name: &str) -> Result<Node, ExplainError> {
        self.graph.stages().get(name).copied().ok_or_else(|| ExplainError::Stage(name.to_owned()))
    }

    /// Channels of the output.
    fn channels(&self) -> Result<usize, ExplainError> {
        let shapes = self.graph.shapes(self.weights, self.input)?;
        let channels = shapes[self.graph.output().index()].channels;
        self.score.check(channels)?;
        Ok(channels)
    }

    /// Refuses what is not one finite input: a method explains one, and would mix several.
    pub(super) fn one(&self, x: &[f32]) -> Result<(), ExplainError> {
        if x.len() != self.input.len() {
            return Err(ExplainError::Input { expected: self.input.len(), found: x.len() });
        }
        if x.iter().all(|value| value.is_finite()) { Ok(()) } else { Err(ExplainError::NotFinite) }
    }

    /// The scores of inputs, one after another in `x`.
    pub fn scores(&self, x: &[f32]) -> Result<Vec<f64>, ExplainError> {
        let channels = self.channels()?;
        let images = self.images(x)?;
        let plan = Plan::new(self.graph, self.weights, self.input, &[self.graph.output()])?;
        let output = plan.run(x, images)?.remove(0);
        finite((0..images).map(|image| self.score.value(output.image(image), channels)).collect())
    }

    /// The values of `wanted` and the score's gradients at `at`, for inputs one after another in `x`: one plan.
    pub(super) fn seen(&self, wanted: &[Node], at: &[Node], x: &[f32]) -> Result<Seen, ExplainError> {
        let channels = self.channels()?;
        let images = self.images(x)?;
        let mut graph = self.graph.clone();
        let output = graph.output();
        let gradients = graph.gradient(output, at)?;
        let all: Vec<Node> = wanted.iter().copied().chain(gradients).chain([output]).collect();
        let plan = Plan::new(&graph, self.weights, self.input, &all)?;
        let seed = |_: usize, output: &[f32]| self.score.gradient(output, channels);
        let mut values = plan.run_seeded(x, images, &seed)?;
        let Some(output) = values.pop() else { return Err(ExplainError::NotFinite) };
        let scores = (0..images).map(|image| self.score.value(output.image(image), channels)).collect();
        Ok(Seen { values, scores: finite(scores)? })
    }

    fn images(&self, x: &[f32]) -> Result<usize, ExplainError> {
        let one = self.input.len();
        if x.is_empty() || one == 0 || !x.len().is_multiple_of(one) {
            return Err(ExplainError::Input { expected: one, found: x.len() });
        }
        Ok(x.len() / one)
    }
}

fn finite(values: Vec<f64>) -> Result<Vec<f64>, ExplainError> {
    if values.iter().all(|value| value.is_finite()) { Ok(values) } else { Err(ExplainError::NotFinite) }
}

/// Signed contributions over the input, and how they were found.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    /// Method and version, for example `integrated-gradients/1`.
    pub method: String,
    /// Its parameters, in words and numbers.
    pub parameters: String,
    /// The input's shape, or that with one channel.
    pub shape: Shape,
    /// `[channels, depth, rows, columns]`.
    pub values: Vec<f32>,
    /// Facts about this map: `score`, and what the method checks of itself (`completeness-gap`).
    pub facts: Vec<(&'static str, f64)>,
}

impl Attribution {
    pub(super) fn new(
        method: &dyn Method,
        shape: Shape,
        values: Vec<f32>,
        facts: Vec<(&'static str, f64)>,
    ) -> Result<Self, ExplainError> {
        if values.iter().any(|value| !value.is_finite()) {
            return Err(ExplainError::NotFinite);
        }
        let method_name = format!("{}/{}", method.name(), method.version());
        Ok(Self { method: method_name, parameters: method.parameters(), shape, values, facts })
    }

    /// One number a place: the sum of the channels.
    #[must_use]
    pub fn signed(&self) -> Vec<f32> {
        let space = self.shape.space();
        (0..space).map(|at| self.values.iter().skip(at).step_by(space).sum()).collect()
    }

    /// How much each place matters, whichever way: the sum of the channels' magnitudes.
    #[must_use]
    pub fn magnitude(&self) -> Vec<f32> {
        let space = self.shape.space();
        (0..space).map(|at| self.values.iter().skip(at).step_by(space).map(|value| value.abs()).sum()).collect()
    }

    /// Digest over method, parameters, shape and values.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let head = format!("{} {} {}\n", self.method, self.parameters, self.shape);
        let values: Vec<u8> = self.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Digest::of_parts([head.as_bytes(), &values])
    }
}

/// A way to explain a score.
pub trait Method {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Version of this implementation: another one may give other bits.
    fn version(&self) -> &'static str {
        "1"
    }

    /// Its parameters, in words and numbers; part of the digest.
    fn parameters(&self) -> String;

    /// The map of one input.
    fn explain(&self, subject: &Subject<'_>, x: &[f32]) -> Result<Attribution, ExplainError>;
}

/// A map of a stage's extent made as large as the input: linear between pixel centres, clamped at the edges.
pub(super) fn enlarged(map: &[f32], from: [usize; 3], to: [usize; 3]) -> Vec<f32> {
    let place = |axis: usize, at: usize| {
        let centre =
            ((at as f64 + 0.5) * from[axis] as f64 / to[axis] as f64 - 0.5).clamp(0.0, (from[axis] - 1) as f64);
        let first = centre.floor() as usize;
        (first, (first + 1).min(from[axis] - 1), centre - centre.floor())
    };
    let value = |d: usize, r: usize, c: usize| f64::from(map[(d * from[1] + r) * from[2] + c]);
    let mix = |a: f64, b: f64, t: f64| a + (b - a) * t;
    let columns: Vec<_> = (0..to[2]).map(|at| place(2, at)).collect();
    let mut large = Vec::with_capacity(to.iter().product());
    for depth in 0..to[0] {
        let (d0, d1, dt) = place(0, depth);
        for row in 0..to[1] {
            let (r0, r1, rt) = place(1, row);
            for &(c0, c1, ct) in &columns {
                let line = |d, r| mix(value(d, r, c0), value(d, r, c1), ct);
                let plane = |d| mix(line(d, r0), line(d, r1), rt);
                large.push(mix(plane(d0), plane(d1), dt) as f32);
            }
        }
    }
    large
}
