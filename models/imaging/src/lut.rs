//! Lookup tables of the modality and VOI LUT sequences and of palettes.
//! In: descriptor (entries, first mapped value, bits) and data of 8 or 16 bits. Out: an entry for each stored value;
//! values below the first mapped take the first entry, those above the last one the last.
//! Errors: `Attribute` for a descriptor that cannot be, or for less data than it says.
//! Source: DICOM PS3.3 C.11.1.1, C.7.6.3.1.5, C.7.9.2 (segmented). Requirement: REQ-IMG-013.

use crate::{
    attributes::Attributes,
    error::ImagingError,
    limits::LUT_ENTRIES_MAX,
    tags::{self, Tag},
};

/// A lookup table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lut {
    /// The stored (or rescaled) value that the first entry belongs to.
    pub(crate) first: i64,
    /// Bits of an entry: 8 to 16.
    pub(crate) bits: u16,
    /// The entries.
    pub(crate) entries: Vec<u16>,
}

impl Lut {
    /// The entry of `value`.
    pub(crate) fn entry(&self, value: i64) -> u16 {
        let last = self.entries.len().saturating_sub(1);
        let index = usize::try_from(value.saturating_sub(self.first).max(0)).unwrap_or(usize::MAX).min(last);
        self.entries.get(index).copied().unwrap_or(0)
    }

    /// The greatest value that an entry can have.
    pub(crate) fn greatest(&self) -> u16 {
        ((1_u32 << self.bits.clamp(1, 16)) - 1) as u16
    }

    /// Reads an item of a LUT sequence; the first mapped value is signed where the values looked up are.
    pub(crate) fn of_item(item: &Attributes<'_>, signed: bool) -> Result<Self, ImagingError> {
        Self::read(item, tags::LUT_DESCRIPTOR, tags::LUT_DATA, signed)
    }

    /// Reads descriptor and data.
    pub(crate) fn read(
        attributes: &Attributes<'_>,
        descriptor: Tag,
        data: Tag,
        signed: bool,
    ) -> Result<Self, ImagingError> {
        let Some(element) = attributes.bytes(data) else {
            return Err(ImagingError::Missing { attribute: data, why: "its descriptor is there" });
        };
        let (count, first, bits) = describe(attributes, descriptor, signed)?;
        let words = attributes.words(data);
        let entries: Vec<u16> = if words.len() >= count {
            words.into_iter().take(count).collect()
        } else if element.len() >= count {
            // entries of 8 bits, one a byte
            let big = attributes.element(data).is_some_and(|one| one.big_endian && &one.vr == b"OW");
            let byte = |index: usize| element.get(if big { index ^ 1 } else { index }).copied();
            (0..count).filter_map(byte).map(u16::from).collect()
        } else {
            let found = format!("{} bytes", element.len());
            return Err(ImagingError::value(data, format!("{count} entries"), found));
        };
        Ok(Self { first, bits, entries })
    }

    /// Reads a segmented palette: discrete, linear and indirect segments.
    pub(crate) fn segmented(
        attributes: &Attributes<'_>,
        descriptor: Tag,
        data: Tag,
        signed: bool,
    ) -> Result<Self, ImagingError> {
        let (count, first, bits) = describe(attributes, descriptor, signed)?;
        let words = if bits <= 8 && attributes.bytes(data).is_some_and(|raw| narrow(raw, count)) {
            attributes.bytes(data).unwrap_or_default().iter().map(|byte| u16::from(*byte)).collect()
        } else {
            attributes.words(data)
        };
        let mut entries = Vec::with_capacity(count);
        expand(&words, 0, usize::MAX, count, &mut entries, false)
            .filter(|()| entries.len() == count)
            .ok_or_else(|| ImagingError::value(data, format!("segments of {count} entries"), "others"))?;
        Ok(Self { first, bits, entries })
    }
}

/// The segments read as bytes give exactly the entries wanted: 8-bit segments are not padded to words.
fn narrow(raw: &[u8], count: usize) -> bool {
    let words: Vec<u16> = raw.iter().map(|byte| u16::from(*byte)).collect();
    let mut entries = Vec::new();
    expand(&words, 0, usize::MAX, count, &mut entries, false).is_some() && entries.len() == count
}

fn describe(attributes: &Attributes<'_>, tag: Tag, signed: bool) -> Result<(usize, i64, u16), ImagingError> {
    let words = attributes.words(tag);
    let &[count, first, bits] = words.get(..3).unwrap_or_default() else {
        return Err(ImagingError::value(tag, "three numbers", words.len()));
    };
    if !(8..=16).contains(&bits) {
        return Err(ImagingError::value(tag, "8 to 16 bits an entry", bits));
    }
    let count = if count == 0 { LUT_ENTRIES_MAX } else { usize::from(count) };
    let first = if signed { i64::from(first.cast_signed()) } else { i64::from(first) };
    Ok((count, first, bits))
}

/// Expands `segments` segments that start at `at`; one level of indirect segments.
fn expand(words: &[u16], mut at: usize, segments: usize, count: usize, out: &mut Vec<u16>, inner: bool) -> Option<()> {
    let mut done = 0;
    while at + 1 < words.len() && done < segments && out.len() < count {
        let (code, length) = (words[at], usize::from(words[at + 1]));
        at += 2;
        match code {
            0 => {
                out.extend_from_slice(words.get(at..at + length)?);
                at += length;
            }
            1 => {
                let (from, to) = (f64::from(*out.last()?), f64::from(*words.get(at)?));
                let step = |n: usize| (from + (to - from) * n as f64 / length as f64).round() as u16;
                out.extend((1..=length).map(step));
                at += 1;
            }
            2 if !inner => {
                let low = usize::from(*words.get(at)?);
                let place = low | usize::from(*words.get(at + 1)?) << 16;
                expand(words, place, length, count, out, true)?;
                at += 2;
            }
            _ => return None,
        }
        done += 1;
        if out.len() > count {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-IMG-013
    #[test]
    fn values_outside_a_table_take_its_ends() {
        let lut = Lut { first: -2, bits: 8, entries: vec![5, 6, 7] };
        assert_eq!([-9, -2, -1, 0, 1, 9].map(|value| lut.entry(value)), [5, 5, 6, 7, 7, 7]);
    }

    /// Proves: REQ-IMG-013
    #[test]
    fn segments_expand_to_lines_and_repeats() {
        let mut out = Vec::new();
        expand(&[0, 2, 0, 10, 1, 5, 20, 2, 1, 0, 0], 0, usize::MAX, 9, &mut out, false).unwrap();
        assert_eq!(out, [0, 10, 12, 14, 16, 18, 20, 0, 10]);
    }
}
