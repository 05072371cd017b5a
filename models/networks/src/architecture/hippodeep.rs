//! hippodeep's three networks: brain mask and priors, alignment, hippocampus of one side.
//! Shapes: head `[1, 64, 64, 64]` to `[4, 64, 64, 64]`; affine `[2, 64, 64, 64]` to `[12, 1, 1, 1]`, read as 3 x 4 by
//! the protocol; hippo `[1, 48, 72, 64]` to `[1, 44, 68, 60]`. Probabilities, not logits, where the authors' end so.
//! Errors: [`NetworkError`]. Source: Thyreau et al., Medical Image Analysis 2018; code bthyreau/hippodeep_pytorch; the
//! card.

use super::tensors::Tensors;
use super::{Network, SpaceKind};
use crate::NetworkError;
use vidimus_engine::graph::Activation;
use vidimus_engine::{Graph, Node, Op, Padding, Pool, Upsampling, Weights, Window};

/// Epsilon of every norm.
const EPSILON: f64 = 1e-5;

struct Builder<'a> {
    graph: Graph,
    tensors: &'a mut Tensors,
}

impl Builder<'_> {
    /// The convolution `name` with its bias; `around` zeros on every side.
    fn conv(&mut self, x: Node, name: &str, around: usize) -> Result<Node, NetworkError> {
        let weight = format!("{name}.weight");
        let dims = self.tensors.take_rank(&weight, 5)?;
        let bias = self.tensors.bias(name)?;
        let before = if dims[2..] == [1, 1, 1] { [0; 3] } else { [around; 3] };
        let window = Window { stride: [1; 3], dilation: [1; 3], padding: Padding::Fixed { before, after: before } };
        Ok(self.graph.conv(x, &weight, bias.as_deref(), window, 1))
    }

    fn active(&mut self, x: Node, name: &str, around: usize, kind: Activation) -> Result<Node, NetworkError> {
        let y = self.conv(x, name, around)?;
        Ok(self.graph.activation(y, kind))
    }

    fn norm(&mut self, x: Node, name: &str) -> Result<Node, NetworkError> {
        let norm = self.tensors.norm(name, EPSILON)?;
        Ok(self.graph.norm(x, norm))
    }

    fn space_norm(&mut self, x: Node, name: &str) -> Result<Node, NetworkError> {
        let (scale, shift) = (format!("{name}.weight"), format!("{name}.bias"));
        self.tensors.take_rank(&scale, 3)?;
        self.tensors.take_rank(&shift, 3)?;
        Ok(self.graph.push(Op::SpaceNorm { x, scale, shift, epsilon: EPSILON }))
    }

    fn pool(&mut self, x: Node) -> Node {
        self.graph.max_pool(x, Pool::volume(2, 2, 0))
    }

    fn grown(&mut self, x: Node) -> Node {
        self.graph.upsample(x, [2; 3], Upsampling::Nearest)
    }

    fn finish(self, output: Node, (channels, outputs): (usize, usize)) -> Network {
        let mut graph = self.graph;
        graph.set_output(output);
        Network { graph, weights: Weights::new(), channels, outputs, multiple: 1, space: SpaceKind::Volume }
    }
}

/// Brain and tissue priors.
pub(super) fn head(tensors: &mut Tensors) -> Result<Network, NetworkError> {
    const E: Activation = Activation::Elu(1.0);
    let (graph, mut x) = Graph::new();
    let mut b = Builder { graph, tensors };
    let mut skips = Vec::new();
    for level in 0..4 {
        let y = b.active(x, &format!("conv{level}a"), 1, E)?;
        let y = b.conv(y, &format!("conv{level}b"), 1)?;
        let y = b.norm(y, &format!("bn{level}a"))?;
        x = b.graph.activation(y, E);
        b.graph.stage(&format!("down{level}"), x);
        if level < 3 {
            skips.push(x);
            x = b.pool(x);
        }
    }
    for level in [2, 1, 0] {
        let y = b.grown(x);
        let y = b.active(y, &format!("conv{level}u"), 1, E)?;
        let skip = skips.pop().unwrap_or(y);
        let y = b.graph.concat(&[y, skip]);
        let y = b.conv(y, &format!("conv{level}v"), 1)?;
        let y = b.norm(y, &format!("bn{level}u"))?;
        x = b.graph.activation(y, E);
        b.graph.stage(&format!("up{level}"), x);
    }
    b.graph.stage("features", x);
    let y = b.active(x, "conv1x", 0, Activation::Sigmoid)?;
    Ok(b.finish(y, (1, 4)))
}

/// The alignment's twelve numbers.
pub(super) fn affine(tensors: &mut Tensors) -> Result<Network, NetworkError> {
    const R: Activation = Activation::Relu;
    let (graph, x) = Graph::new();
    let mut b = Builder { graph, tensors };
    let mut x = b.active(x, "convaff1", 1, R)?;
    for number in 2..=4 {
        x = b.pool(x);
        let y = b.conv(x, &format!("convaff{number}"), 1)?;
        let y = b.space_norm(y, &format!("bnaff{number}"))?;
        x = b.graph.activation(y, R);
    }
    x = b.pool(x);
    x = b.active(x, "convaff5", 0, R)?;
    b.graph.stage("features", x);
    let y = b.conv(x, "convaff6", 0)?;
    Ok(b.finish(y, (2, 12)))
}

/// The hippocampus of one side.
pub(super) fn hippo(tensors: &mut Tensors) -> Result<Network, NetworkError> {
    const R: Activation = Activation::Relu;
    let (graph, x) = Graph::new();
    let mut b = Builder { graph, tensors };
    let mut f = x;
    for name in ["conv0a_0", "conv0a_1", "conv0a", "convf1"] {
        f = b.active(f, name, 0, R)?;
    }
    b.graph.stage("fine", f);
    let mut x = f;
    for (norm, first, second) in [("bn1", "convout0", "convout1"), ("bn2", "convout2p", "convout2")] {
        let pooled = b.pool(x);
        let y = b.norm(pooled, norm)?;
        let y = b.active(y, first, 1, R)?;
        let y = b.conv(y, second, 1)?;
        let y = b.graph.add(y, pooled);
        x = b.graph.activation(y, R);
    }
    for name in ["convlx3", "convlx5", "convlx7"] {
        if name != "convlx3" {
            x = b.grown(x);
        }
        x = b.active(x, name, 1, R)?;
    }
    let coarse = b.active(x, "convlx8", 0, Activation::Sigmoid)?;
    b.graph.stage("coarse", coarse);
    let gate = b.active(coarse, "blur", 3, Activation::Sigmoid)?;
    let y = b.graph.multiply(gate, f);
    let y = b.active(y, "conv_extract", 1, Activation::LeakyRelu(0.01))?;
    let y = b.graph.concat(&[coarse, y]);
    let y = b.active(y, "convmix", 1, R)?;
    b.graph.stage("features", y);
    let y = b.active(y, "convout1x", 0, Activation::Sigmoid)?;
    Ok(b.finish(y, (1, 1)))
}
