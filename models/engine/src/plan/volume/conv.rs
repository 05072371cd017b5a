//! A convolution's form, packed weights and tasks.
//! Which form it takes depends on its shape only: Winograd over depth and rows for 3 x 3 x any kernels at step 1 from
//! [`WINOGRAD_INPUTS`] input and [`WINOGRAD_OUTPUTS`] output channels, with blocks of 2 along each axis, or from
//! [`FOUR_INPUTS`] on of 4 where that wastes less at this extent and dilation; else direct.
//! Weights: norms are folded and transforms made in f64, rounded once.
//! Errors: [`EngineError`] of the tensors.

use super::layout::Place;
use super::lower::Convolution;
use super::run::Run;
use crate::EngineError;
use crate::graph::{Activation, Axis, Shape, Weights, plain};
use crate::kernels::volume::winograd::{self, Block, POINTS, ROWS};
use crate::kernels::volume::{blocks, tile};
use crate::lanes::LANES;

/// Input channels from which on the transforms pay.
const WINOGRAD_INPUTS: usize = 4;
/// Output channels likewise.
const WINOGRAD_OUTPUTS: usize = 4;
/// Input channels from which on blocks of 4 may be taken. With fewer they gain a quarter and cost a digit: the
/// published tissue network's logits are off by 4e-5 of the largest instead of 3e-6.
const FOUR_INPUTS: usize = 12;
/// Floats of scratch that a stretch of columns aims at, so that it stays in the second cache.
const SCRATCH: usize = 160 * 1024;
/// Tasks that an operation is cut into, at least, where it has so many rows.
const TASKS: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Direct,
    /// Rows of a block along depth and rows.
    Winograd([usize; 2]),
}

/// A convolution ready to run.
#[derive(Debug)]
pub(super) struct Packed {
    form: Form,
    axes: [Axis; 3],
    groups: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
    pub(super) activation: Option<Activation>,
    /// Columns of a stretch, and vectors read for it.
    stretch: usize,
    vectors: usize,
}

/// Positions at which blocks of `rows` positions `dilation` apart begin.
fn starts(length: usize, dilation: usize, rows: usize) -> impl Iterator<Item = usize> + Clone {
    (0..length).filter(move |at| (at / dilation).is_multiple_of(rows))
}

/// The block that needs the fewest products along an axis, and how many.
fn best(axis: &Axis, inputs: usize) -> (usize, usize) {
    let cost = |rows: usize| starts(axis.output, axis.dilation, rows).count() * (rows + 2);
    let (two, four) = (cost(2), cost(4));
    if four < two && inputs >= FOUR_INPUTS { (4, four) } else { (2, two) }
}

fn form(axes: &[Axis; 3], groups: usize, inputs: usize, outputs: usize) -> Form {
    let fits = groups == 1
        && axes.iter().all(|axis| axis.stride == 1)
        && axes[..2].iter().all(|axis| axis.kernel == 3)
        && inputs >= WINOGRAD_INPUTS
        && outputs >= WINOGRAD_OUTPUTS;
    let ((depth, depth_cost), (row, row_cost)) = (best(&axes[0], inputs), best(&axes[1], inputs));
    let direct = 9 * axes[0].output * axes[1].output;
    if fits && 3 * depth_cost * row_cost < 2 * direct { Form::Winograd([depth, row]) } else { Form::Direct }
}

/// Zeros that the convolution needs on either side of its input's rows.
pub(super) fn gap(axes: &[Axis; 3]) -> usize {
    let axis = &axes[2];
    let reach = (axis.output - 1) * axis.stride + (axis.kernel - 1) * axis.dilation;
    axis.before.max((reach + 1).saturating_sub(axis.before + axis.input))
}

