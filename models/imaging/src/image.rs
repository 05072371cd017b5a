//! A two-dimensional image of values with a meaning, and millimetres where the file gives them.

/// A length in millimetres: finite and above zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, serde::Serialize)]
#[serde(transparent)]
pub struct Millimetre(f64);

impl Millimetre {
    /// None for zero, negative, infinite or undefined lengths.
    pub fn new(value: f64) -> Option<Self> {
        (value.is_finite() && value > 0.0).then_some(Self(value))
    }

    /// The number of millimetres.
    pub const fn value(self) -> f64 {
        self.0
    }
}

/// One frame: `rows` x `columns` pixels, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Image<T> {
    /// Height in pixels.
    pub rows: usize,
    /// Width in pixels.
    pub columns: usize,
    /// Distance between rows, and between columns; None where the file does not give it.
    pub spacing: Option<[Millimetre; 2]>,
    /// The pixels.
    pub pixels: Vec<T>,
    /// Where the file has padding: these pixels are part of no measurement. None where there is none.
    pub padding: Option<Vec<bool>>,
}

impl<T> Image<T> {
    /// The pixels that are no padding.
    pub fn measured(&self) -> impl Iterator<Item = &T> {
        let padding = self.padding.as_deref();
        let kept = move |index: usize| padding.is_none_or(|mask| !mask.get(index).copied().unwrap_or(false));
        self.pixels.iter().enumerate().filter(move |(index, _)| kept(*index)).map(|(_, pixel)| pixel)
    }
}
