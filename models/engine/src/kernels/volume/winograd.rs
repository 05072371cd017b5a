//! Winograd's convolution over depth and rows, direct along columns: 3 x 3 x any kernels at any dilation.
//! A block is `MD` x `MR` output rows whose positions are a dilation apart; `(MD + 2) x (MR + 2)` input rows become as
//! many transformed rows, each is convolved along its columns by itself, and the products become the output rows.
//! Rule: the transforms are a fixed list of additions and fused multiply-adds an element; a product is one chain over
//! input channel and tap; the bias is added after the output transform; then the activation.
//! Errors: none. Source: Lavin and Gray 2016, F(2, 3) and F(4, 3) at the points 0, 1, -1, 2, -2.

use super::tile;
use crate::graph::Activation;
use crate::lanes::{LANES, Lanes, instances};
use crate::math::vector::activate;

/// Rows of a block along one axis, at most.
pub(crate) const ROWS: usize = 4;
/// Points along one axis, at most.
pub(crate) const POINTS: usize = ROWS + 2;

/// The weights' transform, `[point][tap]`, for blocks of 2 and of 4.
pub(crate) fn weights(rows: usize) -> &'static [[f64; 3]] {
    const TWO: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
    const FOUR: [[f64; 3]; 6] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];
    if rows == 2 { &TWO } else { &FOUR }
}

/// The input's transform along one axis.
#[inline(always)]
unsafe fn forward<V: Lanes, const M: usize>(d: [V; POINTS]) -> [V; POINTS] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        if M == 2 {
            return [d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[1].sub(d[3]), d[4], d[5]];
        }
        let (four, less4, less5, two) = (V::splat(4.0), V::splat(-4.0), V::splat(-5.0), V::splat(2.0));
        let a = d[2].fma(less4, d[4]);
        let b = d[1].fma(less4, d[3]);
        let c = d[4].sub(d[2]);
        let e = d[3].sub(d[1]).mul(two);
        let first = d[0].fma(four, d[2].fma(less5, d[4]));
        let last = d[1].fma(four, d[3].fma(less5, d[5]));
        [first, a.add(b), a.sub(b), c.add(e), c.sub(e), last]
    }
}

/// The products' transform along one axis; `M` results.
#[inline(always)]
unsafe fn back<V: Lanes, const M: usize>(m: [V; POINTS]) -> [V; ROWS] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        if M == 2 {
            return [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).sub(m[3]), m[4], m[5]];
        }
        let (a, b, c, d) = (m[1].add(m[2]), m[1].sub(m[2]), m[3].add(m[4]), m[3].sub(m[4]));
        let (two, four, eight) = (V::splat(2.0), V::splat(4.0), V::splat(8.0));
        [m[0].add(a).add(c), d.fma(two, b), c.fma(four, a), d.fma(eight, b).add(m[5])]
    }
}

/// One block over a stretch of columns.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    /// Rows of the block along depth and along rows: 2 or 4 each.
    pub(crate) rows: [usize; 2],
    /// Offsets of the input's rows, [`POINTS`] a depth, at the first column read; `None` outside the image.
    pub(crate) from: &'a [Option<usize>; POINTS * POINTS],
    /// The input's first channel, and the distance of channels.
    pub(crate) x: *const f32,
    pub(crate) x_channel: usize,
    pub(crate) inputs: usize,
    /// Vectors transformed a row, and columns skipped before the first tap's.
    pub(crate) vectors: usize,
    pub(crate) skip: usize,
    /// Taps along a row, and their distance.
    pub(crate) width: usize,
    pub(crate) dilation: usize,
    /// `[point, block of outputs, input, tap, output of the block]`.
    pub(crate) weights: *const f32,
    pub(crate) bias: *const f32,
    pub(crate) outputs: usize,
    /// Offsets of the output's rows, [`ROWS`] a depth; `None` outside.
    pub(crate) to: &'a [Option<usize>; ROWS * ROWS],
    pub(crate) y: *mut f32,
    pub(crate) y_channel: usize,
    /// Output columns of the stretch.
    pub(crate) columns: usize,
    pub(crate) activation: Option<Activation>,
    /// Room for [`Block::room`] floats.
    pub(crate) scratch: *mut f32,
}

impl Block<'_> {
    /// Floats of scratch that a stretch needs.
    pub(crate) const fn room(points: usize, inputs: usize, outputs: usize, vectors: usize, columns: usize) -> usize {
        points * (inputs * vectors * LANES + outputs * columns.next_multiple_of(LANES))
    }
}

