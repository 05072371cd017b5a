//! One DICOM object: who, what and where, with identities closed in `Phi`, and its pixels on demand.
//! In: bytes, or a path. Out: `Instance`; `decode` gives the stored values.
//! Errors: those of the front (`from_bytes`) and of the pixels (`decode`, `description`).
//! Source: IMAGING.md; DICOM PS3.3. Requirement: REQ-IMG-001 to REQ-IMG-004.

use std::{fmt, fs::File, io::Read, path::Path};

use vidimus_log::{Digest, Phi};

use crate::{
    attributes::Attributes,
    dataset::Element,
    decode::{self, Decoded},
    description::PixelDescription,
    error::{ImagingError, Warning},
    geometry::{Orientation, Spacing, SpacingSource},
    image::Millimetre,
    limits::FILE_BYTES_MAX,
    part10::{self, uid_text},
    syntaxes::Syntax,
    tags::{self, Tag},
    text::Reader,
    voi::Window,
};

/// Who was imaged. Empty text where the file does not say.
pub struct Patient {
    /// Patient ID.
    pub id: Phi<String>,
    /// Patient's Name, components parted by carets.
    pub name: Phi<String>,
    /// Birth date, YYYYMMDD.
    pub birth_date: Phi<String>,
    /// M, F, O.
    pub sex: Option<String>,
}

/// Age in years at the time of the study.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, serde::Serialize)]
#[serde(transparent)]
pub struct Age {
    /// Years, with a fraction.
    pub years: f64,
}

/// One DICOM object.
pub struct Instance {
    /// SOP Class UID.
    pub sop_class_uid: String,
    /// SOP Instance UID.
    pub sop_instance_uid: Phi<String>,
    /// Study Instance UID.
    pub study_instance_uid: Phi<String>,
    /// Series Instance UID.
    pub series_instance_uid: Phi<String>,
    /// The patient.
    pub patient: Patient,
    /// Patient's Age, or the difference of study date and birth date.
    pub patient_age: Option<Age>,
    /// The difference of study date and birth date alone: a second opinion on the age.
    pub patient_age_by_dates: Option<Age>,
    /// Study Date, YYYYMMDD.
    pub study_date: Phi<String>,
    /// Study Time.
    pub study_time: Phi<String>,
    /// Accession Number.
    pub accession_number: Phi<String>,
    /// Modality, such as DX, CR, CT.
    pub modality: String,
    /// Body Part Examined.
    pub body_part: Option<String>,
    /// View Position, such as PA, AP, LL.
    pub view_position: Option<String>,
    /// Presentation Intent Type: FOR PRESENTATION or FOR PROCESSING.
    pub presentation_intent: Option<String>,
    /// Image Laterality, else Laterality.
    pub laterality: Option<String>,
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// Manufacturer's Model Name.
    pub manufacturer_model: Option<String>,
    /// Transfer Syntax UID, as named or recognised.
    pub transfer_syntax_uid: String,
    /// Instance Number.
    pub instance_number: Option<i64>,
    /// Frame of Reference UID.
    pub frame_of_reference_uid: Option<String>,
    /// Spacing of the first frame.
    pub spacing: Option<Spacing>,
    /// Orientation of the first frame.
    pub orientation: Option<Orientation>,
    /// Position of the first frame, LPS millimetres.
    pub position: Option<[f64; 3]>,
    /// Windows of the object, those that can be used.
    pub windows: Vec<Window>,
    /// Burned In Annotation: YES or NO.
    pub burned_in_annotation: Option<String>,
    /// Lossy Image Compression: 00 or 01.
    pub lossy_compression: Option<String>,
    /// Image Type.
    pub image_type: Vec<String>,
    /// What was lenient.
    pub warnings: Vec<Warning>,
    /// SHA-256 of the bytes as received.
    pub bytes_digest: Digest,
    description: Option<PixelDescription>,
    syntax: Option<&'static Syntax>,
    data: Vec<u8>,
    elements: Vec<Element>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // nothing of the patient, and no identifier that leads to one
        let mut shown = f.debug_struct("Instance");
        shown.field("sop_class_uid", &self.sop_class_uid).field("transfer_syntax_uid", &self.transfer_syntax_uid);
        shown.field("description", &self.description).field("warnings", &self.warnings).finish_non_exhaustive()
    }
}

