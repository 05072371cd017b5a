//! Steps that do little arithmetic: depthwise convolution, pools, means and maps.
//! Tasks: a channel block, or rows of one.

use super::EngineError;
use super::convolution::{Affine, Convolution};
use super::layout::Map;
use super::pack;
use super::step::{Place, Step};
use crate::graph::Axis;
use crate::kernels::plane::pool::{Prepared, maximum, mean};
use crate::kernels::plane::{Clip, Ending, depthwise, map};
use crate::lanes::LANES;
use std::ptr;

/// Rows of a task: eight or so tasks a block where there are many rows.
fn rows_of(rows: usize) -> usize {
    rows.div_ceil(8).max(4)
}

/// Splits a task's index into block, first row and past row.
fn band(index: usize, rows: usize) -> (usize, usize, usize) {
    let many = rows_of(rows);
    let bands = rows.div_ceil(many);
    let first = index % bands * many;
    (index / bands, first, rows.min(first + many))
}

/// Tasks of so many blocks.
fn bands(blocks: usize, rows: usize) -> usize {
    blocks * rows.div_ceil(rows_of(rows))
}

/// Each channel with its own kernel.
pub(super) struct Depthwise {
    conv: Convolution,
    x: Map,
    y: Map,
    rest: Option<Map>,
    weights: Vec<f32>,
    start: Vec<f32>,
}

impl Depthwise {
    pub(super) fn new(conv: Convolution, x: Map, y: Map, rest: Option<Map>) -> Result<Self, EngineError> {
        conv.check(&x, &y, rest.as_ref());
        x.whole();
        let taps = conv.geometry.kernel[0] * conv.geometry.kernel[1];
        let factor = conv.source.factor.as_deref();
        let weights = conv.with_filter(|values| {
            pack::depthwise(pack::Filter { values, factor, outputs: conv.groups, inputs: 1, taps })
        })?;
        let start = conv.starts();
        Ok(Self { conv, x, y, rest, weights, start })
    }
}

impl Step for Depthwise {
    fn tasks(&self) -> usize {
        bands(self.y.blocks(), self.conv.geometry.count[0])
    }

    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let (conv, at) = (&self.conv, &self.conv.geometry);
        let (block, first, past) = band(index, at.count[0]);
        let taps = at.kernel[0] * at.kernel[1];
        for row in first..past {
            let to = row * at.step[0] + at.from[0];
            // SAFETY: `check` has found every tap and result within the operands.
            unsafe {
                let mut ending = Ending { first: conv.first, last: conv.last, ..Ending::NONE };
                if let Some(affine) = &conv.affine {
                    ending.factor = affine.factor.as_ptr().add(block * LANES);
                    ending.offset = affine.offset.as_ptr().add(block * LANES);
                }
                if let Some(rest) = &self.rest {
                    ending.rest = rest.address(place.arena, block, to.cast_signed(), at.from[1].cast_signed());
                }
                let from = (row * at.stride[0]).cast_signed() - at.lead[0];
                let operands = depthwise::Row {
                    x: self.x.address(place.arena, block, from, -at.lead[1]),
                    weights: self.weights.as_ptr().add(block * taps * LANES),
                    start: self.start.as_ptr().add(block * LANES),
                    out: self.y.address(place.arena, block, to.cast_signed(), at.from[1].cast_signed()),
                    kernel: at.kernel,
                    x_tap: [at.dilation[0] * self.x.row, at.dilation[1] * LANES],
                    x_column: at.stride[1] * LANES,
                    out_column: at.step[1] * LANES,
                    columns: at.count[1],
                    ending,
                };
                depthwise::row(place.isa, &operands);
            }
        }
    }

    fn bytes(&self) -> usize {
        self.weights.len() * 4
    }

    fn name(&self) -> String {
        let ([rows, columns], [high, wide]) = (self.conv.geometry.kernel, self.conv.geometry.count);
        format!("depthwise {} {rows}x{columns} at {high}x{wide}", self.conv.groups)
    }
}

