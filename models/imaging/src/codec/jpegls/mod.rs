//! JPEG-LS, lossless and near-lossless, 2 to 16 bits, components interleaved by none, line or sample.
//! In: the code stream of one frame. Out: values by pixel.
//! Errors: sizes that differ from the attributes, mapping tables, restart intervals, a scan that ends early or late.
//! Source: ITU-T T.87 (06/98); DICOM PS3.5 A.4.3. Requirement: REQ-IMG-009.

mod bits;
mod coder;
#[cfg(test)]
mod encoder;
mod parameters;
mod scan;

use super::{Frame, Raw, same_size};
use crate::description::PixelDescription;
use bits::Bits;
use parameters::Preset;

/// How the components of a scan follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interleave {
    None,
    Line,
    Sample,
}

/// The frame header.
struct Header {
    precision: u8,
    rows: usize,
    columns: usize,
    ids: Vec<u8>,
}

/// Decodes one frame.
pub(crate) fn frame(bytes: &[u8], description: &PixelDescription) -> Result<Frame, String> {
    if bytes.get(..2) != Some(&[0xff, 0xd8]) {
        return Err("no start of image".to_owned());
    }
    let (mut header, mut preset, mut at) = (None::<Header>, Preset::default(), 2);
    let mut out: Vec<u16> = Vec::new();
    let mut seen: Vec<u8> = Vec::new();
    while let Some((marker, body, after)) = segment(bytes, at)? {
        at = after;
        match marker {
            0xd9 => break,
            0xf7 => {
                if header.is_some() {
                    return Err("there are two frame headers".to_owned());
                }
                let found = frame_header(body, description)?;
                out = vec![0; found.rows * found.columns * found.ids.len()];
                header = Some(found);
            }
            0xf8 => preset.read(body)?,
            0xdd if body.iter().any(|byte| *byte != 0) => return Err("restart intervals are not accepted".to_owned()),
            0xe8 if body.starts_with(b"mrfx") && body.get(4).is_some_and(|kind| *kind != 0) => {
                return Err("a colour transform outside the standard is not accepted".to_owned());
            }
            0xc0..=0xc3 | 0xc5..=0xcb | 0xcd..=0xcf => return Err("the stream is JPEG, not JPEG-LS".to_owned()),
            0xda => {
                let header = header.as_ref().ok_or("a scan stands before the frame header")?;
                at = one_scan(bytes, at, body, header, &preset, &mut out, &mut seen)?;
            }
            _ => {}
        }
    }
    let header = header.ok_or("there is no frame header")?;
    if header.ids.iter().any(|id| !seen.contains(id)) {
        return Err("there is no scan of some component".to_owned());
    }
    Ok(Frame::plain(Raw::Words(out)))
}

/// Decodes one scan and gives the place after it.
fn one_scan(
    bytes: &[u8],
    at: usize,
    body: &[u8],
    header: &Header,
    preset: &Preset,
    out: &mut [u16],
    seen: &mut Vec<u8>,
) -> Result<usize, String> {
    let cut = "the scan header is cut short";
    let count = usize::from(*body.first().ok_or(cut)?);
    let mut places = Vec::new();
    for number in 0..count {
        let pair = body.get(1 + 2 * number..3 + 2 * number).ok_or(cut)?;
        let place = header.ids.iter().position(|id| *id == pair[0]);
        places.push(place.ok_or("a scan names a component that the frame header does not")?);
        if pair[1] != 0 {
            return Err("mapping tables are not accepted".to_owned());
        }
        seen.push(pair[0]);
    }
    let rest = body.get(1 + 2 * count..4 + 2 * count).ok_or(cut)?;
    let interleave = match (rest[1], count) {
        (_, 0) => return Err("a scan without components".to_owned()),
        (0, 1) | (1 | 2, 1) => Interleave::None,
        (1, _) => Interleave::Line,
        (2, _) => Interleave::Sample,
        _ => return Err("the scan's interleave mode is out of range".to_owned()),
    };
    let shift = u32::from(rest[2] & 15);
    let parameters = preset.parameters(header.precision, i32::from(rest[0]))?;
    let mut bits = Bits::new(bytes, at);
    let shape = scan::Shape { rows: header.rows, columns: header.columns, samples: header.ids.len(), places: &places };
    scan::decode(&mut bits, &parameters, interleave, &shape, out)?;
    bits.end()?;
    if shift > 0 {
        for place in &places {
            out.iter_mut().skip(*place).step_by(header.ids.len()).for_each(|value| *value <<= shift);
        }
    }
    Ok(bits.place())
}

/// A marker segment: marker, body, place after it.
type Segment<'a> = (u8, &'a [u8], usize);

/// The next marker segment.
fn segment(bytes: &[u8], mut at: usize) -> Result<Option<Segment<'_>>, String> {
    while let Some([first, marker]) = bytes.get(at..at + 2).and_then(|pair| <[u8; 2]>::try_from(pair).ok()) {
        if first != 0xff || matches!(marker, 0..=0x7f | 0xff) {
            at += 1;
            continue;
        }
        if matches!(marker, 0xd0..=0xd9) {
            return Ok(Some((marker, &[], at + 2)));
        }
        let length = short(bytes, at + 2).ok_or("a marker segment is cut short")?;
        let body = bytes.get(at + 4..at + 2 + usize::from(length)).ok_or("a marker segment is cut short")?;
        return Ok(Some((marker, body, at + 2 + usize::from(length))));
    }
    Ok(None)
}

pub(super) fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from(*bytes.get(at)?) << 8 | u16::from(*bytes.get(at + 1)?))
}

fn frame_header(body: &[u8], description: &PixelDescription) -> Result<Header, String> {
    let cut = "the frame header is cut short";
    let precision = *body.first().ok_or(cut)?;
    let (rows, columns) = (short(body, 1).ok_or(cut)?, short(body, 3).ok_or(cut)?);
    let count = *body.get(5).ok_or(cut)?;
    same_size(description, u64::from(rows), u64::from(columns), u64::from(count))?;
    if !(2..=16).contains(&precision) || u16::from(precision) > description.bits_allocated {
        return Err(format!("{precision} bits a sample, Bits Allocated is {}", description.bits_allocated));
    }
    let mut ids = Vec::new();
    for number in 0..usize::from(count) {
        let one = body.get(6 + 3 * number..9 + 3 * number).ok_or(cut)?;
        if one[1] != 0x11 {
            return Err("subsampled components are not accepted".to_owned());
        }
        ids.push(one[0]);
    }
    Ok(Header { precision, rows: usize::from(rows), columns: usize::from(columns), ids })
}
