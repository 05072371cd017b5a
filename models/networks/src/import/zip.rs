//! The parts of a zip archive that PyTorch writes: stored or deflated files, found by the central directory.
//! Units: bytes. Every offset and length is held to the archive, and what is unpacked to the length that was announced.
//! Errors: [`ImportError::Zip`]. Source: PKWARE APPNOTE 6.3.9, sections 4.3.7, 4.3.12, 4.3.16.

use super::{BYTES_MAX, ImportError};
use std::collections::BTreeMap;
use std::io::Read as _;

/// Files of one archive.
const FILES_MAX: usize = 100_000;

struct Member {
    method: u16,
    packed: usize,
    size: usize,
    header: usize,
}

/// An archive in memory.
pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    members: BTreeMap<String, Member>,
}

fn wrong(what: impl Into<String>) -> ImportError {
    ImportError::Zip(what.into())
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, ImportError> {
    let part = at.checked_add(2).and_then(|end| bytes.get(at..end)).and_then(|part| part.try_into().ok());
    part.map(u16::from_le_bytes).ok_or_else(|| wrong("it is cut short"))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<usize, ImportError> {
    let part = at.checked_add(4).and_then(|end| bytes.get(at..end)).and_then(|part| part.try_into().ok());
    part.map(|part| u32::from_le_bytes(part) as usize).ok_or_else(|| wrong("it is cut short"))
}

impl<'a> Archive<'a> {
    /// Reads the central directory.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, ImportError> {
        let tail = bytes.len().saturating_sub(66_000);
        let end = bytes[tail..].windows(4).rposition(|four| four == b"PK\x05\x06");
        let end = tail + end.ok_or_else(|| wrong("its central directory is missing; the file is cut short"))?;
        let (count, mut at) = (usize::from(u16_at(bytes, end + 10)?), u32_at(bytes, end + 16)?);
        if count == 0xffff || at == 0xffff_ffff || count > FILES_MAX {
            return Err(wrong("it is a zip64 archive, which only files above 4 GB need"));
        }
        let mut members = BTreeMap::new();
        let mut total = 0usize;
        for _ in 0..count {
            if bytes.get(at..at + 4) != Some(b"PK\x01\x02") {
                return Err(wrong("its central directory is damaged"));
            }
            let (flags, method) = (u16_at(bytes, at + 8)?, u16_at(bytes, at + 10)?);
            let (packed, size) = (u32_at(bytes, at + 20)?, u32_at(bytes, at + 24)?);
            let length = |field: usize| u16_at(bytes, at + field).map(usize::from);
            let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
            let header = u32_at(bytes, at + 42)?;
            let text = bytes.get(at + 46..at + 46 + name).ok_or_else(|| wrong("it is cut short"))?;
            let text = std::str::from_utf8(text).map_err(|_| wrong("a file's name is not UTF-8"))?;
            if flags & 1 != 0 {
                return Err(wrong(format!("{text} is encrypted")));
            }
            total = total
                .checked_add(size)
                .filter(|&total| total <= BYTES_MAX)
                .ok_or_else(|| wrong(format!("its files take more than {BYTES_MAX} bytes when unpacked")))?;
            members.insert(text.to_owned(), Member { method, packed, size, header });
            at += 46 + name + extra + comment;
        }
        Ok(Self { bytes, members })
    }

    /// Names of the files.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// A file's bytes, `None` if there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ImportError> {
        let Some(member) = self.members.get(name) else { return Ok(None) };
        let at = member.header;
        if at.checked_add(4).and_then(|end| self.bytes.get(at..end)) != Some(b"PK\x03\x04") {
            return Err(wrong(format!("{name}: its local header is damaged")));
        }
        let start = at + 30 + usize::from(u16_at(self.bytes, at + 26)?) + usize::from(u16_at(self.bytes, at + 28)?);
        let packed = start.checked_add(member.packed).and_then(|end| self.bytes.get(start..end));
        let packed = packed.ok_or_else(|| wrong(format!("{name} is cut short")))?;
        let bytes = match member.method {
            0 => packed.to_vec(),
            8 => {
                let mut bytes = Vec::new();
                // one byte more than announced is enough to see that the announcement is wrong
                let mut limited = flate2::read::DeflateDecoder::new(packed).take(member.size as u64 + 1);
                limited.read_to_end(&mut bytes).map_err(|error| wrong(format!("{name}: {error}")))?;
                bytes
            }
            other => return Err(wrong(format!("{name} is packed by method {other}; stored and deflated are read"))),
        };
        if bytes.len() != member.size {
            return Err(wrong(format!("{name} has {} bytes, {} were announced", bytes.len(), member.size)));
        }
        Ok(Some(bytes))
    }
}
