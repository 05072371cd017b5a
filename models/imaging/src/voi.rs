//! The values-of-interest transform: measured values become grey from 0 (black) to 1 (white).
//! A VOI LUT goes before a window, the first of several is taken; without either the image's own range.
//! Errors: a width that its function does not allow, or a table that does not hold together, is left out.
//! Source: DICOM PS3.3 C.11.2, C.11.2.1.2 (linear), C.11.2.1.3 (sigmoid, linear exact). Requirement: REQ-IMG-015.

use crate::{attributes::Attributes, instance::Instance, lut::Lut, tags};

/// How a window's edges are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowFunction {
    /// Linear between centre - 0.5 - (width - 1) / 2 and centre - 0.5 + (width - 1) / 2.
    Linear,
    /// Linear between centre - width / 2 and centre + width / 2.
    LinearExact,
    /// 1 / (1 + exp(-4 (value - centre) / width)).
    Sigmoid,
}

/// A window on measured values.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Window {
    /// Centre, in the unit of the measured values.
    pub center: f64,
    /// Width, at least 1 for `Linear`, above 0 for the others.
    pub width: f64,
    /// The shape.
    pub function: WindowFunction,
}

impl Window {
    /// None where the width is not one that the function allows, or a number is not finite.
    pub fn new(center: f64, width: f64, function: WindowFunction) -> Option<Self> {
        let least = if function == WindowFunction::Linear { width >= 1.0 } else { width > 0.0 };
        (center.is_finite() && width.is_finite() && least).then_some(Self { center, width, function })
    }

    /// Grey of `value`, from 0 to 1; never falls as `value` rises.
    pub fn grey(&self, value: f64) -> f64 {
        let Self { center, width, function } = *self;
        match function {
            WindowFunction::Linear => {
                let (center, width) = (center - 0.5, width - 1.0);
                if value <= center - width / 2.0 {
                    0.0
                } else if value > center + width / 2.0 {
                    1.0
                } else {
                    ((value - center) / width + 0.5).clamp(0.0, 1.0)
                }
            }
            WindowFunction::LinearExact => ((value - center) / width + 0.5).clamp(0.0, 1.0),
            WindowFunction::Sigmoid => 1.0 / (1.0 + (-4.0 * (value - center) / width).exp()),
        }
    }

    /// The windows of an object, those that can be used, in the file's order.
    pub(crate) fn read(attributes: &Attributes<'_>) -> Vec<Self> {
        let function = match attributes.text(tags::VOI_LUT_FUNCTION).as_deref() {
            Some("SIGMOID") => WindowFunction::Sigmoid,
            Some("LINEAR_EXACT") => WindowFunction::LinearExact,
            _ => WindowFunction::Linear,
        };
        let centers = attributes.numbers(tags::WINDOW_CENTER);
        let widths = attributes.numbers(tags::WINDOW_WIDTH);
        centers.iter().zip(&widths).filter_map(|(center, width)| Self::new(*center, *width, function)).collect()
    }
}

/// The transform that is used for one frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Voi {
    Lut(Lut),
    Window(Window),
    /// From the least to the greatest value.
    Range {
        low: f64,
        high: f64,
    },
}

impl Voi {
    /// What the file gives for frame `frame`; `range` is asked where it gives nothing.
    pub(crate) fn read(instance: &Instance, frame: usize, signed: bool, range: impl FnOnce() -> (f64, f64)) -> Self {
        let attributes = instance.attributes();
        let holder = instance.group(tags::FRAME_VOI_LUT_SEQUENCE, frame).unwrap_or(attributes);
        if let Some(lut) = attributes.item(tags::VOI_LUT_SEQUENCE).and_then(|item| Lut::of_item(&item, signed).ok()) {
            return Self::Lut(lut);
        }
        if let Some(window) = Window::read(&holder).first() {
            return Self::Window(*window);
        }
        let (low, high) = range();
        Self::Range { low, high }
    }

    /// Grey of a measured value, from 0 to 1.
    pub(crate) fn grey(&self, value: f64) -> f64 {
        match self {
            Self::Lut(lut) => f64::from(lut.entry(value.floor() as i64)) / f64::from(lut.greatest().max(1)),
            Self::Window(window) => window.grey(value),
            Self::Range { low, high } if high > low => ((value - low) / (high - low)).clamp(0.0, 1.0),
            Self::Range { .. } => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Proves: REQ-IMG-015
    #[test]
    fn a_linear_window_has_the_edges_of_the_standards_example() {
        // PS3.3 C.11.2.1.2: centre 2048, width 4096 runs from 0 to 4095; width 1 is a step at the centre less a half
        let full = Window::new(2048.0, 4096.0, WindowFunction::Linear).unwrap();
        assert!(full.grey(0.0).abs() < 1e-12 && (full.grey(4095.0) - 1.0).abs() < 1e-12);
        let step = Window::new(10.0, 1.0, WindowFunction::Linear).unwrap();
        assert!(step.grey(9.5) < 0.5 && step.grey(9.6) > 0.5);
        assert!(Window::new(10.0, 0.5, WindowFunction::Linear).is_none());
    }

    proptest! {
        /// Proves: REQ-IMG-015
        #[test]
        fn a_window_never_falls_and_stays_between_black_and_white(
            center in -5000.0..5000.0_f64, width in 1.0..9000.0_f64, a in -20000.0..20000.0_f64, step in 0.0..500.0_f64,
        ) {
            for function in [WindowFunction::Linear, WindowFunction::LinearExact, WindowFunction::Sigmoid] {
                let window = Window::new(center, width, function).unwrap();
                let (low, high) = (window.grey(a), window.grey(a + step));
                prop_assert!((0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high));
                prop_assert!(high >= low);
            }
        }
    }
}
