//! Areas and volumes from a map of probabilities, whose softness says how sure the outline is.
//! Model: one threshold, uniform from 0 to 1 and the same for all pixels, decides which of them belong. The measure is
//! that of the mask at 0.5, the middle of the distribution; the interval runs from the mask at 0.975 to that at 0.025.
//! Pixels that were taken as independent would give far too narrow an interval, as neighbours err together.
//! The probabilities must be calibrated for the interval to hold. Units: mm2, mm3.
//! Errors: [`MeasureError::NoProbability`].

use super::{
    MeasureError, PixelSize, VoxelSize,
    unit::{Measured, Model, Spread, Unit},
};

/// Area where the probability is above one half.
pub fn likely_area(probabilities: &[f32], size: &PixelSize) -> Result<Measured, MeasureError> {
    likely(probabilities, size.area(), Unit::Area)
}

/// Volume where the probability is above one half.
pub fn likely_volume(probabilities: &[f32], size: &VoxelSize) -> Result<Measured, MeasureError> {
    likely(probabilities, size.volume(), Unit::Volume)
}

fn likely(probabilities: &[f32], each: f64, unit: Unit) -> Result<Measured, MeasureError> {
    if let Some(place) = probabilities.iter().position(|value| !(0.0..=1.0).contains(value)) {
        return Err(MeasureError::NoProbability { place });
    }
    let above = |threshold: f32| probabilities.iter().filter(|value| **value > threshold).count() as f64;
    let value = above(0.5);
    let mut sorted: Vec<f32> = probabilities.iter().copied().filter(|value| *value > 0.0).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    // with N pixels inside at a threshold, N squared is the sum of the first N odd numbers
    let (mut mean, mut square) = (0.0, 0.0);
    for (at, value) in sorted.into_iter().enumerate() {
        mean += f64::from(value);
        square += (2 * at + 1) as f64 * f64::from(value);
    }
    let standard = (square - 2.0 * value * mean + value * value).max(0.0).sqrt();
    let spread = Spread {
        standard: standard * each,
        low: above(0.975) * each,
        high: above(0.025) * each,
        model: Model::ThresholdTogether,
    };
    Ok(Measured::with(value * each, unit, spread))
}
