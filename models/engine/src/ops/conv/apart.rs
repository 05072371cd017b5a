//! Depthwise convolutions in planes, each channel under its own filter: by the kernels whose lanes are channels.
//! Shapes: maps channels-last (a volume under a kernel of depth 1 is a row of planes); weight `[C, 1, (1,) kh, kw]`.
//! The rule of the sums stands at [`crate::depthwise`]; dilated and deep kernels take the general way.
//! Errors: none; lengths are asserted once a call.

use super::Geometry;
use crate::depthwise::{self, Shape};
use crate::graph::Axis;
use crate::isa::Isa;
use crate::ops::buffers::take;
use crate::padding::Same;

/// The plane of a depthwise convolution.
pub(super) struct Apart {
    shape: Shape,
}

/// `[a, b]` to `[b, a]`.
fn turned(values: &[f32], rows: usize) -> Vec<f32> {
    let columns = values.len() / rows;
    (0..values.len()).map(|at| values[at % rows * columns + at / rows]).collect()
}

impl Apart {
    /// The convolution's plane, if it is a depthwise one that needs no more.
    pub(super) fn of(geometry: &Geometry) -> Option<Self> {
        let Geometry { axes: [depth, rows, columns], inputs, outputs, groups } = *geometry;
        let is_plane = depth.kernel == 1 && depth.stride == 1 && depth.input == depth.output;
        let is_dense = rows.dilation == 1 && columns.dilation == 1;
        if groups == 1 || groups != inputs || groups != outputs || !is_plane || !is_dense {
            return None;
        }
        let axis = |axis: Axis| Same {
            length_in: axis.input,
            length_out: axis.output,
            kernel: axis.kernel,
            stride: axis.stride,
            before: axis.before,
        };
        Some(Self { shape: Shape { rows: axis(rows), columns: axis(columns), channels: groups } })
    }

    fn plane_in(&self) -> usize {
        self.shape.rows.length_in * self.shape.columns.length_in * self.shape.channels
    }

    fn plane_out(&self) -> usize {
        self.shape.rows.length_out * self.shape.columns.length_out * self.shape.channels
    }

    pub(super) fn forward(&self, isa: Isa, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let channels = self.shape.channels;
        let mut y = take(x.len() / self.plane_in() * self.plane_out());
        let zeros = vec![0.0; channels];
        depthwise::forward(isa, x, &turned(w, channels), bias.unwrap_or(&zeros), self.shape, false, &mut y);
        y
    }

    pub(super) fn adjoint(&self, isa: Isa, g: &[f32], w: &[f32]) -> Vec<f32> {
        let mut x = take(g.len() / self.plane_out() * self.plane_in());
        depthwise::input_gradient(isa, g, &turned(w, self.shape.channels), self.shape, &mut x);
        x
    }

    pub(super) fn filter(&self, isa: Isa, x: &[f32], g: &[f32]) -> Vec<f32> {
        let taps = self.shape.rows.kernel * self.shape.columns.kernel;
        turned(&depthwise::filter_gradient(isa, x, g, self.shape), taps)
    }
}
