//! Every layer of the graph against PyTorch: `tests/peers/golden/ops.safetensors`, made by `ops.py` beside it.
//! Shapes: golden tensors are `[images, channels, (depth,) rows, columns]`; each case is a graph of one layer.
//! Held: output and gradient to the input, by the compiled plan (f32) and by the plain executor (f64).
//! A line `parity | layer | ...` a case goes to standard error: `tests/peers/run parity` makes the table of them.

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use serde_json::Value;
use vidimus_engine::graph::{Activation, plain};
use vidimus_engine::{
    BatchNorm, EngineError, Extent, Graph, Node, Op, Padding, Plan, Pool, Shape, Upsampling, Weights, Window,
};

/// Largest difference of an f32 result, of the largest value of the golden tensor.
const TOLERANCE: f64 = 5e-6;

/// The same for f64: what rounding the golden figures to f32 leaves.
const TOLERANCE_DOUBLE: f64 = 2e-7;

/// The golden file: attributes of each case, and the tensors as `CASE.PART`.
pub(crate) struct Golden {
    pub(crate) cases: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Tensor>,
}

impl Golden {
    pub(crate) fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/golden/ops.safetensors");
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let cases = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap().into_iter().collect();
        Self { cases, tensors }
    }

    pub(crate) fn tensor(&self, case: &str, part: &str) -> &Tensor {
        &self.tensors[&format!("{case}.{part}")]
    }

    pub(crate) fn values(&self, case: &str, part: &str) -> Vec<f32> {
        self.tensor(case, part).flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The learned tensors and running statistics of a case, by their names in the graph.
    pub(crate) fn weights(&self, case: &str) -> Weights {
        let names = ["weight", "bias", "running_mean", "running_var"];
        let of = |name: &&str| Some(((*name).to_owned(), self.tensors.get(&format!("{case}.{name}"))?.clone()));
        names.iter().filter_map(of).collect()
    }
}

fn extent(case: &Value, name: &str) -> Extent {
    let numbers = case[name].as_array().unwrap_or_else(|| panic!("{name} of {case}"));
    [0, 1, 2].map(|axis| usize::try_from(numbers[axis].as_u64().unwrap()).unwrap())
}

fn number(case: &Value, name: &str) -> usize {
    usize::try_from(case[name].as_u64().unwrap()).unwrap()
}

fn epsilon(case: &Value) -> f64 {
    case["epsilon"].as_f64().unwrap()
}

fn padding(case: &Value) -> Padding {
    if case["same"] == true {
        Padding::Same
    } else {
        Padding::Fixed { before: extent(case, "before"), after: extent(case, "after") }
    }
}

fn window(case: &Value) -> Window {
    Window { stride: extent(case, "stride"), dilation: extent(case, "dilation"), padding: padding(case) }
}

fn pool(case: &Value) -> Pool {
    Pool { kernel: extent(case, "kernel"), stride: extent(case, "stride"), padding: padding(case) }
}

fn activation(case: &Value) -> Activation {
    let parameter = || case["parameter"].as_f64().unwrap() as f32;
    match case["kind"].as_str().unwrap() {
        "relu" => Activation::Relu,
        "relu6" => Activation::Relu6,
        "leaky-relu" => Activation::LeakyRelu(parameter()),
        "elu" => Activation::Elu(parameter()),
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        "silu" => Activation::Silu,
        "gelu" => Activation::Gelu,
        other => panic!("no activation {other}"),
    }
}

/// Two nodes out of one input, channels before and from `split` on, each by a 1x1 convolution that picks them.
fn halves(graph: &mut Graph, x: Node, weights: &mut Weights, case: &Value, channels: usize) -> [Node; 2] {
    let split = number(case, "split");
    [("first", 0, split), ("second", split, channels)].map(|(name, from, to)| {
        let rows = (from..to).flat_map(|row| (0..channels).map(move |column| f32::from(u8::from(row == column))));
        let picked = Tensor::from_iter(rows, &Device::Cpu).unwrap().reshape((to - from, channels, 1, 1)).unwrap();
        weights.insert(name.into(), picked);
        graph.conv(x, name, None, Window::ONE, 1)
    })
}

