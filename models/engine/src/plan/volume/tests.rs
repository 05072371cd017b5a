//! Compiled volumes against the plain form: values in f64, bits in f32 where the chain is the same, and against
//! themselves over instruction sets, threads, batches and what else is wanted.

use crate::graph::{Activation, BatchNorm, Graph, Node, Op, Padding, Pool, Shape, Upsampling, Weights, Window, plain};
use crate::{Isa, Plan, with_isa, with_threads};
use candle_core::{Device, Tensor};
use proptest::prelude::*;

/// Numbers between -1 and 1, the same for the same seed.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

struct Net {
    graph: Graph,
    weights: Weights,
    seed: u64,
}

impl Net {
    fn new() -> (Self, Node) {
        let (graph, input) = Graph::new();
        (Self { graph, weights: Weights::new(), seed: 5 }, input)
    }

    fn tensor(&mut self, dims: &[usize], scale: f32, shift: f32) -> String {
        self.seed += 1;
        let values: Vec<f32> = noise(self.seed, dims.iter().product()).iter().map(|v| v * scale + shift).collect();
        let name = format!("w{}", self.seed);
        self.weights.insert(name.clone(), Tensor::from_vec(values, dims, &Device::Cpu).unwrap());
        name
    }

    fn conv(&mut self, x: Node, dims: [usize; 5], window: Window, groups: usize) -> Node {
        let scale = 1.5 / (dims[1..].iter().product::<usize>() as f32).sqrt();
        let weight = self.tensor(&dims, scale, 0.0);
        let bias = self.tensor(&[dims[0]], 0.5, 0.0);
        self.graph.conv(x, &weight, Some(&bias), window, groups)
    }

    fn norm(&mut self, x: Node, channels: usize) -> Node {
        let scale = self.tensor(&[channels], 0.5, 1.0);
        let (shift, mean) = (self.tensor(&[channels], 0.5, 0.0), self.tensor(&[channels], 0.5, 0.0));
        let variance = self.tensor(&[channels], 0.4, 1.0);
        self.graph.norm(x, BatchNorm { scale, shift, mean, variance, epsilon: 1e-5 })
    }

    /// Runs `images` and returns each wanted node's values, for the gradient's seed too.
    fn run(&self, input: Shape, wanted: &[Node], x: &[f32], images: usize) -> Vec<Vec<f32>> {
        let plan = Plan::new(&self.graph, &self.weights, input, wanted).unwrap();
        let values = plan.run_seeded(x, images, &|_, value| noise(99, value.len())).unwrap();
        values.into_iter().map(|values| values.values).collect()
    }

    fn plain<N: crate::graph::Number>(&self, input: Shape, x: &[f32]) -> Vec<Vec<N>> {
        let x: Vec<N> = x.iter().map(|&v| N::from_f32(v)).collect();
        let seed = |value: &[N]| noise(99, value.len()).into_iter().map(N::from_f32).collect();
        plain::evaluate(&self.graph, &self.weights, input, &x, &seed).unwrap()
    }

    /// Holds the compiled values against the plain form in f64, to `part` of the largest.
    fn check(&self, input: Shape, wanted: &[Node], part: f64) {
        let x = noise(3, input.len());
        let expected = self.plain::<f64>(input, &x);
        for (node, found) in wanted.iter().zip(self.run(input, wanted, &x, 1)) {
            let expected = &expected[node.index()];
            assert_eq!(found.len(), expected.len());
            let largest = expected.iter().fold(1e-3f64, |top, v| top.max(v.abs()));
            let worst = found.iter().zip(expected).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
            assert!(worst <= part * largest, "node {}: {worst} of {largest}", node.index());
        }
    }

    /// Holds every instruction set and thread count, and each image of a batch, to the same bits.
    fn check_bits(&self, input: Shape, wanted: &[Node]) {
        let x = noise(4, 3 * input.len());
        let bits = |values: &[Vec<f32>]| -> Vec<Vec<u32>> {
            values.iter().map(|values| values.iter().map(|v| v.to_bits()).collect()).collect()
        };
        let batch = bits(&self.run(input, wanted, &x, 3));
        for isa in Isa::available() {
            for threads in [1, 2, 3, 5] {
                let run = || bits(&self.run(input, wanted, &x, 3));
                let found = with_isa(isa, || with_threads(threads, run)).unwrap();
                assert!(found == batch, "{isa:?}, {threads} threads");
            }
        }
        for image in 0..3 {
            let alone = self.run(input, wanted, &x[image * input.len()..][..input.len()], 1);
            for (alone, batch) in bits(&alone).iter().zip(&batch) {
                assert!(*alone == batch[image * alone.len()..][..alone.len()], "image {image}");
            }
        }
    }
}

fn window(stride: [usize; 3], dilation: [usize; 3], before: [usize; 3], after: [usize; 3]) -> Window {
    Window { stride, dilation, padding: Padding::Fixed { before, after } }
}

fn around(dilation: usize) -> Window {
    window([1; 3], [dilation; 3], [dilation; 3], [dilation; 3])
}

