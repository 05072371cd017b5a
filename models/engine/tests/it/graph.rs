//! The graph: shapes held to weights and input, and every gradient rule against central differences in f64.

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use vidimus_engine::graph::{Activation, plain};
use vidimus_engine::{
    BatchNorm, EngineError, Graph, Node, Op, Padding, Plan, Pool, Shape, Upsampling, Weights, Window,
};

/// Appends a layer to a graph.
type Layer = Box<dyn Fn(&mut Graph, Node) -> Node>;

/// Numbers in -1..1 without a pattern that the operations share; the same for the same seed.
fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn weight(weights: &mut Weights, name: &str, dims: &[usize], seed: u64) {
    let values: Vec<f32> = numbers(dims.iter().product(), seed).into_iter().map(|v| v as f32).collect();
    weights.insert(name.into(), Tensor::from_vec(values, dims, &Device::Cpu).unwrap());
}

fn norm(weights: &mut Weights, prefix: &str, channels: usize) -> BatchNorm {
    for (part, seed) in [("weight", 11), ("bias", 12), ("running_mean", 13)] {
        weight(weights, &format!("{prefix}.{part}"), &[channels], seed);
    }
    let variance: Vec<f32> = numbers(channels, 14).into_iter().map(|v| (v * v + 0.5) as f32).collect();
    weights.insert(format!("{prefix}.running_var"), Tensor::from_vec(variance, channels, &Device::Cpu).unwrap());
    BatchNorm::named(prefix, 1e-5)
}

/// The gradient that the graph computes against central differences of a random score, for the input.
fn check(mut graph: Graph, weights: &Weights, input: Shape) {
    let output = graph.output();
    let gradient = graph.gradient(output, &[graph.input()]).unwrap()[0];
    let x = numbers(input.len(), 77);
    let shape = graph.shapes(weights, input).unwrap()[output.index()];
    let pull = numbers(shape.len(), 78);
    let seed = |_: &[f64]| pull.clone();
    let value = |x: &[f64]| -> f64 {
        let all = plain::evaluate::<f64>(&graph, weights, input, x, &seed).unwrap();
        all[output.index()].iter().zip(&pull).map(|(v, p)| v * p).sum()
    };
    let found = plain::evaluate::<f64>(&graph, weights, input, &x, &seed).unwrap()[gradient.index()].clone();
    let largest = found.iter().fold(1e-3f64, |top, v| top.max(v.abs()));
    for at in 0..x.len() {
        let step = 1e-5;
        let moved = |by: f64| {
            let mut x = x.clone();
            x[at] += by;
            value(&x)
        };
        let expected = (moved(step) - moved(-step)) / (2.0 * step);
        assert!((found[at] - expected).abs() < 1e-6 * largest, "{at}: {} against {expected}", found[at]);
    }
    // the compiled plan says the same in f32
    let plan = Plan::new(&graph, weights, input, &[output, gradient]).unwrap();
    let x: Vec<f32> = x.iter().map(|v| *v as f32).collect();
    let pull: Vec<f32> = pull.iter().map(|v| *v as f32).collect();
    let values = plan.run_seeded(&x, 1, &|_, _| pull.clone()).unwrap();
    for (single, double) in values[1].values.iter().zip(&found) {
        assert!((f64::from(*single) - double).abs() < 1e-4 * largest, "{single} against {double}");
    }
}

/// Proves: REQ-ENG-022
#[test]
fn gradients_of_convolutions_agree_with_differences() {
    let around = |before, after| Padding::Fixed { before, after };
    let cases = [
        (Window::plane(1, 1, 1), 1, [3, 3]),
        (Window::plane(2, 1, 1), 1, [3, 3]),
        (Window::plane(1, 2, 2), 2, [3, 3]),
        (Window::same(2), 4, [5, 5]),
        (Window { stride: [1, 2, 3], dilation: [1; 3], padding: around([0, 1, 0], [0, 0, 2]) }, 1, [2, 3]),
    ];
    for (window, groups, kernel) in cases {
        let mut weights = Weights::new();
        weight(&mut weights, "w", &[4, 4 / groups, kernel[0], kernel[1]], 1);
        weight(&mut weights, "b", &[4], 2);
        let (mut graph, x) = Graph::new();
        graph.conv(x, "w", Some("b"), window, groups);
        check(graph, &weights, Shape::plane(4, 6, 7));
    }
    let mut weights = Weights::new();
    weight(&mut weights, "w", &[3, 2, 3, 1, 2], 1);
    let (mut graph, x) = Graph::new();
    graph.conv(x, "w", None, Window::volume(2, 1, 1), 1);
    check(graph, &weights, Shape::volume(2, [4, 5, 3]));
}

/// Proves: REQ-ENG-022
#[test]
fn gradients_of_transposed_convolutions_agree_with_differences() {
    for (window, kernel) in [(Window::plane(2, 0, 1), 2), (Window::plane(2, 1, 1), 3), (Window::plane(1, 1, 2), 3)] {
        let mut weights = Weights::new();
        weight(&mut weights, "w", &[3, 5, kernel, kernel], 1);
        weight(&mut weights, "b", &[5], 2);
        let (mut graph, x) = Graph::new();
        graph.conv_transposed(x, "w", Some("b"), window);
        check(graph, &weights, Shape::plane(3, 4, 5));
    }
}

