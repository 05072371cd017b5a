//! Plane convolutions with TensorFlow's "same" padding and ReLU6 fused: what the first release runs on, kept bit for bit.
//! Shapes: maps `[images, rows, columns, channels]`; weights as published, `[out, in, k, k]` and so on (see each).
//! A batch norm with frozen statistics is folded into weight and bias by the caller with ordinary tensor operations,
//! whose gradients then reach its scale and shift; the bias and the activation are fused here, since a second pass
//! over a map costs more than the products.
//! Errors: Candle's, with the operation's name and the shapes. Gradients are computed only for arguments that are
//! tracked, so a frozen input costs nothing.
//! Source of the gradients: the chain rule; ReLU6 passes where its result lies strictly between 0 and 6.

use super::tensors::{values, with_values};
use crate::depthwise::{self, Shape as Depthwise};
use crate::isa::Isa;
use crate::padding::Same;
use crate::product::{Packed, rows_product};
use crate::weights::{Pair, matrix_gradient};
use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use std::borrow::Cow;

/// What follows the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

/// `x · weightᵀ + bias` at every pixel: a 1x1 convolution, or a linear layer on `[N, 1, 1, C]`.
/// `x` is `[N, H, W, in]`, `weight` `[out, in]`, `bias` `[out]`; the result `[N, H, W, out]`.
pub fn pointwise_conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    let (out, depth) = weight.dims2()?;
    let weight = weight.reshape((out, depth, 1, 1))?;
    conv2d(x, &weight, bias, 1, activation)
}

/// A convolution with TensorFlow's "same" padding.
/// `x` is `[N, H, W, in]`, `weight` `[out, in, k, k]`, `bias` `[out]`; the result
/// `[N, ⌈H/stride⌉, ⌈W/stride⌉, out]`.
/// The chain of one element runs over kernel row, kernel column, input channel; the padding takes part as zeros.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, stride: usize, activation: Activation) -> Result<Tensor> {
    let op = Conv { stride, activation, isa: Isa::current() };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

/// A depthwise convolution with TensorFlow's "same" padding.
/// `x` is `[N, H, W, C]`, `weight` `[C, 1, k, k]`, `bias` `[C]`; the result `[N, ⌈H/stride⌉, ⌈W/stride⌉, C]`.
pub fn depthwise_conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    stride: usize,
    activation: Activation,
) -> Result<Tensor> {
    let op = DepthwiseConv { stride, activation, isa: Isa::current() };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

/// The mean over rows and columns: `[N, H, W, C]` to `[N, C]`. Sum in row-major order, then one multiplication.
pub fn global_mean(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(GlobalMean)
}

struct Conv {
    stride: usize,
    activation: Activation,
    isa: Isa,
}

struct DepthwiseConv {
    stride: usize,
    activation: Activation,
    isa: Isa,
}

struct GlobalMean;

/// Geometry of a convolution; checked once, here.
struct ConvShape {
    images: usize,
    rows: Same,
    columns: Same,
    inputs: usize,
    outputs: usize,
    kernel: usize,
}

impl ConvShape {
    fn new(name: &str, x: &Shape, w: &Shape, bias: &Shape, stride: usize) -> Result<Self> {
        let ((images, height, width, inputs), (outputs, depth, kernel, across)) = (x.dims4()?, w.dims4()?);
        if depth != inputs || kernel != across || bias.dims1()? != outputs {
            bail!("{name}: input {x:?} does not fit weight {w:?} and bias {bias:?}")
        }
        if stride == 0 || x.elem_count() == 0 || w.elem_count() == 0 {
            bail!("{name}: stride {stride}, input {x:?}, weight {w:?}: none may be zero")
        }
        let (rows, columns) = (Same::new(height, kernel, stride), Same::new(width, kernel, stride));
        Ok(Self { images, rows, columns, inputs, outputs, kernel })
    }

    fn depth(&self) -> usize {
        self.kernel * self.kernel * self.inputs
    }

    fn pixels_out(&self) -> usize {
        self.images * self.rows.length_out * self.columns.length_out
    }

    fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.rows.stride == 1
    }

    /// Position in `[out, in, k, k]` of an entry of the `[k, k, in]` by `out` matrix.
    fn weight_at(&self, entry: usize, output: usize) -> usize {
        let (tap, input) = (entry / self.inputs, entry % self.inputs);
        (output * self.inputs + input) * self.kernel * self.kernel + tap
    }

    /// One row of values `[k, k, in]` for each output pixel.
    fn rows_of<'a>(&self, x: &'a [f32]) -> Cow<'a, [f32]> {
        if self.is_pointwise() {
            return Cow::Borrowed(x);
        }
        let mut laid = vec![0.0; self.pixels_out() * self.depth()];
        laid.par_chunks_exact_mut(self.columns.length_out * self.depth()).enumerate().for_each(|(at, line)| {
            let (image, row) = (at / self.rows.length_out, at % self.rows.length_out);
            self.meetings(image, row, |to, from| line[to..to + self.inputs].copy_from_slice(&x[from..][..self.inputs]));
        });
        Cow::Owned(laid)
    }

    /// Calls `each(offset in the laid line, offset in x)` for every tap of an output row that falls into the image.
    fn meetings(&self, image: usize, row: usize, mut each: impl FnMut(usize, usize)) {
        for column in 0..self.columns.length_out {
            for tap_row in 0..self.kernel {
                let Some(y) = self.rows.input(row, tap_row) else { continue };
                for tap in 0..self.kernel {
                    let Some(x) = self.columns.input(column, tap) else { continue };
                    let to = column * self.depth() + (tap_row * self.kernel + tap) * self.inputs;
                    let from = ((image * self.rows.length_in + y) * self.columns.length_in + x) * self.inputs;
                    each(to, from);
                }
            }
        }
    }
}

