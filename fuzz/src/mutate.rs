//! Deterministic mutations: the same seed gives the same bytes on every machine.
//! Kinds: a flipped bit, a byte that parsers find interesting, a length of 16 or 32 bits set to an extreme, a part cut
//! out, a part repeated, the end cut off.

/// A source of mutations.
pub struct Mutator(u64);

const BYTES: [u8; 8] = [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff, 0xd8, 0x20];
const LENGTHS: [u32; 6] = [0, 1, 0xffff, 0x7fff_ffff, 0xffff_fffe, 0xffff_ffff];

impl Mutator {
    /// Mutations that follow from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (splitmix64).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// `bytes` with one to four mutations.
    pub fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..=self.below(4) {
            if out.is_empty() {
                out.push(self.next() as u8);
            }
            self.once(&mut out);
        }
        out
    }

    fn once(&mut self, out: &mut Vec<u8>) {
        let place = self.below(out.len());
        match self.below(7) {
            0 => out[place] ^= 1 << self.below(8),
            1 => out[place] = BYTES[self.below(BYTES.len())],
            2 => out[place] = self.next() as u8,
            3 => {
                let length = LENGTHS[self.below(LENGTHS.len())];
                let bytes = if self.below(2) == 0 { length.to_le_bytes() } else { length.to_be_bytes() };
                let count = (2 + 2 * self.below(2)).min(out.len() - place);
                out[place..place + count].copy_from_slice(&bytes[..count]);
            }
            4 => {
                let count = (1 + self.below(16)).min(out.len() - place);
                out.drain(place..place + count);
            }
            5 => {
                let count = (1 + self.below(32)).min(out.len() - place);
                let part = out[place..place + count].to_vec();
                out.splice(place..place, part);
            }
            _ => out.truncate(place),
        }
    }
}
