//! The kernels as Candle operations: tensors in, tensors out, gradients by `backward`; what training is made of.
//! Shapes: maps are f32, channels innermost: `[images, rows, columns, channels]`, volumes `[images, depth, rows,
//! columns, channels]`. Lanes of a vector are then channels: no sum is split between lanes, for any number of
//! dimensions.
//! Exactness: every sum runs in an order set by the layer's shape; threads, instruction set and (for what belongs to
//! one image) batch mates never change a bit. Candle's own gradients of pooling, resizing and fused norms are wrong or
//! missing (held by tests), so none of them is used.
//! Errors: Candle's, with the operation's name and the shapes. NaN passes.
//! Source: the layers as PyTorch defines them; `tests/it` holds values and gradients against f64 differences of the
//! plain executor and against PyTorch's golden figures.

pub(crate) mod activation;
pub(crate) mod buffers;
pub(crate) mod conv;
pub(crate) mod fused;
pub(crate) mod group;
mod map;
pub(crate) mod norm;
pub(crate) mod pool;
pub(crate) mod product;
pub(crate) mod rearrange;
pub(crate) mod resize;
mod same;
pub(crate) mod softmax;
mod sums;
pub(crate) mod tensors;

pub use activation::activation;
pub use buffers::release;
pub use conv::{convolution, linear, transposed_convolution};
pub use fused::{Unit, convolution_norm};
pub use group::{group_norm, layer_norm, space_norm};
pub use norm::{BatchStatistics, Follow, batch_norm, batch_norm_training};
pub use pool::{max_pool, mean_pool, space_mean};
pub use product::multiply;
pub use resize::upsample;
pub use same::{Activation, conv2d, depthwise_conv2d, global_mean, pointwise_conv2d};
pub use softmax::{binary_cross_entropy, log_softmax, softmax};
