//! One image under way: the addresses behind the places, and the operations on rows.
//! Errors: none. Tasks of one operation write different rows.

use super::conv::Packed;
use super::layout::{Base, Place};
use crate::graph::{Axis, Graph, Shape};
use crate::isa::Isa;
use crate::kernels::volume::rows::{self, Channels, Each, Pooled};

/// Tasks that an operation on rows is cut into, at least, where it has so many rows.
const TASKS: usize = 16;

/// Addresses that several threads use at once: each row is written by one task of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address(pub(super) *mut f32);

// SAFETY: whoever uses the address writes rows that no other task of the same operation touches, and operations end
// before the next ones begin.
unsafe impl Send for Address {}
// SAFETY: as above.
unsafe impl Sync for Address {}

/// The memory of one image under way.
pub(super) struct Run<'a> {
    pub(super) isa: Isa,
    pub(super) input: &'a [f32],
    /// One a slab.
    pub(super) arena: Vec<Address>,
    pub(super) outs: Vec<Address>,
    /// One a worker.
    pub(super) scratch: Vec<Address>,
}

impl Run<'_> {
    /// The base's first float. The input is only read.
    pub(super) fn base(&self, place: &Place) -> *mut f32 {
        match place.base {
            Base::Input => self.input.as_ptr().cast_mut(),
            Base::Arena(slab) => self.arena[slab].0,
            Base::Out(at) => self.outs[at].0,
        }
    }

    /// A row's first column.
    ///
    /// # Safety
    /// The place was checked and the position lies in its shape.
    pub(super) unsafe fn row(&self, place: &Place, [channel, depth, row]: [usize; 3]) -> *mut f32 {
        // SAFETY: the caller vouches.
        unsafe { self.base(place).add(place.at(channel, depth, row)) }
    }

    /// Leaves zeros behind a row of every channel, and before the first one.
    ///
    /// # Safety
    /// The place was checked, and the rows are the caller's alone.
    pub(super) unsafe fn clear(&self, place: &Place, depth: usize, row: usize) {
        if place.clear == 0 {
            return;
        }
        // SAFETY: the zeros behind a row and before the first one lie in the buffer.
        unsafe {
            for channel in 0..place.shape.channels {
                let at = self.row(place, [channel, depth, row]);
                at.add(place.shape.extent[2]).write_bytes(0, place.clear);
            }
            if row == 0 {
                self.row(place, [0, depth, 0]).sub(place.clear).write_bytes(0, place.clear);
            }
        }
    }
}

/// What an operation does.
#[derive(Debug)]
pub(super) enum Work {
    Copy {
        x: Place,
        y: Place,
    },
    Convolution {
        packed: Packed,
        x: Place,
        y: Place,
    },
    /// One function a channel, or one for all.
    Each {
        what: Vec<Each>,
        a: Place,
        b: Option<Place>,
        y: Place,
    },
    MaxPool {
        axes: [Axis; 3],
        x: Place,
        y: Place,
    },
    Grow {
        factor: [usize; 3],
        x: Place,
        y: Place,
    },
    Softmax {
        x: Place,
        y: Place,
    },
    /// By `graph::plain`, on values as callers hold them.
    Plain {
        node: usize,
        reads: Vec<Place>,
        y: Place,
    },
    Seed {
        of: Place,
        y: Place,
    },
}

impl Work {
    /// What it is, for people.
    pub(super) fn name(&self, graph: &Graph) -> String {
        match self {
            Self::Copy { y, .. } => format!("copy {}", y.shape),
            Self::Convolution { packed, x, y } => format!("convolution {} to {}, {}", x.shape, y.shape, packed.name()),
            Self::Each { what, y, .. } => format!("each {:?} {}", what[0], y.shape),
            Self::MaxPool { y, .. } => format!("maximum {}", y.shape),
            Self::Grow { y, .. } => format!("grow {}", y.shape),
            Self::Softmax { y, .. } => format!("softmax {}", y.shape),
            Self::Plain { node, y, .. } => format!("plain {} {}", graph.ops()[*node].name(), y.shape),
            Self::Seed { y, .. } => format!("seed {}", y.shape),
        }
    }

    /// Tasks; 0 for what one thread does between operations.
    pub(super) fn tasks(&self) -> usize {
        match self {
            Self::Convolution { packed, .. } => packed.tasks(),
            Self::Copy { y, .. }
            | Self::Each { y, .. }
            | Self::MaxPool { y, .. }
            | Self::Grow { y, .. }
            | Self::Softmax { y, .. } => y.shape.extent[0] * parts(y.shape),
            Self::Plain { .. } | Self::Seed { .. } => 0,
        }
    }

    /// Floats of scratch that a task needs.
    pub(super) fn scratch(&self) -> usize {
        match self {
            Self::Convolution { packed, x, y } => packed.scratch(x.shape.channels, y.shape.channels),
            Self::Softmax { x, .. } => x.shape.channels * crate::lanes::LANES,
            _ => 0,
        }
    }

