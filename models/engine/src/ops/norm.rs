//! Batch norm: with frozen statistics, and with those of the batch, ReLU fused with it.
//! Shapes: `[.., C]`, all leading dimensions counted as pixels; scale, shift and statistics `[C]`.
//! The rule: pixels are cut into blocks of 256. A block's sum, and its squares about its own mean, are f32 chains a
//! channel; blocks are put together in f64, in order (Chan, Golub and LeVeque 1979). A value is `(x - mean) · s +
//! shift` with `s = scale / sqrt(variance + epsilon)` computed in f64 and rounded once. The gradient's two sums go
//! block by block as well.
//! Errors: Candle's, with the shapes. NaN passes, also through the ReLU.

use super::buffers::take;
use super::sums::{BLOCK, channel_sums, rounded};
use super::tensors::{Made, Ternary, View, ternary};
use crate::isa::Isa;
use crate::lanes::{LANES, Lanes, instances};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;
use std::sync::{Arc, OnceLock};

/// Blocks of pixels that one task takes at least.
const BLOCKS_PER_TASK: usize = 4;

/// What a batch norm found in its batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchStatistics {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Variance of each channel, divided by the count: what the norm uses.
    pub variance: Vec<f32>,
    /// Values of a channel.
    pub count: usize,
}

impl BatchStatistics {
    /// The variance divided by the count less one, as PyTorch adds it to the running one.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a batch has fewer than 2^52 values")]
    pub fn variance_unbiased(&self) -> Vec<f32> {
        let factor = self.count as f64 / (self.count.max(2) - 1) as f64;
        self.variance.iter().map(|&v| rounded(f64::from(v) * factor)).collect()
    }
}

/// Batch norm with frozen `mean` and `variance`, which get no gradient.
pub fn batch_norm(
    x: &Tensor,
    [scale, shift]: [&Tensor; 2],
    [mean, variance]: [&Tensor; 2],
    epsilon: f64,
) -> Result<Tensor> {
    let (mean, variance) = (mean.to_vec1()?, variance.to_vec1()?);
    if mean.len() != scale.elem_count() || variance.len() != scale.elem_count() {
        bail!("batch norm: {} means and {} variances for {:?}", mean.len(), variance.len(), scale.dims())
    }
    ternary(x, scale, shift, Frozen(Norm { mean, variance, epsilon, isa: Isa::current(), relu: false }))
}

/// Batch norm with the statistics of this batch, which are returned with the value.
pub fn batch_norm_training(
    x: &Tensor,
    [scale, shift]: [&Tensor; 2],
    epsilon: f64,
    follow: Follow,
) -> Result<(Tensor, BatchStatistics)> {
    let found = Arc::new(OnceLock::new());
    let op = Training { epsilon, relu: follow == Follow::Relu, isa: Isa::current(), found: Arc::clone(&found) };
    let y = ternary(x, scale, shift, op)?;
    match found.get() {
        Some(found) => Ok((y, found.clone())),
        None => bail!("batch norm: no statistics of {:?}", x.dims()),
    }
}

/// What follows a norm in the same pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Nothing.
    Nothing,
    /// `max(x, 0)`.
    Relu,
}

pub(crate) struct Frozen(pub(crate) Norm);

pub(crate) struct Training {
    pub(crate) epsilon: f64,
    pub(crate) relu: bool,
    pub(crate) isa: Isa,
    pub(crate) found: Arc<OnceLock<BatchStatistics>>,
}

/// A norm whose statistics are known.
pub(crate) struct Norm {
    pub(crate) mean: Vec<f32>,
    pub(crate) variance: Vec<f32>,
    pub(crate) epsilon: f64,
    pub(crate) isa: Isa,
    pub(crate) relu: bool,
}

