//! What keeps a measure from being made. Nothing of a patient stands in a message.

use vidimus_imaging::geometry::SeriesFault;

use super::Unit;

/// A measure cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The image says nothing of its pixels' size.
    #[error(
        "Pixel Spacing (0028,0030) is missing: no millimetres without it; give an image with spacing, or ask for shares"
    )]
    NoSpacing,
    /// The spacing is not that in the patient.
    #[error("{attribute} is no spacing in the patient; calibrate, so that Pixel Spacing (0028,0030) is given")]
    NotInPatient {
        /// The attribute that gave it.
        attribute: &'static str,
    },
    /// A size that is zero, not finite, or flat.
    #[error("size of a pixel or voxel: expected lengths above zero along independent directions")]
    Size,
    /// Values that do not fill their shape.
    #[error("mask: expected {expected} values for its shape, found {found}")]
    Shape {
        /// What the shape needs.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// Nothing is inside, so there is no diameter.
    #[error("mask: nothing is inside; a diameter needs at least one pixel")]
    Empty,
    /// A polygon that encloses nothing, or has points that are no numbers.
    #[error("contour: expected at least 3 finite points around an area, found {found} points")]
    Contour {
        /// How many points were given.
        found: usize,
    },
    /// A value of a probability map is no probability.
    #[error("probability map: expected values from 0 to 1, found another at place {place}")]
    NoProbability {
        /// Index of the value.
        place: usize,
    },
    /// A measure of another kind.
    #[error("measure: expected one in {expected}, found one in {found}")]
    Unit {
        /// What is needed, in UCUM.
        expected: Unit,
        /// What was given.
        found: Unit,
    },
    /// The volume at the end of filling is zero, or smaller than that at the end of emptying.
    #[error(
        "ejection fraction: the end-diastolic volume must be above zero and not below the end-systolic; check the phases"
    )]
    Phases,
    /// A correlation outside of -1 to 1.
    #[error("correlation: expected -1 to 1, found {found}")]
    Correlation {
        /// What was given.
        found: f64,
    },
    /// Slices that are no even stack: their sum would be no volume.
    #[error("slices: {0}")]
    Series(#[from] SeriesFault),
}
