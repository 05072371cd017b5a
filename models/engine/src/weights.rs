//! Gradient of a matrix under [`crate::product`]: `gradient[o][i] = Σ_images Σ_rows g[row][o] · x[row][i]`.
//! Shapes: `g` is `[images, rows, outputs]`, `x` `[images, rows, inputs]`, the gradient `[outputs, inputs]`.
//! The rule of one element: for each image one chain of fused multiply-adds over its rows, from zero; the images'
//! sums are then added in order. Threads divide outputs, never rows.
//! Errors: none; lengths are asserted once a call.

use crate::isa::Isa;
use crate::lanes::{LANES, Lanes, instances};
use rayon::prelude::*;

/// Outputs of one task; a multiple of both register tiles' heights.
const OUTPUTS_PER_TASK: usize = 24;

/// What a task reads.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'a> {
    pub(crate) g: &'a [f32],
    pub(crate) x: &'a [f32],
    pub(crate) images: usize,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
}

/// The gradient of the `[outputs, inputs]` matrix.
pub(crate) fn matrix_gradient(isa: Isa, pair: Pair<'_>) -> Vec<f32> {
    let Pair { g, x, images, outputs, inputs } = pair;
    assert_eq!(g.len() * inputs, x.len() * outputs, "g and x have as many rows");
    assert!(images > 0 && g.len() % (images * outputs) == 0, "whole images");
    let mut gradient = vec![0.0; outputs * inputs];
    gradient
        .par_chunks_mut(OUTPUTS_PER_TASK * inputs)
        .enumerate()
        .for_each(|(task, out)| gradient_kernel(isa, pair, task * OUTPUTS_PER_TASK, out));
    gradient
}

instances! {
    /// One task of [`matrix_gradient`]: `out` are whole rows of the gradient from output `first` on.
    gradient_kernel = gradient_body(pair: Pair<'_>, first: usize, out: &mut [f32])
}

/// # Safety
/// The processor has `V`'s instructions; lengths as [`matrix_gradient`] asserts them.
#[inline(always)]
unsafe fn gradient_body<V: Lanes, const M: usize, const B: usize>(pair: Pair<'_>, first: usize, out: &mut [f32]) {
    let inputs = pair.inputs;
    for image in 0..pair.images {
        let mut input = 0;
        while input < inputs {
            // SAFETY: `B` or one whole blocks, or the part that is left, lie within `inputs`.
            unsafe {
                if input + B * LANES <= inputs {
                    outputs::<V, M, B, false>(pair, image, first, input, out);
                    input += B * LANES;
                } else if input + LANES <= inputs {
                    outputs::<V, M, 1, false>(pair, image, first, input, out);
                    input += LANES;
                } else {
                    outputs::<V, M, 1, true>(pair, image, first, input, out);
                    input = inputs;
                }
            }
        }
    }
}

/// All outputs of the task over one strip of inputs.
///
/// # Safety
/// As [`gradient_body`]; the strip lies within the inputs (`PART`: its last block ends at the last input).
#[inline(always)]
unsafe fn outputs<V: Lanes, const M: usize, const B: usize, const PART: bool>(
    pair: Pair<'_>,
    image: usize,
    first: usize,
    input: usize,
    out: &mut [f32],
) {
    let count = out.len() / pair.inputs;
    let mut output = 0;
    // SAFETY: each tile's outputs are within `count`, which the caller cut from the gradient at `first`.
    unsafe {
        while output + M <= count {
            tile::<V, M, B, PART>(pair, image, first, output, input, out);
            output += M;
        }
        while output + 4 <= count {
            tile::<V, 4, B, PART>(pair, image, first, output, input, out);
            output += 4;
        }
        while output < count {
            tile::<V, 1, B, PART>(pair, image, first, output, input, out);
            output += 1;
        }
    }
}

/// `M` outputs by `B` blocks of inputs, held in registers along one image's rows, then added to `out`.
///
/// # Safety
/// As [`outputs`], and `output + M` is at most the task's outputs.
#[inline(always)]
unsafe fn tile<V: Lanes, const M: usize, const B: usize, const PART: bool>(
    pair: Pair<'_>,
    image: usize,
    first: usize,
    output: usize,
    input: usize,
    out: &mut [f32],
) {
    let rows = pair.g.len() / (pair.images * pair.outputs);
    let part = pair.inputs - input;
    // SAFETY: `g` and `x` hold `images * rows` rows of `outputs` and `inputs`; `first + output + M <= outputs`; the
    // strip ends within `inputs`, its last block by a part load where `PART`; `out` holds `output + M` rows.
    unsafe {
        let g = pair.g.as_ptr().add(image * rows * pair.outputs + first + output);
        let x = pair.x.as_ptr().add(image * rows * pair.inputs + input);
        let mut sums = [[V::splat(0.0); B]; M];
        for row in 0..rows {
            let mut lanes = [V::splat(0.0); B];
            for (b, lane) in lanes.iter_mut().enumerate() {
                let at = x.add(row * pair.inputs + b * LANES);
                *lane = if PART { V::load_part(at, part) } else { V::load(at) };
            }
            for (m, sum) in sums.iter_mut().enumerate() {
                let value = V::splat(g.add(row * pair.outputs + m).read());
                for b in 0..B {
                    sum[b] = value.fma(lanes[b], sum[b]);
                }
            }
        }
        for (m, sum) in sums.iter().enumerate() {
            for (b, &lanes) in sum.iter().enumerate() {
                let at = out.as_mut_ptr().add((output + m) * pair.inputs + input + b * LANES);
                if PART {
                    V::load_part(at, part).add(lanes).store_part(at, part);
                } else {
                    V::load(at).add(lanes).store(at);
                }
            }
        }
    }
}
