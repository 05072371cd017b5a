//! Weights in the order in which the kernels read them, packed once when a plan is made.
//! Shapes: a filter is `[outputs][inputs][taps]`; packed `[pair of output blocks][input block][tap][channel][32 or
//! 16]`, a pair's second block missing at an odd end. A norm behind the convolution is folded in f64 and rounded once.
//! Winograd's weights are `G g Gᵀ` in f64 by fixed operations, rounded once: `[point][pair][channel][32 or 16]`.
//! Errors: none; lengths are asserted.

use crate::lanes::LANES;
use rayon::prelude::*;

/// Floats of one step of a pair of blocks.
const PAIR: usize = 2 * LANES;

/// A filter and the factor of each output that is folded into it.
#[derive(Clone, Copy)]
pub(super) struct Filter<'a> {
    pub(super) values: &'a [f32],
    pub(super) factor: Option<&'a [f64]>,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) taps: usize,
}

impl Filter<'_> {
    /// Floats when packed with `points` values for each output and input.
    fn packed(&self, points: usize) -> usize {
        assert_eq!(self.values.len(), self.outputs * self.inputs * self.taps, "a filter is whole");
        self.outputs.next_multiple_of(LANES) * self.inputs * points
    }

    #[expect(clippy::cast_possible_truncation, reason = "the one rounding of a folded weight")]
    fn folded(&self, output: usize, value: f32) -> f32 {
        self.factor.map_or(value, |factor| (f64::from(value) * factor[output]) as f32)
    }
}

/// The register tile's weights.
/// Written to `packed`, zeroed and as long as [`length`] says.
pub(super) fn dense(filter: Filter<'_>, packed: &mut [f32]) {
    assert_eq!(packed.len(), filter.packed(filter.taps), "room for the filter");
    if filter.taps == 0 {
        return;
    }
    let row = filter.inputs * filter.taps;
    packed.par_chunks_mut(PAIR * row).enumerate().for_each(|(pair, packed)| {
        let first = pair * PAIR;
        let width = PAIR.min(filter.outputs.next_multiple_of(LANES) - first);
        for from in (0..filter.inputs).step_by(LANES) {
            let channels = LANES.min(filter.inputs - from);
            let packed = &mut packed[from * filter.taps * width..][..channels * filter.taps * width];
            for lane in 0..width.min(filter.outputs - first) {
                let output = first + lane;
                let values = &filter.values[output * row + from * filter.taps..][..channels * filter.taps];
                for (channel, values) in values.chunks_exact(filter.taps).enumerate() {
                    for (tap, &value) in values.iter().enumerate() {
                        packed[(tap * channels + channel) * width + lane] = filter.folded(output, value);
                    }
                }
            }
        }
    });
}

/// The depthwise kernel's weights, `[block][tap][16]`; a filter of one input.
pub(super) fn depthwise(filter: Filter<'_>) -> Vec<f32> {
    let mut packed = vec![0.0; filter.packed(filter.taps)];
    if filter.taps == 0 {
        return packed;
    }
    for (output, values) in filter.values.chunks_exact(filter.taps).enumerate() {
        for (tap, &value) in values.iter().enumerate() {
            packed[(output / LANES * filter.taps + tap) * LANES + output % LANES] = filter.folded(output, value);
        }
    }
    packed
}

/// Channels of a vector, filled up with zeros to whole blocks.
pub(super) fn lanes(values: &[f32]) -> Vec<f32> {
    let mut padded = values.to_vec();
    padded.resize(values.len().next_multiple_of(LANES), 0.0);
    padded
}

/// Weights of F(m x m, 3x3), `m` 2 or 4.
pub(super) fn winograd(filter: Filter<'_>, m: usize, packed: &mut [f32]) {
    let points = (m + 2) * (m + 2);
    assert_eq!(packed.len(), filter.packed(points), "room for the filter");
    let row = filter.inputs * 9;
    // each pair's part of every point
    let mut pairs: Vec<Vec<&mut [f32]>> = Vec::new();
    for point in packed.chunks_exact_mut(filter.packed(1)) {
        for (pair, part) in point.chunks_mut(PAIR * filter.inputs).enumerate() {
            if pair == pairs.len() {
                pairs.push(Vec::with_capacity(points));
            }
            pairs[pair].push(part);
        }
    }
    pairs.into_par_iter().enumerate().for_each(|(pair, mut packed)| {
        let first = pair * PAIR;
        let width = PAIR.min(filter.outputs.next_multiple_of(LANES) - first);
        for input in 0..filter.inputs {
            for block in (0..width).step_by(LANES) {
                let mut taps = [[0.0; LANES]; 9];
                for lane in 0..LANES.min(filter.outputs.saturating_sub(first + block)) {
                    let output = first + block + lane;
                    let factor = filter.factor.map_or(1.0, |factor| factor[output]);
                    let values = &filter.values[output * row + input * 9..][..9];
                    for (tap, &value) in taps.iter_mut().zip(values) {
                        tap[lane] = f64::from(value) * factor;
                    }
                }
                let mut put = |point: usize, lanes: &Lane| {
                    let to = &mut packed[point][input * width + block..][..LANES];
                    for (to, value) in to.iter_mut().zip(lanes) {
                        *to = rounded(*value);
                    }
                };
                if m == 4 {
                    points_of::<6>(&taps, weights4, &mut put)
                } else {
                    points_of::<4>(&taps, weights2, &mut put)
                }
            }
        }
    });
}

type Lane = [f64; LANES];

#[expect(clippy::cast_possible_truncation, reason = "the one rounding of a transformed weight")]
const fn rounded(value: f64) -> f32 {
    value as f32
}

/// `G g Gᵀ`: the transform of the three columns, then of each row.
#[inline(always)]
fn points_of<const N: usize>(
    taps: &[Lane; 9],
    transform: fn(&Lane, &Lane, &Lane) -> [Lane; N],
    put: &mut impl FnMut(usize, &Lane),
) {
    let columns: [[Lane; N]; 3] = std::array::from_fn(|j| transform(&taps[j], &taps[3 + j], &taps[6 + j]));
    let rows = columns[0].iter().zip(&columns[1]).zip(&columns[2]);
    for (i, ((a, b), c)) in rows.enumerate() {
        for (j, value) in transform(a, b, c).iter().enumerate() {
            put(i * N + j, value);
        }
    }
}

#[inline(always)]
fn each(work: impl Fn(usize) -> f64) -> Lane {
    std::array::from_fn(work)
}

#[inline(always)]
fn weights4(a: &Lane, b: &Lane, c: &Lane) -> [Lane; 6] {
    let (sixth, twelfth, twentyfourth) = (1.0 / 6.0, 1.0 / 12.0, 1.0 / 24.0);
    let ends = each(|l| (a[l] + c[l]) * sixth);
    let middle = each(|l| b[l] * sixth);
    let far = each(|l| a[l] * twentyfourth + c[l] * sixth);
    let step = each(|l| b[l] * twelfth);
    [
        each(|l| a[l] * 0.25),
        each(|l| -ends[l] - middle[l]),
        each(|l| middle[l] - ends[l]),
        each(|l| far[l] + step[l]),
        each(|l| far[l] - step[l]),
        *c,
    ]
}

#[inline(always)]
fn weights2(a: &Lane, b: &Lane, c: &Lane) -> [Lane; 4] {
    let ends = each(|l| (a[l] + c[l]) * 0.5);
    let middle = each(|l| b[l] * 0.5);
    [*a, each(|l| ends[l] + middle[l]), each(|l| ends[l] - middle[l]), *c]
}