    /// Runs task `index`.
    ///
    /// # Safety
    /// The places were checked against the run's memory; `scratch` is the worker's; tasks have different indices.
    pub(super) unsafe fn task(&self, run: &Run<'_>, index: usize, scratch: *mut f32) {
        // SAFETY: the caller vouches.
        unsafe {
            match self {
                Self::Convolution { packed, x, y } => packed.task(run, (x, y), index, scratch),
                Self::Copy { x, y } => over(y, index, |depth, row| copy(run, x, y, depth, row)),
                Self::Each { what, a, b, y } => {
                    over(y, index, |depth, row| each(run, what, (a, b.as_ref(), y), depth, row));
                }
                Self::MaxPool { axes, x, y } => over(y, index, |depth, row| pool(run, axes, (x, y), depth, row)),
                Self::Grow { factor, x, y } => over(y, index, |depth, row| grow(run, *factor, (x, y), depth, row)),
                Self::Softmax { x, y } => over(y, index, |depth, row| {
                    let channels = Channels {
                        x: run.row(x, [0, depth, row]),
                        x_channel: x.channel,
                        y: run.row(y, [0, depth, row]),
                        y_channel: y.channel,
                        channels: x.shape.channels,
                        columns: y.shape.extent[2],
                        scratch,
                    };
                    rows::softmax(run.isa, &channels);
                    run.clear(y, depth, row);
                }),
                Self::Plain { .. } | Self::Seed { .. } => {}
            }
        }
    }
}

/// Parts that the rows of a depth are cut into.
fn parts(shape: Shape) -> usize {
    TASKS.div_ceil(shape.extent[0]).min(shape.extent[1])
}

/// The rows of a task.
fn over(y: &Place, index: usize, each: impl Fn(usize, usize)) {
    let parts = parts(y.shape);
    let (depth, part, rows) = (index / parts, index % parts, y.shape.extent[1]);
    for row in part * rows / parts..(part + 1) * rows / parts {
        each(depth, row);
    }
}

unsafe fn copy(run: &Run<'_>, x: &Place, y: &Place, depth: usize, row: usize) {
    // SAFETY: both places were checked and have the same shape; the row is this task's alone.
    unsafe {
        for channel in 0..y.shape.channels {
            let from = run.row(x, [channel, depth, row]).cast_const();
            run.row(y, [channel, depth, row]).copy_from_nonoverlapping(from, y.shape.extent[2]);
        }
        run.clear(y, depth, row);
    }
}

unsafe fn each(run: &Run<'_>, what: &[Each], (a, b, y): (&Place, Option<&Place>, &Place), depth: usize, row: usize) {
    // SAFETY: the places were checked; one channel stands for all where a side has one; the row is this task's alone.
    unsafe {
        for channel in 0..y.shape.channels {
            let of = |place: &Place| run.row(place, [channel.min(place.shape.channels - 1), depth, row]).cast_const();
            let from = of(a);
            let to = run.row(y, [channel, depth, row]);
            rows::each(run.isa, what[channel.min(what.len() - 1)], from, b.map_or(from, of), to, y.shape.extent[2]);
        }
        run.clear(y, depth, row);
    }
}

unsafe fn pool(run: &Run<'_>, axes: &[Axis; 3], (x, y): (&Place, &Place), depth: usize, row: usize) {
    let [deep, high, wide] = axes;
    let mut inside = Vec::with_capacity(deep.kernel * high.kernel);
    for d in (0..deep.kernel).filter_map(|tap| deep.input_at(depth, tap)) {
        for r in (0..high.kernel).filter_map(|tap| high.input_at(row, tap)) {
            inside.push(x.at(0, d, r));
        }
    }
    // SAFETY: the rows lie in the image; the row is this task's alone.
    unsafe {
        for channel in 0..y.shape.channels {
            let pooled = Pooled {
                rows: &inside,
                x: run.base(x).add(channel * x.channel),
                length: wide.input,
                width: wide.kernel,
                step: wide.stride,
                before: wide.before,
                y: run.row(y, [channel, depth, row]),
                columns: wide.output,
            };
            rows::pool(run.isa, &pooled);
        }
        run.clear(y, depth, row);
    }
}

unsafe fn grow(run: &Run<'_>, factor: [usize; 3], (x, y): (&Place, &Place), depth: usize, row: usize) {
    let [deep, high, wide] = factor;
    // SAFETY: the output is the input by whole factors; the row is this task's alone.
    unsafe {
        for channel in 0..y.shape.channels {
            let from = run.row(x, [channel, depth / deep, row / high]);
            let to = run.row(y, [channel, depth, row]);
            for at in 0..x.shape.extent[2] {
                let value = from.add(at).read();
                for copy in 0..wide {
                    to.add(at * wide + copy).write(value);
                }
            }
        }
        run.clear(y, depth, row);
    }
}
