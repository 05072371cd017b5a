//! Where pixels lie: spacing, orientation, position, the affine to the patient's space, the order of a series.
//! Units: millimetres; axes LPS (left, posterior, superior) as in DICOM; RAS (right, anterior, superior) as in NIfTI.
//! Errors: `SeriesFault` names missing, duplicate, uneven or differently oriented slices; nothing is guessed.
//! Source: DICOM PS3.3 C.7.6.2.1.1, C.7.6.16; IMAGING.md section 5. Requirement: REQ-IMG-017, REQ-IMG-018.

use crate::image::Millimetre;

/// How far the cosines may be from unit length and a right angle.
const COSINE_TOLERANCE: f64 = 1e-3;
/// Largest difference of two slice distances of an even series, as a share of the step.
const STEP_TOLERANCE: f64 = 0.01;

/// Where a spacing comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SpacingSource {
    /// Pixel Spacing, or that of the functional groups: in the patient.
    PixelSpacing,
    /// Imager Pixel Spacing: at the detector, larger than in the patient.
    ImagerPixelSpacing,
    /// Nominal Scanned Pixel Spacing: of a digitised film.
    NominalScannedPixelSpacing,
}

/// Distance of pixel centres.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Spacing {
    /// Between rows, downwards.
    pub row_mm: Millimetre,
    /// Between columns, to the right.
    pub column_mm: Millimetre,
    /// The attribute.
    pub source: SpacingSource,
}

/// Directions of a row (to the right) and of a column (downwards) in LPS: perpendicular unit vectors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Orientation {
    row: [f64; 3],
    column: [f64; 3],
}

impl Orientation {
    /// None unless the six cosines are two perpendicular unit vectors.
    pub fn new(cosines: [f64; 6]) -> Option<Self> {
        let [a, b, c, d, e, f] = cosines;
        let (row, column) = ([a, b, c], [d, e, f]);
        let unit = |vector: [f64; 3]| (dot(vector, vector) - 1.0).abs() <= 2.0 * COSINE_TOLERANCE;
        let sound = cosines.iter().all(|cosine| cosine.is_finite()) && unit(row) && unit(column);
        (sound && dot(row, column).abs() <= COSINE_TOLERANCE).then_some(Self { row, column })
    }

    /// The six cosines.
    pub fn cosines(&self) -> [f64; 6] {
        let ([a, b, c], [d, e, f]) = (self.row, self.column);
        [a, b, c, d, e, f]
    }

    /// Row direction times column direction.
    pub fn normal(&self) -> [f64; 3] {
        cross(self.row, self.column)
    }
}

/// From (column, row, slice) indices to millimetres; three rows of four numbers, the fourth row is 0 0 0 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine(pub [[f64; 4]; 3]);

impl Affine {
    /// The affine of slices: `step` is the vector from one slice to the next.
    pub fn of_slices(orientation: &Orientation, spacing: &Spacing, origin: [f64; 3], step: [f64; 3]) -> Self {
        let (right, down) = (spacing.column_mm.value(), spacing.row_mm.value());
        let axis = |n: usize| [orientation.row[n] * right, orientation.column[n] * down, step[n], origin[n]];
        Self([axis(0), axis(1), axis(2)])
    }

    /// The place of an index.
    pub fn apply(&self, index: [f64; 3]) -> [f64; 3] {
        self.0.map(|[a, b, c, d]| a * index[0] + b * index[1] + c * index[2] + d)
    }

    /// First `first`, then this one.
    #[must_use]
    pub fn after(&self, first: &Self) -> Self {
        let mut rows = [[0.0; 4]; 3];
        for (row, own) in rows.iter_mut().zip(self.0) {
            for (column, value) in row.iter_mut().enumerate() {
                *value = (0..3).map(|inner| own[inner] * first.0[inner][column]).sum::<f64>();
            }
            row[3] += own[3];
        }
        Self(rows)
    }

    /// LPS becomes RAS and the reverse: the first two axes change sign.
    #[must_use]
    pub fn flipped(&self) -> Self {
        let [x, y, z] = self.0;
        Self([x.map(|value| -value), y.map(|value| -value), z])
    }

