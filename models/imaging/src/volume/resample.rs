//! Grids of voxels in the patient's space, and a volume's values on another grid.
//! Shapes and units: as [`super::Volume`]. A place outside of the volume counts as zero; linear mixing treats a
//! neighbour outside so. Sums run in f64 in one order and are rounded once, so a resampled volume has the same bits
//! everywhere.
//! Errors: [`VolumeError::Grid`]. Source: nibabel's `affines` and `orientations`; SciPy's `map_coordinates`, order 0
//! and 1.

use super::{Direction, VOXELS_MAX, Volume, VolumeError};
use crate::geometry::Affine;

/// How values between voxels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest voxel: for labels.
    Nearest,
    /// Linear along each axis: for intensities.
    Linear,
}

/// Voxels in the patient's space, without values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Voxels along each axis.
    pub shape: [usize; 3],
    /// From voxel indices to millimetres, RAS.
    pub affine: Affine,
}

impl Grid {
    /// Distance of voxel centres along each axis.
    #[must_use]
    pub fn spacing_mm(&self) -> [f64; 3] {
        [0, 1, 2].map(|axis| self.affine.0.iter().map(|row| row[axis] * row[axis]).sum::<f64>().sqrt())
    }

    /// Volume of a voxel.
    #[must_use]
    pub fn voxel_mm3(&self) -> f64 {
        let [a, b, c] = self.affine.0;
        let determinant = a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0])
            + a[2] * (b[0] * c[1] - b[1] * c[0]);
        determinant.abs()
    }

    /// The direction of each axis in the patient: the one it is closest to, each of the patient's axes once.
    #[must_use]
    pub fn directions(&self) -> [Direction; 3] {
        let mut best = ([Direction { axis: 0, positive: true }; 3], f64::MIN);
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let spacing = self.spacing_mm();
            let share = |axis: usize| self.affine.0[order[axis]][axis] / spacing[axis];
            let score: f64 = (0..3).map(|axis| share(axis).abs()).sum();
            if score > best.1 + 1e-9 {
                best = ([0, 1, 2].map(|axis| Direction { axis: order[axis], positive: share(axis) >= 0.0 }), score);
            }
        }
        best.0
    }

    /// The directions as letters, such as `LIA`.
    #[must_use]
    pub fn orientation(&self) -> String {
        self.directions().iter().map(|direction| direction.letter()).collect()
    }

    /// The same voxels with their axes in other directions: for each new axis the old one, and whether it runs
    /// backwards.
    fn turn(&self, to: [Direction; 3]) -> [(usize, bool); 3] {
        let from = self.directions();
        to.map(|wanted| {
            let old = from.iter().position(|direction| direction.axis == wanted.axis).unwrap_or(0);
            (old, from[old].positive != wanted.positive)
        })
    }

    /// The grid after such a turn.
    fn turned(&self, turn: [(usize, bool); 3]) -> Self {
        let shape = turn.map(|(old, _)| self.shape[old]);
        let affine = self.affine.0.map(|row| {
            let mut origin = row[3];
            let mut axes = [0.0; 3];
            for (axis, (old, backwards)) in axes.iter_mut().zip(turn) {
                *axis = if backwards { -row[old] } else { row[old] };
                if backwards {
                    origin += row[old] * (self.shape[old] - 1) as f64;
                }
            }
            [axes[0], axes[1], axes[2], origin]
        });
        Self { shape, affine: Affine(affine) }
    }

    /// A grid of `shape` voxels of `mm` millimetres about the same centre, with axes in these directions.
    #[must_use]
    pub fn conformed(&self, shape: [usize; 3], mm: f64, to: [Direction; 3]) -> Self {
        let middle = self.affine.apply(self.shape.map(|length| (length - 1) as f64 / 2.0));
        let mut rows = [[0.0; 4]; 3];
        for (axis, direction) in to.iter().enumerate() {
            rows[direction.axis][axis] = if direction.positive { mm } else { -mm };
        }
        let half = Affine(rows).apply(shape.map(|length| (length - 1) as f64 / 2.0));
        for (row, (middle, half)) in rows.iter_mut().zip(middle.into_iter().zip(half)) {
            row[3] = middle - half;
        }
        Self { shape, affine: Affine(rows) }
    }

    /// Whether the voxels of two grids have the same places, to a thousandth of a voxel.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        let near = self.spacing_mm().iter().fold(f64::INFINITY, |least, mm| least.min(*mm)) * 1e-3;
        let corner = |grid: &Self, at: [f64; 3]| {
            grid.affine.apply([0, 1, 2].map(|axis| at[axis] * (grid.shape[axis] - 1) as f64))
        };
        let corners = [[0.0; 3], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0; 3]];
        self.shape == other.shape
            && corners
                .iter()
                .all(|&at| corner(self, at).iter().zip(corner(other, at)).all(|(a, b)| (a - b).abs() <= near))
    }

    /// From this grid's indices to those of `other`.
    pub fn to(&self, other: &Self) -> Result<Affine, VolumeError> {
        let flat = || VolumeError::Grid("the voxels' affine is flat".into());
        Ok(other.affine.inverse().ok_or_else(flat)?.after(&self.affine))
    }
}

