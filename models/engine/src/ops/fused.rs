//! A convolution, the batch norm of its result and a ReLU as one operation: what most layers of a network in training
//! are. Candle then keeps no gradient of the two maps between, and the norm's gradient goes straight into the kernels.
//! Shapes: as [`super::convolution`] without bias and [`super::batch_norm_training`]. The bits are those of the two in
//! turn.
//! Errors: Candle's, with the operation's name and the shapes.

use super::conv::{Convolution, Geometry};
use super::map::Map;
use super::norm::{BatchStatistics, Follow, Norm, statistics};
use super::tensors::{Made, Ternary, View, ternary};
use crate::graph::Window;
use crate::isa::Isa;
use candle_core::{Result, Tensor, bail};
use std::sync::{Arc, OnceLock};

/// How the convolution moves and what follows the norm.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    /// The convolution's window.
    pub window: Window,
    /// Its groups.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// What follows the norm.
    pub follow: Follow,
}

/// `follow(norm(convolution(x, weight)))` with the batch's own statistics, which are returned with the value.
pub fn convolution_norm(
    x: &Tensor,
    weight: &Tensor,
    [scale, shift]: [&Tensor; 2],
    unit: &Unit,
) -> Result<(Tensor, BatchStatistics)> {
    let found = Arc::new(OnceLock::new());
    let isa = Isa::current();
    let op = Fused {
        convolution: Convolution { window: unit.window, groups: unit.groups, isa },
        epsilon: unit.epsilon,
        relu: unit.follow == Follow::Relu,
        found: Arc::clone(&found),
    };
    let y = ternary(x, weight, &Tensor::cat(&[scale, shift], 0)?, op)?;
    match found.get() {
        Some(Between { statistics, .. }) => Ok((y, statistics.clone())),
        None => bail!("{}: no statistics of {:?}", Fused::NAME, x.dims()),
    }
}

/// What the forward pass keeps for the way back.
struct Between {
    /// The convolution's result.
    z: Vec<f32>,
    statistics: BatchStatistics,
}

struct Fused {
    convolution: Convolution,
    epsilon: f64,
    relu: bool,
    found: Arc<OnceLock<Between>>,
}

impl Fused {
    fn geometry(&self, [x, w, weights]: [View<'_>; 3]) -> Result<(Map, Geometry)> {
        let outputs = w.dims.first().copied().unwrap_or_default();
        if weights.dims != [2 * outputs] {
            bail!("{}: {:?} scales and shifts do not fit weight {:?}", Self::NAME, weights.dims, w.dims)
        }
        self.convolution.geometry(x, w, View { values: &[], dims: &[outputs] })
    }

    fn norm(&self, statistics: &BatchStatistics) -> Norm {
        let (mean, variance) = (statistics.mean.clone(), statistics.variance.clone());
        Norm { mean, variance, epsilon: self.epsilon, isa: self.convolution.isa, relu: self.relu }
    }
}

impl Ternary for Fused {
    const NAME: &'static str = "convolution with batch norm";

    fn forward(&self, arguments: [View<'_>; 3]) -> Result<Made> {
        let (map, geometry) = self.geometry(arguments)?;
        let [x, w, weights] = arguments;
        let isa = self.convolution.isa;
        let between = self.found.get_or_init(|| {
            let z = geometry.forward(isa, x.values, w.values, None);
            let statistics = statistics(isa, &z, geometry.outputs);
            Between { z, statistics }
        });
        let (scale, shift) = weights.values.split_at(geometry.outputs);
        let y = self.norm(&between.statistics).apply(&between.z, scale, shift);
        Ok((y, map.with(geometry.axes.map(|axis| axis.output), geometry.outputs).dims()))
    }

    fn backward(&self, arguments: [View<'_>; 3], g: View<'_>, wanted: [bool; 3]) -> Result<[Option<Vec<f32>>; 3]> {
        let (map, geometry) = self.geometry(arguments)?;
        let [x, w, weights] = arguments;
        let Some(Between { z, statistics }) = self.found.get() else { bail!("{}: run forward first", Self::NAME) };
        let isa = self.convolution.isa;
        let (scale, shift) = weights.values.split_at(geometry.outputs);
        let [dz, dscale, dshift] = self.norm(statistics).gradients(z, g.values, [scale, shift], wanted[0] || wanted[1]);
        let dz = dz.unwrap_or_default();
        let dweights = [dscale.unwrap_or_default(), dshift.unwrap_or_default()].concat();
        Ok([
            wanted[0].then(|| geometry.adjoint(isa, &dz, w.values, None)),
            wanted[1].then(|| geometry.filter(isa, map.images, x.values, &dz)),
            wanted[2].then_some(dweights),
        ])
    }
}
