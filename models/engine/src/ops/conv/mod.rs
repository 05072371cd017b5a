//! Convolution and transposed convolution of planes and volumes, forward and all gradients.
//! Shapes: maps `[N, (D,) H, W, C]`; a convolution's weight `[out, in / groups, (kd,) kh, kw]` or `[out, in]`, a
//! transposed one's `[in, out / groups, (kd,) kh, kw]`; bias `[out]`.
//! A transposed convolution is the adjoint of the convolution with the same weight, so each one's input gradient is the
//! other's forward, and the two share the weight's gradient with the roles of map and gradient exchanged.
//! The rules of the sums stand at [`gather`] and [`filter`], of a depthwise one in planes at [`apart`]; a bias's
//! gradient at [`super::sums`].
//! Errors: Candle's, with the operation's name and the shapes. Gradients are made only for tracked arguments.

mod apart;
mod filter;
mod gather;

use super::buffers::take;
use super::map::Map;
use super::sums::channel_sums;
use super::tensors::{Made, Ternary, View, ternary};
use crate::graph::{Axis, Extent, Window};
use crate::isa::Isa;
use apart::Apart;
use candle_core::{Device, Result, Tensor, bail};
use filter::filter_gradient;
use gather::{Panels, Walk, gather};

/// A convolution's geometry, seen from the convolution (not its adjoint).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) axes: [Axis; 3],
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) groups: usize,
}

impl Geometry {
    /// Input positions of one image.
    pub(crate) fn space_in(&self) -> usize {
        self.axes.iter().map(|axis| axis.input).product()
    }

    fn taps(&self) -> usize {
        self.axes.iter().map(|axis| axis.kernel).product()
    }

    /// The convolution of `x` with the weight `w`.
    pub(crate) fn forward(&self, isa: Isa, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        if let Some(apart) = Apart::of(self) {
            return apart.forward(isa, x, w, bias);
        }
        let (inputs, outputs, taps) = (self.inputs / self.groups, self.outputs / self.groups, self.taps());
        let panels = Panels::new([self.groups, taps, inputs, outputs], bias, |group, tap, input, output| {
            w[((group * outputs + output) * inputs + input) * taps + tap]
        });
        let images = x.len() / (self.space_in() * self.inputs);
        let space_out: usize = self.axes.iter().map(|axis| axis.output).product();
        let mut y = take(images * space_out * self.outputs);
        gather(isa, x, &Walk::forward(&self.axes), &panels, &mut y);
        y
    }

    /// The adjoint: from a map of the convolution's result to one of its input.
    pub(crate) fn adjoint(&self, isa: Isa, g: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        if let (Some(apart), None) = (Apart::of(self), bias) {
            return apart.adjoint(isa, g, w);
        }
        let (inputs, outputs, taps) = (self.inputs / self.groups, self.outputs / self.groups, self.taps());
        let panels = Panels::new([self.groups, taps, outputs, inputs], bias, |group, tap, output, input| {
            w[((group * outputs + output) * inputs + input) * taps + tap]
        });
        let space_out: usize = self.axes.iter().map(|axis| axis.output).product();
        let images = g.len() / (space_out * self.outputs);
        let mut x = take(images * self.space_in() * self.inputs);
        gather(isa, g, &Walk::adjoint(&self.axes), &panels, &mut x);
        x
    }

    /// The weight's gradient, `[out, in / groups, taps]`.
    pub(crate) fn filter(&self, isa: Isa, images: usize, x: &[f32], g: &[f32]) -> Vec<f32> {
        match Apart::of(self) {
            Some(apart) => apart.filter(isa, x, g),
            None => filter_gradient(isa, self, images, x, g),
        }
    }
}

/// Depth, rows and columns of a weight's kernel.
fn kernel(name: &str, dims: &[usize]) -> Result<Extent> {
    match *dims {
        [_, _] => Ok([1; 3]),
        [_, _, rows, columns] => Ok([1, rows, columns]),
        [_, _, depth, rows, columns] => Ok([depth, rows, columns]),
        _ => bail!("{name}: a weight has 2, 4 or 5 dimensions, found {dims:?}"),
    }
}

fn bias_or_zeros(bias: Option<&Tensor>, channels: usize) -> Result<Tensor> {
    match bias {
        Some(bias) => Ok(bias.clone()),
        None => Tensor::zeros(channels, candle_core::DType::F32, &Device::Cpu),
    }
}

/// A convolution: `x` `[N, (D,) H, W, in]` to `[N, (D',) H', W', out]`.
pub fn convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    window: &Window,
    groups: usize,
) -> Result<Tensor> {
    let outputs = weight.dims().first().copied().unwrap_or_default();
    let op = Convolution { window: *window, groups, isa: Isa::current() };
    ternary(x, weight, &bias_or_zeros(bias, outputs)?, op)
}

/// A transposed convolution: the adjoint of the convolution with this window and weight. `extent` is the result's;
/// without it PyTorch's default `(in - 1) · stride - padding + dilation · (kernel - 1) + 1`.
pub fn transposed_convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    window: &Window,
    groups: usize,
    extent: Option<Extent>,
) -> Result<Tensor> {
    let outputs = weight.dims().get(1).copied().unwrap_or_default() * groups;
    let op = Transposed { window: *window, groups, extent, isa: Isa::current() };
    ternary(x, weight, &bias_or_zeros(bias, outputs)?, op)
}