fn meshnet(channels: usize, kind: Activation) -> (Net, Node) {
    let (mut net, mut x) = Net::new();
    let mut inputs = 1;
    for dilation in [1, 2, 5, 1] {
        let y = net.conv(x, [channels, inputs, 3, 3, 3], around(dilation), 1);
        x = net.graph.activation(y, kind);
        inputs = channels;
    }
    let y = net.conv(x, [3, channels, 1, 1, 1], Window::ONE, 1);
    (net, y)
}

/// A network with everything that the published ones have.
fn everything() -> (Net, Vec<Node>) {
    let (mut net, input) = Net::new();
    let a = net.conv(input, [6, 2, 3, 3, 3], Window::volume(1, 0, 1), 1);
    let a = net.norm(a, 6);
    let skip = net.graph.activation(a, Activation::Elu(1.0));
    let pooled = net.graph.max_pool(skip, Pool::volume(2, 2, 0));
    let normed = net.norm(pooled, 6);
    let b = net.conv(normed, [6, 6, 3, 3, 3], around(1), 1);
    let b = net.graph.add(b, pooled);
    let b = net.graph.activation(b, Activation::LeakyRelu(0.01));
    let grown = net.graph.upsample(b, [2; 3], Upsampling::Nearest);
    let up = net.conv(grown, [7, 6, 1, 3, 1], window([1; 3], [1; 3], [0, 1, 0], [0, 1, 0]), 1);
    let joined = net.graph.concat(&[up, skip, up]);
    let gate = net.conv(joined, [1, 20, 7, 7, 7], Window::volume(1, 3, 1), 1);
    let gate = net.graph.activation(gate, Activation::Sigmoid);
    let gated = net.graph.multiply(gate, up);
    let part = net.graph.push(Op::Slice { x: gated, from: 2, channels: 4 });
    let less = net.graph.push(Op::Scale { x: part, by: -0.5 });
    let last = net.conv(less, [5, 4, 3, 3, 3], Window::volume(2, 1, 1), 1);
    let last = net.graph.activation(last, Activation::Gelu);
    let score = net.graph.softmax(last);
    (net, vec![score, gate, joined, last, skip, gated])
}

/// Proves: REQ-ENG-081
#[test]
fn networks_of_volumes_agree_with_the_plain_form() {
    for channels in [3, 5, 9] {
        for kind in [Activation::Relu, Activation::Elu(1.0)] {
            let (net, output) = meshnet(channels, kind);
            net.check(Shape::volume(1, [13, 11, 19]), &[output], 1e-5);
        }
    }
    let (net, wanted) = everything();
    net.check(Shape::volume(2, [10, 12, 20]), &wanted, 1e-5);
}

/// Proves: REQ-ENG-081
#[test]
fn gradients_of_networks_of_volumes_agree_with_the_plain_form() {
    let (mut net, output) = meshnet(5, Activation::Elu(1.0));
    let at = net.graph.gradient(output, &[net.graph.input()]).unwrap();
    net.check(Shape::volume(1, [9, 8, 11]), &[at[0], output], 1e-5);
    let (mut net, wanted) = everything();
    let at = net.graph.gradient(wanted[5], &[net.graph.input(), wanted[4]]).unwrap();
    net.check(Shape::volume(2, [10, 12, 20]), &at, 1e-5);
    net.check_bits(Shape::volume(2, [10, 10, 18]), &at);
}

/// Proves: REQ-ENG-082
#[test]
fn volumes_have_the_same_bits_for_every_instruction_set_thread_count_and_batch() {
    let (net, wanted) = everything();
    net.check_bits(Shape::volume(2, [10, 10, 18]), &wanted);
    for channels in [3, 5, 13] {
        let (net, output) = meshnet(channels, Activation::Elu(1.0));
        net.check_bits(Shape::volume(1, [9, 12, 37]), &[output]);
    }
}

/// Proves: REQ-ENG-083
#[test]
fn what_else_is_wanted_never_changes_a_bit() {
    let (net, wanted) = everything();
    let input = Shape::volume(2, [10, 10, 18]);
    let x = noise(8, input.len());
    let every: Vec<Node> = (0..net.graph.ops().len()).map(Node).collect();
    let all = net.run(input, &every, &x, 1);
    for node in wanted {
        let alone = &net.run(input, &[node, node], &x, 1);
        assert!(alone[0] == all[node.index()] && alone[1] == alone[0], "node {}", node.index());
    }
}

/// Proves: REQ-ENG-084
#[test]
fn a_not_a_number_in_a_volume_reaches_the_output() {
    for channels in [3, 9] {
        let (net, output) = meshnet(channels, Activation::Relu);
        let input = Shape::volume(1, [8, 8, 20]);
        let mut x = noise(8, input.len());
        x[input.len() / 2] = f32::NAN;
        assert!(net.run(input, &[output], &x, 1)[0][input.len() / 2].is_nan());
    }
    let (mut net, x) = Net::new();
    let y = net.graph.max_pool(x, Pool::volume(3, 2, 1));
    let input = Shape::volume(1, [8, 8, 40]);
    for at in [0, 700, input.len() - 1] {
        let mut x = noise(8, input.len());
        x[at] = f32::NAN;
        assert!(net.run(input, &[y], &x, 1)[0].iter().any(|v| v.is_nan()), "{at}");
    }
}

