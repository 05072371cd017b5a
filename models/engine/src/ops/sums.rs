//! Sums over pixels, channel by channel, in a fixed order that threads and instruction sets leave alone.
//! Shapes: values `[images, pixels, channels]`.
//! The rule: an image's pixels are cut into blocks of 256; within a block one f32 chain a channel, pixel after pixel;
//! the blocks' sums are added in f64, in order, image after image, and rounded once.
//! Errors: none.

use rayon::prelude::*;

/// Pixels that are summed in f32 before the sum moves to f64.
pub(super) const BLOCK: usize = 256;

/// The sum of each channel.
pub(super) fn channel_sums(values: &[f32], images: usize, channels: usize) -> Vec<f32> {
    let image = values.len() / images;
    let blocks: Vec<Vec<f32>> = values
        .par_chunks_exact(image)
        .flat_map_iter(|image| image.chunks(BLOCK * channels).map(|block| block_sums(block, channels)))
        .collect();
    let mut totals = vec![0.0f64; channels];
    for sums in &blocks {
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total += f64::from(*sum);
        }
    }
    totals.into_iter().map(rounded).collect()
}

/// One chain a channel.
fn block_sums(block: &[f32], channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0; channels];
    for pixel in block.chunks_exact(channels) {
        for (sum, value) in sums.iter_mut().zip(pixel) {
            *sum += value;
        }
    }
    sums
}

/// Rounded to f32.
#[expect(clippy::cast_possible_truncation, reason = "results are f32; the sum is rounded once")]
pub(super) fn rounded(value: f64) -> f32 {
    value as f32
}
