//! A graph run plainly: one loop an operation, in f32 with the kernels' rules or in f64 as the textbook.
//! Shapes: a value is `[channels, depth, rows, columns]` of one image.
//! The rule of a convolution's element: `a = bias` (or 0), then for each block of 16 input channels, kernel depth,
//! kernel row, kernel column, channel within the block: `a = fma(w, x, a)`; in a volume (a depth above 1) for each
//! input channel, kernel depth, row, column. Positions in the padding take part as +0 along rows and columns of a plane
//! and along a volume's columns, and are left out elsewhere. Fast kernels follow the same rule in their direct forms.
//! Errors: [`EngineError`] as [`Graph::shapes`], and a seed of the wrong length.
//! Source: PyTorch's definitions of the layers.

use super::shapes::{axes, kernel};
use super::{Activation, Axis, BatchNorm, Graph, Node, Number, Op, Pool, Shape, Upsampling, Weights, Window};
use crate::EngineError;
use rayon::prelude::*;

/// What the caller makes of a value: the gradient of a score with respect to it.
pub type Seed<'a, N> = &'a (dyn Fn(&[N]) -> Vec<N> + Sync);

/// Every node's value for one image.
pub fn evaluate<N: Number>(
    graph: &Graph,
    weights: &Weights,
    input: Shape,
    x: &[N],
    seed: Seed<'_, N>,
) -> Result<Vec<Vec<N>>, EngineError> {
    let shapes = graph.shapes(weights, input)?;
    if x.len() != input.len() {
        return Err(EngineError::Input { images: 1, shape: input, found: x.len() });
    }
    let mut values: Vec<Vec<N>> = Vec::with_capacity(shapes.len());
    for (node, op) in graph.ops().iter().enumerate() {
        let value = match op {
            Op::Input => x.to_vec(),
            Op::Seed { of } => {
                let value = seed(&values[of.0]);
                if value.len() != shapes[node].len() {
                    return Err(EngineError::Seed { expected: shapes[node].len(), found: value.len() });
                }
                value
            }
            op => {
                let reads: Vec<&[N]> = op.reads().iter().map(|read| values[read.0].as_slice()).collect();
                compute(op, Node(node), &shapes, weights, &reads)?
            }
        };
        values.push(value);
    }
    Ok(values)
}

