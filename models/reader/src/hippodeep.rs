//! hippodeep as a whole: brain volume and the two hippocampi from a T1-weighted volume by three networks. Research
//! only.
//! Shapes: any volume in; the networks see 64^3, 2 x 64^3 and, a side, 48 x 72 x 64 voxels of a box of 1 mm in template
//! space.
//! Units: mm3. Masks lie on the input's voxels, turned so that axes run to left, anterior and superior.
//! Errors: [`ProtocolError`]: a volume without contrast, a network of another kind, the engine's and the volume's own.
//! Source: Thyreau et al., Medical Image Analysis 2018; code bthyreau/hippodeep_pytorch; steps 1 to 7 of its card. The
//! original builds one sampling grid in half precision; here it is exact, which moves the brain's volume by 1e-4.

use vidimus_engine::{EngineError, Plan, Shape};
use vidimus_imaging::{
    Affine, Volume, VolumeError,
    volume::{Interpolation, directions},
};
use vidimus_networks::{
    NetworkError,
    architecture::{Description, Network},
};

/// Voxels along each axis of what the first two networks see.
const SIDE: usize = 64;
/// Voxels of the template's box around both hippocampi.
const BOX: [usize; 3] = [107, 72, 68];
/// From the box's voxels to the template's millimetres.
const BOX_PLACE: Affine = Affine([[-1.0, 0.0, 0.0, 54.0], [0.0, 1.0, 0.0, -59.0], [0.0, 0.0, 1.0, -45.0]]);
/// From the 64-voxel template to its millimetres.
const TEMPLATE: Affine =
    Affine([[-2.857_142_93, 0.0, 0.0, 90.0], [0.0, 3.428_571_46, 0.0, -126.0], [0.0, 0.0, 2.857_142_93, -72.0]]);
/// What the hippocampus network sees of the box, and what it answers: two voxels less on every side.
const SEEN: [usize; 3] = [48, 72, 64];
const ANSWERED: [usize; 3] = [44, 68, 60];
/// The first row of the right side, and the last of the left one, which is walked backwards.
const RIGHT: usize = 6;
const LEFT: usize = 100;
/// The first voxel along the third axis.
const THIRD: usize = 2;
/// Of 255: below it a voxel of a side's map counts for nothing.
const FLOOR: f32 = 32.0;

/// The protocol cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// All voxels have the same value, or some are not finite.
    #[error("hippodeep: the volume has no contrast or values that are not finite")]
    Flat,
    /// The alignment found cannot be turned around.
    #[error("hippodeep: the alignment is flat; the volume shows no head, or not as T1-weighted MRI does")]
    Alignment,
    /// Weights that do not fit.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A grid.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

/// The three networks.
pub struct Hippodeep {
    head: Network,
    affine: Network,
    hippo: Network,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct HippodeepVolumes {
    /// The space within the skull.
    pub intracranial_mm3: f64,
    /// The left hippocampus.
    pub left_mm3: f64,
    /// The right hippocampus.
    pub right_mm3: f64,
    /// 1 within the skull.
    pub brain: Volume,
    /// The left hippocampus, share of each voxel in 0..=255.
    pub left: Volume,
    /// The right hippocampus, as the left one.
    pub right: Volume,
}

impl Hippodeep {
    /// From the weights of `head`, `affine` and `hippo`.
    pub fn new(weights: [vidimus_engine::Weights; 3]) -> Result<Self, ProtocolError> {
        let [head, affine, hippo] = weights;
        let build = |family: &str, weights| {
            Network::build(&Description::parse(&format!("family = \"hippodeep-{family}\""))?, weights)
        };
        Ok(Self { head: build("head", head)?, affine: build("affine", affine)?, hippo: build("hippo", hippo)? })
    }

    /// Measures a volume, placed by its qform as the original does.
    pub fn measure(&self, volume: &Volume) -> Result<HippodeepVolumes, ProtocolError> {
        let head = standard(volume.oriented(directions("LAS")?))?;
        let shrunk = corners(head.shape, [SIDE; 3]);
        let small = head.resampled_by([SIDE; 3], &shrunk, Interpolation::Linear)?;
        let priors = answer(&self.head, Shape::volume(1, [SIDE; 3]), &small, 1)?;

        let voxels = SIDE * SIDE * SIDE;
        let channel = |at: usize| &priors[at * voxels..(at + 1) * voxels];
        let brain = Volume { shape: [SIDE; 3], values: channel(0).to_vec(), affine: head.affine, placed: true };
        let back = inverse(&shrunk)?;
        let brain = brain.resampled_by(head.shape, &back, Interpolation::Linear)?;
        let brain: Vec<f32> = brain.into_iter().map(|p| if p > 0.5 { 1.0 } else { 0.0 }).collect();
        let inside = brain.iter().filter(|value| **value > 0.5).count();

        let masked = |at: usize| channel(at).iter().zip(channel(0)).map(|(value, brain)| value * brain);
        let pair: Vec<f32> = masked(1).chain(masked(3)).collect();
        let twelve = answer(&self.affine, Shape::volume(2, [SIDE; 3]), &pair, 1)?;
        let map = Self::map(head.shape, &twelve)?;

        let placed = |shape, values| Volume { shape, values, affine: BOX_PLACE, placed: true };
        let seen = standard(placed(BOX, head.resampled_by(BOX, &map, Interpolation::Linear)?))?;
        let both = [sides(&seen, |row| RIGHT + row), sides(&seen, |row| LEFT - row)].concat();
        let found = answer(&self.hippo, Shape::volume(1, SEEN), &both, 2)?;
        let (home, voxel) = (inverse(&map)?, head.grid().voxel_mm3());
        let mut parts = found.chunks_exact(ANSWERED.iter().product()).enumerate().map(|(side, found)| {
            let row = |row: usize| if side == 0 { RIGHT + 2 + row } else { LEFT - 2 - row };
            let mut values =
                placed(BOX, put_back(found, row)).resampled_by(head.shape, &home, Interpolation::Linear)?;
            values.iter_mut().filter(|value| **value < FLOOR).for_each(|value| *value = 0.0);
            let sum: f64 = values.iter().map(|value| f64::from(*value)).sum();
            Ok::<_, ProtocolError>((sum / 255.0 * voxel, Volume { values, ..head.clone() }))
        });
        let mut next = || parts.next().unwrap_or(Err(ProtocolError::Alignment));
        let ((right_mm3, right), (left_mm3, left)) = (next()?, next()?);
        let brain = Volume { values: brain, ..head.clone() };
        Ok(HippodeepVolumes { intracranial_mm3: inside as f64 * voxel, left_mm3, right_mm3, brain, left, right })
    }