/// A linear layer: `x` `[N, in]` (or any leading dimensions), weight `[out, in]`; the result `[N, out]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let inputs = dims.last().copied().unwrap_or_default();
    let rows = x.elem_count() / inputs.max(1);
    let y = convolution(&x.reshape((1, 1, rows, inputs))?, weight, bias, &Window::ONE, 1)?;
    if let Some(last) = dims.last_mut() {
        *last = y.dim(3)?;
    }
    y.reshape(dims)
}

pub(crate) struct Convolution {
    pub(crate) window: Window,
    pub(crate) groups: usize,
    pub(crate) isa: Isa,
}

impl Convolution {
    pub(super) fn geometry(&self, x: View<'_>, w: View<'_>, bias: View<'_>) -> Result<(Map, Geometry)> {
        let map = Map::of(Self::NAME, x.dims)?;
        let kernel = kernel(Self::NAME, w.dims)?;
        let (outputs, groups) = (w.dims[0], self.groups);
        let fits = groups > 0 && outputs.is_multiple_of(groups) && w.dims[1] * groups == map.channels;
        if !fits || bias.dims != [outputs] || w.values.is_empty() {
            let (x, w, bias) = (x.dims, w.dims, bias.dims);
            bail!("{}: input {x:?} does not fit weight {w:?} and bias {bias:?} in {groups} groups", Self::NAME)
        }
        let axes = map.axes(Self::NAME, &self.window, kernel)?;
        Ok((map, Geometry { axes, inputs: map.channels, outputs, groups }))
    }
}

impl Ternary for Convolution {
    const NAME: &'static str = "convolution";

    fn forward(&self, [x, w, bias]: [View<'_>; 3]) -> Result<Made> {
        let (map, geometry) = self.geometry(x, w, bias)?;
        let y = geometry.forward(self.isa, x.values, w.values, Some(bias.values));
        Ok((y, map.with(geometry.axes.map(|axis| axis.output), geometry.outputs).dims()))
    }

    fn backward(
        &self,
        [x, w, bias]: [View<'_>; 3],
        g: View<'_>,
        [for_x, for_w, for_bias]: [bool; 3],
    ) -> Result<[Option<Vec<f32>>; 3]> {
        let (map, geometry) = self.geometry(x, w, bias)?;
        Ok([
            for_x.then(|| geometry.adjoint(self.isa, g.values, w.values, None)),
            for_w.then(|| geometry.filter(self.isa, map.images, x.values, g.values)),
            for_bias.then(|| channel_sums(g.values, map.images, geometry.outputs)),
        ])
    }
}

pub(crate) struct Transposed {
    pub(crate) window: Window,
    pub(crate) groups: usize,
    pub(crate) extent: Option<Extent>,
    pub(crate) isa: Isa,
}

impl Transposed {
    /// The map of the result, and the convolution whose adjoint this is: it reads the result and writes `x`.
    fn geometry(&self, x: View<'_>, w: View<'_>, bias: View<'_>) -> Result<(Map, Geometry)> {
        let map = Map::of(Self::NAME, x.dims)?;
        let kernel = kernel(Self::NAME, w.dims)?;
        let outputs = w.dims[1] * self.groups;
        let fits = self.groups > 0 && map.channels.is_multiple_of(self.groups) && w.dims[0] == map.channels;
        if !fits || bias.dims != [outputs] || w.values.is_empty() {
            let (x, w, bias, groups) = (x.dims, w.dims, bias.dims, self.groups);
            bail!("{}: input {x:?} does not fit weight {w:?} and bias {bias:?} in {groups} groups", Self::NAME)
        }
        let extent = match self.extent {
            Some(extent) => extent,
            None => self.default_extent(map.extent, kernel)?,
        };
        let made = map.with(extent, outputs);
        let axes = made.axes(Self::NAME, &self.window, kernel)?;
        if axes.map(|axis| axis.output) != map.extent {
            bail!("{}: {:?} does not come from an extent of {extent:?} under {:?}", Self::NAME, x.dims, self.window)
        }
        Ok((made, Geometry { axes, inputs: outputs, outputs: map.channels, groups: self.groups }))
    }

    fn default_extent(&self, from: Extent, kernel: Extent) -> Result<Extent> {
        let mut extent = [0; 3];
        for (at, length) in extent.iter_mut().enumerate() {
            let stride = self.window.stride[at];
            *length = match self.window.padding {
                crate::graph::Padding::Same => from[at] * stride,
                crate::graph::Padding::Fixed { before, after } => {
                    let full = (from[at] - 1) * stride + self.window.dilation[at] * (kernel[at] - 1) + 1;
                    full.saturating_sub(before[at] + after[at])
                }
            };
        }
        if extent.contains(&0) {
            bail!("{}: nothing is left of {from:?} within the padding of {:?}", Self::NAME, self.window)
        }
        Ok(extent)
    }
}

impl Ternary for Transposed {
    const NAME: &'static str = "transposed convolution";

    fn forward(&self, [x, w, bias]: [View<'_>; 3]) -> Result<Made> {
        let (made, geometry) = self.geometry(x, w, bias)?;
        Ok((geometry.adjoint(self.isa, x.values, w.values, Some(bias.values)), made.dims()))
    }

    fn backward(
        &self,
        [x, w, bias]: [View<'_>; 3],
        g: View<'_>,
        [for_x, for_w, for_bias]: [bool; 3],
    ) -> Result<[Option<Vec<f32>>; 3]> {
        let (made, geometry) = self.geometry(x, w, bias)?;
        Ok([
            for_x.then(|| geometry.forward(self.isa, g.values, w.values, None)),
            for_w.then(|| geometry.filter(self.isa, made.images, g.values, x.values)),
            for_bias.then(|| channel_sums(g.values, made.images, made.channels)),
        ])
    }
}
