//! A U-Net of double convolutions with batch norm: `d.N` on the way down, `m` at the bottom, `u.N` and `c.N` on the way
//! up, `o` at the end.
//! Shapes: in `[channels, H, W]`, out `[classes, H, W]` of logits; H and W multiples of two to the depth. Depth, widths
//! and classes are the tensors'. Stages `down0`, .., `bottom`, `up0`, ..; `features` is the last map before `o`.
//! Errors: [`NetworkError`]. Source: Ronneberger et al., MICCAI 2015, with padding and batch norm.

use super::tensors::Tensors;
use super::{Description, Network, SpaceKind};
use crate::NetworkError;
use vidimus_engine::{Graph, Node, Pool, Weights, Window};

pub(super) fn build(description: &Description, tensors: &mut Tensors) -> Result<Network, NetworkError> {
    let channels = tensors.take_rank("d.0.0.weight", 4)?[1];
    let depth = (0..).take_while(|level| tensors.has(&format!("d.{level}.0.weight"))).count();
    let (mut graph, mut x) = Graph::new();
    let mut skips = Vec::new();
    for level in 0..depth {
        x = double(&mut graph, tensors, description, &format!("d.{level}"), x)?;
        graph.stage(&format!("down{level}"), x);
        skips.push(x);
        x = graph.max_pool(x, Pool::plane(2, 2, 0));
    }
    x = double(&mut graph, tensors, description, "m", x)?;
    graph.stage("bottom", x);
    for level in 0..depth {
        let name = format!("u.{level}");
        tensors.take_rank(&format!("{name}.weight"), 4)?;
        let bias = tensors.bias(&name)?;
        let grown = graph.conv_transposed(x, &format!("{name}.weight"), bias.as_deref(), Window::plane(2, 0, 1));
        let skip = skips.pop().unwrap_or(x);
        let both = graph.concat(&[skip, grown]);
        x = double(&mut graph, tensors, description, &format!("c.{level}"), both)?;
        graph.stage(&format!("up{level}"), x);
    }
    graph.stage("features", x);
    let outputs = tensors.take_rank("o.weight", 4)?[0];
    let bias = tensors.bias("o")?;
    let logits = graph.conv(x, "o.weight", bias.as_deref(), Window::ONE, 1);
    graph.set_output(logits);
    let multiple = super::halvings(depth)?;
    Ok(Network { graph, weights: Weights::new(), channels, outputs, multiple, space: SpaceKind::Plane })
}

/// Two convolutions of 3x3, each with norm and activation: `prefix.0`, `.1`, `.3`, `.4`.
fn double(
    graph: &mut Graph,
    tensors: &mut Tensors,
    description: &Description,
    prefix: &str,
    mut x: Node,
) -> Result<Node, NetworkError> {
    for number in [0, 3] {
        let name = format!("{prefix}.{number}");
        tensors.take_rank(&format!("{name}.weight"), 4)?;
        let bias = tensors.bias(&name)?;
        x = graph.conv(x, &format!("{name}.weight"), bias.as_deref(), Window::plane(1, 1, 1), 1);
        let norm = tensors.norm(&format!("{prefix}.{}", number + 1), description.norm_epsilon)?;
        x = graph.norm(x, norm);
        x = graph.activation(x, description.activation.function());
    }
    Ok(x)
}
