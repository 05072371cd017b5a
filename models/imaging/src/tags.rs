//! Attribute tags that this crate reads, and how a tag is written in an error: keyword and number.
//! Source: DICOM PS3.6; keywords of other tags come from the standard dictionary of dicom-object.

use std::fmt;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_object::StandardDataDictionary;

/// A data element tag: group in the upper, element in the lower 16 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u32);

impl Tag {
    /// The group number.
    pub const fn group(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The element number.
    pub const fn element(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The keyword of the standard dictionary, such as `PixelData`.
    pub fn keyword(self) -> Option<&'static str> {
        StandardDataDictionary.by_tag(self.standard()).map(|entry| entry.alias)
    }

    /// The value representation that the standard gives this tag.
    pub(crate) fn standard_vr(self) -> Option<[u8; 2]> {
        let entry = StandardDataDictionary.by_tag(self.standard())?;
        let text = entry.vr().relaxed().to_string().as_bytes();
        <[u8; 2]>::try_from(text).ok()
    }

    fn standard(self) -> dicom_object::Tag {
        dicom_object::Tag(self.group(), self.element())
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.keyword().unwrap_or(if self.group() % 2 == 1 { "private element" } else { "element" });
        write!(f, "{name} ({:04X},{:04X})", self.group(), self.element())
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! tags {
    ($($name:ident = $value:literal;)*) => { $( pub(crate) const $name: Tag = Tag($value); )* };
}

tags! {
    META_LENGTH = 0x0002_0000; MEDIA_SOP_CLASS_UID = 0x0002_0002; MEDIA_SOP_INSTANCE_UID = 0x0002_0003;
    TRANSFER_SYNTAX_UID = 0x0002_0010;
    DIRECTORY_RECORD_SEQUENCE = 0x0004_1220; REFERENCED_FILE_ID = 0x0004_1500;
    SPECIFIC_CHARACTER_SET = 0x0008_0005; IMAGE_TYPE = 0x0008_0008; SOP_CLASS_UID = 0x0008_0016;
    SOP_INSTANCE_UID = 0x0008_0018; STUDY_DATE = 0x0008_0020; STUDY_TIME = 0x0008_0030;
    ACCESSION_NUMBER = 0x0008_0050; MODALITY = 0x0008_0060; CONVERSION_TYPE = 0x0008_0064;
    PRESENTATION_INTENT = 0x0008_0068; MANUFACTURER = 0x0008_0070; INSTITUTION = 0x0008_0080;
    STUDY_DESCRIPTION = 0x0008_1030; MANUFACTURER_MODEL = 0x0008_1090;
    PATIENT_NAME = 0x0010_0010; PATIENT_ID = 0x0010_0020; PATIENT_BIRTH_DATE = 0x0010_0030;
    PATIENT_SEX = 0x0010_0040; PATIENT_AGE = 0x0010_1010;
    BODY_PART = 0x0018_0015; IMAGER_PIXEL_SPACING = 0x0018_1164;
    VIEW_POSITION = 0x0018_5101; NOMINAL_SCANNED_PIXEL_SPACING = 0x0018_2010;
    STUDY_INSTANCE_UID = 0x0020_000d; SERIES_INSTANCE_UID = 0x0020_000e; INSTANCE_NUMBER = 0x0020_0013;
    PATIENT_ORIENTATION = 0x0020_0020; IMAGE_POSITION = 0x0020_0032; IMAGE_ORIENTATION = 0x0020_0037;
    FRAME_OF_REFERENCE_UID = 0x0020_0052; LATERALITY = 0x0020_0060; IMAGE_LATERALITY = 0x0020_0062;
    PLANE_POSITION_SEQUENCE = 0x0020_9113; PLANE_ORIENTATION_SEQUENCE = 0x0020_9116;
    SAMPLES_PER_PIXEL = 0x0028_0002; PHOTOMETRIC = 0x0028_0004; PLANAR_CONFIGURATION = 0x0028_0006;
    NUMBER_OF_FRAMES = 0x0028_0008; ROWS = 0x0028_0010; COLUMNS = 0x0028_0011; PIXEL_SPACING = 0x0028_0030;
    BITS_ALLOCATED = 0x0028_0100; BITS_STORED = 0x0028_0101; HIGH_BIT = 0x0028_0102;
    PIXEL_REPRESENTATION = 0x0028_0103; PIXEL_PADDING_VALUE = 0x0028_0120; PIXEL_PADDING_RANGE_LIMIT = 0x0028_0121;
    BURNED_IN_ANNOTATION = 0x0028_0301; WINDOW_CENTER = 0x0028_1050; WINDOW_WIDTH = 0x0028_1051;
    WINDOW_EXPLANATION = 0x0028_1055;
    RESCALE_INTERCEPT = 0x0028_1052; RESCALE_SLOPE = 0x0028_1053; RESCALE_TYPE = 0x0028_1054;
    VOI_LUT_FUNCTION = 0x0028_1056;
    PALETTE_RED_DESCRIPTOR = 0x0028_1101; PALETTE_GREEN_DESCRIPTOR = 0x0028_1102;
    PALETTE_BLUE_DESCRIPTOR = 0x0028_1103; PALETTE_RED = 0x0028_1201; PALETTE_GREEN = 0x0028_1202;
    PALETTE_BLUE = 0x0028_1203; PALETTE_RED_SEGMENTED = 0x0028_1221; PALETTE_GREEN_SEGMENTED = 0x0028_1222;
    PALETTE_BLUE_SEGMENTED = 0x0028_1223; LOSSY_COMPRESSION = 0x0028_2110; MODALITY_LUT_SEQUENCE = 0x0028_3000;
    LUT_DESCRIPTOR = 0x0028_3002; LUT_DATA = 0x0028_3006; VOI_LUT_SEQUENCE = 0x0028_3010;
    PIXEL_MEASURES_SEQUENCE = 0x0028_9110; FRAME_VOI_LUT_SEQUENCE = 0x0028_9132;
    PIXEL_VALUE_TRANSFORMATION_SEQUENCE = 0x0028_9145; PRESENTATION_LUT_SHAPE = 0x2050_0020;
    SHARED_GROUPS = 0x5200_9229; PER_FRAME_GROUPS = 0x5200_9230; EXTENDED_OFFSETS = 0x7fe0_0001;
    FLOAT_PIXEL_DATA = 0x7fe0_0008; DOUBLE_PIXEL_DATA = 0x7fe0_0009;
    PIXEL_DATA = 0x7fe0_0010;
    ITEM = 0xfffe_e000; ITEM_END = 0xfffe_e00d; SEQUENCE_END = 0xfffe_e0dd;
}
