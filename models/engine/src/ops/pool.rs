//! Pooling of planes and volumes: maximum, mean, and the mean over the whole space.
//! Shapes: maps `[N, (D,) H, W, C]`.
//! The rules: padding never wins a maximum and never counts for a mean; the first of equals in row-major order wins; a
//! NaN wins over all. A mean is the sum in row-major order times the rounded reciprocal of the positions in the image.
//! An input's gradient adds up what its windows send, in the windows' order.
//! Errors: Candle's, with the shapes; a window that lies in the padding alone.

use super::map::Map;
use super::sums::{BLOCK, rounded};
use super::tensors::{Made, Unary, View, unary};
use crate::graph::{Axis, Pool};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

/// The largest value under each window.
pub fn max_pool(x: &Tensor, pool: &Pool) -> Result<Tensor> {
    unary(x, MaxPool(*pool))
}

/// The mean of the values under each window that lie in the image.
pub fn mean_pool(x: &Tensor, pool: &Pool) -> Result<Tensor> {
    unary(x, MeanPool(*pool))
}

/// The mean over the space: `[N, (D,) H, W, C]` to `[N, (1,) 1, 1, C]`.
pub fn space_mean(x: &Tensor) -> Result<Tensor> {
    unary(x, SpaceMean)
}

pub(crate) struct MaxPool(pub(crate) Pool);

pub(crate) struct MeanPool(pub(crate) Pool);

pub(crate) struct SpaceMean;

/// A pooled map: where it comes from, its axes, and what it becomes.
fn pooled(name: &str, x: View<'_>, pool: &Pool) -> Result<(Map, [Axis; 3], Map)> {
    let map = Map::of(name, x.dims)?;
    let axes = map.axes(name, &pool.window(), pool.kernel)?;
    let meets = |axis: &Axis| (0..axis.output).all(|out| (0..axis.kernel).any(|t| axis.input_at(out, t).is_some()));
    if !axes.iter().all(meets) {
        bail!("{name}: a window of {pool:?} lies in the padding of {:?} alone", x.dims)
    }
    Ok((map, axes, map.with(axes.map(|axis| axis.output), map.channels)))
}

/// Calls `each(output position, input positions under its window)` in row-major order; positions count pixels.
fn windows(axes: &[Axis; 3], mut each: impl FnMut(usize, &[usize])) {
    fn taps(axis: &Axis, out: usize) -> Vec<usize> {
        (0..axis.kernel).filter_map(|tap| axis.input_at(out, tap)).collect()
    }
    let [depth, rows, columns] = axes;
    let mut places = Vec::new();
    let mut out = 0;
    for d in 0..depth.output {
        for r in 0..rows.output {
            for c in 0..columns.output {
                places.clear();
                for d in taps(depth, d) {
                    for r in taps(rows, r) {
                        places.extend(taps(columns, c).iter().map(|c| (d * rows.input + r) * columns.input + c));
                    }
                }
                each(out, &places);
                out += 1;
            }
        }
    }
}

/// The position that wins for channel `c`.
fn winner(x: &[f32], places: &[usize], channels: usize, c: usize) -> usize {
    let mut best = places[0] * channels + c;
    for place in &places[1..] {
        let at = place * channels + c;
        if !x[best].is_nan() && (x[at] > x[best] || x[at].is_nan()) {
            best = at;
        }
    }
    best
}

/// Runs `image(input image, result image)` over all images.
fn by_image(from: &[f32], length_in: usize, made: usize, image: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let mut all = vec![0.0; from.len() / length_in * made];
    all.par_chunks_exact_mut(made).zip(from.par_chunks_exact(length_in)).for_each(|(to, from)| image(from, to));
    all
}

impl Unary for MaxPool {
    const NAME: &'static str = "max pool";

    fn forward(&self, x: View<'_>) -> Result<Made> {
        let (from, axes, to) = pooled(Self::NAME, x, &self.0)?;
        let channels = from.channels;
        let y = by_image(x.values, from.image(), to.image(), |x, y| {
            windows(&axes, |out, places| {
                for c in 0..channels {
                    y[out * channels + c] = x[winner(x, places, channels, c)];
                }
            });
        });
        Ok((y, to.dims()))
    }

    fn backward(&self, x: View<'_>, _y: View<'_>, g: View<'_>) -> Result<Vec<f32>> {
        let (from, axes, to) = pooled(Self::NAME, x, &self.0)?;
        let channels = from.channels;
        let mut made = vec![0.0; from.len()];
        let images = made.par_chunks_exact_mut(from.image()).zip(x.values.par_chunks_exact(from.image()));
        images.zip(g.values.par_chunks_exact(to.image())).for_each(|((made, x), g)| {
            windows(&axes, |out, places| {
                for c in 0..channels {
                    made[winner(x, places, channels, c)] += g[out * channels + c];
                }
            });
        });
        Ok(made)
    }
}

/// The rounded reciprocal of a count.
#[expect(clippy::cast_precision_loss, reason = "a space has fewer than 2^52 positions")]
fn share(count: usize) -> f32 {
    rounded(1.0 / count as f64)
}

impl Unary for MeanPool {
    const NAME: &'static str = "mean pool";

    fn forward(&self, x: View<'_>) -> Result<Made> {
        let (from, axes, to) = pooled(Self::NAME, x, &self.0)?;
        let channels = from.channels;
        let y = by_image(x.values, from.image(), to.image(), |x, y| {
            windows(&axes, |out, places| {
                let y = &mut y[out * channels..][..channels];
                for place in places {
                    y.iter_mut().zip(&x[place * channels..]).for_each(|(y, x)| *y += x);
                }
                y.iter_mut().for_each(|y| *y *= share(places.len()));
            });
        });
        Ok((y, to.dims()))
    }

    fn backward(&self, x: View<'_>, _y: View<'_>, g: View<'_>) -> Result<Vec<f32>> {
        let (from, axes, to) = pooled(Self::NAME, x, &self.0)?;
        let channels = from.channels;
        Ok(by_image(g.values, to.image(), from.image(), |g, made| {
            windows(&axes, |out, places| {
                for place in places {
                    let made = made[place * channels..].iter_mut().zip(&g[out * channels..][..channels]);
                    made.for_each(|(made, g)| *made += g * share(places.len()));
                }
            });
        }))
    }
}

impl Unary for SpaceMean {
    const NAME: &'static str = "mean over the space";

    fn forward(&self, x: View<'_>) -> Result<Made> {
        let map = Map::of(Self::NAME, x.dims)?;
        let part = f64::from(share(map.space()));
        let y = by_image(x.values, map.image(), map.channels, |x, y| {
            let mut totals = vec![0.0f64; map.channels];
            for block in x.chunks(BLOCK * map.channels) {
                let mut sums = vec![0.0f32; map.channels];
                for pixel in block.chunks_exact(map.channels) {
                    sums.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += v);
                }
                totals.iter_mut().zip(&sums).for_each(|(total, sum)| *total += f64::from(*sum));
            }
            y.iter_mut().zip(totals).for_each(|(y, total)| *y = rounded(total * part));
        });
        Ok((y, map.with([1; 3], map.channels).dims()))
    }

    fn backward(&self, x: View<'_>, _y: View<'_>, g: View<'_>) -> Result<Vec<f32>> {
        let map = Map::of(Self::NAME, x.dims)?;
        let part = share(map.space());
        Ok(by_image(g.values, map.channels, map.image(), |g, made| {
            for pixel in made.chunks_exact_mut(map.channels) {
                pixel.iter_mut().zip(g).for_each(|(made, g)| *made = g * part);
            }
        }))
    }
}