impl Instance {
    /// Reads an object from a copy of `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ImagingError> {
        Self::from_vec(bytes.to_vec())
    }

    /// Reads an object and keeps `bytes`.
    pub fn from_vec(bytes: Vec<u8>) -> Result<Self, ImagingError> {
        let bytes_digest = Digest::of(&bytes);
        let front = part10::read(bytes)?;
        let mut warnings = front.warnings;
        let attributes = Attributes::new(&front.data, &front.elements);
        duplicates(&attributes, &front.elements, &warnings)?;
        let uid = |tag| attributes.bytes(tag).map(uid_text).unwrap_or_default();
        let (sop_class_uid, sop_instance_uid) = (uid(tags::SOP_CLASS_UID), uid(tags::SOP_INSTANCE_UID));
        let differs = |meta: Option<&String>, own: &String| meta.is_some_and(|meta| !own.is_empty() && meta != own);
        if differs(front.media_class.as_ref(), &sop_class_uid)
            || differs(front.media_instance.as_ref(), &sop_instance_uid)
        {
            warnings.push(Warning::MetaIdentifierDiffers);
        }
        let mut reader = Reader::new(attributes);
        let name = reader.text(tags::PATIENT_NAME).trim_end_matches(['=', ' ']).to_owned();
        let mut closed = |tag| Phi::new(reader.text(tag));
        let patient = Patient {
            id: closed(tags::PATIENT_ID),
            // empty component groups at the end say nothing (PS3.5 6.2.1.1)
            name: Phi::new(name),
            birth_date: closed(tags::PATIENT_BIRTH_DATE),
            sex: attributes.text(tags::PATIENT_SEX),
        };
        let (study_date, study_time) = (closed(tags::STUDY_DATE), closed(tags::STUDY_TIME));
        let accession_number = closed(tags::ACCESSION_NUMBER);
        let manufacturer = Some(reader.text(tags::MANUFACTURER)).filter(|text| !text.is_empty());
        let manufacturer_model = Some(reader.text(tags::MANUFACTURER_MODEL)).filter(|text| !text.is_empty());
        if reader.doubt {
            warnings.push(Warning::CharacterSet);
        }
        let description = PixelDescription::read(&attributes, &mut warnings).ok();
        let place = Place::read(&attributes, 0, &mut warnings);
        let age = attributes.text(tags::PATIENT_AGE).and_then(|text| age(&text));
        let patient_age_by_dates = years(patient.birth_date.open(), study_date.open());
        let patient_age = age.or(patient_age_by_dates);
        let text = |tag| attributes.text(tag);
        warnings.sort_unstable();
        warnings.dedup();
        Ok(Self {
            sop_class_uid,
            sop_instance_uid: Phi::new(sop_instance_uid),
            study_instance_uid: Phi::new(uid(tags::STUDY_INSTANCE_UID)),
            series_instance_uid: Phi::new(uid(tags::SERIES_INSTANCE_UID)),
            patient,
            patient_age,
            patient_age_by_dates,
            study_date,
            study_time,
            accession_number,
            modality: text(tags::MODALITY).unwrap_or_default(),
            body_part: text(tags::BODY_PART),
            view_position: text(tags::VIEW_POSITION),
            presentation_intent: text(tags::PRESENTATION_INTENT),
            laterality: text(tags::IMAGE_LATERALITY).or_else(|| text(tags::LATERALITY)),
            manufacturer,
            manufacturer_model,
            transfer_syntax_uid: front.uid,
            instance_number: attributes.whole(tags::INSTANCE_NUMBER).ok().flatten(),
            frame_of_reference_uid: Some(uid(tags::FRAME_OF_REFERENCE_UID)).filter(|uid| !uid.is_empty()),
            spacing: place.spacing,
            orientation: place.orientation,
            position: place.position,
            windows: Window::read(&attributes),
            burned_in_annotation: text(tags::BURNED_IN_ANNOTATION),
            lossy_compression: text(tags::LOSSY_COMPRESSION),
            image_type: attributes.texts(tags::IMAGE_TYPE),
            warnings,
            bytes_digest,
            description,
            syntax: front.syntax,
            data: front.data,
            elements: front.elements,
        })
    }

    /// Reads a file of at most `FILE_BYTES_MAX` bytes.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ImagingError> {
        Self::from_vec(read_file(path.as_ref())?)
    }

    /// What the attributes say about the pixels, or why they cannot be read.
    pub fn description(&self) -> Result<&PixelDescription, ImagingError> {
        match &self.description {
            Some(description) => Ok(description),
            // read again for its error: errors own what they name and are not kept
            None => Err(PixelDescription::read(&self.attributes(), &mut Vec::new()).err().unwrap_or(
                ImagingError::Missing { attribute: tags::PIXEL_DATA, why: "so there is no image in this object" },
            )),
        }
    }

    /// One of the three pixel elements is there.
    pub fn has_pixels(&self) -> bool {
        let tags = [tags::PIXEL_DATA, tags::FLOAT_PIXEL_DATA, tags::DOUBLE_PIXEL_DATA];
        tags.iter().any(|tag| self.attributes().element(*tag).is_some())
    }

    /// Decodes the stored values of all frames.
    pub fn decode(&self) -> Result<Decoded, ImagingError> {
        decode::decode(self)
    }

    /// Spacing of frame `frame`, counted from 0.
    pub fn frame_spacing(&self, frame: usize) -> Option<Spacing> {
        Place::read(&self.attributes(), frame, &mut Vec::new()).spacing
    }

    /// Orientation and position of frame `frame`, counted from 0.
    pub fn frame_geometry(&self, frame: usize) -> (Option<Orientation>, Option<[f64; 3]>) {
        let place = Place::read(&self.attributes(), frame, &mut Vec::new());
        (place.orientation, place.position)
    }

    pub(crate) fn attributes(&self) -> Attributes<'_> {
        Attributes::new(&self.data, &self.elements)
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }

    pub(crate) const fn syntax(&self) -> Option<&'static Syntax> {
        self.syntax
    }

    /// The functional group `tag` of a frame: its own, else the shared one.
    pub(crate) fn group(&self, tag: Tag, frame: usize) -> Option<Attributes<'_>> {
        group(&self.attributes(), tag, frame)
    }
}

