//! DnCNN: convolutions in a row that find the noise; the result is the image less the noise.
//! Shapes: in `[1, H, W]`, out the same. Stages `layer0`, ..; `noise` is what is taken away; `features` the last map
//! before.
//! Errors: [`NetworkError`]. Source: Zhang et al., IEEE TIP 2017; KAIR's merged form without norms, or with them.

use super::tensors::Tensors;
use super::{Description, Network, SpaceKind, sequence};
use crate::NetworkError;
use vidimus_engine::{Graph, Weights};

pub(super) fn build(description: &Description, tensors: &mut Tensors) -> Result<Network, NetworkError> {
    let layers = sequence::layers(tensors, 4)?;
    let (mut graph, image) = Graph::new();
    let mut x = image;
    for (place, layer) in layers.iter().enumerate() {
        let last = place + 1 == layers.len();
        if last {
            graph.stage("features", x);
        }
        x = sequence::layer(&mut graph, tensors, description, x, (layer, 1, last))?;
        graph.stage(&format!("layer{place}"), x);
    }
    graph.stage("noise", x);
    let clean = graph.subtract(image, x);
    graph.set_output(clean);
    let outputs = layers.last().map_or(0, |layer| layer.dims[0]);
    let channels = layers[0].dims[1];
    if outputs != channels {
        let problem = format!("{outputs} channels of noise for {channels} of image");
        return Err(NetworkError::Setting { setting: "weights", problem });
    }
    Ok(Network { graph, weights: Weights::new(), channels, outputs, multiple: 1, space: SpaceKind::Plane })
}
