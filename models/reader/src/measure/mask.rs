//! What belongs to a finding, pixel by pixel or voxel by voxel, cut to the smallest box around it.
//! Shapes: planes `[rows, columns]`; volumes `[i, j, k]`, k fastest. Beyond the box nothing is inside.
//! Errors: [`MeasureError::Shape`] where the values do not fill the shape.

use vidimus_imaging::Volume;

use super::MeasureError;

/// The pixels of a plane that belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaneMask {
    rows: usize,
    columns: usize,
    inside: Vec<bool>,
}

impl PlaneMask {
    /// `rows` times `columns` values, row by row.
    pub fn new(rows: usize, columns: usize, inside: &[bool]) -> Result<Self, MeasureError> {
        let solid = SolidMask::new([1, rows, columns], inside)?;
        Ok(Self { rows: solid.shape[1], columns: solid.shape[2], inside: solid.inside })
    }

    /// How many pixels belong.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inside.iter().filter(|inside| **inside).count()
    }

    /// The largest part whose pixels touch by a side or a corner; of equal parts the first.
    #[must_use]
    pub fn largest_component(&self) -> Self {
        let mut part = vec![0u32; self.inside.len()];
        let (mut best, mut most, mut parts) = (0, 0usize, 0);
        let mut open = Vec::new();
        for start in 0..self.inside.len() {
            if !self.inside[start] || part[start] != 0 {
                continue;
            }
            parts += 1;
            part[start] = parts;
            open.push(start);
            let mut size = 0;
            while let Some(at) = open.pop() {
                size += 1;
                let (row, column) = (at / self.columns, at % self.columns);
                for near_row in row.saturating_sub(1)..(row + 2).min(self.rows) {
                    for near_column in column.saturating_sub(1)..(column + 2).min(self.columns) {
                        let near = near_row * self.columns + near_column;
                        if self.inside[near] && part[near] == 0 {
                            part[near] = parts;
                            open.push(near);
                        }
                    }
                }
            }
            if size > most {
                (best, most) = (parts, size);
            }
        }
        let kept: Vec<bool> = part.iter().map(|part| best != 0 && *part == best).collect();
        let solid = SolidMask::cut([1, self.rows, self.columns], &kept);
        Self { rows: solid.shape[1], columns: solid.shape[2], inside: solid.inside }
    }

    /// First and last pixel inside of each row that has any: row, first column, last column.
    pub(super) fn runs(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        self.inside.chunks(self.columns.max(1)).enumerate().filter_map(|(row, line)| {
            let first = line.iter().position(|inside| *inside)?;
            let last = line.iter().rposition(|inside| *inside)?;
            Some((row, first, last))
        })
    }

    /// How often a walk by `step` over all lines of that direction goes in or out.
    pub(super) fn crossings(&self, [down, along]: [isize; 2]) -> usize {
        let solid = ([1, self.rows, self.columns], &self.inside[..]);
        crossings(solid, [0, down, along])
    }
}

/// The voxels of a volume that belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SolidMask {
    shape: [usize; 3],
    /// Index of the box's first voxel in the volume.
    first: [usize; 3],
    inside: Vec<bool>,
}

impl SolidMask {
    /// As many values as `shape` has voxels, last axis fastest.
    pub fn new(shape: [usize; 3], inside: &[bool]) -> Result<Self, MeasureError> {
        let expected = shape.iter().try_fold(1usize, |all, &length| all.checked_mul(length)).unwrap_or(usize::MAX);
        if expected == inside.len() {
            Ok(Self::cut(shape, inside))
        } else {
            Err(MeasureError::Shape { expected, found: inside.len() })
        }
    }

    /// The voxels of a volume of labels that bear `label`.
    pub fn of_label(labels: &Volume, label: u16) -> Result<Self, MeasureError> {
        let inside: Vec<bool> = labels.values.iter().map(|value| (value - f32::from(label)).abs() < 0.5).collect();
        Self::new(labels.shape, &inside)
    }

    /// The voxels of a volume of values above `threshold`.
    pub fn above(values: &Volume, threshold: f32) -> Result<Self, MeasureError> {
        let inside: Vec<bool> = values.values.iter().map(|value| *value > threshold).collect();
        Self::new(values.shape, &inside)
    }

    fn cut(shape: [usize; 3], inside: &[bool]) -> Self {
        let [_, nj, nk] = shape;
        let (mut low, mut high) = ([usize::MAX; 3], [0; 3]);
        for at in inside.iter().enumerate().filter_map(|(at, inside)| inside.then_some(at)) {
            for (axis, index) in [at / (nj * nk), at / nk % nj, at % nk].into_iter().enumerate() {
                low[axis] = low[axis].min(index);
                high[axis] = high[axis].max(index + 1);
            }
        }
        if high[0] == 0 {
            return Self { shape: [0; 3], first: [0; 3], inside: Vec::new() };
        }
        let mut cut = Vec::with_capacity((0..3).map(|axis| high[axis] - low[axis]).product());
        for i in low[0]..high[0] {
            for j in low[1]..high[1] {
                let line = (i * nj + j) * nk;
                cut.extend_from_slice(&inside[line + low[2]..line + high[2]]);
            }
        }
        Self { shape: [0, 1, 2].map(|axis| high[axis] - low[axis]), first: low, inside: cut }
    }

    /// How many voxels belong.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inside.iter().filter(|inside| **inside).count()
    }

    /// The slices across an axis that have any voxel: index in the volume, and the slice.
    pub(super) fn slices(&self, axis: usize) -> impl Iterator<Item = (usize, PlaneMask)> {
        let [_, nj, nk] = self.shape;
        let axis = axis.min(2);
        let (down, along) = [(1, 2), (0, 2), (0, 1)][axis];
        let (rows, columns) = (self.shape[down], self.shape[along]);
        (0..self.shape[axis]).map(move |index| {
            let mut inside = Vec::with_capacity(rows * columns);
            for row in 0..rows {
                for column in 0..columns {
                    let mut at = [0; 3];
                    (at[axis], at[down], at[along]) = (index, row, column);
                    inside.push(self.inside[(at[0] * nj + at[1]) * nk + at[2]]);
                }
            }
            (self.first[axis] + index, PlaneMask { rows, columns, inside })
        })
    }

    /// How often a walk by `step` over all lines of that direction goes in or out.
    pub(super) fn crossings(&self, step: [isize; 3]) -> usize {
        crossings((self.shape, &self.inside), step)
    }
}

/// Pairs of places one step apart of which just one is inside, places beyond the box included: each voxel inside is an
/// end of two pairs, and a pair of two inside is met once from either end.
fn crossings((shape, inside): ([usize; 3], &[bool]), step: [isize; 3]) -> usize {
    let [ni, nj, nk] = shape;
    let (mut count, mut pairs) = (0, 0);
    let onward = |index: usize, step: isize, length: usize| index.checked_add_signed(step).filter(|at| *at < length);
    for i in 0..ni {
        let next_i = onward(i, step[0], ni);
        for j in 0..nj {
            let next_j = onward(j, step[1], nj);
            let line = (i * nj + j) * nk;
            for k in (0..nk).filter(|k| inside[line + k]) {
                count += 1;
                if let (Some(i), Some(j), Some(k)) = (next_i, next_j, onward(k, step[2], nk)) {
                    pairs += usize::from(inside[(i * nj + j) * nk + k]);
                }
            }
        }
    }
    2 * (count - pairs)
}
