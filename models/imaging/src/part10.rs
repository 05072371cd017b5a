//! The front of a file: preamble, file meta group, transfer syntax, inflation; then the walk.
//! In: the bytes as received. Out: the bytes of the data set, its elements, its transfer syntax, and what was lenient.
//! Errors: `NotDicom`, `Structure`, `TransferSyntax`, `Deflate`, `Limit`.
//! Source: DICOM PS3.10 chapter 7, IMAGING.md sections 2 and 4. Requirement: REQ-IMG-003, REQ-IMG-004.

use flate2::{Decompress, FlushDecompress, Status};

use crate::{
    dataset::{Element, Value, header, known_vr, letters, u32_at, walk},
    error::{ImagingError, Warning},
    limits::INFLATED_BYTES_MAX,
    syntaxes::{self, EXPLICIT_BIG, EXPLICIT_LITTLE, Encoding, IMPLICIT_LITTLE, Syntax},
    tags::{self, Tag},
};

/// A file whose structure holds.
pub(crate) struct Front {
    /// Bytes that the elements' ranges point into: the file, or the inflated data set.
    pub(crate) data: Vec<u8>,
    pub(crate) elements: Vec<Element>,
    /// The transfer syntax as named, digits and dots only.
    pub(crate) uid: String,
    /// Its row, where it is accepted.
    pub(crate) syntax: Option<&'static Syntax>,
    pub(crate) media_class: Option<String>,
    pub(crate) media_instance: Option<String>,
    pub(crate) warnings: Vec<Warning>,
}

/// Reads the front of `bytes` and walks the data set.
pub(crate) fn read(bytes: Vec<u8>) -> Result<Front, ImagingError> {
    let mut warnings = Vec::new();
    let meta = meta(&bytes, &mut warnings)?;
    let syntax = match meta.uid.as_deref() {
        Some(uid) => syntaxes::find(uid),
        None => {
            warnings.push(Warning::MetaMissing);
            let named = match sniff(&bytes, meta.end) {
                Some(IMPLICIT_LITTLE) => "1.2.840.10008.1.2",
                Some(EXPLICIT_BIG) => "1.2.840.10008.1.2.2",
                Some(_) => "1.2.840.10008.1.2.1",
                None if meta.present => {
                    let why = "and the data set does not show its encoding";
                    return Err(ImagingError::Missing { attribute: tags::TRANSFER_SYNTAX_UID, why });
                }
                None => return Err(not_dicom(&bytes, meta.end)),
            };
            syntaxes::find(named)
        }
    };
    let uid = meta.uid.unwrap_or_else(|| syntax.map(|row| row.uid.to_owned()).unwrap_or_default());
    // what is not accepted is walked as explicit little endian, as every standard syntax but three is
    let mut encoding = syntax.map_or(EXPLICIT_LITTLE, |row| row.encoding);
    let (data, start) = if syntax.is_some_and(|row| row.deflated) {
        (inflate(bytes.get(meta.end..).unwrap_or_default(), &mut warnings)?, 0)
    } else {
        (bytes, meta.end)
    };
    if start >= data.len() {
        return Err(ImagingError::structure(tags::TRANSFER_SYNTAX_UID, "the file ends before the data set begins"));
    }
    if let Some(seen) = sniff(&data, start)
        && seen != encoding
    {
        warnings.push(Warning::EncodingOtherThanNamed);
        encoding = seen;
    }
    let walked = match walk(&data, start, encoding) {
        Ok(walked) => walked,
        // a syntax that is not accepted is the better answer than a walk that guessed its encoding
        Err(_) if syntax.is_none() => return Err(ImagingError::TransferSyntax { uid }),
        Err(error) => return Err(error),
    };
    warnings.extend(walked.warnings);
    Ok(Front {
        data,
        elements: walked.elements,
        uid,
        syntax,
        media_class: meta.media_class,
        media_instance: meta.media_instance,
        warnings,
    })
}

