//! From the graph's operations to the executor's: norms folded into convolutions, parts of values as parts of buffers.
//! What a node is computed by depends on the graph before it only, never on which nodes are wanted: a norm over a
//! convolution is always the folded convolution; where the convolution's own value is wanted, it is computed too.
//! Errors: none here; the graph's shapes have been checked.

use crate::graph::{Axis, BatchNorm, Node, Op, Padding, Pool, Upsampling, axes, kernel};
use crate::kernels::volume::rows::Each;
use crate::plan::Job;

/// A convolution as the executor runs it.
#[derive(Clone, Debug)]
pub(super) struct Convolution {
    pub(super) x: Node,
    pub(super) weight: String,
    pub(super) bias: Option<String>,
    pub(super) norm: Option<BatchNorm>,
    pub(super) groups: usize,
    pub(super) axes: [Axis; 3],
    /// Whether the weights are those of the adjoint: `[in, out, ..]`, taps from last to first.
    pub(super) adjoint: bool,
}

/// How a node's value comes about.
#[derive(Clone, Debug)]
pub(super) enum Lowered {
    Input,
    Seed {
        of: Node,
    },
    /// Channels of another value, from this one on.
    Part {
        of: Node,
        from: usize,
    },
    Convolution(Box<Convolution>),
    Each {
        what: Each,
        a: Node,
        b: Option<Node>,
    },
    /// `factor · x + offset` by channel; without the offset for its gradient.
    Norm {
        x: Node,
        norm: BatchNorm,
        offset: bool,
    },
    Concat {
        parts: Vec<Node>,
    },
    MaxPool {
        x: Node,
        pool: Pool,
    },
    /// Each value repeated.
    Grow {
        x: Node,
        factor: [usize; 3],
    },
    Softmax {
        x: Node,
    },
    /// By `graph::plain`.
    Plain {
        reads: Vec<Node>,
    },
}

impl Lowered {
    /// The values that it reads.
    pub(super) fn reads(&self) -> Vec<Node> {
        match self {
            Self::Input => Vec::new(),
            Self::Seed { of } | Self::Part { of, .. } => vec![*of],
            Self::Convolution(convolution) => vec![convolution.x],
            Self::Each { a, b, .. } => std::iter::once(*a).chain(*b).collect(),
            Self::Norm { x, .. } | Self::MaxPool { x, .. } | Self::Grow { x, .. } | Self::Softmax { x } => vec![*x],
            Self::Concat { parts } => parts.clone(),
            Self::Plain { reads } => reads.clone(),
        }
    }
}

/// How `node` is computed.
pub(super) fn lower(job: &Job<'_>, node: usize) -> Lowered {
    let shape = |at: Node| job.shapes[at.index()];
    let op = &job.graph.ops()[node];
    let plain = || Lowered::Plain { reads: op.reads() };
    match op {
        Op::Input => Lowered::Input,
        Op::Seed { of } => Lowered::Seed { of: *of },
        Op::Slice { x, from, .. } => Lowered::Part { of: *x, from: *from },
        Op::ConcatGradient { g, parts, which } => {
            Lowered::Part { of: *g, from: parts.iter().take(*which).map(|part| shape(*part).channels).sum() }
        }
        Op::Conv { .. } | Op::ConvTransposed { .. } => {
            convolution(job, Node(node), None).map_or_else(plain, |made| Lowered::Convolution(Box::new(made)))
        }
        Op::Norm { x, norm } => match convolution(job, *x, Some(norm)) {
            Some(folded) => Lowered::Convolution(Box::new(folded)),
            None => Lowered::Norm { x: *x, norm: norm.clone(), offset: true },
        },
        Op::NormGradient { g, norm } => Lowered::Norm { x: *g, norm: norm.clone(), offset: false },
        Op::Activation { x, kind } => Lowered::Each { what: Each::Activation(*kind), a: *x, b: None },
        Op::Add { a, b } => Lowered::Each { what: Each::Add, a: *a, b: Some(*b) },
        Op::Subtract { a, b } => Lowered::Each { what: Each::Subtract, a: *a, b: Some(*b) },
        Op::Multiply { a, b } => Lowered::Each { what: Each::Multiply, a: *a, b: Some(*b) },
        Op::MultiplyGradient { g, other, like } if shape(*like) == shape(*g) => {
            Lowered::Each { what: Each::Multiply, a: *g, b: Some(*other) }
        }
        Op::Scale { x, by } => Lowered::Each { what: Each::Scale(*by), a: *x, b: None },
        Op::Concat { parts } => Lowered::Concat { parts: parts.clone() },
        Op::MaxPool { x, pool } => Lowered::MaxPool { x: *x, pool: *pool },
        Op::Upsample { x, factor, mode: Upsampling::Nearest } => Lowered::Grow { x: *x, factor: *factor },
        Op::Softmax { x } => Lowered::Softmax { x: *x },
        _ => plain(),
    }
}

/// The convolution that `node` is, with a norm after it.
fn convolution(job: &Job<'_>, node: Node, norm: Option<&BatchNorm>) -> Option<Convolution> {
    let shape = |at: Node| job.shapes[at.index()];
    let kernel_of = |weight: &str| kernel(job.weights.get(weight)?.dims());
    match job.graph.op(node) {
        Op::Conv { x, weight, bias, window, groups } => Some(Convolution {
            x: *x,
            weight: weight.clone(),
            bias: bias.clone(),
            norm: norm.cloned(),
            groups: *groups,
            axes: axes(window, shape(*x).extent, kernel_of(weight)?)?,
            adjoint: false,
        }),
        // at step 1 the adjoint is a convolution with the taps turned round
        Op::ConvTransposed { x, weight, bias, window, groups: 1, .. } if window.stride == [1; 3] => {
            if matches!(window.padding, Padding::Same) {
                return None;
            }
            let forward = axes(window, shape(node).extent, kernel_of(weight)?)?;
            let mut turned = forward;
            for axis in &mut turned {
                let before = (axis.dilation * (axis.kernel - 1)).checked_sub(axis.before)?;
                *axis = Axis { input: axis.output, output: axis.input, before, ..*axis };
            }
            let fits = [0, 1, 2].iter().all(|&at| turned[at].input == shape(*x).extent[at]);
            fits.then(|| Convolution {
                x: *x,
                weight: weight.clone(),
                bias: bias.clone(),
                norm: norm.cloned(),
                groups: 1,
                axes: turned,
                adjoint: true,
            })
        }
        _ => None,
    }
}
