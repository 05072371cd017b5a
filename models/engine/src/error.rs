//! What can be wrong with a graph, its weights or its input.
//! Errors name the operation or tensor, what was expected and what was found; they hold no pixel and no weight.

use crate::graph::Shape;

/// A graph cannot be compiled or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A weight that an operation names is not there.
    #[error("weights: tensor {name} is missing")]
    MissingWeight {
        /// The tensor.
        name: String,
    },
    /// A weight of another shape or type.
    #[error("weights: tensor {name}: expected {expected}, found {found}")]
    Weight {
        /// The tensor.
        name: String,
        /// What the operation takes.
        expected: String,
        /// Type and shape found.
        found: String,
    },
    /// The values that reach an operation do not fit it.
    #[error("{op} (node {node}): {problem}")]
    Operation {
        /// The operation.
        op: &'static str,
        /// Its place in the graph.
        node: usize,
        /// What does not fit.
        problem: String,
    },
    /// The input is not whole images of the plan's shape.
    #[error("input: expected {images} images of {shape}, found {found} values")]
    Input {
        /// Images announced.
        images: usize,
        /// One image.
        shape: Shape,
        /// Values given.
        found: usize,
    },
    /// A gradient was asked for that has no rule here.
    #[error("gradient: {op} (node {node}) has no gradient here")]
    NoGradient {
        /// The operation.
        op: &'static str,
        /// Its place in the graph.
        node: usize,
    },
    /// A seeded plan was run without its seed, or the seed has another length.
    #[error("gradient: the seed holds {found} values, {expected} are needed")]
    Seed {
        /// Values of the seeded node.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// The plan would need more memory than allowed.
    #[error("memory: the plan needs {needed} bytes, {limit} are allowed; use a smaller input")]
    Memory {
        /// Bytes needed.
        needed: usize,
        /// The limit.
        limit: usize,
    },
    /// A tensor could not be read.
    #[error("tensor")]
    Tensor(#[from] candle_core::Error),
}