    /// From the box's voxels to the head's, by the alignment's twelve numbers: a change of the cube -1..1 in which head
    /// and template lie corner to corner.
    fn map(shape: [usize; 3], twelve: &[f32]) -> Result<Affine, ProtocolError> {
        let mut change = [[0.0; 4]; 3];
        for (row, values) in twelve.chunks_exact(4).enumerate().take(3) {
            for (column, value) in values.iter().enumerate() {
                change[row][column] = f64::from(*value) + if row == column { 1.0 } else { 0.0 };
            }
        }
        let from_cube = inverse(&cube(shape))?;
        let to_template = inverse(&TEMPLATE)?.after(&BOX_PLACE);
        Ok(from_cube.after(&Affine(change).after(&cube([SIDE; 3]).after(&to_template))))
    }
}

fn inverse(affine: &Affine) -> Result<Affine, ProtocolError> {
    affine.inverse().ok_or(ProtocolError::Alignment)
}

/// A scaling of each axis and a shift.
fn scaling(by: [f64; 3], shift: f64) -> Affine {
    Affine(std::array::from_fn(|row| {
        std::array::from_fn(|column| match column {
            3 => shift,
            _ if column == row => by[row],
            _ => 0.0,
        })
    }))
}

/// From indices to -1..1, corner to corner.
fn cube(shape: [usize; 3]) -> Affine {
    scaling(shape.map(|length| 2.0 / (length.max(2) - 1) as f64), -1.0)
}

/// From indices of `to` to those of `from`, corner to corner.
fn corners(from: [usize; 3], to: [usize; 3]) -> Affine {
    scaling([0, 1, 2].map(|axis| (from[axis].max(2) - 1) as f64 / (to[axis] - 1) as f64), 0.0)
}

/// Less the mean, by the deviation; sums in f64, in order.
#[expect(clippy::cast_possible_truncation, reason = "rounded once to the networks' f32")]
fn standard(volume: Volume) -> Result<Volume, ProtocolError> {
    let count = volume.values.len() as f64;
    let mean = volume.values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let square = |value: &f32| (f64::from(*value) - mean) * (f64::from(*value) - mean);
    let deviation = (volume.values.iter().map(square).sum::<f64>() / count).sqrt();
    if !(deviation.is_finite() && deviation > 0.0) {
        return Err(ProtocolError::Flat);
    }
    let values = volume.values.iter().map(|value| ((f64::from(*value) - mean) / deviation) as f32).collect();
    Ok(Volume { values, ..volume })
}

fn answer(network: &Network, shape: Shape, values: &[f32], images: usize) -> Result<Vec<f32>, ProtocolError> {
    let plan = Plan::new(&network.graph, &network.weights, shape, &[network.graph.output()])?;
    Ok(plan.run(values, images)?.remove(0).values)
}

/// What the hippocampus network sees of the box, its rows in this order.
fn sides(seen: &Volume, row: impl Fn(usize) -> usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(SEEN.iter().product());
    for i in 0..SEEN[0] {
        for j in 0..SEEN[1] {
            values.extend((0..SEEN[2]).map(|k| seen.at([row(i), j, THIRD + k])));
        }
    }
    values
}

/// A side's answer in the box: above even odds twice as steep, 0 to 255, elsewhere 0.
fn put_back(found: &[f32], row: impl Fn(usize) -> usize) -> Vec<f32> {
    let mut values = vec![0.0; BOX.iter().product()];
    for (at, probability) in found.iter().enumerate() {
        let (i, j, k) = (at / (ANSWERED[1] * ANSWERED[2]), at / ANSWERED[2] % ANSWERED[1], at % ANSWERED[2]);
        if *probability > 0.5 {
            let place = (row(i) * BOX[1] + 2 + j) * BOX[2] + THIRD + 2 + k;
            values[place] = (2.0 * (probability - 0.5) + 0.5).clamp(0.0, 1.0) * 255.0;
        }
    }
    values
}
