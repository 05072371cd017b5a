//! A picture (PNG or JPEG) becomes a proper DICOM instance: Secondary Capture, or Digital X-Ray where the facts say DX.
//! In: the picture's bytes and what is known about it. Out: the bytes of a DICOM Part 10 file.
//! A baseline JPEG of one component is encapsulated unchanged; every other picture is stored uncompressed.
//! Identifiers not given are UUIDs (`2.25.`) made from the picture's digest, so that the same picture gives the same.
//! Errors: `ImagingError::Picture`. Source: DICOM PS3.3 A.8.1, A.26, PS3.5 B.2. Requirement: REQ-IMG-023.

use std::io::Cursor;

use dicom_core::{
    DataElement, PrimitiveValue, VR,
    value::{DataSetSequence, PixelFragmentSequence, Value},
};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use image::{ColorType, DynamicImage, ImageDecoder, metadata::Orientation};
use uuid::Uuid;
use vidimus_log::{Digest, Phi};

use crate::{
    codec::jpeg,
    error::ImagingError,
    limits::PICTURE_PIXELS_MAX,
    tags::{self, Tag},
};

const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";
const DIGITAL_XRAY: &str = "1.2.840.10008.5.1.4.1.1.1.1";
const EXPLICIT_LITTLE: &str = "1.2.840.10008.1.2.1";
const JPEG_BASELINE: &str = "1.2.840.10008.1.2.4.50";

/// What is known about a picture. Every fact may be absent.
#[derive(Default)]
pub struct ImportFacts {
    /// Modality; DX makes a Digital X-Ray object. OT (other) where absent.
    pub modality: Option<String>,
    /// Body Part Examined.
    pub body_part: Option<String>,
    /// View Position.
    pub view: Option<String>,
    /// R, L, U (unpaired) or B.
    pub laterality: Option<String>,
    /// Patient ID.
    pub patient_id: Option<Phi<String>>,
    /// Patient's Name.
    pub patient_name: Option<Phi<String>>,
    /// Birth date, YYYYMMDD.
    pub birth_date: Option<Phi<String>>,
    /// M, F or O.
    pub sex: Option<String>,
    /// Age string, such as 004Y.
    pub age: Option<String>,
    /// Accession Number.
    pub accession_number: Option<Phi<String>>,
    /// Study Date, YYYYMMDD.
    pub study_date: Option<Phi<String>>,
    /// Study Time, HHMMSS.
    pub study_time: Option<Phi<String>>,
    /// Institution Name.
    pub institution: Option<String>,
    /// Study Description.
    pub study_description: Option<String>,
    /// Distance between rows and between columns in millimetres.
    pub spacing_mm: Option<[f64; 2]>,
    /// The study's identifier.
    pub study_instance_uid: Option<String>,
    /// The series' identifier.
    pub series_instance_uid: Option<String>,
    /// The instance's identifier.
    pub sop_instance_uid: Option<String>,
}

