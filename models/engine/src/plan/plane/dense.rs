//! Steps of dense convolutions: direct, pointwise and by Winograd's products, all over one register tile.
//! Tasks: direct, a pair of output blocks and some rows; pointwise, some pixels and all outputs; Winograd, some patches
//! and all outputs. How a layer is cut never changes an element's list of operations.

use super::EngineError;
use super::convolution::{Convolution, Form};
use super::layout::Map;
use super::pack;
use super::step::{Place, Step};
use crate::kernels::plane::Ending;
use crate::kernels::plane::pool::{Prepared, prepare, prepare_means};
use crate::kernels::plane::tile::{COLUMNS_MAX, Tile, columns, tile};
use crate::kernels::plane::winograd::{Target, from_points2, from_points4, into_points2, into_points4};
use crate::lanes::LANES;
use std::ptr;

/// What the three forms have in common.
pub(super) struct Dense {
    conv: Convolution,
    x: Map,
    y: Map,
    rest: Option<Map>,
    weights: Vec<f32>,
    start: Vec<f32>,
}

impl Dense {
    /// The step of a convolution's form, its weights packed.
    pub(super) fn step(conv: Convolution, x: Map, y: Map, rest: Option<Map>) -> Result<Box<dyn Step>, EngineError> {
        conv.check(&x, &y, rest.as_ref());
        let form = conv.form(x.lanes);
        let weights = conv.packed(|filter| match form {
            Form::Winograd(m) => pack::winograd(filter, m),
            _ => pack::dense(filter),
        })?;
        let start = conv.starts();
        let dense = Self { conv, x, y, rest, weights, start };
        Ok(match form {
            Form::Winograd(m) => Box::new(Winograd::new(dense, m)),
            Form::Pointwise => Box::new(Pointwise::new(dense)),
            _ => Box::new(Direct::new(dense)),
        })
    }

    fn pairs(&self) -> usize {
        self.conv.outputs.div_ceil(2 * LANES)
    }

    /// Output blocks of a pair.
    fn blocks(&self, pair: usize) -> usize {
        2.min(self.conv.outputs.div_ceil(LANES) - 2 * pair)
    }

    const fn input_blocks(&self) -> usize {
        self.conv.inputs.div_ceil(LANES)
    }

    const fn tail(&self) -> usize {
        (self.conv.inputs - 1) % LANES + 1
    }

    /// The ending of the elements from output block `block`, position `[row, column]` of the value on.
    ///
    /// # Safety
    /// `arena` is the plan's; block and position are the value's.
    unsafe fn ending(&self, arena: *mut f32, block: usize, row: usize, column: usize) -> Ending {
        let conv = &self.conv;
        let mut ending = Ending { first: conv.first, last: conv.last, ..Ending::NONE };
        // SAFETY: `check` has found the operands large enough.
        unsafe {
            if let Some(affine) = &conv.affine {
                ending.factor = affine.factor.as_ptr().add(block * LANES);
                ending.offset = affine.offset.as_ptr().add(block * LANES);
            }
            if let Some(rest) = &self.rest {
                ending.rest = rest.address(arena, block, row.cast_signed(), column.cast_signed());
                (ending.rest_row, ending.rest_block) = (rest.row * conv.geometry.step[0], rest.block);
            }
        }
        ending
    }

    fn describe(&self, form: &str) -> String {
        let (conv, at) = (&self.conv, &self.conv.geometry);
        let ([rows, columns], [high, wide], stride) = (at.kernel, at.count, at.stride[0]);
        format!("{form} {}->{} {rows}x{columns}/{stride} at {high}x{wide}", conv.inputs, conv.outputs)
    }
}

/// Taps read where they lie.
struct Direct {
    dense: Dense,
    rows: usize,
}

impl Direct {
    fn new(dense: Dense) -> Self {
        let [rows, columns] = dense.conv.geometry.count;
        let rows = if columns <= COLUMNS_MAX / 2 { 2 } else { (rows / 8).clamp(1, 4) };
        Self { dense, rows }
    }

    fn bands(&self) -> usize {
        self.dense.conv.geometry.count[0].div_ceil(self.rows)
    }
}

