//! Graphs under training: against PyTorch layer by layer, against differences of the plain executor in f64, against
//! themselves fused and apart, on other threads and instruction sets.

use super::operations::close;
use super::parity::{Golden, layer, shape, widened};
use super::textbook::{bits, flat, noise, tensor};
use candle_core::{Device, Tensor, Var};
use vidimus_engine::graph::{Activation, plain};
use vidimus_engine::ops::{
    Follow, Unit, batch_norm_training, binary_cross_entropy, convolution, convolution_norm, layer_norm, log_softmax,
    max_pool,
};
use vidimus_engine::{BatchNorm, Graph, Isa, Node, Op, Pool, Shape, Statistics, Upsampling, Weights, Window, with_isa};

/// The weights as variables.
fn variables(weights: &Weights) -> Weights {
    weights.iter().map(|(name, t)| (name.clone(), Var::from_tensor(t).unwrap().as_tensor().clone())).collect()
}

/// Proves: REQ-ENG-113
#[test]
fn layers_under_training_agree_with_pytorch_in_value_and_every_gradient() {
    let golden = Golden::read();
    let mut checked = 0;
    for (name, case) in &golden.cases {
        if case["op"] == "batch-norm-train" {
            continue;
        }
        let mut weights = golden.weights(name);
        let learnt: Vec<&str> = ["weight", "bias"].into_iter().filter(|part| weights.contains_key(*part)).collect();
        let graph = layer(case, &mut weights, shape(golden.tensor(name, "x")).1.channels);
        let weights = variables(&weights);
        let x = Var::from_tensor(golden.tensor(name, "x")).unwrap();
        let run = graph.forward_tracked(&weights, &x, &[graph.output()], Statistics::Running).unwrap();
        close(&format!("{name}: y"), &run.values[0], golden.tensor(name, "y"));
        let store = (&run.values[0] * golden.tensor(name, "g")).unwrap().sum_all().unwrap().backward().unwrap();
        close(&format!("{name}: dx"), store.get(&x).unwrap(), golden.tensor(name, "dx"));
        for part in learnt {
            let expected = golden.tensor(name, &format!("d{part}"));
            close(&format!("{name}: d{part}"), store.get(&weights[part]).unwrap(), expected);
        }
        checked += 1;
    }
    assert!(checked >= 60, "{checked} cases");
}

fn norm() -> BatchNorm {
    BatchNorm::named("bn", 1e-5)
}

/// Proves: REQ-ENG-114
#[test]
fn batch_norm_in_training_agrees_with_pytorch() {
    let (golden, name) = (Golden::read(), "batch-norm2d-train");
    let part = |part: &str| golden.tensor(name, part).clone();
    let parts = ["weight", "bias", "running_mean", "running_var"];
    let mut weights: Weights = parts.iter().map(|name| (format!("bn.{name}"), part(name))).collect();
    weights = variables(&weights);
    let (mut graph, x) = Graph::new();
    let y = graph.norm(x, norm());
    let x = Var::from_tensor(&part("x")).unwrap();
    let run = graph.forward_tracked(&weights, &x, &[y], Statistics::Batch).unwrap();
    close("y", &run.values[0], &part("y"));
    let store = (&run.values[0] * part("g")).unwrap().sum_all().unwrap().backward().unwrap();
    close("dx", store.get(&x).unwrap(), &part("dx"));
    close("dweight", store.get(&weights["bn.weight"]).unwrap(), &part("dweight"));
    close("dbias", store.get(&weights["bn.bias"]).unwrap(), &part("dbias"));
    run.follow(&mut weights, 0.1).unwrap();
    close("running mean", &weights["bn.running_mean"], &part("running_mean_after"));
    close("running variance", &weights["bn.running_var"], &part("running_var_after"));
}

