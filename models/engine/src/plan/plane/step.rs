//! One operation of a compiled plan, cut into tasks that share no output element.
//! Errors: none; what could go wrong was checked when the step was made.

use super::layout::{Buffer, Map};
use crate::isa::Isa;

/// What a task works on.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The arena's start.
    pub(super) arena: *mut f32,
    /// Memory of this worker alone, as many floats as the plan's hungriest step asked for.
    pub(super) scratch: *mut f32,
    pub(super) isa: Isa,
    /// The image in plain order.
    pub(super) x: &'a [f32],
    /// The caller's memory for each wanted node, in plain order.
    pub(super) out: &'a [Slot],
}

/// The caller's memory for one wanted node.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) at: *mut f32,
    pub(super) floats: usize,
}

// SAFETY: the addresses stand for exclusive borrows that the plan holds for the run; tasks write disjoint elements.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

/// A step's tasks may run at the same time and in any order.
pub(super) trait Step: Send + Sync {
    /// How many.
    fn tasks(&self) -> usize;
    /// Runs one.
    ///
    /// # Safety
    /// `place` belongs to the plan that the step was made for; all steps before it are done; nobody else runs
    /// this task.
    unsafe fn task(&self, place: &Place<'_>, index: usize);
    /// Floats of scratch memory that a task needs.
    fn scratch(&self) -> usize {
        0
    }
    /// Bytes of packed weights.
    fn bytes(&self) -> usize {
        0
    }
    /// What it is, for a profile.
    fn name(&self) -> String;
}

/// Zeros into a buffer's border; a task a block.
pub(super) struct Clear(pub(super) Buffer);

impl Step for Clear {
    fn tasks(&self) -> usize {
        if self.0.border == super::layout::Border::NONE { 0 } else { self.0.blocks() }
    }

    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let buffer = &self.0;
        let ([top, left], [bottom, right]) = (buffer.border.before, buffer.border.after);
        let (row, lanes, rows) = (buffer.row(), buffer.lanes, buffer.size[0]);
        // SAFETY: the ranges tile the border of block `index`, which lies in the arena.
        unsafe {
            let block = place.arena.add(buffer.offset + index * buffer.block());
            block.write_bytes(0, top * row);
            block.add((top + rows) * row).write_bytes(0, bottom * row);
            for at in top..top + rows {
                let row = block.add(at * row);
                row.write_bytes(0, left * lanes);
                row.add((left + buffer.size[1]) * lanes).write_bytes(0, right * lanes);
            }
        }
    }

    fn name(&self) -> String {
        format!("clear {} channels", self.0.channels)
    }
}

/// The caller's image into its buffer; a task a row.
pub(super) struct Load {
    pub(super) y: Map,
}

impl Step for Load {
    fn tasks(&self) -> usize {
        self.y.size[0]
    }

    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let (y, [rows, columns]) = (&self.y, self.y.size);
        assert_eq!(place.x.len(), y.channels * rows * columns, "an image of the plan's shape");
        for channel in 0..y.blocks() * y.lanes {
            // SAFETY: row `index` of a block of the view; a task writes one row.
            let to =
                unsafe { y.address(place.arena, channel / y.lanes, index.cast_signed(), 0).add(channel % y.lanes) };
            let from = (channel < y.channels).then(|| &place.x[(channel * rows + index) * columns..][..columns]);
            for column in 0..columns {
                // SAFETY: column `column` of that row.
                unsafe { to.add(column * y.lanes).write(from.map_or(0.0, |from| from[column])) };
            }
        }
    }

    fn name(&self) -> String {
        "load".into()
    }
}

/// A wanted value into the caller's memory; a task a channel.
pub(super) struct Store {
    pub(super) x: Map,
    pub(super) slot: usize,
}

impl Step for Store {
    fn tasks(&self) -> usize {
        self.x.channels
    }

    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let (x, space) = (&self.x, self.x.space());
        let slot = place.out[self.slot];
        assert_eq!(slot.floats, x.channels * space, "the caller's memory has the value's length");
        // SAFETY: the slot holds `channels · space` floats, of which a task writes one channel.
        unsafe { plain_channel(x, place.arena, index, slot.at.add(index * space)) };
    }

    fn name(&self) -> String {
        "store".into()
    }
}

/// Copies a channel to plain order.
///
/// # Safety
/// `arena` is the plan's; `to` has room for the channel.
pub(super) unsafe fn plain_channel(x: &Map, arena: *mut f32, channel: usize, to: *mut f32) {
    let [rows, columns] = x.size;
    for row in 0..rows {
        // SAFETY: a row of a block of the view; `to` has room for all rows.
        unsafe {
            let from = x.address(arena, channel / x.lanes, row.cast_signed(), 0).add(channel % x.lanes);
            for column in 0..columns {
                to.add(row * columns + column).write(from.add(column * x.lanes).read());
            }
        }
    }
}