impl Step for Direct {
    fn tasks(&self) -> usize {
        self.dense.conv.groups * self.dense.pairs() * self.bands()
    }

    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let (dense, conv, at) = (&self.dense, &self.dense.conv, &self.dense.conv.geometry);
        let (x, y) = (&dense.x, &dense.y);
        let (part, band) = (index / self.bands(), index % self.bands());
        let (group, pair) = (part / dense.pairs(), part % dense.pairs());
        let blocks = dense.blocks(pair);
        let taps = at.kernel[0] * at.kernel[1];
        let group_floats = conv.outputs.next_multiple_of(LANES) * conv.inputs * taps;
        let block = group * conv.outputs / LANES + 2 * pair;
        let x_column = at.stride[1] * x.lanes;
        let end = at.count[0].min((band + 1) * self.rows);
        let mut row = band * self.rows;
        while row < end {
            let rows = if at.count[1] <= COLUMNS_MAX / 2 && x_column == LANES && row + 2 <= end { 2 } else { 1 };
            let mut column = 0;
            while column < at.count[1] {
                let wide = columns(at.count[1] - column, x_column);
                let (to_row, to_column) = (row * at.step[0] + at.from[0], column * at.step[1] + at.from[1]);
                let from_row = (row * at.stride[0]).cast_signed() - at.lead[0];
                let from_column = (column * at.stride[1]).cast_signed() - at.lead[1];
                // SAFETY: `check` has found every tap and result of these elements within the operands.
                unsafe {
                    let operands = Tile {
                        x: x.address(place.arena, group * conv.inputs / x.lanes, from_row, from_column),
                        weights: dense
                            .weights
                            .as_ptr()
                            .add(group * group_floats + pair * 2 * LANES * conv.inputs * taps),
                        start: dense.start.as_ptr().add(block * LANES),
                        out: y.address(place.arena, block, to_row.cast_signed(), to_column.cast_signed()),
                        inputs: dense.input_blocks(),
                        tail: dense.tail(),
                        kernel: at.kernel,
                        x_block: x.block,
                        x_tap: [at.dilation[0] * x.row, at.dilation[1] * x.lanes],
                        x_row: at.stride[0] * x.row,
                        x_column,
                        out_block: y.block,
                        out_row: y.row * at.step[0],
                        out_column: LANES * at.step[1],
                        step: blocks * LANES,
                        ending: dense.ending(place.arena, block, to_row, to_column),
                    };
                    tile(place.isa, blocks, rows, wide, &operands);
                }
                column += wide;
            }
            row += rows;
        }
    }

    fn bytes(&self) -> usize {
        self.dense.weights.len() * 4
    }

    fn name(&self) -> String {
        self.dense.describe("direct")
    }
}

/// One tap, no stride: pixels as one long row where nothing lies between them; the input may be prepared in scratch.
struct Pointwise {
    dense: Dense,
    /// Without rows: all pixels are one row.
    flat: bool,
    /// Pixels of a task if flat, else rows.
    many: usize,
}

impl Pointwise {
    fn new(dense: Dense) -> Self {
        let bordered = dense.x.bordered() || dense.y.bordered() || dense.rest.is_some_and(|rest| rest.bordered());
        let means = dense.conv.prepared.as_ref().is_some_and(|prepared| prepared.means);
        let [rows, columns] = dense.conv.geometry.count;
        let pixels = match rows * columns {
            1568.. => 56,
            392.. => 28,
            _ => 14,
        };
        let flat = !bordered && !means;
        Self { dense, flat, many: if flat { pixels } else { (pixels / columns).max(1) } }
    }

    /// Rows and columns of the whole, as this step sees it.
    const fn size(&self) -> [usize; 2] {
        let [rows, columns] = self.dense.conv.geometry.count;
        if self.flat { [1, rows * columns] } else { [rows, columns] }
    }

    /// First row, rows, first column and columns of a task.
    fn part(&self, index: usize) -> [usize; 4] {
        let [rows, columns] = self.size();
        let first = index * self.many;
        if self.flat {
            [0, 1, first, self.many.min(columns - first)]
        } else {
            [first, self.many.min(rows - first), 0, columns]
        }
    }

