//! Rows times a matrix: the pointwise convolution, its input gradient, and any convolution laid out as rows.
//! Shapes: `x` is `[rows, depth]`, the matrix `[depth, columns]`, `y` `[rows, columns]`.
//! The rule of one element: `a = bias[column]`, then for `i` in `0..depth`, in that order, `a = fma(x[row][i],
//! matrix[i][column], a)`, then the activation. So a row of `y` depends on its own row of `x` only.
//! Errors: none; lengths are the caller's to fit and asserted once a call.

use crate::isa::Isa;
use crate::lanes::{LANES, Lanes, instances};
use rayon::prelude::*;

/// Rows of one task. A multiple of both register tiles' heights, small enough for a second-level cache.
const ROWS_PER_TASK: usize = 96;

/// A matrix in the order the kernel reads it: blocks of sixteen columns, each `[depth][16]`, padded with zeros.
pub(crate) struct Packed {
    values: Vec<f32>,
    depth: usize,
    columns: usize,
}

impl Packed {
    /// The `depth` by `columns` matrix of `at(row, column)`.
    pub(crate) fn new(depth: usize, columns: usize, at: impl Fn(usize, usize) -> f32) -> Self {
        let blocks = columns.div_ceil(LANES);
        let mut values = vec![0.0; blocks * depth * LANES];
        for (block, panel) in values.chunks_exact_mut((depth * LANES).max(1)).enumerate() {
            let first = block * LANES;
            for (row, lanes) in panel.chunks_exact_mut(LANES).enumerate() {
                for (lane, value) in lanes.iter_mut().take(columns - first).enumerate() {
                    *value = at(row, first + lane);
                }
            }
        }
        Self { values, depth, columns }
    }

    fn blocks(&self) -> usize {
        self.columns.div_ceil(LANES)
    }
}

/// `y = activation(x · matrix + bias)`; no bias is a bias of zeros.
pub(crate) fn rows_product(isa: Isa, x: &[f32], matrix: &Packed, bias: Option<&[f32]>, relu6: bool, y: &mut [f32]) {
    if y.is_empty() {
        return;
    }
    let mut start = vec![0.0; matrix.blocks() * LANES];
    if let Some(bias) = bias {
        assert_eq!(bias.len(), matrix.columns, "one bias a column");
        start[..bias.len()].copy_from_slice(bias);
    }
    assert_eq!(x.len() * matrix.columns, y.len() * matrix.depth, "x and y have as many rows");
    assert_eq!(y.len() % matrix.columns, 0, "y is whole rows");
    y.par_chunks_mut(ROWS_PER_TASK * matrix.columns)
        .zip(x.par_chunks(ROWS_PER_TASK * matrix.depth))
        .for_each(|(y, x)| rows_kernel(isa, x, matrix, &start, relu6, y));
}

instances! {
    /// One task of [`rows_product`].
    rows_kernel = rows_body(x: &[f32], matrix: &Packed, start: &[f32], relu6: bool, y: &mut [f32])
}

/// # Safety
/// The processor has `V`'s instructions; lengths as [`rows_product`] asserts them.
#[inline(always)]
unsafe fn rows_body<V: Lanes, const M: usize, const B: usize>(
    x: &[f32],
    matrix: &Packed,
    start: &[f32],
    relu6: bool,
    y: &mut [f32],
) {
    let (blocks, rows) = (matrix.blocks(), y.len() / matrix.columns);
    let mut block = 0;
    while block < blocks {
        // SAFETY: as this function's, and `block + B <= blocks` or the single form.
        unsafe {
            if block + B <= blocks {
                strip::<V, M, B>(x, matrix, start, relu6, y, rows, block);
                block += B;
            } else {
                strip::<V, M, 1>(x, matrix, start, relu6, y, rows, block);
                block += 1;
            }
        }
    }
}

/// All rows under `B` blocks of columns.
///
/// # Safety
/// As [`rows_body`], and `block + B` is at most the number of blocks.
#[inline(always)]
unsafe fn strip<V: Lanes, const M: usize, const B: usize>(
    x: &[f32],
    matrix: &Packed,
    start: &[f32],
    relu6: bool,
    y: &mut [f32],
    rows: usize,
    block: usize,
) {
    let mut row = 0;
    // SAFETY: each tile's rows are within `rows`.
    unsafe {
        while row + M <= rows {
            tile::<V, M, B>(x, matrix, start, relu6, y, row, block);
            row += M;
        }
        while row + 4 <= rows {
            tile::<V, 4, B>(x, matrix, start, relu6, y, row, block);
            row += 4;
        }
        while row < rows {
            tile::<V, 1, B>(x, matrix, start, relu6, y, row, block);
            row += 1;
        }
    }
}

/// `M` rows by `B` blocks, held in registers along the whole depth.
///
/// # Safety
/// As [`strip`], and `row + M` is at most the number of rows.
#[inline(always)]
unsafe fn tile<V: Lanes, const M: usize, const B: usize>(
    x: &[f32],
    matrix: &Packed,
    start: &[f32],
    relu6: bool,
    y: &mut [f32],
    row: usize,
    block: usize,
) {
    let (depth, columns) = (matrix.depth, matrix.columns);
    debug_assert!((row + M) * depth <= x.len() && (row + M) * columns <= y.len());
    // SAFETY: `x` holds `row + M` rows of `depth`; the packed matrix holds `block + B` panels of `depth * 16`, `start`
    // as many vectors; `y` holds `row + M` rows of `columns`, and a last block stores only the columns that exist.
    unsafe {
        let x = x.as_ptr().add(row * depth);
        let panels = matrix.values.as_ptr().add(block * depth * LANES);
        let mut sums = [[V::splat(0.0); B]; M];
        for sum in &mut sums {
            for (b, lane) in sum.iter_mut().enumerate() {
                *lane = V::load(start.as_ptr().add((block + b) * LANES));
            }
        }
        for i in 0..depth {
            let mut w = [V::splat(0.0); B];
            for (b, lane) in w.iter_mut().enumerate() {
                *lane = V::load(panels.add((b * depth + i) * LANES));
            }
            for (m, sum) in sums.iter_mut().enumerate() {
                let value = V::splat(x.add(m * depth + i).read());
                for b in 0..B {
                    sum[b] = value.fma(w[b], sum[b]);
                }
            }
        }
        for (m, sum) in sums.iter().enumerate() {
            for (b, &lanes) in sum.iter().enumerate() {
                let first = (block + b) * LANES;
                let at = y.as_mut_ptr().add((row + m) * columns + first);
                let lanes = if relu6 { lanes.relu6() } else { lanes };
                if first + LANES <= columns {
                    lanes.store(at);
                } else {
                    lanes.store_part(at, columns - first);
                }
            }
        }
    }
}
