//! A small writer of DICOM files, so that each test can say exactly what stands in its file.

use std::collections::BTreeMap;

/// A file: elements by tag, explicit little endian unless told otherwise.
#[derive(Clone)]
pub(crate) struct Build {
    pub(crate) elements: BTreeMap<u32, (&'static [u8; 2], Vec<u8>)>,
    pub(crate) syntax: &'static str,
}

pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";

impl Build {
    /// A grey image of 4 rows and 3 columns, 16 bits, values 0 to 11.
    pub(crate) fn grey() -> Self {
        let mut build = Self { elements: BTreeMap::new(), syntax: EXPLICIT };
        build.text(0x0008_0016, b"UI", "1.2.840.10008.5.1.4.1.1.7");
        build.text(0x0008_0018, b"UI", "1.2.3.4");
        build.text(0x0008_0060, b"CS", "OT");
        build.text(0x0010_0010, b"PN", "Doe^Jane");
        build.text(0x0010_0020, b"LO", "P1");
        build.text(0x0020_000d, b"UI", "1.2.3");
        build.text(0x0020_000e, b"UI", "1.2.3.5");
        build.text(0x0028_0004, b"CS", "MONOCHROME2");
        for (tag, value) in
            [(0x0002, 1), (0x0010, 4), (0x0011, 3), (0x0100, 16), (0x0101, 16), (0x0102, 15), (0x0103, 0)]
        {
            build.number(0x0028_0000 | tag, value);
        }
        let values: Vec<u8> = (0..12_u16).flat_map(u16::to_le_bytes).collect();
        build.bytes(0x7fe0_0010, b"OW", values);
        build
    }

    pub(crate) fn bytes(&mut self, tag: u32, vr: &'static [u8; 2], value: Vec<u8>) -> &mut Self {
        self.elements.insert(tag, (vr, value));
        self
    }

    pub(crate) fn text(&mut self, tag: u32, vr: &'static [u8; 2], value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        if bytes.len() % 2 == 1 {
            bytes.push(if vr == b"UI" { 0 } else { b' ' });
        }
        self.bytes(tag, vr, bytes)
    }

    pub(crate) fn number(&mut self, tag: u32, value: u16) -> &mut Self {
        self.bytes(tag, b"US", value.to_le_bytes().to_vec())
    }

    pub(crate) fn without(&mut self, tag: u32) -> &mut Self {
        self.elements.remove(&tag);
        self
    }

    /// The data set alone.
    pub(crate) fn data_set(&self) -> Vec<u8> {
        self.elements.iter().flat_map(|(tag, (vr, value))| element(*tag, vr, value)).collect()
    }

    /// The whole file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut uid = self.syntax.as_bytes().to_vec();
        if uid.len() % 2 == 1 {
            uid.push(0);
        }
        let rest = element(0x0002_0010, b"UI", &uid);
        let length = u32::try_from(rest.len()).unwrap().to_le_bytes();
        let mut out = vec![0; 128];
        out.extend(b"DICM");
        out.extend(element(0x0002_0000, b"UL", &length));
        out.extend(rest);
        out.extend(self.data_set());
        out
    }
}

/// One element with an explicit representation; an undefined length for a value that begins with an item mark and is
/// pixel data.
pub(crate) fn element(tag: u32, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut out = ((tag >> 16) as u16).to_le_bytes().to_vec();
    out.extend((tag as u16).to_le_bytes());
    out.extend(vr);
    let items = value.starts_with(&[0xfe, 0xff, 0x00, 0xe0]) && tag == 0x7fe0_0010;
    let length = if items { u32::MAX } else { u32::try_from(value.len()).unwrap() };
    if matches!(vr, b"OB" | b"OW" | b"OF" | b"OD" | b"SQ" | b"UN" | b"UT") {
        out.extend([0, 0]);
        out.extend(length.to_le_bytes());
    } else {
        out.extend(u16::try_from(length).unwrap().to_le_bytes());
    }
    out.extend(value);
    out
}

/// One item of defined length.
pub(crate) fn item(value: &[u8]) -> Vec<u8> {
    let mut out = vec![0xfe, 0xff, 0x00, 0xe0];
    out.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    out.extend(value);
    out
}

/// Encapsulated pixel data: an offset table, fragments, the closing mark.
pub(crate) fn fragments(table: &[u32], parts: &[&[u8]]) -> Vec<u8> {
    let mut out = item(&table.iter().flat_map(|offset| offset.to_le_bytes()).collect::<Vec<_>>());
    parts.iter().for_each(|part| out.extend(item(part)));
    out.extend([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
    out
}
