//! The modality transform: stored values become what the device measured (Hounsfield units where the file says so).
//! In: stored values of one frame. Out: f64 or f32, row by row, with the padding marked.
//! Errors: a slope of zero, a table that does not hold together. Order: modality LUT before slope and intercept.
//! Source: DICOM PS3.3 C.11.1, C.7.5.1.1.2 (padding), C.7.6.16.2.9 (frames). Requirement: REQ-IMG-013, REQ-IMG-014.

use crate::{
    attributes::Attributes, decode::Decoded, error::ImagingError, image::Image, instance::Instance, lut::Lut, tags,
};

/// How stored values become measured ones.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Modality {
    /// They are the same.
    Identity,
    /// Slope times value plus intercept.
    Rescale {
        /// Factor, not zero.
        slope: f64,
        /// Summand.
        intercept: f64,
    },
    /// A table.
    Lut(Lut),
}

impl Modality {
    /// The transform of frame `frame`, counted from 0: that of the object, or of the frame's functional groups.
    pub(crate) fn read(instance: &Instance, frame: usize) -> Result<Self, ImagingError> {
        match instance.group(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, frame) {
            Some(group) if instance.attributes().item(tags::MODALITY_LUT_SEQUENCE).is_none() => Self::rescale(&group),
            _ => Self::of_object(instance),
        }
    }

    /// The transform that holds for every frame of the object.
    pub(crate) fn of_object(instance: &Instance) -> Result<Self, ImagingError> {
        let attributes = instance.attributes();
        if let Some(item) = attributes.item(tags::MODALITY_LUT_SEQUENCE) {
            let signed = instance.description()?.signed;
            return Ok(Self::Lut(Lut::of_item(&item, signed)?));
        }
        Self::rescale(&attributes)
    }

    fn rescale(holder: &Attributes<'_>) -> Result<Self, ImagingError> {
        let given = holder.element(tags::RESCALE_SLOPE).is_some() || holder.element(tags::RESCALE_INTERCEPT).is_some();
        if !given {
            return Ok(Self::Identity);
        }
        let number = |tag, default: f64| match holder.numbers(tag).first() {
            None => Ok(default),
            Some(value) if value.is_finite() => Ok(*value),
            Some(_) => Err(ImagingError::value(tag, "a number", "a value that is none")),
        };
        let slope = number(tags::RESCALE_SLOPE, 1.0)?;
        let intercept = number(tags::RESCALE_INTERCEPT, 0.0)?;
        if slope.abs() < f64::MIN_POSITIVE {
            let expected = "a factor other than 0, for with 0 every value would be the same";
            return Err(ImagingError::value(tags::RESCALE_SLOPE, expected, 0));
        }
        Ok(Self::Rescale { slope, intercept })
    }

    /// Measured values are the stored ones.
    pub(crate) fn is_identity(&self) -> bool {
        match self {
            Self::Identity => true,
            Self::Rescale { slope, intercept } => (slope - 1.0).abs() < 1e-12 && intercept.abs() < 1e-12,
            Self::Lut(_) => false,
        }
    }

    /// The measured value of a stored one.
    pub(crate) fn apply(&self, stored: f64) -> f64 {
        match self {
            Self::Identity => stored,
            Self::Rescale { slope, intercept } => stored * slope + intercept,
            Self::Lut(lut) => f64::from(lut.entry(stored as i64)),
        }
    }
}

/// The stored values that stand for "no image here".
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Padding {
    low: f64,
    high: f64,
}

impl Padding {
    /// Pixel Padding Value to Pixel Padding Range Limit, in either order; grey images only.
    pub(crate) fn read(instance: &Instance) -> Result<Option<Self>, ImagingError> {
        let description = instance.description()?;
        if !description.photometric.grey() {
            return Ok(None);
        }
        // the value's sign is that of the pixels, whatever representation the writer chose
        let number = |tag| {
            let value = instance.attributes().numbers(tag).first().copied().filter(|value| value.is_finite())?;
            let words = description.bits_allocated <= 16;
            Some(match (words, description.signed) {
                (true, true) if value > 32_767.0 => value - 65_536.0,
                (true, false) if value < 0.0 => value + 65_536.0,
                _ => value,
            })
        };
        let Some(value) = number(tags::PIXEL_PADDING_VALUE) else { return Ok(None) };
        let limit = number(tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(value);
        Ok(Some(Self { low: value.min(limit), high: value.max(limit) }))
    }

    pub(crate) fn holds(self, stored: f64) -> bool {
        (self.low..=self.high).contains(&stored)
    }
}

/// Least, greatest and mean measured value of a grey object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Least.
    pub min: f64,
    /// Greatest.
    pub max: f64,
    /// Mean.
    pub mean: f64,
}

impl Decoded {
    /// Measured values of one frame, counted from 0, with the padding marked.
    pub fn modality(&self, instance: &Instance, frame: usize) -> Result<Image<f32>, ImagingError> {
        let transform = Modality::read(instance, frame)?;
        let padding = Padding::read(instance)?;
        let stored = || self.stored.floats(self.frame_range(frame));
        let mask: Option<Vec<bool>> = padding.map(|padding| stored().map(|value| padding.holds(value)).collect());
        Ok(Image {
            rows: self.description.rows as usize,
            columns: self.description.columns as usize,
            spacing: instance.frame_spacing(frame).map(|spacing| [spacing.row_mm, spacing.column_mm]),
            pixels: stored().map(|value| transform.apply(value) as f32).collect(),
            padding: mask.filter(|mask| mask.contains(&true)),
        })
    }

    /// Statistics of all frames after the object's modality transform. Padding is left out where there is one (unless
    /// all is padding). Without one the figures are those of the stored values, every one of them: transforms of
    /// functional groups can differ in unit from frame to frame, and one mean over them would mean nothing.
    pub fn statistics(&self, instance: &Instance) -> Result<Option<Statistics>, ImagingError> {
        if self.description.samples != 1 {
            return Ok(None);
        }
        let transform = Modality::of_object(instance)?;
        let padding = if transform == Modality::Identity { None } else { Padding::read(instance)? };
        let kept = self.gather(&transform, padding);
        let Sum { count, sum, min, max } = if kept.count == 0 { self.gather(&transform, None) } else { kept };
        let mean = sum / count as f64;
        Ok((count > 0 && mean.is_finite()).then_some(Statistics { min, max, mean }))
    }

    fn gather(&self, transform: &Modality, padding: Option<Padding>) -> Sum {
        let mut all = Sum { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY };
        let values = self.stored.floats(0..self.stored.len());
        for stored in values.filter(|stored| !padding.is_some_and(|padding| padding.holds(*stored))) {
            let value = transform.apply(stored);
            all.count += 1;
            all.sum += value;
            all.min = all.min.min(value);
            all.max = all.max.max(value);
        }
        all
    }
}

struct Sum {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}
