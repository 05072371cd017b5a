//! Published networks as graphs: what a description and the tensors together say.
//! A description (TOML) says what shapes cannot tell: family, dilations, activation, order of norm and activation, names
//! of labels, preparation. Channels, widths, depth and classes are read from the tensors. One file a family.
//! Shapes: in `[channels, (depth,) rows, columns]`; out the network's raw result. Stages are named; `features` is the
//! last map before the head, which class-activation methods explain.
//! Errors: [`NetworkError`], naming the key, or the tensor that is missing, left over or of another shape.
//! Keys of a description: `models/networks/published/README.md`.

mod densenet;
mod description;
mod detection;
mod dncnn;
mod hippodeep;
mod meshnet;
mod regression;
mod residual;
mod sequence;
mod tensors;
mod unet;
mod wnet;

pub use description::{
    ActivationName, Description, Family, HeadName, Intensity, Order, OutputKind, PreparationSpec, SpaceKind,
};

use crate::NetworkError;
use tensors::Tensors;
use vidimus_engine::{Graph, Weights};

/// A network: its graph, its weights, and what goes in and comes out.
#[derive(Clone, Debug)]
pub struct Network {
    /// What is computed.
    pub graph: Graph,
    /// By what.
    pub weights: Weights,
    /// Channels of the input.
    pub channels: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Rows, columns (and depth) must be multiples of it.
    pub multiple: usize,
    /// Whether it takes planes or volumes.
    pub space: SpaceKind,
}

impl Network {
    /// Builds the network that `description` and `weights` are; every tensor must belong to it.
    pub fn build(description: &Description, weights: Weights) -> Result<Self, NetworkError> {
        let mut tensors = Tensors::new(weights);
        let mut network = match description.family {
            Family::Meshnet => meshnet::build(description, &mut tensors),
            Family::Dncnn => dncnn::build(description, &mut tensors),
            Family::WNet => wnet::build(description, &mut tensors),
            Family::UNet => unet::build(description, &mut tensors),
            Family::Residual => residual::build(description, &mut tensors),
            Family::Densenet => densenet::build(description, &mut tensors),
            Family::Detection => detection::build(description, &mut tensors),
            Family::Regression => regression::build(description, &mut tensors),
            Family::HippodeepHead => hippodeep::head(&mut tensors),
            Family::HippodeepAffine => hippodeep::affine(&mut tensors),
            Family::HippodeepHippo => hippodeep::hippo(&mut tensors),
        }?;
        network.weights = tensors.finish()?;
        network.multiple = network.multiple.max(description.preparation.size_multiple);
        if !description.labels.is_empty() && description.labels.len() != network.outputs {
            let problem =
                format!("{} names for the {} channels of the output", description.labels.len(), network.outputs);
            return Err(NetworkError::Setting { setting: "labels", problem });
        }
        Ok(network)
    }
}