impl CustomOp3 for Conv {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = ConvShape::new(self.name(), x_layout.shape(), w_layout.shape(), bias_layout.shape(), self.stride)?;
        let (x, w, bias) = (values(x, x_layout)?, values(w, w_layout)?, values(bias, bias_layout)?);
        let matrix = Packed::new(shape.depth(), shape.outputs, |entry, out| w[shape.weight_at(entry, out)]);
        let mut y = vec![0.0; shape.pixels_out() * shape.outputs];
        rows_product(self.isa, &shape.rows_of(x), &matrix, Some(bias), self.activation == Activation::Relu6, &mut y);
        let dims = (shape.images, shape.rows.length_out, shape.columns.length_out, shape.outputs);
        Ok((CpuStorage::F32(y), Shape::from(dims)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let shape = ConvShape::new(self.name(), x.shape(), w.shape(), bias.shape(), self.stride)?;
        let gradient = gradient.contiguous()?;
        let (g, bias_gradient) = before_activation(self.activation, y, &gradient, shape.images, shape.outputs)?;
        let for_x = x.track_op().then(|| {
            // as a matrix: [out] by [k, k, in]
            let matrix = with_values(w, |w| {
                Packed::new(shape.outputs, shape.depth(), |out, entry| w[shape.weight_at(entry, out)])
            })?;
            let mut laid = vec![0.0; shape.pixels_out() * shape.depth()];
            rows_product(self.isa, &g, &matrix, None, false, &mut laid);
            let gradient = if shape.is_pointwise() { laid } else { shape.gather_back(&laid) };
            Tensor::from_vec(gradient, x.shape(), x.device())
        });
        let for_w = w.track_op().then(|| {
            let (outputs, inputs, images) = (shape.outputs, shape.depth(), shape.images);
            let by_row = with_values(x, |x| {
                matrix_gradient(self.isa, Pair { g: &g, x: &shape.rows_of(x), images, outputs, inputs })
            })?;
            let mut gradient = vec![0.0; by_row.len()];
            for (at, value) in by_row.iter().enumerate() {
                gradient[shape.weight_at(at % inputs, at / inputs)] = *value;
            }
            Tensor::from_vec(gradient, w.shape(), w.device())
        });
        let for_bias = bias.track_op().then(|| Tensor::from_vec(bias_gradient, bias.shape(), bias.device()));
        Ok((for_x.transpose()?, for_w.transpose()?, for_bias.transpose()?))
    }
}

impl ConvShape {
    /// The reverse of [`Self::rows_of`]: every value of a laid row added to the pixel it was read from, in the order
    /// of output rows and columns, then taps.
    fn gather_back(&self, laid: &[f32]) -> Vec<f32> {
        let image_in = self.rows.length_in * self.columns.length_in * self.inputs;
        let line_length = self.columns.length_out * self.depth();
        let mut gradient = vec![0.0; self.images * image_in];
        gradient.par_chunks_exact_mut(image_in).enumerate().for_each(|(image, into)| {
            for row in 0..self.rows.length_out {
                let line = &laid[(image * self.rows.length_out + row) * line_length..][..line_length];
                self.meetings(0, row, |from, to| {
                    for (sum, value) in into[to..to + self.inputs].iter_mut().zip(&line[from..]) {
                        *sum += value;
                    }
                });
            }
        });
        gradient
    }
}

impl DepthwiseConv {
    fn shape(&self, x: &Shape, w: &Shape, bias: &Shape) -> Result<(usize, Depthwise)> {
        let ((images, height, width, channels), (filters, one, kernel, across)) = (x.dims4()?, w.dims4()?);
        if filters != channels || one != 1 || kernel != across || bias.dims1()? != channels {
            bail!("{}: input {x:?} does not fit weight {w:?} and bias {bias:?}", self.name())
        }
        if self.stride == 0 || x.elem_count() == 0 || w.elem_count() == 0 {
            bail!("{}: stride {}, input {x:?}, weight {w:?}: none may be zero", self.name(), self.stride)
        }
        let (rows, columns) = (Same::new(height, kernel, self.stride), Same::new(width, kernel, self.stride));
        Ok((images, Depthwise { rows, columns, channels }))
    }
}

/// `[a, b]` to `[b, a]`.
fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    let columns = values.len() / rows;
    (0..values.len()).map(|at| values[at % rows * columns + at / rows]).collect()
}

