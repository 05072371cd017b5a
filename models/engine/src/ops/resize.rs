//! Upsampling by whole factors, nearest or linear, of planes and volumes.
//! Shapes: maps `[N, (D,) H, W, C]` to `[N, (fd D,) fr H, fc W, C]`.
//! The rule: an output is the sum over its at most eight neighbours, in row-major order, of value times share; shares
//! are products of the axes' shares in f64, rounded once. The gradient sends the same shares back, in the outputs'
//! order.
//! Errors: Candle's, with the shapes.

use super::map::Map;
use super::sums::rounded;
use super::tensors::{Made, Unary, View, unary};
use crate::graph::{Extent, Upsampling, plain::stretch};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

/// The map made larger by `factor` along depth, rows and columns.
pub fn upsample(x: &Tensor, factor: Extent, mode: Upsampling) -> Result<Tensor> {
    unary(x, Upsample { factor, mode })
}

pub(crate) struct Upsample {
    pub(crate) factor: Extent,
    pub(crate) mode: Upsampling,
}

impl Upsample {
    fn maps(&self, x: View<'_>) -> Result<(Map, Map)> {
        let map = Map::of(Self::NAME, x.dims)?;
        if self.factor.contains(&0) {
            bail!("{}: factor {:?} of {:?}: none may be zero", Self::NAME, self.factor, x.dims)
        }
        let [depth, rows, columns] = map.extent;
        let extent = [depth * self.factor[0], rows * self.factor[1], columns * self.factor[2]];
        Ok((map, map.with(extent, map.channels)))
    }

    /// Calls `each(output pixel, input pixel, share)` in order.
    fn shares(&self, from: Extent, to: Extent, mut each: impl FnMut(usize, usize, f32)) {
        let ends = |axis: usize, at: usize| {
            let (first, second, t) = stretch(from[axis], self.factor[axis], self.mode, at);
            [(first, 1.0 - t), (second, t)]
        };
        let ends: [Vec<[(usize, f64); 2]>; 3] = [0, 1, 2].map(|axis| (0..to[axis]).map(|at| ends(axis, at)).collect());
        let mut out = 0;
        for depth in &ends[0] {
            for rows in &ends[1] {
                for columns in &ends[2] {
                    for (d, dw) in depth {
                        for (r, rw) in rows {
                            for (c, cw) in columns {
                                if dw * rw * cw > 0.0 {
                                    each(out, (d * from[1] + r) * from[2] + c, rounded(dw * rw * cw));
                                }
                            }
                        }
                    }
                    out += 1;
                }
            }
        }
    }
}

impl Unary for Upsample {
    const NAME: &'static str = "upsampling";

    fn forward(&self, x: View<'_>) -> Result<Made> {
        let (from, to) = self.maps(x)?;
        let mut y = vec![0.0; to.len()];
        y.par_chunks_exact_mut(to.image()).zip(x.values.par_chunks_exact(from.image())).for_each(|(y, x)| {
            self.shares(from.extent, to.extent, |out, place, share| {
                let y = y[out * to.channels..].iter_mut().zip(&x[place * to.channels..][..to.channels]);
                y.for_each(|(y, x)| *y += x * share);
            });
        });
        Ok((y, to.dims()))
    }

    fn backward(&self, x: View<'_>, _y: View<'_>, g: View<'_>) -> Result<Vec<f32>> {
        let (from, to) = self.maps(x)?;
        let mut made = vec![0.0; from.len()];
        made.par_chunks_exact_mut(from.image()).zip(g.values.par_chunks_exact(to.image())).for_each(|(made, g)| {
            self.shares(from.extent, to.extent, |out, place, share| {
                let made = made[place * to.channels..].iter_mut().zip(&g[out * to.channels..][..to.channels]);
                made.for_each(|(made, g)| *made += g * share);
            });
        });
        Ok(made)
    }
}