/// Maximum or mean under a window.
pub(super) struct Pooling {
    x: Map,
    y: Map,
    axes: [Axis; 2],
    maximum: bool,
}

impl Pooling {
    pub(super) fn new(x: Map, y: Map, axes: [Axis; 2], maximum: bool) -> Self {
        x.whole();
        y.whole();
        assert_eq!(x.channels, y.channels);
        for (axis, at) in axes.iter().enumerate() {
            assert_eq!((x.size[axis], y.size[axis]), (at.input, at.output), "the axes are the operands'");
            assert!((0..at.output).all(|out| !under(at, out).is_empty()), "no window lies in the padding alone");
        }
        Self { x, y, axes, maximum }
    }
}

/// The taps of output `out` that lie in the image.
fn under(axis: &Axis, out: usize) -> std::ops::Range<usize> {
    let first = (out * axis.stride).saturating_sub(axis.before);
    let past = (out * axis.stride + axis.kernel).saturating_sub(axis.before).min(axis.input);
    first..past
}

impl Step for Pooling {
    fn tasks(&self) -> usize {
        bands(self.y.blocks(), self.y.size[0])
    }

    #[expect(clippy::cast_precision_loss, reason = "a window has fewer than 2^24 positions")]
    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let (block, first, past) = band(index, self.y.size[0]);
        for row in first..past {
            let rows = under(&self.axes[0], row);
            for column in 0..self.y.size[1] {
                let columns = under(&self.axes[1], column);
                // SAFETY: the window is cut to the image, and the result lies in its own.
                unsafe {
                    let x = self.x.address(place.arena, block, rows.start.cast_signed(), columns.start.cast_signed());
                    let out = self.y.address(place.arena, block, row.cast_signed(), column.cast_signed());
                    if self.maximum {
                        maximum(place.isa, x, self.x.row, rows.len(), columns.len(), out);
                    } else {
                        let share = 1.0 / (rows.len() * columns.len()) as f32;
                        mean(place.isa, x, self.x.row, rows.len(), columns.len(), &Prepared::NONE, share, out);
                    }
                }
            }
        }
    }

    fn name(&self) -> String {
        format!("pool {} at {:?}", self.y.channels, self.y.size)
    }
}

/// Mean over the space, of prepared values.
pub(super) struct GlobalMean {
    x: Map,
    y: Map,
    prepared: Option<(Affine, Clip)>,
}

impl GlobalMean {
    pub(super) fn new(x: Map, y: Map, prepared: Option<(Affine, Clip)>) -> Self {
        x.whole();
        y.whole();
        assert_eq!((x.channels, y.size), (y.channels, [1, 1]));
        if let Some((affine, _)) = &prepared {
            assert!(affine.factor.len() >= x.blocks() * LANES && affine.offset.len() >= x.blocks() * LANES);
        }
        Self { x, y, prepared }
    }
}

impl Step for GlobalMean {
    fn tasks(&self) -> usize {
        self.y.blocks()
    }

    #[expect(clippy::cast_precision_loss, reason = "as the plain form rounds it")]
    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let [rows, columns] = self.x.size;
        // SAFETY: a whole block of the view; the factors have been found long enough.
        unsafe {
            let prepared = self.prepared.as_ref().map_or(Prepared::NONE, |(affine, clip)| Prepared {
                factor: affine.factor.as_ptr().add(index * LANES),
                offset: affine.offset.as_ptr().add(index * LANES),
                clip: *clip,
            });
            let (x, out) = (self.x.address(place.arena, index, 0, 0), self.y.address(place.arena, index, 0, 0));
            mean(place.isa, x, self.x.row, rows, columns, &prepared, 1.0 / (rows * columns) as f32, out);
        }
    }

    fn name(&self) -> String {
        format!("global mean {} at {:?}", self.x.channels, self.x.size)
    }
}