/// The value of one operation, from those of the nodes that it reads (in the order of [`Op::reads`]).
pub(crate) fn compute<N: Number>(
    op: &Op,
    node: Node,
    shapes: &[Shape],
    weights: &Weights,
    reads: &[&[N]],
) -> Result<Vec<N>, EngineError> {
    let out = shapes[node.0];
    let shape = |at: Node| shapes[at.0];
    let x = reads.first().copied().unwrap_or_default();
    let second = reads.get(1).copied().unwrap_or_default();
    Ok(match op {
        Op::Input | Op::Seed { .. } => return Err(EngineError::Input { images: 1, shape: out, found: 0 }),
        Op::Conv { x: from, weight, bias, window, groups } => {
            let filter = Filter::read(weights, weight, bias.as_deref(), *groups)?;
            conv(x, shape(*from), &filter, window, out)
        }
        Op::ConvTransposed { x: from, weight, bias, window, groups, .. } => {
            let filter = Filter::read(weights, weight, bias.as_deref(), *groups)?;
            conv_transposed(x, shape(*from), &filter, window, out)
        }
        Op::Norm { norm, .. } => {
            let (factor, offset) = folded(weights, norm)?;
            by_channel(x, out, |channel, v| N::from_f32(factor[channel]).fma(v, N::from_f32(offset[channel])))
        }
        Op::NormGradient { norm, .. } => {
            let (factor, _) = folded(weights, norm)?;
            by_channel(x, out, |channel, v| N::from_f32(factor[channel]).times(v))
        }
        Op::SpaceNorm { scale, shift, epsilon, .. } => {
            let (scale, shift) = (numbers(weights, scale)?, numbers(weights, shift)?);
            normalised(x, out.space(), *epsilon, |at| (scale[at % out.space()], shift[at % out.space()]))
        }
        Op::GroupNorm { groups, scale, shift, epsilon, .. } => {
            let (scale, shift) = (numbers(weights, scale)?, numbers(weights, shift)?);
            let place = |at: usize| (scale[at / out.space()], shift[at / out.space()]);
            normalised(x, out.len() / groups, *epsilon, place)
        }
        Op::Activation { kind, .. } => x.par_iter().map(|&v| activate(*kind, v)).collect(),
        Op::ActivationGradient { kind, .. } => {
            let g = reads.get(2).copied().unwrap_or_default();
            let each = x.par_iter().zip(second).zip(g);
            each.map(|((&x, &y), &g)| g.times(slope(*kind, x, y))).collect()
        }
        Op::Add { .. } => x.iter().zip(second).map(|(a, b)| a.plus(*b)).collect(),
        Op::Subtract { .. } => x.iter().zip(second).map(|(a, b)| a.minus(*b)).collect(),
        Op::Multiply { .. } => multiply(x, second, out),
        Op::MultiplyGradient { .. } => {
            let product = multiply(x, second, Shape { channels: x.len() / out.space(), ..out });
            if product.len() == out.len() { product } else { channel_sum(&product, out.space()) }
        }
        Op::Scale { by, .. } => x.iter().map(|v| v.times(N::from_f32(*by))).collect(),
        Op::Concat { .. } => reads.concat(),
        Op::ConcatGradient { parts, which, .. } => {
            let first: usize = parts.iter().take(*which).map(|part| shape(*part).len()).sum();
            x[first..first + out.len()].to_vec()
        }
        Op::Slice { from, .. } => x[from * out.space()..][..out.len()].to_vec(),
        Op::MaxPool { x: from, pool } => max_pool(x, shape(*from), pool, out),
        Op::MaxPoolGradient { x: from, pool, g } => max_pool_gradient(x, second, pool, shape(*from), shape(*g)),
        Op::MeanPool { x: from, pool } => mean_pool(x, shape(*from), pool, out),
        Op::MeanPoolGradient { pool, g, .. } => mean_pool_gradient(x, pool, shape(*g), out),
        Op::GlobalMean { .. } => {
            let space = x.len() / out.channels;
            x.chunks_exact(space).map(|channel| sum(channel).times(share(space))).collect()
        }
        Op::GlobalMeanGradient { .. } => {
            let part = |at: usize| x[at / out.space()].times(share(out.space()));
            (0..out.len()).map(part).collect()
        }
        Op::Upsample { x: from, factor, mode } => {
            gathered(x, shape(*from), out, |axis, at| stretch(shape(*from).extent[axis], factor[axis], *mode, at))
        }
        Op::UpsampleGradient { g, factor, mode, .. } => upsample_gradient(x, shape(*g), *factor, *mode, out),
        Op::Flatten { .. } | Op::Unflatten { .. } => x.to_vec(),
        Op::Softmax { .. } => softmax(x, out),
        Op::SoftmaxGradient { .. } => softmax_gradient(x, second, out),
    })
}

/// The values of a weight.
pub(crate) fn floats(weights: &Weights, name: &str) -> Result<Vec<f32>, EngineError> {
    let tensor = weights.get(name).ok_or_else(|| EngineError::MissingWeight { name: name.to_owned() })?;
    Ok(tensor.flatten_all()?.to_vec1()?)
}

fn numbers<N: Number>(weights: &Weights, name: &str) -> Result<Vec<N>, EngineError> {
    Ok(floats(weights, name)?.into_iter().map(N::from_f32).collect())
}

/// Factor and offset of a batch norm, computed in f64 and rounded once, as every executor takes them.
pub(crate) fn folded(weights: &Weights, norm: &BatchNorm) -> Result<(Vec<f32>, Vec<f32>), EngineError> {
    let (factor, offset) = folded_exact(weights, norm)?;
    let round = |values: Vec<f64>| values.into_iter().map(f32::of).collect();
    Ok((round(factor), round(offset)))
}

