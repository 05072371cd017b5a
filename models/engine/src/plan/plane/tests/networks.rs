//! Small networks with the shapes of the large ones: every fusion, forward and backward.

use super::Net;
use crate::graph::{Activation, Node, Pool, Shape, Window};

/// A residual block: convolution, norm, ReLU, convolution, norm, sum, ReLU; the short way is a convolution if strided.
fn residual(net: &mut Net, x: Node, inputs: usize, outputs: usize, stride: usize) -> Node {
    let y = net.conv(x, [outputs, inputs, 3, 3], Window::plane(stride, 1, 1), 1);
    let y = net.norm(y, outputs);
    let y = net.relu(y);
    let y = net.conv(y, [outputs, outputs, 3, 3], Window::plane(1, 1, 1), 1);
    let y = net.norm(y, outputs);
    let short = if stride > 1 {
        let short = net.conv(x, [outputs, inputs, 1, 1], Window::plane(stride, 0, 1), 1);
        net.norm(short, outputs)
    } else {
        x
    };
    let y = net.graph.add(y, short);
    net.relu(y)
}

pub(super) fn residual_net() -> (Net, Vec<Node>) {
    let (mut net, x) = Net::new();
    let y = net.conv(x, [20, 3, 7, 7], Window::plane(2, 3, 1), 1);
    let y = net.norm(y, 20);
    let y = net.relu(y);
    let y = net.graph.max_pool(y, Pool::plane(3, 2, 1));
    let y = residual(&mut net, y, 20, 20, 1);
    let features = residual(&mut net, y, 20, 40, 2);
    let y = net.graph.global_mean(features);
    let weight = net.tensor(&[7, 40], 0.3, 0.0);
    let bias = net.tensor(&[7], 0.3, 0.0);
    let scores = net.graph.linear(y, &weight, Some(&bias));
    let chances = net.graph.softmax(scores);
    let mut wanted = vec![scores, chances, features];
    wanted.extend(net.graph.gradient(scores, &[features, x]).unwrap());
    (net, wanted)
}

pub(super) fn dense_net() -> (Net, Vec<Node>) {
    let (mut net, x) = Net::new();
    let y = net.conv(x, [32, 1, 3, 3], Window::plane(2, 1, 1), 1);
    let y = net.norm(y, 32);
    let first = net.relu(y);
    let mut parts = vec![first];
    for layer in 0..3 {
        let inputs = 32 + layer * 16;
        let all = net.graph.concat(&parts);
        let y = net.norm(all, inputs);
        let y = net.relu(y);
        let y = net.conv(y, [64, inputs, 1, 1], Window::ONE, 1);
        let y = net.norm(y, 64);
        let y = net.relu(y);
        parts.push(net.conv(y, [16, 64, 3, 3], Window::plane(1, 1, 1), 1));
    }
    let all = net.graph.concat(&parts);
    let y = net.norm(all, 80);
    let y = net.relu(y);
    let y = net.conv(y, [40, 80, 1, 1], Window::ONE, 1);
    let y = net.graph.mean_pool(y, Pool::plane(2, 2, 0));
    let y = net.norm(y, 40);
    let y = net.relu(y);
    let y = net.graph.global_mean(y);
    let weight = net.tensor(&[3, 40], 0.3, 0.0);
    let scores = net.graph.linear(y, &weight, None);
    (net, vec![scores])
}

pub(super) fn u_net() -> (Net, Vec<Node>) {
    let (mut net, x) = Net::new();
    let down = net.conv(x, [16, 1, 3, 3], Window::plane(1, 1, 1), 1);
    let down = net.norm(down, 16);
    let down = net.relu(down);
    let y = net.graph.max_pool(down, Pool::plane(2, 2, 0));
    // a block of the W-Net: convolution, ReLU, norm, sum with a pointwise short way
    let short = net.conv(y, [24, 16, 1, 1], Window::ONE, 1);
    let y = net.conv(y, [24, 16, 3, 3], Window::plane(1, 1, 1), 1);
    let y = net.relu(y);
    let y = net.norm(y, 24);
    let y = net.graph.add(y, short);
    let up = net.transposed(y, [24, 16, 2, 2], Window::plane(2, 0, 1));
    let y = net.graph.concat(&[up, down]);
    let y = net.conv(y, [20, 32, 3, 3], Window::plane(1, 1, 1), 1);
    let y = net.graph.activation(y, Activation::LeakyRelu(0.2));
    let y = net.conv(y, [2, 20, 1, 1], Window::ONE, 1);
    let mut wanted = vec![y];
    wanted.extend(net.graph.gradient(y, &[x]).unwrap());
    (net, wanted)
}

pub(super) fn light_net() -> (Net, Vec<Node>) {
    let (mut net, x) = Net::new();
    let y = net.conv(x, [24, 3, 3, 3], Window::same(2), 1);
    let y = net.norm(y, 24);
    let y = net.graph.activation(y, Activation::Relu6);
    let short = y;
    let y = net.conv(y, [50, 24, 1, 1], Window::ONE, 1);
    let y = net.norm(y, 50);
    let y = net.graph.activation(y, Activation::Relu6);
    let y = net.conv(y, [50, 1, 5, 5], Window::same(1), 50);
    let y = net.norm(y, 50);
    let y = net.graph.activation(y, Activation::Relu6);
    let y = net.conv(y, [24, 50, 1, 1], Window::ONE, 1);
    let y = net.norm(y, 24);
    let y = net.graph.add(y, short);
    let y = net.conv(y, [24, 1, 3, 3], Window::same(2), 24);
    let y = net.graph.activation(y, Activation::Silu);
    let mut wanted = vec![y];
    wanted.extend(net.graph.gradient(y, &[x]).unwrap());
    (net, wanted)
}

/// Proves: REQ-ENG-056
#[test]
fn networks_and_their_gradients_agree_with_the_textbook() {
    for size in [[33, 41], [64, 40]] {
        for (channels, (net, wanted)) in [(3, residual_net()), (1, dense_net()), (3, light_net())] {
            net.check(Shape::plane(channels, size[0], size[1]), &wanted);
        }
    }
    let (net, wanted) = u_net();
    net.check(Shape::plane(1, 36, 44), &wanted);
}

/// Proves: REQ-ENG-056
#[test]
fn what_can_be_fused_becomes_one_step() {
    let (net, wanted) = residual_net();
    let steps = net.plan(Shape::plane(3, 64, 64), &wanted[..1]).steps();
    // load, stem, pool, two and three convolutions, mean, linear, store
    assert_eq!(steps.len(), 11, "{steps:?}");
    let (net, wanted) = dense_net();
    let steps = net.plan(Shape::plane(1, 64, 64), &wanted).steps();
    // load, stem, three pairs, transition, mean, linear, store: no copy, no map
    assert_eq!(steps.len(), 12, "{steps:?}");
}
