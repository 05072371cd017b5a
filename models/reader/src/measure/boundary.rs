//! How well an outline is known, and what that means for what it encloses.
//! Model: the whole outline lies inwards or outwards together, by a normal error of the standard deviation given. That
//! is the cautious extreme: errors that differ along the outline would partly cancel. An area is then uncertain by its
//! outline's length times the deviation, a volume by its surface, a diameter by twice the deviation.
//! Lengths and surfaces are counted by Crofton's formula (lines in 8 directions of a plane, 13 of a volume), which is
//! right for balls and up to 8 % small for boxes along the axes; no outline length is given out as a measure.
//! Units: millimetres. Source: Serra, Image Analysis and Mathematical Morphology, 1982.

use super::{MeasureError, PixelSize, PlaneMask, SolidMask, VoxelSize};
use vidimus_imaging::Millimetre;

/// How well an outline is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Boundary {
    /// To half of a pixel or voxel either way, anywhere within equally likely: what the grid itself leaves open.
    Grid,
    /// With this standard deviation, as agreement between readers or with a reference has shown.
    Known(Millimetre),
}

/// Directions of a plane that lines are counted along.
const PLANE: [[isize; 2]; 8] = [[0, 1], [1, 0], [1, 1], [1, -1], [1, 2], [2, 1], [1, -2], [2, -1]];

/// Directions of a volume.
const SOLID: [[isize; 3]; 13] = [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
    [1, 1, 0],
    [1, -1, 0],
    [1, 0, 1],
    [1, 0, -1],
    [0, 1, 1],
    [0, 1, -1],
    [1, 1, 1],
    [1, 1, -1],
    [1, -1, 1],
    [1, -1, -1],
];

/// Points of the sphere by which the directions of a volume are weighed.
const SPHERE_POINTS: usize = 2000;

impl Boundary {
    /// Standard deviation in mm on pixels of this size.
    pub(super) fn in_plane(self, size: &PixelSize) -> f64 {
        self.deviation(size.area().sqrt())
    }

    /// Standard deviation in mm on voxels of this size.
    pub(super) fn in_solid(self, size: &VoxelSize) -> f64 {
        self.deviation(libm::cbrt(size.volume()))
    }

    fn deviation(self, side: f64) -> f64 {
        match self {
            // a rectangular distribution one side wide
            Self::Grid => side / 12f64.sqrt(),
            Self::Known(deviation) => deviation.value(),
        }
    }
}

/// Length of a mask's outline in mm.
pub(super) fn outline(mask: &PlaneMask, size: &PixelSize) -> f64 {
    let steps = PLANE.map(|step| step.map(|by| by as f64));
    let mut angles: Vec<(f64, usize)> = steps.iter().enumerate().map(|(at, step)| (size.angle(*step), at)).collect();
    angles.sort_by(|a, b| a.0.total_cmp(&b.0));
    let count = angles.len();
    let mut length = 0.0;
    for (place, (_, at)) in angles.iter().enumerate() {
        // the share of directions that are closer to this one than to its neighbours
        let gap = |from: usize, to: usize| (angles[to].0 - angles[from].0).rem_euclid(std::f64::consts::PI);
        let weight = (gap((place + count - 1) % count, place) + gap(place, (place + 1) % count)) / 2.0;
        let lines_apart = size.area() / size.length(steps[*at]);
        length += weight * mask.crossings(PLANE[*at]) as f64 * lines_apart / 2.0;
    }
    length
}

/// Surface of a mask in mm2.
pub(super) fn surface(mask: &SolidMask, size: &VoxelSize) -> f64 {
    let steps = SOLID.map(|step| size.step(step.map(|by| by as f64)));
    let lengths = steps.map(|[x, y, z]| (x * x + y * y + z * z).sqrt());
    let mut weights = [0.0; SOLID.len()];
    for point in 0..SPHERE_POINTS {
        // a spiral of equal areas
        let height = 1.0 - (2.0 * point as f64 + 1.0) / SPHERE_POINTS as f64;
        let around = point as f64 * std::f64::consts::PI * (3.0 - 5f64.sqrt());
        let radius = (1.0 - height * height).sqrt();
        let place = [radius * libm::cos(around), radius * libm::sin(around), height];
        let near = |at: usize| steps[at].iter().zip(place).map(|(a, b)| a * b).sum::<f64>().abs() / lengths[at];
        let closest = (0..steps.len()).max_by(|a, b| near(*a).total_cmp(&near(*b))).unwrap_or(0);
        weights[closest] += 1.0 / SPHERE_POINTS as f64;
    }
    let through = |at: usize| mask.crossings(SOLID[at]) as f64 * size.volume() / lengths[at];
    2.0 * (0..steps.len()).map(|at| weights[at] * through(at)).sum::<f64>()
}

impl Boundary {
    /// A standard deviation from its millimetres.
    pub fn known(deviation_mm: f64) -> Result<Self, MeasureError> {
        Millimetre::new(deviation_mm).map(Self::Known).ok_or(MeasureError::Size)
    }
}
