//! Activations of the graph, each value by itself.
//! Shapes: any. Exactness: a fixed list of operations a value, the same in lanes and alone (`crate::math`).
//! The derivative of a corner is that of its left side (ReLU and ReLU6 at 0 and at 6: zero), as in PyTorch.
//! Errors: Candle's. NaN passes.

use super::buffers::take;
use super::tensors::{Made, Unary, View, unary};
use crate::graph::{Activation, plain};
use crate::isa::Isa;
use crate::lanes::{LANES, Lanes, instances};
use crate::math::vector;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Values of one task.
const CHUNK: usize = 1 << 14;

/// `kind` of every value of `x`.
pub fn activation(x: &Tensor, kind: Activation) -> Result<Tensor> {
    unary(x, Activate { kind, isa: Isa::current() })
}

pub(crate) struct Activate {
    pub(crate) kind: Activation,
    pub(crate) isa: Isa,
}

impl Unary for Activate {
    const NAME: &'static str = "activation";

    fn forward(&self, x: View<'_>) -> Result<Made> {
        let mut y = take(x.values.len());
        y.par_chunks_mut(CHUNK).zip(x.values.par_chunks(CHUNK)).for_each(|(y, x)| {
            y.copy_from_slice(x);
            activate_kernel(self.isa, self.kind, y);
        });
        Ok((y, x.dims.to_vec()))
    }

    fn backward(&self, x: View<'_>, y: View<'_>, g: View<'_>) -> Result<Vec<f32>> {
        let each = x.values.par_iter().zip(y.values).zip(g.values).with_min_len(CHUNK);
        Ok(each.map(|((x, y), g)| g * plain::slope(self.kind, *x, *y)).collect())
    }
}

instances! {
    /// The activation of every value, in place.
    activate_kernel = activate_body(kind: Activation, values: &mut [f32])
}

/// # Safety
/// The processor has `V`'s instructions.
#[inline(always)]
unsafe fn activate_body<V: Lanes, const M: usize, const B: usize>(kind: Activation, values: &mut [f32]) {
    for part in values.chunks_mut(LANES) {
        // SAFETY: a part load and store touch the values that the part has.
        unsafe {
            let lanes = V::load_part(part.as_ptr(), part.len());
            vector::activate(kind, lanes).store_part(part.as_mut_ptr(), part.len());
        }
    }
}
