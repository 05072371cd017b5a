//! What the attributes say about the pixels, checked before one byte of them is touched.
//! Units: rows, columns, frames and samples are counts; bits are counts of bits.
//! Errors: `Missing`, `Attribute`, `Limit`, each naming the attribute; combinations the standard forbids are refused.
//! Source: DICOM PS3.3 C.7.6.3, PS3.5 section 8.1. Requirement: REQ-IMG-002.

use serde::Serialize;

use crate::{
    attributes::Attributes,
    error::{ImagingError, Warning},
    limits::{DECODED_BYTES_MAX, FRAME_SAMPLES_MAX, FRAMES_MAX},
    tags::{self, Tag},
};

/// Which of the three pixel elements holds the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelKind {
    /// Pixel Data: whole numbers.
    Whole,
    /// Float Pixel Data: 32-bit floating point.
    Float,
    /// Double Float Pixel Data: 64-bit floating point.
    Double,
}

impl PixelKind {
    pub(crate) const fn tag(self) -> Tag {
        match self {
            Self::Whole => tags::PIXEL_DATA,
            Self::Float => tags::FLOAT_PIXEL_DATA,
            Self::Double => tags::DOUBLE_PIXEL_DATA,
        }
    }
}

/// Photometric Interpretation: what a sample means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Photometric {
    /// Grey, the lowest value white.
    Monochrome1,
    /// Grey, the lowest value black.
    Monochrome2,
    /// An index into a palette.
    Palette,
    /// Red, green, blue.
    Rgb,
    /// Luminance and two chrominances, each at full size.
    YbrFull,
    /// The same, chrominances shared by two pixels of a row.
    YbrFull422,
    /// JPEG 2000's irreversible transform, undone by the decoder.
    YbrIct,
    /// JPEG 2000's reversible transform, undone by the decoder.
    YbrRct,
}

impl Photometric {
    /// The defined term.
    pub const fn term(self) -> &'static str {
        match self {
            Self::Monochrome1 => "MONOCHROME1",
            Self::Monochrome2 => "MONOCHROME2",
            Self::Palette => "PALETTE COLOR",
            Self::Rgb => "RGB",
            Self::YbrFull => "YBR_FULL",
            Self::YbrFull422 => "YBR_FULL_422",
            Self::YbrIct => "YBR_ICT",
            Self::YbrRct => "YBR_RCT",
        }
    }

    /// One sample a pixel.
    pub const fn grey(self) -> bool {
        matches!(self, Self::Monochrome1 | Self::Monochrome2)
    }

    const ALL: [Self; 8] = [
        Self::Monochrome1,
        Self::Monochrome2,
        Self::Palette,
        Self::Rgb,
        Self::YbrFull,
        Self::YbrFull422,
        Self::YbrIct,
        Self::YbrRct,
    ];

    fn parse(term: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.term() == term)
    }
}

impl Serialize for Photometric {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.term())
    }
}

/// Rows, columns and kind of the stored values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PixelDescription {
    /// Height in pixels, 1 to 65,535.
    pub rows: u32,
    /// Width in pixels, 1 to 65,535.
    pub columns: u32,
    /// Frames; 1 where the attribute is absent.
    pub frames: u32,
    /// Samples per pixel: 1 or 3.
    pub samples: u16,
    /// What a sample means.
    pub photometric: Photometric,
    /// Bits of one stored value with its padding: 1, 8, 16, 32 or 64.
    pub bits_allocated: u16,
    /// Bits of one stored value that count.
    pub bits_stored: u16,
    /// Stored values are two's complement.
    pub signed: bool,
    /// Samples lie plane by plane rather than pixel by pixel.
    pub planar: bool,
    /// The element that holds them.
    pub kind: PixelKind,
}

impl PixelDescription {
    /// Reads and checks the description.
    pub(crate) fn read(attributes: &Attributes<'_>, warnings: &mut Vec<Warning>) -> Result<Self, ImagingError> {
        let present = |kind: &PixelKind| attributes.element(kind.tag()).is_some();
        let kinds = [PixelKind::Whole, PixelKind::Float, PixelKind::Double];
        let Some(kind) = kinds.into_iter().find(present) else {
            return Err(ImagingError::Missing {
                attribute: tags::PIXEL_DATA,
                why: "so there is no image in this object",
            });
        };
        let rows = required(attributes, tags::ROWS, 1, 65_535)?;
        let columns = required(attributes, tags::COLUMNS, 1, 65_535)?;
        let samples = match attributes.whole(tags::SAMPLES_PER_PIXEL)? {
            None if kind != PixelKind::Whole => 1,
            None => return Err(missing(tags::SAMPLES_PER_PIXEL)),
            Some(samples @ (1 | 3)) => samples,
            Some(other) => return Err(ImagingError::value(tags::SAMPLES_PER_PIXEL, "1 or 3", other)),
        };
        let frames = match attributes.whole(tags::NUMBER_OF_FRAMES)? {
            None => 1,
            Some(frames) if frames > FRAMES_MAX as i64 => {
                return Err(ImagingError::Limit {
                    what: "NumberOfFrames (0028,0008)",
                    found: frames.unsigned_abs(),
                    limit: FRAMES_MAX,
                });
            }
            Some(frames) if frames >= 1 => frames,
            Some(other) => return Err(ImagingError::value(tags::NUMBER_OF_FRAMES, "1 or more", other)),
        };
        let photometric = photometric(attributes, samples, kind)?;
        let bits = Bits::read(attributes, kind, warnings)?;
        let planar = match attributes.whole(tags::PLANAR_CONFIGURATION)? {
            None | Some(0) => false,
            Some(1) => true,
            Some(other) => return Err(ImagingError::value(tags::PLANAR_CONFIGURATION, "0 or 1", other)),
        };
        let description = Self {
            rows: rows as u32,
            columns: columns as u32,
            frames: frames as u32,
            samples: samples as u16,
            photometric,
            bits_allocated: bits.allocated,
            bits_stored: bits.stored,
            signed: bits.signed,
            planar: planar && samples > 1,
            kind,
        };
        description.bounded()?;
        Ok(description)
    }