    /// Prepares a task's pixels, `[input block][pixel][16]`.
    ///
    /// # Safety
    /// As [`Step::task`].
    unsafe fn prepare(&self, place: &Place<'_>, prepared: &super::convolution::Preparation, part: [usize; 4]) {
        let [first, rows, from, wide] = part;
        let x = &self.dense.x;
        for block in 0..self.dense.input_blocks() {
            // SAFETY: `check` has found pixels and factors; scratch holds the task's pixels of all blocks.
            unsafe {
                let by = Prepared {
                    factor: prepared.affine.factor.as_ptr().add(block * LANES),
                    offset: prepared.affine.offset.as_ptr().add(block * LANES),
                    clip: prepared.clip,
                };
                for row in 0..rows {
                    let to = place.scratch.add((block * rows + row) * wide * LANES);
                    let at = (first + row).cast_signed();
                    if prepared.means {
                        let from = x.address(place.arena, block, 2 * at, 0);
                        prepare_means(place.isa, from, x.row, &by, to, wide);
                    } else {
                        let from = x.address(place.arena, block, at, from.cast_signed());
                        prepare(place.isa, from, &by, to, wide);
                    }
                }
            }
        }
    }
}

impl Step for Pointwise {
    fn tasks(&self) -> usize {
        let [rows, columns] = self.size();
        if self.flat { columns.div_ceil(self.many) } else { rows.div_ceil(self.many) }
    }

    fn scratch(&self) -> usize {
        let [_, rows, _, wide] = self.part(0);
        if self.dense.conv.prepared.is_some() { self.dense.input_blocks() * rows * wide * LANES } else { 0 }
    }

    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let (dense, conv) = (&self.dense, &self.dense.conv);
        let (x, y) = (&dense.x, &dense.y);
        let part = self.part(index);
        let [first, rows, from, wide] = part;
        if let Some(prepared) = &conv.prepared {
            // SAFETY: as this function's.
            unsafe { self.prepare(place, prepared, part) };
        }
        for pair in 0..dense.pairs() {
            let blocks = dense.blocks(pair);
            let mut row = 0;
            while row < rows {
                let high = if wide <= COLUMNS_MAX / 2 && row + 2 <= rows { 2 } else { 1 };
                let mut column = 0;
                while column < wide {
                    let count = columns(wide - column, LANES);
                    let (at_row, at_column) = (first + row, from + column);
                    // SAFETY: `check` has found every pixel within the operands; scratch holds the prepared ones.
                    unsafe {
                        let (from, x_block, x_row) = if conv.prepared.is_some() {
                            let from = place.scratch.add((row * wide + column) * LANES).cast_const();
                            (from, rows * wide * LANES, wide * LANES)
                        } else {
                            let from = x.address(place.arena, 0, at_row.cast_signed(), at_column.cast_signed());
                            (from.cast_const(), x.block, x.row)
                        };
                        let operands = Tile {
                            x: from,
                            weights: dense.weights.as_ptr().add(pair * 2 * LANES * conv.inputs),
                            start: dense.start.as_ptr().add(pair * 2 * LANES),
                            out: y.address(place.arena, 2 * pair, at_row.cast_signed(), at_column.cast_signed()),
                            inputs: dense.input_blocks(),
                            tail: dense.tail(),
                            kernel: [1; 2],
                            x_block,
                            x_tap: [0; 2],
                            x_row,
                            x_column: LANES,
                            out_block: y.block,
                            out_row: y.row,
                            out_column: LANES,
                            step: blocks * LANES,
                            ending: dense.ending(place.arena, 2 * pair, at_row, at_column),
                        };
                        tile(place.isa, blocks, high, count, &operands);
                    }
                    column += count;
                }
                row += high;
            }
        }
    }

    fn bytes(&self) -> usize {
        self.dense.weights.len() * 4
    }

    fn name(&self) -> String {
        self.dense.describe("pointwise")
    }
}

/// Winograd's products: transforms of a run of patches stay in scratch memory.
struct Winograd {
    dense: Dense,
    m: usize,
    /// Patches of a row, patches in all, patches of a task.
    across: usize,
    patches: usize,
    many: usize,
}

impl Winograd {
    fn new(dense: Dense, m: usize) -> Self {
        let [rows, columns] = dense.conv.geometry.count;
        let (down, across) = (rows.div_ceil(m), columns.div_ceil(m));
        let patches = down * across;
        let want = if dense.conv.inputs + dense.conv.outputs <= 192 { 28 } else { 14 };
        let tasks = patches.div_ceil(want).next_multiple_of(2);
        Self { dense, m, across, patches, many: patches.div_ceil(tasks) }
    }

    const fn points(&self) -> usize {
        (self.m + 2) * (self.m + 2)
    }

