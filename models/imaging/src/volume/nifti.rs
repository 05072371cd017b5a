//! NIfTI-1 files, one file (`n+1`), plain or gzipped: read within bounds, and written.
//! Shapes: the file's first axis is its fastest; here it is the slowest (see [`super::Volume`]).
//! Units: millimetres, RAS; the file's own unit is turned into them. `scl_slope` and `scl_inter` are applied where the
//! slope is not zero. The sform is preferred where its code is above 0, then the qform; without either only sizes are
//! known.
//! Errors: [`VolumeError`], naming the field. Lengths are held to the header before memory is taken; a gzipped file may
//! not unpack to more than its header says.
//! Source: NIfTI-1.1 (`nifti1.h`), methods 1 to 3.

use super::{VOXELS_MAX, Volume, VolumeError};
use crate::geometry::Affine;
use std::io::{Read, Write as _};

/// Bytes of the header.
const HEADER: usize = 348;

/// A file's volume and the two places that it may give.
#[derive(Clone, Debug)]
pub struct Nifti {
    /// The volume, placed by sform, else qform, else by its sizes alone.
    pub volume: Volume,
    /// The place by quaternion, where its code is above 0.
    pub qform: Option<Affine>,
    /// The place by three rows, where its code is above 0.
    pub sform: Option<Affine>,
    /// What was tolerated or assumed, in words.
    pub notes: Vec<&'static str>,
}

struct Header<'a> {
    bytes: &'a [u8],
    big: bool,
}

impl Header<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut part: [u8; N] = std::array::from_fn(|offset| self.bytes[at + offset]);
        if self.big {
            part.reverse();
        }
        part
    }

    fn short(&self, at: usize) -> i16 {
        i16::from_le_bytes(self.array(at))
    }

    fn float(&self, at: usize) -> f64 {
        f64::from(f32::from_le_bytes(self.array(at)))
    }
}

fn header(field: &'static str, expected: &'static str, found: impl ToString) -> VolumeError {
    VolumeError::Header { field, expected, found: found.to_string() }
}

/// Reads the bytes of a `.nii` or `.nii.gz` file.
pub fn read_nifti(bytes: &[u8]) -> Result<Nifti, VolumeError> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        read(&mut flate2::read::MultiGzDecoder::new(bytes), true)
    } else {
        read(&mut &bytes[..], false)
    }
}

fn read(from: &mut dyn Read, packed: bool) -> Result<Nifti, VolumeError> {
    let mut bytes = [0; HEADER];
    let short = |error: std::io::Error| VolumeError::Nifti(format!("it is cut short or damaged ({error})"));
    from.read_exact(&mut bytes).map_err(short)?;
    let size: [u8; 4] = std::array::from_fn(|at| bytes[at]);
    let big = match (i32::from_le_bytes(size), i32::from_be_bytes(size)) {
        (348, _) => false,
        (_, 348) => true,
        (540, _) | (_, 540) => return Err(header("sizeof_hdr", "348 (NIfTI-1); convert NIfTI-2 files", 540)),
        (other, _) => return Err(header("sizeof_hdr", "348", other)),
    };
    let head = Header { bytes: &bytes, big };
    if &bytes[344..347] != b"n+1" {
        return Err(header("magic", "n+1: header and voxels in one file", String::from_utf8_lossy(&bytes[344..347])));
    }
    let shape = shape(&head)?;
    let voxels = shape.iter().product::<usize>();
    let (width, decode) = kind(&head)?;
    let offset = head.float(108);
    if !(352.0..=1e6).contains(&offset) {
        return Err(header("vox_offset", "352 or more", offset));
    }
    let skipped = std::io::copy(&mut from.take(offset as u64 - HEADER as u64), &mut std::io::sink()).map_err(short)?;
    if skipped != offset as u64 - HEADER as u64 {
        return Err(VolumeError::Nifti("it is cut short before its voxels".into()));
    }
    let mut data = Vec::new();
    let needed = (voxels * width) as u64;
    from.take(needed).read_to_end(&mut data).map_err(short)?;
    if data.len() as u64 != needed {
        return Err(VolumeError::Nifti(format!("{} bytes of voxels, its header says {needed}", data.len())));
    }
    let mut notes = Vec::new();
    if packed && from.take(1).read_to_end(&mut Vec::new()).map_err(short)? > 0 {
        notes.push("bytes after the voxels were ignored");
    }
    let (slope, intercept) = (head.float(112), head.float(116));
    let scaled = slope.is_finite() && intercept.is_finite() && slope.abs() > 0.0;
    let values = transposed(shape, |at| {
        let mut item: [u8; 8] = [0; 8];
        let part = &mut item[..width];
        part.copy_from_slice(&data[at * width..(at + 1) * width]);
        if big {
            part.reverse();
        }
        let value = decode(item);
        if scaled { (value * slope + intercept) as f32 } else { value as f32 }
    });
    place(&head, shape, values, notes)
}

