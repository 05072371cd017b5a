//! Which nodes become one step: read from the graph's shape, before anything is placed or packed.
//! A node is fused into the next only if that is its one reader and the caller does not want it.

use crate::graph::{Activation, Node, Op, Shape, Weights, Window};
use crate::kernels::plane::Clip;
use crate::plan::Job;
use std::collections::BTreeMap;

/// Nodes that become one step; the step's value is the last one's.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    /// The convolution or map that it starts with.
    pub(super) start: usize,
    /// Norm and clip before it, and the node that they read.
    pub(super) prepared: Option<(usize, Clip, Node)>,
    /// Whether a mean pool behind it is taken before it.
    pub(super) means: bool,
    /// A norm to be folded into the weights.
    pub(super) fold: Option<usize>,
    pub(super) first: Clip,
    /// A norm behind the first clip.
    pub(super) affine: Option<usize>,
    /// A summand.
    pub(super) rest: Option<Node>,
    pub(super) last: Clip,
}

/// The chains by their last node, and what is inside of one.
pub(super) struct Fusion {
    pub(super) chains: BTreeMap<usize, Chain>,
    /// Nodes without a value of their own.
    pub(super) within: Vec<bool>,
    pub(super) needed: Vec<bool>,
}

struct Walk<'a> {
    job: &'a Job<'a>,
    readers: Vec<Vec<usize>>,
    within: Vec<bool>,
    /// Last nodes of chains: nothing else may run into them.
    ended: Vec<bool>,
    /// A norm and clip waiting for their reader.
    waiting: BTreeMap<usize, (usize, Clip, Node)>,
}

/// What an operation reads here: the gradient of most activations needs the value alone, not what it was made from.
pub(super) fn reads(op: &Op) -> Vec<Node> {
    match op {
        Op::ActivationGradient { y, g, kind, .. } if by_value(*kind) => vec![*y, *g],
        op => op.reads(),
    }
}

/// Whether the slope follows from the activation's value.
pub(super) fn by_value(kind: Activation) -> bool {
    match kind {
        Activation::Relu | Activation::Relu6 => true,
        Activation::LeakyRelu(slope) => slope > 0.0,
        _ => false,
    }
}

fn clip(op: &Op) -> Option<Clip> {
    match op {
        Op::Activation { kind: Activation::Relu, .. } => Some(Clip::Relu),
        Op::Activation { kind: Activation::Relu6, .. } => Some(Clip::Relu6),
        _ => None,
    }
}

/// Rows and columns of a weight's kernel, if it has no depth.
pub(super) fn kernel(weights: &Weights, name: &str) -> Option<[usize; 2]> {
    match *weights.get(name)?.dims() {
        [_, _] => Some([1; 2]),
        [_, _, rows, columns] | [_, _, 1, rows, columns] => Some([rows, columns]),
        _ => None,
    }
}

fn flat(window: &Window) -> bool {
    match window.padding {
        crate::graph::Padding::Same => true,
        crate::graph::Padding::Fixed { before, after } => before[0] + after[0] == 0,
    }
}

/// Whether a convolution's groups have a kernel here: one group, depthwise, or whole blocks.
fn grouped(inputs: usize, outputs: usize, groups: usize) -> bool {
    let (inputs, outputs) = (inputs / groups, outputs / groups);
    groups == 1 || (inputs == 1 && outputs == 1) || (inputs.is_multiple_of(16) && outputs.is_multiple_of(16))
}