/// Values, gradients and statistics of convolution, batch norm and ReLU: as one operation, or as two and a rule.
fn unit(fused: bool) -> Vec<Vec<u32>> {
    let x = Var::from_tensor(&tensor(&noise(1, 3 * 19 * 21 * 5), [3, 19, 21, 5])).unwrap();
    let w = Var::from_tensor(&tensor(&noise(2, 37 * 5 * 9), [37, 5, 3, 3])).unwrap();
    let weights = [3, 4].map(|seed| Var::from_tensor(&tensor(&noise(seed, 37), [37])).unwrap());
    let (scale, shift) = (weights[0].as_tensor(), weights[1].as_tensor());
    let window = Window::plane(2, 1, 1);
    let (y, found) = if fused {
        let unit = Unit { window, groups: 1, epsilon: 1e-5, follow: Follow::Relu };
        convolution_norm(&x, &w, [scale, shift], &unit).unwrap()
    } else {
        let z = convolution(&x, &w, None, &window, 1).unwrap();
        batch_norm_training(&z, [scale, shift], 1e-5, Follow::Relu).unwrap()
    };
    let g = tensor(&noise(5, y.elem_count()), [3, 10, 11, 37]);
    let store = (&y * g).unwrap().sum_all().unwrap().backward().unwrap();
    let mut all = vec![bits(&flat(&y)), bits(&found.mean), bits(&found.variance)];
    all.extend([&x, &w, &weights[0], &weights[1]].map(|var| bits(&flat(store.get(var).unwrap()))));
    all
}

/// Proves: REQ-ENG-114
#[test]
fn a_fused_unit_has_the_bits_of_its_parts_on_every_instruction_set_and_thread_count() {
    let expected = unit(false);
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for isa in Isa::available() {
            assert!(pool.install(|| with_isa(isa, || unit(true))).unwrap() == expected, "{threads} {isa:?}");
        }
    }
}

/// A small network of many layers, with its weights.
fn network() -> (Graph, Weights, Shape) {
    let (mut graph, x) = Graph::new();
    let stem = graph.conv(x, "stem", None, Window::plane(2, 1, 1), 1);
    let normed = graph.norm(stem, norm());
    let active = graph.activation(normed, Activation::Silu);
    let pooled = graph.max_pool(active, Pool::plane(3, 2, 1));
    let side = graph.conv(pooled, "side", Some("side.bias"), Window::plane(1, 2, 2), 2);
    let side = graph.activation(side, Activation::Tanh);
    let joined = graph.concat(&[side, pooled]);
    let large = graph.upsample(joined, [1, 2, 2], Upsampling::Linear);
    let gate = graph.push(Op::Slice { x: large, from: 1, channels: 1 });
    let gated = graph.multiply(large, gate);
    let (scale, shift) = ("group.weight".to_owned(), "group.bias".to_owned());
    let grouped = graph.push(Op::GroupNorm { x: gated, groups: 2, scale, shift, epsilon: 1e-5 });
    let up = graph.conv_transposed(grouped, "up", None, Window::plane(2, 0, 1));
    let small = graph.mean_pool(up, Pool::plane(2, 3, 0));
    graph.linear(small, "head", None);
    let dims: [(&str, &[usize]); 12] = [
        ("stem", &[4, 2, 3, 3]),
        ("bn.weight", &[4]),
        ("bn.bias", &[4]),
        ("bn.running_mean", &[4]),
        ("bn.running_var", &[4]),
        ("side", &[4, 2, 3, 3]),
        ("side.bias", &[4]),
        ("group.weight", &[8]),
        ("group.bias", &[8]),
        ("up", &[8, 3, 2, 2]),
        ("head", &[2, 60]),
        ("unused", &[1]),
    ];
    let made = dims.iter().enumerate().map(|(seed, (name, dims))| {
        let values: Vec<f32> = noise(seed as u64 + 20, dims.iter().product());
        let positive = name.ends_with("running_var");
        let values = values.iter().map(|v| if positive { v.abs() + 0.5 } else { *v });
        let values = Tensor::from_iter(values, &Device::Cpu).unwrap().reshape(*dims).unwrap();
        ((*name).to_owned(), values)
    });
    (graph, made.collect(), Shape::plane(2, 11, 13))
}

fn pulled(graph: &Graph, weights: &Weights, input: Shape, x: &[f64], pull: &[f32]) -> f64 {
    let all = plain::evaluate::<f64>(graph, weights, input, x, &|_: &[f64]| Vec::new()).unwrap();
    all[graph.output().index()].iter().zip(pull).map(|(v, p)| v * f64::from(*p)).sum()
}

