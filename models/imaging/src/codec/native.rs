//! Uncompressed stored values: packed bits, bytes, words and long words, by pixel or by plane, chroma shared or not.
//! In: the bytes of one frame (for packed bits of native data: of all frames). Out: bit patterns by pixel.
//! Errors: too few bytes.
//! Source: DICOM PS3.5 section 8.1 and annex D. Requirement: REQ-IMG-006.

use super::{Frame, Raw};
use crate::description::{Photometric, PixelDescription};

/// Bits that one frame takes in native form.
pub(crate) fn frame_bits(description: &PixelDescription) -> u64 {
    let samples = if shared_chroma(description) {
        // two luminances and one pair of chrominances for two pixels
        description.frame_pixels() as u64 * 2
    } else {
        description.frame_samples() as u64
    };
    samples * u64::from(description.bits_allocated)
}

/// Uncompressed data with one pair of chrominances for two pixels of a row.
pub(crate) fn shared_chroma(description: &PixelDescription) -> bool {
    description.photometric == Photometric::YbrFull422
}

/// The bit patterns of one frame that begins with the first of `bytes`.
pub(crate) fn frame(bytes: &[u8], description: &PixelDescription, big_endian: bool) -> Result<Frame, String> {
    let needed = usize::try_from(frame_bits(description).div_ceil(8)).unwrap_or(usize::MAX);
    let Some(bytes) = bytes.get(..needed) else {
        return Err(format!("{} bytes, {needed} are needed", bytes.len()));
    };
    let raw = match description.bits_allocated {
        1 => Raw::Words(bits(bytes, 0, description.frame_samples())),
        8 => Raw::Words(bytes.iter().map(|byte| u16::from(*byte)).collect()),
        16 => {
            let word = |pair: &[u8; 2]| if big_endian { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) };
            Raw::Words(bytes.as_chunks::<2>().0.iter().map(word).collect())
        }
        32 => {
            let long = |four: &[u8; 4]| if big_endian { u32::from_be_bytes(*four) } else { u32::from_le_bytes(*four) };
            Raw::Longs(bytes.as_chunks::<4>().0.iter().map(long).collect())
        }
        _ => {
            let wide = |all: &[u8; 8]| if big_endian { u64::from_be_bytes(*all) } else { u64::from_le_bytes(*all) };
            Raw::Doubles(bytes.as_chunks::<8>().0.iter().map(wide).collect())
        }
    };
    let raw = match raw {
        Raw::Words(values) => Raw::Words(arrange(values, description)?),
        Raw::Longs(values) => Raw::Longs(arrange(values, description)?),
        Raw::Doubles(values) => Raw::Doubles(values),
    };
    let colours = shared_chroma(description).then_some(Photometric::YbrFull);
    Ok(Frame { raw, colours, sign_differs: false })
}

/// Single bits from bit `first` on, least significant first.
pub(crate) fn bits(bytes: &[u8], first: usize, count: usize) -> Vec<u16> {
    let bit = |index: usize| bytes.get(index / 8).map_or(0, |byte| u16::from(byte >> (index % 8) & 1));
    (first..first + count).map(bit).collect()
}

/// Samples by pixel, whatever way they lie.
fn arrange<T: Copy>(values: Vec<T>, description: &PixelDescription) -> Result<Vec<T>, String> {
    if shared_chroma(description) {
        if description.columns % 2 == 1 {
            return Err("Columns is odd, and YBR_FULL_422 shares chrominance between two pixels of a row".to_owned());
        }
        let (fours, _) = values.as_chunks::<4>();
        return Ok(fours.iter().flat_map(|[y0, y1, cb, cr]| [*y0, *cb, *cr, *y1, *cb, *cr]).collect());
    }
    Ok(if description.planar { by_pixel(&values, usize::from(description.samples)) } else { values })
}

/// Planes one after another become pixels one after another.
pub(crate) fn by_pixel<T: Copy>(planes: &[T], samples: usize) -> Vec<T> {
    let pixels = planes.len() / samples.max(1);
    (0..pixels).flat_map(|pixel| (0..samples).map(move |sample| planes[sample * pixels + pixel])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-IMG-006
    #[test]
    fn bits_are_taken_least_significant_first_across_bytes() {
        assert_eq!(bits(&[0b1000_0001, 0b0000_0010], 6, 4), [0, 1, 0, 1]);
    }

    /// Proves: REQ-IMG-006
    #[test]
    fn planes_become_pixels() {
        assert_eq!(by_pixel(&[1, 2, 3, 4, 5, 6], 3), [1, 3, 5, 2, 4, 6]);
    }
}
