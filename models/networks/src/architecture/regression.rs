//! Values in place of classes: a residual trunk, means over its last map, one linear layer, and the bound that the
//! description names.
//! Shapes: in `[channels, H, W]`; out `[values]`, in the description's unit. Stages as the residual network's.
//! Errors: [`NetworkError`].

use super::tensors::Tensors;
use super::{Description, HeadName, Network, SpaceKind, residual};
use crate::NetworkError;
use vidimus_engine::graph::Activation;
use vidimus_engine::{Graph, Weights};

pub(super) fn build(description: &Description, tensors: &mut Tensors) -> Result<Network, NetworkError> {
    let (mut graph, x) = Graph::new();
    let (channels, features) = residual::trunk(&mut graph, tensors, x)?;
    let mean = graph.global_mean(features);
    let (mut values, outputs) = residual::head(&mut graph, tensors, mean, "fc")?;
    if description.head == Some(HeadName::Sigmoid) {
        values = graph.activation(values, Activation::Sigmoid);
    }
    graph.set_output(values);
    Ok(Network { graph, weights: Weights::new(), channels, outputs, multiple: 1, space: SpaceKind::Plane })
}
