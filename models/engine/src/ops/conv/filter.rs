//! Gradient of a convolution's weight, held in registers along the pixels.
//! Shapes: `x` and `g` channels-last, the input and the result's gradient; out `[out, in / groups, taps]`.
//! The rule of one element: for each image one chain of fused multiply-adds `a = fma(x, g, a)` from zero, over the
//! output planes and rows whose tap falls into the image and all output columns (a tap beside a row reads +0); the
//! images' sums are then added in order. Threads divide weights, never pixels.
//! Errors: none; lengths are asserted once a call.

use super::Geometry;
use super::gather::{Lines, Walk};
use crate::isa::Isa;
use crate::lanes::{LANES, Lanes, instances};
use rayon::prelude::*;

/// Output pixels for which a sum stays in registers at least, where the image has so many.
const PIXELS_PER_BAND: usize = 128;

/// Blocks of output channels that a unit has at most.
const PAIR: usize = 2;

/// Up to two blocks of output channels of one group under one tap of planes and rows: the piece of the gradient that
/// one thread sums up.
struct Unit {
    group: usize,
    block: usize,
    tap: usize,
    /// `[block][entry][16]`: of the image under way, and of all before.
    image: Vec<f32>,
    total: Vec<f32>,
}

/// A run of entries (column tap, input channel) that lie side by side in a line.
#[derive(Clone, Copy)]
struct Segment {
    distance: usize,
    length: usize,
}

/// The gradient of the weight.
pub(crate) fn filter_gradient(isa: Isa, geometry: &Geometry, images: usize, x: &[f32], g: &[f32]) -> Vec<f32> {
    let walk = Walk::forward(&geometry.axes);
    let (inputs, outputs) = (geometry.inputs / geometry.groups, geometry.outputs / geometry.groups);
    let [planes, rows, columns] = geometry.axes.map(|axis| axis.kernel);
    let entries = columns * inputs;
    let blocks = outputs.div_ceil(LANES);
    let unit = |at: usize| {
        let (tap, pair) = (at % (planes * rows), at / (planes * rows));
        let (group, block) = (pair / blocks.div_ceil(PAIR), pair % blocks.div_ceil(PAIR) * PAIR);
        let length = PAIR.min(blocks - block) * entries * LANES;
        Unit { group, block, tap, image: vec![0.0; length], total: vec![0.0; length] }
    };
    let mut units: Vec<Unit> = (0..geometry.groups * blocks.div_ceil(PAIR) * planes * rows).map(unit).collect();
    let share = units.len().div_ceil(rayon::current_num_threads());
    units.par_chunks_mut(share).for_each(|units| add_images(isa, geometry, &walk, images, (x, g), units));
    let mut gradient = vec![0.0; geometry.outputs * entries * planes * rows];
    let taps = planes * rows * columns;
    for unit in &units {
        for (line, lanes) in unit.total.chunks_exact(LANES).enumerate() {
            let (block, entry) = (unit.block + line / entries, line % entries);
            let (column, input) = (entry / inputs, entry % inputs);
            for (lane, value) in lanes.iter().take(outputs - block * LANES).enumerate() {
                let output = unit.group * outputs + block * LANES + lane;
                gradient[(output * inputs + input) * taps + unit.tap * columns + column] = *value;
            }
        }
    }
    gradient
}

/// Output rows that a sum stays in registers for.
fn band_rows(geometry: &Geometry) -> usize {
    let [_, rows, columns] = geometry.axes;
    PIXELS_PER_BAND.div_ceil(columns.output).clamp(1, rows.output)
}

