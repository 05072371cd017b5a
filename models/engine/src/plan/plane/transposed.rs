//! A transposed convolution as convolutions: with stride 1 one with a turned kernel, with stride s one for each place
//! modulo s, whose results lie s apart and whose kernel holds every s-th tap.
//! Errors: `None` for a stride and a dilation along the same axis, which has no such form here.

use super::convolution::Geometry;
use crate::graph::Axis;

/// One part: its geometry and, for rows and columns of its kernel, the transposed kernel's tap.
pub(super) type Part = (Geometry, [Vec<usize>; 2]);

struct Line {
    lead: isize,
    count: usize,
    step: usize,
    from: usize,
    dilation: usize,
    taps: Vec<usize>,
}

/// The parts of a transposed convolution; `axes` are those of the convolution that it is the adjoint of.
pub(super) fn parts(axes: [Axis; 2]) -> Option<Vec<Part>> {
    let rows = lines(&axes[0])?;
    let columns = lines(&axes[1])?;
    let mut parts = Vec::with_capacity(rows.len() * columns.len());
    for row in &rows {
        for column in &columns {
            let geometry = Geometry {
                kernel: [row.taps.len(), column.taps.len()],
                stride: [1; 2],
                dilation: [row.dilation, column.dilation],
                lead: [row.lead, column.lead],
                count: [row.count, column.count],
                step: [row.step, column.step],
                from: [row.from, column.from],
            };
            parts.push((geometry, [row.taps.clone(), column.taps.clone()]));
        }
    }
    Some(parts)
}

fn lines(axis: &Axis) -> Option<Vec<Line>> {
    let Axis { kernel, stride, dilation, before, input: length, .. } = *axis;
    if stride == 1 {
        let lead = ((kernel - 1) * dilation).cast_signed() - before.cast_signed();
        let taps = (0..kernel).rev().collect();
        return Some(vec![Line { lead, count: length, step: 1, from: 0, dilation, taps }]);
    }
    if dilation != 1 {
        return None;
    }
    let line = |from: usize| {
        let (phase, base) = ((from + before) % stride, (from + before) / stride);
        let taps: Vec<usize> = (phase..kernel).step_by(stride).rev().collect();
        let lead = if taps.is_empty() { 0 } else { (taps.len() - 1).cast_signed() - base.cast_signed() };
        Line { lead, count: (length - from).div_ceil(stride), step: stride, from, dilation: 1, taps }
    };
    Some((0..stride.min(length)).map(line).collect())
}
