//! The compiled form of planes against the plain form: values in f64, bits in f32 where the chain is the same, and
//! against itself over instruction sets, threads and batches.

mod bits;
mod layers;
mod networks;

use crate::graph::{BatchNorm, Graph, Node, Shape, Weights, Window, plain};
use crate::{Isa, Plan, with_isa, with_threads};
use candle_core::{Device, Tensor};

/// A graph with random weights under way.
struct Net {
    graph: Graph,
    weights: Weights,
    seed: u64,
}

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

impl Net {
    fn new() -> (Self, Node) {
        let (graph, input) = Graph::new();
        (Self { graph, weights: Weights::new(), seed: 7 }, input)
    }

    fn tensor(&mut self, dims: &[usize], scale: f32, shift: f32) -> String {
        self.seed += 1;
        let count = dims.iter().product();
        let values: Vec<f32> = noise(self.seed, count).iter().map(|v| v * scale + shift).collect();
        let name = format!("w{}", self.seed);
        self.weights.insert(name.clone(), Tensor::from_vec(values, dims, &Device::Cpu).unwrap());
        name
    }

    /// A convolution with bias; `dims` is `[outputs, inputs / groups, rows, columns]`.
    fn conv(&mut self, x: Node, dims: [usize; 4], window: Window, groups: usize) -> Node {
        let scale = 1.5 / ((dims[1] * dims[2] * dims[3]) as f32).sqrt();
        let weight = self.tensor(&dims, scale, 0.0);
        let bias = self.tensor(&[dims[0]], 0.5, 0.0);
        self.graph.conv(x, &weight, Some(&bias), window, groups)
    }

    fn transposed(&mut self, x: Node, dims: [usize; 4], window: Window) -> Node {
        let scale = 1.5 / ((dims[0] * dims[2] * dims[3]) as f32).sqrt();
        let weight = self.tensor(&dims, scale, 0.0);
        let bias = self.tensor(&[dims[1]], 0.5, 0.0);
        self.graph.conv_transposed(x, &weight, Some(&bias), window)
    }

    fn norm(&mut self, x: Node, channels: usize) -> Node {
        let scale = self.tensor(&[channels], 0.5, 1.0);
        let (shift, mean) = (self.tensor(&[channels], 0.5, 0.0), self.tensor(&[channels], 0.5, 0.0));
        let variance = self.tensor(&[channels], 0.4, 1.0);
        self.graph.norm(x, BatchNorm { scale, shift, mean, variance, epsilon: 1e-5 })
    }

    fn relu(&mut self, x: Node) -> Node {
        self.graph.activation(x, crate::graph::Activation::Relu)
    }

    fn plan(&self, input: Shape, wanted: &[Node]) -> Plan {
        Plan::new(&self.graph, &self.weights, input, wanted).unwrap()
    }

    /// Compiles, runs, and holds the values against the plain form in f64, to 1e-5 of the largest.
    fn check(&self, input: Shape, wanted: &[Node]) -> Vec<Vec<f32>> {
        let x = noise(3, input.len());
        let seed = |value: &[f32]| noise(99, value.len());
        let values = self.plan(input, wanted).run_seeded(&x, 1, &|_, value| seed(value)).unwrap();
        let exact: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
        let seed64 = |value: &[f64]| noise(99, value.len()).into_iter().map(f64::from).collect();
        let exact = plain::evaluate::<f64>(&self.graph, &self.weights, input, &exact, &seed64).unwrap();
        for (values, node) in values.iter().zip(wanted) {
            let expected = &exact[node.index()];
            let largest = expected.iter().fold(0.0f64, |most, v| most.max(v.abs()));
            assert!(largest.is_finite(), "node {} is finite", node.index());
            for (at, (value, expected)) in values.values.iter().zip(expected).enumerate() {
                let off = (f64::from(*value) - expected).abs() / largest.max(1e-30);
                assert!(off < 1e-5, "node {} at {at}: {value} for {expected} ({off:e})", node.index());
            }
        }
        values.into_iter().map(|values| values.values).collect()
    }

    /// The same, and bit for bit the plain form in f32.
    fn check_bits(&self, input: Shape, wanted: &[Node]) {
        let values = self.check(input, wanted);
        let x = noise(3, input.len());
        let plainly =
            plain::evaluate::<f32>(&self.graph, &self.weights, input, &x, &|value| noise(99, value.len())).unwrap();
        for (values, node) in values.iter().zip(wanted) {
            assert!(bits(values) == bits(&plainly[node.index()]), "node {} has the plain form's bits", node.index());
        }
    }

    /// Equal bits on every instruction set, with 1, 2, 3 and 5 threads, in batches of 1, 3 and 8.
    fn check_everywhere(&self, input: Shape, wanted: &[Node]) {
        let plan = self.plan(input, wanted);
        let x = noise(5, 8 * input.len());
        let run = |images: usize| -> Vec<Vec<u32>> {
            let values = plan.run_seeded(&x[..images * input.len()], images, &|_, v| noise(99, v.len())).unwrap();
            (0..images).map(|at| values.iter().flat_map(|value| bits(value.image(at))).collect()).collect()
        };
        let expected = with_isa(Isa::Scalar, || with_threads(1, || run(8))).unwrap();
        for isa in Isa::available() {
            for threads in [1, 2, 3, 5] {
                for images in [1, 3, 8] {
                    let found = with_isa(isa, || with_threads(threads, || run(images))).unwrap();
                    assert!(found == expected[..images], "{isa:?}, {threads} threads, {images} images");
                }
            }
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}
