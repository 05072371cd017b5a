//! Where each value lies: in a buffer of its own, in another's, or as part of a concatenation.
//! A concatenation needs no copy where its parts start at multiples of sixteen channels: they are written into its
//! buffer. Concatenations that are whole runs of a larger one's parts (dense blocks) are views of that one.

use super::fusion::{self, Fusion};
use super::layout::{Buffer, View};
use crate::graph::{Node, Op, Shape};
use crate::lanes::LANES;
use crate::plan::Job;

/// Channels up to which an input is stored four lanes a block.
const NARROW: usize = 4;

/// Views by node, and their buffers.
pub(super) struct Homes<'a> {
    job: &'a Job<'a>,
    fusion: &'a Fusion,
    views: Vec<Option<View>>,
    pub(super) buffers: Vec<Buffer>,
}

impl<'a> Homes<'a> {
    pub(super) fn new(job: &'a Job<'a>, fusion: &'a Fusion) -> Self {
        let mut homes = Self { job, fusion, views: vec![None; job.shapes.len()], buffers: Vec::new() };
        for node in (0..job.shapes.len()).rev() {
            if let Op::Concat { parts } = homes.op(node)
                && fusion.needed[node]
            {
                homes.concat(node, parts);
            }
        }
        homes
    }

    fn op(&self, node: usize) -> &'a Op {
        &self.job.graph.ops()[node]
    }

    fn shape(&self, node: usize) -> Shape {
        self.job.shapes[node]
    }

    fn concat(&mut self, node: usize, parts: &[Node]) {
        if self.views[node].is_none() {
            self.views[node] = self.run(parts);
        }
        let base = self.view(Node(node));
        let mut first = 0;
        for part in parts {
            let channels = self.shape(part.index()).channels;
            if first % LANES == 0 && self.views[part.index()].is_none() && !self.borrows(part.index()) {
                let block = base.block + first / LANES;
                self.views[part.index()] = Some(View { buffer: base.buffer, block, channels });
            }
            first += channels;
        }
    }

    /// The view of parts that already lie side by side.
    fn run(&self, parts: &[Node]) -> Option<View> {
        let first = self.views[parts.first()?.index()]?;
        let mut channels = 0;
        for part in parts {
            let view = self.views[part.index()]?;
            let place = View { buffer: first.buffer, block: first.block + channels / LANES, channels: view.channels };
            if channels % LANES > 0 || view != place || self.buffers[view.buffer].lanes != LANES {
                return None;
            }
            channels += view.channels;
        }
        Some(View { channels, ..first })
    }

    /// The node whose memory this one's value is part of, and the first channel there.
    fn source(&self, node: usize) -> Option<(Node, usize)> {
        match self.op(node) {
            Op::Flatten { x } | Op::Unflatten { x, .. } => {
                let single = self.shape(node).space() == 1 && self.shape(x.index()).space() == 1;
                single.then_some((*x, 0))
            }
            Op::Slice { x, from, .. } => from.is_multiple_of(LANES).then_some((*x, *from)),
            Op::ConcatGradient { g, parts, which } => {
                let from: usize = parts.iter().take(*which).map(|part| self.shape(part.index()).channels).sum();
                from.is_multiple_of(LANES).then_some((*g, from))
            }
            _ => None,
        }
    }

    /// Whether the value is a view of another node's.
    pub(super) fn borrows(&self, node: usize) -> bool {
        self.source(node).is_some()
    }

    /// Where a node's value lies.
    pub(super) fn view(&mut self, node: Node) -> View {
        let at = node.index();
        if let Some(view) = self.views[at] {
            return view;
        }
        let channels = self.shape(at).channels;
        let view = if let Some((source, from)) = self.source(at) {
            let source = self.view(source);
            View { block: source.block + from / LANES, channels, ..source }
        } else {
            let lanes = if at == 0 && self.narrow() { NARROW } else { LANES };
            self.buffers.push(Buffer::new(self.shape(at), lanes));
            View { buffer: self.buffers.len() - 1, block: 0, channels }
        };
        self.views[at] = Some(view);
        view
    }

    /// A buffer for what is no node's value.
    pub(super) fn extra(&mut self, shape: Shape) -> View {
        self.buffers.push(Buffer::new(shape, LANES));
        View { buffer: self.buffers.len() - 1, block: 0, channels: shape.channels }
    }

    /// Whether the input has few channels and every reader is a convolution over taps.
    fn narrow(&self) -> bool {
        let ops = self.job.graph.ops();
        let taps = |node: usize| {
            let one = matches!(&ops[node], Op::Conv { groups: 1, .. });
            one && self.fusion.chains.values().any(|chain| chain.start == node && chain.prepared.is_none())
        };
        let readers = (0..ops.len())
            .filter(|&node| self.fusion.needed[node] && fusion::reads(&ops[node]).iter().any(|read| read.index() == 0));
        self.shape(0).channels <= NARROW
            && readers.clone().all(taps)
            && !self.fusion.chains.values().any(|chain| chain.rest.is_some_and(|rest| rest.index() == 0))
    }
}
