//! Exact kernels as Candle operations: what a small convolutional network needs, forward and backward.
//!
//! Shapes: activations are f32 `[images, rows, columns, channels]` (channels innermost), because then the lanes of a
//! vector are channels, no sum is ever split between lanes, and a kernel has no edge cases along a row.
//! Exactness: one output element is one chain of fused multiply-adds in an order that depends on the layer's shape
//! only. Thread count, batch size and instruction set choose which elements are computed together, never how one is
//! computed; so a row of a batch of 32 has the bits of the same image alone, and a scalar run repeats an AVX-512 run.
//! The rule, element by element, stands at each kernel; `tests/it` holds it against a slow textbook form.
//! Errors: Candle's own, with the operation's name and the shapes found. Numbers are never checked here: a NaN passes
//! through every operation, activations included.
//! Source: the layers of EfficientNet-Lite (Tan and Le 2019), TensorFlow's "same" padding.
//! This crate is the only one with `unsafe`: vector instructions behind run-time detection, in `lanes`, `math` and the
//! kernel modules; everything above them is safe.

mod depthwise;
mod error;
pub mod graph;
mod isa;
mod kernels;
mod lanes;
mod math;
pub mod ops;
mod padding;
pub mod plan;
mod product;
mod weights;

pub use error::EngineError;
pub use graph::{
    BatchNorm, Extent, Graph, Node, Op, Padding, Pool, Shape, Statistics, Tracked, Upsampling, Weights, Window,
};
pub use isa::{ISA_VARIABLE, Isa, with_isa};
pub use ops::{Activation, conv2d, depthwise_conv2d, global_mean, pointwise_conv2d};
pub use padding::Same;
pub use plan::{Memory, PROFILE, Plan, SeedFn, Values, with_threads};