/// The same before the rounding, to be folded into a convolution's weights.
pub(crate) fn folded_exact(weights: &Weights, norm: &BatchNorm) -> Result<(Vec<f64>, Vec<f64>), EngineError> {
    let read = |name: &str| floats(weights, name);
    let (scale, shift, mean, variance) =
        (read(&norm.scale)?, read(&norm.shift)?, read(&norm.mean)?, read(&norm.variance)?);
    let factor: Vec<f64> =
        scale.iter().zip(&variance).map(|(&s, &v)| f64::from(s) / (f64::from(v) + norm.epsilon).sqrt()).collect();
    let offset = shift.iter().zip(&mean).zip(&factor).map(|((&s, &m), f)| f64::from(s) - f64::from(m) * f).collect();
    Ok((factor, offset))
}

struct Filter<N> {
    values: Vec<N>,
    bias: Option<Vec<N>>,
    /// The first two dimensions of the weight.
    dims: [usize; 2],
    kernel: [usize; 3],
    groups: usize,
}

impl<N: Number> Filter<N> {
    fn read(weights: &Weights, weight: &str, bias: Option<&str>, groups: usize) -> Result<Self, EngineError> {
        let values = numbers(weights, weight)?;
        let dims = weights.get(weight).map(|tensor| tensor.dims().to_vec()).unwrap_or_default();
        let Some(kernel) = kernel(&dims) else { return Err(EngineError::MissingWeight { name: weight.to_owned() }) };
        let bias = bias.map(|name| numbers(weights, name)).transpose()?;
        Ok(Self { values, bias, dims: [dims[0], dims[1]], kernel, groups })
    }

    fn at(&self, first: usize, second: usize, [d, r, c]: [usize; 3]) -> N {
        let [depth, rows, columns] = self.kernel;
        self.values[(((first * self.dims[1] + second) * depth + d) * rows + r) * columns + c]
    }

    fn start(&self, channel: usize) -> N {
        self.bias.as_ref().map_or_else(|| N::of(0.0), |bias| bias[channel])
    }
}

fn windows(window: &Window, x: Shape, kernel: [usize; 3]) -> [Axis; 3] {
    let empty = Axis { input: 0, output: 0, kernel: 0, stride: 1, dilation: 1, before: 0 };
    axes(window, x.extent, kernel).unwrap_or([empty; 3])
}

/// Positions of an extent, row by row.
fn positions([depth, rows, columns]: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..depth).flat_map(move |d| (0..rows).flat_map(move |r| (0..columns).map(move |c| [d, r, c])))
}

fn flat([_, rows, columns]: [usize; 3], [d, r, c]: [usize; 3]) -> usize {
    (d * rows + r) * columns + c
}

fn conv<N: Number>(x: &[N], from: Shape, filter: &Filter<N>, window: &Window, out: Shape) -> Vec<N> {
    let axes = windows(window, from, filter.kernel);
    let (inputs, outputs) = (from.channels / filter.groups, out.channels / filter.groups);
    let block = if from.extent[0] > 1 || filter.kernel[0] > 1 { 1 } else { 16 };
    let mut y = vec![N::of(0.0); out.len()];
    y.par_chunks_mut(out.space()).enumerate().for_each(|(channel, y)| {
        let first = channel / outputs * inputs;
        for (value, at) in y.iter_mut().zip(positions(out.extent)) {
            let mut sum = filter.start(channel);
            for block_first in (0..inputs).step_by(block) {
                for tap in positions(filter.kernel) {
                    let (Some(d), r) = (axes[0].input_at(at[0], tap[0]), axes[1].input_at(at[1], tap[1])) else {
                        continue;
                    };
                    if block == 1 && r.is_none() {
                        continue;
                    }
                    let place = r.zip(axes[2].input_at(at[2], tap[2])).map(|(r, c)| flat(from.extent, [d, r, c]));
                    for input in block_first..inputs.min(block_first + block) {
                        let v = place.map_or_else(|| N::of(0.0), |place| x[(first + input) * from.space() + place]);
                        sum = filter.at(channel, input, tap).fma(v, sum);
                    }
                }
            }
            *value = sum;
        }
    });
    y
}