/// Proves: REQ-ENG-022
#[test]
fn gradients_of_activations_agree_with_differences() {
    use Activation::{Elu, Gelu, LeakyRelu, Relu, Relu6, Sigmoid, Silu, Tanh};
    for kind in [Relu, Relu6, LeakyRelu(0.01), Elu(1.0), Sigmoid, Tanh, Silu, Gelu] {
        let (mut graph, x) = Graph::new();
        let wide = graph.push(Op::Scale { x, by: 7.0 });
        graph.activation(wide, kind);
        check(graph, &Weights::new(), Shape::plane(2, 3, 5));
    }
}

/// Proves: REQ-ENG-022
#[test]
fn gradients_of_pools_norms_and_growth_agree_with_differences() {
    let mut weights = Weights::new();
    let norm = norm(&mut weights, "n", 3);
    let layers: [(Layer, Shape); 9] = [
        (Box::new(|graph, x| graph.max_pool(x, Pool::plane(3, 2, 1))), Shape::plane(3, 7, 8)),
        (Box::new(|graph, x| graph.mean_pool(x, Pool::plane(3, 2, 1))), Shape::plane(3, 7, 8)),
        (Box::new(|graph, x| graph.max_pool(x, Pool::volume(2, 2, 0))), Shape::volume(3, [4, 5, 6])),
        (Box::new(|graph, x| graph.global_mean(x)), Shape::plane(3, 5, 4)),
        (Box::new(|graph, x| graph.upsample(x, [1, 2, 3], Upsampling::Nearest)), Shape::plane(3, 3, 4)),
        (Box::new(|graph, x| graph.upsample(x, [2, 2, 2], Upsampling::Linear)), Shape::volume(3, [2, 3, 4])),
        (Box::new(move |graph, x| graph.norm(x, norm.clone())), Shape::plane(3, 4, 4)),
        (Box::new(|graph, x| graph.softmax(x)), Shape::plane(3, 2, 3)),
        (Box::new(|graph, x| graph.push(Op::Flatten { x })), Shape::plane(3, 2, 3)),
    ];
    for (layer, shape) in layers {
        let (mut graph, x) = Graph::new();
        layer(&mut graph, x);
        check(graph, &weights, shape);
    }
}

/// Proves: REQ-ENG-022
#[test]
fn a_value_that_is_read_twice_gets_the_sum_of_both_gradients() {
    let mut weights = Weights::new();
    weight(&mut weights, "w", &[3, 3, 3, 3], 1);
    weight(&mut weights, "gate", &[1, 6, 1, 1], 2);
    let (mut graph, x) = Graph::new();
    let y = graph.conv(x, "w", None, Window::plane(1, 1, 1), 1);
    let y = graph.activation(y, Activation::Tanh);
    let sum = graph.add(x, y);
    let both = graph.concat(&[sum, x]);
    let gate = graph.conv(both, "gate", None, Window::ONE, 1);
    let gate = graph.activation(gate, Activation::Sigmoid);
    let gated = graph.multiply(gate, both);
    let noise = graph.multiply(both, both);
    graph.subtract(gated, noise);
    check(graph, &weights, Shape::plane(3, 4, 5));
}

/// Proves: REQ-ENG-023
#[test]
fn what_does_not_fit_is_refused_and_named() {
    let mut weights = Weights::new();
    weight(&mut weights, "w", &[4, 3, 3, 3], 1);
    let graph = |window| {
        let (mut graph, x) = Graph::new();
        graph.conv(x, "w", None, window, 1);
        graph
    };
    let asked = |graph: &Graph, weights: &Weights, shape| graph.shapes(weights, shape).unwrap_err().to_string();
    let same = graph(Window::plane(1, 1, 1));
    assert!(asked(&same, &Weights::new(), Shape::plane(3, 5, 5)).contains("tensor w is missing"));
    assert!(asked(&same, &weights, Shape::plane(2, 5, 5)).contains("tensor w"));
    assert!(asked(&graph(Window::ONE), &weights, Shape::plane(3, 2, 5)).contains("convolution (node 1)"));
    let (mut pooled, x) = Graph::new();
    pooled.max_pool(x, Pool::plane(2, 4, 2));
    assert!(asked(&pooled, &weights, Shape::plane(3, 4, 4)).contains("padding alone"));
    let plan = Plan::new(&same, &weights, Shape::plane(3, 5, 5), &[same.output()]).unwrap();
    assert!(matches!(plan.run(&[0.0; 74], 1), Err(EngineError::Input { .. })));
    let (mut seeded, x) = Graph::new();
    let y = seeded.conv(x, "w", None, Window::plane(1, 1, 1), 1);
    let g = seeded.gradient(y, &[x]).unwrap();
    let plan = Plan::new(&seeded, &weights, Shape::plane(3, 5, 5), &g).unwrap();
    assert!(matches!(plan.run(&[0.0; 75], 1), Err(EngineError::Seed { expected: 100, found: 0 })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Proves: REQ-ENG-024
    #[test]
    fn a_not_a_number_reaches_the_output_through_pools_and_activations(at in 0usize..25, kind in 0usize..4) {
        let kinds = [Activation::Relu, Activation::Relu6, Activation::Elu(1.0), Activation::LeakyRelu(0.1)];
        let (mut graph, x) = Graph::new();
        let y = graph.activation(x, kinds[kind]);
        let y = graph.max_pool(y, Pool::plane(3, 2, 1));
        graph.global_mean(y);
        let mut image = vec![1.0f32; 25];
        image[at] = f32::NAN;
        let plan = Plan::new(&graph, &Weights::new(), Shape::plane(1, 5, 5), &[graph.output()]).unwrap();
        prop_assert!(plan.run(&image, 1).unwrap()[0].values[0].is_nan());
    }
}
