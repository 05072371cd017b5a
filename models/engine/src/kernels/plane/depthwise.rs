//! Depthwise convolution: each channel with its own kernel.
//! The rule of one element: `a = start`, then for each kernel row and column, in that order, `a = fma(w, x, a)`; then
//! [`Ending`]. Zeros of the border take part. Weights: `[kernel row][kernel column][16]`.

use super::{Ending, raw_instances};
use crate::lanes::{LANES, Lanes};

/// Where a row's operands lie. Strides in floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The input under the first tap of the first element.
    pub(crate) x: *const f32,
    pub(crate) weights: *const f32,
    pub(crate) start: *const f32,
    pub(crate) out: *mut f32,
    pub(crate) kernel: [usize; 2],
    pub(crate) x_tap: [usize; 2],
    pub(crate) x_column: usize,
    pub(crate) out_column: usize,
    pub(crate) columns: usize,
    pub(crate) ending: Ending,
}

raw_instances! {
    /// One row of one channel block.
    row = row_body(row: &Row)
}

/// # Safety
/// The processor has `V`'s instructions; operands are readable and the row writable.
#[inline(always)]
unsafe fn row_body<V: Lanes, const W: usize>(row: &Row) {
    let mut column = 0;
    // SAFETY: as this function's; a run ends within the row.
    unsafe {
        while column + W <= row.columns {
            run::<V, W>(row, column);
            column += W;
        }
        while column < row.columns {
            run::<V, 1>(row, column);
            column += 1;
        }
    }
}

/// # Safety
/// As [`row_body`]'s; `C` columns follow `column`.
#[inline(always)]
unsafe fn run<V: Lanes, const C: usize>(row: &Row, column: usize) {
    // SAFETY: as this function's.
    unsafe {
        let x = row.x.add(column * row.x_column);
        let mut sums = [V::load(row.start); C];
        let mut weights = row.weights;
        for i in 0..row.kernel[0] {
            for j in 0..row.kernel[1] {
                let x = x.add(i * row.x_tap[0] + j * row.x_tap[1]);
                let w = V::load(weights);
                weights = weights.add(LANES);
                for (c, sum) in sums.iter_mut().enumerate() {
                    *sum = w.fma(V::load(x.add(c * row.x_column)), *sum);
                }
            }
        }
        for (c, sum) in sums.iter().enumerate() {
            let place = (column + c) * row.out_column;
            row.ending.apply(*sum, 0, place).store(row.out.add(place));
        }
    }
}