fn conv_transposed<N: Number>(x: &[N], from: Shape, filter: &Filter<N>, window: &Window, out: Shape) -> Vec<N> {
    // the convolution whose adjoint this is reads `out` and writes `from`
    let axes = windows(window, out, filter.kernel);
    let (inputs, outputs) = (from.channels / filter.groups, out.channels / filter.groups);
    let mut y = vec![N::of(0.0); out.len()];
    y.par_chunks_mut(out.space()).enumerate().for_each(|(channel, y)| {
        let (group, output) = (channel / outputs, channel % outputs);
        for (value, at) in y.iter_mut().zip(positions(out.extent)) {
            let mut sum = filter.start(channel);
            for tap in positions(filter.kernel) {
                let place = [0, 1, 2].map(|axis| axes[axis].output_at(at[axis], tap[axis]));
                let [Some(d), Some(r), Some(c)] = place else { continue };
                if d >= from.extent[0] || r >= from.extent[1] || c >= from.extent[2] {
                    continue;
                }
                let place = flat(from.extent, [d, r, c]);
                for input in group * inputs..(group + 1) * inputs {
                    sum = filter.at(input, output, tap).fma(x[input * from.space() + place], sum);
                }
            }
            *value = sum;
        }
    });
    y
}

fn by_channel<N: Number>(x: &[N], shape: Shape, each: impl Fn(usize, N) -> N) -> Vec<N> {
    x.iter().enumerate().map(|(at, &v)| each(at / shape.space(), v)).collect()
}

fn sum<N: Number>(values: &[N]) -> N {
    values.iter().fold(N::of(0.0), |sum, v| sum.plus(*v))
}

#[expect(clippy::cast_precision_loss, reason = "a space has at most 2^31 positions, exact in f64")]
fn share<N: Number>(count: usize) -> N {
    N::of(1.0).over(N::of(count as f64))
}

/// Groups of `length` values to mean 0 and variance 1 (two passes), then scaled and shifted by place.
fn normalised<N: Number>(x: &[N], length: usize, epsilon: f64, place: impl Fn(usize) -> (N, N)) -> Vec<N> {
    let mut y = Vec::with_capacity(x.len());
    for (group, values) in x.chunks_exact(length).enumerate() {
        let mean = sum(values).times(share(length));
        let squares = values.iter().fold(N::of(0.0), |sum, v| v.minus(mean).fma(v.minus(mean), sum));
        let spread = N::of(1.0).over(squares.times(share(length)).plus(N::of(epsilon)).root());
        for (at, v) in values.iter().enumerate() {
            let (scale, shift) = place(group * length + at);
            y.push(v.minus(mean).times(spread).fma(scale, shift));
        }
    }
    y
}

/// The activation's value.
pub(crate) fn activate<N: Number>(kind: Activation, x: N) -> N {
    let (zero, six) = (N::of(0.0), N::of(6.0));
    match kind {
        Activation::Relu => {
            if zero > x {
                zero
            } else {
                x
            }
        }
        Activation::Relu6 => {
            let x = if zero > x { zero } else { x };
            if six < x { six } else { x }
        }
        Activation::LeakyRelu(slope) => {
            if zero > x {
                x.times(N::from_f32(slope))
            } else {
                x
            }
        }
        Activation::Elu(alpha) => {
            if zero > x {
                x.expm1_below().times(N::from_f32(alpha))
            } else {
                x
            }
        }
        Activation::Sigmoid => x.sigmoid(),
        Activation::Tanh => x.tanh(),
        Activation::Silu => x.times(x.sigmoid()),
        Activation::Gelu => {
            let half = x.times(N::of(0.5));
            half.fma(x.times(N::of(std::f64::consts::FRAC_1_SQRT_2)).erf(), half)
        }
    }
}

/// The activation's derivative at `x`, where its value is `y`.
pub(crate) fn slope<N: Number>(kind: Activation, x: N, y: N) -> N {
    let (zero, one, six) = (N::of(0.0), N::of(1.0), N::of(6.0));
    match kind {
        Activation::Relu => {
            if x > zero {
                one
            } else {
                zero
            }
        }
        Activation::Relu6 => {
            if x > zero && x < six {
                one
            } else {
                zero
            }
        }
        Activation::LeakyRelu(slope) => {
            if x > zero {
                one
            } else {
                N::from_f32(slope)
            }
        }
        Activation::Elu(alpha) => {
            if x > zero {
                one
            } else {
                y.plus(N::from_f32(alpha))
            }
        }
        Activation::Sigmoid => y.times(one.minus(y)),
        Activation::Tanh => one.minus(y.times(y)),
        Activation::Silu => {
            let s = x.sigmoid();
            s.times(one.plus(x.times(one.minus(s))))
        }
        Activation::Gelu => {
            let below = x.times(N::of(std::f64::consts::FRAC_1_SQRT_2)).erf().plus(one).times(N::of(0.5));
            let density = x.times(x).times(N::of(-0.5)).exp().times(N::of(0.398_942_280_401_432_7));
            x.fma(density, below)
        }
    }
}