prop_compose! {
    /// A convolution of any shape that fits: `[out, in of a group, kernel ..]`, groups, window, extent.
    fn convolution()(
        outputs in 1usize..9, inputs in 1usize..8, groups in prop::sample::select(vec![1usize, 1, 1, 2]),
        kernel in prop::array::uniform3(1usize..4), dilation in prop::array::uniform3(1usize..4),
        stride in prop::array::uniform3(prop::sample::select(vec![1usize, 1, 1, 2, 3])),
        before in prop::array::uniform3(0usize..5), after in prop::array::uniform3(0usize..5),
        more in (1usize..8, 0usize..8, 0usize..40), cube in any::<bool>(),
    ) -> ([usize; 5], usize, Window, Shape) {
        let kernel = if cube { [3; 3] } else { kernel };
        let stride = if cube { [1; 3] } else { stride };
        let least = |axis: usize| dilation[axis] * (kernel[axis] - 1) + 1;
        let extent = [least(0) + more.0, least(1) + more.1, least(2) + more.2];
        let dims = [outputs * groups, inputs, kernel[0], kernel[1], kernel[2]];
        (dims, groups, window(stride, dilation, before, after), Shape::volume(inputs * groups, extent))
    }
}

fn one(dims: [usize; 5], groups: usize, window: Window) -> (Net, Node) {
    let (mut net, x) = Net::new();
    let y = net.conv(x, dims, window, groups);
    (net, y)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Proves: REQ-ENG-081
    #[test]
    fn convolutions_of_any_shape_agree_with_the_plain_form((dims, groups, window, input) in convolution()) {
        let (net, y) = one(dims, groups, window);
        net.check(input, &[y], 1e-5);
        let x = noise(3, input.len());
        let plan = Plan::new(&net.graph, &net.weights, input, &[y]).unwrap();
        if plan.steps().iter().any(|step| step.contains("direct")) {
            // the chain is the plain form's
            prop_assert_eq!(&net.run(input, &[y], &x, 1)[0], &net.plain::<f32>(input, &x)[y.index()]);
        }
    }

    /// Proves: REQ-ENG-082
    #[test]
    fn convolutions_of_any_shape_have_the_same_bits_everywhere((dims, groups, window, input) in convolution()) {
        let (net, y) = one(dims, groups, window);
        let x = noise(3, input.len());
        let run = |isa| with_isa(isa, || net.run(input, &[y], &x, 1)).unwrap();
        let scalar = run(Isa::Scalar);
        for isa in Isa::available() {
            prop_assert_eq!(&run(isa), &scalar);
        }
    }

    /// Proves: REQ-ENG-081
    #[test]
    fn pools_of_any_shape_have_the_plain_forms_bits(
        kernel in prop::array::uniform3(1usize..4), stride in prop::array::uniform3(1usize..4),
        columns in 3usize..60, padded in any::<bool>()
    ) {
        let (mut net, x) = Net::new();
        let before = kernel.map(|kernel| if padded { kernel / 2 } else { 0 });
        let pool = Pool { kernel, stride, padding: Padding::Fixed { before, after: before } };
        let y = net.graph.max_pool(x, pool);
        let input = Shape::volume(2, [5, 6, columns]);
        let x = noise(3, input.len());
        prop_assert_eq!(&net.run(input, &[y], &x, 1)[0], &net.plain::<f32>(input, &x)[y.index()]);
    }
}

/// Proves: REQ-ENG-086
#[test]
fn memory_given_back_part_by_part_changes_no_bit() {
    use crate::plan::{Crew, Executor, Job, needed};
    let (net, wanted) = everything();
    let input = Shape::volume(2, [10, 10, 18]);
    let shapes = net.graph.shapes(&net.weights, input).unwrap();
    let needed = needed(&net.graph, &wanted);
    let job = Job { graph: &net.graph, weights: &net.weights, shapes: &shapes, wanted: &wanted, needed };
    let x = noise(6, input.len());
    let run = |small: usize| {
        let volume = super::Volume::compiled(&job, small).unwrap();
        let mut values: Vec<Vec<f32>> = wanted.iter().map(|node| vec![0.0; shapes[node.index()].len()]).collect();
        let mut out: Vec<&mut [f32]> = values.iter_mut().map(Vec::as_mut_slice).collect();
        volume.image(&x, &|_| Ok(Vec::new()), &mut out, &Crew::new(1, Isa::current())).unwrap();
        (volume.slabs.len(), values)
    };
    let ((one, whole), (several, parts)) = (run(usize::MAX), run(0));
    assert!(one == 1 && several > 1, "{several}");
    assert!(whole == parts);
}
