//! JPEG with Huffman coding: baseline, extended (8 and 12 bit), progressive, and lossless (2 to 16 bit).
//! In: the code stream of one frame. Out: component values as they were coded, chroma brought to full size, no colour
//! transform; what the colours are is decided from APP14, JFIF and the component numbers.
//! Errors: arithmetic or hierarchical coding, sizes that differ from the attributes, a scan that ends early.
//! Source: ITU-T T.81 (1992), T.872 (APP14); DICOM PS3.5 A.4.1 to A.4.2. Requirement: REQ-IMG-008.

mod bits;
mod dct;
mod huffman;
mod lossless;
mod planes;
mod scan;

use super::{Frame, Raw, same_size};
use crate::{
    description::{Photometric, PixelDescription},
    limits::JPEG_PIXELS_PER_BYTE_MAX,
};
use bits::Bits;
use huffman::Table;
use planes::Component;

/// How the coefficients or differences are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    Sequential,
    Progressive,
    Lossless,
}

/// The frame header.
struct Header {
    process: Process,
    precision: u8,
    rows: usize,
    columns: usize,
    components: Vec<Component>,
}

impl Header {
    fn factors(&self) -> (usize, usize) {
        let most = |of: fn(&Component) -> usize| self.components.iter().map(of).max().unwrap_or(1);
        (most(|one| one.across), most(|one| one.down))
    }
}

/// Parameters of one scan.
struct ScanHeader {
    /// Component index, DC table, AC table.
    parts: Vec<(usize, usize, usize)>,
    first: usize,
    last: usize,
    high: u8,
    low: u8,
}

/// The tables that stand before a scan.
#[derive(Default)]
struct Tables {
    quantisation: [Option<[u16; 64]>; 4],
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    restart: usize,
}

#[derive(Default)]
struct Marks {
    adobe: Option<u8>,
    jfif: bool,
}

/// Decodes one frame.
pub(crate) fn frame(bytes: &[u8], description: &PixelDescription) -> Result<Frame, String> {
    if bytes.get(..2) != Some(&[0xff, 0xd8]) {
        return Err("no start of image".to_owned());
    }
    let (mut tables, mut marks, mut header) = (Tables::default(), Marks::default(), None);
    let (mut at, mut scans) = (2, 0);
    while let Some((marker, body, after)) = segment(bytes, at)? {
        at = after;
        match marker {
            0xd9 => break,
            0xc0..=0xc3 => {
                if header.is_some() {
                    return Err("there are two frame headers".to_owned());
                }
                header = Some(frame_header(marker, body, bytes.len(), description)?);
            }
            0xc5..=0xc7 | 0xcd..=0xcf | 0xde => return Err("hierarchical coding is not accepted".to_owned()),
            0xc9..=0xcc => return Err("arithmetic coding is not accepted".to_owned()),
            0xc4 => huffman_tables(body, &mut tables)?,
            0xdb => quantisation_tables(body, &mut tables)?,
            0xdd => tables.restart = usize::from(short(body, 0).ok_or("restart interval is cut short")?),
            0xdc => return Err("the number of lines comes after the scan, which is not accepted".to_owned()),
            0xe0 => marks.jfif |= body.starts_with(b"JFIF\0"),
            0xee if body.starts_with(b"Adobe") => marks.adobe = body.get(11).copied(),
            0xda => {
                let header = header.as_mut().ok_or("a scan stands before the frame header")?;
                let scan = scan_header(body, header)?;
                keep_quantisation(header, &scan, &tables);
                let mut bits = Bits::new(bytes, at);
                match header.process {
                    Process::Lossless => lossless::scan(&mut bits, header, &scan, &tables)?,
                    Process::Sequential | Process::Progressive => scan::scan(&mut bits, header, &scan, &tables)?,
                }
                at = bits.place();
                scans += 1;
            }
            _ => {}
        }
    }
    let header = header.ok_or("there is no frame header")?;
    if scans == 0 || header.components.iter().any(|one| !one.seen) {
        return Err("there is no scan of some component".to_owned());
    }
    let colours = colours(&header, &marks, description.photometric);
    Ok(Frame { raw: Raw::Words(planes::interleave(&header)?), colours, sign_differs: false })
}

