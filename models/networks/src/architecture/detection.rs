//! A detector of centre points on a residual trunk: for each cell of its last map the log odds that an object's centre
//! lies there, and the box around it.
//! Shapes: in `[channels, H, W]`; out `[classes + 4, H / s, W / s]`: classes of centre log odds, then offsets of the
//! centre (row, column) and logarithms of the box's height and width, in cells.
//! Errors: [`NetworkError`]. Source: Zhou et al. 2019 (arXiv 1904.07850), without its separate upsampling path.

use super::tensors::Tensors;
use super::{Description, Network, SpaceKind, residual};
use crate::NetworkError;
use vidimus_engine::graph::Activation;
use vidimus_engine::{Graph, Weights, Window};

/// What the last channels are, after the classes.
const BOX_CHANNELS: usize = 4;

pub(super) fn build(_description: &Description, tensors: &mut Tensors) -> Result<Network, NetworkError> {
    let (mut graph, x) = Graph::new();
    let (channels, features) = residual::trunk(&mut graph, tensors, x)?;
    let mut parts = Vec::new();
    let mut outputs = 0;
    for part in ["centre", "box"] {
        let mut y = features;
        for number in [0, 2] {
            let name = format!("{part}.{number}");
            let dims = tensors.take_rank(&format!("{name}.weight"), 4)?;
            let bias = tensors.bias(&name)?;
            let window = Window::plane(1, dims[2] / 2, 1);
            y = graph.conv(y, &format!("{name}.weight"), bias.as_deref(), window, 1);
            if number == 0 {
                y = graph.activation(y, Activation::Relu);
            } else {
                outputs += dims[0];
                if part == "box" && dims[0] != BOX_CHANNELS {
                    let found = format!("f32 {dims:?}");
                    return Err(NetworkError::Tensor { name, expected: vec![BOX_CHANNELS], found });
                }
            }
        }
        graph.stage(part, y);
        parts.push(y);
    }
    let both = graph.concat(&parts);
    graph.set_output(both);
    Ok(Network { graph, weights: Weights::new(), channels, outputs, multiple: 1, space: SpaceKind::Plane })
}
