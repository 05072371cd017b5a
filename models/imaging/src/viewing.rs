//! Pixels for a screen that sets window and level itself: 16-bit numbers, and what they mean.
//! In: decoded values and their instance. Out: [`Viewing`] (one for an object) and the numbers of a frame, row by row.
//! Whole numbers of up to 16 bits reach the screen as they are stored, padding included; a signed one is moved up by
//! half its range, which the intercept takes back. 32-bit and floating-point values are mapped linearly from the least
//! to the greatest; a modality table is applied; colour becomes its luminance of 8 bits.
//! Units: slope x number + intercept is the measured value; windows, least and greatest are measured values.
//! Errors: as the modality and display transforms.
//! Source: DICOM PS3.3 C.7.6.3, C.11.1, C.11.2. Requirement: REQ-SVC-200.

use crate::{
    decode::Decoded,
    description::Photometric,
    error::ImagingError,
    instance::Instance,
    modality::Modality,
    stored::Stored,
    tags,
    voi::{Window, WindowFunction},
};

/// The greatest number of a pixel.
const FULL: f64 = 65_535.0;
/// The greatest number of a pixel of a colour image's luminance.
const LUMINANCE: f32 = 255.0;

/// What the numbers of an object's pixels mean to a viewer.
#[derive(Clone, Debug, PartialEq)]
pub struct Viewing {
    /// Height in pixels.
    pub rows: u32,
    /// Width in pixels.
    pub columns: u32,
    /// Frames.
    pub frames: u32,
    /// Bits of a stored value that count; 16 where values were mapped.
    pub bits: u16,
    /// The measured value is this times the number ...
    pub slope: f64,
    /// ... plus this.
    pub intercept: f64,
    /// The unit of measured values, where the file says one.
    pub unit: Option<String>,
    /// Low values are shown white.
    pub invert: bool,
    /// The least measured value of the first frame, padding left out.
    pub min: f64,
    /// The greatest one.
    pub max: f64,
    /// Windows of the file, in its order, with their explanation; else one over the whole range. Never empty.
    pub windows: Vec<(Window, Option<String>)>,
    /// Millimetres between rows, and between columns.
    pub spacing_mm: Option<[f64; 2]>,
}

/// From stored values to numbers of 16 bits.
enum Scale {
    /// (value - offset) / step, rounded.
    Linear {
        /// The value that becomes 0.
        offset: f64,
        /// What one number stands for.
        step: f64,
    },
    /// The entries of the modality table.
    Table,
    /// Luminance of 8 bits.
    Luminance,
}

impl Decoded {
    /// What a viewer must know of the object.
    pub fn viewing(&self, instance: &Instance) -> Result<Viewing, ImagingError> {
        let description = &self.description;
        let (scale, transform) = (self.scale(instance)?, Modality::read(instance, 0)?);
        let (slope, intercept) = meaning(&scale, &transform);
        let attributes = instance.attributes();
        let grey = description.photometric.grey();
        let (min, max) = if grey { self.least_and_greatest(instance)? } else { (0.0, f64::from(LUMINANCE)) };
        let shape = attributes.text(tags::PRESENTATION_LUT_SHAPE);
        let unit = attributes.text(tags::RESCALE_TYPE).filter(|unit| grey && unit != "US");
        let explanations = attributes.texts(tags::WINDOW_EXPLANATION);
        // an explanation belongs to a window only where every window has one
        let every = explanations.len() == instance.windows.len();
        let explained = |place: usize| explanations.get(place).filter(|_| every).cloned();
        let own = instance.windows.iter().enumerate().map(|(place, window)| (*window, explained(place)));
        let mut windows: Vec<_> = own.filter(|_| grey).collect();
        if windows.is_empty() {
            let whole = self.whole(&transform, (min, max));
            windows.extend(whole.map(|window| (window, Some("whole range".to_owned()))));
        }
        Ok(Viewing {
            rows: description.rows,
            columns: description.columns,
            frames: description.frames,
            bits: match &scale {
                Scale::Linear { step, .. } if (step - 1.0).abs() < f64::EPSILON => description.bits_stored.min(16),
                Scale::Linear { .. } => 16,
                Scale::Table => {
                    if let Modality::Lut(lut) = &transform {
                        lut.bits
                    } else {
                        16
                    }
                }
                Scale::Luminance => 8,
            },
            slope,
            intercept,
            unit,
            invert: grey
                && (description.photometric == Photometric::Monochrome1 || shape.as_deref() == Some("INVERSE")),
            min,
            max,
            windows,
            spacing_mm: instance.spacing.map(|spacing| [spacing.row_mm.value(), spacing.column_mm.value()]),
        })
    }

