//! The peers' networks as graphs, by the tensor names of `tests/peers/networks.py`: what tests of the engine
//! run. The product's own definitions are the networks crate's, and read descriptions; these read names only.
//! Shapes: as the weights say. Stage `features` is the last map before the head (the U-Net's: its lowest level).

use vidimus_engine::graph::Activation;
use vidimus_engine::{BatchNorm, Graph, Node, Pool, Weights, Window};

/// The graph of a network by its name; dilations of a MeshNet are given.
pub(crate) fn graph(name: &str, weights: &Weights, dilations: &[usize]) -> Graph {
    let (graph, x) = Graph::new();
    let mut b = Builder { graph, weights };
    match name {
        "resnet" | "resnet18" => b.resnet(x),
        "densenet" | "densenet121" => b.densenet(x),
        "efficientnet-lite" => b.efficientnet_lite(x),
        "unet" => b.unet(x),
        "w-net" => b.w_net(x),
        "meshnet" | "meshnet-subcortical" => b.meshnet(x, dilations, Activation::Elu(1.0)),
        "meshnet-tissue" => b.meshnet(x, dilations, Activation::Relu),
        "dncnn" => b.dncnn(x),
        other => panic!("no network {other}"),
    }
    b.graph
}

struct Builder<'a> {
    graph: Graph,
    weights: &'a Weights,
}

