//! A map's dimensions: `[images, rows, columns, channels]` or `[images, depth, rows, columns, channels]`.
//! Errors: Candle's, naming the operation and the dimensions found.

use crate::graph::{Axis, Extent, Window};
use candle_core::{Result, bail};

/// A channels-last map; a plane has depth 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) images: usize,
    pub(super) extent: Extent,
    pub(super) channels: usize,
    volume: bool,
}

impl Map {
    /// The map of these dimensions; none may be zero.
    pub(super) fn of(name: &str, dims: &[usize]) -> Result<Self> {
        let map = match *dims {
            [images, rows, columns, channels] => Self { images, extent: [1, rows, columns], channels, volume: false },
            [images, depth, rows, columns, channels] => {
                Self { images, extent: [depth, rows, columns], channels, volume: true }
            }
            _ => bail!("{name}: expected [images, (depth,) rows, columns, channels], found {dims:?}"),
        };
        if dims.contains(&0) {
            bail!("{name}: input {dims:?} is empty")
        }
        Ok(map)
    }

    /// The same images and rank with another extent and other channels.
    pub(super) fn with(self, extent: Extent, channels: usize) -> Self {
        Self { extent, channels, ..self }
    }

    /// Positions of one image.
    pub(super) fn space(&self) -> usize {
        self.extent.iter().product()
    }

    /// Values of one image.
    pub(super) fn image(&self) -> usize {
        self.space() * self.channels
    }

    /// All values.
    pub(super) fn len(&self) -> usize {
        self.images * self.image()
    }

    /// As Candle has them.
    pub(super) fn dims(&self) -> Vec<usize> {
        let [depth, rows, columns] = self.extent;
        let mut dims = vec![self.images];
        if self.volume {
            dims.push(depth);
        }
        dims.extend([rows, columns, self.channels]);
        dims
    }

    /// The three axes under a window.
    pub(super) fn axes(&self, name: &str, window: &Window, kernel: Extent) -> Result<[Axis; 3]> {
        let axis = |at: usize| Axis::new(window, at, self.extent[at], kernel[at]);
        match (axis(0), axis(1), axis(2)) {
            (Some(depth), Some(rows), Some(columns)) => Ok([depth, rows, columns]),
            _ => bail!("{name}: a kernel of {kernel:?} under {window:?} does not fit {:?}", self.dims()),
        }
    }
}