    /// From millimetres to indices; None where the affine is flat.
    pub fn inverse(&self) -> Option<Self> {
        let column = |n: usize| [self.0[0][n], self.0[1][n], self.0[2][n]];
        let (a, b, c, origin) = (column(0), column(1), column(2), column(3));
        let determinant = dot(a, cross(b, c));
        if determinant.abs() < 1e-12 {
            return None;
        }
        let row = |vector: [f64; 3]| {
            let [x, y, z] = vector.map(|value| value / determinant);
            [x, y, z, -dot([x, y, z], origin)]
        };
        Some(Self([row(cross(b, c)), row(cross(c, a)), row(cross(a, b))]))
    }
}

/// One slice of a series.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// Directions.
    pub orientation: Orientation,
    /// Centre of the first pixel.
    pub position: [f64; 3],
}

/// Slices in the order of their places along the normal.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Indices into the slices given.
    pub order: Vec<usize>,
    /// Places along the normal of the first slice, rising.
    pub places: Vec<f64>,
    /// The common step.
    pub step: f64,
}

/// A series is not an even stack of parallel slices.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SeriesFault {
    /// No slice, or only one: there is no step.
    #[error("ImagePositionPatient (0020,0032): {found} slices, at least 2 are needed for a volume")]
    TooFew {
        /// Slices given.
        found: usize,
    },
    /// Slices that are not parallel.
    #[error("ImageOrientationPatient (0020,0037): slice {index} is not parallel to the first")]
    MixedOrientation {
        /// Index of the first such slice.
        index: usize,
    },
    /// Two slices at one place.
    #[error("ImagePositionPatient (0020,0032): slices {first} and {second} lie at the same place")]
    Duplicate {
        /// Index of one.
        first: usize,
        /// Index of the other.
        second: usize,
    },
    /// A gap of several steps.
    #[error("ImagePositionPatient (0020,0032): {count} slices are missing after slice {index}")]
    Missing {
        /// Index of the slice before the gap.
        index: usize,
        /// How many slices of the common step would fill it.
        count: usize,
    },
    /// Distances that differ by more than 1 % of the step.
    #[error("ImagePositionPatient (0020,0032): the distance after slice {index} differs from the step by over 1 %")]
    Uneven {
        /// Index of the slice before the odd distance.
        index: usize,
    },
}

/// Orders slices by their position along the normal, and names what keeps them from being an even stack.
pub fn order(slices: &[Slice]) -> Result<Order, SeriesFault> {
    let (Some(first), true) = (slices.first(), slices.len() >= 2) else {
        return Err(SeriesFault::TooFew { found: slices.len() });
    };
    let cosines = first.orientation.cosines();
    let parallel =
        |slice: &Slice| slice.orientation.cosines().iter().zip(cosines).all(|(a, b)| (a - b).abs() <= COSINE_TOLERANCE);
    if let Some(index) = slices.iter().position(|slice| !parallel(slice)) {
        return Err(SeriesFault::MixedOrientation { index });
    }
    let normal = first.orientation.normal();
    let mut placed: Vec<(usize, f64)> =
        slices.iter().enumerate().map(|(index, slice)| (index, dot(normal, slice.position))).collect();
    placed.sort_by(|a, b| a.1.total_cmp(&b.1));
    let steps: Vec<f64> = placed.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    let mut sorted = steps.clone();
    sorted.sort_by(f64::total_cmp);
    let step = sorted[sorted.len() / 2];
    for (pair, distance) in placed.windows(2).zip(&steps) {
        let (index, second) = (pair[0].0, pair[1].0);
        if distance.abs() < 1e-4 {
            return Err(SeriesFault::Duplicate { first: index, second });
        }
        if (distance - step).abs() > STEP_TOLERANCE * step {
            let whole = (distance / step).round();
            let gap = whole >= 2.0 && (distance - whole * step).abs() <= STEP_TOLERANCE * step * whole;
            let count = whole as usize - usize::from(gap);
            return Err(if gap { SeriesFault::Missing { index, count } } else { SeriesFault::Uneven { index } });
        }
    }
    let (order, places) = placed.into_iter().unzip();
    Ok(Order { order, places, step })
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}