fn multiply<N: Number>(a: &[N], b: &[N], out: Shape) -> Vec<N> {
    let at = |values: &[N], at: usize| if values.len() == out.len() { values[at] } else { values[at % out.space()] };
    (0..out.len()).map(|place| at(a, place).times(at(b, place))).collect()
}

fn channel_sum<N: Number>(values: &[N], space: usize) -> Vec<N> {
    let column = |at: usize| values.iter().skip(at).step_by(space).fold(N::of(0.0), |sum, v| sum.plus(*v));
    (0..space).map(column).collect()
}

/// The positions of `from` under the window at `at`, by tap.
fn under(axes: &[Axis; 3], at: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    let kernel = axes.map(|axis| axis.kernel);
    let axes = *axes;
    positions(kernel).filter_map(move |tap| {
        let place = [0, 1, 2].map(|axis| axes[axis].input_at(at[axis], tap[axis]));
        let [Some(d), Some(r), Some(c)] = place else { return None };
        Some([d, r, c])
    })
}

/// Where the largest value under the window lies: NaN before all, then the first of equals.
fn winner<N: Number>(x: &[N], from: Shape, axes: &[Axis; 3], at: [usize; 3]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for place in under(axes, at) {
        let place = flat(from.extent, place);
        let wins = best.is_none_or(|best| !x[best].is_nan() && (x[place] > x[best] || x[place].is_nan()));
        if wins {
            best = Some(place);
        }
    }
    best
}

fn max_pool<N: Number>(x: &[N], from: Shape, pool: &Pool, out: Shape) -> Vec<N> {
    let axes = windows(&pool.window(), from, pool.kernel);
    let channel = |x: &[N]| -> Vec<N> {
        positions(out.extent).map(|at| winner(x, from, &axes, at).map_or_else(|| N::of(0.0), |best| x[best])).collect()
    };
    x.chunks_exact(from.space()).flat_map(channel).collect()
}

fn max_pool_gradient<N: Number>(x: &[N], g: &[N], pool: &Pool, from: Shape, pooled: Shape) -> Vec<N> {
    let axes = windows(&pool.window(), from, pool.kernel);
    let mut y = vec![N::of(0.0); from.len()];
    let channels =
        y.chunks_exact_mut(from.space()).zip(x.chunks_exact(from.space())).zip(g.chunks_exact(pooled.space()));
    for ((y, x), g) in channels {
        for (at, g) in positions(pooled.extent).zip(g) {
            if let Some(best) = winner(x, from, &axes, at) {
                y[best] = y[best].plus(*g);
            }
        }
    }
    y
}

fn mean_pool<N: Number>(x: &[N], from: Shape, pool: &Pool, out: Shape) -> Vec<N> {
    let axes = windows(&pool.window(), from, pool.kernel);
    let mean = |x: &[N], at: [usize; 3]| {
        let (mut total, mut count) = (N::of(0.0), 0);
        for place in under(&axes, at) {
            total = total.plus(x[flat(from.extent, place)]);
            count += 1;
        }
        total.times(share(count))
    };
    x.chunks_exact(from.space()).flat_map(|x| positions(out.extent).map(move |at| mean(x, at))).collect()
}

fn mean_pool_gradient<N: Number>(g: &[N], pool: &Pool, pooled: Shape, out: Shape) -> Vec<N> {
    let axes = windows(&pool.window(), out, pool.kernel);
    let mut y = vec![N::of(0.0); out.len()];
    for (y, g) in y.chunks_exact_mut(out.space()).zip(g.chunks_exact(pooled.space())) {
        for (at, g) in positions(pooled.extent).zip(g) {
            let part = g.times(share(under(&axes, at).count()));
            for place in under(&axes, at) {
                let place = flat(out.extent, place);
                y[place] = y[place].plus(part);
            }
        }
    }
    y
}

