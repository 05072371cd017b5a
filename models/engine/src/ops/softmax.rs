//! Softmax and its logarithm over the last dimension, and the binary cross entropy of logits.
//! Shapes: `[.., classes]`. Exactness: a row is computed by itself; its largest value is taken away first, exponentials
//! come from `crate::math`, sums run class after class.
//! Errors: Candle's. NaN passes.

use super::sums::rounded;
use super::tensors::{Binary, Made, Unary, View, binary, unary};
use crate::isa::Isa;
use crate::lanes::{LANES, Lanes, instances};
use crate::math::{self, vector};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

/// Rows of one task at least.
const ROWS: usize = 256;

/// Exponentials that add up to 1 over the last dimension.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    unary(x, Softmax { isa: Isa::current() })
}

/// The logarithm of the softmax, without the loss of precision of taking it afterwards.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    unary(x, LogSoftmax { isa: Isa::current() })
}

/// The mean over all values of `-t ln p - (1 - t) ln (1 - p)` with `p = sigmoid(x)`: finite for every finite logit.
/// `targets` have `logits`' shape; they get no gradient.
pub fn binary_cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    binary(logits, &targets.detach(), BinaryCrossEntropy)
}

pub(crate) struct Softmax {
    pub(crate) isa: Isa,
}

struct LogSoftmax {
    isa: Isa,
}

struct BinaryCrossEntropy;

/// Classes of a row.
fn classes(name: &str, x: View<'_>) -> Result<usize> {
    match x.dims.last() {
        Some(&classes) if !x.values.is_empty() => Ok(classes),
        _ => bail!("{name}: input {:?} is empty", x.dims),
    }
}

/// The row less its largest value; NaN anywhere makes every value NaN.
fn lowered(row: &mut [f32]) {
    let top = row.iter().fold(f32::NEG_INFINITY, |top, &v| if v > top || v.is_nan() { v } else { top });
    row.iter_mut().for_each(|v| *v -= top);
}

fn chain(row: &[f32]) -> f32 {
    row.iter().fold(0.0, |sum, v| sum + v)
}

/// Each row of the result from the row of `a` and that of `b`.
fn by_rows(a: &[f32], b: &[f32], classes: usize, row: impl Fn(&mut [f32], &[f32], &[f32]) + Sync) -> Vec<f32> {
    let mut made = vec![0.0; a.len()];
    let rows = made.par_chunks_exact_mut(classes).with_min_len(ROWS);
    rows.zip(a.par_chunks_exact(classes)).zip(b.par_chunks_exact(classes)).for_each(|((to, a), b)| row(to, a, b));
    made
}

impl Unary for Softmax {
    const NAME: &'static str = "softmax";

    fn forward(&self, x: View<'_>) -> Result<Made> {
        let classes = classes(Self::NAME, x)?;
        let row = |to: &mut [f32], x: &[f32], _: &[f32]| {
            to.copy_from_slice(x);
            lowered(to);
            exp_kernel(self.isa, to);
            let total = chain(to);
            to.iter_mut().for_each(|v| *v /= total);
        };
        Ok((by_rows(x.values, x.values, classes, row), x.dims.to_vec()))
    }

    fn backward(&self, _x: View<'_>, y: View<'_>, g: View<'_>) -> Result<Vec<f32>> {
        let classes = classes(Self::NAME, y)?;
        Ok(by_rows(y.values, g.values, classes, |to, y, g| {
            let inner = y.iter().zip(g).fold(0.0, |sum, (y, g)| sum + y * g);
            to.iter_mut().zip(y).zip(g).for_each(|((to, y), g)| *to = y * (g - inner));
        }))
    }
}

impl Unary for LogSoftmax {
    const NAME: &'static str = "log softmax";

    fn forward(&self, x: View<'_>) -> Result<Made> {
        let classes = classes(Self::NAME, x)?;
        let row = |to: &mut [f32], x: &[f32], _: &[f32]| {
            to.copy_from_slice(x);
            lowered(to);
            let mut powers = to.to_vec();
            exp_kernel(self.isa, &mut powers);
            let total = rounded(libm::log(f64::from(chain(&powers))));
            to.iter_mut().for_each(|v| *v -= total);
        };
        Ok((by_rows(x.values, x.values, classes, row), x.dims.to_vec()))
    }

    fn backward(&self, _x: View<'_>, y: View<'_>, g: View<'_>) -> Result<Vec<f32>> {
        let classes = classes(Self::NAME, y)?;
        Ok(by_rows(y.values, g.values, classes, |to, y, g| {
            to.copy_from_slice(y);
            exp_kernel(self.isa, to);
            let total = chain(g);
            to.iter_mut().zip(g).for_each(|(to, g)| *to = g - *to * total);
        }))
    }
}

impl Binary for BinaryCrossEntropy {
    const NAME: &'static str = "binary cross entropy";

    #[expect(clippy::cast_precision_loss, reason = "a batch has fewer than 2^52 values")]
    fn forward(&self, x: View<'_>, t: View<'_>) -> Result<Made> {
        if x.dims != t.dims || x.values.is_empty() {
            bail!("{}: logits {:?} do not fit targets {:?}", Self::NAME, x.dims, t.dims)
        }
        let mut total = 0.0;
        for (x, t) in x.values.iter().zip(t.values) {
            let (x, t) = (f64::from(*x), f64::from(*t));
            let above = if 0.0 > x { 0.0 } else { x };
            total += above - x * t + libm::log1p(libm::exp(-x.abs()));
        }
        Ok((vec![rounded(total / x.values.len() as f64)], Vec::new()))
    }

    #[expect(clippy::cast_precision_loss, reason = "a batch has fewer than 2^52 values")]
    fn backward(&self, x: View<'_>, t: View<'_>, g: View<'_>, _: [bool; 2]) -> Result<[Option<Vec<f32>>; 2]> {
        let share = g.values.iter().fold(0.0, |_, g| f64::from(*g)) / x.values.len() as f64;
        let share = rounded(share);
        let each = x.values.iter().zip(t.values).map(|(x, t)| (math::sigmoid(*x) - t) * share);
        Ok([Some(each.collect()), None])
    }
}

instances! {
    /// The exponential of every value, in place.
    exp_kernel = exp_body(values: &mut [f32])
}

/// # Safety
/// The processor has `V`'s instructions.
#[inline(always)]
unsafe fn exp_body<V: Lanes, const M: usize, const B: usize>(values: &mut [f32]) {
    for part in values.chunks_mut(LANES) {
        // SAFETY: a part load and store touch the values that the part has.
        unsafe { vector::exp(V::load_part(part.as_ptr(), part.len())).store_part(part.as_mut_ptr(), part.len()) }
    }
}
