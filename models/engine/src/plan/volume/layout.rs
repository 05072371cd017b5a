//! Where a value lies: depth by depth, in each depth channel by channel, in each channel row by row.
//! A row is followed by zeros that the next row has before it, as many as the readers' padding needs, and every depth
//! begins with as many; so a convolution has no edge along its rows. Values that are joined lie in one buffer.
//! Units: floats. Errors: [`EngineError`] where a value would reach outside its buffer, checked once.

use crate::EngineError;
use crate::graph::Shape;
use crate::kernels::volume::SLACK;
use crate::lanes::LANES;
use crate::plan::arena::Tenant;

/// The memory that a value lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The image that the caller gives.
    Input,
    /// One of the plan's own slabs.
    Arena(usize),
    /// What the caller gets for one of the wanted nodes.
    Out(usize),
}

/// A buffer of joined or single values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer {
    pub(super) shape: Shape,
    /// Zeros that readers need on either side of a row.
    pub(super) gap: usize,
}

impl Buffer {
    fn row(&self) -> usize {
        (self.shape.extent[2] + self.gap).next_multiple_of(LANES)
    }

    /// Zeros at the beginning of a depth.
    fn lead(&self) -> usize {
        (self.row() - self.shape.extent[2]).next_multiple_of(LANES)
    }

    fn depth(&self) -> usize {
        self.lead() + self.shape.channels * self.shape.extent[1] * self.row()
    }

    /// Its size.
    pub(super) fn floats(&self) -> usize {
        self.shape.extent[0] * self.depth() + SLACK
    }

    /// The place of `channels` channels from `first`, the buffer lying at `offset` of `slab`.
    pub(super) fn place(&self, (slab, offset): (usize, usize), first: usize, channels: usize) -> Place {
        let channel = self.shape.extent[1] * self.row();
        Place {
            base: Base::Arena(slab),
            offset: offset + self.lead() + first * channel,
            channel,
            depth: self.depth(),
            row: self.row(),
            clear: self.row() - self.shape.extent[2],
            shape: Shape { channels, ..self.shape },
        }
    }
}

/// Memory that is taken by itself and given back after its last step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slab {
    pub(super) floats: usize,
    pub(super) dies: usize,
}

/// Cuts what tenants share into slabs that no tenant crosses; the slab and the offset there of each tenant.
pub(super) fn slabs(tenants: &[Tenant], offsets: &[usize]) -> (Vec<(usize, usize)>, Vec<Slab>) {
    let mut order: Vec<usize> = (0..tenants.len()).collect();
    order.sort_by_key(|&at| (offsets[at], at));
    let (mut places, mut slabs) = (vec![(0, 0); tenants.len()], Vec::<Slab>::new());
    let (mut start, mut end) = (0, 0);
    for at in order {
        if slabs.is_empty() || offsets[at] >= end {
            start = offsets[at];
            slabs.push(Slab::default());
        }
        end = end.max(offsets[at] + tenants[at].floats);
        places[at] = (slabs.len() - 1, offsets[at] - start);
        if let Some(slab) = slabs.last_mut() {
            *slab = Slab { floats: end - start, dies: slab.dies.max(tenants[at].dies) };
        }
    }
    (places, slabs)
}

/// Where a value lies, in floats from the base.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) base: Base,
    pub(super) offset: usize,
    /// Distances of channels, depths and rows.
    pub(super) channel: usize,
    pub(super) depth: usize,
    pub(super) row: usize,
    /// Zeros that whoever writes a row leaves behind it.
    pub(super) clear: usize,
    pub(super) shape: Shape,
}

impl Place {
    /// A value as callers hold it: channel by channel without gaps.
    pub(super) fn packed(base: Base, shape: Shape) -> Self {
        let [_, rows, columns] = shape.extent;
        Self { base, offset: 0, channel: shape.space(), depth: rows * columns, row: columns, clear: 0, shape }
    }

    /// The first column of a row.
    pub(super) fn at(&self, channel: usize, depth: usize, row: usize) -> usize {
        self.offset + channel * self.channel + depth * self.depth + row * self.row
    }

    /// Some of the channels.
    pub(super) fn channels(&self, first: usize, channels: usize) -> Self {
        let shape = Shape { channels, ..self.shape };
        Self { offset: self.offset + first * self.channel, shape, ..*self }
    }

    /// Holds the place to a base of `floats`, with the zeros before the first row and `behind` floats after the last.
    pub(super) fn check(&self, node: usize, floats: usize, behind: usize) -> Result<(), EngineError> {
        let [depth, rows, columns] = self.shape.extent;
        let inside = self.shape.channels > 0
            && depth * rows * columns > 0
            && self.clear <= self.offset
            && self.at(self.shape.channels - 1, depth - 1, rows - 1) + columns + self.clear.max(behind) <= floats;
        if inside {
            return Ok(());
        }
        let problem = format!("its value of {} does not lie within {floats} floats", self.shape);
        Err(EngineError::Operation { op: "layout", node, problem })
    }
}
