//! Direct convolution of one output row, up to six output channels at a time.
//! Rule of an element: bias, then for each input channel, kernel depth, kernel row, kernel column: `a = fma(w, x, a)`;
//! taps outside in depth and rows are left out, those outside along columns read stored zeros; then the activation.
//! Registers: six channels times four vectors (AVX-512), times one pair (AVX2).
//! Errors: none.

use super::spread;
use crate::graph::Activation;
use crate::lanes::{LANES, Lanes, instances};
use crate::math::vector::activate;

/// One output row of one block of output channels.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    /// Input at output column 0, first channel, before the taps' offsets.
    pub(crate) x: *const f32,
    /// Distance of input channels.
    pub(crate) x_channel: usize,
    /// Input channels.
    pub(crate) inputs: usize,
    /// Offset of each row of taps that lies in the image, and its place in the kernel.
    pub(crate) taps: &'a [(isize, usize)],
    /// Rows of taps in the kernel.
    pub(crate) area: usize,
    /// Taps along a row, and their distance.
    pub(crate) width: usize,
    pub(crate) dilation: usize,
    /// Distance of the inputs of neighbouring outputs.
    pub(crate) step: usize,
    /// `[input, row of taps, tap, output of the block]`.
    pub(crate) weights: *const f32,
    /// One an output of the block; null for none.
    pub(crate) bias: *const f32,
    /// Output channels of the block, 1..=6.
    pub(crate) outputs: usize,
    /// Output at column 0, first channel of the block.
    pub(crate) y: *mut f32,
    /// Distance of output channels.
    pub(crate) y_channel: usize,
    /// Output columns.
    pub(crate) columns: usize,
    pub(crate) activation: Option<Activation>,
}

/// `G` channels of `NV` vectors from column `q`; `KW` taps along the row, 0 for any number and any step.
#[inline(always)]
unsafe fn tile<V: Lanes, const G: usize, const NV: usize, const KW: usize>(a: &Row<'_>, q: usize) {
    // SAFETY: the caller of the kernel vouches for the addresses and the instructions.
    unsafe {
        let mut sums = [[V::splat(0.0); NV]; G];
        if !a.bias.is_null() {
            for (g, sums) in sums.iter_mut().enumerate() {
                *sums = [V::splat(*a.bias.add(g)); NV];
            }
        }
        let width = if KW == 0 { a.width } else { KW };
        let x = a.x.add(q * a.step);
        for input in 0..a.inputs {
            let x = x.add(input * a.x_channel);
            let w = a.weights.add(input * a.area * width * G);
            for &(offset, row) in a.taps {
                let x = x.offset(offset);
                let w = w.add(row * width * G);
                for tap in 0..width {
                    let mut values = [V::splat(0.0); NV];
                    for (v, value) in values.iter_mut().enumerate() {
                        let ahead = if KW == 0 { v * LANES * a.step } else { v * LANES };
                        let at = x.add(tap * a.dilation + ahead);
                        *value = if KW != 0 || a.step == 1 {
                            V::load(at)
                        } else {
                            spread(at, a.step, (a.columns - q - v * LANES).min(LANES))
                        };
                    }
                    for (g, sums) in sums.iter_mut().enumerate() {
                        let weight = V::splat(*w.add(tap * G + g));
                        for (sum, value) in sums.iter_mut().zip(values) {
                            *sum = weight.fma(value, *sum);
                        }
                    }
                }
            }
        }
        for (g, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                let y = if let Some(kind) = a.activation { activate(kind, *sum) } else { *sum };
                let from = q + v * LANES;
                let at = a.y.add(g * a.y_channel + from);
                if a.columns - from >= LANES { y.store(at) } else { y.store_part(at, a.columns - from) }
            }
        }
    }
}

/// A row of `G` channels; `N` is 2 where there are registers for four vectors.
#[inline(always)]
unsafe fn block<V: Lanes, const N: usize, const G: usize, const KW: usize>(a: &Row<'_>) {
    let vectors = a.columns.div_ceil(LANES);
    let mut done = 0;
    while done < vectors {
        // SAFETY: the caller vouches; every tile begins before the row's end.
        unsafe {
            match vectors - done {
                4.. if N == 2 => {
                    tile::<V, G, 4, KW>(a, done * LANES);
                    done += 4;
                }
                2.. if N == 2 => {
                    tile::<V, G, 2, KW>(a, done * LANES);
                    done += 2;
                }
                _ => {
                    tile::<V, G, 1, KW>(a, done * LANES);
                    done += 1;
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn channels<V: Lanes, const N: usize, const KW: usize>(a: &Row<'_>) {
    // SAFETY: the caller vouches.
    unsafe {
        match a.outputs {
            1 => block::<V, N, 1, KW>(a),
            2 => block::<V, N, 2, KW>(a),
            3 => block::<V, N, 3, KW>(a),
            4 => block::<V, N, 4, KW>(a),
            5 => block::<V, N, 5, KW>(a),
            _ => block::<V, N, 6, KW>(a),
        }
    }
}

/// One row; see [`Row`].
///
/// # Safety
/// The addresses hold what [`Row`] says; the processor has the vector's instructions.
#[inline(always)]
pub(crate) unsafe fn row<V: Lanes, const R: usize, const N: usize>(a: &Row<'_>) {
    // SAFETY: the caller vouches.
    unsafe {
        match (a.width, a.step) {
            (3, 1) => channels::<V, N, 3>(a),
            (1, 1) => channels::<V, N, 1>(a),
            _ => channels::<V, N, 0>(a),
        }
    }
}

instances!(instance = row(a: &Row<'_>));

/// Computes a row.
///
/// # Safety
/// The addresses hold what [`Row`] says: the input's rows with padding, [`super::SLACK`] floats behind the buffer,
/// whole weights, and output rows that nobody else touches.
pub(crate) unsafe fn run(isa: crate::isa::Isa, a: &Row<'_>) {
    instance(isa, a);
}
