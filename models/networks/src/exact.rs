//! The classifier under the profile `f32-exact`: its graph, compiled for one input size.
//! Shapes: in `[N, 1 or 3, side, side]`; out as [`Classifier::forward`]'s.
//! Two plans share nothing but the weights' file: one ends at the trunk, for the guard, which must compute no answer;
//! the other goes on to the logits.
//! Errors: [`NetworkError`], as the classifier's; an input of another size than the plans' is refused.
//! Source: the trunk's card; the head as in [`crate::classifier`].

use crate::efficientnet_lite0::{Stages, trunk_graph};
use crate::{Classifier, ClassifierConfig, Forward, NetworkError};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use vidimus_engine::{Graph, Memory, Node, Plan, Shape, Values, Weights};

/// A classifier compiled for one input size.
#[derive(Debug)]
pub struct ExactClassifier {
    classifier: Classifier,
    trunk: Plan,
    whole: Plan,
}

/// The classifier's graph: stages `stem`, `stage1` to `stage5`, `pooled` and the logits as output.
#[must_use]
pub fn classifier_graph() -> Graph {
    let (mut graph, x) = Graph::new();
    let [.., stage4, stage5] = trunk_graph(&mut graph, x);
    let means = [stage4, stage5].map(|stage| graph.global_mean(stage));
    let pooled = graph.concat(&means);
    graph.stage("pooled", pooled);
    let logits = graph.linear(pooled, "head.weight", Some("head.bias"));
    graph.set_output(logits);
    graph
}

/// The classifier's weights for inputs of so many planes: for one, the stem's three are added up.
pub fn classifier_weights(safetensors: &[u8], planes: usize) -> Result<Weights, NetworkError> {
    let tensors = candle_core::safetensors::load_buffer(safetensors, &Device::Cpu).map_err(NetworkError::Format)?;
    let mut weights: Weights = tensors.into_iter().collect::<BTreeMap<_, _>>();
    if planes == 1
        && let Some(stem) = weights.get_mut("stem.conv.weight")
    {
        *stem = stem.sum_keepdim(1)?;
    }
    Ok(weights)
}

impl ExactClassifier {
    /// Reads weights as [`Classifier::load`] does and compiles them for inputs `[N, 1, side, side]`.
    pub fn load(safetensors: &[u8], config: &ClassifierConfig, side: usize) -> Result<Self, NetworkError> {
        let classifier = Classifier::load(safetensors, config)?;
        let weights = classifier_weights(safetensors, 1)?;
        let graph = classifier_graph();
        let stages = ["stem", "stage1", "stage2", "stage3", "stage4", "stage5"];
        let mut wanted: Vec<Node> = stages.iter().filter_map(|name| graph.stages().get(*name).copied()).collect();
        let input = Shape::plane(1, side, side);
        let trunk = Plan::new(&graph, &weights, input, &wanted)?;
        wanted.extend(graph.stages().get("pooled").copied());
        wanted.push(graph.output());
        Ok(Self { classifier, trunk, whole: Plan::new(&graph, &weights, input, &wanted)? })
    }

    /// The head and the classes.
    #[must_use]
    pub const fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// What the two plans hold.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let (a, b) = (self.trunk.memory(), self.whole.memory());
        Memory { weights_bytes: a.weights_bytes + b.weights_bytes, arena_bytes: a.arena_bytes.max(b.arena_bytes) }
    }

    /// The answer for `x`, `[N, 1, side, side]`, prepared.
    pub fn forward(&self, x: &Tensor) -> Result<Forward, NetworkError> {
        let values = run(&self.whole, x)?;
        let (maps, ends) = values.split_at(6);
        let [pooled, logits] = ends else { return Err(missing()) };
        let flat =
            |values: &Values| Tensor::from_slice(&values.values, (values.images, values.shape.channels), &Device::Cpu);
        Ok(Forward { stages: stages(maps)?, pooled: flat(pooled)?, logits: flat(logits)? })
    }

    /// The trunk alone, for the guard: no logit is computed.
    pub fn stages(&self, x: &Tensor) -> Result<Stages, NetworkError> {
        stages(&run(&self.trunk, x)?)
    }
}

fn run(plan: &Plan, x: &Tensor) -> Result<Vec<Values>, NetworkError> {
    let wrong = || NetworkError::Input { expected: "[N, 1, side, side] of the plan's side", found: x.dims().to_vec() };
    let (images, planes, rows, columns) = x.dims4().map_err(|_| wrong())?;
    if Shape::plane(planes, rows, columns) != plan.input() || images == 0 {
        return Err(wrong());
    }
    Ok(plan.run(&x.flatten_all()?.to_vec1::<f32>()?, images)?)
}

fn missing() -> NetworkError {
    NetworkError::Setting { setting: "stages", problem: "the trunk has a stem and five stages".into() }
}

/// Maps `[N, channels, rows, columns]` as the classifier's, channels last.
fn stages(maps: &[Values]) -> Result<Stages, NetworkError> {
    let last = |values: &Values| -> Result<Tensor, NetworkError> {
        let Shape { channels, extent: [_, rows, columns] } = values.shape;
        let map = Tensor::from_slice(&values.values, (values.images, channels, rows, columns), &Device::Cpu)?;
        Ok(map.permute((0, 2, 3, 1))?.contiguous()?)
    };
    let [stem, stage1, stage2, stage3, stage4, stage5] = maps else { return Err(missing()) };
    Ok(Stages {
        stem: last(stem)?,
        stage1: last(stage1)?,
        stage2: last(stage2)?,
        stage3: last(stage3)?,
        stage4: last(stage4)?,
        stage5: last(stage5)?,
    })
}