    /// Floats of a task's transformed inputs.
    const fn transformed(&self) -> usize {
        self.points() * self.dense.input_blocks() * self.many * LANES
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

    /// # Safety
    /// As [`Step::task`].
    unsafe fn transform(&self, place: &Place<'_>, first: usize, past: usize) {
        let (dense, lead) = (&self.dense, self.dense.conv.geometry.lead);
        let (count, blocks) = (past - first, dense.input_blocks());
        for block in 0..blocks {
            for (patch, run) in self.runs(first, past) {
                let row = (patch / self.across * self.m).cast_signed() - lead[0];
                let column = (patch % self.across * self.m).cast_signed() - lead[1];
                // SAFETY: `check` has found every patch within the input's border; scratch holds the transforms.
                unsafe {
                    let x = dense.x.address(place.arena, block, row, column);
                    let to = place.scratch.add((block * count + patch - first) * LANES);
                    let into = if self.m == 4 { into_points4 } else { into_points2 };
                    into(place.isa, x, dense.x.row, to, blocks * count * LANES, run);
                }
            }
        }
    }

    /// # Safety
    /// As [`Step::task`].
    unsafe fn multiply(&self, place: &Place<'_>, count: usize) {
        let (dense, conv) = (&self.dense, &self.dense.conv);
        let (inputs, outputs) = (dense.input_blocks(), conv.outputs.div_ceil(LANES));
        for point in 0..self.points() {
            for pair in 0..dense.pairs() {
                let blocks = dense.blocks(pair);
                let mut at = 0;
                while at < count {
                    let wide = columns(count - at, LANES);
                    // SAFETY: scratch holds both sides' points; the weights hold this pair's and point's.
                    unsafe {
                        let products = place.scratch.add(self.transformed());
                        let weights =
                            pair * 2 * LANES * conv.inputs * self.points() + point * blocks * LANES * conv.inputs;
                        let operands = Tile {
                            x: place.scratch.add((point * inputs * count + at) * LANES),
                            weights: dense.weights.as_ptr().add(weights),
                            start: ptr::null(),
                            out: products.add(((point * outputs + 2 * pair) * count + at) * LANES),
                            inputs,
                            tail: dense.tail(),
                            kernel: [1; 2],
                            x_block: count * LANES,
                            x_tap: [0; 2],
                            x_row: 0,
                            x_column: LANES,
                            out_block: count * LANES,
                            out_row: 0,
                            out_column: LANES,
                            step: blocks * LANES,
                            ending: Ending::NONE,
                        };
                        tile(place.isa, blocks, 1, wide, &operands);
                    }
                    at += wide;
                }
            }
        }
    }

    /// # Safety
    /// As [`Step::task`].
    unsafe fn restore(&self, place: &Place<'_>, first: usize, past: usize) {
        let (dense, [rows, wide]) = (&self.dense, self.dense.conv.geometry.count);
        let (count, outputs) = (past - first, dense.conv.outputs.div_ceil(LANES));
        for block in 0..outputs {
            for (patch, run) in self.runs(first, past) {
                let (row, column) = (patch / self.across * self.m, patch % self.across * self.m);
                // SAFETY: `check` has found rows and columns up to the image's end within the operands.
                unsafe {
                    let points = place.scratch.add(self.transformed() + (block * count + patch - first) * LANES);
                    let to = Target {
                        start: dense.start.as_ptr().add(block * LANES),
                        out: dense.y.address(place.arena, block, row.cast_signed(), column.cast_signed()),
                        out_row: dense.y.row,
                        rows: rows - row,
                        columns: wide - column,
                        ending: dense.ending(place.arena, block, row, column),
                    };
                    let from = if self.m == 4 { from_points4 } else { from_points2 };
                    from(place.isa, points, outputs * count * LANES, run, &to);
                }
            }
        }
    }
}

impl Step for Winograd {
    fn tasks(&self) -> usize {
        self.patches.div_ceil(self.many)
    }

    fn scratch(&self) -> usize {
        self.transformed() + self.points() * self.dense.conv.outputs.div_ceil(LANES) * self.many * LANES
    }

    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let (first, past) = (index * self.many, self.patches.min((index + 1) * self.many));
        // SAFETY: as this function's.
        unsafe {
            self.transform(place, first, past);
            self.multiply(place, past - first);
            self.restore(place, first, past);
        }
    }

    fn bytes(&self) -> usize {
        self.dense.weights.len() * 4
    }

    fn name(&self) -> String {
        self.dense.describe(if self.m == 4 { "winograd 4" } else { "winograd 2" })
    }
}