/// The filter in f64, `[out, in of the group, tap]`, and the bias, norm folded.
fn filter(convolution: &Convolution, weights: &Weights, out: usize) -> Result<(Vec<f64>, Vec<f64>), EngineError> {
    let stored = plain::floats(weights, &convolution.weight)?;
    let taps: usize = convolution.axes.iter().map(|axis| axis.kernel).product();
    let inputs = stored.len() / out / taps;
    let mut bias = match &convolution.bias {
        Some(name) => plain::floats(weights, name)?.into_iter().map(f64::from).collect(),
        None => vec![0.0; out],
    };
    let mut values = vec![0.0; stored.len()];
    for output in 0..out {
        for input in 0..inputs {
            for tap in 0..taps {
                let from = if convolution.adjoint {
                    (input * out + output) * taps + (taps - 1 - tap)
                } else {
                    (output * inputs + input) * taps + tap
                };
                values[(output * inputs + input) * taps + tap] = f64::from(stored[from]);
            }
        }
    }
    if let Some(norm) = &convolution.norm {
        let (factor, offset) = plain::folded_exact(weights, norm)?;
        for (channel, values) in values.chunks_exact_mut(inputs * taps).enumerate() {
            for value in values {
                *value *= factor[channel];
            }
            bias[channel] = bias[channel] * factor[channel] + offset[channel];
        }
    }
    Ok((values, bias))
}

/// A filter in f64 with its norm folded, `[out, in of the group, tap]`.
struct Filter {
    values: Vec<f64>,
    inputs: usize,
    outputs: usize,
    kernel: [usize; 3],
}

impl Filter {
    fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    fn at(&self, output: usize, input: usize, tap: usize) -> f64 {
        self.values[(output * self.inputs + input) * self.taps() + tap]
    }

    /// `[block of outputs, input, tap, output of the block]`, groups one after another.
    fn direct(&self, groups: usize) -> Vec<f32> {
        let mut packed = Vec::with_capacity(self.values.len());
        let outputs = self.outputs / groups;
        for group in 0..groups {
            for (first, count) in blocks(outputs) {
                let first = group * outputs + first;
                for input in 0..self.inputs {
                    for tap in 0..self.taps() {
                        packed.extend((first..first + count).map(|output| round(self.at(output, input, tap))));
                    }
                }
            }
        }
        packed
    }

    /// `[point, block of outputs, input, tap, output of the block]`.
    fn winograd(&self, size: [usize; 2]) -> Vec<f32> {
        let [depth, row] = size.map(winograd::weights);
        let mut packed = Vec::with_capacity(depth.len() * row.len() * self.values.len() / 9);
        for (d, r) in depth.iter().flat_map(|d| row.iter().map(move |r| (d, r))) {
            for (first, count) in blocks(self.outputs) {
                for input in 0..self.inputs {
                    for tap in 0..self.kernel[2] {
                        packed.extend((first..first + count).map(|output| self.point((d, r), output, input, tap)));
                    }
                }
            }
        }
        packed
    }

    fn point(&self, (d, r): (&[f64; 3], &[f64; 3]), output: usize, input: usize, tap: usize) -> f32 {
        let mut sum = 0.0;
        for (kd, d) in d.iter().enumerate() {
            for (kr, r) in r.iter().enumerate() {
                sum += d * r * self.at(output, input, (kd * 3 + kr) * self.kernel[2] + tap);
            }
        }
        round(sum)
    }
}

impl Packed {
    pub(super) fn new(convolution: &Convolution, weights: &Weights, y: Shape) -> Result<Self, EngineError> {
        let (values, bias) = filter(convolution, weights, y.channels)?;
        let (axes, groups) = (convolution.axes, convolution.groups);
        let kernel = axes.map(|axis| axis.kernel);
        let inputs = values.len() / y.channels / kernel.iter().product::<usize>();
        let form = form(&axes, groups, inputs, y.channels);
        let filter = Filter { values, inputs, outputs: y.channels, kernel };
        let weights = match form {
            Form::Direct => filter.direct(groups),
            Form::Winograd(size) => filter.winograd(size),
        };
        let (stretch, vectors) = stretch(form, &axes, inputs, y.channels);
        let bias = bias.into_iter().map(round).collect();
        Ok(Self { form, axes, groups, weights, bias, activation: None, stretch, vectors })
    }