struct Meta {
    end: usize,
    present: bool,
    uid: Option<String>,
    media_class: Option<String>,
    media_instance: Option<String>,
}

/// The file meta group, read by its elements; the group length is advice.
fn meta(bytes: &[u8], warnings: &mut Vec<Warning>) -> Result<Meta, ImagingError> {
    if bytes.is_empty() {
        return Err(ImagingError::NotDicom { reason: "the file is empty" });
    }
    let magic = bytes.get(128..132) == Some(b"DICM");
    let start = match (magic, bytes.get(..4) == Some(b"DICM")) {
        (true, _) => 132,
        (false, true) => 4,
        (false, false) => 0,
    };
    if !magic {
        warnings.push(Warning::PreambleMissing);
    }
    let mut meta = Meta { end: start, present: false, uid: None, media_class: None, media_instance: None };
    let (mut at, mut declared_end) = (start, None);
    while bytes.get(at..at + 2) == Some(&[2, 0]) {
        let implicit = header(bytes, at, EXPLICIT_LITTLE).is_some_and(|head| !letters(head.vr));
        let encoding = if implicit { IMPLICIT_LITTLE } else { EXPLICIT_LITTLE };
        let Some(head) = header(bytes, at, encoding) else {
            return Err(ImagingError::structure(tags::META_LENGTH, "the file ends inside the file meta group"));
        };
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        let Some(value) = head.start.checked_add(length).and_then(|end| bytes.get(head.start..end)) else {
            let present = bytes.len().saturating_sub(head.start);
            let fault = format!("declares {length} bytes, {present} are left in the file");
            return Err(ImagingError::structure(head.tag, fault));
        };
        at = head.start + length;
        match head.tag {
            tags::META_LENGTH => {
                declared_end = u32_at(value, 0, false).and_then(|length| at.checked_add(length as usize));
            }
            tags::TRANSFER_SYNTAX_UID => meta.uid = Some(uid_text(value)),
            tags::MEDIA_SOP_CLASS_UID => meta.media_class = Some(uid_text(value)),
            tags::MEDIA_SOP_INSTANCE_UID => meta.media_instance = Some(uid_text(value)),
            Tag(0x0002_0016..=0x0002_0018) if length > 16 => warnings.push(Warning::MetaValueTooLong),
            _ => {}
        }
    }
    (meta.end, meta.present) = (at, at > start);
    if at == start {
        if magic || start == 4 {
            return Err(ImagingError::NotDicom { reason: "there is no file meta group after DICM" });
        }
        if sniff(bytes, 0).is_none() {
            return Err(not_dicom(bytes, 0));
        }
    } else if declared_end != Some(at) {
        warnings.push(Warning::MetaLength);
    }
    if meta.uid.as_deref() == Some("") {
        meta.uid = None;
    }
    Ok(meta)
}

fn not_dicom(bytes: &[u8], at: usize) -> ImagingError {
    let reason = if at >= bytes.len() {
        "the file ends before a data set begins"
    } else {
        "neither the letters DICM nor a data set's first elements are there"
    };
    ImagingError::NotDicom { reason }
}

/// A unique identifier as text: what is not a digit or dot ends it.
pub(crate) fn uid_text(value: &[u8]) -> String {
    let clean = value.iter().skip_while(|byte| **byte == b' ');
    clean.take_while(|byte| byte.is_ascii_digit() || **byte == b'.').take(64).map(|byte| char::from(*byte)).collect()
}

/// Recognises the encoding from the first elements: ascending tags of low groups with lengths that fit.
fn sniff(bytes: &[u8], at: usize) -> Option<Encoding> {
    [EXPLICIT_LITTLE, EXPLICIT_BIG, IMPLICIT_LITTLE].into_iter().find(|encoding| plausible(bytes, at, *encoding))
}