/// A marker segment: marker, body, place after it.
type Segment<'a> = (u8, &'a [u8], usize);

/// The next marker segment. Bytes that are no marker are passed over, as readers do.
fn segment(bytes: &[u8], mut at: usize) -> Result<Option<Segment<'_>>, String> {
    while let Some(pair) = bytes.get(at..at + 2) {
        let marker = pair[1];
        if pair[0] != 0xff || matches!(marker, 0 | 0xff) {
            at += 1;
            continue;
        }
        if matches!(marker, 0x01 | 0xd0..=0xd9) {
            return Ok(Some((marker, &[], at + 2)));
        }
        let length = usize::from(short(bytes, at + 2).ok_or("a marker segment is cut short")?);
        let body = bytes.get(at + 4..at + 2 + length).ok_or("a marker segment is cut short")?;
        return Ok(Some((marker, body, at + 2 + length)));
    }
    Ok(None)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from(*bytes.get(at)?) << 8 | u16::from(*bytes.get(at + 1)?))
}

fn frame_header(marker: u8, body: &[u8], stream: usize, description: &PixelDescription) -> Result<Header, String> {
    let process = match marker {
        0xc2 => Process::Progressive,
        0xc3 => Process::Lossless,
        _ => Process::Sequential,
    };
    let cut = "the frame header is cut short";
    let precision = *body.first().ok_or(cut)?;
    let (rows, columns) = (short(body, 1).ok_or(cut)?, short(body, 3).ok_or(cut)?);
    let count = *body.get(5).ok_or(cut)?;
    same_size(description, u64::from(rows), u64::from(columns), u64::from(count))?;
    let allowed = if process == Process::Lossless { 2..=16 } else { 8..=12 };
    if !allowed.contains(&precision) || (precision != 8 && precision != 12 && process != Process::Lossless) {
        return Err(format!("{precision} bits a sample are not in this process"));
    }
    if u16::from(precision) > description.bits_allocated {
        return Err(format!("{precision} bits a sample, Bits Allocated is {}", description.bits_allocated));
    }
    let pixels = u64::from(rows) * u64::from(columns);
    let densest = if process == Process::Lossless { 8 } else { JPEG_PIXELS_PER_BYTE_MAX };
    if pixels > stream as u64 * densest {
        return Err(format!("{stream} bytes cannot hold {rows} x {columns} pixels"));
    }
    let mut header =
        Header { process, precision, rows: usize::from(rows), columns: usize::from(columns), components: Vec::new() };
    for number in 0..usize::from(count) {
        let one = body.get(6 + 3 * number..9 + 3 * number).ok_or(cut)?;
        let (across, down) = (usize::from(one[1] >> 4), usize::from(one[1] & 15));
        if !(1..=4).contains(&across) || !(1..=4).contains(&down) || one[2] > 3 {
            return Err("a sampling factor or table number is out of range".to_owned());
        }
        header.components.push(Component::new(one[0], across, down, usize::from(one[2])));
    }
    if let [one] = header.components.as_mut_slice() {
        // a single component has no one to be sampled against
        (one.across, one.down) = (1, 1);
    }
    planes::size(&mut header);
    Ok(header)
}

