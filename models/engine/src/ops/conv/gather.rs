//! The one convolution kernel: every target element gathers the source elements that a walk names, times a panel.
//! Forward, a walk reads the image under the kernel; its adjoint reads the result from the image's side (input
//! gradient, transposed convolution), one phase for each residue of the stride, so that no product with a zero between
//! is made.
//! Shapes: source and target channels-last; panels `[group][block of 16 targets][tap][source channel][16]`.
//! The rule of one element: `a = bias` (or +0), then for each kernel plane and row that falls into the source, each
//! kernel column of the phase, each source channel of the group, in that order: `a = fma(x, w, a)`. Columns outside the
//! source take part as +0. So the bits depend on the element alone, never on its neighbours in a register.
//! Errors: none; lengths are asserted once a call.

use crate::graph::{Axis, Extent};
use crate::isa::Isa;
use crate::lanes::{LANES, Lanes, instances};
use rayon::prelude::*;

/// Bytes of source lines that a task copies at most (unless one row needs more): half of a small second-level cache.
const LINES_BYTES: usize = 128 << 10;

/// Target columns that share a residue of the stride.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    first: usize,
    step: usize,
    count: usize,
    stride: usize,
    /// Tap, and the source column that the first target column reads through it.
    taps: Vec<(usize, isize)>,
}

/// What each target position reads, along the three axes.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    planes: Vec<Vec<(usize, usize)>>,
    rows: Vec<Vec<(usize, usize)>>,
    columns: Vec<Phase>,
    source: Extent,
    target: Extent,
    kernel: Extent,
}

fn signed(length: usize) -> isize {
    isize::try_from(length).unwrap_or(isize::MAX)
}

impl Walk {
    /// The convolution itself.
    pub(crate) fn forward(axes: &[Axis; 3]) -> Self {
        let read = |axis: &Axis| -> Vec<Vec<(usize, usize)>> {
            let taps = |at| (0..axis.kernel).filter_map(move |tap| Some((tap, axis.input_at(at, tap)?))).collect();
            (0..axis.output).map(taps).collect()
        };
        let columns = &axes[2];
        let start = |tap: usize| (tap, signed(tap * columns.dilation) - signed(columns.before));
        let taps = (0..columns.kernel).map(start).collect();
        let phase = Phase { first: 0, step: 1, count: columns.output, stride: columns.stride, taps };
        Self {
            planes: read(&axes[0]),
            rows: read(&axes[1]),
            columns: vec![phase],
            source: axes.map(|axis| axis.input),
            target: axes.map(|axis| axis.output),
            kernel: axes.map(|axis| axis.kernel),
        }
    }

    /// The convolution's adjoint: from its result's extent to its input's.
    pub(crate) fn adjoint(axes: &[Axis; 3]) -> Self {
        let written = |axis: &Axis| -> Vec<Vec<(usize, usize)>> {
            let taps = |at| (0..axis.kernel).filter_map(move |tap| Some((tap, axis.output_at(at, tap)?))).collect();
            (0..axis.input).map(taps).collect()
        };
        let columns = &axes[2];
        let stride = signed(columns.stride);
        let phase = |first: usize| {
            let meets = |tap: usize| {
                let from = signed(first + columns.before) - signed(tap * columns.dilation);
                (from.rem_euclid(stride) == 0).then_some((tap, from.div_euclid(stride)))
            };
            let count = (columns.input - first).div_ceil(columns.stride);
            let taps = (0..columns.kernel).filter_map(meets).collect();
            Phase { first, step: columns.stride, count, stride: 1, taps }
        };
        Self {
            planes: written(&axes[0]),
            rows: written(&axes[1]),
            columns: (0..columns.stride.min(columns.input)).map(phase).collect(),
            source: axes.map(|axis| axis.output),
            target: axes.map(|axis| axis.input),
            kernel: axes.map(|axis| axis.kernel),
        }
    }

