//! Volumes of a mask, and its longest diameter within slices.
//! Units: mm3, mm, %. Errors: [`MeasureError::Empty`] for a diameter of nothing; a volume of nothing is zero.

use super::{
    Boundary, MeasureError, SolidMask, VoxelSize,
    boundary::surface,
    plane::diameter_longest,
    unit::{Measured, Model, Spread, Unit},
};

/// Volume of a mask.
#[must_use]
pub fn volume(mask: &SolidMask, size: &VoxelSize, boundary: Boundary) -> Measured {
    let value = mask.count() as f64 * size.volume();
    let standard = surface(mask, size) * boundary.in_solid(size);
    Measured::normal(value, Unit::Volume, standard, Model::OutlineTogether)
}

/// Diameter of the ball with the mask's volume.
pub fn diameter_of_equal_ball(mask: &SolidMask, size: &VoxelSize, by: Boundary) -> Result<Measured, MeasureError> {
    if mask.count() == 0 {
        return Err(MeasureError::Empty);
    }
    let volume = volume(mask, size, by);
    let diameter = libm::cbrt(6.0 * volume.value() / std::f64::consts::PI);
    let standard = volume.spread().standard * diameter / (3.0 * volume.value());
    Ok(Measured::normal(diameter, Unit::Length, standard, Model::OutlineTogether))
}

/// A diameter and the slice that it was found in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SliceDiameter {
    /// Index of the slice in the volume.
    pub slice: usize,
    /// The diameter.
    pub diameter: Measured,
}

/// The longest diameter within a slice across `axis`; of equal ones the first.
pub fn longest_in_slices(
    mask: &SolidMask,
    axis: usize,
    size: &VoxelSize,
    boundary: Boundary,
) -> Result<SliceDiameter, MeasureError> {
    let pixel = size.across(axis);
    let mut best: Option<SliceDiameter> = None;
    for (slice, plane) in mask.slices(axis) {
        if plane.count() == 0 {
            continue;
        }
        let diameter = diameter_longest(&plane, &pixel, boundary)?;
        if best.is_none_or(|best| diameter.value() > best.diameter.value()) {
            best = Some(SliceDiameter { slice, diameter });
        }
    }
    best.ok_or(MeasureError::Empty)
}

/// Share of a count in a whole, in per cent: what can be said without a spacing. Nothing is assumed about its error.
pub fn share(part: usize, whole: usize) -> Result<Measured, MeasureError> {
    if whole == 0 {
        return Err(MeasureError::Empty);
    }
    if part > whole {
        return Err(MeasureError::Shape { expected: whole, found: part });
    }
    let value = 100.0 * part as f64 / whole as f64;
    let spread = Spread { standard: 0.0, low: value, high: value, model: Model::NotStated };
    Ok(Measured::with(value, Unit::Percent, spread))
}