impl Volume {
    /// The same voxels with their axes in other directions; no value changes.
    #[must_use]
    pub fn oriented(&self, to: [Direction; 3]) -> Self {
        let turn = self.grid().turn(to);
        let grid = self.grid().turned(turn);
        let mut values = Vec::with_capacity(self.values.len());
        for i in 0..grid.shape[0] {
            for j in 0..grid.shape[1] {
                for k in 0..grid.shape[2] {
                    let mut old = [0; 3];
                    for ((axis, backwards), at) in turn.into_iter().zip([i, j, k]) {
                        old[axis] = if backwards { self.shape[axis] - 1 - at } else { at };
                    }
                    values.push(self.at(old));
                }
            }
        }
        Self { shape: grid.shape, values, affine: grid.affine, placed: self.placed }
    }

    /// The values on another grid.
    pub fn resampled(&self, grid: &Grid, how: Interpolation) -> Result<Self, VolumeError> {
        self.resampled_by(grid.shape, &grid.to(&self.grid())?, how).map(|values| Self {
            shape: grid.shape,
            values,
            affine: grid.affine,
            placed: self.placed,
        })
    }

    /// The values at `map` of each index of `shape`, `map` leading to this volume's indices.
    pub fn resampled_by(&self, shape: [usize; 3], map: &Affine, how: Interpolation) -> Result<Vec<f32>, VolumeError> {
        let voxels = shape.iter().try_fold(1usize, |all, &length| all.checked_mul(length));
        let voxels = voxels.filter(|&voxels| voxels > 0 && voxels <= VOXELS_MAX);
        let Some(voxels) = voxels else {
            return Err(VolumeError::Grid(format!("{shape:?} voxels: at most {VOXELS_MAX} are made")));
        };
        let mut values = Vec::with_capacity(voxels);
        for i in 0..shape[0] {
            for j in 0..shape[1] {
                for k in 0..shape[2] {
                    let place = map.apply([i as f64, j as f64, k as f64]);
                    values.push(match how {
                        Interpolation::Nearest => self.nearest(place),
                        Interpolation::Linear => self.linear(place),
                    });
                }
            }
        }
        Ok(values)
    }

    fn nearest(&self, place: [f64; 3]) -> f32 {
        let mut at = [0; 3];
        for axis in 0..3 {
            let index = (place[axis] + 0.5).floor();
            if !(index >= 0.0 && index < self.shape[axis] as f64) {
                return 0.0;
            }
            at[axis] = index as usize;
        }
        self.at(at)
    }

    fn linear(&self, place: [f64; 3]) -> f32 {
        // places a rounding away from a voxel's centre are that voxel, so that a turn and its way back lose nothing
        let place = place.map(|value| if (value - value.round()).abs() < 1e-6 { value.round() } else { value });
        if (0..3).any(|axis| !(place[axis] > -1.0 && place[axis] < self.shape[axis] as f64)) {
            return 0.0;
        }
        let first = place.map(f64::floor);
        let share: [f64; 3] = std::array::from_fn(|axis| place[axis] - first[axis]);
        let mut sum = 0.0;
        for corner in 0..8 {
            let bits = [corner >> 2 & 1, corner >> 1 & 1, corner & 1];
            let mut weight = 1.0;
            let mut at = [0; 3];
            let mut inside = true;
            for axis in 0..3 {
                weight *= if bits[axis] == 1 { share[axis] } else { 1.0 - share[axis] };
                let index = first[axis] + f64::from(bits[axis]);
                inside &= index >= 0.0 && index < self.shape[axis] as f64;
                at[axis] = index.max(0.0) as usize;
            }
            if inside && weight > 0.0 {
                sum += weight * f64::from(self.at(at));
            }
        }
        sum as f32
    }
}
