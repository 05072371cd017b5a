//! Winograd's products as steps. Light filters: one step whose tasks carry some patches from transform to result in
//! scratch memory. Heavy filters, which are larger than the points of all patches: three steps over points kept in the
//! arena, so that each weight is read once. Which one is decided by the shape; it changes no element's operations.
//! Shapes: points in scratch `[point][block][patch][16]`, in the arena `[block][point][patch][16]`.

use super::EngineError;
use super::convolution::{Convolution, Form};
use super::dense::Dense;
use super::floats::Floats;
use super::layout::Map;
use super::step::{Place, Step};
use crate::graph::Shape;
use crate::kernels::plane::Ending;
use crate::kernels::plane::tile::{COLUMNS_MAX, Tile, columns, tile};
use crate::kernels::plane::winograd::{Target, from_points2, from_points4, into_points2, into_points4};
use crate::lanes::LANES;
use std::ptr;

/// Floats that a second-level cache holds: transformed weights beside the points of a task.
const CACHED: usize = 440_000;

/// Weights that may take so many of them.
const FILTER_CACHED: usize = 300_000;

/// Output pairs of a task of products of a heavy filter.
const PAIRS: usize = 4;

/// How the result is cut into patches.
#[derive(Clone, Copy, Debug)]
struct Cut {
    m: usize,
    /// Patches of a row, and in all.
    across: usize,
    patches: usize,
}

impl Cut {
    const fn new(conv: &Convolution, m: usize) -> Self {
        let [rows, columns] = conv.geometry.count;
        let across = columns.div_ceil(m);
        Self { m, across, patches: rows.div_ceil(m) * across }
    }

    const fn points(&self) -> usize {
        (self.m + 2) * (self.m + 2)
    }

    /// Patches of a task in scratch memory.
    fn many(&self, conv: &Convolution) -> usize {
        let (inputs, outputs) = (conv.inputs.next_multiple_of(LANES), conv.outputs.next_multiple_of(LANES));
        let (weights, points) = (self.points() * inputs * outputs, self.points() * (inputs + outputs));
        let want = if weights <= FILTER_CACHED {
            ((CACHED - weights) / points).clamp(COLUMNS_MAX, 4 * COLUMNS_MAX)
        } else {
            (CACHED / points).max(32)
        };
        self.patches.div_ceil(self.patches.div_ceil(want).next_multiple_of(2))
    }

    /// Whether reading the weights once is worth keeping all points.
    fn heavy(&self, conv: &Convolution) -> bool {
        let weights = conv.inputs * conv.outputs * self.patches.div_ceil(self.many(conv));
        weights >= 3 * (conv.inputs + conv.outputs) * self.patches
    }

    /// Runs of patches of one row within `first..past`: (first patch, count).
    fn runs(&self, first: usize, past: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let across = self.across;
        let mut at = first;
        std::iter::from_fn(move || {
            let count = (across - at % across).min(past - at);
            let run = (at, count);
            at += count;
            (count > 0).then_some(run)
        })
    }

    /// Row and column of the result where a patch begins.
    const fn place(&self, patch: usize) -> [usize; 2] {
        [patch / self.across * self.m, patch % self.across * self.m]
    }
}

/// The shapes of a heavy filter's points before and after the products; `None` for a light one.
pub(super) fn kept(conv: &Convolution, lanes: usize) -> Option<[Shape; 2]> {
    let Form::Winograd(m) = conv.form(lanes) else { return None };
    let cut = Cut::new(conv, m);
    // an odd number of patches spreads a patch's points over a cache's sets
    let shape = |channels: usize| Shape::plane(channels, cut.points(), cut.patches | 1);
    cut.heavy(conv).then(|| [shape(conv.inputs), shape(conv.outputs)])
}

/// # Safety
/// As [`Step::task`]; the points of the run have room at `to`, `stride` floats apart.
unsafe fn transform(
    place: &Place<'_>,
    (conv, x, cut): (&Convolution, &Map, Cut),
    block: usize,
    (patch, run): (usize, usize),
    to: *mut f32,
    stride: usize,
) {
    let [row, column] = cut.place(patch).map(usize::cast_signed);
    let into = if cut.m == 4 { into_points4 } else { into_points2 };
    // SAFETY: `check` has found every patch within the input's border.
    unsafe {
        let x_at = x.address(place.arena, block, row - conv.geometry.lead[0], column - conv.geometry.lead[1]);
        into(place.isa, x_at, x.row, to, stride, run);
    }
}