fn shape(head: &Header<'_>) -> Result<[usize; 3], VolumeError> {
    let count = head.short(40);
    if !(3..=7).contains(&count) {
        return Err(header("dim[0]", "3 (a volume)", count));
    }
    let length = |at: usize| usize::try_from(head.short(40 + 2 * at)).ok().filter(|&length| length > 0);
    for at in 4..=usize::try_from(count).unwrap_or(3) {
        if length(at) != Some(1) {
            let found = format!("dim[{at}] = {}", head.short(40 + 2 * at));
            return Err(header("dim", "one volume; give time points or directions one by one", found));
        }
    }
    let (Some(i), Some(j), Some(k)) = (length(1), length(2), length(3)) else {
        return Err(header(
            "dim",
            "lengths above 0",
            [head.short(42), head.short(44), head.short(46)].map(|n| n.to_string()).join(" x "),
        ));
    };
    match i.checked_mul(j).and_then(|plane| plane.checked_mul(k)) {
        Some(voxels) if voxels <= VOXELS_MAX => Ok([i, j, k]),
        _ => Err(header("dim", "at most 2^28 voxels", format!("{i} x {j} x {k}"))),
    }
}

type Decode = fn([u8; 8]) -> f64;

/// Bytes of a voxel and how its little-endian bytes are read.
fn kind(head: &Header<'_>) -> Result<(usize, Decode), VolumeError> {
    let (code, bits) = (head.short(70), head.short(72));
    let (width, decode): (usize, Decode) = match code {
        2 => (1, |b| f64::from(b[0])),
        256 => (1, |b| f64::from(b[0] as i8)),
        4 => (2, |b| f64::from(i16::from_le_bytes([b[0], b[1]]))),
        512 => (2, |b| f64::from(u16::from_le_bytes([b[0], b[1]]))),
        8 => (4, |b| f64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        768 => (4, |b| f64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        16 => (4, |b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        64 => (8, f64::from_le_bytes),
        other => {
            let expected = "whole numbers of 8, 16 or 32 bits, or floats of 32 or 64";
            return Err(header("datatype", expected, other));
        }
    };
    if usize::try_from(bits) == Ok(width * 8) {
        Ok((width, decode))
    } else {
        Err(header("bitpix", "the datatype's", bits))
    }
}

/// Values by (i, j, k), the first slowest, from a file in which it is the fastest.
fn transposed(shape: [usize; 3], value: impl Fn(usize) -> f32) -> Vec<f32> {
    let [ni, nj, nk] = shape;
    let mut values = Vec::with_capacity(ni * nj * nk);
    for i in 0..ni {
        for j in 0..nj {
            for k in 0..nk {
                values.push(value(i + ni * (j + nj * k)));
            }
        }
    }
    values
}

fn place(
    head: &Header<'_>,
    shape: [usize; 3],
    values: Vec<f32>,
    mut notes: Vec<&'static str>,
) -> Result<Nifti, VolumeError> {
    let unit = match head.bytes[123] & 7 {
        1 => 1000.0,
        3 => 1e-3,
        0 => {
            notes.push("the unit of length is not stated; millimetres are assumed");
            1.0
        }
        _ => 1.0,
    };
    let sizes: [f64; 3] = std::array::from_fn(|axis| head.float(80 + 4 * axis).abs() * unit);
    let sform = (head.short(254) > 0).then(|| {
        Affine(std::array::from_fn(|row| std::array::from_fn(|column| head.float(280 + 16 * row + 4 * column) * unit)))
    });
    let qform = (head.short(252) > 0).then(|| quaternion(head, sizes, unit));
    let affine = match (sform, qform) {
        (Some(sform), _) => sform,
        (None, Some(qform)) => qform,
        (None, None) => {
            notes.push("the file gives no orientation; axes are taken as right, anterior, superior");
            let [a, b, c] = sizes;
            Affine([[a, 0.0, 0.0, 0.0], [0.0, b, 0.0, 0.0], [0.0, 0.0, c, 0.0]])
        }
    };
    let mut volume = Volume::new(shape, values, affine)
        .map_err(|_| header("srow, quatern and pixdim", "three directions and sizes above 0", format!("{sizes:?}")))?;
    volume.placed = sform.is_some() || qform.is_some();
    Ok(Nifti { volume, qform, sform, notes })
}

/// Method 2: a rotation by quaternion, sizes, and the sign of the third axis.
fn quaternion(head: &Header<'_>, sizes: [f64; 3], unit: f64) -> Affine {
    let (b, c, d) = (head.float(256), head.float(260), head.float(264));
    // a half turn, of which single precision leaves a trace in the fourth part: as the format's reference code has it
    let (length, rest) = ((b * b + c * c + d * d).sqrt(), 1.0 - (b * b + c * c + d * d));
    let half_turn = rest < 1e-7 && length > 0.0;
    let (a, [b, c, d]) =
        if half_turn { (0.0, [b, c, d].map(|part| part / length)) } else { (rest.max(0.0).sqrt(), [b, c, d]) };
    let flip = if head.float(76) < 0.0 { -1.0 } else { 1.0 };
    let rotation = [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ];
    Affine(std::array::from_fn(|row| {
        let [x, y, z] = rotation[row];
        [x * sizes[0], y * sizes[1], z * sizes[2] * flip, head.float(268 + 4 * row) * unit]
    }))
}

/// The bytes of a gzipped NIfTI-1 file of `volume`; whole numbers of 0 to 255 as u8 where `labels`, else f32.
pub fn write_nifti(volume: &Volume, labels: bool) -> Result<Vec<u8>, VolumeError> {
    let mut head = [0u8; 352];
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348i32.to_le_bytes());
    put(40, &3i16.to_le_bytes());
    for (axis, length) in volume.shape.into_iter().enumerate() {
        let length = i16::try_from(length);
        let length =
            length.map_err(|_| VolumeError::Grid("an axis of more than 32,767 voxels fits no NIfTI-1 file".into()))?;
        put(42 + 2 * axis, &length.to_le_bytes());
        put(80 + 4 * axis, &(volume.spacing_mm()[axis] as f32).to_le_bytes());
    }
    for unused in 48..56 {
        if unused % 2 == 0 {
            put(unused, &1i16.to_le_bytes());
        }
    }
    let (code, bits): (i16, i16) = if labels { (2, 8) } else { (16, 32) };
    put(70, &code.to_le_bytes());
    put(72, &bits.to_le_bytes());
    put(76, &1f32.to_le_bytes());
    put(108, &352f32.to_le_bytes());
    put(112, &1f32.to_le_bytes());
    put(123, &[2]);
    if volume.placed {
        put(254, &1i16.to_le_bytes());
        for (row, values) in volume.affine.0.into_iter().enumerate() {
            for (column, value) in values.into_iter().enumerate() {
                put(280 + 16 * row + 4 * column, &(value as f32).to_le_bytes());
            }
        }
    }
    put(344, b"n+1\0");
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let failed = |error: std::io::Error| VolumeError::Nifti(format!("it could not be packed ({error})"));
    packer.write_all(&head).map_err(failed)?;
    let [ni, nj, nk] = volume.shape;
    let mut line = Vec::with_capacity(ni * 4);
    for k in 0..nk {
        for j in 0..nj {
            line.clear();
            for i in 0..ni {
                let value = volume.at([i, j, k]);
                if labels { line.push(value as u8) } else { line.extend_from_slice(&value.to_le_bytes()) }
            }
            packer.write_all(&line).map_err(failed)?;
        }
    }
    packer.finish().map_err(failed)
}