    /// Columns read before the first and behind the last of the source.
    fn margins(&self) -> [usize; 2] {
        let (mut before, mut behind) = (0, 0);
        for phase in &self.columns {
            for &(_, start) in &phase.taps {
                before = before.max(-start);
                behind = behind.max(start + signed((phase.count - 1) * phase.stride + 1) - signed(self.source[2]));
            }
        }
        [before.max(0).unsigned_abs(), behind.max(0).unsigned_abs()]
    }
}

/// Weights in the order in which the kernel reads them, and what each target channel starts from.
pub(crate) struct Panels {
    values: Vec<f32>,
    start: Vec<f32>,
    groups: usize,
    taps: usize,
    sources: usize,
    targets: usize,
}

impl Panels {
    /// Panels of `at(group, tap, source channel, target channel)`, the channels counted within their group.
    pub(crate) fn new(
        [groups, taps, sources, targets]: [usize; 4],
        bias: Option<&[f32]>,
        at: impl Fn(usize, usize, usize, usize) -> f32,
    ) -> Self {
        let blocks = targets.div_ceil(LANES);
        let mut values = vec![0.0; groups * blocks * taps * sources * LANES];
        for (line, lanes) in values.chunks_exact_mut(LANES).enumerate() {
            let (source, tap) = (line % sources, line / sources % taps);
            let (block, group) = (line / (sources * taps) % blocks, line / (sources * taps * blocks));
            for (lane, value) in lanes.iter_mut().take(targets - block * LANES).enumerate() {
                *value = at(group, tap, source, block * LANES + lane);
            }
        }
        let mut start = vec![0.0; groups * blocks * LANES];
        if let Some(bias) = bias {
            assert_eq!(bias.len(), groups * targets, "one bias a target channel");
            for (to, from) in start.chunks_exact_mut(blocks * LANES).zip(bias.chunks_exact(targets)) {
                to[..targets].copy_from_slice(from);
            }
        }
        Self { values, start, groups, taps, sources, targets }
    }
}

/// The target of `walk` over every image of `source`.
pub(crate) fn gather(isa: Isa, source: &[f32], walk: &Walk, panels: &Panels, target: &mut [f32]) {
    let (from, to) = (panels.groups * panels.sources, panels.groups * panels.targets);
    let [planes, rows, columns] = walk.target;
    let (image_in, row_out) = (walk.source.iter().product::<usize>() * from, columns * to);
    assert_eq!(panels.taps, walk.kernel.iter().product::<usize>(), "a panel for each tap");
    assert_eq!(source.len() * planes * rows * row_out, target.len() * image_in, "as many images on both sides");
    let [before, behind] = walk.margins();
    let band = band_rows(walk, (before + walk.source[2] + behind) * from);
    target.par_chunks_mut(rows * row_out).enumerate().for_each(|(at, plane_out)| {
        let (image, plane) = (at / planes, at % planes);
        let source = &source[image * image_in..][..image_in];
        plane_out.par_chunks_mut(band * row_out).enumerate().for_each(|(at, out)| {
            let lines = Lines::new(walk, source, plane, (at * band)..(at * band + out.len() / row_out), from);
            for (row, out) in out.chunks_exact_mut(row_out).enumerate() {
                gather_row(isa, walk, panels, &lines, row, out);
            }
        });
    });
}

/// Target rows of one task: as many as keep the copied source lines within [`LINES_BYTES`].
fn band_rows(walk: &Walk, line: usize) -> usize {
    let taps = walk.planes.iter().map(Vec::len).max().unwrap_or(1).max(1);
    let rows = walk.target[1].max(1);
    let lines_a_row = walk.source[1].div_ceil(rows).max(1) * taps;
    (LINES_BYTES / (4 * line.max(1) * lines_a_row)).clamp(1, rows)
}

