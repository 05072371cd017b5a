//! Floats that begin on a cache line, so that a vector of sixteen never lies across two.
//! Errors: none.

use crate::lanes::LANES;

/// A cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([f32; LANES]);

/// Zeroed memory of whole lines.
pub(super) struct Floats(Vec<Line>);

impl Floats {
    pub(super) fn new(floats: usize) -> Self {
        Self(vec![Line([0.0; LANES]); floats.div_ceil(LANES)])
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len() * LANES
    }

    pub(super) const fn as_ptr(&self) -> *const f32 {
        self.0.as_ptr().cast()
    }

    pub(super) const fn start(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }

    pub(super) const fn slice(&mut self) -> &mut [f32] {
        let floats = self.len();
        // SAFETY: a line is sixteen floats without padding, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start(), floats) }
    }
}
