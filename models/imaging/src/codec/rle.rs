//! RLE: one run-length coded segment for each byte of a sample, most significant first.
//! In: the fragments of one frame, joined. Out: bit patterns by pixel. Memory: the segments' fixed size, never more.
//! Errors: a segment count or an offset that does not fit, a segment that ends before its bytes are there.
//! Source: DICOM PS3.5 annex G. Requirement: REQ-IMG-007.

use super::{
    Frame, Raw,
    native::{bits, by_pixel},
};
use crate::description::PixelDescription;

const HEADER_BYTES: usize = 64;

/// Decodes one frame.
pub(crate) fn frame(bytes: &[u8], description: &PixelDescription) -> Result<Frame, String> {
    let samples = usize::from(description.samples);
    let width = description.bytes_per_sample();
    let wanted = samples * width;
    let Some(header) = bytes.get(..HEADER_BYTES) else {
        return Err(format!("RLE header: {} bytes, {HEADER_BYTES} are needed", bytes.len()));
    };
    let numbers: Vec<usize> = header.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four) as usize).collect();
    let found = numbers[0];
    if found != wanted {
        return Err(format!("RLE header: {found} segments, {wanted} are needed"));
    }
    let packed = description.bits_allocated == 1;
    let plane = if packed { description.frame_pixels().div_ceil(8) } else { description.frame_pixels() };
    let offsets = &numbers[1..=wanted];
    let mut planes = Vec::with_capacity(wanted);
    for (number, start) in offsets.iter().enumerate() {
        let end = offsets.get(number + 1).copied().unwrap_or(bytes.len());
        let segment = if *start >= HEADER_BYTES { bytes.get(*start..end) } else { None };
        let Some(segment) = segment else {
            return Err(format!("RLE header: segment {} lies outside the frame", number + 1));
        };
        planes.push(unpack(segment, plane).ok_or_else(|| format!("RLE segment {} ends early", number + 1))?);
    }
    if packed {
        return Ok(Frame::plain(Raw::Words(bits(&planes[0], 0, description.frame_samples()))));
    }
    let value = |sample: usize, pixel: usize| {
        planes[sample * width..(sample + 1) * width]
            .iter()
            .fold(0_u32, |value, plane| value << 8 | u32::from(plane[pixel]))
    };
    let by_plane = (0..samples).flat_map(|sample| (0..plane).map(move |pixel| value(sample, pixel)));
    Ok(Frame::plain(if width > 2 {
        Raw::Longs(by_pixel(&by_plane.collect::<Vec<_>>(), samples))
    } else {
        Raw::Words(by_pixel(&by_plane.map(|value| value as u16).collect::<Vec<_>>(), samples))
    }))
}

/// Unpacks exactly `wanted` bytes; what a segment holds beyond them is not looked at.
fn unpack(segment: &[u8], wanted: usize) -> Option<Vec<u8>> {
    // a run of 128 takes two bytes: more than 64 times the input cannot come out
    let mut out = Vec::with_capacity(wanted.min(segment.len().saturating_mul(64)));
    let mut at = 0;
    while out.len() < wanted {
        let control = *segment.get(at)?;
        at += 1;
        let left = wanted - out.len();
        match control {
            0..=127 => {
                let count = usize::from(control) + 1;
                let literal = segment.get(at..at + count.min(left))?;
                out.extend_from_slice(literal);
                at += count;
            }
            128 => {}
            129..=255 => {
                let count = (257 - usize::from(control)).min(left);
                let byte = *segment.get(at)?;
                out.resize(out.len() + count, byte);
                at += 1;
            }
        }
    }
    Some(out)
}

/// Packs bytes into one segment of even length: the inverse of `unpack`.
#[cfg(test)]
fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let run = bytes[at..].iter().take(128).take_while(|byte| **byte == bytes[at]).count();
        if run >= 2 {
            out.extend([(257 - run) as u8, bytes[at]]);
            at += run;
            continue;
        }
        let rest = &bytes[at..bytes.len().min(at + 128)];
        let literal = rest.windows(2).position(|pair| pair[0] == pair[1]).unwrap_or(rest.len()).max(1);
        out.push((literal - 1) as u8);
        out.extend_from_slice(&bytes[at..at + literal]);
        at += literal;
    }
    if out.len() % 2 == 1 {
        out.push(128);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Proves: REQ-IMG-007
        #[test]
        fn unpacking_what_was_packed_gives_it_back(
            runs in prop::collection::vec((any::<u8>(), 1..300_usize), 0..40),
            literal in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut bytes: Vec<u8> = runs.iter().flat_map(|(byte, count)| vec![*byte; *count]).collect();
            bytes.extend(literal);
            prop_assert_eq!(unpack(&pack(&bytes), bytes.len()), Some(bytes.clone()));
            // one byte more than was packed is not there
            prop_assert_eq!(unpack(&pack(&bytes), bytes.len() + 1), None);
        }
    }
}
