//! Scans of the lossless process: each value is a prediction from its neighbours and a coded difference.
//! Source: ITU-T T.81 annex H.

use super::{Header, ScanHeader, Tables, bits::Bits, huffman::Table};

/// Decodes one scan.
pub(super) fn scan(bits: &mut Bits<'_>, header: &mut Header, scan: &ScanHeader, tables: &Tables) -> Result<(), String> {
    let (predictor, shift) = (scan.first, u32::from(scan.low));
    if !(1..=7).contains(&predictor) || shift >= u32::from(header.precision) {
        return Err(format!("predictor {predictor} with point transform {shift} is out of range"));
    }
    let (widest, highest) = header.factors();
    let mut parts: Vec<(usize, &Table)> = Vec::new();
    for (index, dc, _) in &scan.parts {
        let one = &header.components[*index];
        if scan.parts.len() > 1 && (one.across != widest || one.down != highest) {
            return Err("subsampled components of the lossless process are not accepted".to_owned());
        }
        parts.push((*index, tables.dc[*dc].as_ref().ok_or("a Huffman table is missing")?));
    }
    let (width, height) = match parts.first() {
        Some((index, _)) => (header.components[*index].width, header.components[*index].height),
        None => return Ok(()),
    };
    if tables.restart > 0 && !tables.restart.is_multiple_of(width) {
        return Err("the restart interval is no whole number of lines".to_owned());
    }
    let lines = tables.restart / width;
    let start = 1_i32 << (u32::from(header.precision) - shift - 1);
    for row in 0..height {
        let fresh = row == 0 || (lines > 0 && row % lines == 0);
        if fresh && row > 0 {
            bits.restart()?;
        }
        for column in 0..width {
            for (index, table) in &parts {
                let values = &mut header.components[*index].values;
                let place = row * width + column;
                let at = |place: usize| i32::from(values[place]);
                let predicted = match (fresh, column == 0) {
                    (true, true) => start,
                    (true, false) => at(place - 1),
                    (false, true) => at(place - width),
                    (false, false) => predict(predictor, at(place - 1), at(place - width), at(place - width - 1)),
                };
                let difference = match table.symbol(bits)? {
                    size @ 0..=15 => bits.signed(u32::from(size))?,
                    16 => 32_768,
                    _ => return Err("a difference of more than 16 bits".to_owned()),
                };
                values[place] = (predicted + difference) as u16;
            }
        }
    }
    if shift > 0 {
        for (index, _) in &parts {
            header.components[*index].values.iter_mut().for_each(|value| *value <<= shift);
        }
    }
    Ok(())
}

/// The prediction from the values to the left (a), above (b), and above left (c).
fn predict(predictor: usize, a: i32, b: i32, c: i32) -> i32 {
    match predictor {
        1 => a,
        2 => b,
        3 => c,
        4 => a + b - c,
        5 => a + ((b - c) >> 1),
        6 => b + ((a - c) >> 1),
        _ => (a + b) >> 1,
    }
}
