//! CPU time of the compiled plans of ResNet-18, DenseNet-121, a U-Net of base 32 and a MobileNet-like trunk, with
//! random weights. Usage: `plane [NETWORK] [THREADS] [IMAGES] [RUNS]`; prints milliseconds of CPU and of the wall for
//! one run.
//! Units: milliseconds; memory in MiB. Errors: none worth naming; it is a bench.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and fails by panicking")]

use candle_core::{Device, Tensor};
use std::time::Instant;
use vidimus_engine::graph::Activation;
use vidimus_engine::{BatchNorm, Graph, Node, Plan, Pool, Shape, Weights, Window, with_threads};

struct Net {
    graph: Graph,
    weights: Weights,
    state: u64,
}

impl Net {
    fn new() -> (Self, Node) {
        let (graph, x) = Graph::new();
        (Self { graph, weights: Weights::new(), state: 1 }, x)
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "noise")]
    fn tensor(&mut self, dims: &[usize], scale: f64, shift: f64) -> String {
        let name = format!("w{}", self.weights.len());
        let mut draw = || {
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (((self.state >> 40) as f64 / 8_388_608.0 - 1.0) * scale + shift) as f32
        };
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| draw()).collect();
        self.weights.insert(name.clone(), Tensor::from_vec(values, dims, &Device::Cpu).unwrap());
        name
    }

    #[expect(clippy::cast_precision_loss, reason = "a scale")]
    fn conv(&mut self, x: Node, dims: [usize; 4], stride: usize, groups: usize) -> Node {
        let scale = (3.0 / (dims[1] * dims[2] * dims[3]) as f64).sqrt();
        let weight = self.tensor(&dims, scale, 0.0);
        self.graph.conv(x, &weight, None, Window::plane(stride, dims[2] / 2, 1), groups)
    }

    fn norm(&mut self, x: Node, channels: usize) -> Node {
        let scale = self.tensor(&[channels], 0.1, 1.0);
        let (shift, mean) = (self.tensor(&[channels], 0.1, 0.0), self.tensor(&[channels], 0.1, 0.0));
        let variance = self.tensor(&[channels], 0.1, 1.0);
        self.graph.norm(x, BatchNorm { scale, shift, mean, variance, epsilon: 1e-5 })
    }

    fn relu(&mut self, x: Node) -> Node {
        self.graph.activation(x, Activation::Relu)
    }

    fn unit(&mut self, x: Node, dims: [usize; 4], stride: usize) -> Node {
        let y = self.conv(x, dims, stride, 1);
        let y = self.norm(y, dims[0]);
        self.relu(y)
    }

    fn head(&mut self, x: Node, channels: usize) {
        let y = self.graph.global_mean(x);
        let (weight, bias) = (self.tensor(&[1000, channels], 0.05, 0.0), self.tensor(&[1000], 0.1, 0.0));
        self.graph.linear(y, &weight, Some(&bias));
    }
}

fn resnet18() -> (Net, Shape) {
    let (mut net, x) = Net::new();
    let y = net.unit(x, [64, 3, 7, 7], 2);
    let mut x = net.graph.max_pool(y, Pool::plane(3, 2, 1));
    let mut channels = 64;
    for (stage, outputs) in [64, 128, 256, 512].into_iter().enumerate() {
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let y = net.unit(x, [outputs, channels, 3, 3], stride);
            let y = net.conv(y, [outputs, outputs, 3, 3], 1, 1);
            let y = net.norm(y, outputs);
            if stride == 2 {
                x = net.conv(x, [outputs, channels, 1, 1], 2, 1);
                x = net.norm(x, outputs);
            }
            let y = net.graph.add(y, x);
            x = net.relu(y);
            channels = outputs;
        }
    }
    net.head(x, 512);
    (net, Shape::plane(3, 224, 224))
}

fn densenet121() -> (Net, Shape) {
    let (mut net, x) = Net::new();
    let y = net.unit(x, [64, 3, 7, 7], 2);
    let mut first = net.graph.max_pool(y, Pool::plane(3, 2, 1));
    let mut channels = 64;
    for (block, layers) in [6, 12, 24, 16].into_iter().enumerate() {
        let mut parts = vec![first];
        for _ in 0..layers {
            let all = net.graph.concat(&parts);
            let y = net.norm(all, channels);
            let y = net.relu(y);
            let y = net.unit(y, [128, channels, 1, 1], 1);
            parts.push(net.conv(y, [32, 128, 3, 3], 1, 1));
            channels += 32;
        }
        let all = net.graph.concat(&parts);
        let y = net.norm(all, channels);
        first = net.relu(y);
        if block < 3 {
            let y = net.conv(first, [channels / 2, channels, 1, 1], 1, 1);
            channels /= 2;
            first = net.graph.mean_pool(y, Pool::plane(2, 2, 0));
        }
    }
    net.head(first, channels);
    (net, Shape::plane(3, 224, 224))
}