/// The case's layer as a graph; the output is its last node.
pub(crate) fn layer(case: &Value, weights: &mut Weights, channels: usize) -> Graph {
    let (mut graph, x) = Graph::new();
    let bias = weights.contains_key("bias").then_some("bias");
    let named = || (String::from("weight"), String::from("bias"));
    match case["op"].as_str().unwrap() {
        "conv" => graph.conv(x, "weight", bias, window(case), number(case, "groups")),
        "conv-transposed" => {
            let (weight, groups) = (String::from("weight"), number(case, "groups"));
            let bias = bias.map(str::to_owned);
            graph.push(Op::ConvTransposed { x, weight, bias, window: window(case), groups, like: None })
        }
        "max-pool" => graph.max_pool(x, pool(case)),
        "mean-pool" => graph.mean_pool(x, pool(case)),
        "global-mean" => graph.global_mean(x),
        "upsample" => {
            let linear = case["mode"] == "linear";
            graph.upsample(x, extent(case, "factor"), if linear { Upsampling::Linear } else { Upsampling::Nearest })
        }
        "linear" => graph.linear(x, "weight", bias),
        "softmax" => graph.softmax(x),
        "batch-norm" => {
            let (scale, shift) = named();
            let (mean, variance) = (String::from("running_mean"), String::from("running_var"));
            graph.norm(x, BatchNorm { scale, shift, mean, variance, epsilon: epsilon(case) })
        }
        "group-norm" => {
            let (scale, shift) = named();
            let groups = number(case, "groups");
            graph.push(Op::GroupNorm { x, groups, scale, shift, epsilon: epsilon(case) })
        }
        "space-norm" => {
            let (scale, shift) = named();
            graph.push(Op::SpaceNorm { x, scale, shift, epsilon: epsilon(case) })
        }
        "activation" => graph.activation(x, activation(case)),
        "concat" => {
            let [a, b] = halves(&mut graph, x, weights, case, channels);
            graph.concat(&[b, a, b])
        }
        two => {
            let [a, b] = halves(&mut graph, x, weights, case, channels);
            match two {
                "add" => graph.add(a, b),
                "subtract" => graph.subtract(a, b),
                "multiply" => graph.multiply(a, b),
                other => panic!("no layer {other}"),
            }
        }
    };
    graph
}

/// Images and the shape of one, of a tensor of four or five dimensions.
pub(crate) fn shape(tensor: &Tensor) -> (usize, Shape) {
    match *tensor.dims() {
        [images, channels, rows, columns] => (images, Shape::plane(channels, rows, columns)),
        [images, channels, depth, rows, columns] => (images, Shape::volume(channels, [depth, rows, columns])),
        ref other => panic!("shape {other:?}"),
    }
}

/// The largest difference, of the largest expected value (at least 0.01).
fn off(found: &[f64], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len(), "length");
    let largest = expected.iter().fold(0.01f64, |top, v| top.max(f64::from(v.abs())));
    let worst = found.iter().zip(expected).map(|(f, e)| (f - f64::from(*e)).abs());
    // a NaN is the worst of all, and `max` would drop it
    worst.fold(0f64, |top, v| if v.is_nan() || top.is_nan() { f64::NAN } else { top.max(v) }) / largest
}

pub(crate) fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

#[track_caller]
pub(crate) fn hold(kind: &str, case: &str, part: &str, found: &[f64], expected: &[f32], tolerance: f64) {
    let off = off(found, expected);
    eprintln!("parity | {kind} | {case} | {part} | {off:.1e}");
    assert!(off <= tolerance, "{kind} {case} {part}: off by {off:.1e} of the largest value");
}

/// Output and input gradient of one case, by the plan and by the plain executor.
fn check(golden: &Golden, name: &str) {
    let (case, mut weights) = (&golden.cases[name], golden.weights(name));
    let (images, input) = shape(golden.tensor(name, "x"));
    let (x, g) = (golden.values(name, "x"), golden.values(name, "g"));
    let mut graph = layer(case, &mut weights, input.channels);
    let output = graph.output();
    let mut wanted = vec![output];
    match graph.gradient(output, &[graph.input()]) {
        Ok(gradient) => wanted.extend(gradient),
        Err(EngineError::NoGradient { .. }) => {
            let op = case["op"].as_str().unwrap();
            assert!(["group-norm", "space-norm"].contains(&op), "{name} has no gradient");
        }
        Err(error) => panic!("{name}: {error}"),
    }
    let per_image = g.len() / images;
    let seed = |image: usize, _: &[f32]| g[image * per_image..][..per_image].to_vec();
    let values = Plan::new(&graph, &weights, input, &wanted).unwrap().run_seeded(&x, images, &seed).unwrap();
    for (value, part) in values.iter().zip(["y", "dx"]) {
        hold("layer", name, part, &widened(&value.values), &golden.values(name, part), TOLERANCE);
    }
    let mut doubles = vec![Vec::new(); wanted.len()];
    for image in 0..images {
        let x = widened(&x[image * input.len()..][..input.len()]);
        let seed = |_: &[f64]| widened(&g[image * per_image..][..per_image]);
        let all = plain::evaluate::<f64>(&graph, &weights, input, &x, &seed).unwrap();
        for (values, node) in doubles.iter_mut().zip(&wanted) {
            values.extend_from_slice(&all[node.index()]);
        }
    }
    for (values, part) in doubles.iter().zip(["y", "dx"]) {
        hold("layer in f64", name, part, values, &golden.values(name, part), TOLERANCE_DOUBLE);
    }
}

/// Proves: REQ-PER-001
#[test]
fn layers_and_their_input_gradients_agree_with_pytorch() {
    let golden = Golden::read();
    let graphs = golden.cases.iter().filter(|(_, case)| case["op"] != "batch-norm-train");
    let checked: Vec<_> = graphs.map(|(name, _)| check(&golden, name)).collect();
    assert!(checked.len() >= 60, "{} cases: the golden file is not whole", checked.len());
}