/// The two input positions of an output position along one axis and the share of the second, in sixteenths' exactness.
#[expect(clippy::cast_precision_loss, reason = "lengths are far below 2^53")]
pub(crate) fn stretch(length: usize, factor: usize, mode: Upsampling, at: usize) -> (usize, usize, f64) {
    if mode == Upsampling::Nearest || factor == 1 {
        return (at / factor, at / factor, 0.0);
    }
    let centre = ((at as f64 + 0.5) / factor as f64 - 0.5).max(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is at least 0 and below length")]
    let first = (centre.floor() as usize).min(length - 1);
    (first, (first + 1).min(length - 1), centre - first as f64)
}

/// Linear mixing along columns, then rows, then depth: `a + (b - a) · t` as one fused multiply-add each.
fn gathered<N: Number>(
    x: &[N],
    from: Shape,
    out: Shape,
    place: impl Fn(usize, usize) -> (usize, usize, f64) + Sync,
) -> Vec<N> {
    let mix = |a: N, b: N, t: f64| if t > 0.0 { b.minus(a).fma(N::of(t), a) } else { a };
    let mut y = vec![N::of(0.0); out.len()];
    y.par_chunks_mut(out.space()).zip(x.par_chunks(from.space())).for_each(|(y, x)| {
        for (value, at) in y.iter_mut().zip(positions(out.extent)) {
            let [(d0, d1, dt), (r0, r1, rt), (c0, c1, ct)] = [0, 1, 2].map(|axis| place(axis, at[axis]));
            let get = |d, r, c| x[flat(from.extent, [d, r, c])];
            let row = |d, r| mix(get(d, r, c0), get(d, r, c1), ct);
            let plane = |d| mix(row(d, r0), row(d, r1), rt);
            *value = mix(plane(d0), plane(d1), dt);
        }
    });
    y
}

fn upsample_gradient<N: Number>(g: &[N], grown: Shape, factor: [usize; 3], mode: Upsampling, out: Shape) -> Vec<N> {
    let mut y = vec![N::of(0.0); out.len()];
    for (y, g) in y.chunks_exact_mut(out.space()).zip(g.chunks_exact(grown.space())) {
        for (at, g) in positions(grown.extent).zip(g) {
            let ends = [0, 1, 2].map(|axis| {
                let (first, second, t) = stretch(out.extent[axis], factor[axis], mode, at[axis]);
                [(first, 1.0 - t), (second, t)]
            });
            for (d, dw) in ends[0] {
                for (r, rw) in ends[1] {
                    for (c, cw) in ends[2] {
                        let part = dw * rw * cw;
                        if part > 0.0 {
                            let place = flat(out.extent, [d, r, c]);
                            y[place] = N::of(part).fma(*g, y[place]);
                        }
                    }
                }
            }
        }
    }
    y
}

fn softmax<N: Number>(x: &[N], shape: Shape) -> Vec<N> {
    let space = shape.space();
    let mut y = vec![N::of(0.0); x.len()];
    for at in 0..space {
        let column = |channel: usize| x[channel * space + at];
        let top = (0..shape.channels).map(column).fold(column(0), |top, v| if v > top { v } else { top });
        let mut total = N::of(0.0);
        for channel in 0..shape.channels {
            let power = column(channel).minus(top).exp();
            y[channel * space + at] = power;
            total = total.plus(power);
        }
        for channel in 0..shape.channels {
            y[channel * space + at] = y[channel * space + at].over(total);
        }
    }
    y
}

fn softmax_gradient<N: Number>(y: &[N], g: &[N], shape: Shape) -> Vec<N> {
    let space = shape.space();
    let mut out = vec![N::of(0.0); y.len()];
    for at in 0..space {
        let places = || (0..shape.channels).map(|channel| channel * space + at);
        let inner = places().fold(N::of(0.0), |sum, place| y[place].fma(g[place], sum));
        for place in places() {
            out[place] = y[place].times(g[place].minus(inner));
        }
    }
    out
}