/// Proves: REQ-ENG-115
#[test]
fn tracked_gradients_equal_differences_of_the_plain_executor() {
    let (graph, weights, input) = network();
    let values = noise(7, input.len());
    let pull = noise(8, 2);
    let tracked = variables(&weights);
    let x = Var::from_tensor(&tensor(&values, [1, 2, 11, 13])).unwrap();
    let run = graph.forward_tracked(&tracked, &x, &[graph.output()], Statistics::Running).unwrap();
    let store = (&run.values[0] * tensor(&pull, [1, 2, 1, 1])).unwrap().sum_all().unwrap().backward().unwrap();
    let wide = widened(&values);
    let step = 1.0 / 4096.0;
    let held = |name: &str, found: &[f32], differences: &[f64]| {
        let top = differences.iter().fold(1e-3f64, |top, v| top.max(v.abs()));
        for (at, (found, expected)) in found.iter().zip(differences).enumerate() {
            assert!((f64::from(*found) - expected).abs() < 2e-4 * top, "{name} {at}: {found}, expected {expected}");
        }
    };
    let moved = |at: usize, by: f64| {
        let mut x = wide.clone();
        x[at] += by;
        pulled(&graph, &weights, input, &x, &pull)
    };
    let differences: Vec<f64> =
        (0..wide.len()).map(|at| (moved(at, step * 0.01) - moved(at, -step * 0.01)) / (0.02 * step)).collect();
    held("input", &flat(store.get(&x).unwrap()), &differences);
    for (name, weight) in &weights {
        if name == "unused" || name.contains("running") {
            assert!(store.get(&tracked[name]).is_none(), "{name}");
            continue;
        }
        let start = flat(weight);
        let moved = |at: usize, by: f32| {
            let mut values = start.clone();
            values[at] += by;
            let by = f64::from(values[at]);
            let mut weights = weights.clone();
            weights.insert(name.clone(), Tensor::from_vec(values, weight.dims(), &Device::Cpu).unwrap());
            (pulled(&graph, &weights, input, &wide, &pull), by)
        };
        let difference = |at: usize| {
            let ((above, high), (below, low)) = (moved(at, step as f32), moved(at, -step as f32));
            (above - below) / (high - low)
        };
        let differences: Vec<f64> = (0..start.len()).map(difference).collect();
        held(name, &flat(store.get(&tracked[name]).unwrap()), &differences);
    }
}

