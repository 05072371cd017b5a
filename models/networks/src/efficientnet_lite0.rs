//! EfficientNet-Lite0 up to stride 16: stem and blocks 0 to 10, batch norms with frozen running statistics.
//! Shapes: in `[N, H, W, 1 or 3]`, any H and W; out the stem and stages 1 to 5, `[N, h, w, channels]` with 32, 16, 24,
//! 40, 80 and 112 channels at strides 2, 2, 4, 8, 16 and 16. A grey image stands for three equal planes: the stem's
//! planes are then summed into one filter.
//! Every convolution is "same"-padded as in TensorFlow, without bias; epsilon 1e-3; ReLU6 after stem, expand and
//! depthwise, nothing after project; a residual where stride is 1 and the channel counts agree.
//! Errors: `NetworkError` for weights that do not fit. Source: arXiv 1905.11946; the trunk's card.

use crate::NetworkError;
use candle_core::{DType, Device, Result, Tensor};
use std::collections::{BTreeMap, HashMap};
use vidimus_engine::{
    Activation, BatchNorm, Graph, Node, Window, conv2d, depthwise_conv2d, graph::Activation as Function,
    pointwise_conv2d,
};

/// Epsilon of every batch norm.
const EPSILON: f64 = 1e-3;

/// Channels of the stem.
const STEM_CHANNELS: usize = 32;

/// Blocks of the trunk.
pub const BLOCKS: usize = PLAN.len();

/// One block: channels in, hidden, out; kernel; stride.
struct Plan {
    inputs: usize,
    hidden: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
}

const fn plan(inputs: usize, hidden: usize, outputs: usize, kernel: usize, stride: usize) -> Plan {
    Plan { inputs, hidden, outputs, kernel, stride }
}

const PLAN: [Plan; 11] = [
    plan(32, 32, 16, 3, 1),
    plan(16, 96, 24, 3, 2),
    plan(24, 144, 24, 3, 1),
    plan(24, 144, 40, 5, 2),
    plan(40, 240, 40, 5, 1),
    plan(40, 240, 80, 3, 2),
    plan(80, 480, 80, 3, 1),
    plan(80, 480, 80, 3, 1),
    plan(80, 480, 112, 5, 1),
    plan(112, 672, 112, 5, 1),
    plan(112, 672, 112, 5, 1),
];

/// The last block of stages 1 to 5.
const STAGE_ENDS: [usize; 5] = [0, 2, 4, 7, 10];

/// Channels of stages 1 to 5.
pub const STAGE_CHANNELS: [usize; 5] = [16, 24, 40, 80, 112];

/// The maps at the end of each stage.
#[derive(Clone, Debug)]
pub struct Stages {
    /// After the stem: stride 2, 32 channels.
    pub stem: Tensor,
    /// Stride 2, 16 channels.
    pub stage1: Tensor,
    /// Stride 4, 24 channels.
    pub stage2: Tensor,
    /// Stride 8, 40 channels.
    pub stage3: Tensor,
    /// Stride 16, 80 channels.
    pub stage4: Tensor,
    /// Stride 16, 112 channels.
    pub stage5: Tensor,
}

/// Named tensors of a network, taken out one by one so that a stranger is noticed.
#[derive(Debug)]
pub struct Parameters(BTreeMap<String, Tensor>);

impl Parameters {
    /// Reads a safetensors file.
    pub fn from_safetensors(bytes: &[u8]) -> std::result::Result<Self, NetworkError> {
        let map: HashMap<_, _> =
            candle_core::safetensors::load_buffer(bytes, &Device::Cpu).map_err(NetworkError::Format)?;
        Ok(Self(map.into_iter().collect()))
    }

    /// Tensors at hand, for a network under training.
    #[must_use]
    pub fn from_tensors(tensors: BTreeMap<String, Tensor>) -> Self {
        Self(tensors)
    }

    /// Takes tensor `name` out, of this shape, f32 and finite.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> std::result::Result<Tensor, NetworkError> {
        let tensor = self.0.remove(name).ok_or_else(|| NetworkError::Missing { name: name.into() })?;
        if tensor.dims() != shape || tensor.dtype() != DType::F32 {
            let found = format!("{} {:?}", tensor.dtype().as_str(), tensor.dims());
            return Err(NetworkError::Tensor { name: name.into(), expected: shape.to_vec(), found });
        }
        let finite = tensor.flatten_all()?.to_vec1::<f32>()?.iter().all(|v| v.is_finite());
        if finite { Ok(tensor) } else { Err(NetworkError::NotFinite { name: name.into() }) }
    }

    /// Ends the taking: whatever is left is not part of the architecture.
    pub fn finish(self) -> std::result::Result<(), NetworkError> {
        self.0.into_keys().next().map_or(Ok(()), |name| Err(NetworkError::Unknown { name }))
    }
}

/// A convolution and its batch norm.
#[derive(Clone, Debug)]
struct Unit {
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    /// `1 / sqrt(running_var + epsilon)`.
    spread: Tensor,
}

impl Unit {
    fn load(from: &mut Parameters, name: &str, shape: [usize; 4]) -> std::result::Result<Self, NetworkError> {
        let [outputs, ..] = shape;
        let mut norm = |part: &str| from.take(&format!("{name}.bn.{part}"), &[outputs]);
        let (scale, shift) = (norm("weight")?, norm("bias")?);
        let (mean, variance) = (norm("running_mean")?, norm("running_var")?);
        let spread = (variance + EPSILON)?.sqrt()?.recip()?;
        Ok(Self { weight: from.take(&format!("{name}.conv.weight"), &shape)?, scale, shift, mean, spread })
    }

