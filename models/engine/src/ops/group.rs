//! Norms within one image: over groups of channels, over the channels of each pixel, over the space of each channel.
//! Shapes: maps `[N, (D,) H, W, C]`; scale and shift `[C]`, for the norm over space `[D, H, W]`.
//! The rule: mean and variance of a set in f64 over its values in memory order (two passes), `(x - mean) · spread` in
//! f32, then one product and one addition. Gradients add up in f64: within an image in memory order, then image by
//! image.
//! Errors: Candle's, with the shapes. NaN passes within its set.

use super::map::Map;
use super::sums::rounded;
use super::tensors::{Made, Ternary, View, ternary};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

/// Each of `groups` groups of channels to mean 0 and variance 1 over group and space, then scaled and shifted by
/// channel.
pub fn group_norm(x: &Tensor, [scale, shift]: [&Tensor; 2], groups: usize, epsilon: f64) -> Result<Tensor> {
    ternary(x, scale, shift, Inner { groups: Some(groups), epsilon })
}

/// Each row of the last dimension to mean 0 and variance 1, then scaled and shifted.
pub fn layer_norm(x: &Tensor, [scale, shift]: [&Tensor; 2], epsilon: f64) -> Result<Tensor> {
    let features = x.dims().last().copied().unwrap_or_default();
    let rows = x.elem_count() / features.max(1);
    let y = ternary(&x.reshape((rows, 1, 1, features))?, scale, shift, Inner { groups: Some(1), epsilon })?;
    y.reshape(x.shape())
}

/// Each channel to mean 0 and variance 1 over its space, then scaled and shifted by position.
pub fn space_norm(x: &Tensor, [scale, shift]: [&Tensor; 2], epsilon: f64) -> Result<Tensor> {
    ternary(x, scale, shift, Inner { groups: None, epsilon })
}

/// Without groups: a norm over space, whose weights are by position.
pub(crate) struct Inner {
    pub(crate) groups: Option<usize>,
    pub(crate) epsilon: f64,
}

/// The sets of one image.
#[derive(Clone, Copy)]
struct Sets {
    map: Map,
    groups: usize,
    by_position: bool,
    epsilon: f64,
}

impl Inner {
    fn sets(&self, [x, scale, shift]: [View<'_>; 3]) -> Result<Sets> {
        let map = Map::of(Self::NAME, x.dims)?;
        let groups = self.groups.unwrap_or(map.channels);
        let weights = if self.groups.is_some() { map.channels } else { map.space() };
        let fits = scale.values.len() == weights && scale.dims == shift.dims;
        if groups == 0 || !map.channels.is_multiple_of(groups) || !fits {
            let (x, scale, shift) = (x.dims, scale.dims, shift.dims);
            bail!("{}: {x:?} in {groups} groups does not fit scale {scale:?} and shift {shift:?}", Self::NAME)
        }
        Ok(Sets { map, groups, by_position: self.groups.is_none(), epsilon: self.epsilon })
    }
}

impl Sets {
    /// Places of a set in its image, with their place in scale and shift.
    fn places(self, group: usize) -> impl Iterator<Item = (usize, usize)> {
        let (channels, width) = (self.map.channels, self.map.channels / self.groups);
        (0..self.map.space()).flat_map(move |pixel| {
            let channels = (group * width..(group + 1) * width).map(move |c| (pixel * channels + c, c));
            channels.map(move |(at, c)| (at, if self.by_position { pixel } else { c }))
        })
    }

    /// Mean, and `1 / sqrt(variance + epsilon)`.
    #[expect(clippy::cast_precision_loss, reason = "an image has fewer than 2^52 values")]
    fn moments(self, x: &[f32], group: usize) -> (f64, f64) {
        let count = (x.len() / self.groups) as f64;
        let mean = self.places(group).fold(0.0, |sum, (at, _)| sum + f64::from(x[at])) / count;
        let square = |at: usize| (f64::from(x[at]) - mean) * (f64::from(x[at]) - mean);
        let variance = self.places(group).fold(0.0, |sum, (at, _)| sum + square(at)) / count;
        (mean, 1.0 / (variance + self.epsilon).sqrt())
    }

    fn forward(self, x: &[f32], scale: &[f32], shift: &[f32], y: &mut [f32]) {
        for group in 0..self.groups {
            let (mean, spread) = self.moments(x, group);
            let (mean, spread) = (rounded(mean), rounded(spread));
            for (at, weight) in self.places(group) {
                y[at] = (x[at] - mean) * spread * scale[weight] + shift[weight];
            }
        }
    }

    /// Writes the input's gradient; returns those of scale and shift.
    #[expect(clippy::cast_precision_loss, reason = "an image has fewer than 2^52 values")]
    fn backward(self, x: &[f32], g: &[f32], scale: &[f32], dx: &mut [f32]) -> [Vec<f64>; 2] {
        let mut sums = [vec![0.0f64; scale.len()], vec![0.0f64; scale.len()]];
        let count = (x.len() / self.groups) as f64;
        for group in 0..self.groups {
            let (mean, spread) = self.moments(x, group);
            let unit = |at: usize| (f64::from(x[at]) - mean) * spread;
            let (mut level, mut slope) = (0.0, 0.0);
            for (at, weight) in self.places(group) {
                let g = f64::from(g[at]);
                sums[0][weight] += g * unit(at);
                sums[1][weight] += g;
                level += g * f64::from(scale[weight]);
                slope += g * f64::from(scale[weight]) * unit(at);
            }
            for (at, weight) in self.places(group) {
                let g = f64::from(g[at]) * f64::from(scale[weight]);
                dx[at] = rounded(spread * (g - level / count - unit(at) * slope / count));
            }
        }
        sums
    }
}

impl Ternary for Inner {
    const NAME: &'static str = "norm within an image";

    fn forward(&self, arguments: [View<'_>; 3]) -> Result<Made> {
        let sets = self.sets(arguments)?;
        let [x, scale, shift] = arguments;
        let mut y = vec![0.0; x.values.len()];
        let images = y.par_chunks_exact_mut(sets.map.image()).zip(x.values.par_chunks_exact(sets.map.image()));
        images.for_each(|(y, x)| sets.forward(x, scale.values, shift.values, y));
        Ok((y, x.dims.to_vec()))
    }

    fn backward(&self, arguments: [View<'_>; 3], g: View<'_>, wanted: [bool; 3]) -> Result<[Option<Vec<f32>>; 3]> {
        let sets = self.sets(arguments)?;
        let [x, scale, _] = arguments;
        let image = sets.map.image();
        let mut dx = vec![0.0; x.values.len()];
        let images = dx.par_chunks_exact_mut(image).zip(x.values.par_chunks_exact(image));
        let images = images.zip(g.values.par_chunks_exact(image));
        let sums: Vec<[Vec<f64>; 2]> = images.map(|((dx, x), g)| sets.backward(x, g, scale.values, dx)).collect();
        let total = |which: usize| -> Vec<f32> {
            let mut total = vec![0.0f64; scale.values.len()];
            for image in &sums {
                total.iter_mut().zip(&image[which]).for_each(|(total, sum)| *total += sum);
            }
            total.into_iter().map(rounded).collect()
        };
        Ok([wanted[0].then_some(dx), wanted[1].then(|| total(0)), wanted[2].then(|| total(1))])
    }
}