/// The source lines that a band of target rows reads, with their margins of zeros.
pub(crate) struct Lines<'a> {
    values: std::borrow::Cow<'a, [f32]>,
    /// For each target row: where each line begins (at its margin), and its tap of planes and rows.
    reads: Vec<Vec<(usize, usize)>>,
    before: usize,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(
        walk: &Walk,
        source: &'a [f32],
        plane: usize,
        band: std::ops::Range<usize>,
        channels: usize,
    ) -> Self {
        let [_, rows, columns] = walk.source;
        let [before, behind] = walk.margins();
        let (length, padded) = (columns * channels, (before + columns + behind) * channels);
        let copied = before + behind > 0;
        let mut slots: Vec<Option<usize>> = vec![None; walk.source[0] * rows];
        let mut order = Vec::new();
        let mut reads = Vec::with_capacity(band.len());
        for row in band {
            let mut read = Vec::with_capacity(walk.kernel[0] * walk.kernel[1]);
            for &(tap_plane, from_plane) in &walk.planes[plane] {
                for &(tap_row, from_row) in &walk.rows[row] {
                    let line = from_plane * rows + from_row;
                    let slot = *slots[line].get_or_insert_with(|| {
                        order.push(line);
                        order.len() - 1
                    });
                    let begin = if copied { slot * padded } else { line * length };
                    read.push((begin, tap_plane * walk.kernel[1] + tap_row));
                }
            }
            reads.push(read);
        }
        if !copied {
            return Self { values: source.into(), reads, before };
        }
        let mut values = vec![0.0; order.len() * padded];
        for (line, to) in order.iter().zip(values.chunks_exact_mut(padded)) {
            to[before * channels..][..length].copy_from_slice(&source[line * length..][..length]);
        }
        Self { values: values.into(), reads, before }
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// The lines that a row of the band reads, with their taps.
    pub(crate) fn of(&self, row: usize) -> &[(usize, usize)] {
        &self.reads[row]
    }
}

fn gather_row(isa: Isa, walk: &Walk, panels: &Panels, lines: &Lines<'_>, row: usize, out: &mut [f32]) {
    let (from, to) = (panels.groups * panels.sources, panels.groups * panels.targets);
    let blocks = panels.targets.div_ceil(LANES);
    let block_length = panels.taps * panels.sources * LANES;
    for phase in &walk.columns {
        let taps: Vec<(usize, usize)> = phase
            .taps
            .iter()
            .map(|&(tap, start)| ((signed(lines.before) + start).unsigned_abs() * from, tap * panels.sources * LANES))
            .collect();
        for group in 0..panels.groups {
            let strip = Strip {
                values: &lines.values,
                rows: lines.of(row),
                row_length: walk.kernel[2] * panels.sources * LANES,
                taps: &taps,
                first: group * panels.sources,
                sources: panels.sources,
                step: phase.stride * from,
                count: phase.count,
                panels: &panels.values[group * blocks * block_length..],
                block_length,
                start: &panels.start[group * blocks * LANES..],
                targets: panels.targets,
                out_first: phase.first * to + group * panels.targets,
                out_step: phase.step * to,
            };
            strip_kernel(isa, strip, out);
        }
    }
}

/// One phase of one group of one target row; all distances in values.
#[derive(Clone, Copy)]
struct Strip<'a> {
    values: &'a [f32],
    /// Begin of each source line and its tap of planes and rows.
    rows: &'a [(usize, usize)],
    /// Panel values of one such tap.
    row_length: usize,
    /// Distance from a line's begin, and into its panel.
    taps: &'a [(usize, usize)],
    first: usize,
    sources: usize,
    step: usize,
    count: usize,
    panels: &'a [f32],
    block_length: usize,
    start: &'a [f32],
    targets: usize,
    out_first: usize,
    out_step: usize,
}

