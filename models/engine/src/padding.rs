//! TensorFlow's "same" padding: where a kernel's taps fall, on any length and stride.
//! Units: pixels along one axis. Output length is `ceil(n / stride)`; of the zeros that are missing, the smaller half
//! goes before, so stride 2 on an even length pads unevenly.
//! Errors: none. Source: TensorFlow `nn.convolution`, padding "SAME".

/// The geometry of one axis of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Same {
    /// Input length.
    pub length_in: usize,
    /// Output length.
    pub length_out: usize,
    /// Kernel length.
    pub kernel: usize,
    /// Stride.
    pub stride: usize,
    /// Zeros before the first input pixel.
    pub before: usize,
}

impl Same {
    /// The axis of `length_in` pixels under a kernel and a stride, both at least 1.
    #[must_use]
    pub fn new(length_in: usize, kernel: usize, stride: usize) -> Self {
        let length_out = length_in.div_ceil(stride);
        let covered = (length_out.saturating_sub(1)) * stride + kernel;
        Self { length_in, length_out, kernel, stride, before: covered.saturating_sub(length_in) / 2 }
    }

    /// The input pixel under `tap` of output `out`, unless it lies in the padding.
    #[inline]
    #[must_use]
    pub fn input(&self, out: usize, tap: usize) -> Option<usize> {
        (out * self.stride + tap).checked_sub(self.before).filter(|&at| at < self.length_in)
    }

    /// The output pixel that reads input `at` through `tap`, if there is one.
    #[inline]
    #[must_use]
    pub fn output(&self, at: usize, tap: usize) -> Option<usize> {
        let from = (at + self.before).checked_sub(tap)?;
        let out = from / self.stride;
        (from.is_multiple_of(self.stride) && out < self.length_out).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::Same;

    /// Proves: REQ-ENG-001
    #[test]
    fn even_lengths_at_stride_two_pad_more_behind_than_before() {
        let rows =
            [((96, 3, 2), 48, 0), ((96, 5, 2), 48, 1), ((75, 3, 2), 38, 1), ((75, 5, 2), 38, 2), ((20, 5, 1), 20, 2)];
        for ((length, kernel, stride), out, before) in rows {
            let same = Same::new(length, kernel, stride);
            assert_eq!((same.length_out, same.before), (out, before), "{length} {kernel} {stride}");
        }
    }

    /// Proves: REQ-ENG-001
    #[test]
    fn the_two_directions_name_the_same_pairs() {
        for (length, kernel, stride) in [(7, 3, 2), (8, 3, 2), (8, 5, 2), (9, 5, 1), (1, 5, 2), (2, 3, 1)] {
            let same = Same::new(length, kernel, stride);
            for tap in 0..kernel {
                for out in 0..same.length_out {
                    if let Some(at) = same.input(out, tap) {
                        assert_eq!(same.output(at, tap), Some(out));
                    }
                }
                let named = (0..length).filter(|&at| same.output(at, tap).is_some()).count();
                let read = (0..same.length_out).filter(|&out| same.input(out, tap).is_some()).count();
                assert_eq!(named, read);
            }
        }
    }
}
