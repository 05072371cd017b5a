//! The walk over element headers: every length is compared with the bytes that are there before anything is believed.
//! In: the bytes of a data set and its encoding. Out: elements as tags and byte ranges; nothing is copied.
//! Errors: a length beyond its container, nesting beyond `DEPTH_MAX`, an item that is none, a header cut short.
//! Source: DICOM PS3.5 chapter 7 and annex A. Requirement: REQ-IMG-003.

use std::ops::Range;

use crate::{
    error::{ImagingError, Warning},
    limits::{DEPTH_MAX, ELEMENTS_MAX},
    syntaxes::{Encoding, IMPLICIT_LITTLE},
    tags::{self, Tag},
};

const UNDEFINED: u32 = u32::MAX;
const LONG_VRS: [&[u8; 2]; 12] = [b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT"];
const SHORT_VRS: [&[u8; 2]; 21] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
];

/// The value of an element, as places in the data set's bytes.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A plain value.
    Bytes(Range<usize>),
    /// The items of a sequence.
    Items(Vec<Vec<Element>>),
    /// The items of encapsulated pixel data, the offset table first.
    Fragments(Vec<Range<usize>>),
}

/// One data element.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) tag: Tag,
    pub(crate) vr: [u8; 2],
    pub(crate) big_endian: bool,
    pub(crate) value: Value,
}

/// What the walk found.
#[derive(Debug)]
pub(crate) struct Walked {
    pub(crate) elements: Vec<Element>,
    pub(crate) warnings: Vec<Warning>,
}

/// Walks the whole data set `bytes[start..]`.
pub(crate) fn walk(bytes: &[u8], start: usize, encoding: Encoding) -> Result<Walked, ImagingError> {
    let mut walker = Walker { bytes, count: 0, warnings: Vec::new() };
    let (elements, _) = walker.elements(start, bytes.len(), encoding, 0, false)?;
    walker.warnings.sort_unstable();
    walker.warnings.dedup();
    Ok(Walked { elements, warnings: walker.warnings })
}

/// An element header.
pub(crate) struct Header {
    pub(crate) tag: Tag,
    pub(crate) vr: [u8; 2],
    pub(crate) length: u32,
    /// Where the value starts.
    pub(crate) start: usize,
}

/// Reads the element header at `at`; None where fewer bytes are left than a header needs.
pub(crate) fn header(bytes: &[u8], at: usize, encoding: Encoding) -> Option<Header> {
    let tag = tag_at(bytes, at, encoding.big_endian)?;
    let long = |place: usize| u32_at(bytes, place, encoding.big_endian);
    if encoding.implicit || tag.group() == 0xfffe {
        let vr = tag.standard_vr().unwrap_or(*b"UN");
        return Some(Header { tag, vr, length: long(at + 4)?, start: at + 8 });
    }
    let vr = [*bytes.get(at + 4)?, *bytes.get(at + 5)?];
    if LONG_VRS.contains(&&vr) || (!SHORT_VRS.contains(&&vr) && bytes.get(at + 6..at + 8)? == [0, 0]) {
        return Some(Header { tag, vr, length: long(at + 8)?, start: at + 12 });
    }
    let short = u16_at(bytes, at + 6, encoding.big_endian)?;
    Some(Header { tag, vr, length: u32::from(short), start: at + 8 })
}

/// The two bytes are letters, as a value representation's must be.
pub(crate) fn letters(vr: [u8; 2]) -> bool {
    vr.iter().all(u8::is_ascii_uppercase)
}

