//! A residual network of basic blocks, by torchvision's names (ResNet-18, ResNet-34).
//! Shapes: in `[channels, H, W]`, out `[classes]` of logits. Widths, blocks and classes are the tensors'. Stages
//! `stem`, `layer1` to `layer4`; `features` is the last of them.
//! Errors: [`NetworkError`]. Source: He et al., CVPR 2016; torchvision's `resnet.py`.

use super::tensors::Tensors;
use super::{Description, Network, SpaceKind};
use crate::NetworkError;
use vidimus_engine::graph::Activation;
use vidimus_engine::{Graph, Node, Pool, Weights, Window};

/// Epsilon of torchvision's batch norms.
const EPSILON: f64 = 1e-5;

pub(super) fn build(_description: &Description, tensors: &mut Tensors) -> Result<Network, NetworkError> {
    let (mut graph, x) = Graph::new();
    let (channels, features) = trunk(&mut graph, tensors, x)?;
    let mean = graph.global_mean(features);
    let (logits, outputs) = head(&mut graph, tensors, mean, "fc")?;
    graph.set_output(logits);
    Ok(Network { graph, weights: Weights::new(), channels, outputs, multiple: 1, space: SpaceKind::Plane })
}

/// A linear layer `name` on a vector, and its outputs.
pub(super) fn head(
    graph: &mut Graph,
    tensors: &mut Tensors,
    x: Node,
    name: &str,
) -> Result<(Node, usize), NetworkError> {
    let outputs = tensors.take_rank(&format!("{name}.weight"), 2)?[0];
    let bias = tensors.bias(name)?;
    Ok((graph.linear(x, &format!("{name}.weight"), bias.as_deref()), outputs))
}

/// Stem and the layers that there are: channels of the input, and the last map.
pub(super) fn trunk(graph: &mut Graph, tensors: &mut Tensors, x: Node) -> Result<(usize, Node), NetworkError> {
    let channels = tensors.take_rank("conv1.weight", 4)?[1];
    let mut x = unit(graph, tensors, x, ("conv1", "bn1"), 2, true)?;
    graph.stage("stem", x);
    x = graph.max_pool(x, Pool::plane(3, 2, 1));
    let layers = (1..).take_while(|layer| tensors.has(&format!("layer{layer}.0.conv1.weight"))).count();
    for layer in 1..=layers {
        let blocks = (0..).take_while(|block| tensors.has(&format!("layer{layer}.{block}.conv1.weight"))).count();
        for block in 0..blocks {
            let stride = if layer > 1 && block == 0 { 2 } else { 1 };
            x = basic(graph, tensors, x, &format!("layer{layer}.{block}"), stride)?;
        }
        graph.stage(&format!("layer{layer}"), x);
    }
    graph.stage("features", x);
    Ok((channels, x))
}

fn basic(graph: &mut Graph, tensors: &mut Tensors, x: Node, prefix: &str, stride: usize) -> Result<Node, NetworkError> {
    let name = |part: &str| format!("{prefix}.{part}");
    let y = unit(graph, tensors, x, (&name("conv1"), &name("bn1")), stride, true)?;
    let y = unit(graph, tensors, y, (&name("conv2"), &name("bn2")), 1, false)?;
    let short = if tensors.has(&name("downsample.0.weight")) {
        unit(graph, tensors, x, (&name("downsample.0"), &name("downsample.1")), stride, false)?
    } else {
        x
    };
    let sum = graph.add(y, short);
    Ok(graph.activation(sum, Activation::Relu))
}

fn unit(
    graph: &mut Graph,
    tensors: &mut Tensors,
    x: Node,
    (conv, norm): (&str, &str),
    stride: usize,
    active: bool,
) -> Result<Node, NetworkError> {
    let weight = format!("{conv}.weight");
    let kernel = tensors.take_rank(&weight, 4)?[2];
    let bias = tensors.bias(conv)?;
    let y = graph.conv(x, &weight, bias.as_deref(), Window::plane(stride, kernel / 2, 1), 1);
    let norm = tensors.norm(norm, EPSILON)?;
    let y = graph.norm(y, norm);
    Ok(if active { graph.activation(y, Activation::Relu) } else { y })
}
