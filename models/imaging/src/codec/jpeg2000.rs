//! JPEG 2000 and High-Throughput JPEG 2000 through `jpeg2k` over `openjp2` (OpenJPEG translated to Rust).
//! The stream's own size, components, precision and tile-part lengths are compared with the attributes and with the
//! bytes present before the decoder runs: it trusts them.
//! Errors: a header that disagrees, a tile-part beyond the end, what the decoder says.
//! Source: ISO/IEC 15444-1 annex A, 15444-15; DICOM PS3.5 A.4.4. Requirement: REQ-IMG-010.

use super::{Frame, Raw, same_size};
use crate::description::{Photometric, PixelDescription};

const START_AND_SIZE: [u8; 4] = [0xff, 0x4f, 0xff, 0x51];
const TILES_MAX: u64 = 65_535;

/// Decodes one frame.
pub(crate) fn frame(bytes: &[u8], description: &PixelDescription) -> Result<Frame, String> {
    // some writers wrap the code stream in a JP2 file: its boxes are passed over
    let Some(start) = bytes.windows(4).position(|four| four == START_AND_SIZE) else {
        return Err("no start of a code stream".to_owned());
    };
    let stream = &bytes[start..];
    let header = Header::read(stream).ok_or("the header is cut short")?;
    same_size(description, header.rows, header.columns, header.components)?;
    let precision = header.precisions.iter().map(|(bits, _)| *bits).max().unwrap_or(0);
    if precision > description.bits_allocated {
        return Err(format!("{precision} bits a sample, Bits Allocated is {}", description.bits_allocated));
    }
    if header.tiles > TILES_MAX {
        return Err(format!("{} tiles, at most {TILES_MAX}", header.tiles));
    }
    whole(stream)?;
    let parameters = jpeg2k::DecodeParameters::new().strict(true);
    let image = jpeg2k::Image::from_bytes_with(stream, parameters).map_err(|error| error.to_string())?;
    let components = image.components();
    let pixels = description.frame_pixels();
    if components.len() != usize::from(description.samples) || components.iter().any(|one| one.data().len() != pixels) {
        return Err("a component is subsampled or missing".to_owned());
    }
    let signed = components.iter().any(jpeg2k::ImageComponent::is_signed);
    let planes: Vec<&[i32]> = components.iter().map(jpeg2k::ImageComponent::data).collect();
    let patterns = (0..pixels).flat_map(|pixel| planes.iter().map(move |plane| plane[pixel]));
    let raw = if description.bits_allocated > 16 {
        Raw::Longs(patterns.map(i32::cast_unsigned).collect())
    } else {
        Raw::Words(patterns.map(|value| value as u16).collect())
    };
    // the decoder has undone the component transform
    let undone = matches!(description.photometric, Photometric::YbrIct | Photometric::YbrRct);
    let colours = undone.then_some(Photometric::Rgb);
    Ok(Frame { raw, colours, sign_differs: signed != description.signed })
}

struct Header {
    rows: u64,
    columns: u64,
    components: u64,
    tiles: u64,
    /// Bits and sign of each component.
    precisions: Vec<(u16, bool)>,
}

impl Header {
    fn read(stream: &[u8]) -> Option<Self> {
        let long = |at: usize| {
            let four = <[u8; 4]>::try_from(stream.get(at..at + 4)?).ok()?;
            Some(u64::from(u32::from_be_bytes(four)))
        };
        // marker, marker, length (2), capabilities (2), then eight sizes of four bytes
        let sizes: Vec<u64> = (0..8).map(|number| long(8 + 4 * number)).collect::<Option<_>>()?;
        let &[right, bottom, left, top, tile_columns, tile_rows, tile_left, tile_top] = sizes.as_slice() else {
            return None;
        };
        let components = u64::from(*stream.get(40)?) << 8 | u64::from(*stream.get(41)?);
        let precision = |number: u64| {
            let byte = *stream.get(42 + 3 * usize::try_from(number).ok()?)?;
            Some((u16::from(byte & 0x7f) + 1, byte & 0x80 != 0))
        };
        let across = right.checked_sub(tile_left)?.div_ceil(tile_columns.max(1));
        let down = bottom.checked_sub(tile_top)?.div_ceil(tile_rows.max(1));
        Some(Self {
            rows: bottom.checked_sub(top)?,
            columns: right.checked_sub(left)?,
            components,
            tiles: across * down,
            precisions: (0..components).map(precision).collect::<Option<_>>()?,
        })
    }
}

/// Every tile-part that the stream declares lies within it: the decoder would fill what is missing.
fn whole(stream: &[u8]) -> Result<(), String> {
    let short = |at: usize| Some(usize::from(*stream.get(at)?) << 8 | usize::from(*stream.get(at + 1)?));
    let mut at = 2;
    let mut parts = 0;
    while let Some(marker) = short(at) {
        match marker {
            0xff90 => {
                let four = stream.get(at + 6..at + 10).and_then(|four| <[u8; 4]>::try_from(four).ok());
                let length = u32::from_be_bytes(four.ok_or("a tile-part header is cut short")?) as usize;
                parts += 1;
                if length == 0 {
                    return Ok(());
                }
                if length > stream.len() - at || length < 14 {
                    let left = stream.len() - at;
                    return Err(format!("tile-part {parts} declares {length} bytes, {left} are there"));
                }
                at += length;
            }
            0xffd9 => break,
            _ if parts > 0 => break,
            0xff30..=0xff3f => at += 2,
            0xff00..=0xffff => at += 2 + short(at + 2).ok_or("a marker segment is cut short")?,
            _ => return Err("something other than a marker stands in the main header".to_owned()),
        }
    }
    if parts == 0 { Err("there is no tile-part".to_owned()) } else { Ok(()) }
}
