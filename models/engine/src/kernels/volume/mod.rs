//! Kernels of volumes: lanes run along the columns of a row, never along a sum.
//! Shapes: a channel's rows lie `W` values and then zeros, which the next row has before it; so a row can be read some
//! columns to the left and right of its ends, and what is read of the padding is +0.
//! Errors: none; addresses are checked when the plan is compiled.

pub(crate) mod rows;
pub(crate) mod tile;
pub(crate) mod winograd;

/// Output channels that one tile computes.
pub(crate) const BLOCK: usize = 6;
/// Floats behind a buffer's last row that may be read, never written.
pub(crate) const SLACK: usize = 64;

/// The output channels from first to last, in blocks of as equal a size as can be.
pub(crate) fn blocks(channels: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let count = channels.div_ceil(BLOCK).max(1);
    (0..count).map(move |at| {
        let first = at * channels / count;
        (first, (at + 1) * channels / count - first)
    })
}

/// Whether sixteen values lie `step` apart: lane `l` from column `l * step`, the last column repeated.
///
/// # Safety
/// `count` (1..=16) values `step` apart are readable at `at`; the processor has the vector's instructions.
#[inline(always)]
pub(crate) unsafe fn spread<V: crate::lanes::Lanes>(at: *const f32, step: usize, count: usize) -> V {
    let mut lanes = [0.0; crate::lanes::LANES];
    for (lane, value) in lanes.iter_mut().enumerate() {
        // SAFETY: the caller vouches for `count` values; the index stays below.
        *value = unsafe { at.add(lane.min(count - 1) * step).read() };
    }
    // SAFETY: the array holds sixteen values.
    unsafe { V::load(lanes.as_ptr()) }
}
