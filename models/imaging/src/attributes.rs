//! Values of data elements: numbers, texts and items, read from the ranges that the walk found.
//! A value whose representation in the file is not the standard's is read as the file says, if it is number or text.
//! Errors: `ImagingError::Attribute` where a number is asked for and none stands there; the text itself is not printed.
//! Source: DICOM PS3.5 section 6.2.

use crate::{
    dataset::{Element, Value},
    error::ImagingError,
    limits::TEXT_CHARS_MAX,
    part10::{find, plain},
    tags::Tag,
};

/// The elements of a data set or of an item, with the bytes that they point into.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a> {
    data: &'a [u8],
    elements: &'a [Element],
}

impl<'a> Attributes<'a> {
    pub(crate) const fn new(data: &'a [u8], elements: &'a [Element]) -> Self {
        Self { data, elements }
    }

    pub(crate) const fn data(&self) -> &'a [u8] {
        self.data
    }

    pub(crate) fn element(&self, tag: Tag) -> Option<&'a Element> {
        find(self.elements, tag)
    }

    /// The value bytes as they stand.
    pub(crate) fn bytes(&self, tag: Tag) -> Option<&'a [u8]> {
        plain(self.data, self.element(tag)?)
    }

    /// The items of a sequence; none where it is absent.
    pub(crate) fn items(&self, tag: Tag) -> impl Iterator<Item = Attributes<'a>> + use<'a> {
        let data = self.data;
        self.sequence(tag).iter().map(move |elements| Attributes { data, elements })
    }

    /// The item at `index`, without a walk over those before it.
    pub(crate) fn item_at(&self, tag: Tag, index: usize) -> Option<Attributes<'a>> {
        self.sequence(tag).get(index).map(|elements| Attributes { data: self.data, elements })
    }

    fn sequence(&self, tag: Tag) -> &'a [Vec<Element>] {
        match self.element(tag).map(|element| &element.value) {
            Some(Value::Items(items)) => items,
            _ => &[],
        }
    }

    /// The first item of a sequence.
    pub(crate) fn item(&self, tag: Tag) -> Option<Attributes<'a>> {
        self.item_at(tag, 0)
    }

    /// The text of an attribute whose characters are ASCII by the standard, without padding; None where it is empty.
    pub(crate) fn text(&self, tag: Tag) -> Option<String> {
        let bytes = self.bytes(tag)?;
        let text: String = bytes.iter().take(TEXT_CHARS_MAX).map(|byte| char::from(*byte)).collect();
        let text = text.trim_matches([' ', '\0']).to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// The values of a text attribute, parted by backslashes.
    pub(crate) fn texts(&self, tag: Tag) -> Vec<String> {
        let text = self.text(tag).unwrap_or_default();
        text.split('\\').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    }

    /// The numbers of an attribute; a value that is no number is NaN; empty where it is absent.
    pub(crate) fn numbers(&self, tag: Tag) -> Vec<f64> {
        let Some(element) = self.element(tag) else { return Vec::new() };
        let Some(bytes) = plain(self.data, element) else { return Vec::new() };
        let big = element.big_endian;
        match representation(element) {
            b"US" | b"OW" | b"AT" => words(bytes, big).map(f64::from).collect(),
            b"SS" => words(bytes, big).map(|word| f64::from(word.cast_signed())).collect(),
            b"UL" | b"OL" => longs(bytes, big).map(f64::from).collect(),
            b"SL" => longs(bytes, big).map(|word| f64::from(word.cast_signed())).collect(),
            b"FL" | b"OF" => longs(bytes, big).map(|word| f64::from(f32::from_bits(word))).collect(),
            b"FD" | b"OD" => wides(bytes, big).map(f64::from_bits).collect(),
            _ => self.texts(tag).iter().map(|text| decimal(text)).collect(),
        }
    }

    /// The whole number of an attribute: None where it is absent or empty, an error where it is something else.
    pub(crate) fn whole(&self, tag: Tag) -> Result<Option<i64>, ImagingError> {
        let Some(element) = self.element(tag) else { return Ok(None) };
        let length = plain(self.data, element).map(<[u8]>::len);
        let Some(first) = self.numbers(tag).first().copied() else {
            let blank = self.bytes(tag).is_some_and(|bytes| bytes.iter().all(|byte| matches!(byte, b' ' | 0)));
            if blank && (length == Some(0) || self.text(tag).is_none()) {
                return Ok(None);
            }
            return Err(ImagingError::value(tag, "a whole number", "another kind of value"));
        };
        if first.fract().abs() > 0.0 || !first.is_finite() || first.abs() > 9e15 {
            return Err(ImagingError::value(tag, "a whole number", "a value that is none"));
        }
        Ok(Some(first as i64))
    }

    /// The 16-bit words of a lookup table or descriptor, whatever its representation.
    pub(crate) fn words(&self, tag: Tag) -> Vec<u16> {
        let Some(element) = self.element(tag) else { return Vec::new() };
        let bytes = plain(self.data, element).unwrap_or_default();
        match representation(element) {
            b"IS" | b"DS" => self.numbers(tag).iter().map(|number| *number as i64 as u16).collect(),
            // bytes of an OB value are not swapped: they are taken in order (PS3.5 section 7.3)
            b"OB" => words(bytes, false).collect(),
            _ => words(bytes, element.big_endian).collect(),
        }
    }
}

/// The representation that stands in the file, or the standard's where the file does not say.
fn representation(element: &Element) -> &[u8; 2] {
    match &element.vr {
        b"UN" => match element.tag.standard_vr().as_ref() {
            Some(b"US") => b"US",
            Some(b"SS") => b"SS",
            Some(b"UL") => b"UL",
            Some(b"SL") => b"SL",
            Some(b"FL") => b"FL",
            Some(b"FD") => b"FD",
            Some(b"OW") => b"OW",
            _ => b"UN",
        },
        vr => vr,
    }
}

/// A decimal string: what `str::parse` takes, with the blanks that writers leave inside it gone.
pub(crate) fn decimal(text: &str) -> f64 {
    let clean: String = text.chars().filter(|c| !matches!(c, ' ' | '\0')).collect();
    let plain = clean.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    if plain { clean.parse().unwrap_or(f64::NAN) } else { f64::NAN }
}

fn words(bytes: &[u8], big: bool) -> impl Iterator<Item = u16> + '_ {
    bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(move |pair| if big { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) })
}

fn longs(bytes: &[u8], big: bool) -> impl Iterator<Item = u32> + '_ {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(move |four| if big { u32::from_be_bytes(*four) } else { u32::from_le_bytes(*four) })
}

fn wides(bytes: &[u8], big: bool) -> impl Iterator<Item = u64> + '_ {
    bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(move |all| if big { u64::from_be_bytes(*all) } else { u64::from_le_bytes(*all) })
}