/// # Safety
/// As [`Step::task`]; the points of the run lie at `from`, `stride` floats apart.
unsafe fn restore(
    place: &Place<'_>,
    (dense, cut): (&Dense, Cut),
    block: usize,
    (patch, run): (usize, usize),
    from: *const f32,
    stride: usize,
) {
    let [rows, wide] = dense.conv.geometry.count;
    let [row, column] = cut.place(patch);
    let restore = if cut.m == 4 { from_points4 } else { from_points2 };
    // SAFETY: `check` has found rows and columns up to the image's end within the operands.
    unsafe {
        let to = Target {
            start: dense.start.as_ptr().add(block * LANES),
            out: dense.y.address(place.arena, block, row.cast_signed(), column.cast_signed()),
            out_row: dense.y.row,
            rows: rows - row,
            columns: wide - column,
            ending: dense.ending(place.arena, block, row, column),
        };
        restore(place.isa, from, stride, run, &to);
    }
}

/// What the products of one point and pair read and write.
struct Product {
    x: *const f32,
    x_block: usize,
    weights: *const f32,
    out: *mut f32,
    out_block: usize,
    inputs: usize,
    blocks: usize,
    count: usize,
}

/// # Safety
/// The addresses hold `count` patches of all blocks.
unsafe fn multiply(place: &Place<'_>, product: &Product) {
    let mut at = 0;
    while at < product.count {
        let wide = columns(product.count - at, LANES);
        // SAFETY: as this function's.
        unsafe {
            let operands = Tile {
                x: product.x.add(at * LANES),
                weights: product.weights,
                start: ptr::null(),
                out: product.out.add(at * LANES),
                inputs: product.inputs.div_ceil(LANES),
                tail: (product.inputs - 1) % LANES + 1,
                kernel: [1; 2],
                x_block: product.x_block,
                x_tap: [0; 2],
                x_row: 0,
                x_column: LANES,
                out_block: product.out_block,
                out_row: 0,
                out_column: LANES,
                step: product.blocks * LANES,
                ending: Ending::NONE,
            };
            tile(place.isa, product.blocks, 1, wide, &operands);
        }
        at += wide;
    }
}

/// All of a light filter's work.
pub(super) struct Winograd {
    dense: Dense,
    cut: Cut,
    /// Patches of a task.
    many: usize,
}

impl Winograd {
    pub(super) fn new(dense: Dense, m: usize) -> Self {
        let cut = Cut::new(&dense.conv, m);
        let many = cut.many(&dense.conv);
        Self { dense, cut, many }
    }

    /// Floats between the points of so many blocks of `count` patches: an odd number of lines.
    const fn stride(blocks: usize, count: usize) -> usize {
        ((blocks * count) | 1) * LANES
    }

    /// Floats of a task's points before the products.
    const fn transformed(&self) -> usize {
        self.cut.points() * Self::stride(self.dense.input_blocks(), self.many)
    }
}

impl Step for Winograd {
    fn tasks(&self) -> usize {
        self.cut.patches.div_ceil(self.many)
    }

    fn scratch(&self) -> usize {
        let outputs = self.dense.conv.outputs.div_ceil(LANES);
        self.transformed() + self.cut.points() * Self::stride(outputs, self.many)
    }

    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let (dense, conv, cut) = (&self.dense, &self.dense.conv, self.cut);
        let (first, past) = (index * self.many, cut.patches.min((index + 1) * self.many));
        let (count, inputs, outputs) = (past - first, dense.input_blocks(), conv.outputs.div_ceil(LANES));
        let (before, after) = (Self::stride(inputs, count), Self::stride(outputs, count));
        // SAFETY: scratch holds the points of `many` patches on both sides of the products.
        unsafe {
            let products = place.scratch.add(self.transformed());
            for block in 0..inputs {
                for run in cut.runs(first, past) {
                    let to = place.scratch.add((block * count + run.0 - first) * LANES);
                    transform(place, (conv, &dense.x, cut), block, run, to, before);
                }
            }
            for point in 0..cut.points() {
                for pair in 0..dense.pairs() {
                    let product = Product {
                        x: place.scratch.add(point * before),
                        x_block: count * LANES,
                        weights: dense.weights.as_ptr().add((point * outputs + 2 * pair) * LANES * conv.inputs),
                        out: products.add(point * after + 2 * pair * count * LANES),
                        out_block: count * LANES,
                        inputs: conv.inputs,
                        blocks: dense.blocks(pair),
                        count,
                    };
                    multiply(place, &product);
                }
            }
            for block in 0..outputs {
                for run in cut.runs(first, past) {
                    let from = products.add((block * count + run.0 - first) * LANES);
                    restore(place, (dense, cut), block, run, from, after);
                }
            }
        }
    }

    fn bytes(&self) -> usize {
        self.dense.weights.len() * 4
    }

    fn name(&self) -> String {
        self.dense.describe(if self.cut.m == 4 { "winograd 4" } else { "winograd 2" })
    }
}

/// A heavy filter's inputs to points; a task a block and a row of patches.
pub(super) struct Transform {
    conv: Convolution,
    x: Map,
    points: Map,
    cut: Cut,
}