    /// The numbers of one frame, counted from 0, row by row. `None` where the object has no such frame.
    pub fn numbers(&self, instance: &Instance, frame: usize) -> Result<Option<Vec<u16>>, ImagingError> {
        if frame >= self.description.frames as usize {
            return Ok(None);
        }
        let scale = self.scale(instance)?;
        if matches!(scale, Scale::Luminance) {
            let shown = self.display(instance, frame)?.pixels;
            return Ok(Some(shown.into_iter().map(|grey| (grey.clamp(0.0, 1.0) * LUMINANCE).round() as u16).collect()));
        }
        let (first, own) = (Modality::read(instance, 0)?, Modality::read(instance, frame)?);
        let (slope, intercept) = meaning(&scale, &first);
        let number = |stored: f64| -> f64 {
            match &scale {
                // a frame of another transform is said in the terms of the first
                _ if own != first => (own.apply(stored) - intercept) / slope,
                Scale::Linear { offset, step } => (stored - offset) / step,
                Scale::Table | Scale::Luminance => own.apply(stored),
            }
        };
        // the conversion saturates, and what is no number becomes 0
        let values = self.stored.floats(self.frame_range(frame)).map(|stored| number(stored).round() as u16);
        Ok(Some(values.collect()))
    }

    fn scale(&self, instance: &Instance) -> Result<Scale, ImagingError> {
        if !self.description.photometric.grey() {
            return Ok(Scale::Luminance);
        }
        if matches!(Modality::read(instance, 0)?, Modality::Lut(_)) {
            return Ok(Scale::Table);
        }
        let offset = match &self.stored {
            Stored::U8(_) | Stored::U16(_) => 0.0,
            Stored::I8(_) => f64::from(i8::MIN),
            Stored::I16(_) => f64::from(i16::MIN),
            Stored::U32(_) | Stored::I32(_) => return Ok(self.mapped(1.0)),
            Stored::F32(_) | Stored::F64(_) => return Ok(self.mapped(0.0)),
        };
        Ok(Scale::Linear { offset, step: 1.0 })
    }

    /// The least stored value becomes 0 and the greatest the greatest number, in steps of at least `least`.
    fn mapped(&self, least: f64) -> Scale {
        let finite = self.stored.floats(0..self.stored.len()).filter(|value| value.is_finite());
        let (low, high) =
            finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let step = ((high / FULL) - (low / FULL)).max(least);
        if low.is_finite() && step.is_finite() && step > 0.0 {
            Scale::Linear { offset: low, step }
        } else {
            Scale::Linear { offset: if low.is_finite() { low } else { 0.0 }, step: 1.0 }
        }
    }

    /// Of the measured values of the first frame.
    fn least_and_greatest(&self, instance: &Instance) -> Result<(f64, f64), ImagingError> {
        let image = self.modality(instance, 0)?;
        let of = |values: &mut dyn Iterator<Item = f32>| {
            let finite = values.map(f64::from).filter(|value| value.is_finite());
            finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
        };
        let (low, high) = of(&mut image.measured().copied());
        if low <= high {
            return Ok((low, high));
        }
        // all is padding
        let (low, high) = of(&mut image.pixels.iter().copied());
        Ok(if low <= high { (low, high) } else { (0.0, 0.0) })
    }

    /// The window that the display transform takes where the file gives none.
    fn whole(&self, transform: &Modality, (min, max): (f64, f64)) -> Option<Window> {
        let bits = self.description.bits_stored;
        let all_of_8 = bits <= 8 && !self.description.signed && transform.is_identity();
        let (low, high) = if all_of_8 { (0.0, f64::from((1_u32 << bits) - 1)) } else { (min, max) };
        let width = if high > low { high - low } else { 1.0 };
        Window::new(low + width / 2.0, width, WindowFunction::LinearExact)
    }
}

/// Slope and intercept from numbers to measured values.
fn meaning(scale: &Scale, transform: &Modality) -> (f64, f64) {
    match (scale, transform) {
        (Scale::Linear { offset, step }, Modality::Rescale { slope, intercept }) => {
            (slope * step, slope * offset + intercept)
        }
        (Scale::Linear { offset, step }, _) => (*step, *offset),
        (Scale::Table | Scale::Luminance, _) => (1.0, 0.0),
    }
}