    /// Its form, for people.
    pub(super) fn name(&self) -> String {
        let kernel = self.axes.map(|axis| axis.kernel);
        match self.form {
            Form::Direct => format!("direct {kernel:?}"),
            Form::Winograd(rows) => format!("winograd {rows:?} of {kernel:?}"),
        }
    }

    /// Bytes of weights.
    pub(super) fn bytes(&self) -> usize {
        (self.weights.len() + self.bias.len()) * 4
    }

    /// Floats of scratch that a task needs.
    pub(super) fn scratch(&self, inputs: usize, outputs: usize) -> usize {
        match self.form {
            Form::Direct => 0,
            Form::Winograd([depth, row]) => {
                Block::room((depth + 2) * (row + 2), inputs, outputs, self.vectors, self.stretch)
            }
        }
    }

    /// Rows (or starts of blocks) of one task, and tasks a depth (or depth block).
    fn cut(&self) -> (usize, usize, usize) {
        let (depths, rows) = match self.form {
            Form::Direct => (self.axes[0].output, self.axes[1].output),
            Form::Winograd([depth, row]) => {
                let count = |axis: &Axis, size| starts(axis.output, axis.dilation, size).count();
                (count(&self.axes[0], depth), count(&self.axes[1], row))
            }
        };
        let parts = TASKS.div_ceil(depths).min(rows);
        (depths, rows, parts)
    }

    /// How many tasks it is cut into.
    pub(super) fn tasks(&self) -> usize {
        let (depths, _, parts) = self.cut();
        depths * parts
    }

    /// Runs one task.
    ///
    /// # Safety
    /// The places are those that the plan was checked with; tasks of one operation have different indices.
    pub(super) unsafe fn task(&self, run: &Run<'_>, (x, y): (&Place, &Place), index: usize, scratch: *mut f32) {
        let (_, rows, parts) = self.cut();
        let (depth, part) = (index / parts, index % parts);
        let rows = part * rows / parts..(part + 1) * rows / parts;
        // SAFETY: the caller vouches.
        unsafe {
            match self.form {
                Form::Direct => {
                    for row in rows {
                        self.direct(run, (x, y), (depth, row));
                    }
                }
                Form::Winograd(size) => {
                    let Some(depth) = starts(self.axes[0].output, self.axes[0].dilation, size[0]).nth(depth) else {
                        return;
                    };
                    let starts = starts(self.axes[1].output, self.axes[1].dilation, size[1]);
                    for row in starts.skip(rows.start).take(rows.len()) {
                        self.winograd(run, (x, y), (depth, row, size), scratch);
                    }
                }
            }
        }
    }

    unsafe fn direct(&self, run: &Run<'_>, (x, y): (&Place, &Place), (depth, row): (usize, usize)) {
        let [deep, high, wide] = &self.axes;
        let (inputs, outputs) = (x.shape.channels / self.groups, y.shape.channels / self.groups);
        let mut taps = Vec::with_capacity(deep.kernel * high.kernel);
        for kd in 0..deep.kernel {
            for kr in 0..high.kernel {
                if let (Some(d), Some(r)) = (deep.input_at(depth, kd), high.input_at(row, kr)) {
                    #[expect(clippy::cast_possible_wrap, reason = "offsets within one buffer fit an isize")]
                    let offset = x.at(0, d, r) as isize - wide.before as isize;
                    taps.push((offset, kd * high.kernel + kr));
                }
            }
        }
        let area = deep.kernel * high.kernel;
        let mut weights = self.weights.as_ptr();
        for group in 0..self.groups {
            for (first, count) in blocks(outputs) {
                let first = group * outputs + first;
                // SAFETY: the offsets lie in the input's buffer, which the plan has checked; the row is this task's.
                unsafe {
                    let line = tile::Row {
                        x: run.base(x).add(group * inputs * x.channel),
                        x_channel: x.channel,
                        inputs,
                        taps: &taps,
                        area,
                        width: wide.kernel,
                        dilation: wide.dilation,
                        step: wide.stride,
                        weights,
                        bias: self.bias.as_ptr().add(first),
                        outputs: count,
                        y: run.base(y).add(y.at(first, depth, row)),
                        y_channel: y.channel,
                        columns: wide.output,
                        activation: self.activation,
                    };
                    tile::run(run.isa, &line);
                    weights = weights.add(inputs * area * wide.kernel * count);
                }
            }
        }
        // SAFETY: as above.
        unsafe { run.clear(y, depth, row) };
    }