/// The two bytes are a value representation of the standard.
pub(crate) fn known_vr(vr: [u8; 2]) -> bool {
    LONG_VRS.contains(&&vr) || SHORT_VRS.contains(&&vr)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize, big_endian: bool) -> Option<u16> {
    let pair = <[u8; 2]>::try_from(bytes.get(at..at.checked_add(2)?)?).ok()?;
    Some(if big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
}

pub(crate) fn u32_at(bytes: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let four = <[u8; 4]>::try_from(bytes.get(at..at.checked_add(4)?)?).ok()?;
    Some(if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
}

fn tag_at(bytes: &[u8], at: usize, big_endian: bool) -> Option<Tag> {
    let (group, element) = (u16_at(bytes, at, big_endian)?, u16_at(bytes, at + 2, big_endian)?);
    Some(Tag(u32::from(group) << 16 | u32::from(element)))
}

/// What stands at one place of a data set.
enum Step {
    Element(Element, usize),
    /// An item delimiter, and the place after it.
    Close(usize),
}

struct Walker<'a> {
    bytes: &'a [u8],
    count: usize,
    warnings: Vec<Warning>,
}

impl Walker<'_> {
    /// Elements from `at` to `end`, or to an item delimiter where the length is `undefined`; with the place after them.
    fn elements(
        &mut self,
        mut at: usize,
        end: usize,
        encoding: Encoding,
        depth: usize,
        undefined: bool,
    ) -> Result<(Vec<Element>, usize), ImagingError> {
        let mut elements: Vec<Element> = Vec::new();
        while at < end {
            let last = elements.last().map(|element| element.tag);
            match self.step(at, end, encoding, depth, last) {
                Ok(Step::Element(element, after)) => {
                    elements.push(element);
                    at = after;
                }
                Ok(Step::Close(after)) if undefined => return Ok((elements, after)),
                Ok(Step::Close(after)) if depth > 0 => {
                    // an item whose length is written may still be closed by a mark
                    self.warnings.push(Warning::StrayDelimiter);
                    at = after;
                }
                // what follows the pixels and is no element changes neither pixels nor identity
                Ok(Step::Close(_)) | Err(ImagingError::Structure { .. })
                    if depth == 0 && last.is_some_and(|tag| tag >= tags::FLOAT_PIXEL_DATA) =>
                {
                    self.warnings.push(Warning::TrailingBytes);
                    break;
                }
                Ok(Step::Close(_)) => {
                    return Err(ImagingError::structure(tags::ITEM_END, "an item mark stands outside a sequence"));
                }
                Err(error) => return Err(error),
            }
        }
        if undefined {
            let tag = elements.last().map_or(tags::ITEM, |element| element.tag);
            return Err(ImagingError::structure(tag, "the data ends inside an item of undefined length"));
        }
        Ok((elements, end))
    }

    /// The element at `at`, or the mark that closes its item.
    fn step(
        &mut self,
        at: usize,
        end: usize,
        encoding: Encoding,
        depth: usize,
        last: Option<Tag>,
    ) -> Result<Step, ImagingError> {
        let Some(head) = header(&self.bytes[..end], at, encoding) else {
            let tag = last.unwrap_or(tags::ITEM);
            return Err(ImagingError::structure(tag, "the data ends inside the header of the next element"));
        };
        if head.tag == tags::ITEM_END {
            return Ok(Step::Close(head.start));
        }
        if head.tag.group() == 0xfffe {
            return Err(ImagingError::structure(head.tag, "an item mark stands outside a sequence"));
        }
        if !encoding.implicit && !letters(head.vr) {
            return Err(ImagingError::structure(head.tag, "the value representation is not two capital letters"));
        }
        if last.is_some_and(|tag| tag >= head.tag) {
            self.warnings.push(Warning::OrderOfTags);
        }
        self.counted()?;
        let (value, after) = self.value(&head, end, encoding, depth)?;
        let Header { tag, vr, .. } = head;
        Ok(Step::Element(Element { tag, vr, big_endian: encoding.big_endian, value }, after))
    }

    fn counted(&mut self) -> Result<(), ImagingError> {
        self.count += 1;
        if self.count > ELEMENTS_MAX { Err(limit("data elements", self.count, ELEMENTS_MAX)) } else { Ok(()) }
    }

    fn value(
        &mut self,
        head: &Header,
        end: usize,
        encoding: Encoding,
        depth: usize,
    ) -> Result<(Value, usize), ImagingError> {
        let sequence = &head.vr == b"SQ" || (&head.vr == b"UN" && head.tag.standard_vr() == Some(*b"SQ"));
        if head.length == UNDEFINED {
            let pixels = matches!(&head.vr, b"OB" | b"OW") || head.tag == tags::PIXEL_DATA;
            if pixels {
                return self.fragments(head, end, encoding.big_endian);
            }
            if !encoding.implicit && known_vr(head.vr) && !matches!(&head.vr, b"SQ" | b"UN") {
                return Err(ImagingError::structure(head.tag, "an undefined length is for sequences only"));
            }
            // the items of an unknown element of undefined length are implicit little endian (PS3.5 6.2.2); writers
            // that leave them explicit are met
            if &head.vr == b"UN" && !encoding.implicit {
                match self.items(head.tag, head.start, end, IMPLICIT_LITTLE, depth + 1, true) {
                    Ok((items, after)) => return Ok((Value::Items(items), after)),
                    Err(error @ ImagingError::Limit { .. }) => return Err(error),
                    Err(_) => {}
                }
            }
            let (items, after) = self.items(head.tag, head.start, end, encoding, depth + 1, true)?;
            return Ok((Value::Items(items), after));
        }
        let present = end - head.start.min(end);
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        if length > present {
            return Err(ImagingError::structure(
                head.tag,
                format!("declares {length} bytes, {present} are left in its container"),
            ));
        }
        if length % 2 == 1 {
            self.warnings.push(Warning::OddLength);
        }
        let range = head.start..head.start + length;
        if sequence && length > 0 {
            let unknown = &head.vr == b"UN" && !encoding.implicit;
            let inner = if unknown { IMPLICIT_LITTLE } else { encoding };
            match self.items(head.tag, range.start, range.end, inner, depth + 1, false) {
                Ok((items, _)) => return Ok((Value::Items(items), range.end)),
                // an unknown element may hold anything: it stays bytes
                Err(error) if !unknown || matches!(error, ImagingError::Limit { .. }) => return Err(error),
                Err(_) => {}
            }
        }
        Ok((Value::Bytes(range.clone()), range.end))
    }

    fn items(
        &mut self,
        sequence: Tag,
        mut at: usize,
        end: usize,
        encoding: Encoding,
        depth: usize,
        undefined: bool,
    ) -> Result<(Vec<Vec<Element>>, usize), ImagingError> {
        if depth > DEPTH_MAX {
            return Err(limit("nested sequences", depth, DEPTH_MAX));
        }
        let mut items = Vec::new();
        while at < end {
            let Some(head) = header(&self.bytes[..end], at, encoding) else {
                return Err(ImagingError::structure(sequence, "the data ends inside the header of an item"));
            };
            if head.tag == tags::SEQUENCE_END && head.length == 0 {
                if undefined {
                    return Ok((items, head.start));
                }
                self.warnings.push(Warning::StrayDelimiter);
                at = head.start;
                continue;
            }
            if head.tag != tags::ITEM {
                return Err(ImagingError::structure(sequence, "something other than an item stands in the sequence"));
            }
            self.counted()?;
            if head.length == UNDEFINED {
                let (elements, after) = self.elements(head.start, end, encoding, depth, true)?;
                items.push(elements);
                at = after;
                continue;
            }
            let present = end - head.start.min(end);
            let mut length = usize::try_from(head.length).unwrap_or(usize::MAX);
            if length > present && sequence == tags::DIRECTORY_RECORD_SEQUENCE && depth == 1 {
                // tools that take offsets out of a DICOMDIR leave the last record's length as it was; its elements
                // must still be whole
                self.warnings.push(Warning::SequenceLength);
                length = present;
            }
            if length > present {
                let fault = format!("an item declares {length} bytes, {present} are left in its container");
                return Err(ImagingError::structure(sequence, fault));
            }
            let (elements, after) = self.elements(head.start, head.start + length, encoding, depth, false)?;
            items.push(elements);
            at = after;
        }
        if undefined {
            return Err(ImagingError::structure(sequence, "the data ends before the sequence does"));
        }
        Ok((items, end))
    }

    /// The items of encapsulated pixel data: item lengths are trusted, delimiters are not searched for; without the
    /// closing one the file was cut short, though it may look whole.
    fn fragments(&mut self, head: &Header, end: usize, big_endian: bool) -> Result<(Value, usize), ImagingError> {
        let (mut ranges, mut at) = (Vec::new(), head.start);
        let encoding = Encoding { implicit: true, big_endian };
        loop {
            let item = if at < end { header(&self.bytes[..end], at, encoding) } else { None };
            let Some(item) = item else {
                return Err(ImagingError::structure(head.tag, "the data ends before its items do"));
            };
            if item.tag == tags::SEQUENCE_END {
                return Ok((Value::Fragments(ranges), item.start));
            }
            let present = end - item.start.min(end);
            let length = usize::try_from(item.length).unwrap_or(usize::MAX);
            if item.tag != tags::ITEM {
                return Err(ImagingError::structure(
                    head.tag,
                    "something other than an item stands among the fragments",
                ));
            }
            if length > present {
                let fault = format!("a fragment declares {length} bytes, {present} are left");
                return Err(ImagingError::structure(head.tag, fault));
            }
            self.counted()?;
            ranges.push(item.start..item.start + length);
            at = item.start + length;
        }
    }
}

fn limit(what: &'static str, found: usize, limit: usize) -> ImagingError {
    ImagingError::Limit { what, found: found as u64, limit: limit as u64 }
}
