//! One decoder for each way a frame can be encoded; the table in `syntaxes` says which.
//! In: the bytes of one frame and the checked description. Out: bit patterns, row, column, sample.
//! Errors: a text of what the stream got wrong; a panic of a decoder is caught here and becomes one.
//! Foreign Rust code (JPEG 2000, JPEG XL) and ours run behind `catch_unwind`: none of it is C, and unwinding is enough,
//! because sizes in the stream are compared with the attributes before any of them allocates.

pub(crate) mod jpeg;
pub(crate) mod jpeg2000;
pub(crate) mod jpegls;
pub(crate) mod jpegxl;
pub(crate) mod native;
pub(crate) mod rle;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{
    description::{Photometric, PixelDescription},
    part10::inflate_bounded,
    syntaxes::Codec,
};

/// Bit patterns of one frame.
#[derive(Debug)]
pub(crate) enum Raw {
    /// Up to 16 bits each.
    Words(Vec<u16>),
    /// Up to 32 bits each.
    Longs(Vec<u32>),
    /// 64 bits each.
    Doubles(Vec<u64>),
}

/// One decoded frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) raw: Raw,
    /// What the samples are, where the stream decides it rather than the attribute.
    pub(crate) colours: Option<Photometric>,
    /// The stream's sign is not the attribute's.
    pub(crate) sign_differs: bool,
}

impl Frame {
    pub(crate) const fn plain(raw: Raw) -> Self {
        Self { raw, colours: None, sign_differs: false }
    }
}

/// Decodes one encapsulated frame.
pub(crate) fn decode(codec: Codec, bytes: &[u8], description: &PixelDescription) -> Result<Frame, String> {
    let run = || match codec {
        Codec::Native | Codec::EncapsulatedNative => native::frame(bytes, description, false),
        Codec::DeflatedFrame => {
            let budget = description.frame_samples() * description.bytes_per_sample() + 1;
            let raw = inflate_bounded(bytes, false, budget).map_err(|error| error.to_string())?;
            native::frame(&raw, description, false)
        }
        Codec::Rle => rle::frame(bytes, description),
        Codec::Jpeg => jpeg::frame(bytes, description),
        Codec::JpegLs => jpegls::frame(bytes, description),
        Codec::Jpeg2000 => jpeg2000::frame(bytes, description),
        Codec::JpegXl => jpegxl::frame(bytes, description),
    };
    let frame = catch_unwind(AssertUnwindSafe(run)).map_err(|_| "the decoder gave up on the stream".to_owned())??;
    let found = match &frame.raw {
        Raw::Words(values) => values.len(),
        Raw::Longs(values) => values.len(),
        Raw::Doubles(values) => values.len(),
    };
    let wanted = description.frame_samples();
    if found == wanted { Ok(frame) } else { Err(format!("{found} samples, the attributes ask for {wanted}")) }
}

/// The size that a stream's own header names must be the attributes'.
pub(crate) fn same_size(description: &PixelDescription, rows: u64, columns: u64, samples: u64) -> Result<(), String> {
    let wanted = (u64::from(description.rows), u64::from(description.columns), u64::from(description.samples));
    if wanted == (rows, columns, samples) {
        return Ok(());
    }
    let (r, c, s) = wanted;
    Err(format!("the stream is {rows} x {columns} x {samples}, Rows x Columns x SamplesPerPixel are {r} x {c} x {s}"))
}