fn add_images(isa: Isa, geometry: &Geometry, walk: &Walk, images: usize, (x, g): (&[f32], &[f32]), units: &mut [Unit]) {
    let Geometry { axes, inputs, outputs, groups } = *geometry;
    let (image_in, plane_out) = (geometry.space_in() * inputs, axes[1].output * axes[2].output * outputs);
    assert_eq!(x.len(), images * image_in, "whole images of input");
    assert_eq!(g.len(), images * axes[0].output * plane_out, "whole images of gradient");
    let (inputs_here, dilation, kernel) = (inputs / groups, axes[2].dilation, axes[2].kernel);
    let joined = groups == 1 && dilation == 1;
    let segments: Vec<Segment> = if joined {
        vec![Segment { distance: 0, length: kernel * inputs }]
    } else {
        (0..kernel).map(|tap| Segment { distance: tap * dilation * inputs, length: inputs_here }).collect()
    };
    let band = band_rows(geometry);
    for image in 0..images {
        for plane in 0..axes[0].output {
            for first in (0..axes[1].output).step_by(band) {
                let rows = first..(first + band).min(axes[1].output);
                let is_last = plane + 1 == axes[0].output && rows.end == axes[1].output;
                let ends = [plane == 0 && first == 0, is_last];
                let lines = Lines::new(walk, &x[image * image_in..][..image_in], plane, rows.clone(), inputs);
                let g = &g[(image * axes[0].output + plane) * plane_out..][..plane_out];
                let g = &g[first * axes[2].output * outputs..rows.end * axes[2].output * outputs];
                for unit in &mut *units {
                    add_band(isa, geometry, &lines, g, &segments, ends, unit);
                }
            }
        }
    }
}

fn add_band(
    isa: Isa,
    geometry: &Geometry,
    lines: &Lines<'_>,
    g: &[f32],
    segments: &[Segment],
    [is_first, is_last]: [bool; 2],
    unit: &mut Unit,
) {
    let Geometry { axes, inputs, outputs, groups } = *geometry;
    let row_length = axes[2].output * outputs;
    let mut meetings = Vec::with_capacity(g.len() / row_length);
    for row in 0..g.len() / row_length {
        let line = lines.of(row).iter().find(|(_, tap)| *tap == unit.tap);
        meetings.extend(line.map(|(begin, _)| (*begin, row * row_length)));
    }
    let band = Band {
        // a band whose rows lie in the padding reads no line
        x: lines.values().get(unit.group * (inputs / groups)..).unwrap_or_default(),
        g: &g[unit.group * (outputs / groups) + unit.block * LANES..],
        meetings: &meetings,
        columns: axes[2].output,
        x_step: axes[2].stride * inputs,
        g_step: outputs,
        segments,
        entries: axes[2].kernel * (inputs / groups),
        outputs: outputs / groups - unit.block * LANES,
        is_first,
        is_last,
    };
    band_kernel(isa, band, &mut unit.image, &mut unit.total);
}

/// Some output rows of one image for one unit; all distances in values.
#[derive(Clone, Copy)]
struct Band<'a> {
    x: &'a [f32],
    g: &'a [f32],
    /// Begin of a source line and of the gradient's row.
    meetings: &'a [(usize, usize)],
    columns: usize,
    x_step: usize,
    g_step: usize,
    segments: &'a [Segment],
    entries: usize,
    /// Output channels from the unit's first on.
    outputs: usize,
    is_first: bool,
    is_last: bool,
}

