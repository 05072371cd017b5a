//! A densely connected network, by torchvision's names (DenseNet-121 and its kin).
//! Shapes: in `[channels, H, W]`, out `[classes]` of logits. Blocks, growth and classes are the tensors'. Stages
//! `stem`, `block1`, ..; `features` is the last map after its norm and activation.
//! Errors: [`NetworkError`]. Source: Huang et al., CVPR 2017; torchvision's `densenet.py`.

use super::tensors::Tensors;
use super::{Description, Network, SpaceKind, residual};
use crate::NetworkError;
use vidimus_engine::graph::Activation;
use vidimus_engine::{Graph, Node, Pool, Weights, Window};

/// Epsilon of torchvision's batch norms.
const EPSILON: f64 = 1e-5;

pub(super) fn build(_description: &Description, tensors: &mut Tensors) -> Result<Network, NetworkError> {
    let (mut graph, image) = Graph::new();
    let channels = tensors.take_rank("features.conv0.weight", 4)?[1];
    let x = graph.conv(image, "features.conv0.weight", None, Window::plane(2, 3, 1), 1);
    let x = normed(&mut graph, tensors, x, "features.norm0")?;
    graph.stage("stem", x);
    let mut x = graph.max_pool(x, Pool::plane(3, 2, 1));
    let layer = |block: usize, layer: usize| format!("features.denseblock{block}.denselayer{layer}");
    let blocks = (1..).take_while(|block| tensors.has(&format!("{}.conv1.weight", layer(*block, 1)))).count();
    for block in 1..=blocks {
        let layers = (1..).take_while(|one| tensors.has(&format!("{}.conv1.weight", layer(block, *one)))).count();
        let mut parts = vec![x];
        for one in 1..=layers {
            let all = if parts.len() == 1 { x } else { graph.concat(&parts) };
            parts.push(dense(&mut graph, tensors, all, &layer(block, one))?);
        }
        x = graph.concat(&parts);
        graph.stage(&format!("block{block}"), x);
        let transition = format!("features.transition{block}");
        if tensors.has(&format!("{transition}.conv.weight")) {
            x = normed(&mut graph, tensors, x, &format!("{transition}.norm"))?;
            tensors.take_rank(&format!("{transition}.conv.weight"), 4)?;
            x = graph.conv(x, &format!("{transition}.conv.weight"), None, Window::ONE, 1);
            x = graph.mean_pool(x, Pool::plane(2, 2, 0));
        }
    }
    let features = normed(&mut graph, tensors, x, "features.norm5")?;
    graph.stage("features", features);
    let mean = graph.global_mean(features);
    let (logits, outputs) = residual::head(&mut graph, tensors, mean, "classifier")?;
    graph.set_output(logits);
    Ok(Network { graph, weights: Weights::new(), channels, outputs, multiple: 1, space: SpaceKind::Plane })
}

fn normed(graph: &mut Graph, tensors: &mut Tensors, x: Node, name: &str) -> Result<Node, NetworkError> {
    let norm = tensors.norm(name, EPSILON)?;
    let y = graph.norm(x, norm);
    Ok(graph.activation(y, Activation::Relu))
}

/// Norm, activation, 1x1, norm, activation, 3x3.
fn dense(graph: &mut Graph, tensors: &mut Tensors, x: Node, prefix: &str) -> Result<Node, NetworkError> {
    let mut y = x;
    for number in [1, 2] {
        y = normed(graph, tensors, y, &format!("{prefix}.norm{number}"))?;
        let weight = format!("{prefix}.conv{number}.weight");
        let kernel = tensors.take_rank(&weight, 4)?[2];
        y = graph.conv(y, &weight, None, Window::plane(1, kernel / 2, 1), 1);
    }
    Ok(y)
}
