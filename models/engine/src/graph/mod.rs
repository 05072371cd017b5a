//! A network as data: what is computed from what. Training, compiled plan and gradient are made from this one
//! definition.
//! Shapes: a node's value is `[images, channels, depth, rows, columns]` of f32; a plane has depth 1, a vector extent 1.
//! Nothing is computed here: [`plain`] runs a graph slowly and exactly, `crate::plan` fast.
//! Weights are named as published and stay outside; [`Graph::shapes`] holds them and the input to every operation.
//! Errors: [`EngineError`], naming the operation or tensor.
//! Source: the layers' definitions are PyTorch's; padding `Same` is TensorFlow's.

mod axis;
mod gradient;
mod number;
pub mod plain;
mod shapes;
mod tape;
mod tracked;

pub use axis::Axis;
pub use number::Number;
pub(crate) use shapes::{axes, kernel};
pub use tracked::{Statistics, Tracked};

use candle_core::Tensor;
use std::collections::BTreeMap;
use std::fmt;

/// Depth, rows and columns; a plane has depth 1.
pub type Extent = [usize; 3];

/// Named tensors, f32 in main memory, in PyTorch's layouts: convolution `[out, in / groups, (depth,) rows, columns]`,
/// transposed convolution `[in, out / groups, ..]`, linear `[out, in]`.
pub type Weights = BTreeMap<String, Tensor>;

/// The shape of one image's value at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Depth, rows, columns.
    pub extent: Extent,
}

impl Shape {
    /// A plane.
    #[must_use]
    pub const fn plane(channels: usize, rows: usize, columns: usize) -> Self {
        Self { channels, extent: [1, rows, columns] }
    }

    /// A volume.
    #[must_use]
    pub const fn volume(channels: usize, extent: Extent) -> Self {
        Self { channels, extent }
    }

    /// Positions of one channel.
    #[must_use]
    pub const fn space(&self) -> usize {
        self.extent[0] * self.extent[1] * self.extent[2]
    }

    /// Values.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.channels * self.space()
    }

    /// Whether there is no value.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [depth, rows, columns] = self.extent;
        write!(to, "{} x {depth} x {rows} x {columns}", self.channels)
    }
}

/// A value of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node(pub(crate) usize);

impl Node {
    /// Place in the order of computation.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// What lies around an image under a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// So many zeros before and after each axis.
    Fixed {
        /// Before the first position.
        before: Extent,
        /// After the last.
        after: Extent,
    },
    /// TensorFlow's: output length is the input's by the stride, rounded up; the smaller half of what is missing goes
    /// before.
    Same,
}

/// How a kernel moves over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Step of each axis.
    pub stride: Extent,
    /// Distance of a kernel's taps along each axis.
    pub dilation: Extent,
    /// Padding.
    pub padding: Padding,
}

impl Window {
    /// Every position, nothing around.
    pub const ONE: Self = Self::volume(1, 0, 1);

    /// Over rows and columns.
    #[must_use]
    pub const fn plane(stride: usize, padding: usize, dilation: usize) -> Self {
        let around = [0, padding, padding];
        let padding = Padding::Fixed { before: around, after: around };
        Self { stride: [1, stride, stride], dilation: [1, dilation, dilation], padding }
    }

    /// Over depth, rows and columns.
    #[must_use]
    pub const fn volume(stride: usize, padding: usize, dilation: usize) -> Self {
        let padding = Padding::Fixed { before: [padding; 3], after: [padding; 3] };
        Self { stride: [stride; 3], dilation: [dilation; 3], padding }
    }

    /// Over rows and columns with TensorFlow's padding.
    #[must_use]
    pub const fn same(stride: usize) -> Self {
        Self { stride: [1, stride, stride], dilation: [1; 3], padding: Padding::Same }
    }
}

/// A pooling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Kernel.
    pub kernel: Extent,
    /// Step of each axis.
    pub stride: Extent,
    /// Padding; it never wins a maximum and never counts for a mean.
    pub padding: Padding,
}

impl Pool {
    /// Over rows and columns.
    #[must_use]
    pub const fn plane(kernel: usize, stride: usize, padding: usize) -> Self {
        let around = [0, padding, padding];
        let padding = Padding::Fixed { before: around, after: around };
        Self { kernel: [1, kernel, kernel], stride: [1, stride, stride], padding }
    }

