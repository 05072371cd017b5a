//! What can be wrong with a file, and what was wrong but bearable.
//! Errors: each names the attribute or the culprit and says what to do; no text of a patient is in any of them.
//! Source: IMAGING.md sections 2 to 4 (refuse what changes pixels or identity, accept the rest with a warning).

use std::fmt;

use crate::tags::Tag;

/// A file, or its pixels, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImagingError {
    /// The bytes are no DICOM Part 10 file and no data set that could be taken for one.
    #[error("not a DICOM file: {reason}; give a DICOM Part 10 file")]
    NotDicom {
        /// What was looked for and not found.
        reason: &'static str,
    },
    /// The file could not be opened or read.
    #[error("file cannot be read ({kind}); check that it exists and may be read", kind = source.kind())]
    Unreadable {
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A bound of `limits` was passed.
    #[error("{what}: {found}, at most {limit}; the file asks for more than is safe to hold")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// How much the file asks for.
        found: u64,
        /// How much is allowed.
        limit: u64,
    },
    /// The element structure does not hold together.
    #[error("{tag}: {fault}; send the file again from its source")]
    Structure {
        /// The element where it broke.
        tag: Tag,
        /// How it broke.
        fault: String,
    },
    /// A compressed data set does not unpack.
    #[error("deflated data set: {fault}; send the file again from its source")]
    Deflate {
        /// What the decompressor met.
        fault: &'static str,
    },
    /// A required attribute is absent or empty.
    #[error("{attribute}: absent, {why}")]
    Missing {
        /// The attribute.
        attribute: Tag,
        /// What it is needed for.
        why: &'static str,
    },
    /// An attribute holds what cannot be.
    #[error("{attribute}: expected {expected}, found {found}")]
    Attribute {
        /// The attribute.
        attribute: Tag,
        /// What would be right.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// The transfer syntax is not one of the table in `syntaxes`.
    #[error("TransferSyntaxUID (0002,0010): {uid} is not accepted; send the image uncompressed or in another syntax")]
    TransferSyntax {
        /// The identifier, digits and dots only.
        uid: String,
    },
    /// The pixel data of a frame does not decode, or not to what the attributes say.
    #[error("PixelData (7FE0,0010): frame {frame}: {codec}: {fault}")]
    Decode {
        /// Frame number, from 1.
        frame: u64,
        /// The codec's name.
        codec: &'static str,
        /// What it met.
        fault: String,
    },
    /// A picture (PNG, JPEG) cannot be made an instance.
    #[error("picture: {fault}")]
    Picture {
        /// What is wrong with it.
        fault: String,
    },
    /// A DICOMDIR names a file that is not there.
    #[error("ReferencedFileID (0004,1500): a file that the DICOMDIR names is missing; copy the whole file-set")]
    ReferenceMissing,
}

impl ImagingError {
    /// The attribute at fault, as keyword and number, where one can be named.
    pub fn attribute(&self) -> Option<String> {
        match self {
            Self::Structure { tag, .. } => Some(tag.to_string()),
            Self::Missing { attribute, .. } | Self::Attribute { attribute, .. } => Some(attribute.to_string()),
            Self::TransferSyntax { .. } => Some(crate::tags::TRANSFER_SYNTAX_UID.to_string()),
            Self::Decode { .. } => Some(crate::tags::PIXEL_DATA.to_string()),
            Self::ReferenceMissing => Some(crate::tags::REFERENCED_FILE_ID.to_string()),
            _ => None,
        }
    }

    pub(crate) fn structure(tag: Tag, fault: impl Into<String>) -> Self {
        Self::Structure { tag, fault: fault.into() }
    }

    pub(crate) fn value(attribute: Tag, expected: impl Into<String>, found: impl fmt::Display) -> Self {
        Self::Attribute { attribute, expected: expected.into(), found: found.to_string() }
    }
}

/// Something that does not follow the standard, and that changes neither pixels nor identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// The 128-byte preamble and `DICM` are missing; the file meta group was found at the start.
    PreambleMissing,
    /// There is no file meta group; the encoding was recognised from the data set.
    MetaMissing,
    /// The file meta group has no, or a wrong, group length.
    MetaLength,
    /// An element of the file meta group is longer than its VR allows.
    MetaValueTooLong,
    /// The data set is encoded otherwise than its transfer syntax says (implicit for explicit VR, or the reverse).
    EncodingOtherThanNamed,
    /// A zlib stream stands where a bare deflate stream should.
    ZlibHeader,
    /// An element has an odd length.
    OddLength,
    /// Bytes after the last element, or more pixel bytes than the image needs.
    TrailingBytes,
    /// An element's tag is not above the one before it.
    OrderOfTags,
    /// A closing mark stands in an item or sequence whose length is written.
    StrayDelimiter,
    /// The last record of a DICOMDIR is shorter than its length says.
    SequenceLength,
    /// An offset table that does not fit the fragments was not used.
    OffsetTableIgnored,
    /// The media storage identifiers of the file meta group differ from the data set's, which were used.
    MetaIdentifierDiffers,
    /// The character set is unknown or its bytes are wrong; names are shown with replacement characters.
    CharacterSet,
    /// The spacing is zero, negative or no number: no millimetres are given.
    Spacing,
    /// The orientation vectors are not two perpendicular unit vectors: no geometry is given.
    Orientation,
    /// The code stream's sign differs from Pixel Representation, which was followed.
    SignDiffers,
    /// The code stream says other colours than Photometric Interpretation; the code stream was followed.
    ColourDiffers,
    /// High Bit is missing; Bits Stored minus one was taken.
    HighBitMissing,
    /// A window, a lookup table or a text that cannot be used was left out.
    Presentation,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-IMG-002
    #[test]
    fn an_error_names_the_attribute_by_keyword_and_number() {
        let error = ImagingError::value(crate::tags::ROWS, "1 to 65535", 0);
        assert_eq!(error.to_string(), "Rows (0028,0010): expected 1 to 65535, found 0");
        assert_eq!(error.attribute().as_deref(), Some("Rows (0028,0010)"));
    }
}
