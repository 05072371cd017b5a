//! Names of people and places in the character sets of DICOM.
//! In: bytes and Specific Character Set. Out: text, with replacement characters where bytes do not fit the set.
//! Errors: none; an unknown set or a wrong byte is a `Warning::CharacterSet`.
//! Source: DICOM PS3.5 section 6.1 and annexes H to K. Several sets (ISO 2022) switch at escape sequences.

use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

use crate::{
    attributes::Attributes,
    limits::TEXT_CHARS_MAX,
    tags::{self, Tag},
};

const ESCAPE: u8 = 0x1b;

/// Reads the texts of one object.
pub(crate) struct Reader<'a> {
    attributes: Attributes<'a>,
    first: Option<SpecificCharacterSet>,
    unicode: bool,
    /// Something did not fit.
    pub(crate) doubt: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(attributes: Attributes<'a>) -> Self {
        // the first of several values may be empty: then the default repertoire
        let named = attributes.text(tags::SPECIFIC_CHARACTER_SET).unwrap_or_default();
        let codes: Vec<&str> = named.split('\\').map(str::trim).collect();
        let first = codes.first().copied().filter(|code| !code.is_empty()).unwrap_or("ISO_IR 6");
        let known = codes.iter().all(|code| code.is_empty() || SpecificCharacterSet::from_code(code).is_some());
        Self {
            attributes,
            first: SpecificCharacterSet::from_code(first),
            unicode: first == "ISO_IR 192",
            doubt: !known,
        }
    }

    /// The text of an attribute, without padding; empty where it is absent.
    pub(crate) fn text(&mut self, tag: Tag) -> String {
        let bytes = self.attributes.bytes(tag).unwrap_or_default();
        let bytes = bytes.get(..bytes.len().min(4 * TEXT_CHARS_MAX)).unwrap_or_default();
        let mut text = String::new();
        for (number, part) in bytes.split(|byte| *byte == ESCAPE).enumerate() {
            if number == 0 {
                self.decode(part, None, &mut text);
            } else {
                let (code, length) = escape(part);
                self.doubt |= code.is_none();
                self.decode(part.get(length..).unwrap_or_default(), code, &mut text);
            }
        }
        text.trim_matches([' ', '\0']).chars().take(TEXT_CHARS_MAX).collect()
    }

    fn decode(&mut self, bytes: &[u8], code: Option<&str>, text: &mut String) {
        if bytes.is_ascii() && code.is_none_or(|code| code == "ISO_IR 6") {
            text.extend(bytes.iter().map(|byte| char::from(*byte)));
            return;
        }
        if code.is_none() && self.unicode {
            let decoded = String::from_utf8_lossy(bytes);
            self.doubt |= decoded.contains(char::REPLACEMENT_CHARACTER);
            text.push_str(&decoded);
            return;
        }
        let set = if code.is_some() { code.and_then(SpecificCharacterSet::from_code) } else { self.first.clone() };
        // the codec of the two-byte Japanese set expects its escape sequence
        let whole = if code == Some("ISO 2022 IR 87") { [b"\x1b$B", bytes].concat() } else { bytes.to_vec() };
        let backslashes = |text: &[u8]| text.iter().filter(|byte| **byte == b'\\').count();
        match set.as_ref().map(|set| set.decode(&whole)) {
            // the codec writes a byte that does not fit as a backslash and its number
            Some(Ok(decoded)) if backslashes(decoded.as_bytes()) <= backslashes(bytes) => text.push_str(&decoded),
            _ => {
                self.doubt = true;
                text.push_str(&String::from_utf8_lossy(bytes));
            }
        }
    }
}

/// The character set that an escape sequence switches to, and its length after the escape byte.
fn escape(after: &[u8]) -> (Option<&'static str>, usize) {
    let table: [(&[u8], &str); 14] = [
        (b"(B", "ISO_IR 6"),
        (b"(J", "ISO_IR 13"),
        (b")I", "ISO_IR 13"),
        (b"$B", "ISO 2022 IR 87"),
        (b"$)C", "ISO 2022 IR 149"),
        (b"$)A", "ISO 2022 IR 58"),
        (b"-A", "ISO_IR 100"),
        (b"-B", "ISO_IR 101"),
        (b"-C", "ISO_IR 109"),
        (b"-D", "ISO_IR 110"),
        (b"-F", "ISO_IR 126"),
        (b"-G", "ISO_IR 127"),
        (b"-H", "ISO_IR 138"),
        (b"-L", "ISO_IR 144"),
    ];
    table.iter().find(|(mark, _)| after.starts_with(mark)).map_or((None, 0), |(mark, code)| (Some(*code), mark.len()))
}