    /// Over depth, rows and columns.
    #[must_use]
    pub const fn volume(kernel: usize, stride: usize, padding: usize) -> Self {
        let padding = Padding::Fixed { before: [padding; 3], after: [padding; 3] };
        Self { kernel: [kernel; 3], stride: [stride; 3], padding }
    }

    /// As a window without dilation.
    #[must_use]
    pub const fn window(&self) -> Window {
        Window { stride: self.stride, dilation: [1; 3], padding: self.padding }
    }
}

/// A batch norm with running statistics: the names of its weights, `[channels]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Scale, "weight".
    pub scale: String,
    /// Shift, "bias".
    pub shift: String,
    /// Running mean.
    pub mean: String,
    /// Running variance.
    pub variance: String,
    /// Added to the variance.
    pub epsilon: f64,
}

impl BatchNorm {
    /// PyTorch's names under `prefix`.
    #[must_use]
    pub fn named(prefix: &str, epsilon: f64) -> Self {
        let name = |part: &str| format!("{prefix}.{part}");
        let (scale, shift) = (name("weight"), name("bias"));
        Self { scale, shift, mean: name("running_mean"), variance: name("running_var"), epsilon }
    }
}

/// A function of each value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x` above zero, else `x` times this slope.
    LeakyRelu(f32),
    /// `x` above zero, else this alpha times `exp(x) - 1`.
    Elu(f32),
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · Φ(x)` by the error function.
    Gelu,
}

/// How a map is made larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upsampling {
    /// Each value repeated.
    Nearest,
    /// Linear along each axis between pixel centres, clamped at the edges (PyTorch's `align_corners=False`).
    Linear,
}

/// One operation. `x`, `a`, `b`, `g` and `y` are nodes; weights are named.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are explained with the variant")]
pub enum Op {
    /// The image.
    Input,
    /// The gradient of some score with respect to `of`, given by the caller once `of` is known.
    Seed { of: Node },
    /// A convolution (correlation, as in PyTorch).
    Conv { x: Node, weight: String, bias: Option<String>, window: Window, groups: usize },
    /// The adjoint of the convolution with this window. `like` is a node of the result's extent; without it PyTorch's
    /// default.
    ConvTransposed { x: Node, weight: String, bias: Option<String>, window: Window, groups: usize, like: Option<Node> },
    /// `x · f + o` with the norm's factor `f = scale / sqrt(variance + epsilon)` and offset `o = shift - mean · f`.
    Norm { x: Node, norm: BatchNorm },
    /// `g · f`.
    NormGradient { g: Node, norm: BatchNorm },
    /// Each channel to mean 0 and variance 1 over its space, then scaled and shifted by `[D, H, W]` weights.
    SpaceNorm { x: Node, scale: String, shift: String, epsilon: f64 },
    /// Each group of channels to mean 0 and variance 1 over group and space, then scaled and shifted by `[channels]`
    /// weights.
    GroupNorm { x: Node, groups: usize, scale: String, shift: String, epsilon: f64 },
    /// A function of each value.
    Activation { x: Node, kind: Activation },
    /// `g` times the derivative at `x` of the activation whose result is `y`.
    ActivationGradient { x: Node, y: Node, g: Node, kind: Activation },
    /// `a + b`.
    Add { a: Node, b: Node },
    /// `a - b`.
    Subtract { a: Node, b: Node },
    /// `a · b`; one of the two may have one channel for all of the other's.
    Multiply { a: Node, b: Node },
    /// `g · other`, added up over the channels where `like` has one channel and the product several.
    MultiplyGradient { g: Node, other: Node, like: Node },
    /// `x · by`.
    Scale { x: Node, by: f32 },
    /// Channels side by side.
    Concat { parts: Vec<Node> },
    /// The channels of `g` that belong to part `which` of a concatenation.
    ConcatGradient { g: Node, parts: Vec<Node>, which: usize },
    /// Channels `from .. from + channels`.
    Slice { x: Node, from: usize, channels: usize },
    /// The largest value under the window; the first of equals in row-major order; NaN wins.
    MaxPool { x: Node, pool: Pool },
    /// `g` sent to the position that won.
    MaxPoolGradient { x: Node, g: Node, pool: Pool },
    /// The mean of the values under the window that lie in the image.
    MeanPool { x: Node, pool: Pool },
    /// `g` shared out; `like` has the pooled value's shape.
    MeanPoolGradient { g: Node, pool: Pool, like: Node },
    /// The mean over the space.
    GlobalMean { x: Node },
    /// `g` shared out over the space of `like`.
    GlobalMeanGradient { g: Node, like: Node },
    /// A map made larger by whole factors.
    Upsample { x: Node, factor: Extent, mode: Upsampling },
    /// The adjoint of that; `like` has the smaller shape.
    UpsampleGradient { g: Node, factor: Extent, mode: Upsampling, like: Node },
    /// All values as channels of extent 1.
    Flatten { x: Node },
    /// The values back in the shape of `like`.
    Unflatten { x: Node, like: Node },
    /// Exponentials that add up to 1 over the channels.
    Softmax { x: Node },
    /// The gradient of a softmax whose result is `y`.
    SoftmaxGradient { y: Node, g: Node },
}

/// A network as data.
#[derive(Clone, Debug)]
pub struct Graph {
    ops: Vec<Op>,
    stages: BTreeMap<String, Node>,
    output: Node,
}

impl Graph {
    /// A graph of its input alone.
    #[must_use]
    pub fn new() -> (Self, Node) {
        (Self { ops: vec![Op::Input], stages: BTreeMap::new(), output: Node(0) }, Node(0))
    }

    /// Appends an operation; the last one appended is the output until [`Self::set_output`] says otherwise.
    pub fn push(&mut self, op: Op) -> Node {
        self.ops.push(op);
        self.output = Node(self.ops.len() - 1);
        self.output
    }

    /// The operations in the order of computation.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The operation that makes `node`.
    #[must_use]
    pub fn op(&self, node: Node) -> &Op {
        &self.ops[node.0]
    }

    /// The input.
    #[must_use]
    pub const fn input(&self) -> Node {
        Node(0)
    }

    /// The network's answer.
    #[must_use]
    pub const fn output(&self) -> Node {
        self.output
    }

    /// Names the answer.
    pub const fn set_output(&mut self, node: Node) {
        self.output = node;
    }

    /// Names a stage: what explanations and tests ask for.
    pub fn stage(&mut self, name: &str, node: Node) {
        self.stages.insert(name.to_owned(), node);
    }

    /// The named stages.
    #[must_use]
    pub const fn stages(&self) -> &BTreeMap<String, Node> {
        &self.stages
    }

    /// Convolution; `weight` and `bias` are names.
    pub fn conv(&mut self, x: Node, weight: &str, bias: Option<&str>, window: Window, groups: usize) -> Node {
        self.push(Op::Conv { x, weight: weight.to_owned(), bias: bias.map(str::to_owned), window, groups })
    }

    /// Transposed convolution of PyTorch's default extent.
    pub fn conv_transposed(&mut self, x: Node, weight: &str, bias: Option<&str>, window: Window) -> Node {
        let (weight, bias) = (weight.to_owned(), bias.map(str::to_owned));
        self.push(Op::ConvTransposed { x, weight, bias, window, groups: 1, like: None })
    }

    /// A linear layer over all values of `x`.
    pub fn linear(&mut self, x: Node, weight: &str, bias: Option<&str>) -> Node {
        let flat = self.push(Op::Flatten { x });
        self.conv(flat, weight, bias, Window::ONE, 1)
    }

    /// Batch norm with running statistics.
    pub fn norm(&mut self, x: Node, norm: BatchNorm) -> Node {
        self.push(Op::Norm { x, norm })
    }

    /// A function of each value.
    pub fn activation(&mut self, x: Node, kind: Activation) -> Node {
        self.push(Op::Activation { x, kind })
    }

    /// `a + b`.
    pub fn add(&mut self, a: Node, b: Node) -> Node {
        self.push(Op::Add { a, b })
    }

    /// `a - b`.
    pub fn subtract(&mut self, a: Node, b: Node) -> Node {
        self.push(Op::Subtract { a, b })
    }

    /// `a · b`.
    pub fn multiply(&mut self, a: Node, b: Node) -> Node {
        self.push(Op::Multiply { a, b })
    }

    /// Channels side by side.
    pub fn concat(&mut self, parts: &[Node]) -> Node {
        self.push(Op::Concat { parts: parts.to_vec() })
    }

    /// Maximum under a window.
    pub fn max_pool(&mut self, x: Node, pool: Pool) -> Node {
        self.push(Op::MaxPool { x, pool })
    }

    /// Mean under a window.
    pub fn mean_pool(&mut self, x: Node, pool: Pool) -> Node {
        self.push(Op::MeanPool { x, pool })
    }

    /// Mean over the space.
    pub fn global_mean(&mut self, x: Node) -> Node {
        self.push(Op::GlobalMean { x })
    }

    /// A map made larger.
    pub fn upsample(&mut self, x: Node, factor: Extent, mode: Upsampling) -> Node {
        self.push(Op::Upsample { x, factor, mode })
    }

    /// Softmax over channels.
    pub fn softmax(&mut self, x: Node) -> Node {
        self.push(Op::Softmax { x })
    }
}

impl Op {
    /// Its name, for messages.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Seed { .. } => "seed",
            Self::Conv { .. } => "convolution",
            Self::ConvTransposed { .. } => "transposed convolution",
            Self::Norm { .. } => "batch norm",
            Self::NormGradient { .. } => "gradient of batch norm",
            Self::SpaceNorm { .. } => "norm over space",
            Self::GroupNorm { .. } => "group norm",
            Self::Activation { .. } => "activation",
            Self::ActivationGradient { .. } => "gradient of activation",
            Self::Add { .. } => "sum",
            Self::Subtract { .. } => "difference",
            Self::Multiply { .. } => "product",
            Self::MultiplyGradient { .. } => "gradient of product",
            Self::Scale { .. } => "scaling",
            Self::Concat { .. } => "concatenation",
            Self::ConcatGradient { .. } => "gradient of concatenation",
            Self::Slice { .. } => "slice",
            Self::MaxPool { .. } => "max pool",
            Self::MaxPoolGradient { .. } => "gradient of max pool",
            Self::MeanPool { .. } => "mean pool",
            Self::MeanPoolGradient { .. } => "gradient of mean pool",
            Self::GlobalMean { .. } => "global mean",
            Self::GlobalMeanGradient { .. } => "gradient of global mean",
            Self::Upsample { .. } => "upsampling",
            Self::UpsampleGradient { .. } => "gradient of upsampling",
            Self::Flatten { .. } => "flattening",
            Self::Unflatten { .. } => "unflattening",
            Self::Softmax { .. } => "softmax",
            Self::SoftmaxGradient { .. } => "gradient of softmax",
        }
    }

    /// The nodes whose values it reads; a node that only lends its shape (`like`) is not among them, but
    /// [`Self::shaped`].
    #[must_use]
    pub fn reads(&self) -> Vec<Node> {
        match self {
            Self::Input => Vec::new(),
            Self::Seed { of } => vec![*of],
            Self::Conv { x, .. }
            | Self::ConvTransposed { x, .. }
            | Self::Norm { x, .. }
            | Self::SpaceNorm { x, .. }
            | Self::GroupNorm { x, .. }
            | Self::Activation { x, .. }
            | Self::Scale { x, .. }
            | Self::Slice { x, .. }
            | Self::MaxPool { x, .. }
            | Self::MeanPool { x, .. }
            | Self::GlobalMean { x }
            | Self::Upsample { x, .. }
            | Self::Flatten { x }
            | Self::Unflatten { x, .. }
            | Self::Softmax { x } => vec![*x],
            Self::NormGradient { g, .. }
            | Self::ConcatGradient { g, .. }
            | Self::MeanPoolGradient { g, .. }
            | Self::GlobalMeanGradient { g, .. }
            | Self::UpsampleGradient { g, .. } => vec![*g],
            Self::ActivationGradient { x, y, g, .. } => vec![*x, *y, *g],
            Self::Add { a, b } | Self::Subtract { a, b } | Self::Multiply { a, b } => vec![*a, *b],
            Self::Concat { parts } => parts.clone(),
            Self::MaxPoolGradient { x, g, .. } => vec![*x, *g],
            Self::SoftmaxGradient { y, g } => vec![*y, *g],
            Self::MultiplyGradient { g, other, .. } => vec![*g, *other],
        }
    }

    /// The node that lends its shape.
    #[must_use]
    pub fn shaped(&self) -> Option<Node> {
        match self {
            Self::ConcatGradient { parts, which, .. } => parts.get(*which).copied(),
            Self::ConvTransposed { like, .. } => *like,
            Self::MeanPoolGradient { like, .. }
            | Self::GlobalMeanGradient { like, .. }
            | Self::UpsampleGradient { like, .. }
            | Self::MultiplyGradient { like, .. }
            | Self::Unflatten { like, .. } => Some(*like),
            _ => None,
        }
    }
}