/// A function of each value of one or two operands.
pub(super) struct Mapping {
    a: Map,
    b: Option<Map>,
    y: Map,
    each: map::Each,
    affine: Option<Affine>,
    clip: Clip,
}

impl Mapping {
    pub(super) fn new(a: Map, b: Option<Map>, y: Map, each: map::Each, affine: Option<Affine>, clip: Clip) -> Self {
        use map::Each;
        a.whole();
        y.whole();
        assert_eq!((a.size, a.channels), (y.size, y.channels));
        let two = !matches!(each, Each::Same | Each::Scale(_) | Each::Affine | Each::Factor | Each::Leaky(_));
        assert_eq!(b.is_some(), two, "as many operands as the operation takes");
        if let Some(b) = &b {
            b.whole();
            let channels = if each == Each::MultiplyFirst { 1 } else { y.channels };
            assert_eq!((b.size, b.channels), (y.size, channels));
        }
        assert_eq!(affine.is_some(), matches!(each, Each::Affine | Each::Factor));
        if let Some(affine) = &affine {
            assert!(affine.factor.len() >= y.blocks() * LANES && affine.offset.len() >= y.blocks() * LANES);
        }
        Self { a, b, y, each, affine, clip }
    }
}

impl Step for Mapping {
    fn tasks(&self) -> usize {
        bands(self.y.blocks(), self.y.size[0])
    }

    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let (block, first, past) = band(index, self.y.size[0]);
        for row in first..past {
            let at = row.cast_signed();
            // SAFETY: a row of a block of each view; the factors have been found long enough.
            unsafe {
                let (factor, offset) = self.affine.as_ref().map_or((ptr::null(), ptr::null()), |affine| {
                    (affine.factor.as_ptr().add(block * LANES), affine.offset.as_ptr().add(block * LANES))
                });
                let b = self.b.as_ref().map_or(ptr::null_mut(), |b| {
                    b.address(place.arena, if self.each == map::Each::MultiplyFirst { 0 } else { block }, at, 0)
                });
                let operands = map::Row {
                    a: self.a.address(place.arena, block, at, 0),
                    b,
                    factor,
                    offset,
                    out: self.y.address(place.arena, block, at, 0),
                    columns: self.y.size[1],
                    clip: self.clip,
                };
                map::row(place.isa, self.each, &operands);
            }
        }
    }

    fn name(&self) -> String {
        format!("{:?} {} at {:?}", self.each, self.y.channels, self.y.size)
    }
}

/// Channels moved to another place of a block: what a concatenation or slice cannot do by a view.
pub(super) struct Copy {
    pub(super) x: Map,
    /// First channel taken.
    pub(super) from: usize,
    pub(super) y: Map,
    /// First channel written.
    pub(super) to: usize,
    pub(super) channels: usize,
}

impl Copy {
    pub(super) fn check(self) -> Self {
        assert_eq!(self.x.size, self.y.size);
        assert!(self.from + self.channels <= self.x.channels && self.to + self.channels <= self.y.channels);
        self
    }
}

impl Step for Copy {
    fn tasks(&self) -> usize {
        self.channels
    }

    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let (from, to) = (self.from + index, self.to + index);
        let [rows, columns] = self.x.size;
        for row in 0..rows {
            // SAFETY: `check` has found both channels within their views; a task writes one channel's lanes.
            unsafe {
                let x = self.x.address(place.arena, from / self.x.lanes, row.cast_signed(), 0).add(from % self.x.lanes);
                let y = self.y.address(place.arena, to / self.y.lanes, row.cast_signed(), 0).add(to % self.y.lanes);
                for column in 0..columns {
                    y.add(column * self.y.lanes).write(x.add(column * self.x.lanes).read());
                }
            }
        }
    }

    fn name(&self) -> String {
        format!("copy {} at {:?}", self.channels, self.x.size)
    }
}
