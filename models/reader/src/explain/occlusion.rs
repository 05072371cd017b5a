//! Occlusion: how much the score falls when a window of the input is filled with one value.
//! Shapes: out one channel of the input's extent; where windows overlap, their means (Captum's rule).
//! Windows start at multiples of the stride, the last one reaches over the edge; all run in batches.
//! Errors: [`ExplainError::Parameter`] for a window or stride of zero, or more windows than allowed.
//! Source: Zeiler and Fergus 2014 (arXiv 1311.2901).

use super::subject::{Attribution, ExplainError, Method, Subject};
use vidimus_engine::Shape;

/// Windows of one map at most.
const WINDOWS_MAX: usize = 4096;
/// Inputs of one batch.
const BATCH: usize = 32;

/// Windows moved over the input.
#[derive(Clone, Debug)]
pub struct Occlusion {
    /// Rows, columns (and depth) of a window.
    pub window: [usize; 3],
    /// From one window to the next.
    pub stride: [usize; 3],
    /// What they are filled with.
    pub fill: f32,
}

impl Occlusion {
    /// Square windows over a plane.
    #[must_use]
    pub const fn plane(window: usize, stride: usize, fill: f32) -> Self {
        Self { window: [1, window, window], stride: [1, stride, stride], fill }
    }

    /// First positions of the windows along one axis: as many as it takes to reach the end.
    fn starts(&self, axis: usize, length: usize) -> Vec<usize> {
        let (window, stride) = (self.window[axis], self.stride[axis]);
        let steps = length.saturating_sub(window).div_ceil(stride);
        (0..=steps).map(|step| step * stride).collect()
    }
}

impl Method for Occlusion {
    fn name(&self) -> &'static str {
        "occlusion"
    }

    fn parameters(&self) -> String {
        format!("windows {:?} every {:?}, filled with {}", self.window, self.stride, self.fill)
    }

    fn explain(&self, subject: &Subject<'_>, x: &[f32]) -> Result<Attribution, ExplainError> {
        subject.one(x)?;
        let Shape { channels, extent } = subject.input;
        let wrong = |problem: String| Err(ExplainError::Parameter { parameter: "window", problem });
        if self.window.contains(&0) || self.stride.contains(&0) || !self.fill.is_finite() {
            return wrong(format!("{}: none may be zero", self.parameters()));
        }
        let starts: [Vec<usize>; 3] = [0, 1, 2].map(|axis| self.starts(axis, extent[axis]));
        let count: usize = starts.iter().map(Vec::len).product();
        if count > WINDOWS_MAX {
            return wrong(format!("{count} windows, at most {WINDOWS_MAX}"));
        }
        let windows: Vec<[usize; 3]> = starts[0]
            .iter()
            .flat_map(|&d| starts[1].iter().map(move |&r| (d, r)))
            .flat_map(|(d, r)| starts[2].iter().map(move |&c| [d, r, c]))
            .collect();
        let score = subject.scores(x)?[0];
        let space = subject.input.space();
        let (mut sums, mut counts) = (vec![0.0f64; space], vec![0u32; space]);
        for batch in windows.chunks(BATCH) {
            let mut copies = Vec::with_capacity(batch.len() * x.len());
            for &window in batch {
                let from = copies.len();
                copies.extend_from_slice(x);
                for channel in 0..channels {
                    self.places(window, extent, |at| copies[from + channel * space + at] = self.fill);
                }
            }
            for (&window, seen) in batch.iter().zip(subject.scores(&copies)?) {
                self.places(window, extent, |at| {
                    sums[at] += score - seen;
                    counts[at] += 1;
                });
            }
        }
        let map = sums.iter().zip(&counts).map(|(sum, count)| (sum / f64::from((*count).max(1))) as f32).collect();
        Attribution::new(self, Shape { channels: 1, extent }, map, vec![("score", score)])
    }
}

impl Occlusion {
    /// Calls `each` with every place of a window that lies in the input.
    fn places(&self, start: [usize; 3], extent: [usize; 3], mut each: impl FnMut(usize)) {
        let end = [0, 1, 2].map(|axis| (start[axis] + self.window[axis]).min(extent[axis]));
        for d in start[0]..end[0] {
            for r in start[1]..end[1] {
                for c in start[2]..end[2] {
                    each((d * extent[1] + r) * extent[2] + c);
                }
            }
        }
    }
}