impl Transform {
    pub(super) fn new(conv: Convolution, x: Map, points: Map) -> Self {
        let Form::Winograd(m) = conv.form(x.lanes) else { unreachable!("a transform is Winograd's") };
        let cut = Cut::new(&conv, m);
        x.whole();
        points.whole();
        let lead = conv.geometry.lead;
        let reach = |axis: usize| (conv.geometry.count[axis].next_multiple_of(m) + 1).cast_signed() - lead[axis];
        x.covers([-lead[0], -lead[1]], [reach(0), reach(1)]);
        points.holds([cut.points() - 1, cut.patches - 1]);
        assert_eq!((x.channels, points.channels), (conv.inputs, conv.inputs));
        Self { conv, x, points, cut }
    }
}

impl Step for Transform {
    fn tasks(&self) -> usize {
        self.points.blocks() * (self.cut.patches / self.cut.across)
    }

    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let down = self.cut.patches / self.cut.across;
        let (block, patch) = (index / down, index % down * self.cut.across);
        // SAFETY: the points have room for all patches of all blocks.
        unsafe {
            let to = self.points.address(place.arena, block, 0, patch.cast_signed());
            transform(place, (&self.conv, &self.x, self.cut), block, (patch, self.cut.across), to, self.points.row);
        }
    }

    fn name(&self) -> String {
        format!("winograd {} points of {}", self.cut.m, self.conv.inputs)
    }
}

/// A heavy filter's products; a task some pairs of outputs at a point.
pub(super) struct Products {
    conv: Convolution,
    from: Map,
    to: Map,
    cut: Cut,
    weights: Floats,
}

impl Products {
    pub(super) fn new(conv: Convolution, from: Map, to: Map) -> Result<Self, EngineError> {
        let Form::Winograd(m) = conv.form(LANES) else { unreachable!("products are Winograd's") };
        let cut = Cut::new(&conv, m);
        assert_eq!((from.channels, to.channels), (conv.inputs, conv.outputs));
        for map in [&from, &to] {
            map.whole();
            map.holds([cut.points() - 1, cut.patches - 1]);
        }
        let weights = conv.packed(Form::Winograd(m))?;
        Ok(Self { conv, from, to, cut, weights })
    }

    fn pairs(&self) -> usize {
        self.to.blocks().div_ceil(2)
    }
}

impl Step for Products {
    fn tasks(&self) -> usize {
        self.cut.points() * self.pairs().div_ceil(PAIRS)
    }

    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let parts = self.pairs().div_ceil(PAIRS);
        let (point, first) = (index / parts, index % parts * PAIRS);
        for pair in first..self.pairs().min(first + PAIRS) {
            // SAFETY: both sides hold all patches of all blocks at every point; the weights hold every pair and point.
            unsafe {
                let product = Product {
                    x: self.from.address(place.arena, 0, point.cast_signed(), 0),
                    x_block: self.from.block,
                    weights: self
                        .weights
                        .as_ptr()
                        .add((point * self.to.blocks() + 2 * pair) * LANES * self.conv.inputs),
                    out: self.to.address(place.arena, 2 * pair, point.cast_signed(), 0),
                    out_block: self.to.block,
                    inputs: self.conv.inputs,
                    blocks: 2.min(self.to.blocks() - 2 * pair),
                    count: self.cut.patches,
                };
                multiply(place, &product);
            }
        }
    }

    fn bytes(&self) -> usize {
        self.weights.len() * 4
    }

    fn name(&self) -> String {
        let (conv, [high, wide]) = (&self.conv, self.conv.geometry.count);
        format!("winograd {} {}->{} 3x3/1 at {high}x{wide}", self.cut.m, conv.inputs, conv.outputs)
    }
}

/// A heavy filter's points to results; a task a block and a row of patches.
pub(super) struct Restore {
    dense: Dense,
    points: Map,
    cut: Cut,
}

impl Restore {
    pub(super) fn new(conv: Convolution, points: Map, y: Map, rest: Option<Map>) -> Self {
        let Form::Winograd(m) = conv.form(LANES) else { unreachable!("a restoration is Winograd's") };
        let cut = Cut::new(&conv, m);
        points.whole();
        points.holds([cut.points() - 1, cut.patches - 1]);
        assert_eq!(points.channels, conv.outputs);
        let dense = Dense::without_weights(conv, points, y, rest);
        Self { dense, points, cut }
    }
}

impl Step for Restore {
    fn tasks(&self) -> usize {
        self.points.blocks() * (self.cut.patches / self.cut.across)
    }

    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let down = self.cut.patches / self.cut.across;
        let (block, patch) = (index / down, index % down * self.cut.across);
        // SAFETY: the points hold all patches of all blocks.
        unsafe {
            let from = self.points.address(place.arena, block, 0, patch.cast_signed());
            restore(place, (&self.dense, self.cut), block, (patch, self.cut.across), from, self.points.row);
        }
    }

    fn name(&self) -> String {
        format!("winograd {} results of {}", self.cut.m, self.dense.conv.outputs)
    }
}
