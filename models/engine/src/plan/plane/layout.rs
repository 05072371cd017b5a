//! Where values lie: blocked buffers with stored borders, and views of them.
//! Shapes: `[channel block][border + rows + border][border + columns + border][lanes]`; lanes is 16, or 4 for an input
//! of few channels. Strides and offsets in floats, from the arena's start.
//! Safety: [`Map::covers`] and [`Map::holds`] are the checks that the steps' addresses rest on; they panic, because a
//! step that reaches out of its buffer is a mistake of the compiler, not of its input.

use crate::graph::Shape;
use crate::lanes::LANES;

/// Zeros stored around a map: rows and columns before and after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Border {
    pub(super) before: [usize; 2],
    pub(super) after: [usize; 2],
}

impl Border {
    pub(super) const NONE: Self = Self { before: [0; 2], after: [0; 2] };

    fn widen(&mut self, other: Self) {
        for axis in 0..2 {
            self.before[axis] = self.before[axis].max(other.before[axis]);
            self.after[axis] = self.after[axis].max(other.after[axis]);
        }
    }
}

/// Memory of one value, or of several that are read side by side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer {
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    pub(super) lanes: usize,
    pub(super) border: Border,
    pub(super) offset: usize,
}

impl Buffer {
    pub(super) const fn new(shape: Shape, lanes: usize) -> Self {
        let size = [shape.extent[1], shape.extent[2]];
        Self { channels: shape.channels, size, lanes, border: Border::NONE, offset: 0 }
    }

    pub(super) fn widen(&mut self, border: Border) {
        self.border.widen(border);
    }

    pub(super) const fn blocks(&self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    /// Floats of a row with its border.
    pub(super) const fn row(&self) -> usize {
        (self.border.before[1] + self.size[1] + self.border.after[1]) * self.lanes
    }

    /// Floats of a block with its border.
    pub(super) const fn block(&self) -> usize {
        self.row() * (self.border.before[0] + self.size[0] + self.border.after[0])
    }

    pub(super) const fn floats(&self) -> usize {
        (self.block() * self.blocks()).next_multiple_of(LANES)
    }
}

/// Some channel blocks of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) buffer: usize,
    pub(super) block: usize,
    pub(super) channels: usize,
}

/// A view with its numbers worked out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Map {
    /// The first element of the image in the view's first block.
    pub(super) at: usize,
    pub(super) block: usize,
    pub(super) row: usize,
    pub(super) lanes: usize,
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    border: Border,
}

impl Map {
    /// Works a view out; the arena has so many floats.
    pub(super) fn new(buffers: &[Buffer], view: View, arena: usize) -> Self {
        let buffer = &buffers[view.buffer];
        assert!(view.block + view.channels.div_ceil(buffer.lanes) <= buffer.blocks(), "a view ends within its buffer");
        assert!(buffer.offset + buffer.floats() <= arena, "a buffer ends within the arena");
        let [row, column] = buffer.border.before;
        let at = buffer.offset + view.block * buffer.block() + row * buffer.row() + column * buffer.lanes;
        let (block, row) = (buffer.block(), buffer.row());
        let (lanes, channels, size) = (buffer.lanes, view.channels, buffer.size);
        Self { at, block, row, lanes, channels, size, border: buffer.border }
    }

    pub(super) const fn blocks(&self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    pub(super) const fn bordered(&self) -> bool {
        let Border { before, after } = self.border;
        before[0] + before[1] + after[0] + after[1] > 0
    }

    /// Positions of the image.
    pub(super) const fn space(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Asserts that positions `first..=last` (rows and columns, the border's counted from -1 down) lie in the buffer.
    pub(super) fn covers(&self, first: [isize; 2], last: [isize; 2]) {
        for axis in 0..2 {
            let before = self.border.before[axis].cast_signed();
            let past = (self.size[axis] + self.border.after[axis]).cast_signed();
            assert!(first[axis] >= -before && last[axis] < past, "taps end within the stored border");
        }
    }

    /// Asserts that positions up to `last` lie in the image.
    pub(super) fn holds(&self, last: [usize; 2]) {
        assert!(last[0] < self.size[0] && last[1] < self.size[1], "results end within the image");
    }

    /// Asserts sixteen lanes a block, which the vector kernels take for granted.
    pub(super) fn whole(&self) {
        assert_eq!(self.lanes, LANES, "vectors read whole blocks");
    }

    /// The address of a position that [`Self::covers`] has admitted.
    ///
    /// # Safety
    /// `arena` is the arena's start; the position and block are the view's.
    #[inline]
    pub(super) unsafe fn address(&self, arena: *mut f32, block: usize, row: isize, column: isize) -> *mut f32 {
        let place = (self.at + block * self.block).cast_signed()
            + row * self.row.cast_signed()
            + column * self.lanes.cast_signed();
        // SAFETY: the caller's position lies within the view, and the view within the arena.
        unsafe { arena.offset(place) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Border, Buffer, Map, View};
    use crate::graph::Shape;

    /// Proves: REQ-ENG-050
    #[test]
    fn a_view_or_tap_outside_its_buffer_is_refused_when_the_plan_is_made() {
        let mut buffer = Buffer::new(Shape::plane(20, 5, 7), 16);
        buffer.widen(Border { before: [1, 2], after: [0, 1] });
        assert_eq!((buffer.row(), buffer.block(), buffer.floats()), (160, 960, 1920));
        let map = |block, channels, arena| Map::new(&[buffer], View { buffer: 0, block, channels }, arena);
        let broken = |work: &(dyn Fn() + std::panic::RefUnwindSafe)| std::panic::catch_unwind(work).is_err();
        assert_eq!(map(1, 4, 1920).at, 960 + 160 + 32);
        assert!(broken(&|| assert_eq!(map(1, 17, 1920).channels, 17)));
        assert!(broken(&|| assert_eq!(map(0, 20, 1919).channels, 20)));
        let whole = map(0, 20, 1920);
        whole.covers([-1, -2], [4, 7]);
        for (first, last) in [([-2, 0], [4, 6]), ([0, -3], [4, 6]), ([0, 0], [5, 6]), ([0, 0], [4, 8])] {
            assert!(broken(&|| whole.covers(first, last)), "{first:?} {last:?}");
        }
        assert!(broken(&|| whole.holds([5, 0])));
    }
}