/// Reads a plain file of at most `FILE_BYTES_MAX` bytes, and not more if it grows meanwhile.
pub fn read_file(path: &Path) -> Result<Vec<u8>, ImagingError> {
    let unreadable = |source| ImagingError::Unreadable { source };
    // asked before it is opened: opening a pipe would wait for its other end
    let facts = std::fs::metadata(path).map_err(unreadable)?;
    if !facts.is_file() {
        return Err(ImagingError::NotDicom { reason: "the path is no plain file" });
    }
    let file = File::open(path).map_err(unreadable)?;
    let too_large = |found| ImagingError::Limit { what: "bytes of the file", found, limit: FILE_BYTES_MAX };
    if facts.len() > FILE_BYTES_MAX {
        return Err(too_large(facts.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(facts.len()).unwrap_or(0));
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let found = bytes.len() as u64;
    if found > FILE_BYTES_MAX { Err(too_large(found)) } else { Ok(bytes) }
}

/// An attribute that stands twice with two values changes pixels or identity, whichever is taken: refused.
fn duplicates(attributes: &Attributes<'_>, elements: &[Element], warnings: &[Warning]) -> Result<(), ImagingError> {
    if !warnings.contains(&Warning::OrderOfTags) {
        return Ok(());
    }
    let mut seen: Vec<&Element> = elements.iter().collect();
    seen.sort_by_key(|element| element.tag);
    for pair in seen.windows(2) {
        let bytes = |element| part10::plain(attributes.data(), element);
        if pair[0].tag == pair[1].tag && (bytes(pair[0]).is_none() || bytes(pair[0]) != bytes(pair[1])) {
            return Err(ImagingError::structure(pair[0].tag, "stands twice with two values"));
        }
    }
    Ok(())
}

fn group<'a>(attributes: &Attributes<'a>, tag: Tag, frame: usize) -> Option<Attributes<'a>> {
    let own = attributes.item_at(tags::PER_FRAME_GROUPS, frame).and_then(|groups| groups.item(tag));
    own.or_else(|| attributes.item(tags::SHARED_GROUPS).and_then(|groups| groups.item(tag)))
}