fn scan_header(body: &[u8], header: &Header) -> Result<ScanHeader, String> {
    let cut = "the scan header is cut short";
    let count = usize::from(*body.first().ok_or(cut)?);
    let mut parts: Vec<(usize, usize, usize)> = Vec::new();
    for number in 0..count {
        let pair = body.get(1 + 2 * number..3 + 2 * number).ok_or(cut)?;
        let index = header.components.iter().position(|one| one.id == pair[0]);
        let index = index.ok_or("a scan names a component that the frame header does not")?;
        if parts.iter().any(|(before, ..)| *before == index) || pair[1] >> 4 > 3 || pair[1] & 15 > 3 {
            return Err("a scan names a component twice, or a table that cannot be".to_owned());
        }
        parts.push((index, usize::from(pair[1] >> 4), usize::from(pair[1] & 15)));
    }
    let rest = body.get(1 + 2 * count..4 + 2 * count).ok_or(cut)?;
    if parts.is_empty() {
        return Err("a scan without components".to_owned());
    }
    let (first, last) = (usize::from(rest[0]), usize::from(rest[1]));
    let scan = ScanHeader { parts, first, last, high: rest[2] >> 4, low: rest[2] & 15 };
    let dct = header.process != Process::Lossless;
    if dct && (scan.first > 63 || scan.last > 63 || scan.low > 13 || scan.high > 13) {
        return Err("the scan's spectral selection is out of range".to_owned());
    }
    Ok(scan)
}

/// The quantisation table that stands before a component's first scan is the one it was coded with.
fn keep_quantisation(header: &mut Header, scan: &ScanHeader, tables: &Tables) {
    for (index, ..) in &scan.parts {
        if let Some(component) = header.components.get_mut(*index) {
            component.seen = true;
            if component.quantisation.is_none() {
                component.quantisation = tables.quantisation.get(component.table).copied().flatten();
            }
        }
    }
}

fn huffman_tables(mut body: &[u8], tables: &mut Tables) -> Result<(), String> {
    while let Some((head, rest)) = body.split_first() {
        let counts = rest.first_chunk::<16>().ok_or("a Huffman table is cut short")?;
        let total: usize = counts.iter().map(|count| usize::from(*count)).sum();
        let symbols = rest.get(16..16 + total).ok_or("a Huffman table is cut short")?;
        let table = Table::new(counts, symbols).ok_or("a Huffman table has more codes than bits allow")?;
        let place = usize::from(head & 15);
        let kind = if head >> 4 == 0 { &mut tables.dc } else { &mut tables.ac };
        *kind.get_mut(place).ok_or("a Huffman table has a number above 3")? = Some(table);
        body = &rest[16 + total..];
    }
    Ok(())
}

fn quantisation_tables(mut body: &[u8], tables: &mut Tables) -> Result<(), String> {
    while let Some((head, rest)) = body.split_first() {
        let wide = head >> 4 != 0;
        let length = if wide { 128 } else { 64 };
        let values = rest.get(..length).ok_or("a quantisation table is cut short")?;
        let mut table = [0; 64];
        for (index, value) in table.iter_mut().enumerate() {
            *value = if wide { short(values, 2 * index).unwrap_or(0) } else { u16::from(values[index]) };
        }
        let place = tables.quantisation.get_mut(usize::from(head & 15));
        *place.ok_or("a quantisation table has a number above 3")? = Some(table);
        body = &rest[length..];
    }
    Ok(())
}

/// What three components are: APP14 decides, then the letters R, G, B, then shared chroma and JFIF, then the attribute.
fn colours(header: &Header, marks: &Marks, attribute: Photometric) -> Option<Photometric> {
    let [first, second, third] = header.components.as_slice() else { return None };
    let shared = first.across > second.across || first.down > second.down;
    let letters = [first.id, second.id, third.id] == *b"RGB";
    let luminance = match (marks.adobe, letters) {
        (Some(0), _) => false,
        (Some(_), _) => true,
        (None, true) => false,
        (None, false) if shared || (marks.jfif && header.process != Process::Lossless) => true,
        (None, false) => attribute != Photometric::Rgb,
    };
    Some(if luminance { Photometric::YbrFull } else { Photometric::Rgb })
}

/// The stream is a baseline JPEG of one component, which DICOM can hold unchanged.
pub(crate) fn baseline_grey(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Ok(Some((marker, body, after))) = segment(bytes, at) {
        match marker {
            0xc0 => return body.first() == Some(&8) && body.get(5) == Some(&1),
            0xc1..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcf | 0xda => return false,
            _ => at = after,
        }
    }
    false
}
