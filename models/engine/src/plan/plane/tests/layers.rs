//! Single layers over odd sizes.

use super::Net;
use crate::graph::{Activation, Node, Op, Padding, Pool, Shape, Upsampling, Window};
use proptest::prelude::*;

fn window(stride: [usize; 2], dilation: [usize; 2], padding: Option<[usize; 4]>) -> Window {
    let padding = padding.map_or(Padding::Same, |[top, left, bottom, right]| Padding::Fixed {
        before: [0, top, left],
        after: [0, bottom, right],
    });
    Window { stride: [1, stride[0], stride[1]], dilation: [1, dilation[0], dilation[1]], padding }
}

/// Whether no step takes a Winograd form, which has bits of its own: padding can make a small map large enough for one.
fn is_direct(net: &Net, input: Shape, y: Node) -> bool {
    !net.plan(input, &[y]).steps().iter().any(|step| step.starts_with("winograd"))
}

fn padding() -> impl Strategy<Value = Option<[usize; 4]>> {
    prop::option::of([0..3usize, 0..3usize, 0..3usize, 0..3usize])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Proves: REQ-ENG-051
    #[test]
    fn a_direct_convolution_has_the_plain_forms_bits(
        inputs in 1usize..40, outputs in 1usize..70, size in [1usize..12, 1usize..40],
        kernel in [1usize..6, 1usize..4], stride in [1usize..4, 1usize..4], dilation in [1usize..3, 1usize..3],
        padding in padding(),
    ) {
        let (mut net, x) = Net::new();
        let window = window(stride, dilation, padding);
        let y = net.conv(x, [outputs, inputs, kernel[0], kernel[1]], window, 1);
        let input = Shape::plane(inputs, size[0], size[1]);
        if net.graph.shapes(&net.weights, input).is_ok() && is_direct(&net, input, y) {
            net.check_bits(input, &[y]);
        }
    }

    /// Proves: REQ-ENG-051
    #[test]
    fn groups_and_depthwise_kernels_have_the_plain_forms_bits(
        groups in 1usize..40, each in prop::sample::select(vec![1usize, 2, 3, 16, 32]),
        size in [2usize..12, 2usize..20],
        kernel in [1usize..6, 1usize..6], stride in 1usize..3, padding in padding(),
    ) {
        let groups = if each >= 16 { groups.min(3) } else { groups };
        let (mut net, x) = Net::new();
        let window = window([stride; 2], [1; 2], padding);
        let y = net.conv(x, [groups * each, each, kernel[0], kernel[1]], window, groups);
        let input = Shape::plane(groups * each, size[0], size[1]);
        if net.graph.shapes(&net.weights, input).is_ok() && is_direct(&net, input, y) {
            net.check_bits(input, &[y]);
        }
    }

    /// Proves: REQ-ENG-052
    #[test]
    fn winograds_forms_agree_with_the_textbook(
        inputs in 16usize..50, outputs in 1usize..70, size in [14usize..40, 14usize..40], padding in 0usize..3,
    ) {
        let (mut net, x) = Net::new();
        let y = net.conv(x, [outputs, inputs, 3, 3], Window::plane(1, padding, 1), 1);
        let input = Shape::plane(inputs, size[0], size[1]);
        net.check(input, &[y]);
        let steps = net.plan(input, &[y]).steps();
        let space = (size[0] + 2 * padding - 2) * (size[1] + 2 * padding - 2);
        prop_assert_eq!(steps.iter().any(|step| step.starts_with("winograd")), space >= 196, "{:?}", steps);
    }

    /// Proves: REQ-ENG-053
    #[test]
    fn transposed_convolutions_and_gradients_agree_with_the_textbook(
        inputs in 1usize..40, outputs in 1usize..40, size in [1usize..9, 1usize..20],
        kernel in [1usize..5, 1usize..5], stride in [1usize..4, 1usize..4], padding in 0usize..2,
    ) {
        let (mut net, x) = Net::new();
        let window = window(stride, [1; 2], Some([padding; 4]));
        let y = net.transposed(x, [inputs, outputs, kernel[0], kernel[1]], window);
        let input = Shape::plane(inputs, size[0], size[1]);
        if net.graph.shapes(&net.weights, input).is_ok() {
            net.check(input, &[y]);
            let back = net.graph.gradient(y, &[x]).unwrap();
            net.check(input, &[y, back[0]]);
        }
    }

    /// Proves: REQ-ENG-053
    #[test]
    fn a_convolutions_gradient_agrees_with_the_textbook(
        inputs in 1usize..40, outputs in 1usize..40, size in [1usize..9, 1usize..20], depthwise in any::<bool>(),
        kernel in [1usize..5, 1usize..5], stride in [1usize..4, 1usize..4], dilation in 1usize..3, padding in padding(),
    ) {
        let (mut net, x) = Net::new();
        let window = window(stride, [dilation; 2], padding);
        let (dims, groups) = if depthwise { ([inputs, 1], inputs) } else { ([outputs, inputs], 1) };
        let y = net.conv(x, [dims[0], dims[1], kernel[0], kernel[1]], window, groups);
        let input = Shape::plane(inputs, size[0], size[1]);
        if net.graph.shapes(&net.weights, input).is_ok() {
            let back = net.graph.gradient(y, &[x]).unwrap();
            net.check(input, &back);
        }
    }

    /// Proves: REQ-ENG-054
    #[test]
    fn pools_means_and_maps_have_the_plain_forms_bits(
        channels in 1usize..40, size in [2usize..14, 2usize..14], kernel in [1usize..4, 1usize..4],
        stride in [1usize..4, 1usize..4], factor in [1usize..4, 1usize..4], linear in any::<bool>(),
    ) {
        let (mut net, x) = Net::new();
        let pool = Pool {
            kernel: [1, kernel[0], kernel[1]],
            stride: [1, stride[0], stride[1]],
            padding: Padding::Fixed { before: [0, kernel[0] / 2, 0], after: [0, 0, kernel[1] / 2] },
        };
        let (largest, mean) = (net.graph.max_pool(x, pool), net.graph.mean_pool(x, pool));
        let whole = net.graph.global_mean(x);
        let normed = net.norm(x, channels);
        let mode = if linear { Upsampling::Linear } else { Upsampling::Nearest };
        let grown = net.graph.upsample(normed, [1, factor[0], factor[1]], mode);
        let mut wanted = vec![largest, mean, whole, normed, grown];
        for kind in [Activation::Relu, Activation::Relu6, Activation::LeakyRelu(0.1), Activation::Silu] {
            wanted.push(net.graph.activation(normed, kind));
        }
        let one = net.conv(x, [1, channels, 1, 1], Window::ONE, 1);
        wanted.extend([net.graph.multiply(normed, one), net.graph.multiply(one, x), net.graph.multiply(x, normed)]);
        wanted.extend([net.graph.subtract(normed, x), net.graph.add(normed, x)]);
        wanted.push(net.graph.push(Op::Scale { x: normed, by: -1.5 }));
        net.check_bits(Shape::plane(channels, size[0], size[1]), &wanted);
    }

    /// Proves: REQ-ENG-055
    #[test]
    fn parts_lie_side_by_side_wherever_they_start(
        channels in prop::collection::vec(prop::sample::select(vec![1usize, 5, 16, 17, 24, 32, 48]), 2..5),
        from in 0usize..20, twice in any::<bool>(),
    ) {
        let (mut net, x) = Net::new();
        let mut parts: Vec<Node> = channels
            .iter()
            .map(|&outputs| net.conv(x, [outputs, 5, 3, 3], Window::plane(1, 1, 1), 1))
            .collect();
        let some = net.graph.concat(&parts[..parts.len() - 1]);
        if twice {
            parts.push(parts[0]);
        }
        parts.push(x);
        let all = net.graph.concat(&parts);
        let nested = net.graph.concat(&[all, some]);
        let total: usize = channels.iter().sum::<usize>() + 5 + if twice { channels[0] } else { 0 };
        let from = from.min(total - 1);
        let slice = net.graph.push(Op::Slice { x: all, from, channels: (total - from).min(7) });
        let inputs = total + channels[..channels.len() - 1].iter().sum::<usize>();
        let y = net.conv(nested, [9, inputs, 3, 3], Window::plane(1, 1, 1), 1);
        net.check_bits(Shape::plane(5, 6, 7), &[y, slice, some, parts[0]]);
        let back = net.graph.gradient(y, &[x]).unwrap();
        net.check(Shape::plane(5, 6, 7), &back);
    }
}
