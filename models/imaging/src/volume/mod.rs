//! Volumes: voxels with their place in the patient, from NIfTI files and DICOM series, resampled and brought back.
//! Shapes: `[ni, nj, nk]` voxels; value `(i, j, k)` lies at `(i * nj + j) * nk + k`, so the first axis of the file is
//! the slowest here, as `numpy` gives it and as networks take it.
//! Units: millimetres in RAS (right, anterior, superior) space, as NIfTI has it; DICOM's LPS is turned at the door.
//! Errors: [`VolumeError`], naming the attribute or header field and what to do.
//! Source: NIfTI-1.1 header; DICOM PS3.3 C.7.6.2; IMAGING.md section 5.

mod components;
mod nifti;
mod resample;
mod series;

pub use nifti::{Nifti, read_nifti, write_nifti};
pub use resample::{Grid, Interpolation};
pub use series::series_volume;

use crate::ImagingError;
use crate::geometry::{Affine, SeriesFault};

/// Voxels of one volume at most: 2^28, which is 1 GiB of f32 and above every clinical volume.
pub const VOXELS_MAX: usize = 1 << 28;

/// A volume that is not taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// A header field.
    #[error("NIfTI header: {field}: expected {expected}, found {found}")]
    Header {
        /// The field.
        field: &'static str,
        /// What is taken in.
        expected: &'static str,
        /// What the file has.
        found: String,
    },
    /// The file is cut short, or unpacks to another length than its header says.
    #[error("NIfTI: {0}")]
    Nifti(String),
    /// A series whose slices make no even stack.
    #[error("series: {0}")]
    Series(#[from] SeriesFault),
    /// Slices that do not belong together.
    #[error("series: {0}")]
    Slices(String),
    /// A file of a series.
    #[error(transparent)]
    Imaging(#[from] ImagingError),
    /// A grid that cannot be made.
    #[error("volume: {0}")]
    Grid(String),
}

/// Voxels and their place in the patient.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// Voxels along each axis.
    pub shape: [usize; 3],
    /// The values.
    pub values: Vec<f32>,
    /// From voxel indices to millimetres, RAS.
    pub affine: Affine,
    /// Whether a file said where the voxels lie; else only their size is known, and directions are assumed.
    pub placed: bool,
}

/// The direction of an axis in the patient: to the right, anterior, superior or their opposites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// 0 for left-right, 1 for posterior-anterior, 2 for inferior-superior.
    pub axis: usize,
    /// Whether indices rise towards right, anterior, superior.
    pub positive: bool,
}

impl Direction {
    /// Its letter.
    #[must_use]
    pub const fn letter(self) -> char {
        match (self.axis, self.positive) {
            (0, true) => 'R',
            (0, false) => 'L',
            (1, true) => 'A',
            (1, false) => 'P',
            (_, true) => 'S',
            (_, false) => 'I',
        }
    }

    fn parse(letter: char) -> Option<Self> {
        let (axis, positive) = match letter {
            'R' => (0, true),
            'L' => (0, false),
            'A' => (1, true),
            'P' => (1, false),
            'S' => (2, true),
            'I' => (2, false),
            _ => return None,
        };
        Some(Self { axis, positive })
    }
}

/// Three directions, one along each of the patient's axes, from letters such as `LIA`.
pub fn directions(text: &str) -> Result<[Direction; 3], VolumeError> {
    let wrong = || {
        VolumeError::Grid(format!("orientation {text}: three letters of R/L, A/P and S/I are needed, one of each pair"))
    };
    let found: Vec<Direction> = text.chars().map(Direction::parse).collect::<Option<_>>().ok_or_else(wrong)?;
    let all = <[Direction; 3]>::try_from(found).map_err(|_| wrong())?;
    let mut axes = all.map(|direction| direction.axis);
    axes.sort_unstable();
    if axes == [0, 1, 2] { Ok(all) } else { Err(wrong()) }
}

impl Volume {
    /// Voxels of `shape` at `affine`; as many values as that.
    pub fn new(shape: [usize; 3], values: Vec<f32>, affine: Affine) -> Result<Self, VolumeError> {
        let voxels = shape.iter().try_fold(1usize, |all, &length| all.checked_mul(length));
        if voxels != Some(values.len()) || values.is_empty() || values.len() > VOXELS_MAX {
            return Err(VolumeError::Grid(format!("{shape:?} voxels do not fit {} values", values.len())));
        }
        if affine.inverse().is_none() || affine.0.iter().flatten().any(|value| !value.is_finite()) {
            return Err(VolumeError::Grid("the voxels' affine is flat or not finite".into()));
        }
        Ok(Self { shape, values, affine, placed: true })
    }

    /// The grid that the voxels lie on.
    #[must_use]
    pub const fn grid(&self) -> Grid {
        Grid { shape: self.shape, affine: self.affine }
    }

    /// Distance of voxel centres along each axis, in millimetres.
    #[must_use]
    pub fn spacing_mm(&self) -> [f64; 3] {
        self.grid().spacing_mm()
    }

    /// The value of a voxel.
    #[must_use]
    pub fn at(&self, [i, j, k]: [usize; 3]) -> f32 {
        self.values[(i * self.shape[1] + j) * self.shape[2] + k]
    }
}
