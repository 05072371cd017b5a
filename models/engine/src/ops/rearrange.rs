//! Sums, differences, scaling, and moves of whole values, for graphs under training.
//! Shapes: maps with channels last; a flattened one `[N, .., 1, C D H W]` in the graph's order, channels first.
//! Each element is one addition or product, or a copy. Errors: Candle's, with the shapes.

use super::buffers::take;
use super::map::Map;
use super::tensors::{Binary, Made, Step, Unary, View};
use candle_core::{Result, bail};

/// `a + factor · b` with a factor of 1 or -1.
pub(crate) struct Sum {
    pub(crate) factor: f32,
}

impl Binary for Sum {
    const NAME: &'static str = "sum";

    fn forward(&self, a: View<'_>, b: View<'_>) -> Result<Made> {
        if a.dims != b.dims {
            bail!("{}: {:?} does not fit {:?}", Self::NAME, a.dims, b.dims)
        }
        let mut y = take(a.values.len());
        for ((y, a), b) in y.iter_mut().zip(a.values).zip(b.values) {
            *y = a + self.factor * b;
        }
        Ok((y, a.dims.to_vec()))
    }

    fn backward(&self, _a: View<'_>, _b: View<'_>, g: View<'_>, wanted: [bool; 2]) -> Result<[Option<Vec<f32>>; 2]> {
        let times = |factor: f32| scaled(g.values, factor);
        Ok([wanted[0].then(|| times(1.0)), wanted[1].then(|| times(self.factor))])
    }
}

fn scaled(values: &[f32], factor: f32) -> Vec<f32> {
    let mut made = take(values.len());
    made.iter_mut().zip(values).for_each(|(made, v)| *made = v * factor);
    made
}

/// `x · by`.
pub(crate) struct Scaling {
    pub(crate) by: f32,
}

impl Unary for Scaling {
    const NAME: &'static str = "scaling";

    fn forward(&self, x: View<'_>) -> Result<Made> {
        Ok((scaled(x.values, self.by), x.dims.to_vec()))
    }

    fn backward(&self, _x: View<'_>, _y: View<'_>, g: View<'_>) -> Result<Vec<f32>> {
        Ok(scaled(g.values, self.by))
    }
}

/// Channels `from .. from + channels`.
pub(crate) struct Slice {
    pub(crate) from: usize,
    pub(crate) channels: usize,
}

impl Unary for Slice {
    const NAME: &'static str = "slice";

    fn forward(&self, x: View<'_>) -> Result<Made> {
        let all = Map::of(Self::NAME, x.dims)?;
        if self.from + self.channels > all.channels {
            bail!("{}: channels {} and {} more of {:?}", Self::NAME, self.from, self.channels, x.dims)
        }
        let y = x.values.chunks_exact(all.channels).flat_map(|pixel| &pixel[self.from..][..self.channels]);
        Ok((y.copied().collect(), all.with(all.extent, self.channels).dims()))
    }

    fn backward(&self, x: View<'_>, _y: View<'_>, g: View<'_>) -> Result<Vec<f32>> {
        let all = Map::of(Self::NAME, x.dims)?;
        let mut made = vec![0.0; x.values.len()];
        for (made, g) in made.chunks_exact_mut(all.channels).zip(g.values.chunks_exact(self.channels)) {
            made[self.from..][..self.channels].copy_from_slice(g);
        }
        Ok(made)
    }
}

/// Channels first within each image, as one vector a image; `back` the way back to `dims`.
pub(crate) enum Flattening {
    /// All values as channels.
    Flat,
    /// The values back in these dimensions (channels last).
    Back(Vec<usize>),
}

/// Copies `[N, space, channels]` as `[N, channels, space]`.
fn turned(values: &[f32], images: usize, channels: usize) -> Vec<f32> {
    let image = values.len() / images;
    let space = image / channels;
    let mut made = take(values.len());
    for (made, values) in made.chunks_exact_mut(image).zip(values.chunks_exact(image)) {
        for (channel, row) in made.chunks_exact_mut(space).enumerate() {
            row.iter_mut().zip(values[channel..].iter().step_by(channels)).for_each(|(made, v)| *made = *v);
        }
    }
    made
}

impl Flattening {
    /// The map with channels last, of the two that are exchanged.
    fn map(&self, x: View<'_>) -> Result<Map> {
        match self {
            Self::Flat => Map::of(Self::NAME, x.dims),
            Self::Back(dims) => Map::of(Self::NAME, dims),
        }
    }
}

impl Unary for Flattening {
    const NAME: &'static str = "flattening";

    fn forward(&self, x: View<'_>) -> Result<Made> {
        let map = self.map(x)?;
        Ok(match self {
            Self::Flat => (turned(x.values, map.images, map.channels), map.with([1; 3], map.image()).dims()),
            Self::Back(dims) => (turned(x.values, map.images, map.space()), dims.clone()),
        })
    }

    fn backward(&self, x: View<'_>, _y: View<'_>, g: View<'_>) -> Result<Vec<f32>> {
        let map = self.map(x)?;
        Ok(match self {
            Self::Flat => turned(g.values, map.images, map.space()),
            Self::Back(_) => turned(g.values, map.images, map.channels),
        })
    }
}

/// Channels side by side.
pub(crate) struct Concatenation;

impl Step for Concatenation {
    fn run(&self, arguments: &[View<'_>]) -> Result<Made> {
        let widths: Vec<usize> = arguments.iter().map(|part| part.dims.last().copied().unwrap_or(1)).collect();
        let channels: usize = widths.iter().sum();
        let total: usize = arguments.iter().map(|part| part.values.len()).sum();
        let mut y = take(total);
        for (pixel, y) in y.chunks_exact_mut(channels.max(1)).enumerate() {
            let mut at = 0;
            for (part, width) in arguments.iter().zip(&widths) {
                y[at..at + width].copy_from_slice(&part.values[pixel * width..][..*width]);
                at += width;
            }
        }
        let mut dims = arguments.first().map(|part| part.dims.to_vec()).unwrap_or_default();
        if let Some(last) = dims.last_mut() {
            *last = channels;
        }
        Ok((y, dims))
    }

    fn back(
        &self,
        arguments: &[View<'_>],
        _y: View<'_>,
        g: View<'_>,
        wanted: &[bool],
    ) -> Result<Vec<Option<Vec<f32>>>> {
        let channels = g.dims.last().copied().unwrap_or(1);
        let mut at = 0;
        let mut made = Vec::with_capacity(arguments.len());
        for (part, wanted) in arguments.iter().zip(wanted) {
            let width = part.dims.last().copied().unwrap_or(1);
            made.push(wanted.then(|| {
                let mut made = take(part.values.len());
                for (made, g) in made.chunks_exact_mut(width).zip(g.values.chunks_exact(channels)) {
                    made.copy_from_slice(&g[at..at + width]);
                }
                made
            }));
            at += width;
        }
        Ok(made)
    }
}
