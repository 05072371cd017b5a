//! MeshNet: dilated 3-D convolutions in a row that keep the size, then a convolution to the classes.
//! Shapes: in `[1, D, H, W]`, out `[classes, D, H, W]` of logits. Stages `layer0`, `layer1`, ..; `features` is the last
//! but one's.
//! Errors: [`NetworkError`]; dilations that do not fit the layers are refused.
//! Source: Fedorov et al. 2016 (arXiv 1612.00940); Masoud et al. 2023 (Brainchop).

use super::tensors::Tensors;
use super::{Description, Network, SpaceKind, sequence};
use crate::NetworkError;
use vidimus_engine::{Graph, Weights};

pub(super) fn build(description: &Description, tensors: &mut Tensors) -> Result<Network, NetworkError> {
    let layers = sequence::layers(tensors, 5)?;
    let (count, given) = (layers.len(), &description.dilations);
    if given.len() != count && given.len() + 1 != count {
        let problem = format!(
            "{} dilations for {count} convolutions; one each is needed (the last may be left out)",
            given.len()
        );
        return Err(NetworkError::Setting { setting: "dilations", problem });
    }
    let (mut graph, mut x) = Graph::new();
    for (place, layer) in layers.iter().enumerate() {
        let last = place + 1 == count;
        if last {
            graph.stage("features", x);
        }
        let dilation = given.get(place).copied().unwrap_or(1);
        x = sequence::layer(&mut graph, tensors, description, x, (layer, dilation, last))?;
        graph.stage(&format!("layer{place}"), x);
    }
    graph.set_output(x);
    let outputs = layers.last().map_or(0, |layer| layer.dims[0]);
    let channels = layers[0].dims[1];
    Ok(Network { graph, weights: Weights::new(), channels, outputs, multiple: 1, space: SpaceKind::Volume })
}