#[expect(clippy::needless_range_loop, reason = "columns of one array become rows of another")]
#[inline(always)]
unsafe fn transformed<V: Lanes, const MD: usize, const MR: usize>(a: &Block<'_>) {
    let row = a.vectors * LANES;
    let point = a.inputs * row;
    // SAFETY: the caller vouches for the addresses and the instructions.
    unsafe {
        let zero = V::splat(0.0);
        for input in 0..a.inputs {
            let x = a.x.add(input * a.x_channel);
            let y = a.scratch.add(input * row);
            for v in 0..a.vectors {
                let mut t = [[zero; POINTS]; POINTS];
                for r in 0..MR + 2 {
                    let mut d = [zero; POINTS];
                    for (depth, value) in d.iter_mut().take(MD + 2).enumerate() {
                        if let Some(from) = a.from[depth * POINTS + r] {
                            *value = V::load(x.add(from + v * LANES));
                        }
                    }
                    let d = forward::<V, MD>(d);
                    for depth in 0..MD + 2 {
                        t[depth][r] = d[depth];
                    }
                }
                for (depth, line) in t.iter().take(MD + 2).enumerate() {
                    let line = forward::<V, MR>(*line);
                    for (r, value) in line.iter().take(MR + 2).enumerate() {
                        value.store(y.add((depth * (MR + 2) + r) * point + v * LANES));
                    }
                }
            }
        }
    }
}

#[expect(clippy::needless_range_loop, reason = "columns of one array become rows of another")]
#[inline(always)]
unsafe fn gathered<V: Lanes, const MD: usize, const MR: usize>(a: &Block<'_>, products: *const f32) {
    let row = a.columns.next_multiple_of(LANES);
    let point = a.outputs * row;
    // SAFETY: the caller vouches for the addresses and the instructions.
    unsafe {
        let zero = V::splat(0.0);
        for output in 0..a.outputs {
            let m = products.add(output * row);
            let bias = V::splat(*a.bias.add(output));
            let y = a.y.add(output * a.y_channel);
            for from in (0..a.columns).step_by(LANES) {
                let mut t = [[zero; POINTS]; ROWS];
                for r in 0..MR + 2 {
                    let mut d = [zero; POINTS];
                    for (depth, value) in d.iter_mut().take(MD + 2).enumerate() {
                        *value = V::load(m.add((depth * (MR + 2) + r) * point + from));
                    }
                    let d = back::<V, MD>(d);
                    for depth in 0..MD {
                        t[depth][r] = d[depth];
                    }
                }
                let count = (a.columns - from).min(LANES);
                for (depth, line) in t.iter().take(MD).enumerate() {
                    let line = back::<V, MR>(*line);
                    for (r, value) in line.iter().take(MR).enumerate() {
                        if let Some(to) = a.to[depth * ROWS + r] {
                            let value = value.add(bias);
                            let value = if let Some(kind) = a.activation { activate(kind, value) } else { value };
                            let at = y.add(to + from);
                            if count == LANES { value.store(at) } else { value.store_part(at, count) }
                        }
                    }
                }
            }
        }
    }
}

/// A block; see [`Block`].
#[inline(always)]
unsafe fn block<V: Lanes, const R: usize, const N: usize>(a: &Block<'_>) {
    let (points, row) = ((a.rows[0] + 2) * (a.rows[1] + 2), a.vectors * LANES);
    let columns = a.columns.next_multiple_of(LANES);
    // SAFETY: the caller vouches for the addresses and the instructions; scratch has room for both halves.
    unsafe {
        match a.rows {
            [2, 2] => transformed::<V, 2, 2>(a),
            [2, _] => transformed::<V, 2, 4>(a),
            [_, 2] => transformed::<V, 4, 2>(a),
            _ => transformed::<V, 4, 4>(a),
        }
        let products = a.scratch.add(points * a.inputs * row);
        let mut weights = a.weights;
        for point in 0..points {
            for (first, outputs) in super::blocks(a.outputs) {
                let line = tile::Row {
                    x: a.scratch.add(point * a.inputs * row + a.skip),
                    x_channel: row,
                    inputs: a.inputs,
                    taps: &[(0, 0)],
                    area: 1,
                    width: a.width,
                    dilation: a.dilation,
                    step: 1,
                    weights,
                    bias: std::ptr::null(),
                    outputs,
                    y: products.add((point * a.outputs + first) * columns),
                    y_channel: columns,
                    columns,
                    activation: None,
                };
                tile::row::<V, R, N>(&line);
                weights = weights.add(a.inputs * a.width * outputs);
            }
        }
        match a.rows {
            [2, 2] => gathered::<V, 2, 2>(a, products),
            [2, _] => gathered::<V, 2, 4>(a, products),
            [_, 2] => gathered::<V, 4, 2>(a, products),
            _ => gathered::<V, 4, 4>(a, products),
        }
    }
}

instances!(instance = block(a: &Block<'_>));

/// Computes a block.
///
/// # Safety
/// The addresses hold what [`Block`] says: rows of the input with their padding and [`super::SLACK`] floats behind the
/// buffer, whole weights, scratch of the worker alone, and output rows that nobody else touches.
pub(crate) unsafe fn run(isa: crate::isa::Isa, a: &Block<'_>) {
    instance(isa, a);
}