/// Channels of `x`, which scale and shift must have.
fn channels(name: &str, [x, scale, shift]: [View<'_>; 3]) -> Result<usize> {
    match x.dims.last() {
        Some(&channels) if !x.values.is_empty() && scale.dims == [channels] && shift.dims == [channels] => Ok(channels),
        _ => bail!("{name}: input {:?} does not fit scale {:?} and shift {:?}", x.dims, scale.dims, shift.dims),
    }
}

/// Mean and variance of each channel of `x`.
#[expect(clippy::cast_precision_loss, reason = "a batch has fewer than 2^52 values")]
pub(super) fn statistics(isa: Isa, x: &[f32], channels: usize) -> BatchStatistics {
    let blocks: Vec<(usize, Vec<f32>)> = x
        .par_chunks(BLOCK * channels)
        .with_min_len(BLOCKS_PER_TASK)
        .map(|block| {
            let mut sums = vec![0.0; 2 * channels];
            moments_kernel(isa, block, channels, &mut sums);
            (block.len() / channels, sums)
        })
        .collect();
    let (mut mean, mut squares, mut count) = (vec![0.0f64; channels], vec![0.0f64; channels], 0.0);
    for (pixels, sums) in &blocks {
        let pixels = *pixels as f64;
        let all = count + pixels;
        for c in 0..channels {
            let away = f64::from(sums[c]) / pixels - mean[c];
            mean[c] += away * pixels / all;
            squares[c] += f64::from(sums[channels + c]) + away * away * count * pixels / all;
        }
        count = all;
    }
    let variance = squares.into_iter().map(|square| rounded(square / count)).collect();
    BatchStatistics { mean: mean.into_iter().map(rounded).collect(), variance, count: x.len() / channels }
}

impl Norm {
    /// `1 / sqrt(variance + epsilon)`.
    fn spread(&self) -> Vec<f64> {
        self.variance.iter().map(|&v| 1.0 / (f64::from(v) + self.epsilon).sqrt()).collect()
    }

    fn factors(&self, scale: &[f32]) -> Vec<f32> {
        self.spread().iter().zip(scale).map(|(spread, &scale)| rounded(spread * f64::from(scale))).collect()
    }

    /// The normalised values.
    pub(super) fn apply(&self, x: &[f32], scale: &[f32], shift: &[f32]) -> Vec<f32> {
        let factors = self.factors(scale);
        let channel = Channel { mean: &self.mean, factor: &factors, shift, relu: self.relu };
        let mut y = take(x.len());
        let length = BLOCK * scale.len();
        let pairs = y.par_chunks_mut(length).zip(x.par_chunks(length)).with_min_len(BLOCKS_PER_TASK);
        pairs.for_each(|(y, x)| apply_kernel(self.isa, x, channel, y));
        y
    }

    /// The gradients of scale and shift, unrounded: sums over all pixels.
    fn sums(&self, x: &[f32], g: &[f32], scale: &[f32], shift: &[f32]) -> [Vec<f64>; 2] {
        let factors = self.factors(scale);
        let channels = scale.len();
        let channel = Channel { mean: &self.mean, factor: &factors, shift, relu: self.relu };
        let length = BLOCK * channels;
        let pairs = x.par_chunks(length).zip(g.par_chunks(length)).with_min_len(BLOCKS_PER_TASK);
        let sums = |(x, g)| {
            let mut sums = vec![0.0; 2 * channels];
            gradient_kernel(self.isa, x, g, channel, &mut sums);
            sums
        };
        let blocks: Vec<Vec<f32>> = pairs.map(sums).collect();
        let mut total = [vec![0.0f64; channels], vec![0.0f64; channels]];
        for sums in &blocks {
            for (total, sums) in total.iter_mut().zip(sums.chunks_exact(channels)) {
                total.iter_mut().zip(sums).for_each(|(total, sum)| *total += f64::from(*sum));
            }
        }
        for (total, spread) in total[0].iter_mut().zip(self.spread()) {
            *total *= spread;
        }
        total
    }

    /// The gradients of input, scale and shift where the statistics are the batch's own.
    #[expect(clippy::cast_precision_loss, reason = "a batch has fewer than 2^52 values")]
    pub(super) fn gradients(
        &self,
        x: &[f32],
        g: &[f32],
        [scale, shift]: [&[f32]; 2],
        for_x: bool,
    ) -> [Option<Vec<f32>>; 3] {
        let [for_scale, for_shift] = self.sums(x, g, scale, shift);
        let factors = self.factors(scale);
        let share = scale.len() as f64 / x.len() as f64;
        let level: Vec<f32> = for_shift.iter().map(|sum| rounded(sum * share)).collect();
        let slope = for_scale.iter().zip(self.spread()).map(|(sum, spread)| rounded(sum * spread * share));
        let slope: Vec<f32> = slope.collect();
        let dx = for_x.then(|| {
            let channel = Channel { mean: &self.mean, factor: &factors, shift, relu: self.relu };
            let mut dx = take(x.len());
            let length = BLOCK * scale.len();
            let pairs = dx.par_chunks_mut(length).zip(x.par_chunks(length)).zip(g.par_chunks(length));
            let pairs = pairs.with_min_len(BLOCKS_PER_TASK);
            pairs.for_each(|((dx, x), g)| back_kernel(self.isa, (x, g), channel, (&level, &slope), dx));
            dx
        });
        let rounded = |sums: Vec<f64>| Some(sums.into_iter().map(rounded).collect());
        [dx, rounded(for_scale), rounded(for_shift)]
    }
}

impl Ternary for Frozen {
    const NAME: &'static str = "batch norm";

    fn forward(&self, arguments: [View<'_>; 3]) -> Result<Made> {
        channels(Self::NAME, arguments)?;
        let [x, scale, shift] = arguments;
        Ok((self.0.apply(x.values, scale.values, shift.values), x.dims.to_vec()))
    }

    fn backward(&self, arguments: [View<'_>; 3], g: View<'_>, wanted: [bool; 3]) -> Result<[Option<Vec<f32>>; 3]> {
        let channels = channels(Self::NAME, arguments)?;
        let [x, scale, shift] = arguments;
        let factors = self.0.factors(scale.values);
        let for_x = wanted[0].then(|| {
            let each = g.values.par_chunks_exact(channels).with_min_len(BLOCK);
            each.flat_map_iter(|g| g.iter().zip(&factors).map(|(g, factor)| g * factor)).collect()
        });
        let for_scale = wanted[1].then(|| {
            let [for_scale, _] = self.0.sums(x.values, g.values, scale.values, shift.values);
            for_scale.into_iter().map(rounded).collect()
        });
        Ok([for_x, for_scale, wanted[2].then(|| channel_sums(g.values, 1, channels))])
    }
}

impl Training {
    fn norm(&self) -> Result<Norm> {
        let Some(found) = self.found.get() else { bail!("{}: run forward first", Self::NAME) };
        let (mean, variance) = (found.mean.clone(), found.variance.clone());
        Ok(Norm { mean, variance, epsilon: self.epsilon, isa: self.isa, relu: self.relu })
    }
}

impl Ternary for Training {
    const NAME: &'static str = "batch norm of the batch";

    fn forward(&self, arguments: [View<'_>; 3]) -> Result<Made> {
        let channels = channels(Self::NAME, arguments)?;
        let [x, scale, shift] = arguments;
        self.found.get_or_init(|| statistics(self.isa, x.values, channels));
        Ok((self.norm()?.apply(x.values, scale.values, shift.values), x.dims.to_vec()))
    }

    fn backward(&self, arguments: [View<'_>; 3], g: View<'_>, wanted: [bool; 3]) -> Result<[Option<Vec<f32>>; 3]> {
        let [x, scale, shift] = arguments;
        let [dx, dscale, dshift] = self.norm()?.gradients(x.values, g.values, [scale.values, shift.values], wanted[0]);
        Ok([dx, dscale.filter(|_| wanted[1]), dshift.filter(|_| wanted[2])])
    }
}

/// What a value of a channel is made with.
#[derive(Clone, Copy)]
struct Channel<'a> {
    mean: &'a [f32],
    factor: &'a [f32],
    shift: &'a [f32],
    relu: bool,
}

/// Sixteen channels of a block of pixels: loads and stores that stay within the channels.
#[derive(Clone, Copy)]
struct Strip {
    first: usize,
    channels: usize,
}

impl Strip {
    fn all(channels: usize) -> impl Iterator<Item = Self> {
        (0..channels).step_by(LANES).map(move |first| Self { first, channels })
    }

    fn count(self) -> usize {
        LANES.min(self.channels - self.first)
    }

    /// # Safety
    /// The processor has `V`'s instructions; pixel `pixel` lies within `values`.
    #[inline(always)]
    unsafe fn load<V: Lanes>(self, values: &[f32], pixel: usize) -> V {
        // SAFETY: the strip's channels lie within the pixel; a part load reads only those that exist.
        unsafe {
            let at = values.as_ptr().add(pixel * self.channels + self.first);
            if self.count() == LANES { V::load(at) } else { V::load_part(at, self.count()) }
        }
    }

    /// # Safety
    /// As [`Self::load`].
    #[inline(always)]
    unsafe fn store<V: Lanes>(self, lanes: V, values: &mut [f32], pixel: usize) {
        // SAFETY: as in `load`.
        unsafe {
            let at = values.as_mut_ptr().add(pixel * self.channels + self.first);
            if self.count() == LANES { lanes.store(at) } else { lanes.store_part(at, self.count()) }
        }
    }
}

instances! {
    /// Sums, then squares about the block's mean, of a block's channels.
    moments_kernel = moments_body(x: &[f32], channels: usize, sums: &mut [f32])
}

/// # Safety
/// The processor has `V`'s instructions; `x` is whole pixels, `sums` two of them.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "a block has at most 256 pixels")]
unsafe fn moments_body<V: Lanes, const M: usize, const B: usize>(x: &[f32], channels: usize, sums: &mut [f32]) {
    let pixels = x.len() / channels;
    for strip in Strip::all(channels) {
        // SAFETY: pixels run within `x`, and `sums` holds two pixels.
        unsafe {
            let mut sum = V::splat(0.0);
            for pixel in 0..pixels {
                sum = sum.add(strip.load::<V>(x, pixel));
            }
            let mean = sum.mul(V::splat(1.0 / pixels as f32));
            let mut squares = V::splat(0.0);
            for pixel in 0..pixels {
                let away = strip.load::<V>(x, pixel).sub(mean);
                squares = away.fma(away, squares);
            }
            strip.store(sum, sums, 0);
            strip.store(squares, sums, 1);
        }
    }
}

instances! {
    /// The normalised values of a block.
    apply_kernel = apply_body(x: &[f32], channel: Channel<'_>, y: &mut [f32])
}

/// # Safety
/// The processor has `V`'s instructions; `x` and `y` are as many whole pixels of the channels.
#[inline(always)]
unsafe fn apply_body<V: Lanes, const M: usize, const B: usize>(x: &[f32], channel: Channel<'_>, y: &mut [f32]) {
    let channels = channel.mean.len();
    for strip in Strip::all(channels) {
        // SAFETY: pixels run within `x` and `y`; the channel's vectors are one pixel each.
        unsafe {
            let (mean, factor) = (strip.load::<V>(channel.mean, 0), strip.load::<V>(channel.factor, 0));
            let shift = strip.load::<V>(channel.shift, 0);
            for pixel in 0..x.len() / channels {
                let value = strip.load::<V>(x, pixel).sub(mean).fma(factor, shift);
                strip.store(if channel.relu { value.relu() } else { value }, y, pixel);
            }
        }
    }
}

/// The gradient that passes the ReLU, if there is one, and `x - mean`.
///
/// # Safety
/// The processor has `V`'s instructions; the pixel lies within `x` and `g`.
#[inline(always)]
unsafe fn passed<V: Lanes>(
    strip: Strip,
    (x, g): (&[f32], &[f32]),
    channel: Channel<'_>,
    lanes: [V; 3],
    pixel: usize,
) -> [V; 2] {
    let [mean, factor, shift] = lanes;
    // SAFETY: the caller vouches for instructions and pixel.
    unsafe {
        let away = strip.load::<V>(x, pixel).sub(mean);
        let g = strip.load::<V>(g, pixel);
        let zero = V::splat(0.0);
        [away, if channel.relu { away.fma(factor, shift).if_greater(zero, g, zero) } else { g }]
    }
}

instances! {
    /// Sums of `g · (x - mean)`, then of `g`, over a block.
    gradient_kernel = gradient_body(x: &[f32], g: &[f32], channel: Channel<'_>, sums: &mut [f32])
}

/// # Safety
/// As [`apply_body`]; `sums` holds two pixels.
#[inline(always)]
unsafe fn gradient_body<V: Lanes, const M: usize, const B: usize>(
    x: &[f32],
    g: &[f32],
    channel: Channel<'_>,
    sums: &mut [f32],
) {
    let channels = channel.mean.len();
    for strip in Strip::all(channels) {
        // SAFETY: pixels run within `x` and `g`; the channel's vectors are one pixel each.
        unsafe {
            let lanes = [channel.mean, channel.factor, channel.shift].map(|values| strip.load::<V>(values, 0));
            let (mut slope, mut level) = (V::splat(0.0), V::splat(0.0));
            for pixel in 0..x.len() / channels {
                let [away, g] = passed(strip, (x, g), channel, lanes, pixel);
                slope = g.fma(away, slope);
                level = level.add(g);
            }
            strip.store(slope, sums, 0);
            strip.store(level, sums, 1);
        }
    }
}

instances! {
    /// `factor · (g - level - (x - mean) · slope)` over a block.
    back_kernel = back_body(
        pair: (&[f32], &[f32]), channel: Channel<'_>, sums: (&[f32], &[f32]), dx: &mut [f32],
    )
}

/// # Safety
/// As [`gradient_body`]; `dx` has the length of `x`, the sums that of a pixel.
#[inline(always)]
unsafe fn back_body<V: Lanes, const M: usize, const B: usize>(
    pair: (&[f32], &[f32]),
    channel: Channel<'_>,
    (level, slope): (&[f32], &[f32]),
    dx: &mut [f32],
) {
    let channels = channel.mean.len();
    for strip in Strip::all(channels) {
        // SAFETY: pixels run within `x`, `g` and `dx`; the channel's vectors and the sums are one pixel each.
        unsafe {
            let lanes = [channel.mean, channel.factor, channel.shift].map(|values| strip.load::<V>(values, 0));
            let (level, slope) = (strip.load::<V>(level, 0), strip.load::<V>(slope, 0));
            for pixel in 0..dx.len() / channels {
                let [away, g] = passed(strip, pair, channel, lanes, pixel);
                let value = g.sub(level).sub(away.mul(slope)).mul(lanes[1]);
                strip.store(value, dx, pixel);
            }
        }
    }
}
