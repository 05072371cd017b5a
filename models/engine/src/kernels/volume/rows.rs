//! Functions of each value, maximum under a window, and softmax, a row at a time.
//! Rules: those of `graph::plain`, to the bit.
//! Errors: none.

use super::spread;
use crate::graph::Activation;
use crate::lanes::{LANES, Lanes, instances};
use crate::math::vector::{activate, softmax as softmax_of};

/// A function of one value, or of two at the same place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Each {
    Activation(Activation),
    Add,
    Subtract,
    Multiply,
    /// `a · by`.
    Scale(f32),
    /// `factor · a + offset`.
    Norm(f32, f32),
}

#[inline(always)]
unsafe fn store<V: Lanes>(v: V, at: *mut f32, count: usize) {
    // SAFETY: the caller vouches for `count` writable values, or sixteen.
    unsafe { if count >= LANES { v.store(at) } else { v.store_part(at, count) } }
}

#[inline(always)]
unsafe fn load<V: Lanes>(at: *const f32, count: usize) -> V {
    // SAFETY: the caller vouches for `count` readable values, or sixteen.
    unsafe { if count >= LANES { V::load(at) } else { V::load_part(at, count) } }
}

#[inline(always)]
unsafe fn each_body<V: Lanes, const R: usize, const N: usize>(
    what: Each,
    a: *const f32,
    b: *const f32,
    y: *mut f32,
    columns: usize,
) {
    // SAFETY: the caller vouches for `columns` values and the instructions; parts are loaded as parts.
    unsafe {
        for at in (0..columns).step_by(LANES) {
            let count = (columns - at).min(LANES);
            let v: V = load(a.add(at), count);
            let v = match what {
                Each::Activation(kind) => activate(kind, v),
                Each::Add => v.add(load(b.add(at), count)),
                Each::Subtract => v.sub(load(b.add(at), count)),
                Each::Multiply => v.mul(load(b.add(at), count)),
                Each::Scale(by) => v.mul(V::splat(by)),
                Each::Norm(factor, offset) => V::splat(factor).fma(v, V::splat(offset)),
            };
            store(v, y.add(at), count);
        }
    }
}
instances!(each_instance = each_body(what: Each, a: *const f32, b: *const f32, y: *mut f32, columns: usize));

/// Applies `what` to a row.
///
/// # Safety
/// `columns` values are readable at `a`, and at `b` where `what` takes two, and writable at `y`.
pub(crate) unsafe fn each(isa: crate::isa::Isa, what: Each, a: *const f32, b: *const f32, y: *mut f32, columns: usize) {
    each_instance(isa, what, a, b, y, columns);
}

/// One row of maxima.
#[derive(Clone, Copy)]
pub(crate) struct Pooled<'a> {
    /// Input row offsets of the window's rows that lie in the image, in order.
    pub(crate) rows: &'a [usize],
    pub(crate) x: *const f32,
    /// Input columns.
    pub(crate) length: usize,
    /// Taps, step and padding along columns.
    pub(crate) width: usize,
    pub(crate) step: usize,
    pub(crate) before: usize,
    pub(crate) y: *mut f32,
    pub(crate) columns: usize,
}

/// The larger; the first of equals; NaN above all.
#[inline(always)]
unsafe fn larger<V: Lanes>(best: V, v: V) -> V {
    // SAFETY: the caller vouches for the instructions.
    unsafe { v.if_nan(v, v.if_greater(best, v, best)) }
}

#[inline(always)]
unsafe fn pool_body<V: Lanes, const R: usize, const N: usize>(a: &Pooled<'_>) {
    let inside = |column: usize, tap: usize| (column * a.step + tap).checked_sub(a.before).filter(|&at| at < a.length);
    let mut column = 0;
    while column < a.columns {
        let count = (a.columns - column).min(LANES);
        let last = column + count - 1;
        // SAFETY: the caller vouches for the rows; every column read is inside.
        unsafe {
            let mut best: Option<V> = None;
            if inside(column, 0).is_some() && inside(last, a.width - 1).is_some() {
                for &row in a.rows {
                    for tap in 0..a.width {
                        let v = spread(a.x.add(row + column * a.step + tap - a.before), a.step, count);
                        best = Some(if let Some(best) = best { larger(best, v) } else { v });
                    }
                }
                if let Some(best) = best {
                    store(best, a.y.add(column), count);
                }
                column += count;
                continue;
            }
            let mut one: Option<[f32; 1]> = None;
            for &row in a.rows {
                for at in (0..a.width).filter_map(|tap| inside(column, tap)) {
                    let v = [a.x.add(row + at).read()];
                    one = Some(one.map_or(v, |best| larger(best, v)));
                }
            }
            a.y.add(column).write(one.map_or(0.0, |[best]| best));
            column += 1;
        }
    }
}
instances!(pool_instance = pool_body(a: &Pooled<'_>));

/// Computes a row of maxima.
///
/// # Safety
/// The addresses hold what [`Pooled`] says, and nobody else touches the output row.
pub(crate) unsafe fn pool(isa: crate::isa::Isa, a: &Pooled<'_>) {
    pool_instance(isa, a);
}

/// A row of every channel.
#[derive(Clone, Copy)]
pub(crate) struct Channels {
    pub(crate) x: *const f32,
    pub(crate) x_channel: usize,
    pub(crate) y: *mut f32,
    pub(crate) y_channel: usize,
    pub(crate) channels: usize,
    pub(crate) columns: usize,
    /// Sixteen values a channel.
    pub(crate) scratch: *mut f32,
}

#[inline(always)]
unsafe fn softmax_body<V: Lanes, const R: usize, const N: usize>(a: &Channels) {
    for at in (0..a.columns).step_by(LANES) {
        let count = (a.columns - at).min(LANES);
        // SAFETY: the caller vouches for the addresses and the instructions.
        unsafe {
            for channel in 0..a.channels {
                let x = V::load_part(a.x.add(channel * a.x_channel + at), count);
                x.store(a.scratch.add(channel * LANES));
            }
            softmax_of::<V>(a.scratch, a.channels);
            for channel in 0..a.channels {
                let y = V::load(a.scratch.add(channel * LANES));
                store(y, a.y.add(channel * a.y_channel + at), count);
            }
        }
    }
}
instances!(softmax_instance = softmax_body(a: &Channels));

/// Softmax over the channels of a row.
///
/// # Safety
/// The addresses hold what [`Channels`] says, and nobody else touches the output row and the scratch.
pub(crate) unsafe fn softmax(isa: crate::isa::Isa, a: &Channels) {
    softmax_instance(isa, a);
}
