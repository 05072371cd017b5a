//! The smallest DICOM file around a data set, and the smallest data set around a code stream.

/// Kind of the 19 x 17 image.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Grey8,
    Grey16,
    Colour8,
}

impl Shape {
    /// A data set whose one frame is `stream`.
    pub(crate) fn data_set(self, stream: &[u8]) -> Vec<u8> {
        let (samples, photometric, bits) = match self {
            Self::Grey8 => (1, &b"MONOCHROME2 "[..], 8),
            Self::Grey16 => (1, &b"MONOCHROME2 "[..], 16),
            Self::Colour8 => (3, &b"RGB "[..], 8_u16),
        };
        let mut out = Vec::new();
        let mut number = |element: u16, value: u16| short(&mut out, 0x0028, element, *b"US", &value.to_le_bytes());
        number(0x0002, samples);
        short(&mut out, 0x0028, 0x0004, *b"CS", photometric);
        let mut number = |element: u16, value: u16| short(&mut out, 0x0028, element, *b"US", &value.to_le_bytes());
        number(0x0006, 0);
        for (element, value) in [(0x10, 19), (0x11, 17), (0x100, bits), (0x101, bits), (0x102, bits - 1), (0x103, 0)] {
            number(element, value);
        }
        // pixel data of undefined length: an empty offset table, the stream, the closing mark
        out.extend([0xe0, 0x7f, 0x10, 0x00, b'O', b'B', 0, 0, 0xff, 0xff, 0xff, 0xff]);
        out.extend([0xfe, 0xff, 0x00, 0xe0, 0, 0, 0, 0, 0xfe, 0xff, 0x00, 0xe0]);
        out.extend((stream.len() as u32).to_le_bytes());
        out.extend(stream);
        out.extend([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
        out
    }
}

/// A file with a sound file meta group around `data_set`.
pub(crate) fn file(uid: &str, data_set: &[u8]) -> Vec<u8> {
    let mut uid = uid.as_bytes().to_vec();
    if uid.len() % 2 == 1 {
        uid.push(0);
    }
    let mut out = vec![0; 128];
    out.extend(b"DICM");
    short(&mut out, 0x0002, 0x0000, *b"UL", &(8 + uid.len() as u32).to_le_bytes());
    short(&mut out, 0x0002, 0x0010, *b"UI", &uid);
    out.extend(data_set);
    out
}

/// An element with a length of 16 bits.
fn short(out: &mut Vec<u8>, group: u16, element: u16, vr: [u8; 2], value: &[u8]) {
    out.extend(group.to_le_bytes());
    out.extend(element.to_le_bytes());
    out.extend(vr);
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
}