instances! {
    /// All columns of a strip under all blocks of its targets.
    strip_kernel = strip_body(strip: Strip<'_>, out: &mut [f32])
}

/// # Safety
/// The processor has `V`'s instructions; the strip's distances lie within its slices and `out`, as `gather` makes them.
#[inline(always)]
unsafe fn strip_body<V: Lanes, const M: usize, const B: usize>(strip: Strip<'_>, out: &mut [f32]) {
    let blocks = strip.targets.div_ceil(LANES);
    let mut block = 0;
    while block < blocks {
        // SAFETY: as this function's, and `block + B <= blocks` or the single form.
        unsafe {
            if block + B <= blocks {
                columns::<V, M, B>(strip, block, out);
                block += B;
            } else {
                columns::<V, M, 1>(strip, block, out);
                block += 1;
            }
        }
    }
}

/// All columns under `B` blocks, in tiles of M, 8, 4 or 1; a rest below 4 repeats columns of the tile before.
///
/// # Safety
/// As [`strip_body`], and `block + B` is at most the number of blocks.
#[inline(always)]
unsafe fn columns<V: Lanes, const M: usize, const B: usize>(strip: Strip<'_>, block: usize, out: &mut [f32]) {
    let mut at = 0;
    while at < strip.count {
        let rest = strip.count - at;
        // SAFETY: each tile's columns lie within `count`.
        unsafe {
            if rest.is_multiple_of(M) || rest > M + 8 {
                tile::<V, M, B>(strip, block, at, out);
                at += M;
            } else if rest >= 8 && M > 8 {
                tile::<V, 8, B>(strip, block, at, out);
                at += 8;
            } else if rest >= 4 || (strip.count >= 4 && rest > 1) {
                tile::<V, 4, B>(strip, block, at.min(strip.count - 4), out);
                at += 4;
            } else {
                tile::<V, 1, B>(strip, block, at, out);
                at += 1;
            }
        }
    }
}

/// `M` columns by `B` blocks, held in registers along the whole chain.
///
/// # Safety
/// As [`columns`], and `column + M` is at most the strip's count.
#[inline(always)]
unsafe fn tile<V: Lanes, const M: usize, const B: usize>(
    strip: Strip<'_>,
    block: usize,
    column: usize,
    out: &mut [f32],
) {
    debug_assert!(column + M <= strip.count);
    // SAFETY: a line holds its margins, so every tap of every column of the strip lies within `values`; the panels hold
    // `block + B` blocks of `block_length`, `start` as many vectors; `out` holds every column of the phase, and a last
    // block stores only the channels that exist.
    unsafe {
        let panels = strip.panels.as_ptr().add(block * strip.block_length);
        let mut sums = [[V::splat(0.0); B]; M];
        for sum in &mut sums {
            for (b, lane) in sum.iter_mut().enumerate() {
                *lane = V::load(strip.start.as_ptr().add((block + b) * LANES));
            }
        }
        for &(line, tap_row) in strip.rows {
            let line = strip.values.as_ptr().add(line + strip.first + column * strip.step);
            for &(distance, panel) in strip.taps {
                let x = line.add(distance);
                let w = panels.add(tap_row * strip.row_length + panel);
                for source in 0..strip.sources {
                    let mut lanes = [V::splat(0.0); B];
                    for (b, lane) in lanes.iter_mut().enumerate() {
                        *lane = V::load(w.add(b * strip.block_length + source * LANES));
                    }
                    for (m, sum) in sums.iter_mut().enumerate() {
                        let value = V::splat(x.add(m * strip.step + source).read());
                        for b in 0..B {
                            sum[b] = value.fma(lanes[b], sum[b]);
                        }
                    }
                }
            }
        }
        for (m, sum) in sums.iter().enumerate() {
            for (b, &lanes) in sum.iter().enumerate() {
                let channel = (block + b) * LANES;
                let at = out.as_mut_ptr().add(strip.out_first + (column + m) * strip.out_step + channel);
                if channel + LANES <= strip.targets {
                    lanes.store(at);
                } else {
                    lanes.store_part(at, strip.targets - channel);
                }
            }
        }
    }
}
