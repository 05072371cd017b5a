//! Components: their sizes, their coefficients or values, and the way to one value a pixel.
//! Source: ITU-T T.81 A.1.1, A.2. Chroma is brought to full size linearly between the centres of its samples.

use super::{Header, Process, dct};

/// One component of a frame.
pub(super) struct Component {
    pub(super) id: u8,
    /// Horizontal and vertical sampling factor.
    pub(super) across: usize,
    pub(super) down: usize,
    pub(super) table: usize,
    pub(super) quantisation: Option<[u16; 64]>,
    pub(super) seen: bool,
    /// Samples that the image needs.
    pub(super) width: usize,
    pub(super) height: usize,
    /// Blocks that a scan of this component alone has.
    pub(super) blocks_wide: usize,
    pub(super) blocks_high: usize,
    /// Blocks in memory, whole units of an interleaved scan.
    pub(super) stride: usize,
    pub(super) blocks: Vec<[i16; 64]>,
    /// Values of the lossless process.
    pub(super) values: Vec<u16>,
}

impl Component {
    pub(super) fn new(id: u8, across: usize, down: usize, table: usize) -> Self {
        Self {
            id,
            across,
            down,
            table,
            quantisation: None,
            seen: false,
            width: 0,
            height: 0,
            blocks_wide: 0,
            blocks_high: 0,
            stride: 0,
            blocks: Vec::new(),
            values: Vec::new(),
        }
    }
}

/// Sets the sizes of all components and takes the memory for them.
pub(super) fn size(header: &mut Header) {
    let (widest, highest) = header.factors();
    let (rows, columns) = (header.rows, header.columns);
    for one in &mut header.components {
        one.width = (columns * one.across).div_ceil(widest);
        one.height = (rows * one.down).div_ceil(highest);
        (one.blocks_wide, one.blocks_high) = (one.width.div_ceil(8), one.height.div_ceil(8));
        if header.process == Process::Lossless {
            one.values = vec![0; one.width * one.height];
        } else {
            one.stride = columns.div_ceil(8 * widest) * one.across;
            let high = rows.div_ceil(8 * highest) * one.down;
            one.blocks = vec![[0; 64]; one.stride * high];
        }
    }
}

/// All components at full size, pixel by pixel.
pub(super) fn interleave(header: &Header) -> Result<Vec<u16>, String> {
    let (widest, highest) = header.factors();
    let samples = header.components.len();
    let mut out = vec![0; header.rows * header.columns * samples];
    for (sample, one) in header.components.iter().enumerate() {
        let plane = if header.process == Process::Lossless { one.values.clone() } else { transform(one, header)? };
        if one.across == widest && one.down == highest {
            for (pixel, value) in out.chunks_exact_mut(samples).zip(&plane) {
                pixel[sample] = *value;
            }
            continue;
        }
        let across = taps(header.columns, one.across, widest, one.width);
        let down = taps(header.rows, one.down, highest, one.height);
        let whole = (4 * widest * highest) as u32;
        for (row, (above, below, part)) in down.iter().enumerate() {
            let (above, below) = (&plane[above * one.width..], &plane[below * one.width..]);
            for (column, (left, right, share)) in across.iter().enumerate() {
                let (part, rest) = (*part, 2 * highest as u32 - part);
                let (share, other) = (*share, 2 * widest as u32 - share);
                let upper = u32::from(above[*left]) * other + u32::from(above[*right]) * share;
                let lower = u32::from(below[*left]) * other + u32::from(below[*right]) * share;
                let value = (upper * rest + lower * part + whole / 2) / whole;
                out[(row * header.columns + column) * samples + sample] = value as u16;
            }
        }
    }
    Ok(out)
}

/// For each full-size place: the two samples around it and the share of the second, of twice the greatest factor.
fn taps(full: usize, factor: usize, greatest: usize, samples: usize) -> Vec<(usize, usize, u32)> {
    let whole = 2 * greatest;
    let tap = |place: usize| {
        let numerator = ((2 * place + 1) * factor).saturating_sub(greatest);
        let (first, share) = (numerator / whole, numerator % whole);
        let last = samples - 1;
        (first.min(last), (first + 1).min(last), share as u32)
    };
    (0..full).map(tap).collect()
}

/// Inverse transform of all blocks of a component.
fn transform(one: &Component, header: &Header) -> Result<Vec<u16>, String> {
    let table = one.quantisation.ok_or("a quantisation table is missing")?;
    let mut plane = vec![0; one.width * one.height];
    for block_row in 0..one.blocks_high {
        for block_column in 0..one.blocks_wide {
            let values = dct::inverse(&one.blocks[block_row * one.stride + block_column], &table, header.precision);
            let (left, top) = (block_column * 8, block_row * 8);
            let wide = (one.width - left).min(8);
            for line in 0..(one.height - top).min(8) {
                let start = (top + line) * one.width + left;
                plane[start..start + wide].copy_from_slice(&values[line * 8..line * 8 + wide]);
            }
        }
    }
    Ok(plane)
}
