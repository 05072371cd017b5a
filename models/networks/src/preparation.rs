//! From a grey picture of any size to the network's input: one definition for training and reading.
//! Shapes: in `[rows, columns]` of f32 display values 0..=1; out `[1, 1, side, side]`.
//! Units: lengths in pixels of the input, areas sampled at pixel centres.
//! The picture is squeezed to a square (its aspect is not kept, as in the training set), less a share of each border,
//! by a separable triangle filter as wide as one output pixel (at least one input pixel): so a large picture is
//! averaged, not sampled. Then `(v * 255 - mean) / scale`.
//! Sums run in f64 along rows first, then columns, by rising index; so the result has the same bits everywhere.
//! Errors: `NetworkError::Input` for a size that does not fit the pixels or a picture too small to cut;
//! `NetworkError::Setting` for settings out of range. A value that is not finite is refused.
//! Source: antialiased bilinear reduction as in Pillow; the trunk's card for mean and scale.

use crate::NetworkError;
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// The largest side that a picture is resized to.
const RESIZED_MAX: usize = 16_384;
/// The largest side that a preparation may ask for.
const SIDE_MAX: usize = 1024;

/// How a picture becomes the network's input. Part of a model's input contract.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// Share of the picture cut off at each of its four sides.
    pub cut_per_side: f64,
    /// Pixels of the square input.
    pub side: usize,
    /// Subtracted from values of 0..=255.
    pub mean: f64,
    /// Divides what is left.
    pub scale: f64,
}

impl Preparation {
    /// Checks the settings.
    pub fn check(&self) -> Result<(), NetworkError> {
        let wrong = |setting, problem: String| Err(NetworkError::Setting { setting, problem });
        if !(0.0..0.5).contains(&self.cut_per_side) {
            return wrong("preparation.cut_per_side", format!("{} is not in 0..0.5", self.cut_per_side));
        }
        if self.side == 0 || self.side > SIDE_MAX {
            return wrong("preparation.side", format!("{} is not in 1..={SIDE_MAX}", self.side));
        }
        if !self.mean.is_finite() || !self.scale.is_finite() || self.scale <= 0.0 {
            return wrong("preparation.scale", "mean must be finite and scale above zero".into());
        }
        Ok(())
    }

    /// The tensor `[1, 1, side, side]` of a picture of display values, row by row.
    pub fn prepare(&self, rows: usize, columns: usize, pixels: &[f32]) -> Result<Tensor, NetworkError> {
        let values = self.values(rows, columns, pixels)?;
        Ok(Tensor::from_vec(values, (1, 1, self.side, self.side), &Device::Cpu)?)
    }

    /// The values of [`Self::prepare`].
    pub fn values(&self, rows: usize, columns: usize, pixels: &[f32]) -> Result<Vec<f32>, NetworkError> {
        self.check()?;
        if rows == 0 || columns == 0 || rows.checked_mul(columns) != Some(pixels.len()) {
            let found = vec![rows, columns, pixels.len()];
            return Err(NetworkError::Input { expected: "rows, columns and as many pixels", found });
        }
        if pixels.iter().any(|v| !v.is_finite()) {
            return Err(NetworkError::Input { expected: "finite display values", found: vec![rows, columns] });
        }
        let across = Axis::new(columns, self.cut_per_side, self.side);
        let down = Axis::new(rows, self.cut_per_side, self.side);
        let narrow: Vec<f64> =
            pixels.chunks_exact(columns).flat_map(|row| across.apply(|at| f64::from(row[at]))).collect();
        let mut values = vec![0.0; self.side * self.side];
        for column in 0..self.side {
            for (row, v) in down.apply(|at| narrow[at * self.side + column]).enumerate() {
                values[row * self.side + column] = self.scaled(v);
            }
        }
        Ok(values)
    }

    /// A display value as the network takes it.
    #[expect(clippy::cast_possible_truncation, reason = "the network's numbers are f32; rounded once, here")]
    pub(crate) fn scaled(&self, value: f64) -> f32 {
        ((value * 255.0 - self.mean) / self.scale) as f32
    }

    /// Where a position of the prepared square, 0..=1 along an axis, lies in the picture, 0..=1 along the same axis.
    #[must_use]
    pub fn place(&self, position: f64) -> f64 {
        self.cut_per_side + position * (1.0 - 2.0 * self.cut_per_side)
    }
}

/// A picture of `rows` by `columns` values resized to `to`, by the same filter: a picture made smaller is averaged.
pub fn resized(rows: usize, columns: usize, pixels: &[f32], to: [usize; 2]) -> Result<Vec<f32>, NetworkError> {
    let fits = rows.checked_mul(columns) == Some(pixels.len()) && !pixels.is_empty() && to[0] > 0 && to[1] > 0;
    if !fits || to[0].max(to[1]) > RESIZED_MAX {
        let found = vec![rows, columns, pixels.len(), to[0], to[1]];
        return Err(NetworkError::Input { expected: "rows, columns, as many pixels, and a size to be made", found });
    }
    let (across, down) = (Axis::new(columns, 0.0, to[1]), Axis::new(rows, 0.0, to[0]));
    let narrow: Vec<f64> = pixels.chunks_exact(columns).flat_map(|row| across.apply(|at| f64::from(row[at]))).collect();
    let mut values = vec![0.0; to[0] * to[1]];
    for column in 0..to[1] {
        for (row, value) in down.apply(|at| narrow[at * to[1] + column]).enumerate() {
            values[row * to[1] + column] = rounded(value);
        }
    }
    Ok(values)
}

#[expect(clippy::cast_possible_truncation, reason = "sums in f64, rounded once")]
fn rounded(value: f64) -> f32 {
    value as f32
}

/// The filter of one axis: for each output pixel its first input pixel and the weights from there on, of sum 1.
struct Axis(Vec<(usize, Vec<f64>)>);

impl Axis {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "lengths are far below 2^53, and positions are clamped to 0..=length before they become indices"
    )]
    fn new(length: usize, cut: f64, side: usize) -> Self {
        let whole = length as f64;
        let (start, span) = (cut * whole, (1.0 - 2.0 * cut) * whole);
        let step = span / side as f64;
        let reach = step.max(1.0);
        let taps = (0..side).map(|at| {
            let centre = start + (at as f64 + 0.5) * step;
            let first = (centre - reach + 0.5).floor().clamp(0.0, whole - 1.0) as usize;
            let past = ((centre + reach + 0.5).floor().clamp(1.0, whole) as usize).max(first + 1);
            let raw: Vec<f64> =
                (first..past).map(|i| (1.0 - ((i as f64 + 0.5 - centre) / reach).abs()).max(0.0)).collect();
            let total: f64 = raw.iter().sum();
            (first, raw.iter().map(|w| w / total).collect())
        });
        Self(taps.collect())
    }

    fn apply(&self, value: impl Fn(usize) -> f64) -> impl Iterator<Item = f64> {
        self.0.iter().map(move |(first, weights)| {
            weights.iter().enumerate().fold(0.0, |sum, (offset, weight)| sum + weight * value(first + offset))
        })
    }
}
