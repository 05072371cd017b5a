//! One axis under a window: which input position meets which output position through which tap.
//! Units: positions along one axis. `input = out · stride + tap · dilation - before`.
//! Errors: `None` where a kernel does not fit. Source: PyTorch's `Conv2d`; TensorFlow's padding "SAME".

use super::{Padding, Window};

/// The geometry of one axis of a convolution or a pooling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Input length.
    pub input: usize,
    /// Output length.
    pub output: usize,
    /// Taps.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Distance of taps.
    pub dilation: usize,
    /// Padding before the first input position.
    pub before: usize,
}

impl Axis {
    /// Axis `at` of `window` over `input` positions; `None` where no position of the kernel fits or a setting is zero.
    #[must_use]
    pub fn new(window: &Window, at: usize, input: usize, kernel: usize) -> Option<Self> {
        let (stride, dilation) = (window.stride[at], window.dilation[at]);
        if input == 0 || kernel == 0 || stride == 0 || dilation == 0 {
            return None;
        }
        let span = dilation.checked_mul(kernel - 1)?.checked_add(1)?;
        let (output, before) = match window.padding {
            Padding::Fixed { before, after } => {
                let room = input.checked_add(before[at])?.checked_add(after[at])?.checked_sub(span)?;
                (room / stride + 1, before[at])
            }
            Padding::Same => {
                let output = input.div_ceil(stride);
                (output, ((output - 1) * stride + span).saturating_sub(input) / 2)
            }
        };
        Some(Self { input, output, kernel, stride, dilation, before })
    }

    /// The input position under `tap` of output `out`, unless it lies in the padding.
    #[inline]
    #[must_use]
    pub fn input_at(&self, out: usize, tap: usize) -> Option<usize> {
        (out * self.stride + tap * self.dilation).checked_sub(self.before).filter(|&at| at < self.input)
    }

    /// The output position that reads input `at` through `tap`, if there is one.
    #[inline]
    #[must_use]
    pub fn output_at(&self, at: usize, tap: usize) -> Option<usize> {
        let from = (at + self.before).checked_sub(tap * self.dilation)?;
        let out = from / self.stride;
        (from.is_multiple_of(self.stride) && out < self.output).then_some(out)
    }
}
