//! Depthwise convolution: each channel under its own `k x k` filter, forward and both gradients.
//! Shapes: maps `[images, rows, columns, channels]`, filters `[k * k, channels]` (taps in row-major order).
//! The rule of one element: `a = bias`, then for each kernel row and each kernel column that falls into the image, in
//! that order, `a = fma(filter, input, a)`; taps in the padding are left out. The input gradient is the same walk from
//! the input's side. A filter's gradient is for each image one chain over output rows and columns, the images' sums
//! added in order.
//! Errors: none; lengths are asserted once a call.

use crate::isa::Isa;
use crate::lanes::{LANES, Lanes, instances};
use crate::padding::Same;
use rayon::prelude::*;

/// Map rows that one task takes at least, so that small maps do not pay for the scheduling.
const ROWS_PER_TASK: usize = 4;

/// Rows, columns and channels of a depthwise convolution.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) rows: Same,
    pub(crate) columns: Same,
    pub(crate) channels: usize,
}

/// For each position along an axis, the (tap, position on the other side) pairs that meet there, by tap.
type Meetings = Vec<Vec<(usize, usize)>>;

fn read_by_outputs(axis: Same) -> Meetings {
    (0..axis.length_out).map(|at| (0..axis.kernel).filter_map(|t| Some((t, axis.input(at, t)?))).collect()).collect()
}

fn written_from_inputs(axis: Same) -> Meetings {
    (0..axis.length_in).map(|at| (0..axis.kernel).filter_map(|t| Some((t, axis.output(at, t)?))).collect()).collect()
}

/// `y = activation(bias + filters * x)`.
pub(crate) fn forward(isa: Isa, x: &[f32], filters: &[f32], bias: &[f32], shape: Shape, relu6: bool, y: &mut [f32]) {
    let (rows, columns) = (read_by_outputs(shape.rows), read_by_outputs(shape.columns));
    let source = (shape.rows.length_in, shape.columns.length_in);
    gather(isa, x, source, &rows, &columns, Filters { values: filters, start: bias, shape, relu6 }, y);
}

/// The gradient of the input, from the gradient of the output before its activation.
pub(crate) fn input_gradient(isa: Isa, g: &[f32], filters: &[f32], shape: Shape, out: &mut [f32]) {
    let (rows, columns) = (written_from_inputs(shape.rows), written_from_inputs(shape.columns));
    let source = (shape.rows.length_out, shape.columns.length_out);
    let zeros = vec![0.0; shape.channels];
    gather(isa, g, source, &rows, &columns, Filters { values: filters, start: &zeros, shape, relu6: false }, out);
}

#[derive(Clone, Copy)]
struct Filters<'a> {
    values: &'a [f32],
    start: &'a [f32],
    shape: Shape,
    relu6: bool,
}

fn gather(
    isa: Isa,
    source: &[f32],
    size: (usize, usize),
    rows: &Meetings,
    columns: &Meetings,
    filters: Filters<'_>,
    out: &mut [f32],
) {
    let channels = filters.shape.channels;
    let (image_in, row_out) = (size.0 * size.1 * channels, columns.len() * channels);
    if out.is_empty() {
        return;
    }
    assert_eq!(source.len() / image_in, out.len() / (rows.len() * row_out), "as many images on both sides");
    assert_eq!(filters.values.len(), filters.shape.rows.kernel * filters.shape.columns.kernel * channels);
    assert_eq!(filters.start.len(), channels, "one start value a channel");
    out.par_chunks_exact_mut(row_out).with_min_len(ROWS_PER_TASK).enumerate().for_each(|(at, out)| {
        let (image, row) = (at / rows.len(), at % rows.len());
        let source = &source[image * image_in..(image + 1) * image_in];
        gather_kernel(isa, source, size.1, &rows[row], columns, filters, out);
    });
}

instances! {
    /// One row of the result.
    gather_kernel = gather_body(
        source: &[f32], width: usize, rows: &[(usize, usize)], columns: &Meetings, filters: Filters<'_>,
        out: &mut [f32],
    )
}

/// # Safety
/// The processor has `V`'s instructions; lengths as [`gather`] asserts them, meetings within the source.
#[inline(always)]
unsafe fn gather_body<V: Lanes, const M: usize, const B: usize>(
    source: &[f32],
    width: usize,
    rows: &[(usize, usize)],
    columns: &Meetings,
    filters: Filters<'_>,
    out: &mut [f32],
) {
    let channels = filters.shape.channels;
    let mut channel = 0;
    while channel < channels {
        // SAFETY: sixteen channels, or by part loads the rest of them, lie within every position.
        unsafe {
            if channel + LANES <= channels {
                gather_lanes::<V, false>(source, width, rows, columns, filters, channel, out);
            } else {
                gather_lanes::<V, true>(source, width, rows, columns, filters, channel, out);
            }
        }
        channel += LANES;
    }
}