struct Place {
    spacing: Option<Spacing>,
    orientation: Option<Orientation>,
    position: Option<[f64; 3]>,
}

impl Place {
    fn read(attributes: &Attributes<'_>, frame: usize, warnings: &mut Vec<Warning>) -> Self {
        let held = |sequence| group(attributes, sequence, frame);
        let measures = held(tags::PIXEL_MEASURES_SEQUENCE).map(|item| item.numbers(tags::PIXEL_SPACING));
        let candidates = [
            (measures.unwrap_or_default(), SpacingSource::PixelSpacing),
            (attributes.numbers(tags::PIXEL_SPACING), SpacingSource::PixelSpacing),
            (attributes.numbers(tags::IMAGER_PIXEL_SPACING), SpacingSource::ImagerPixelSpacing),
            (attributes.numbers(tags::NOMINAL_SCANNED_PIXEL_SPACING), SpacingSource::NominalScannedPixelSpacing),
        ];
        let given = candidates.into_iter().find(|(numbers, _)| !numbers.is_empty());
        let spacing = given.as_ref().and_then(|(numbers, source)| {
            let &[row, column] = numbers.as_slice() else { return None };
            Some(Spacing { row_mm: Millimetre::new(row)?, column_mm: Millimetre::new(column)?, source: *source })
        });
        if given.is_some() && spacing.is_none() {
            warnings.push(Warning::Spacing);
        }
        let numbers = |sequence, tag| {
            let own = held(sequence).map(|item| item.numbers(tag)).filter(|numbers| !numbers.is_empty());
            own.unwrap_or_else(|| attributes.numbers(tag))
        };
        let cosines = numbers(tags::PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION);
        let orientation = <[f64; 6]>::try_from(cosines.as_slice()).ok().and_then(Orientation::new);
        if !cosines.is_empty() && orientation.is_none() {
            warnings.push(Warning::Orientation);
        }
        let place = numbers(tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION);
        let finite = |place: &[f64; 3]| place.iter().all(|one| one.is_finite());
        let position = <[f64; 3]>::try_from(place.as_slice()).ok().filter(finite);
        Self { spacing, orientation, position }
    }
}

/// An age string: three digits and D, W, M or Y.
fn age(text: &str) -> Option<Age> {
    let unit = text.chars().last()?;
    let number: f64 = text.get(..text.len() - unit.len_utf8())?.trim().parse::<u16>().ok()?.into();
    let years = match unit {
        'D' => number / 365.25,
        'W' => number * 7.0 / 365.25,
        'M' => number / 12.0,
        'Y' => number,
        _ => return None,
    };
    Some(Age { years })
}

/// Years between two dates of the form YYYYMMDD (or YYYY.MM.DD); None unless both are dates in this order.
fn years(birth: &str, study: &str) -> Option<Age> {
    let days = |text: &str| {
        let digits: String = text.chars().filter(|c| *c != '.').collect();
        if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let part = |range: std::ops::Range<usize>| digits.get(range)?.parse::<f64>().ok();
        let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
        ((1.0..=12.0).contains(&month) && (1.0..=31.0).contains(&day))
            .then_some(year + (month - 1.0) / 12.0 + day / 372.0)
    };
    let years = days(study)? - days(birth)?;
    (0.0..=130.0).contains(&years).then_some(Age { years })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-IMG-019
    #[test]
    fn an_age_is_read_in_every_unit_and_else_taken_from_the_dates() {
        let of = |text| age(text).map(|age| (age.years * 100.0).round() / 100.0);
        assert_eq!(
            [of("018M"), of("007Y"), of("052W"), of("ABC"), of("")],
            [Some(1.5), Some(7.0), Some(1.0), None, None]
        );
        assert!((years("20150601", "20200601").unwrap().years - 5.0).abs() < 0.01);
        assert_eq!(years("20200601", "20150601"), None);
    }
}
