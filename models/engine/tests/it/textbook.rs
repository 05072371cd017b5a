//! The slow form: loops that say what an operation is, in f32 by the engine's own rule and in f64 for differences.
//! Shapes as the engine's: maps `[n, h, w, c]`, weights `[out, in, k, k]`; a depthwise weight is `[c, 1, k, k]`.

use candle_core::{Device, Tensor};
use proptest::prelude::*;

/// One convolution and its data.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) k: usize,
    pub(crate) stride: usize,
    pub(crate) depthwise: bool,
    pub(crate) seed: u64,
}

/// Reproducible values in -1..1.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

pub(crate) fn cases(depthwise: bool) -> impl Strategy<Value = Case> {
    let kernels = prop_oneof![Just(1usize), Just(3), Just(5)];
    ((1..4usize, 1..10usize, 1..10usize), (1..44usize, 1..44usize), kernels, 1..3usize, any::<u64>()).prop_map(
        move |((n, h, w), (inputs, outputs), k, stride, seed)| {
            let outputs = if depthwise { inputs } else { outputs };
            Case { n, h, w, inputs, outputs, k, stride, depthwise, seed }
        },
    )
}

impl Case {
    pub(crate) fn x_shape(&self) -> [usize; 4] {
        [self.n, self.h, self.w, self.inputs]
    }
    pub(crate) fn w_shape(&self) -> [usize; 4] {
        [self.outputs, if self.depthwise { 1 } else { self.inputs }, self.k, self.k]
    }
    pub(crate) fn y_shape(&self) -> [usize; 4] {
        [self.n, self.h.div_ceil(self.stride), self.w.div_ceil(self.stride), self.outputs]
    }
    pub(crate) fn x(&self) -> Vec<f32> {
        noise(self.seed, self.x_shape().iter().product()).iter().map(|v| v * 3.0).collect()
    }
    pub(crate) fn weight(&self) -> Vec<f32> {
        noise(self.seed ^ 1, self.w_shape().iter().product())
    }
    pub(crate) fn bias(&self) -> Vec<f32> {
        noise(self.seed ^ 2, self.outputs)
    }
    pub(crate) fn upstream(&self) -> Vec<f32> {
        noise(self.seed ^ 3, self.y_shape().iter().product())
    }

    /// Every output element as a fold over its taps: `step(sum, weight index, input index)`; padding taps give `None`
    /// for the input, in the order kernel row, kernel column, input channel.
    pub(crate) fn fold<T>(&self, start: impl Fn(usize) -> T, step: impl Fn(T, usize, Option<usize>) -> T) -> Vec<T> {
        let [n, h_out, w_out, outputs] = self.y_shape();
        let before = |out: usize, length: usize| ((out - 1) * self.stride + self.k).saturating_sub(length) / 2;
        let (top, left) = (before(h_out, self.h), before(w_out, self.w));
        let depth = self.w_shape()[1];
        let mut y = Vec::new();
        for (image, row, column, output) in itertools4(n, h_out, w_out, outputs) {
            let mut sum = start(output);
            for i in 0..self.k {
                for j in 0..self.k {
                    let at = |o: usize, t: usize, before: usize, length: usize| {
                        (o * self.stride + t).checked_sub(before).filter(|&p| p < length)
                    };
                    let place = at(row, i, top, self.h).zip(at(column, j, left, self.w));
                    for c in 0..depth {
                        let channel = if self.depthwise { output } else { c };
                        let x = place.map(|(r, s)| ((image * self.h + r) * self.w + s) * self.inputs + channel);
                        sum = step(sum, ((output * depth + c) * self.k + i) * self.k + j, x);
                    }
                }
            }
            y.push(sum);
        }
        y
    }

    /// The engine's rule in f32: one chain of fused multiply-adds from the bias.
    pub(crate) fn forward_f32(&self, x: &[f32], w: &[f32], b: &[f32]) -> Vec<f32> {
        self.fold(
            |o| b[o],
            |sum, at, from| match from {
                Some(from) => x[from].mul_add(w[at], sum),
                None if self.depthwise => sum,
                None => 0f32.mul_add(w[at], sum),
            },
        )
    }

    /// The same function in f64.
    pub(crate) fn forward_f64(&self, x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
        self.fold(|o| b[o], |sum, at, from| sum + from.map_or(0.0, |from| x[from] * w[at]))
    }
}

fn itertools4(a: usize, b: usize, c: usize, d: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
}

pub(crate) fn relu6(v: f32) -> f32 {
    let v = if 0.0 > v { 0.0 } else { v };
    if 6.0 < v { 6.0 } else { v }
}

pub(crate) fn tensor<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor {
    Tensor::from_slice(values, shape.as_slice(), &Device::Cpu).unwrap()
}

pub(crate) fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}
