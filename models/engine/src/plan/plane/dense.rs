//! Steps of dense convolutions: direct and pointwise, over one register tile; Winograd's products lie in `winograd`.
//! Tasks: direct, a pair of output blocks and some rows; pointwise, some pixels and all outputs.
//! How a layer is cut never changes an element's list of operations.

use super::EngineError;
use super::convolution::{Convolution, Form};
use super::floats::Floats;
use super::layout::Map;
use super::step::{Place, Step};
use super::winograd::Winograd;
use crate::kernels::plane::Ending;
use crate::kernels::plane::pool::{Prepared, prepare, prepare_means};
use crate::kernels::plane::tile::{COLUMNS_MAX, Tile, columns, tile};
use crate::lanes::LANES;

/// What the three forms have in common.
pub(super) struct Dense {
    pub(super) conv: Convolution,
    pub(super) x: Map,
    pub(super) y: Map,
    rest: Option<Map>,
    pub(super) weights: Floats,
    pub(super) start: Vec<f32>,
}

impl Dense {
    /// The step of a convolution's form, its weights packed.
    pub(super) fn step(conv: Convolution, x: Map, y: Map, rest: Option<Map>) -> Result<Box<dyn Step>, EngineError> {
        conv.check(&x, &y, rest.as_ref());
        let form = conv.form(x.lanes);
        let weights = conv.packed(form)?;
        let dense = Self { weights, ..Self::without_weights(conv, x, y, rest) };
        Ok(match form {
            Form::Winograd(m) => Box::new(Winograd::new(dense, m)),
            Form::Pointwise => Box::new(Pointwise::new(dense)),
            _ => Box::new(Direct::new(dense)),
        })
    }

    /// The result's side alone, whatever its sums are made of.
    pub(super) fn without_weights(conv: Convolution, x: Map, y: Map, rest: Option<Map>) -> Self {
        conv.check_result(&y, rest.as_ref());
        let start = conv.starts();
        Self { conv, x, y, rest, weights: Floats::new(0), start }
    }

    pub(super) fn pairs(&self) -> usize {
        self.conv.outputs.div_ceil(2 * LANES)
    }

    /// Output blocks of a pair.
    pub(super) fn blocks(&self, pair: usize) -> usize {
        2.min(self.conv.outputs.div_ceil(LANES) - 2 * pair)
    }

    pub(super) const fn input_blocks(&self) -> usize {
        self.conv.inputs.div_ceil(LANES)
    }

    pub(super) const fn tail(&self) -> usize {
        (self.conv.inputs - 1) % LANES + 1
    }

    /// The ending of the elements from output block `block`, position `[row, column]` of the value on.
    ///
    /// # Safety
    /// `arena` is the plan's; block and position are the value's.
    pub(super) unsafe fn ending(&self, arena: *mut f32, block: usize, row: usize, column: usize) -> Ending {
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

    pub(super) fn describe(&self, form: &str) -> String {
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
