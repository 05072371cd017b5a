//! What can be wrong with weights and input of a network.

/// A network cannot be built or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The file is not safetensors.
    #[error("weights: not a readable safetensors file; fetch the file that the bundle's digest names")]
    Format(#[source] candle_core::Error),
    /// A tensor that the architecture needs is not there.
    #[error("weights: tensor {name} is missing")]
    Missing {
        /// The tensor.
        name: String,
    },
    /// A tensor that the architecture does not know.
    #[error("weights: tensor {name} is not part of this architecture")]
    Unknown {
        /// The tensor.
        name: String,
    },
    /// A tensor of another shape or type.
    #[error("weights: tensor {name}: expected f32 {expected:?}, found {found}")]
    Tensor {
        /// The tensor.
        name: String,
        /// The architecture's shape.
        expected: Vec<usize>,
        /// Type and shape found.
        found: String,
    },
    /// A weight is not a finite number.
    #[error("weights: tensor {name} holds a value that is not finite")]
    NotFinite {
        /// The tensor.
        name: String,
    },
    /// The input has the wrong shape.
    #[error("input: expected {expected}, found {found:?}")]
    Input {
        /// What the network takes.
        expected: &'static str,
        /// The shape found.
        found: Vec<usize>,
    },
    /// A setting that makes no sense.
    #[error("{setting}: {problem}")]
    Setting {
        /// The setting's key.
        setting: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The engine cannot compile or run the network's graph.
    #[error(transparent)]
    Engine(#[from] vidimus_engine::EngineError),
    /// An operation failed.
    #[error("compute")]
    Compute(#[from] candle_core::Error),
}