fn unet() -> (Net, Shape) {
    let (mut net, mut x) = Net::new();
    let (mut channels, mut skips) = (1, Vec::new());
    for outputs in [32, 64, 128, 256] {
        let y = net.unit(x, [outputs, channels, 3, 3], 1);
        let y = net.unit(y, [outputs, outputs, 3, 3], 1);
        skips.push(y);
        x = net.graph.max_pool(y, Pool::plane(2, 2, 0));
        channels = outputs;
    }
    x = net.unit(x, [512, 256, 3, 3], 1);
    x = net.unit(x, [512, 512, 3, 3], 1);
    for outputs in [256, 128, 64, 32] {
        let weight = net.tensor(&[2 * outputs, outputs, 2, 2], 0.05, 0.0);
        let bias = net.tensor(&[outputs], 0.1, 0.0);
        let up = net.graph.conv_transposed(x, &weight, Some(&bias), Window::plane(2, 0, 1));
        let all = net.graph.concat(&[skips.pop().unwrap(), up]);
        let y = net.unit(all, [outputs, 2 * outputs, 3, 3], 1);
        x = net.unit(y, [outputs, outputs, 3, 3], 1);
    }
    net.conv(x, [2, 32, 1, 1], 1, 1);
    (net, Shape::plane(1, 256, 256))
}

/// The trunk of EfficientNet-Lite0 up to stride 16.
fn trunk() -> (Net, Shape) {
    let (mut net, x) = Net::new();
    let relu6 = |net: &mut Net, x: Node| net.graph.activation(x, Activation::Relu6);
    let conv = |net: &mut Net, x: Node, dims: [usize; 4], stride: usize, groups: usize| {
        let weight = net.tensor(&dims, 0.2, 0.0);
        let y = net.graph.conv(x, &weight, None, Window::same(stride), groups);
        net.norm(y, dims[0])
    };
    let y = conv(&mut net, x, [32, 3, 3, 3], 2, 1);
    let mut x = relu6(&mut net, y);
    for (inputs, hidden, outputs, kernel, stride) in [
        (32, 32, 16, 3, 1),
        (16, 96, 24, 3, 2),
        (24, 144, 24, 3, 1),
        (24, 144, 40, 5, 2),
        (40, 240, 40, 5, 1),
        (40, 240, 80, 3, 2),
        (80, 480, 80, 3, 1),
        (80, 480, 80, 3, 1),
        (80, 480, 112, 5, 1),
        (112, 672, 112, 5, 1),
        (112, 672, 112, 5, 1),
    ] {
        let mut y = x;
        if hidden != inputs {
            y = conv(&mut net, y, [hidden, inputs, 1, 1], 1, 1);
            y = relu6(&mut net, y);
        }
        y = conv(&mut net, y, [hidden, 1, kernel, kernel], stride, hidden);
        y = relu6(&mut net, y);
        y = conv(&mut net, y, [outputs, hidden, 1, 1], 1, 1);
        x = if inputs == outputs { net.graph.add(y, x) } else { y };
    }
    (net, Shape::plane(3, 160, 160))
}

/// CPU seconds of this process, all its threads together.
fn cpu() -> f64 {
    #[repr(C)]
    struct Time {
        seconds: i64,
        nanoseconds: i64,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Time) -> i32;
    }
    const CPU_TIME_OF_THE_PROCESS: i32 = 2;
    let mut time = Time { seconds: 0, nanoseconds: 0 };
    // SAFETY: the call writes one `timespec`, which is two signed 64-bit numbers on 64-bit Linux.
    let failed = unsafe { clock_gettime(CPU_TIME_OF_THE_PROCESS, &raw mut time) };
    assert_eq!(failed, 0, "Linux has a clock of the process");
    #[expect(clippy::cast_precision_loss, reason = "a difference of nanoseconds is far below 2^53")]
    let seconds = time.seconds as f64 + time.nanoseconds as f64 / 1e9;
    seconds
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

type Make = fn() -> (Net, Shape);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, other: usize| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(other);
    let (threads, images, runs) = (number(1, 1), number(2, 1), number(3, 9));
    let networks: [(&str, Make); 4] =
        [("resnet18", resnet18), ("densenet121", densenet121), ("unet", unet), ("trunk", trunk)];
    for (name, make) in networks.into_iter().filter(|(name, _)| arguments.first().is_none_or(|only| only == name)) {
        let (net, shape) = make();
        let x: Vec<f32> = (0..images * shape.len()).map(|at| ((at * 7919 % 1013) as f32) / 506.5 - 1.0).collect();
        with_threads(threads, || {
            let before = cpu();
            let plan = Plan::new(&net.graph, &net.weights, shape, &[net.graph.output()]).unwrap();
            let compiled = cpu();
            plan.run(&x, images).unwrap();
            let first = cpu();
            if arguments.iter().any(|argument| argument == "--steps") {
                plan.steps().iter().for_each(|step| println!("  {step}"));
            }
            let (mut busy, mut wall) = (Vec::new(), Vec::new());
            for _ in 0..runs {
                let (start, from) = (Instant::now(), cpu());
                plan.run(&x, images).unwrap();
                busy.push((cpu() - from) * 1e3);
                wall.push(start.elapsed().as_secs_f64() * 1e3);
            }
            let memory = plan.memory();
            let least = busy.iter().copied().fold(f64::MAX, f64::min);
            println!(
                "{name} x {threads} x {images}: cpu {:.2} ms (least {least:.2}), wall {:.2}; compile {:.0}, first {:.0}; \
                 weights {} MiB, arena {}",
                median(busy),
                median(wall),
                (compiled - before) * 1e3,
                (first - compiled) * 1e3,
                memory.weights_bytes >> 20,
                memory.arena_bytes >> 20,
            );
        });
    }
}
