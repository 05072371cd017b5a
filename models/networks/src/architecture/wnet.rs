//! W-Net: little U-Nets in a row; each after the first sees the image and the raw answer of the one before.
//! Shapes: in `[channels, H, W]`, out `[classes, H, W]` of logits. Levels, widths, channels and classes are the
//! tensors'. A block is convolution, activation, norm, twice (or norm first, by `order`), plus a shortcut of a 1x1
//! convolution and a norm; no activation after the sum. Stages `unet1`, `unet2`, ..; `features` is the last map of the
//! last one.
//! Errors: [`NetworkError`]. Source: Galdran et al. 2020 (arXiv 2009.01907), code agaldran/lwnet.

use super::tensors::Tensors;
use super::{Description, Network, Order, SpaceKind};
use crate::NetworkError;
use vidimus_engine::{Graph, Node, Pool, Upsampling, Weights, Window};

struct Builder<'a> {
    graph: Graph,
    tensors: &'a mut Tensors,
    description: &'a Description,
}

pub(super) fn build(description: &Description, tensors: &mut Tensors) -> Result<Network, NetworkError> {
    let nets = (1..).take_while(|net| tensors.has(&format!("unet{net}.final.weight"))).count();
    if nets == 0 {
        return Err(NetworkError::Missing { name: "unet1.final.weight".into() });
    }
    let channels = tensors.take_rank("unet1.first.block.0.weight", 4)?[1];
    let (graph, image) = Graph::new();
    let mut builder = Builder { graph, tensors, description };
    let (mut x, mut outputs, mut levels) = (image, 0, 0);
    for net in 1..=nets {
        if net > 1 {
            x = builder.graph.concat(&[image, x]);
        }
        let found = builder.unet(&format!("unet{net}"), x)?;
        (x, levels) = (found.0, levels.max(found.2));
        outputs = found.1;
        builder.graph.stage(&format!("unet{net}"), x);
    }
    let mut graph = builder.graph;
    graph.set_output(x);
    let multiple = super::halvings(levels)?;
    Ok(Network { graph, weights: Weights::new(), channels, outputs, multiple, space: SpaceKind::Plane })
}

impl Builder<'_> {
    /// One U-Net under `prefix`: its logits, their channels, and how often it halves.
    fn unet(&mut self, prefix: &str, x: Node) -> Result<(Node, usize, usize), NetworkError> {
        let mut x = self.block(&format!("{prefix}.first"), x)?;
        let mut skips = Vec::new();
        let mut level = 0;
        while self.tensors.has(&format!("{prefix}.down_path.{level}.block.0.weight")) {
            skips.push(x);
            let pooled = self.graph.max_pool(x, Pool::plane(2, 2, 0));
            x = self.block(&format!("{prefix}.down_path.{level}"), pooled)?;
            level += 1;
        }
        for up in 0..level {
            let prefix = format!("{prefix}.up_path.{up}");
            let grown = self.grown(&format!("{prefix}.up_layer"), x)?;
            let skip = skips.pop().unwrap_or(x);
            let bridge = format!("{prefix}.conv_bridge_layer");
            let skip =
                if self.tensors.has(&format!("{bridge}.block.0.weight")) { self.pair(&bridge, 0, skip)? } else { skip };
            let both = self.graph.concat(&[grown, skip]);
            x = self.block(&format!("{prefix}.conv_layer"), both)?;
        }
        self.graph.stage("features", x);
        let name = format!("{prefix}.final");
        let dims = self.tensors.take_rank(&format!("{name}.weight"), 4)?;
        let bias = self.tensors.bias(&name)?;
        let logits = self.graph.conv(x, &format!("{name}.weight"), bias.as_deref(), Window::ONE, 1);
        Ok((logits, dims[0], level))
    }

    /// Twice the size: by a transposed convolution (`block.0`), or by bilinear steps and a 1x1 convolution (`block.1`).
    fn grown(&mut self, prefix: &str, x: Node) -> Result<Node, NetworkError> {
        let bilinear = format!("{prefix}.block.1");
        if self.tensors.has(&format!("{bilinear}.weight")) {
            let name = format!("{bilinear}.weight");
            self.tensors.take_rank(&name, 4)?;
            let bias = self.tensors.bias(&bilinear)?;
            let x = self.graph.upsample(x, [1, 2, 2], Upsampling::Linear);
            return Ok(self.graph.conv(x, &name, bias.as_deref(), Window::ONE, 1));
        }
        let name = format!("{prefix}.block.0.weight");
        let dims = self.tensors.take_rank(&name, 4)?;
        if dims[2..] != [2, 2] {
            let found = format!("f32 {dims:?}");
            return Err(NetworkError::Tensor { name, expected: vec![dims[0], dims[1], 2, 2], found });
        }
        let bias = self.tensors.bias(&format!("{prefix}.block.0"))?;
        Ok(self.graph.conv_transposed(x, &name, bias.as_deref(), Window::plane(2, 0, 1)))
    }

    /// Two convolutions with their norms, and the shortcut where there is one.
    fn block(&mut self, prefix: &str, x: Node) -> Result<Node, NetworkError> {
        let y = self.pair(prefix, 0, x)?;
        let y = self.pair(prefix, 3, y)?;
        let shortcut = format!("{prefix}.shortcut");
        if !self.tensors.has(&format!("{shortcut}.0.weight")) {
            return Ok(y);
        }
        self.tensors.take_rank(&format!("{shortcut}.0.weight"), 4)?;
        let bias = self.tensors.bias(&format!("{shortcut}.0"))?;
        let short = self.graph.conv(x, &format!("{shortcut}.0.weight"), bias.as_deref(), Window::ONE, 1);
        let norm = self.tensors.norm(&format!("{shortcut}.1"), self.description.norm_epsilon)?;
        let short = self.graph.norm(short, norm);
        Ok(self.graph.add(y, short))
    }

    /// The convolution `prefix.block.N`, its activation and its norm.
    fn pair(&mut self, prefix: &str, number: usize, x: Node) -> Result<Node, NetworkError> {
        let name = format!("{prefix}.block.{number}");
        let dims = self.tensors.take_rank(&format!("{name}.weight"), 4)?;
        if dims[2] != dims[3] || dims[2].is_multiple_of(2) {
            let found = format!("f32 {dims:?}");
            return Err(NetworkError::Tensor { name: format!("{name}.weight"), expected: vec![0, 0, 3, 3], found });
        }
        let bias = self.tensors.bias(&name)?;
        let window = Window::plane(1, dims[2] / 2, 1);
        let mut y = self.graph.conv(x, &format!("{name}.weight"), bias.as_deref(), window, 1);
        let activation = self.description.activation.function();
        // in the published order the activation stands between, so that the norm is two places on
        let place = number + if self.description.order == Order::ActivationFirst { 2 } else { 1 };
        let norm = format!("{prefix}.block.{place}");
        let norm = if self.tensors.has_norm(&norm) {
            Some(self.tensors.norm(&norm, self.description.norm_epsilon)?)
        } else {
            None
        };
        match (norm, self.description.order) {
            (None, _) => y = self.graph.activation(y, activation),
            (Some(norm), Order::ActivationFirst) => {
                y = self.graph.activation(y, activation);
                y = self.graph.norm(y, norm);
            }
            (Some(norm), Order::NormFirst) => {
                y = self.graph.norm(y, norm);
                y = self.graph.activation(y, activation);
            }
        }
        Ok(y)
    }
}