    fn bounded(&self) -> Result<(), ImagingError> {
        let samples = u64::from(self.rows) * u64::from(self.columns) * u64::from(self.samples);
        if samples > FRAME_SAMPLES_MAX {
            let what = "Rows (0028,0010) x Columns (0028,0011) x SamplesPerPixel (0028,0002)";
            return Err(ImagingError::Limit { what, found: samples, limit: FRAME_SAMPLES_MAX });
        }
        let bytes = samples * u64::from(self.frames) * self.bytes_per_sample() as u64;
        if bytes > DECODED_BYTES_MAX {
            let what = "NumberOfFrames (0028,0008) x bytes of a frame";
            return Err(ImagingError::Limit { what, found: bytes, limit: DECODED_BYTES_MAX });
        }
        Ok(())
    }

    /// Pixels of one frame.
    pub fn frame_pixels(&self) -> usize {
        self.rows as usize * self.columns as usize
    }

    /// Samples of one frame.
    pub fn frame_samples(&self) -> usize {
        self.frame_pixels() * usize::from(self.samples)
    }

    /// Bytes of one decoded stored value: a single bit takes one.
    pub fn bytes_per_sample(&self) -> usize {
        usize::from(self.bits_allocated).div_ceil(8)
    }
}

struct Bits {
    allocated: u16,
    stored: u16,
    signed: bool,
}

impl Bits {
    fn read(attributes: &Attributes<'_>, kind: PixelKind, warnings: &mut Vec<Warning>) -> Result<Self, ImagingError> {
        let fixed = match kind {
            PixelKind::Whole => None,
            PixelKind::Float => Some(32),
            PixelKind::Double => Some(64),
        };
        if let Some(bits) = fixed {
            match attributes.whole(tags::BITS_ALLOCATED)? {
                Some(found) if found != i64::from(bits) => {
                    return Err(ImagingError::value(tags::BITS_ALLOCATED, bits.to_string(), found));
                }
                _ => return Ok(Self { allocated: bits, stored: bits, signed: true }),
            }
        }
        let allocated = attributes.whole(tags::BITS_ALLOCATED)?.ok_or_else(|| missing(tags::BITS_ALLOCATED))?;
        if !matches!(allocated, 1 | 8 | 16 | 32) {
            return Err(ImagingError::value(tags::BITS_ALLOCATED, "1, 8, 16 or 32", allocated));
        }
        let stored = attributes.whole(tags::BITS_STORED)?.ok_or_else(|| missing(tags::BITS_STORED))?;
        if stored < 1 || stored > allocated {
            return Err(ImagingError::value(tags::BITS_STORED, format!("1 to {allocated} (bits allocated)"), stored));
        }
        match attributes.whole(tags::HIGH_BIT)? {
            None => warnings.push(Warning::HighBitMissing),
            Some(high) if high != stored - 1 => {
                let expected = format!("{} (bits stored less one)", stored - 1);
                return Err(ImagingError::value(tags::HIGH_BIT, expected, high));
            }
            Some(_) => {}
        }
        let signed = match attributes.whole(tags::PIXEL_REPRESENTATION)? {
            Some(0) => false,
            Some(1) => true,
            Some(other) => return Err(ImagingError::value(tags::PIXEL_REPRESENTATION, "0 or 1", other)),
            None => return Err(missing(tags::PIXEL_REPRESENTATION)),
        };
        Ok(Self { allocated: allocated as u16, stored: stored as u16, signed })
    }
}

fn photometric(attributes: &Attributes<'_>, samples: i64, kind: PixelKind) -> Result<Photometric, ImagingError> {
    let Some(term) = attributes.text(tags::PHOTOMETRIC) else {
        if kind == PixelKind::Whole {
            return Err(missing(tags::PHOTOMETRIC));
        }
        return Ok(Photometric::Monochrome2);
    };
    let expected = "MONOCHROME1, MONOCHROME2, PALETTE COLOR, RGB, YBR_FULL, YBR_FULL_422, YBR_ICT or YBR_RCT";
    let Some(photometric) = Photometric::parse(&term) else {
        return Err(ImagingError::value(tags::PHOTOMETRIC, expected, "another term"));
    };
    let wanted = if photometric.grey() || photometric == Photometric::Palette { 1 } else { 3 };
    if samples != wanted {
        let expected = format!("{wanted} for {}", photometric.term());
        return Err(ImagingError::value(tags::SAMPLES_PER_PIXEL, expected, samples));
    }
    Ok(photometric)
}

fn required(attributes: &Attributes<'_>, tag: Tag, low: i64, high: i64) -> Result<i64, ImagingError> {
    match attributes.whole(tag)? {
        Some(value) if (low..=high).contains(&value) => Ok(value),
        Some(value) => Err(ImagingError::value(tag, format!("{low} to {high}"), value)),
        None => Err(missing(tag)),
    }
}

const fn missing(attribute: Tag) -> ImagingError {
    ImagingError::Missing { attribute, why: "without it the pixels cannot be read" }
}