impl CustomOp3 for DepthwiseConv {
    fn name(&self) -> &'static str {
        "depthwise_conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (images, shape) = self.shape(x_layout.shape(), w_layout.shape(), bias_layout.shape())?;
        let (x, w, bias) = (values(x, x_layout)?, values(w, w_layout)?, values(bias, bias_layout)?);
        let filters = transposed(w, shape.channels);
        let dims = (images, shape.rows.length_out, shape.columns.length_out, shape.channels);
        let mut y = vec![0.0; dims.0 * dims.1 * dims.2 * dims.3];
        depthwise::forward(self.isa, x, &filters, bias, shape, self.activation == Activation::Relu6, &mut y);
        Ok((CpuStorage::F32(y), Shape::from(dims)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (images, shape) = self.shape(x.shape(), w.shape(), bias.shape())?;
        let gradient = gradient.contiguous()?;
        let (g, bias_gradient) = before_activation(self.activation, y, &gradient, images, shape.channels)?;
        let for_x = x.track_op().then(|| {
            let filters = with_values(w, |w| transposed(w, shape.channels))?;
            let mut out = vec![0.0; x.elem_count()];
            depthwise::input_gradient(self.isa, &g, &filters, shape, &mut out);
            Tensor::from_vec(out, x.shape(), x.device())
        });
        let for_w = w.track_op().then(|| {
            let by_tap = with_values(x, |x| depthwise::filter_gradient(self.isa, x, &g, shape))?;
            let taps = shape.rows.kernel * shape.columns.kernel;
            Tensor::from_vec(transposed(&by_tap, taps), w.shape(), w.device())
        });
        let for_bias = bias.track_op().then(|| Tensor::from_vec(bias_gradient, bias.shape(), bias.device()));
        Ok((for_x.transpose()?, for_w.transpose()?, for_bias.transpose()?))
    }
}

impl CustomOp1 for GlobalMean {
    fn name(&self) -> &'static str {
        "global_mean"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (images, rows, columns, channels) = layout.shape().dims4()?;
        if layout.shape().elem_count() == 0 {
            bail!("{}: input {:?} is empty", self.name(), layout.shape())
        }
        let x = values(x, layout)?;
        let share = 1.0 / count(rows * columns);
        let means: Vec<Vec<f32>> = x
            .par_chunks_exact(rows * columns * channels)
            .map(|image| column_sums(image, channels).iter().map(|sum| sum * share).collect())
            .collect();
        Ok((CpuStorage::F32(means.concat()), Shape::from((images, channels))))
    }

    fn bwd(&self, x: &Tensor, _mean: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (images, rows, columns, channels) = x.dims4()?;
        let share = (gradient.contiguous()? * f64::from(1.0 / count(rows * columns)))?;
        let share = share.reshape((images, 1, 1, channels))?;
        Ok(Some(share.broadcast_as(x.shape())?.contiguous()?))
    }
}

/// A count of pixels as f32: exact below 2^24, far above any map here.
#[expect(clippy::cast_precision_loss, reason = "maps have fewer than 2^24 pixels")]
fn count(pixels: usize) -> f32 {
    pixels as f32
}

/// The sum of each channel over the pixels of one image, in order.
fn column_sums(image: &[f32], channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0; channels];
    for pixel in image.chunks_exact(channels) {
        for (sum, value) in sums.iter_mut().zip(pixel) {
            *sum += value;
        }
    }
    sums
}

/// The gradient before the activation, and its sum over all pixels (the bias's): images summed apart, then in order.
fn before_activation(
    activation: Activation,
    y: &Tensor,
    gradient: &Tensor,
    images: usize,
    channels: usize,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let mut g = with_values(gradient, <[f32]>::to_vec)?;
    let image = g.len() / images;
    let sums: Vec<Vec<f32>> = with_values(y, |y| {
        let pairs = g.par_chunks_exact_mut(image).zip(y.par_chunks_exact(image));
        let each = pairs.map(|(g, y)| {
            if activation == Activation::Relu6 {
                for (g, y) in g.iter_mut().zip(y) {
                    *g = if *y > 0.0 && *y < 6.0 { *g } else { 0.0 };
                }
            }
            column_sums(g, channels)
        });
        each.collect()
    })?;
    let mut bias = vec![0.0; channels];
    for sums in &sums {
        for (total, sum) in bias.iter_mut().zip(sums) {
            *total += sum;
        }
    }
    Ok((g, bias))
}
