//! Convolutions in a row, in the order of the numbers in their names: `prefix.N.weight` as `torch.nn.Sequential` has it
//! (gaps for layers without tensors), nested (`prefix.N.0.weight`, norm `prefix.N.1`), or `convN` with `bnN`, `N.conv`
//! with `N.norm`. A norm belongs to the convolution before it; of equal numbers the convolution comes first; a name
//! without a number is the last layer's. Shared by MeshNet and DnCNN. Errors: [`NetworkError`] for names that make no
//! such row.

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
    let mut places: Vec<(Vec<usize>, bool, String)> = Vec::new();
    for stem in tensors.names().filter_map(|name| name.strip_suffix(".weight")) {
        places.push((numbers(stem), tensors.has_norm(stem), stem.to_owned()));
    }
    places.sort();
    let mut layers: Vec<Layer> = Vec::new();
    for (_, norm, stem) in places {
        if norm {
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

/// The numbers in a name, in order: each part's, or its last digits; a name without any stands at the end.
fn numbers(stem: &str) -> Vec<usize> {
    let digits = |part: &str| {
        let letters = part.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
        part[letters..].parse().ok()
    };
    let found: Vec<usize> = stem.split('.').filter_map(digits).collect();
    if found.is_empty() { vec![usize::MAX] } else { found }
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
