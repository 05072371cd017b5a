//! A convolution, the batch norm of its result and a ReLU as one operation: what most layers of a network in training
//! are. Candle then keeps no gradient of the two maps between, and the norm's gradient goes straight into the kernels.
//! Shapes: as [`super::convolution`] without bias and [`super::batch_norm_training`]. The bits are those of the two in
//! turn.
//! Errors: Candle's, with the operation's name and the shapes.

use super::buffers::give;
use super::conv::{Convolution, Geometry};
use super::map::Map;
use super::norm::{BatchStatistics, Follow, Norm, statistics};
use super::tensors::{Made, Step, Ternary, View, ternary};
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
pub(crate) struct Between {
    /// The convolution's result.
    z: Vec<f32>,
    pub(crate) statistics: BatchStatistics,
}

impl Drop for Between {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.z));
    }
}

pub(crate) struct Fused {
    pub(crate) convolution: Convolution,
    pub(crate) epsilon: f64,
    pub(crate) relu: bool,
    pub(crate) found: Arc<OnceLock<Between>>,
}

impl Fused {
    fn geometry(&self, x: View<'_>, w: View<'_>, scales: usize) -> Result<(Map, Geometry)> {
        let outputs = w.dims.first().copied().unwrap_or_default();
        if scales != outputs {
            bail!("{}: {scales} scales and shifts do not fit weight {:?}", <Self as Ternary>::NAME, w.dims)
        }
        self.convolution.geometry(x, w, View { values: &[], dims: &[outputs] })
    }

    fn norm(&self, statistics: &BatchStatistics) -> Norm {
        let (mean, variance) = (statistics.mean.clone(), statistics.variance.clone());
        Norm { mean, variance, epsilon: self.epsilon, isa: self.convolution.isa, relu: self.relu }
    }
}

impl Fused {
    fn forward(&self, x: View<'_>, w: View<'_>, scale: &[f32], shift: &[f32]) -> Result<Made> {
        let (map, geometry) = self.geometry(x, w, scale.len())?;
        let isa = self.convolution.isa;
        let between = self.found.get_or_init(|| {
            let z = geometry.forward(isa, x.values, w.values, None);
            let statistics = statistics(isa, &z, geometry.outputs);
            Between { z, statistics }
        });
        let y = self.norm(&between.statistics).apply(&between.z, scale, shift);
        Ok((y, map.with(geometry.axes.map(|axis| axis.output), geometry.outputs).dims()))
    }

    /// The gradients of input, weight, scale and shift.
    fn backward(
        &self,
        [x, w]: [View<'_>; 2],
        [scale, shift]: [&[f32]; 2],
        g: &[f32],
        [for_x, for_w]: [bool; 2],
    ) -> Result<[Option<Vec<f32>>; 4]> {
        let (map, geometry) = self.geometry(x, w, scale.len())?;
        let Some(Between { z, statistics }) = self.found.get() else { bail!("{}: run forward first", Self::NAME) };
        let isa = self.convolution.isa;
        let [dz, dscale, dshift] = self.norm(statistics).gradients(z, g, [scale, shift], for_x || for_w);
        let dz = dz.unwrap_or_default();
        let dx = for_x.then(|| geometry.adjoint(isa, &dz, w.values, None));
        let dw = for_w.then(|| geometry.filter(isa, map.images, x.values, &dz));
        give(dz);
        Ok([dx, dw, dscale, dshift])
    }
}

impl Ternary for Fused {
    const NAME: &'static str = "convolution with batch norm";

    fn forward(&self, [x, w, weights]: [View<'_>; 3]) -> Result<Made> {
        let (scale, shift) = weights.values.split_at(weights.values.len() / 2);
        self.forward(x, w, scale, shift)
    }

    fn backward(
        &self,
        [x, w, weights]: [View<'_>; 3],
        g: View<'_>,
        wanted: [bool; 3],
    ) -> Result<[Option<Vec<f32>>; 3]> {
        let (scale, shift) = weights.values.split_at(weights.values.len() / 2);
        let [dx, dw, dscale, dshift] = self.backward([x, w], [scale, shift], g.values, [wanted[0], wanted[1]])?;
        let both = dscale.zip(dshift).map(|(scale, shift)| [scale, shift].concat());
        Ok([dx, dw, both.filter(|_| wanted[2])])
    }
}

impl Step for Fused {
    fn run(&self, arguments: &[View<'_>]) -> Result<Made> {
        let [x, w, scale, shift] = *arguments else { bail!("{}: four arguments are needed", Self::NAME) };
        self.forward(x, w, scale.values, shift.values)
    }

    fn back(&self, arguments: &[View<'_>], _: View<'_>, g: View<'_>, wanted: &[bool]) -> Result<Vec<Option<Vec<f32>>>> {
        let [x, w, scale, shift] = *arguments else { bail!("{}: four arguments are needed", Self::NAME) };
        let made = self.backward([x, w], [scale.values, shift.values], g.values, [wanted[0], wanted[1]])?;
        Ok(made.into_iter().zip(wanted).map(|(made, wanted)| made.filter(|_| *wanted)).collect())
    }
}