    unsafe fn winograd(
        &self,
        run: &Run<'_>,
        (x, y): (&Place, &Place),
        (depth, row, size): (usize, usize, [usize; 2]),
        scratch: *mut f32,
    ) {
        let [deep, high, wide] = &self.axes;
        let ahead = wide.before.next_multiple_of(LANES);
        for first in (0..wide.output).step_by(self.stretch) {
            let mut from = [None; POINTS * POINTS];
            for d in 0..size[0] + 2 {
                for r in 0..size[1] + 2 {
                    from[d * POINTS + r] = deep
                        .input_at(depth + d * deep.dilation, 0)
                        .zip(high.input_at(row + r * high.dilation, 0))
                        .map(|(d, r)| x.at(0, d, r) + first - ahead);
                }
            }
            let mut to = [None; ROWS * ROWS];
            for d in 0..size[0] {
                for r in 0..size[1] {
                    let (d_at, r_at) = (depth + d * deep.dilation, row + r * high.dilation);
                    if d_at < deep.output && r_at < high.output {
                        to[d * ROWS + r] = Some(y.at(0, d_at, r_at) + first);
                    }
                }
            }
            // SAFETY: the rows lie in the buffers that the plan has checked; those of the output are this task's alone.
            unsafe {
                let block = Block {
                    rows: size,
                    from: &from,
                    x: run.base(x),
                    x_channel: x.channel,
                    inputs: x.shape.channels,
                    vectors: self.vectors,
                    skip: ahead - wide.before,
                    width: wide.kernel,
                    dilation: wide.dilation,
                    weights: self.weights.as_ptr(),
                    bias: self.bias.as_ptr(),
                    outputs: y.shape.channels,
                    to: &to,
                    y: run.base(y),
                    y_channel: y.channel,
                    columns: self.stretch.min(wide.output - first),
                    activation: self.activation,
                    scratch,
                };
                winograd::run(run.isa, &block);
            }
        }
        for d in (0..size[0]).map(|d| depth + d * deep.dilation).filter(|&d| d < deep.output) {
            for r in (0..size[1]).map(|r| row + r * high.dilation).filter(|&r| r < high.output) {
                // SAFETY: as above.
                unsafe { run.clear(y, d, r) };
            }
        }
    }
}

/// Columns of a stretch that keeps the scratch small, and the vectors to be read for it.
fn stretch(form: Form, axes: &[Axis; 3], inputs: usize, outputs: usize) -> (usize, usize) {
    let Form::Winograd([depth, row]) = form else { return (axes[2].output, 0) };
    let points = (depth + 2) * (row + 2);
    let axis = &axes[2];
    let around = axis.before.next_multiple_of(LANES) - axis.before + (axis.kernel - 1) * axis.dilation;
    let vectors = |columns: usize| (columns.next_multiple_of(LANES) + around).div_ceil(LANES);
    let fits = |columns: usize| Block::room(points, inputs, outputs, vectors(columns), columns) <= SCRATCH;
    let parts = (1..).find(|parts| {
        let columns = axis.output.div_ceil(*parts);
        columns <= 4 * LANES || fits(columns)
    });
    let columns = axis.output.div_ceil(parts.unwrap_or(1)).next_multiple_of(LANES).min(axis.output);
    (columns, vectors(columns))
}

#[expect(clippy::cast_possible_truncation, reason = "the one rounding of a weight")]
fn round(value: f64) -> f32 {
    value as f32
}