/// # Safety
/// As [`gather_body`]; `PART` if fewer than sixteen channels follow `channel`.
#[inline(always)]
unsafe fn gather_lanes<V: Lanes, const PART: bool>(
    source: &[f32],
    width: usize,
    rows: &[(usize, usize)],
    columns: &Meetings,
    filters: Filters<'_>,
    channel: usize,
    out: &mut [f32],
) {
    let (channels, kernel) = (filters.shape.channels, filters.shape.columns.kernel);
    let part = channels - channel;
    // SAFETY: every meeting names a source position within `source` and a tap within the filters; `channel` and its
    // lanes lie within `channels`; `out` holds one position for each entry of `columns`.
    unsafe {
        let load = |at: *const f32| if PART { V::load_part(at, part) } else { V::load(at) };
        let start = load(filters.start.as_ptr().add(channel));
        for (at, taps) in columns.iter().enumerate() {
            let mut sum = start;
            for &(tap_row, row) in rows {
                let source = source.as_ptr().add(row * width * channels + channel);
                let filter = filters.values.as_ptr().add(tap_row * kernel * channels + channel);
                for &(tap, column) in taps {
                    sum = load(filter.add(tap * channels)).fma(load(source.add(column * channels)), sum);
                }
            }
            let sum = if filters.relu6 { sum.relu6() } else { sum };
            let at = out.as_mut_ptr().add(at * channels + channel);
            if PART {
                sum.store_part(at, part);
            } else {
                sum.store(at);
            }
        }
    }
}

/// The gradient of the filters, `[k * k, channels]`, from the gradient of the output before its activation.
pub(crate) fn filter_gradient(isa: Isa, x: &[f32], g: &[f32], shape: Shape) -> Vec<f32> {
    let taps = shape.rows.kernel * shape.columns.kernel;
    let (image_in, image_out) = (
        shape.rows.length_in * shape.columns.length_in * shape.channels,
        shape.rows.length_out * shape.columns.length_out * shape.channels,
    );
    assert_eq!(x.len() / image_in, g.len() / image_out, "as many images on both sides");
    let blocks: Vec<Vec<f32>> = (0..shape.channels.div_ceil(LANES))
        .into_par_iter()
        .map(|block| {
            let mut sums = vec![0.0; taps * LANES];
            filter_kernel(isa, x, g, shape, block * LANES, &mut sums);
            sums
        })
        .collect();
    let mut gradient = vec![0.0; taps * shape.channels];
    for (block, sums) in blocks.iter().enumerate() {
        let first = block * LANES;
        let count = LANES.min(shape.channels - first);
        for tap in 0..taps {
            gradient[tap * shape.channels + first..][..count].copy_from_slice(&sums[tap * LANES..][..count]);
        }
    }
    gradient
}

instances! {
    /// The filters' gradient of sixteen channels, `[k * k][16]`.
    filter_kernel = filter_body(x: &[f32], g: &[f32], shape: Shape, channel: usize, sums: &mut [f32])
}

/// # Safety
/// The processor has `V`'s instructions; lengths as [`filter_gradient`] asserts them.
#[inline(always)]
unsafe fn filter_body<V: Lanes, const M: usize, const B: usize>(
    x: &[f32],
    g: &[f32],
    shape: Shape,
    channel: usize,
    sums: &mut [f32],
) {
    // SAFETY: as this function's.
    unsafe {
        if channel + LANES <= shape.channels {
            filter_lanes::<V, false>(x, g, shape, channel, sums);
        } else {
            filter_lanes::<V, true>(x, g, shape, channel, sums);
        }
    }
}

/// # Safety
/// As [`filter_body`]; `PART` if fewer than sixteen channels follow `channel`.
#[inline(always)]
unsafe fn filter_lanes<V: Lanes, const PART: bool>(
    x: &[f32],
    g: &[f32],
    shape: Shape,
    channel: usize,
    sums: &mut [f32],
) {
    let (rows, columns, channels) = (shape.rows, shape.columns, shape.channels);
    let part = channels - channel;
    let images = g.len() / (rows.length_out * columns.length_out * channels);
    let reach = |axis: Same, tap: usize| {
        let first = axis.before.saturating_sub(tap).div_ceil(axis.stride);
        let past = (axis.length_in + axis.before).saturating_sub(tap).div_ceil(axis.stride).min(axis.length_out);
        first..past
    };
    for image in 0..images {
        for tap_row in 0..rows.kernel {
            for tap in 0..columns.kernel {
                // SAFETY: `reach` keeps input and output positions within their maps, `channel` and its lanes lie
                // within `channels`, and `sums` holds sixteen values for each tap.
                unsafe {
                    let load = |at: *const f32| if PART { V::load_part(at, part) } else { V::load(at) };
                    let mut sum = V::splat(0.0);
                    for out in reach(rows, tap_row) {
                        let row = image * rows.length_in + out * rows.stride + tap_row - rows.before;
                        let x = x.as_ptr().add(row * columns.length_in * channels + channel);
                        let out = image * rows.length_out + out;
                        let g = g.as_ptr().add(out * columns.length_out * channels + channel);
                        for out in reach(columns, tap) {
                            let column = out * columns.stride + tap - columns.before;
                            sum = load(g.add(out * channels)).fma(load(x.add(column * channels)), sum);
                        }
                    }
                    let at = sums.as_mut_ptr().add((tap_row * columns.kernel + tap) * LANES);
                    V::load(at).add(sum).store(at);
                }
            }
        }
    }
}