instances! {
    /// Adds the band to the unit's sums.
    band_kernel = band_body(band: Band<'_>, image: &mut [f32], total: &mut [f32])
}

/// # Safety
/// The processor has `V`'s instructions; the band's distances lie within its slices, as `add_band` makes them.
#[inline(always)]
unsafe fn band_body<V: Lanes, const M: usize, const B: usize>(band: Band<'_>, image: &mut [f32], total: &mut [f32]) {
    let blocks = image.len() / (band.entries * LANES);
    let mut block = 0;
    while block < blocks {
        let whole = band.outputs - block * LANES;
        // SAFETY: as this function's; `block + B <= blocks` with full lanes, or the single forms.
        unsafe {
            if block + B <= blocks && whole >= B * LANES {
                entries::<V, M, B, false>(band, block, image, total);
                block += B;
            } else {
                if whole >= LANES {
                    entries::<V, M, 1, false>(band, block, image, total);
                } else {
                    entries::<V, M, 1, true>(band, block, image, total);
                }
                block += 1;
            }
        }
    }
}

/// All entries of `B` blocks, in tiles of M, 8, 4, 3, 2 or 1 of a segment.
///
/// # Safety
/// As [`band_body`], and `block + B` is at most the unit's blocks; `PART` if the block has fewer than 16 channels.
#[inline(always)]
unsafe fn entries<V: Lanes, const M: usize, const B: usize, const PART: bool>(
    band: Band<'_>,
    block: usize,
    image: &mut [f32],
    total: &mut [f32],
) {
    let mut entry = 0;
    for segment in band.segments {
        let mut at = 0;
        while at < segment.length {
            let (rest, distance) = (segment.length - at, segment.distance + at);
            // SAFETY: each tile's entries lie within the segment.
            let done = unsafe {
                if rest.is_multiple_of(M) || rest > M + 8 {
                    tile::<V, M, B, PART>(band, block, distance, entry, image, total)
                } else if rest >= 8 && M > 8 {
                    tile::<V, 8, B, PART>(band, block, distance, entry, image, total)
                } else if rest >= 4 {
                    tile::<V, 4, B, PART>(band, block, distance, entry, image, total)
                } else if rest == 3 {
                    tile::<V, 3, B, PART>(band, block, distance, entry, image, total)
                } else if rest == 2 {
                    tile::<V, 2, B, PART>(band, block, distance, entry, image, total)
                } else {
                    tile::<V, 1, B, PART>(band, block, distance, entry, image, total)
                }
            };
            at += done;
            entry += done;
        }
    }
}

/// `M` entries by `B` blocks along all pixels of the band; returns `M`.
///
/// # Safety
/// As [`entries`], and the entries from `entry` and `distance` on lie within the segment.
#[inline(always)]
unsafe fn tile<V: Lanes, const M: usize, const B: usize, const PART: bool>(
    band: Band<'_>,
    block: usize,
    distance: usize,
    entry: usize,
    image: &mut [f32],
    total: &mut [f32],
) -> usize {
    // SAFETY: the sums hold `entries` vectors a block; a line holds its margins, so every entry of every column lies
    // within `x`; `g` holds every channel of its rows, a part block's by part loads.
    unsafe {
        let place = |m: usize, b: usize| ((block + b) * band.entries + entry + m) * LANES;
        let mut sums = [[V::splat(0.0); B]; M];
        if !band.is_first {
            for (m, sum) in sums.iter_mut().enumerate() {
                for (b, lane) in sum.iter_mut().enumerate() {
                    *lane = V::load(image.as_ptr().add(place(m, b)));
                }
            }
        }
        for &(x, g) in band.meetings {
            let x = band.x.as_ptr().add(x + distance);
            let g = band.g.as_ptr().add(g + block * LANES);
            for column in 0..band.columns {
                let mut lanes = [V::splat(0.0); B];
                for (b, lane) in lanes.iter_mut().enumerate() {
                    let at = g.add(column * band.g_step + b * LANES);
                    *lane = if PART { V::load_part(at, band.outputs - block * LANES) } else { V::load(at) };
                }
                for (m, sum) in sums.iter_mut().enumerate() {
                    let value = V::splat(x.add(column * band.x_step + m).read());
                    for b in 0..B {
                        sum[b] = value.fma(lanes[b], sum[b]);
                    }
                }
            }
        }
        for (m, sum) in sums.iter().enumerate() {
            for (b, &lane) in sum.iter().enumerate() {
                if band.is_last {
                    let at = total.as_mut_ptr().add(place(m, b));
                    V::load(at).add(lane).store(at);
                } else {
                    lane.store(image.as_mut_ptr().add(place(m, b)));
                }
            }
        }
    }
    M
}
