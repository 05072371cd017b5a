//! The product of two maps, one of which may have one channel for all of the other's.
//! Shapes: `[.., C]` and `[.., C]` or `[.., 1]`. The gradient of the one channel is a chain over the channels, in
//! order.
//! Errors: Candle's, with the shapes. Source of the need: Candle adds up a broadcast gradient in an order of its own.

use super::tensors::{Binary, Made, View, binary};
use candle_core::{Result, Tensor, bail};

/// `a · b`.
pub fn multiply(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(a, b, Multiply)
}

pub(crate) struct Multiply;

/// Channels of both and of the result.
fn channels(a: View<'_>, b: View<'_>) -> Result<[usize; 3]> {
    let ends = a.dims.split_last().zip(b.dims.split_last());
    match ends {
        Some(((&a, left), (&b, right))) if left == right && (a == b || a == 1 || b == 1) => Ok([a, b, a.max(b)]),
        _ => bail!("{}: {:?} does not fit {:?}", Multiply::NAME, a.dims, b.dims),
    }
}

/// `g · other` in the shape of the argument with `own` channels.
fn gradient(g: &[f32], other: &[f32], [own, theirs, all]: [usize; 3]) -> Vec<f32> {
    let product = |at: usize| g[at] * other[if theirs == all { at } else { at / all }];
    if own == all {
        return (0..g.len()).map(product).collect();
    }
    (0..g.len() / all).map(|row| (row * all..(row + 1) * all).fold(0.0, |sum, at| sum + product(at))).collect()
}

impl Binary for Multiply {
    const NAME: &'static str = "product";

    fn forward(&self, a: View<'_>, b: View<'_>) -> Result<Made> {
        let [left, right, all] = channels(a, b)?;
        let at = |channels: usize, at: usize| if channels == all { at } else { at / all };
        let length = a.values.len() / left.max(1) * all;
        let y = (0..length).map(|place| a.values[at(left, place)] * b.values[at(right, place)]).collect();
        let mut dims = a.dims.to_vec();
        dims.truncate(dims.len() - 1);
        dims.push(all);
        Ok((y, dims))
    }

    fn backward(&self, a: View<'_>, b: View<'_>, g: View<'_>, wanted: [bool; 2]) -> Result<[Option<Vec<f32>>; 2]> {
        let [left, right, all] = channels(a, b)?;
        Ok([
            wanted[0].then(|| gradient(g.values, b.values, [left, right, all])),
            wanted[1].then(|| gradient(g.values, a.values, [right, left, all])),
        ])
    }
}