/// Proves: REQ-ENG-116
#[test]
fn a_tie_goes_to_the_first_and_a_nan_wins_its_window() {
    let values = [1.0, 1.0, 0.0, -2.0, 1.0, 1.0, f32::NAN, 3.0, -1.0, -1.0, -5.0, -4.0];
    let x = Var::from_tensor(&tensor(&values, [1, 3, 4, 1])).unwrap();
    let y = max_pool(&x, &Pool::plane(2, 2, 0)).unwrap();
    let found = flat(&y);
    assert!((found[0] - 1.0).abs() < 1e-9 && found[1].is_nan());
    let store = (&y * tensor(&[2.0, 3.0], [1, 1, 2, 1])).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(flat(store.get(&x).unwrap()), [2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let below = tensor(&[-1.0, -2.0, -3.0, -4.0], [1, 2, 2, 1]);
    let y = max_pool(&below, &Pool::plane(3, 2, 1)).unwrap();
    assert_eq!(flat(&y), [-1.0]);
    assert!(max_pool(&below, &Pool::plane(1, 1, 1)).is_err());
}

/// Proves: REQ-ENG-117
#[test]
fn losses_of_logits_are_finite_and_have_right_gradients() {
    let logits = [0.3f32, -2.0, 100.0, -100.0, 1e30, -1e30];
    let targets = [1.0f32, 0.25, 1.0, 1.0, 0.0, 0.0];
    let x = Var::from_tensor(&tensor(&logits, [2, 3])).unwrap();
    let loss = binary_cross_entropy(&x, &tensor(&targets, [2, 3])).unwrap();
    let textbook = |x: f64, t: f64| x.max(0.0) - x * t + (-x.abs()).exp().ln_1p();
    let pairs = || logits.iter().zip(targets).map(|(x, t)| (f64::from(*x), f64::from(t)));
    let expected = pairs().map(|(x, t)| textbook(x, t)).sum::<f64>() / 6.0;
    assert!((f64::from(loss.to_scalar::<f32>().unwrap()) / expected - 1.0).abs() < 1e-6);
    let store = loss.backward().unwrap();
    for (found, (x, t)) in flat(store.get(&x).unwrap()).iter().zip(pairs()) {
        let expected = (1.0 / (1.0 + (-x).exp()) - t) / 6.0;
        assert!((f64::from(*found) - expected).abs() < 1e-7, "{found} {expected}");
    }
    let y = log_softmax(&x).unwrap();
    let pull = [0.5f32, -1.0, 2.0, 1.0, 0.25, -0.5];
    let store = (&y * tensor(&pull, [2, 3])).unwrap().sum_all().unwrap().backward().unwrap();
    let (found, slopes) = (flat(&y), flat(store.get(&x).unwrap()));
    for row in 0..2 {
        let wide = widened(&logits[row * 3..][..3]);
        let top = wide.iter().copied().fold(f64::MIN, f64::max);
        let total = wide.iter().map(|v| (v - top).exp()).sum::<f64>();
        let all: f64 = pull[row * 3..][..3].iter().map(|v| f64::from(*v)).sum();
        for (c, v) in wide.iter().enumerate() {
            let expected = v - top - total.ln();
            let at = row * 3 + c;
            assert!((f64::from(found[at]) - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{at}");
            let slope = f64::from(pull[at]) - expected.exp() * all;
            assert!((f64::from(slopes[at]) - slope).abs() < 1e-6, "{at}");
        }
    }
}

/// Proves: REQ-ENG-118
#[test]
fn a_gradient_operation_under_training_is_refused_by_name() {
    let (mut graph, x) = Graph::new();
    let y = graph.activation(x, Activation::Relu);
    let back: Vec<Node> = graph.gradient(y, &[x]).unwrap();
    let weights = Weights::new();
    let input = tensor(&noise(1, 4), [1, 1, 2, 2]);
    let error = graph.forward_tracked(&weights, &input, &back, Statistics::Running).unwrap_err().to_string();
    assert!(error.contains("seed") && error.contains("training"), "{error}");
    let flat = input.reshape((2, 2)).unwrap();
    assert!(graph.forward_tracked(&weights, &flat, &[y], Statistics::Running).is_err());
}

/// Proves: REQ-ENG-119
#[test]
fn a_layer_norm_agrees_with_the_textbook() {
    let (values, scale, shift) = (noise(1, 21), noise(2, 7), noise(3, 7));
    let pull = noise(4, 21);
    let textbook = |x: &[f64]| -> f64 {
        let rows = x.chunks_exact(7).enumerate().map(|(row, x)| {
            let mean = x.iter().sum::<f64>() / 7.0;
            let variance = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / 7.0;
            let each = x.iter().enumerate().map(|(c, v)| {
                let y = (v - mean) / (variance + 1e-5).sqrt() * f64::from(scale[c]) + f64::from(shift[c]);
                y * f64::from(pull[row * 7 + c])
            });
            each.sum::<f64>()
        });
        rows.sum()
    };
    let x = Var::from_tensor(&tensor(&values, [3, 7])).unwrap();
    let weights = [tensor(&scale, [7]), tensor(&shift, [7])];
    let y = layer_norm(&x, [&weights[0], &weights[1]], 1e-5).unwrap();
    let total = (&y * tensor(&pull, [3, 7])).unwrap().sum_all().unwrap();
    let wide = widened(&values);
    assert!((f64::from(total.to_scalar::<f32>().unwrap()) - textbook(&wide)).abs() < 1e-5);
    let store = total.backward().unwrap();
    for (at, found) in flat(store.get(&x).unwrap()).iter().enumerate() {
        let moved = |by: f64| {
            let mut x = wide.clone();
            x[at] += by;
            textbook(&x)
        };
        let expected = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        assert!((f64::from(*found) - expected).abs() < 1e-4, "{at}: {found} {expected}");
    }
}