    /// Weight and bias with the batch norm folded in; gradients flow to weight, scale and shift.
    fn folded(&self) -> Result<(Tensor, Tensor)> {
        let factor = (&self.scale * &self.spread)?;
        let bias = (&self.shift - (&self.mean * &factor)?)?;
        Ok((self.weight.broadcast_mul(&factor.reshape(((), 1, 1, 1))?)?, bias))
    }

    fn pointwise(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let (weight, bias) = self.folded()?;
        pointwise_conv2d(x, &weight.flatten_from(1)?, &bias, activation)
    }

    fn depthwise(&self, x: &Tensor, stride: usize) -> Result<Tensor> {
        let (weight, bias) = self.folded()?;
        depthwise_conv2d(x, &weight, &bias, stride, Activation::Relu6)
    }
}

#[derive(Clone, Debug)]
struct Block {
    expand: Option<Unit>,
    depthwise: Unit,
    project: Unit,
    stride: usize,
    residual: bool,
}

impl Block {
    fn load(from: &mut Parameters, number: usize, plan: &Plan) -> std::result::Result<Self, NetworkError> {
        let &Plan { inputs, hidden, outputs, kernel, stride } = plan;
        let name = |part: &str| format!("blocks.{number}.{part}");
        let expand = (hidden != inputs).then(|| Unit::load(from, &name("expand"), [hidden, inputs, 1, 1]));
        Ok(Self {
            expand: expand.transpose()?,
            depthwise: Unit::load(from, &name("depthwise"), [hidden, 1, kernel, kernel])?,
            project: Unit::load(from, &name("project"), [outputs, hidden, 1, 1])?,
            stride,
            residual: stride == 1 && inputs == outputs,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = match &self.expand {
            Some(expand) => self.depthwise.depthwise(&expand.pointwise(x, Activation::Relu6)?, self.stride)?,
            None => self.depthwise.depthwise(x, self.stride)?,
        };
        let y = self.project.pointwise(&hidden, Activation::None)?;
        if self.residual { x + y } else { Ok(y) }
    }
}

/// The trunk.
#[derive(Clone, Debug)]
pub struct Trunk {
    stem: Unit,
    blocks: Vec<Block>,
}

impl Trunk {
    /// Takes the trunk's tensors, by their published names.
    pub fn load(from: &mut Parameters) -> std::result::Result<Self, NetworkError> {
        let stem = Unit::load(from, "stem", [STEM_CHANNELS, 3, 3, 3])?;
        let blocks = PLAN.iter().enumerate().map(|(number, plan)| Block::load(from, number, plan));
        Ok(Self { stem, blocks: blocks.collect::<std::result::Result<_, _>>()? })
    }

    /// The maps of `x`, `[N, H, W, 1 or 3]`.
    pub fn forward(&self, x: &Tensor) -> Result<Stages> {
        let (weight, bias) = self.stem.folded()?;
        let weight = if x.dim(3)? == 1 { weight.sum_keepdim(1)? } else { weight };
        let stem = conv2d(x, &weight, &bias, 2, Activation::Relu6)?;
        let mut maps = Vec::with_capacity(STAGE_ENDS.len());
        let mut at = stem.clone();
        for (number, block) in self.blocks.iter().enumerate() {
            at = block.forward(&at)?;
            if STAGE_ENDS.contains(&number) {
                maps.push(at.clone());
            }
        }
        let Ok([stage1, stage2, stage3, stage4, stage5]) = <[Tensor; 5]>::try_from(maps) else {
            candle_core::bail!("the trunk has five stages")
        };
        Ok(Stages { stem, stage1, stage2, stage3, stage4, stage5 })
    }
}

/// The trunk as part of a graph, by its published names: the nodes of stem and stages 1 to 5, named so.
pub fn trunk_graph(graph: &mut Graph, x: Node) -> [Node; 6] {
    let mut nodes = [x; 6];
    nodes[0] = unit(graph, x, "stem", Window::same(2), 1, true);
    graph.stage("stem", nodes[0]);
    let mut at = nodes[0];
    for (number, plan) in PLAN.iter().enumerate() {
        at = block(graph, at, number, plan);
        if let Some(stage) = STAGE_ENDS.iter().position(|&end| end == number) {
            nodes[stage + 1] = at;
            graph.stage(&format!("stage{}", stage + 1), at);
        }
    }
    nodes
}

fn unit(graph: &mut Graph, x: Node, name: &str, window: Window, groups: usize, active: bool) -> Node {
    let y = graph.conv(x, &format!("{name}.conv.weight"), None, window, groups);
    let y = graph.norm(y, BatchNorm::named(&format!("{name}.bn"), EPSILON));
    if active { graph.activation(y, Function::Relu6) } else { y }
}

fn block(graph: &mut Graph, x: Node, number: usize, plan: &Plan) -> Node {
    let &Plan { inputs, hidden, outputs, stride, .. } = plan;
    let name = |part: &str| format!("blocks.{number}.{part}");
    let wide = if hidden == inputs { x } else { unit(graph, x, &name("expand"), Window::ONE, 1, true) };
    let deep = unit(graph, wide, &name("depthwise"), Window::same(stride), hidden, true);
    let y = unit(graph, deep, &name("project"), Window::ONE, 1, false);
    if stride == 1 && inputs == outputs { graph.add(x, y) } else { y }
}

/// The block that a tensor of the trunk belongs to; the stem is block 0's predecessor and gives `None`.
#[must_use]
pub fn block_of(name: &str) -> Option<usize> {
    name.strip_prefix("blocks.")?.split('.').next()?.parse().ok()
}
