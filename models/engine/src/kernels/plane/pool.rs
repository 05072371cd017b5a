//! Pools of one channel block. A maximum is the first of equals in row-major order, and NaN wins; a mean is the sum in
//! row-major order times the rounded reciprocal of its count.

use super::{Clip, raw_instances};
use crate::lanes::{LANES, Lanes};

/// `if candidate beats best { candidate } else { best }`: NaN stays, NaN wins, else the greater, and `best` of equals.
///
/// # Safety
/// The processor has `V`'s instructions.
#[inline(always)]
unsafe fn winner<V: Lanes>(best: V, candidate: V) -> V {
    // SAFETY: as this function's.
    unsafe {
        let greater = candidate.if_greater(best, candidate, best);
        best.if_nan(best, candidate.if_nan(candidate, greater))
    }
}

raw_instances! {
    /// The maximum of `rows` by `columns` values from `x` on.
    maximum = maximum_body(x: *const f32, x_row: usize, rows: usize, columns: usize, out: *mut f32)
}

/// # Safety
/// The processor has `V`'s instructions; the window is readable, `out` writable; the window is not empty.
#[inline(always)]
unsafe fn maximum_body<V: Lanes, const W: usize>(
    x: *const f32,
    x_row: usize,
    rows: usize,
    columns: usize,
    out: *mut f32,
) {
    // SAFETY: as this function's.
    unsafe {
        let mut best = V::load(x);
        for row in 0..rows {
            for column in 0..columns {
                best = winner(best, V::load(x.add(row * x_row + column * LANES)));
            }
        }
        best.store(out);
    }
}

raw_instances! {
    /// The sum of `rows` by `columns` values from `x` on, each first by factor, offset and clip where there is a
    /// factor, times `share`.
    mean = mean_body(
        x: *const f32, x_row: usize, rows: usize, columns: usize, prepared: &Prepared, share: f32, out: *mut f32,
    )
}

/// What is done to a value before it is added up or multiplied: factor and offset (null: nothing at all), then a clip.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prepared {
    pub(crate) factor: *const f32,
    pub(crate) offset: *const f32,
    pub(crate) clip: Clip,
}

impl Prepared {
    pub(crate) const NONE: Self = Self { factor: std::ptr::null(), offset: std::ptr::null(), clip: Clip::None };
}

/// # Safety
/// The processor has `V`'s instructions; the window and the preparation's values are readable, `out` writable.
#[inline(always)]
unsafe fn mean_body<V: Lanes, const W: usize>(
    x: *const f32,
    x_row: usize,
    rows: usize,
    columns: usize,
    prepared: &Prepared,
    share: f32,
    out: *mut f32,
) {
    // SAFETY: as this function's.
    unsafe {
        let mut sum = V::splat(0.0);
        if prepared.factor.is_null() {
            for row in 0..rows {
                for column in 0..columns {
                    sum = sum.add(V::load(x.add(row * x_row + column * LANES)));
                }
            }
        } else {
            let (factor, offset) = (V::load(prepared.factor), V::load(prepared.offset));
            for row in 0..rows {
                for column in 0..columns {
                    let v = V::load(x.add(row * x_row + column * LANES)).fma(factor, offset);
                    sum = sum.add(prepared.clip.apply(v));
                }
            }
        }
        sum.mul(V::splat(share)).store(out);
    }
}

raw_instances! {
    /// `count` values by factor, offset and clip.
    prepare = prepare_body(x: *const f32, prepared: &Prepared, out: *mut f32, count: usize)
}

/// # Safety
/// The processor has `V`'s instructions; operands are readable, `out` writable.
#[inline(always)]
unsafe fn prepare_body<V: Lanes, const W: usize>(x: *const f32, prepared: &Prepared, out: *mut f32, count: usize) {
    // SAFETY: as this function's.
    unsafe {
        let (factor, offset) = (V::load(prepared.factor), V::load(prepared.offset));
        for at in 0..count {
            let v = V::load(x.add(at * LANES)).fma(factor, offset);
            prepared.clip.apply(v).store(out.add(at * LANES));
        }
    }
}

raw_instances! {
    /// The means of `count` neighbouring 2x2 windows, 2 columns apart, of prepared values.
    prepare_means = prepare_means_body(x: *const f32, x_row: usize, prepared: &Prepared, out: *mut f32, count: usize)
}

/// # Safety
/// The processor has `V`'s instructions; operands are readable, `out` writable.
#[inline(always)]
unsafe fn prepare_means_body<V: Lanes, const W: usize>(
    x: *const f32,
    x_row: usize,
    prepared: &Prepared,
    out: *mut f32,
    count: usize,
) {
    // SAFETY: as this function's.
    unsafe {
        let quarter = V::splat(0.25);
        let (factor, offset) = (V::load(prepared.factor), V::load(prepared.offset));
        for at in 0..count {
            let x = x.add(at * 2 * LANES);
            let mut sum = V::splat(0.0);
            for place in [0, LANES, x_row, x_row + LANES] {
                sum = sum.add(prepared.clip.apply(V::load(x.add(place)).fma(factor, offset)));
            }
            sum.mul(quarter).store(out.add(at * LANES));
        }
    }
}
