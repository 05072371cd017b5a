//! What a viewer would show: grey or colour from 0 to 1, after modality, VOI, inversion, palette and colour space.
//! In: decoded values and their instance. Out: `Image<f32>` (grey, or luminance of colour) or `Image<[f32; 3]>`.
//! Padding is black. Errors: as the modality transform; a palette that is missing or does not hold together.
//! Source: DICOM PS3.3 C.7.6.3.1.2 (colour), C.11.6 (presentation shape); ITU-R BT.601. Requirement: REQ-IMG-016.

use crate::{
    decode::Decoded,
    description::Photometric,
    error::ImagingError,
    image::Image,
    instance::Instance,
    lut::Lut,
    modality::{Modality, Padding},
    tags,
    voi::Voi,
};

impl Decoded {
    /// Grey of one frame, 0 black to 1 white, padding black; colour becomes its luminance.
    pub fn display(&self, instance: &Instance, frame: usize) -> Result<Image<f32>, ImagingError> {
        if !self.description.photometric.grey() {
            let colour = self.display_rgb(instance, frame)?;
            let Image { rows, columns, spacing, pixels, padding } = colour;
            let pixels = pixels.iter().map(|[r, g, b]| 0.299 * r + 0.587 * g + 0.114 * b).collect();
            return Ok(Image { rows, columns, spacing, pixels, padding });
        }
        let mut image = self.modality(instance, frame)?;
        let transform = Modality::read(instance, frame)?;
        let signed = match &transform {
            Modality::Identity => self.description.signed,
            Modality::Rescale { slope, intercept } => self.description.signed || *slope < 0.0 || *intercept < 0.0,
            Modality::Lut(_) => false,
        };
        let voi = Voi::read(instance, frame, signed, || self.range(&image, &transform));
        let shape = instance.attributes().text(tags::PRESENTATION_LUT_SHAPE);
        let inverse = self.description.photometric == Photometric::Monochrome1 || shape.as_deref() == Some("INVERSE");
        let padding = Padding::read(instance)?;
        let stored = self.stored.floats(self.frame_range(frame));
        for (pixel, stored) in image.pixels.iter_mut().zip(stored) {
            let grey = voi.grey(transform.apply(stored)) as f32;
            let shown = if inverse { 1.0 - grey } else { grey };
            *pixel = if padding.is_some_and(|padding| padding.holds(stored)) { 0.0 } else { shown };
        }
        Ok(image)
    }

    /// The range shown where the file gives none: all of 8 bits, else from the least to the greatest value.
    fn range(&self, image: &Image<f32>, transform: &Modality) -> (f64, f64) {
        let bits = self.description.bits_stored;
        if bits <= 8 && !self.description.signed && transform.is_identity() {
            return (0.0, f64::from((1_u32 << bits) - 1));
        }
        let finite = image.measured().filter(|value| value.is_finite());
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(f64::from(*value)), high.max(f64::from(*value)))
        })
    }

    /// Red, green and blue of one frame, each from 0 to 1; grey images give equal ones.
    pub fn display_rgb(&self, instance: &Instance, frame: usize) -> Result<Image<[f32; 3]>, ImagingError> {
        let description = &self.description;
        if description.photometric.grey() {
            let Image { rows, columns, spacing, pixels, padding } = self.display(instance, frame)?;
            let pixels = pixels.iter().map(|grey| [*grey; 3]).collect();
            return Ok(Image { rows, columns, spacing, pixels, padding });
        }
        let values: Vec<f64> = self.stored.floats(self.frame_range(frame)).collect();
        let pixels = if description.photometric == Photometric::Palette {
            let palette = Palette::read(instance)?;
            values.iter().map(|value| palette.colour(*value as i64)).collect()
        } else {
            let full = ((1_u64 << description.bits_stored.clamp(1, 32)) - 1) as f64;
            let luminance = matches!(description.photometric, Photometric::YbrFull | Photometric::YbrFull422);
            let colour = |samples: &[f64; 3]| {
                let [a, b, c] = samples.map(|sample| sample / full);
                if luminance { from_ybr(a, b, c, full) } else { [a as f32, b as f32, c as f32] }
            };
            values.as_chunks::<3>().0.iter().map(colour).collect()
        };
        Ok(Image {
            rows: description.rows as usize,
            columns: description.columns as usize,
            spacing: instance.frame_spacing(frame).map(|spacing| [spacing.row_mm, spacing.column_mm]),
            pixels,
            padding: None,
        })
    }
}

/// Full-range luminance and chrominance to red, green, blue.
fn from_ybr(y: f64, cb: f64, cr: f64, full: f64) -> [f32; 3] {
    let middle = (full + 1.0) / 2.0 / full;
    let (cb, cr) = (cb - middle, cr - middle);
    let clamp = |value: f64| value.clamp(0.0, 1.0) as f32;
    [clamp(y + 1.402 * cr), clamp(y - 0.344_136 * cb - 0.714_136 * cr), clamp(y + 1.772 * cb)]
}

/// Red, green and blue tables.
struct Palette([(Lut, f32); 3]);

impl Palette {
    fn read(instance: &Instance) -> Result<Self, ImagingError> {
        let attributes = instance.attributes();
        let signed = instance.description()?.signed;
        let one = |descriptor, data, segmented| {
            let lut = if attributes.element(data).is_some() {
                Lut::read(&attributes, descriptor, data, signed)?
            } else if attributes.element(segmented).is_some() {
                Lut::segmented(&attributes, descriptor, segmented, signed)?
            } else {
                let why = "the photometric interpretation is PALETTE COLOR";
                return Err(ImagingError::Missing { attribute: data, why });
            };
            // tables of 8-bit entries are met under a descriptor of 16 bits, with the entry in the lower byte
            let narrow = lut.bits > 8 && lut.entries.iter().all(|entry| *entry < 256);
            let full = if narrow { 255.0 } else { f32::from(lut.greatest().max(1)) };
            Ok((lut, full))
        };
        Ok(Self([
            one(tags::PALETTE_RED_DESCRIPTOR, tags::PALETTE_RED, tags::PALETTE_RED_SEGMENTED)?,
            one(tags::PALETTE_GREEN_DESCRIPTOR, tags::PALETTE_GREEN, tags::PALETTE_GREEN_SEGMENTED)?,
            one(tags::PALETTE_BLUE_DESCRIPTOR, tags::PALETTE_BLUE, tags::PALETTE_BLUE_SEGMENTED)?,
        ]))
    }

    fn colour(&self, index: i64) -> [f32; 3] {
        self.0.each_ref().map(|(lut, full)| (f32::from(lut.entry(index)) / full).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-IMG-016
    #[test]
    fn grey_has_no_colour_and_pure_red_comes_back() {
        let [r, g, b] = from_ybr(0.5, 128.0 / 255.0, 128.0 / 255.0, 255.0);
        assert!((r - 0.5).abs() < 1e-6 && (g - 0.5).abs() < 1e-6 && (b - 0.5).abs() < 1e-6);
        let [r, g, b] = from_ybr(76.0 / 255.0, 85.0 / 255.0, 1.0, 255.0);
        assert!(r > 0.99 && g < 0.01 && b < 0.01);
    }
}
