//! Scans of the transform processes: sequential, and the four kinds of a progressive scan.
//! Out: coefficients in the components' blocks, in the order of the stream.
//! Source: ITU-T T.81 F.2 (sequential), G.1 and G.2 (progressive).

use super::{Header, Process, ScanHeader, Tables, bits::Bits, huffman::Table};

/// What is carried from block to block.
struct State<'a> {
    /// The last DC value of each component of the scan.
    dc: Vec<i32>,
    /// Blocks that end here without further coefficients.
    end_of_band: u32,
    scan: &'a ScanHeader,
}

/// Decodes one scan.
pub(super) fn scan(bits: &mut Bits<'_>, header: &mut Header, scan: &ScanHeader, tables: &Tables) -> Result<(), String> {
    let progressive = header.process == Process::Progressive;
    if progressive && scan.first > 0 && scan.parts.len() > 1 {
        return Err("an AC scan of several components".to_owned());
    }
    if progressive && (scan.last < scan.first || (scan.first == 0 && scan.last != 0)) {
        return Err("the scan's spectral selection is out of range".to_owned());
    }
    let mut state = State { dc: vec![0; scan.parts.len()], end_of_band: 0, scan };
    let (widest, highest) = header.factors();
    let (across, down) = match scan.parts.as_slice() {
        [(index, ..)] => {
            let one = &header.components[*index];
            (one.blocks_wide, one.blocks_high)
        }
        _ => (header.columns.div_ceil(8 * widest), header.rows.div_ceil(8 * highest)),
    };
    for unit in 0..across * down {
        if tables.restart > 0 && unit > 0 && unit % tables.restart == 0 {
            bits.restart()?;
            state.dc.fill(0);
            state.end_of_band = 0;
        }
        let (row, column) = (unit / across, unit % across);
        for (part, (index, dc, ac)) in scan.parts.iter().enumerate() {
            let one = &mut header.components[*index];
            let (wide, high) = if scan.parts.len() == 1 { (1, 1) } else { (one.across, one.down) };
            for inner in 0..wide * high {
                let place = (row * high + inner / wide) * one.stride + column * wide + inner % wide;
                let block = &mut one.blocks[place];
                let dc = tables.dc[*dc].as_ref();
                let ac = tables.ac[*ac].as_ref();
                if progressive {
                    progressive_block(bits, &mut state, part, block, dc, ac)?;
                } else {
                    sequential_block(bits, &mut state, part, block, dc, ac)?;
                }
            }
        }
    }
    Ok(())
}

fn table(given: Option<&Table>) -> Result<&Table, String> {
    given.ok_or_else(|| "a Huffman table is missing".to_owned())
}

fn sequential_block(
    bits: &mut Bits<'_>,
    state: &mut State<'_>,
    part: usize,
    block: &mut [i16; 64],
    dc: Option<&Table>,
    ac: Option<&Table>,
) -> Result<(), String> {
    dc_first(bits, state, part, block, table(dc)?, 0)?;
    let ac = table(ac)?;
    let mut place = 1;
    while place < 64 {
        let symbol = ac.symbol(bits)?;
        let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            if run != 15 {
                break;
            }
            place += 16;
            continue;
        }
        place += run;
        *block.get_mut(place).ok_or("a run of coefficients leaves its block")? = bits.signed(size)? as i16;
        place += 1;
    }
    Ok(())
}

fn dc_first(
    bits: &mut Bits<'_>,
    state: &mut State<'_>,
    part: usize,
    block: &mut [i16; 64],
    dc: &Table,
    low: u8,
) -> Result<(), String> {
    let size = u32::from(dc.symbol(bits)?);
    if size > 15 {
        return Err("a DC difference of more than 15 bits".to_owned());
    }
    let value = state.dc[part].wrapping_add(bits.signed(size)?);
    state.dc[part] = value;
    block[0] = (value << low) as i16;
    Ok(())
}

fn progressive_block(
    bits: &mut Bits<'_>,
    state: &mut State<'_>,
    part: usize,
    block: &mut [i16; 64],
    dc: Option<&Table>,
    ac: Option<&Table>,
) -> Result<(), String> {
    let (first, high, low) = (state.scan.first, state.scan.high, state.scan.low);
    match (first == 0, high == 0) {
        (true, true) => dc_first(bits, state, part, block, table(dc)?, low),
        (true, false) => {
            if bits.bit()? {
                block[0] |= 1 << low;
            }
            Ok(())
        }
        (false, true) => ac_first(bits, state, block, table(ac)?),
        (false, false) => ac_refine(bits, state, block, table(ac)?),
    }
}

fn ac_first(bits: &mut Bits<'_>, state: &mut State<'_>, block: &mut [i16; 64], ac: &Table) -> Result<(), String> {
    if state.end_of_band > 0 {
        state.end_of_band -= 1;
        return Ok(());
    }
    let (mut place, last, low) = (state.scan.first, state.scan.last, state.scan.low);
    while place <= last {
        let symbol = ac.symbol(bits)?;
        let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            if run == 15 {
                place += 16;
                continue;
            }
            state.end_of_band = (1 << run) + bits.take(run as u32)? - 1;
            break;
        }
        place += run;
        if place > last {
            return Err("a run of coefficients leaves its band".to_owned());
        }
        block[place] = (bits.signed(size)? << low) as i16;
        place += 1;
    }
    Ok(())
}

fn ac_refine(bits: &mut Bits<'_>, state: &mut State<'_>, block: &mut [i16; 64], ac: &Table) -> Result<(), String> {
    let (mut place, last) = (state.scan.first, state.scan.last);
    let step = 1_i16 << state.scan.low;
    if state.end_of_band == 0 {
        while place <= last {
            let symbol = ac.symbol(bits)?;
            let (mut run, size) = (u32::from(symbol >> 4), symbol & 15);
            let fresh = match size {
                0 if run < 15 => {
                    state.end_of_band = (1 << run) + bits.take(run)?;
                    break;
                }
                0 => 0,
                1 if bits.bit()? => step,
                1 => -step,
                _ => return Err("a refined coefficient of more than one bit".to_owned()),
            };
            // pass over `run` coefficients that are still zero, refining those that are not
            while place <= last {
                if block[place] != 0 {
                    refine(bits, &mut block[place], step)?;
                } else if run == 0 {
                    if fresh != 0 {
                        block[place] = fresh;
                    }
                    place += 1;
                    break;
                } else {
                    run -= 1;
                }
                place += 1;
            }
        }
    }
    if state.end_of_band > 0 {
        for coefficient in &mut block[place.min(last + 1)..=last] {
            if *coefficient != 0 {
                refine(bits, coefficient, step)?;
            }
        }
        state.end_of_band -= 1;
    }
    Ok(())
}

/// One more bit of a coefficient that is not zero.
fn refine(bits: &mut Bits<'_>, coefficient: &mut i16, step: i16) -> Result<(), String> {
    if bits.bit()? && coefficient.unsigned_abs() & step.unsigned_abs() == 0 {
        *coefficient = coefficient.saturating_add(if *coefficient > 0 { step } else { -step });
    }
    Ok(())
}