impl Walk<'_> {
    fn op(&self, node: usize) -> &Op {
        &self.job.graph.ops()[node]
    }

    fn shape(&self, node: Node) -> Shape {
        self.job.shapes[node.index()]
    }

    /// The one reader of a node that nobody else sees.
    fn next(&self, node: usize) -> Option<usize> {
        match self.readers[node][..] {
            [reader]
                if !self.within[reader]
                    && !self.ended[reader]
                    && !self.job.wanted.iter().any(|wanted| wanted.index() == node) =>
            {
                Some(reader)
            }
            _ => None,
        }
    }

    fn next_clip(&self, node: usize) -> Option<(usize, Clip)> {
        let next = self.next(node)?;
        Some((next, clip(self.op(next))?))
    }

    fn next_norm(&self, node: usize) -> Option<usize> {
        self.next(node).filter(|&next| matches!(self.op(next), Op::Norm { .. }))
    }

    /// A norm whose clip is read by one pointwise convolution or global mean waits for it.
    fn prepares(&mut self, norm: usize, x: Node) -> bool {
        let Some((clipped, clip)) = self.next_clip(norm) else { return false };
        let Some(reader) = self.next(clipped) else { return false };
        let takes = match self.op(reader) {
            Op::GlobalMean { .. } => true,
            Op::Conv { x, weight, window, groups, .. } => {
                let same = self.shape(*x).extent == self.shape(Node(reader)).extent;
                let one = kernel(self.job.weights, weight) == Some([1; 2]);
                one && *groups == 1 && window.stride == [1; 3] && same && flat(window)
            }
            _ => false,
        };
        if takes {
            (self.within[norm], self.within[clipped]) = (true, true);
            self.waiting.insert(reader, (norm, clip, x));
        }
        takes
    }

    /// A mean pool of 2x2 behind a prepared convolution.
    fn next_means(&self, node: usize) -> Option<usize> {
        let next = self.next(node)?;
        let Op::MeanPool { pool, .. } = self.op(next) else { return None };
        let unpadded = match pool.padding {
            crate::graph::Padding::Fixed { before, after } => before == [0; 3] && after == [0; 3],
            crate::graph::Padding::Same => false,
        };
        (unpadded && pool.kernel == [1, 2, 2] && pool.stride[1..] == [2, 2]).then_some(next)
    }

    /// Follows a convolution as far as its ending reaches; returns the last node.
    fn follow(&mut self, start: usize) -> (usize, Chain) {
        let mut chain = Chain { start, prepared: self.waiting.remove(&start), ..Chain::default() };
        let mut at = start;
        if chain.prepared.is_some()
            && let Some(pool) = self.next_means(at)
        {
            chain.means = true;
            self.step(&mut at, pool);
        }
        if let Some(norm) = self.next_norm(at) {
            chain.fold = Some(norm);
            self.step(&mut at, norm);
        }
        if let Some((next, clip)) = self.next_clip(at) {
            chain.first = clip;
            self.step(&mut at, next);
            if let Some(norm) = self.next_norm(at) {
                chain.affine = Some(norm);
                self.step(&mut at, norm);
            }
        }
        if let Some(next) = self.next(at)
            && let Op::Add { a, b } = *self.op(next)
        {
            let other = if a.index() == at { b } else { a };
            chain.rest = Some(other);
            self.step(&mut at, next);
            if let Some((next, clip)) = self.next_clip(at) {
                chain.last = clip;
                self.step(&mut at, next);
            }
        }
        (at, chain)
    }

    fn step(&mut self, at: &mut usize, next: usize) {
        self.within[*at] = true;
        *at = next;
    }

    /// Whether the convolution at `node` has a kernel here.
    fn convolves(&self, node: usize) -> bool {
        let (weight, x, window, groups) = match self.op(node) {
            Op::Conv { x, weight, window, groups, .. } => (weight, x, window, *groups),
            Op::ConvTransposed { x, weight, window, groups, .. } => {
                if (1..3).any(|axis| window.stride[axis] > 1 && window.dilation[axis] > 1) {
                    return false;
                }
                (weight, x, window, *groups)
            }
            _ => return false,
        };
        let (inputs, outputs) = (self.shape(*x).channels, self.shape(Node(node)).channels);
        kernel(self.job.weights, weight).is_some() && flat(window) && grouped(inputs, outputs, groups)
    }
}

/// Reads the chains of a job.
pub(super) fn fuse(job: &Job<'_>) -> Fusion {
    let ops = job.graph.ops();
    let mut needed = vec![false; ops.len()];
    for node in job.wanted {
        needed[node.index()] = true;
    }
    let mut readers = vec![Vec::new(); ops.len()];
    for node in (0..ops.len()).rev() {
        if needed[node] {
            for read in reads(&ops[node]) {
                needed[read.index()] = true;
                readers[read.index()].push(node);
            }
        }
    }
    let mut walk =
        Walk { job, readers, within: vec![false; ops.len()], ended: vec![false; ops.len()], waiting: BTreeMap::new() };
    let mut chains = BTreeMap::new();
    for node in 0..ops.len() {
        if !needed[node] || walk.within[node] || walk.ended[node] {
            continue;
        }
        let (end, chain) = match &ops[node] {
            Op::Norm { x, .. } if walk.prepares(node, *x) => continue,
            Op::Conv { .. } | Op::ConvTransposed { .. } if walk.convolves(node) => walk.follow(node),
            Op::GlobalMean { .. } => {
                (node, Chain { start: node, prepared: walk.waiting.remove(&node), ..Chain::default() })
            }
            Op::Norm { .. } | Op::Add { .. } | Op::Subtract { .. } | Op::Multiply { .. } => {
                let mut chain = Chain { start: node, ..Chain::default() };
                let mut at = node;
                if let Some((next, clip)) = walk.next_clip(at) {
                    chain.last = clip;
                    walk.step(&mut at, next);
                }
                (at, chain)
            }
            _ => continue,
        };
        walk.ended[end] = true;
        chains.insert(end, chain);
    }
    Fusion { chains, within: walk.within, needed }
}
