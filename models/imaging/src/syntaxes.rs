//! The transfer syntaxes that this crate accepts: a table of ours, so that no codec can vanish without a test failing.
//! Each row says how the data set is encoded, how a frame is, and whether values can differ from what was compressed.
//! Source: DICOM PS3.5 chapter 10 and annex A, PS3.6 annex A. Requirement: REQ-IMG-001.

/// How the elements of a data set are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Value representations are not written.
    pub implicit: bool,
    /// Most significant byte first.
    pub big_endian: bool,
}

/// Explicit VR little endian, the encoding of the file meta group and of most files.
pub const EXPLICIT_LITTLE: Encoding = Encoding { implicit: false, big_endian: false };
/// Implicit VR little endian.
pub const IMPLICIT_LITTLE: Encoding = Encoding { implicit: true, big_endian: false };
/// Explicit VR big endian (retired).
pub const EXPLICIT_BIG: Encoding = Encoding { implicit: false, big_endian: true };

/// How one frame of pixel data is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Stored values one after another, frames one after another.
    Native,
    /// Stored values, one frame an item.
    EncapsulatedNative,
    /// One deflate stream a frame.
    DeflatedFrame,
    /// Run lengths by byte plane.
    Rle,
    /// JPEG, Huffman-coded: sequential, progressive or lossless, as its own header says.
    Jpeg,
    /// JPEG-LS, lossless and near-lossless.
    JpegLs,
    /// JPEG 2000 and High-Throughput JPEG 2000.
    Jpeg2000,
    /// JPEG XL.
    JpegXl,
}

impl Codec {
    /// The name used in errors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::EncapsulatedNative => "encapsulated uncompressed",
            Self::DeflatedFrame => "deflated frame",
            Self::Rle => "RLE",
            Self::Jpeg => "JPEG",
            Self::JpegLs => "JPEG-LS",
            Self::Jpeg2000 => "JPEG 2000",
            Self::JpegXl => "JPEG XL",
        }
    }

    /// The pixel data is a sequence of items.
    pub const fn encapsulated(self) -> bool {
        !matches!(self, Self::Native)
    }
}

/// One accepted transfer syntax.
#[derive(Clone, Copy, Debug)]
pub struct Syntax {
    /// The identifier.
    pub uid: &'static str,
    /// The encoding of the data set.
    pub encoding: Encoding,
    /// The data set is one deflate stream.
    pub deflated: bool,
    /// The encoding of a frame.
    pub codec: Codec,
    /// Decoders may differ by a little; equal pixels are not promised.
    pub lossy: bool,
}

const fn row(uid: &'static str, encoding: Encoding, codec: Codec, lossy: bool) -> Syntax {
    Syntax { uid, encoding, deflated: false, codec, lossy }
}

const fn compressed(uid: &'static str, codec: Codec, lossy: bool) -> Syntax {
    row(uid, EXPLICIT_LITTLE, codec, lossy)
}

/// The table.
pub const SYNTAXES: &[Syntax] = &[
    row("1.2.840.10008.1.2", IMPLICIT_LITTLE, Codec::Native, false),
    row("1.2.840.10008.1.2.1", EXPLICIT_LITTLE, Codec::Native, false),
    row("1.2.840.10008.1.2.2", EXPLICIT_BIG, Codec::Native, false),
    Syntax {
        uid: "1.2.840.10008.1.2.1.99",
        encoding: EXPLICIT_LITTLE,
        deflated: true,
        codec: Codec::Native,
        lossy: false,
    },
    compressed("1.2.840.10008.1.2.1.98", Codec::EncapsulatedNative, false),
    compressed("1.2.840.10008.1.2.8.1", Codec::DeflatedFrame, false),
    compressed("1.2.840.10008.1.2.5", Codec::Rle, false),
    compressed("1.2.840.10008.1.2.4.50", Codec::Jpeg, true),
    compressed("1.2.840.10008.1.2.4.51", Codec::Jpeg, true),
    compressed("1.2.840.10008.1.2.4.53", Codec::Jpeg, true),
    compressed("1.2.840.10008.1.2.4.55", Codec::Jpeg, true),
    compressed("1.2.840.10008.1.2.4.57", Codec::Jpeg, false),
    compressed("1.2.840.10008.1.2.4.70", Codec::Jpeg, false),
    compressed("1.2.840.10008.1.2.4.80", Codec::JpegLs, false),
    compressed("1.2.840.10008.1.2.4.81", Codec::JpegLs, true),
    compressed("1.2.840.10008.1.2.4.90", Codec::Jpeg2000, false),
    compressed("1.2.840.10008.1.2.4.91", Codec::Jpeg2000, true),
    compressed("1.2.840.10008.1.2.4.201", Codec::Jpeg2000, false),
    compressed("1.2.840.10008.1.2.4.202", Codec::Jpeg2000, false),
    compressed("1.2.840.10008.1.2.4.203", Codec::Jpeg2000, true),
    compressed("1.2.840.10008.1.2.4.110", Codec::JpegXl, false),
    compressed("1.2.840.10008.1.2.4.111", Codec::JpegXl, true),
    compressed("1.2.840.10008.1.2.4.112", Codec::JpegXl, true),
];

/// The row of `uid`.
pub fn find(uid: &str) -> Option<&'static Syntax> {
    SYNTAXES.iter().find(|syntax| syntax.uid == uid)
}
