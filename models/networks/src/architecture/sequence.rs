//! Convolutions in a row, as `torch.nn.Sequential` names them: `prefix.N.weight`, N rising, gaps for layers without tensors.
//! Shared by MeshNet and DnCNN. Errors: [`NetworkError`] for names that make no such row.

use super::tensors::Tensors;
use super::{Description, Order};
use crate::NetworkError;
use vidimus_engine::{Graph, Node, Padding, Window};

/// One convolution of a row and the norm that belongs to it.
pub(super) struct Layer {
    /// `prefix.N`.
    pub(super) conv: String,
    /// `prefix.M` of the batch norm before the next convolution.
    pub(super) norm: Option<String>,
    /// The weight's dimensions.
    pub(super) dims: Vec<usize>,
    /// The bias's name.
    pub(super) bias: Option<String>,
}

/// The row's layers, of weights of `rank` dimensions.
pub(super) fn layers(tensors: &mut Tensors, rank: usize) -> Result<Vec<Layer>, NetworkError> {
    let mut places: Vec<(usize, String)> = Vec::new();
    for name in tensors.names() {
        let Some(stem) = name.strip_suffix(".weight") else { continue };
        let number = stem.rsplit('.').next().and_then(|number| number.parse().ok());
        let number = number.ok_or_else(|| NetworkError::Unknown { name: name.to_owned() })?;
        places.push((number, stem.to_owned()));
    }
    places.sort();
    let mut layers: Vec<Layer> = Vec::new();
    for (_, stem) in places {
        if tensors.has_norm(&stem) {
            let unplaced = || NetworkError::Unknown { name: format!("{stem}.weight") };
            let last = layers.last_mut().filter(|layer| layer.norm.is_none()).ok_or_else(unplaced)?;
            last.norm = Some(stem);
            continue;
        }
        let dims = tensors.take_rank(&format!("{stem}.weight"), rank)?;
        let bias = tensors.bias(&stem)?;
        layers.push(Layer { conv: stem, norm: None, dims, bias });
    }
    if layers.len() < 2 {
        let problem = format!("{} convolutions in a row, at least 2 are needed", layers.len());
        return Err(NetworkError::Setting { setting: "weights", problem });
    }
    Ok(layers)
}

/// Appends a layer whose size is kept, with norm and activation unless it is the last.
pub(super) fn layer(
    graph: &mut Graph,
    tensors: &mut Tensors,
    description: &Description,
    x: Node,
    (layer, dilation, last): (&Layer, usize, bool),
) -> Result<Node, NetworkError> {
    let kernel = &layer.dims[2..];
    if kernel.iter().any(|length| length.is_multiple_of(2)) {
        let found = format!("f32 {:?}, a kernel of even length keeps no size", layer.dims);
        let name = format!("{}.weight", layer.conv);
        return Err(NetworkError::Tensor { name, expected: layer.dims.clone(), found });
    }
    let mut around = [0; 3];
    let mut steps = [1; 3];
    for (at, &length) in kernel.iter().enumerate() {
        let axis = 3 - kernel.len() + at;
        around[axis] = (length / 2) * dilation;
        steps[axis] = dilation;
    }
    let padding = Padding::Fixed { before: around, after: around };
    let window = Window { stride: [1; 3], dilation: steps, padding };
    let mut y = graph.conv(x, &format!("{}.weight", layer.conv), layer.bias.as_deref(), window, 1);
    let norm = layer.norm.as_ref().map(|norm| tensors.norm(norm, description.norm_epsilon)).transpose()?;
    let activated =
        |graph: &mut Graph, y| if last { y } else { graph.activation(y, description.activation.function()) };
    match (norm, description.order) {
        (None, _) => y = activated(graph, y),
        (Some(norm), Order::NormFirst) => {
            y = graph.norm(y, norm);
            y = activated(graph, y);
        }
        (Some(norm), Order::ActivationFirst) => {
            y = activated(graph, y);
            y = graph.norm(y, norm);
        }
    }
    Ok(y)
}