impl Builder<'_> {
    fn dims(&self, name: &str) -> &[usize] {
        self.weights.get(name).unwrap_or_else(|| panic!("no tensor {name}")).dims()
    }

    /// How many of `NAME(0)`, `NAME(1)`, ... there are, from `first` on.
    fn count(&self, first: usize, name: impl Fn(usize) -> String) -> usize {
        (first..).take_while(|&at| self.weights.contains_key(&name(at))).count()
    }

    /// A convolution of `NAME.weight` (and `NAME.bias` where there is one), padded to keep the size at stride 1.
    fn conv(&mut self, x: Node, name: &str, stride: usize) -> Node {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let window = Window::plane(stride, self.dims(&weight)[2] / 2, 1);
        let bias = self.weights.contains_key(&bias).then_some(bias);
        self.graph.conv(x, &weight, bias.as_deref(), window, 1)
    }

    fn norm(&mut self, x: Node, name: &str) -> Node {
        self.graph.norm(x, BatchNorm::named(name, 1e-5))
    }

    fn relu(&mut self, x: Node) -> Node {
        self.graph.activation(x, Activation::Relu)
    }

    fn conv_norm_relu(&mut self, x: Node, conv: &str, norm: &str, stride: usize) -> Node {
        let y = self.conv(x, conv, stride);
        let y = self.norm(y, norm);
        self.relu(y)
    }

    fn norm_relu(&mut self, x: Node, norm: &str) -> Node {
        let y = self.norm(x, norm);
        self.relu(y)
    }

    fn head(&mut self, x: Node, name: &str) {
        self.graph.stage("features", x);
        let pooled = self.graph.global_mean(x);
        self.graph.linear(pooled, &format!("{name}.weight"), Some(&format!("{name}.bias")));
    }

    fn resnet(&mut self, x: Node) {
        let y = self.conv_norm_relu(x, "conv1", "bn1", 2);
        let mut x = self.graph.max_pool(y, Pool::plane(3, 2, 1));
        for stage in 1..=self.count(1, |at| format!("layer{at}.0.conv1.weight")) {
            for block in 0..self.count(0, |at| format!("layer{stage}.{at}.conv1.weight")) {
                let (p, stride) = (format!("layer{stage}.{block}"), if stage > 1 && block == 0 { 2 } else { 1 });
                let y = self.conv_norm_relu(x, &format!("{p}.conv1"), &format!("{p}.bn1"), stride);
                let y = self.conv(y, &format!("{p}.conv2"), 1);
                let y = self.norm(y, &format!("{p}.bn2"));
                if self.weights.contains_key(&format!("{p}.downsample.0.weight")) {
                    x = self.conv(x, &format!("{p}.downsample.0"), stride);
                    x = self.norm(x, &format!("{p}.downsample.1"));
                }
                let sum = self.graph.add(y, x);
                x = self.relu(sum);
            }
            self.graph.stage(&format!("layer{stage}"), x);
        }
        self.head(x, "fc");
    }

    fn densenet(&mut self, x: Node) {
        let y = self.conv_norm_relu(x, "features.conv0", "features.norm0", 2);
        let mut x = self.graph.max_pool(y, Pool::plane(3, 2, 1));
        for block in 1..=self.count(1, |at| format!("features.denseblock{at}.denselayer1.conv1.weight")) {
            let layer = |at| format!("features.denseblock{block}.denselayer{at}");
            for at in 1..=self.count(1, |at| format!("{}.conv1.weight", layer(at))) {
                let p = layer(at);
                let y = self.norm_relu(x, &format!("{p}.norm1"));
                let y = self.conv_norm_relu(y, &format!("{p}.conv1"), &format!("{p}.norm2"), 1);
                let y = self.conv(y, &format!("{p}.conv2"), 1);
                x = self.graph.concat(&[x, y]);
            }
            let transition = format!("features.transition{block}");
            if self.weights.contains_key(&format!("{transition}.conv.weight")) {
                let y = self.norm_relu(x, &format!("{transition}.norm"));
                let y = self.conv(y, &format!("{transition}.conv"), 1);
                x = self.graph.mean_pool(y, Pool::plane(2, 2, 0));
            }
        }
        let x = self.norm_relu(x, "features.norm5");
        self.head(x, "classifier");
    }

    fn same(&mut self, x: Node, name: &str, stride: usize, groups: usize) -> Node {
        let weight = format!("{name}.conv.weight");
        let y = self.graph.conv(x, &weight, None, Window::same(stride), groups);
        self.graph.norm(y, BatchNorm::named(&format!("{name}.bn"), 1e-3))
    }

    /// Strides 2 in blocks 1 and 3, as the golden network has them.
    fn efficientnet_lite(&mut self, x: Node) {
        let stem = self.same(x, "stem", 2, 1);
        let mut x = self.graph.activation(stem, Activation::Relu6);
        for block in 0..self.count(0, |at| format!("blocks.{at}.project.conv.weight")) {
            let (p, stride) = (format!("blocks.{block}"), if block % 2 == 1 { 2 } else { 1 });
            let mut y = x;
            if self.weights.contains_key(&format!("{p}.expand.conv.weight")) {
                y = self.same(y, &format!("{p}.expand"), 1, 1);
                y = self.graph.activation(y, Activation::Relu6);
            }
            let hidden = self.dims(&format!("{p}.depthwise.conv.weight"))[0];
            y = self.same(y, &format!("{p}.depthwise"), stride, hidden);
            y = self.graph.activation(y, Activation::Relu6);
            y = self.same(y, &format!("{p}.project"), 1, 1);
            let project = self.dims(&format!("{p}.project.conv.weight"))[0];
            let inputs = self.dims(&format!("blocks.{}.project.conv.weight", block.saturating_sub(1)))[0];
            x = if stride == 1 && block > 0 && project == inputs { self.graph.add(x, y) } else { y };
        }
    }

    fn double(&mut self, x: Node, p: &str) -> Node {
        let y = self.conv_norm_relu(x, &format!("{p}.0"), &format!("{p}.1"), 1);
        self.conv_norm_relu(y, &format!("{p}.3"), &format!("{p}.4"), 1)
    }

    fn up(&mut self, x: Node, name: &str) -> Node {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        self.graph.conv_transposed(x, &weight, Some(&bias), Window::plane(2, 0, 1))
    }

    fn unet(&mut self, mut x: Node) {
        let levels = self.count(0, |at| format!("d.{at}.0.weight"));
        let mut skips = Vec::new();
        for level in 0..levels {
            x = self.double(x, &format!("d.{level}"));
            skips.push(x);
            x = self.graph.max_pool(x, Pool::plane(2, 2, 0));
        }
        x = self.double(x, "m");
        self.graph.stage("features", x);
        for (level, skip) in skips.into_iter().rev().enumerate() {
            let up = self.up(x, &format!("u.{level}"));
            let joined = self.graph.concat(&[skip, up]);
            x = self.double(joined, &format!("c.{level}"));
        }
        self.graph.stage("last", x);
        self.conv(x, "o", 1);
    }

    fn block(&mut self, x: Node, p: &str) -> Node {
        let mut y = x;
        for (conv, norm) in [("0", "2"), ("3", "5")] {
            y = self.conv(y, &format!("{p}.block.{conv}"), 1);
            y = self.relu(y);
            y = self.norm(y, &format!("{p}.block.{norm}"));
        }
        let shortcut = self.conv(x, &format!("{p}.shortcut.0"), 1);
        let shortcut = self.norm(shortcut, &format!("{p}.shortcut.1"));
        self.graph.add(y, shortcut)
    }

    fn half(&mut self, x: Node, p: &str) -> Node {
        let mut maps = vec![self.block(x, &format!("{p}.first"))];
        let mut x = maps[0];
        let levels = self.count(0, |at| format!("{p}.down_path.{at}.block.0.weight"));
        for level in 0..levels {
            let pooled = self.graph.max_pool(x, Pool::plane(2, 2, 0));
            x = self.block(pooled, &format!("{p}.down_path.{level}"));
            maps.push(x);
        }
        for level in 0..levels {
            let (skip, at) = (maps[levels - 1 - level], format!("{p}.up_path.{level}"));
            let up = self.up(x, &format!("{at}.up_layer.block.0"));
            let bridge = self.conv(skip, &format!("{at}.conv_bridge_layer.block.0"), 1);
            let bridge = self.relu(bridge);
            let bridge = self.norm(bridge, &format!("{at}.conv_bridge_layer.block.2"));
            let joined = self.graph.concat(&[up, bridge]);
            x = self.block(joined, &format!("{at}.conv_layer"));
        }
        self.conv(x, &format!("{p}.final"), 1)
    }

    fn w_net(&mut self, x: Node) {
        let first = self.half(x, "unet1");
        let both = self.graph.concat(&[x, first]);
        self.half(both, "unet2");
    }

    fn meshnet(&mut self, mut x: Node, dilations: &[usize], kind: Activation) {
        for (at, &dilation) in dilations.iter().enumerate() {
            let name = format!("model.{}", 2 * at);
            let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
            x = self.graph.conv(x, &weight, Some(&bias), Window::volume(1, dilation, dilation), 1);
            x = self.graph.activation(x, kind);
        }
        self.graph.stage("features", x);
        let name = format!("model.{}", 2 * dilations.len());
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        self.graph.conv(x, &weight, Some(&bias), Window::ONE, 1);
    }

    fn dncnn(&mut self, x: Node) {
        let layers = self.count(0, |at| format!("model.{}.weight", 2 * at));
        let mut y = x;
        for at in 0..layers {
            y = self.conv(y, &format!("model.{}", 2 * at), 1);
            if at + 1 < layers {
                y = self.relu(y);
            }
        }
        self.graph.subtract(x, y);
    }
}
