//! Published networks as graphs: what a description and the tensors together say.
//! A description (TOML) says what shapes cannot tell: family, dilations, activation, order of norm and activation,
//! names of labels, preparation. Channels, widths, depth and classes are read from the tensors. One file a family.
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
use vidimus_engine::{Graph, Shape, Weights};

/// Halvings of one network at most.
const LEVELS_MAX: usize = 12;

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
        // what both need: the network's halvings and what the description asks for
        let (mut own, asked) = (network.multiple, description.preparation.size_multiple);
        while !own.is_multiple_of(asked) {
            own += network.multiple;
        }
        network.multiple = own;
        // weights that do not fit each other are refused here, not at the first run
        network.graph.shapes(&network.weights, network.probe(description.family))?;
        Ok(network)
    }

    /// A small input that the network takes, to hold its tensors to each other.
    const fn probe(&self, family: Family) -> Shape {
        let side = self.multiple * 64usize.div_ceil(self.multiple);
        match (family, self.space) {
            (Family::HippodeepHippo, _) => Shape::volume(self.channels, [48, 72, 64]),
            (Family::HippodeepHead | Family::HippodeepAffine, _) => Shape::volume(self.channels, [64; 3]),
            (_, SpaceKind::Volume) => Shape::volume(self.channels, [self.multiple; 3]),
            (_, SpaceKind::Plane) => Shape::plane(self.channels, side, side),
        }
    }
}

/// What a network that halves its input so often needs as a divisor of its sides.
fn halvings(levels: usize) -> Result<usize, NetworkError> {
    if levels <= LEVELS_MAX {
        return Ok(1 << levels);
    }
    let problem = format!("{levels} levels, at most {LEVELS_MAX} are taken in");
    Err(NetworkError::Setting { setting: "weights", problem })
}