fn plausible(bytes: &[u8], mut at: usize, encoding: Encoding) -> bool {
    let mut last = Tag(0);
    for number in 0..3 {
        if at >= bytes.len() {
            return number > 0;
        }
        let Some(head) = header(bytes, at, encoding) else { return false };
        let low = head.tag.group() <= 0x0018 || (number > 0 && head.tag.group() < 0x7fe0);
        let named = encoding.implicit || known_vr(head.vr);
        if !low || head.tag.group() < 2 || head.tag <= last || !named {
            return false;
        }
        if head.length == u32::MAX {
            return number > 0 || &head.vr == b"SQ" || encoding.implicit;
        }
        let Some(next) = head.start.checked_add(head.length as usize) else { return false };
        if next > bytes.len() {
            // the first element must fit; a later one that does not is the walk's to name
            return number > 0;
        }
        (last, at) = (head.tag, next);
    }
    true
}

/// Unpacks a deflated data set into at most `INFLATED_BYTES_MAX` bytes.
fn inflate(packed: &[u8], warnings: &mut Vec<Warning>) -> Result<Vec<u8>, ImagingError> {
    match inflate_bounded(packed, false, INFLATED_BYTES_MAX) {
        Err(ImagingError::Deflate { .. }) if packed.first() == Some(&0x78) => {
            warnings.push(Warning::ZlibHeader);
            inflate_bounded(packed, true, INFLATED_BYTES_MAX)
        }
        other => other,
    }
}

/// Unpacks a deflate stream; what is beyond `budget` bytes is an error, not memory.
pub(crate) fn inflate_bounded(packed: &[u8], zlib: bool, budget: usize) -> Result<Vec<u8>, ImagingError> {
    let mut state = Decompress::new(zlib);
    let mut out = Vec::with_capacity(packed.len().saturating_mul(4).min(budget).max(1 << 12));
    loop {
        let consumed = usize::try_from(state.total_in()).unwrap_or(usize::MAX);
        let rest = packed.get(consumed..).unwrap_or_default();
        let before = out.len();
        let status = state
            .decompress_vec(rest, &mut out, FlushDecompress::None)
            .map_err(|_| ImagingError::Deflate { fault: "the stream is damaged" })?;
        if out.len() > budget {
            let (found, limit) = (out.len() as u64, budget as u64);
            return Err(ImagingError::Limit { what: "bytes unpacked by deflate", found, limit });
        }
        if status == Status::StreamEnd {
            return Ok(out);
        }
        let full = out.len() == out.capacity();
        if !full && out.len() == before && usize::try_from(state.total_in()).unwrap_or(0) == consumed {
            return Err(ImagingError::Deflate { fault: "the stream ends early" });
        }
        if full {
            out.reserve_exact(out.len().min(budget.saturating_sub(out.len()) + 1).max(1));
        }
    }
}

/// The value bytes of `tag` among `elements`.
pub(crate) fn find(elements: &[Element], tag: Tag) -> Option<&Element> {
    elements.iter().find(|element| element.tag == tag)
}

/// The plain bytes of an element.
pub(crate) fn plain<'a>(data: &'a [u8], element: &Element) -> Option<&'a [u8]> {
    match &element.value {
        Value::Bytes(range) => data.get(range.clone()),
        Value::Items(_) | Value::Fragments(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Proves: REQ-IMG-003
    #[test]
    fn inflation_stops_at_its_budget_and_refuses_a_stream_that_ends_early() {
        let stream = packed(&[7; 100_000]);
        assert_eq!(inflate_bounded(&stream, false, 100_000).unwrap(), [7; 100_000]);
        let beyond = inflate_bounded(&stream, false, 99_999).unwrap_err();
        assert!(matches!(beyond, ImagingError::Limit { limit: 99_999, .. }));
        let cut = inflate_bounded(&stream[..stream.len() - 3], false, 100_000).unwrap_err();
        assert!(matches!(cut, ImagingError::Deflate { .. }));
    }
}
