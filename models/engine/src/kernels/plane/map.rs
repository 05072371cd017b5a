//! Functions of each value: one operation of one or two vectors, then a clip.
//! Errors: none. What needs a function call (exponentials and friends) goes lane by lane through `graph::plain`.

use super::{Clip, raw_instances};
use crate::lanes::{LANES, Lanes};

/// What is done to each value `a` (and `b`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Each {
    /// `a`.
    Same,
    /// `a + b`.
    Add,
    /// `a - b`.
    Subtract,
    /// `a · b`.
    Multiply,
    /// `a ·` the first channel of `b`.
    MultiplyFirst,
    /// `a ·` this.
    Scale(f32),
    /// `fma(a, factor, offset)` by channel.
    Affine,
    /// `factor · a` by channel.
    Factor,
    /// `if 0 > a { a · this } else { a }`.
    Leaky(f32),
    /// `b ·` (1 where `0 < a`, else 0).
    ReluSlope,
    /// `b ·` (1 where `0 < a < 6`, else 0).
    Relu6Slope,
    /// `b ·` (1 where `0 < a`, else this).
    LeakySlope(f32),
}

/// Where a row's operands lie; all have their columns 16 floats apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) a: *const f32,
    /// Null where the operation has one operand.
    pub(crate) b: *const f32,
    /// By channel, null where the operation has none.
    pub(crate) factor: *const f32,
    pub(crate) offset: *const f32,
    pub(crate) out: *mut f32,
    pub(crate) columns: usize,
    pub(crate) clip: Clip,
}

raw_instances! {
    /// One row of one channel block.
    row = row_body(each: Each, row: &Row)
}

/// # Safety
/// The processor has `V`'s instructions; the operands that `each` needs are readable, the row is writable.
#[inline(always)]
unsafe fn row_body<V: Lanes, const W: usize>(each: Each, row: &Row) {
    // SAFETY: as this function's.
    unsafe {
        let (zero, one, six) = (V::splat(0.0), V::splat(1.0), V::splat(6.0));
        let b = |at: usize| V::load(row.b.add(at * LANES));
        match each {
            Each::Same => run::<V>(row, |a, _| a),
            Each::Add => run::<V>(row, |a, at| a.add(b(at))),
            Each::Subtract => run::<V>(row, |a, at| a.sub(b(at))),
            Each::Multiply => run::<V>(row, |a, at| a.mul(b(at))),
            Each::MultiplyFirst => run::<V>(row, |a, at| a.mul(V::splat(*row.b.add(at * LANES)))),
            Each::Scale(by) => run::<V>(row, |a, _| a.mul(V::splat(by))),
            Each::Affine => {
                let (factor, offset) = (V::load(row.factor), V::load(row.offset));
                run::<V>(row, |a, _| a.fma(factor, offset));
            }
            Each::Factor => {
                let factor = V::load(row.factor);
                run::<V>(row, |a, _| factor.mul(a));
            }
            Each::Leaky(slope) => run::<V>(row, |a, _| zero.if_greater(a, a.mul(V::splat(slope)), a)),
            Each::ReluSlope => run::<V>(row, |a, at| b(at).mul(a.if_greater(zero, one, zero))),
            Each::Relu6Slope => {
                run::<V>(row, |a, at| b(at).mul(a.if_greater(zero, six.if_greater(a, one, zero), zero)))
            }
            Each::LeakySlope(slope) => run::<V>(row, |a, at| b(at).mul(a.if_greater(zero, one, V::splat(slope)))),
        }
    }
}

/// # Safety
/// As [`row_body`]'s.
#[inline(always)]
unsafe fn run<V: Lanes>(row: &Row, each: impl Fn(V, usize) -> V) {
    for at in 0..row.columns {
        // SAFETY: as this function's.
        unsafe { row.clip.apply(each(V::load(row.a.add(at * LANES)), at)).store(row.out.add(at * LANES)) };
    }
}