/// Makes a DICOM file of a picture.
pub fn picture_to_instance(bytes: &[u8], facts: &ImportFacts) -> Result<Vec<u8>, ImagingError> {
    let picture = Picture::read(bytes)?;
    let digital = facts.modality.as_deref() == Some("DX") && picture.photometric == "MONOCHROME2";
    let class = if digital { DIGITAL_XRAY } else { SECONDARY_CAPTURE };
    let mut object = InMemDicomObject::new_empty();
    let mut put = |tag: Tag, vr, text: &str| {
        object.put(DataElement::new(standard(tag), vr, PrimitiveValue::from(text)));
    };
    put(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
    put(tags::SOP_CLASS_UID, VR::UI, class);
    let digest = Digest::of(bytes);
    let uid = |given: &Option<String>, what: &str| given.clone().unwrap_or_else(|| derived(&digest, what));
    put(tags::SOP_INSTANCE_UID, VR::UI, &uid(&facts.sop_instance_uid, "instance"));
    put(tags::STUDY_INSTANCE_UID, VR::UI, &uid(&facts.study_instance_uid, "study"));
    put(tags::SERIES_INSTANCE_UID, VR::UI, &uid(&facts.series_instance_uid, "series"));
    let open = |fact: &Option<Phi<String>>| fact.as_ref().map(|text| text.open().clone()).unwrap_or_default();
    put(tags::PATIENT_ID, VR::LO, &open(&facts.patient_id));
    put(tags::PATIENT_NAME, VR::PN, &open(&facts.patient_name));
    put(tags::PATIENT_BIRTH_DATE, VR::DA, &open(&facts.birth_date));
    put(tags::PATIENT_SEX, VR::CS, facts.sex.as_deref().unwrap_or_default());
    put(tags::STUDY_DATE, VR::DA, &open(&facts.study_date));
    put(tags::STUDY_TIME, VR::TM, &open(&facts.study_time));
    put(tags::ACCESSION_NUMBER, VR::SH, &open(&facts.accession_number));
    put(Tag(0x0008_0090), VR::PN, "");
    put(Tag(0x0020_0010), VR::SH, "");
    put(Tag(0x0020_0011), VR::IS, "1");
    put(tags::INSTANCE_NUMBER, VR::IS, "1");
    put(tags::MODALITY, VR::CS, facts.modality.as_deref().unwrap_or("OT"));
    put(tags::MANUFACTURER, VR::LO, "");
    put(tags::BURNED_IN_ANNOTATION, VR::CS, "NO");
    for (tag, vr, fact) in [
        (tags::BODY_PART, VR::CS, &facts.body_part),
        (tags::VIEW_POSITION, VR::CS, &facts.view),
        (tags::PATIENT_AGE, VR::AS, &facts.age),
        (tags::INSTITUTION, VR::LO, &facts.institution),
        (tags::STUDY_DESCRIPTION, VR::LO, &facts.study_description),
    ] {
        if let Some(text) = fact {
            put(tag, vr, text);
        }
    }
    if let Some([row, column]) = facts.spacing_mm {
        let tag = if digital { tags::IMAGER_PIXEL_SPACING } else { tags::PIXEL_SPACING };
        put(tag, VR::DS, &format!("{row}\\{column}"));
    }
    if digital {
        digital_facts(&mut put, facts);
    } else {
        put(tags::CONVERSION_TYPE, VR::CS, "WSD");
        put(tags::IMAGE_TYPE, VR::CS, "DERIVED\\SECONDARY");
        put(tags::PATIENT_ORIENTATION, VR::CS, "");
        put(tags::LATERALITY, VR::CS, facts.laterality.as_deref().unwrap_or_default());
    }
    if digital && facts.body_part.as_deref() == Some("CHEST") {
        put_region(&mut object);
    }
    picture.put(&mut object);
    write(object, picture.syntax)
}

/// What a Digital X-Ray object must say beyond a Secondary Capture.
fn digital_facts(put: &mut impl FnMut(Tag, VR, &str), facts: &ImportFacts) {
    put(tags::PRESENTATION_INTENT, VR::CS, "FOR PRESENTATION");
    put(tags::IMAGE_TYPE, VR::CS, "DERIVED\\PRIMARY");
    put(tags::IMAGE_LATERALITY, VR::CS, facts.laterality.as_deref().unwrap_or("U"));
    put(tags::PATIENT_ORIENTATION, VR::CS, "L\\F");
    put(Tag(0x0028_1040), VR::CS, "LOG");
    put(tags::RESCALE_INTERCEPT, VR::DS, "0");
    put(tags::RESCALE_SLOPE, VR::DS, "1");
    put(tags::RESCALE_TYPE, VR::LO, "US");
    put(tags::PRESENTATION_LUT_SHAPE, VR::CS, "IDENTITY");
}

/// Anatomic Region Sequence: chest.
fn put_region(object: &mut InMemDicomObject) {
    let text = |tag: u32, vr, value: &str| DataElement::new(standard(Tag(tag)), vr, PrimitiveValue::from(value));
    let item = InMemDicomObject::from_element_iter([
        text(0x0008_0100, VR::SH, "51185008"),
        text(0x0008_0102, VR::SH, "SCT"),
        text(0x0008_0104, VR::LO, "Chest"),
    ]);
    object.put(DataElement::new(standard(Tag(0x0008_2218)), VR::SQ, DataSetSequence::from(vec![item])));
}

/// A `2.25.` identifier from the picture's digest and what it identifies.
fn derived(digest: &Digest, what: &str) -> String {
    let name = format!("vidimus import {what} {digest}");
    format!("2.25.{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).as_u128())
}

const fn standard(tag: Tag) -> dicom_object::Tag {
    dicom_object::Tag(tag.group(), tag.element())
}

struct Picture {
    rows: u16,
    columns: u16,
    samples: u16,
    bits: u16,
    photometric: &'static str,
    syntax: &'static str,
    lossy: bool,
    bytes: Vec<u8>,
}

impl Picture {
    fn read(bytes: &[u8]) -> Result<Self, ImagingError> {
        let fault = |fault: &str| ImagingError::Picture { fault: fault.to_owned() };
        let bad = |error: image::ImageError| ImagingError::Picture { fault: error.to_string() };
        let jpeg = bytes.starts_with(&[0xff, 0xd8]);
        let (image, orientation) = if jpeg {
            let mut decoder = image::codecs::jpeg::JpegDecoder::new(Cursor::new(bytes)).map_err(bad)?;
            bounded(decoder.dimensions())?;
            let orientation = decoder.orientation().map_err(bad)?;
            if orientation == Orientation::NoTransforms && jpeg::baseline_grey(bytes) {
                return Self::encapsulated(bytes, decoder.dimensions());
            }
            (DynamicImage::from_decoder(decoder).map_err(bad)?, orientation)
        } else if bytes.starts_with(b"\x89PNG") {
            let mut decoder = image::codecs::png::PngDecoder::new(Cursor::new(bytes)).map_err(bad)?;
            bounded(decoder.dimensions())?;
            let orientation = decoder.orientation().map_err(bad)?;
            (DynamicImage::from_decoder(decoder).map_err(bad)?, orientation)
        } else {
            return Err(fault("neither PNG nor JPEG; convert it to one of them"));
        };
        let mut image = image;
        image.apply_orientation(orientation);
        if image.color().has_alpha() && image.to_rgba16().pixels().any(|pixel| pixel.0[3] != u16::MAX) {
            return Err(fault("it is partly transparent, so its grey values are not defined; flatten it first"));
        }
        Self::uncompressed(image, jpeg)
    }

    fn encapsulated(bytes: &[u8], (columns, rows): (u32, u32)) -> Result<Self, ImagingError> {
        let mut bytes = bytes.to_vec();
        if bytes.len() % 2 == 1 {
            bytes.push(0);
        }
        let (rows, columns) = (side(rows)?, side(columns)?);
        let (syntax, photometric) = (JPEG_BASELINE, "MONOCHROME2");
        Ok(Self { rows, columns, samples: 1, bits: 8, photometric, syntax, lossy: true, bytes })
    }

    fn uncompressed(image: DynamicImage, lossy: bool) -> Result<Self, ImagingError> {
        let (rows, columns) = (side(image.height())?, side(image.width())?);
        let deep = matches!(image.color(), ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16);
        let colour = image.color().has_color();
        let (samples, bits, mut bytes) = if !colour && deep {
            (1, 16, image.to_luma16().into_raw().iter().flat_map(|word| word.to_le_bytes()).collect())
        } else if !colour {
            (1, 8, image.to_luma8().into_raw())
        } else {
            let rgb = image.to_rgb8().into_raw();
            // grey saved as colour is grey
            if rgb.as_chunks::<3>().0.iter().all(|[r, g, b]| r == g && g == b) {
                (1, 8, rgb.as_chunks::<3>().0.iter().map(|[r, ..]| *r).collect())
            } else {
                (3, 8, rgb)
            }
        };
        if bytes.len() % 2 == 1 {
            bytes.push(0);
        }
        let photometric = if samples == 1 { "MONOCHROME2" } else { "RGB" };
        Ok(Self { rows, columns, samples, bits, photometric, syntax: EXPLICIT_LITTLE, lossy, bytes })
    }

    fn put(&self, object: &mut InMemDicomObject) {
        let mut number = |tag, value: u16| {
            object.put(DataElement::new(standard(tag), VR::US, PrimitiveValue::from(value)));
        };
        number(tags::ROWS, self.rows);
        number(tags::COLUMNS, self.columns);
        number(tags::SAMPLES_PER_PIXEL, self.samples);
        number(tags::BITS_ALLOCATED, self.bits);
        number(tags::BITS_STORED, self.bits);
        number(tags::HIGH_BIT, self.bits - 1);
        number(tags::PIXEL_REPRESENTATION, 0);
        if self.samples > 1 {
            number(tags::PLANAR_CONFIGURATION, 0);
        }
        let mut text = |tag, value: &str| {
            object.put(DataElement::new(standard(tag), VR::CS, PrimitiveValue::from(value)));
        };
        text(tags::PHOTOMETRIC, self.photometric);
        text(tags::LOSSY_COMPRESSION, if self.lossy { "01" } else { "00" });
        if self.lossy {
            text(Tag(0x0028_2114), "ISO_10918_1");
        }
        let pixels = standard(tags::PIXEL_DATA);
        if self.syntax == JPEG_BASELINE {
            let fragments = PixelFragmentSequence::new(Vec::<u32>::new(), vec![self.bytes.clone()]);
            object.put(DataElement::new(pixels, VR::OB, Value::from(fragments)));
        } else if self.bits == 16 {
            let words = self.bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
            object.put(DataElement::new(pixels, VR::OW, PrimitiveValue::U16(words.collect())));
        } else {
            object.put(DataElement::new(pixels, VR::OB, PrimitiveValue::from(self.bytes.clone())));
        }
    }
}

fn bounded((columns, rows): (u32, u32)) -> Result<(), ImagingError> {
    let found = u64::from(columns) * u64::from(rows);
    if found > PICTURE_PIXELS_MAX {
        return Err(ImagingError::Limit { what: "pixels of the picture", found, limit: PICTURE_PIXELS_MAX });
    }
    Ok(())
}

fn side(pixels: u32) -> Result<u16, ImagingError> {
    let fault = || ImagingError::Picture { fault: format!("{pixels} pixels on one side, DICOM allows 65535") };
    u16::try_from(pixels).map_err(|_| fault())
}

fn write(object: InMemDicomObject, syntax: &str) -> Result<Vec<u8>, ImagingError> {
    let fault = |error: &dyn std::fmt::Display| ImagingError::Picture { fault: format!("cannot be written: {error}") };
    let meta = FileMetaTableBuilder::new().transfer_syntax(syntax);
    let file = object.with_meta(meta).map_err(|error| fault(&error))?;
    let mut out = Vec::new();
    file.write_all(&mut out).map_err(|error| fault(&error))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-IMG-023
    #[test]
    fn a_picture_of_the_largest_size_is_taken_and_one_pixel_more_is_not() {
        assert!(bounded((8_192, 8_192)).is_ok());
        assert!(matches!(bounded((8_192 * 8_192 + 1, 1)), Err(ImagingError::Limit { limit: PICTURE_PIXELS_MAX, .. })));
        assert!(side(65_535).is_ok() && side(65_536).is_err());
    }
}
