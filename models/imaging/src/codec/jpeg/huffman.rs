//! Huffman tables: a look-up for short codes, the canonical search for long ones.
//! Source: ITU-T T.81 annex C and F.2.2.3.

use super::bits::Bits;

const LOOK: u32 = 9;

/// A decoding table.
pub(super) struct Table {
    /// Length and symbol by the next nine bits; length 0 where the code is longer.
    short: Vec<(u8, u8)>,
    /// For each length: the code after the last, left-aligned to 16 bits, and what to add to find the symbol.
    ends: [(u32, i32); 17],
    symbols: Vec<u8>,
}

impl Table {
    /// From the counts of each length and the symbols; None where the codes do not fit.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut short = vec![(0, 0); 1 << LOOK];
        let mut ends = [(0, 0); 17];
        let (mut code, mut index) = (0_u32, 0_usize);
        for length in 1..=16_u32 {
            let count = u32::from(counts[length as usize - 1]);
            if code + count > 1 << length {
                return None;
            }
            if length <= LOOK {
                for number in 0..count {
                    let first = ((code + number) << (LOOK - length)) as usize;
                    let symbol = *symbols.get(index + number as usize)?;
                    short[first..first + (1 << (LOOK - length))].fill((length as u8, symbol));
                }
            }
            let offset = index as i32 - code as i32;
            code += count;
            index += count as usize;
            ends[length as usize] = (code << (16 - length), offset);
            code <<= 1;
        }
        Some(Self { short, ends, symbols: symbols.to_vec() })
    }

    /// The next symbol.
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> Result<u8, String> {
        let next = bits.peek();
        let (length, symbol) = self.short[(next >> (16 - LOOK)) as usize];
        if length != 0 {
            bits.skip(u32::from(length))?;
            return Ok(symbol);
        }
        for length in LOOK + 1..=16 {
            let (end, offset) = self.ends[length as usize];
            if next < end {
                bits.skip(length)?;
                let index = (next >> (16 - length)).cast_signed() + offset;
                let symbol = usize::try_from(index).ok().and_then(|index| self.symbols.get(index));
                return symbol.copied().ok_or_else(|| "a code that is in no table".to_owned());
            }
        }
        Err("a code that is in no table".to_owned())
    }
}
