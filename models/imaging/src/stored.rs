//! Stored values: what lies in the file once compression, packing and byte order are undone, and nothing more.
//! Shapes: frame, row, column, sample, in one vector of the file's own 8-, 16- or 32-bit type or of its floating point.
//! Source: DICOM PS3.5 section 8; IMAGING.md sections 3 and 6. Requirement: REQ-IMG-006.

use vidimus_log::Digest;

use crate::description::{PixelDescription, PixelKind};

/// The values of all frames.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// Unsigned, up to 8 bits allocated.
    U8(Vec<u8>),
    /// Signed, 8 bits allocated.
    I8(Vec<i8>),
    /// Unsigned, 16 bits allocated.
    U16(Vec<u16>),
    /// Signed, 16 bits allocated.
    I16(Vec<i16>),
    /// Unsigned, 32 bits allocated.
    U32(Vec<u32>),
    /// Signed, 32 bits allocated.
    I32(Vec<i32>),
    /// Float Pixel Data.
    F32(Vec<f32>),
    /// Double Float Pixel Data.
    F64(Vec<f64>),
}

macro_rules! each {
    ($stored:expr, $values:ident => $body:expr) => {
        match $stored {
            Stored::U8($values) => $body,
            Stored::I8($values) => $body,
            Stored::U16($values) => $body,
            Stored::I16($values) => $body,
            Stored::U32($values) => $body,
            Stored::I32($values) => $body,
            Stored::F32($values) => $body,
            Stored::F64($values) => $body,
        }
    };
}

impl Stored {
    /// An empty vector of the type that `description` asks for, with room for all frames.
    pub(crate) fn with_room(description: &PixelDescription) -> Self {
        let room = description.frame_samples() * description.frames as usize;
        match (description.kind, description.bits_allocated, description.signed) {
            (PixelKind::Float, ..) => Self::F32(Vec::with_capacity(room)),
            (PixelKind::Double, ..) => Self::F64(Vec::with_capacity(room)),
            (_, ..=8, false) => Self::U8(Vec::with_capacity(room)),
            (_, ..=8, true) => Self::I8(Vec::with_capacity(room)),
            (_, 16, false) => Self::U16(Vec::with_capacity(room)),
            (_, 16, true) => Self::I16(Vec::with_capacity(room)),
            (_, _, false) => Self::U32(Vec::with_capacity(room)),
            (_, _, true) => Self::I32(Vec::with_capacity(room)),
        }
    }

    /// Appends bit patterns: the upper bits are masked off and the sign of bit `bits - 1` is extended.
    pub(crate) fn push(&mut self, patterns: impl Iterator<Item = u32>, bits: u16) {
        let shift = 32 - u32::from(bits.clamp(1, 32));
        let plain = |pattern: u32| pattern << shift >> shift;
        let extended = |pattern: u32| (pattern << shift).cast_signed() >> shift;
        match self {
            Self::U8(values) => values.extend(patterns.map(|one| plain(one) as u8)),
            Self::I8(values) => values.extend(patterns.map(|one| extended(one) as i8)),
            Self::U16(values) => values.extend(patterns.map(|one| plain(one) as u16)),
            Self::I16(values) => values.extend(patterns.map(|one| extended(one) as i16)),
            Self::U32(values) => values.extend(patterns.map(plain)),
            Self::I32(values) => values.extend(patterns.map(extended)),
            Self::F32(values) => values.extend(patterns.map(f32::from_bits)),
            // double values are read by `push_doubles`; 32 bits cannot be one
            Self::F64(_) => {}
        }
    }

    /// Appends 64-bit floating point values.
    pub(crate) fn push_doubles(&mut self, patterns: impl Iterator<Item = u64>) {
        if let Self::F64(values) = self {
            values.extend(patterns.map(f64::from_bits));
        }
    }

    /// Count of values.
    pub fn len(&self) -> usize {
        each!(self, values => values.len())
    }

    /// No value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values of a range as 64-bit floating point, exact for every type here.
    pub fn floats(&self, range: std::ops::Range<usize>) -> Box<dyn Iterator<Item = f64> + '_> {
        fn lift<'a, T: Copy>(values: &'a [T], range: std::ops::Range<usize>) -> impl Iterator<Item = f64> + 'a
        where
            f64: From<T>,
        {
            values.get(range).unwrap_or_default().iter().map(|value| f64::from(*value))
        }
        each!(self, values => Box::new(lift(values, range)))
    }

    /// The value at `index`, as 64-bit floating point.
    pub fn at(&self, index: usize) -> Option<f64> {
        self.floats(index..index.checked_add(1)?).next()
    }

    /// SHA-256 of the little-endian bytes of the bare values.
    pub fn sha256(&self) -> Digest {
        self.digest_after(&[])
    }

    /// SHA-256 of `header` and then the little-endian bytes.
    pub(crate) fn digest_after(&self, header: &[u8]) -> Digest {
        // a few thousand values at a time: no second copy of the image
        fn feed<T: Copy, const N: usize>(header: &[u8], values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Digest {
            use sha2::Digest as _;
            let mut hasher = sha2::Sha256::new();
            hasher.update(header);
            let mut block = Vec::with_capacity(4096 * N);
            for part in values.chunks(4096) {
                block.clear();
                block.extend(part.iter().flat_map(|value| bytes(*value)));
                hasher.update(&block);
            }
            Digest::from_bytes(hasher.finalize().into())
        }
        each!(self, values => feed(header, values, |value| value.to_le_bytes()))
    }

    /// Name of the type, as in the hashed header.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::U16(_) => "u16",
            Self::I16(_) => "i16",
            Self::U32(_) => "u32",
            Self::I32(_) => "i32",
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-IMG-006
    #[test]
    fn upper_bits_are_masked_and_the_sign_is_extended() {
        let mut unsigned = Stored::U16(Vec::new());
        unsigned.push([0x1fff, 0xf123].into_iter(), 12);
        assert_eq!(unsigned, Stored::U16(vec![0x0fff, 0x0123]));
        let mut signed = Stored::I16(Vec::new());
        signed.push([0x0fff, 0x0800, 0x07ff, 0xf001].into_iter(), 12);
        assert_eq!(signed, Stored::I16(vec![-1, -2048, 2047, 1]));
    }
}
