//! Measures of what a mask or a contour shows: areas, volumes, diameters, ejection fractions, with uncertainty.
//!
//! A physical measure can only be asked for with a [`PixelSize`] or a [`VoxelSize`], and those come only from a spacing
//! in the patient: without one there are counts and shares, and no millimetres. Units are UCUM's.
//! Shapes: planes are `[rows, columns]`, row by row; volumes as [`vidimus_imaging::Volume`] (first axis slowest).
//! Errors: [`MeasureError`] names what is missing and what to do; no value of a patient stands in it.
//! Source: Cauchy and Crofton for lengths and surfaces; JCGM 100 (GUM) for the propagation of uncertainty.

mod boundary;
mod chamber;
mod contour;
mod error;
mod likely;
mod mask;
mod plane;
mod size;
mod solid;
mod unit;

pub use boundary::Boundary;
pub use chamber::{Section, ejection_fraction, slice_distance, stroke_volume, summed_volume};
pub use contour::Contour;
pub use error::MeasureError;
pub use likely::{likely_area, likely_volume};
pub use mask::{PlaneMask, SolidMask};
pub use plane::{area, diameter_equivalent, diameter_longest, diameter_shortest};
pub use size::{PixelSize, VoxelSize};
pub use solid::{SliceDiameter, diameter_of_equal_ball, longest_in_slices, share, volume};
pub use unit::{Measured, Model, Spread, Unit};
