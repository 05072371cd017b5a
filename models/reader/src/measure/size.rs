//! The size of a pixel and of a voxel in the patient: the key without which no physical measure can be made.
//! Units: millimetres. Oblique and slanted axes are kept: lengths are taken by the axes' own vectors.
//! Errors: [`MeasureError`] where a spacing is missing, or is one at the detector or on a film.

use vidimus_imaging::{Millimetre, Spacing, SpacingSource, geometry::Affine};

use super::MeasureError;

/// The vectors from one pixel of a plane to the next, down the rows and along them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelSize {
    /// Products of the two vectors: down by down, down by along, along by along.
    gram: [f64; 3],
}

impl PixelSize {
    /// From the spacing of an image. One at the detector is larger than in the patient and is refused, as is a film's.
    pub fn of(spacing: Option<&Spacing>) -> Result<Self, MeasureError> {
        let spacing = spacing.ok_or(MeasureError::NoSpacing)?;
        match spacing.source {
            SpacingSource::PixelSpacing => Ok(Self::new(spacing.row_mm, spacing.column_mm)),
            SpacingSource::ImagerPixelSpacing => {
                Err(MeasureError::NotInPatient { attribute: "Imager Pixel Spacing (0018,1164)" })
            }
            SpacingSource::NominalScannedPixelSpacing => {
                Err(MeasureError::NotInPatient { attribute: "Nominal Scanned Pixel Spacing (0018,2010)" })
            }
        }
    }

    /// Rows this far apart, and columns.
    #[must_use]
    pub fn new(row: Millimetre, column: Millimetre) -> Self {
        Self { gram: [row.value() * row.value(), 0.0, column.value() * column.value()] }
    }

    fn of_vectors(down: [f64; 3], along: [f64; 3]) -> Self {
        Self { gram: [dot(down, down), dot(down, along), dot(along, along)] }
    }

    /// Area of a pixel in mm2.
    pub(super) fn area(&self) -> f64 {
        let [a, b, c] = self.gram;
        (a * c - b * b).max(0.0).sqrt()
    }

    /// Length of a step of so many rows and columns.
    pub(super) fn length(&self, [down, along]: [f64; 2]) -> f64 {
        let [a, b, c] = self.gram;
        (a * down * down + 2.0 * b * down * along + c * along * along).max(0.0).sqrt()
    }

    /// Angle of a step within the plane, from 0 to pi: its two ways count as one.
    pub(super) fn angle(&self, [down, along]: [f64; 2]) -> f64 {
        let [a, b, c] = self.gram;
        // the first axis along `along`, the second at a right angle to it
        let right = along * c.sqrt() + down * b / c.sqrt();
        let up = down * (a - b * b / c).max(0.0).sqrt();
        let angle = libm::atan2(up, right);
        if angle < 0.0 { angle + std::f64::consts::PI } else { angle }
    }
}

/// The vectors from one voxel to the next along each axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VoxelSize {
    axes: [[f64; 3]; 3],
}

impl VoxelSize {
    /// From a volume's affine (its fourth column, the place, is of no account).
    pub fn of(affine: &Affine) -> Result<Self, MeasureError> {
        let axes = [0, 1, 2].map(|axis| affine.0.map(|row| row[axis]));
        let size = Self { axes };
        let sound = axes.iter().flatten().all(|value| value.is_finite()) && size.volume() > 0.0;
        if sound { Ok(size) } else { Err(MeasureError::Size) }
    }

    /// Voxels with axes at right angles.
    #[must_use]
    pub fn new(lengths: [Millimetre; 3]) -> Self {
        let [a, b, c] = lengths.map(Millimetre::value);
        Self { axes: [[a, 0.0, 0.0], [0.0, b, 0.0], [0.0, 0.0, c]] }
    }

    /// The pixels of slices across `axis`: the lower of the other two axes runs down, the higher along.
    #[must_use]
    pub fn across(&self, axis: usize) -> PixelSize {
        let [a, b, c] = self.axes;
        match axis {
            0 => PixelSize::of_vectors(b, c),
            1 => PixelSize::of_vectors(a, c),
            _ => PixelSize::of_vectors(a, b),
        }
    }

    /// Volume of a voxel in mm3.
    pub(super) fn volume(&self) -> f64 {
        let [a, b, c] = self.axes;
        let cross = [b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]];
        dot(a, cross).abs()
    }

    /// The step of so many voxels along each axis, in millimetres.
    pub(super) fn step(&self, by: [f64; 3]) -> [f64; 3] {
        [0, 1, 2].map(|n| self.axes.iter().zip(by).map(|(axis, by)| axis[n] * by).sum())
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
