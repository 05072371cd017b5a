//! The entropy-coded bytes of a scan as bits: stuffed zeros taken out, markers left standing.
//! A read beyond the last bit is an error: a scan that is cut short is no image.

/// Bits of one scan.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
}

pub(super) const CUT: &str = "the scan ends early";

impl<'a> Bits<'a> {
    pub(super) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, held: 0, count: 0 }
    }

    /// Where the next marker is looked for.
    pub(super) const fn place(&self) -> usize {
        self.at
    }

    fn fill(&mut self) {
        while self.count <= 48 {
            let Some(byte) = self.bytes.get(self.at).copied() else { return };
            if byte == 0xff {
                if self.bytes.get(self.at + 1) != Some(&0) {
                    return;
                }
                self.at += 1;
            }
            self.at += 1;
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    /// The next 16 bits without taking them; zeros stand where none are left.
    pub(super) fn peek(&mut self) -> u32 {
        if self.count < 16 {
            self.fill();
        }
        let bits = if self.count >= 16 { self.held >> (self.count - 16) } else { self.held << (16 - self.count) };
        (bits & 0xffff) as u32
    }

    /// Drops `count` bits that were peeked at.
    pub(super) fn skip(&mut self, count: u32) -> Result<(), String> {
        self.count = self.count.checked_sub(count).ok_or(CUT)?;
        Ok(())
    }

    /// The next `count` bits, at most 16.
    pub(super) fn take(&mut self, count: u32) -> Result<u32, String> {
        if count == 0 {
            return Ok(0);
        }
        let bits = self.peek() >> (16 - count);
        self.skip(count)?;
        Ok(bits)
    }

    /// One bit.
    pub(super) fn bit(&mut self) -> Result<bool, String> {
        Ok(self.take(1)? == 1)
    }

    /// A difference of `size` bits, its sign in its first bit (T.81 F.2.2.1, EXTEND).
    pub(super) fn signed(&mut self, size: u32) -> Result<i32, String> {
        if size == 0 {
            return Ok(0);
        }
        let bits = self.take(size)?.cast_signed();
        Ok(if bits < 1 << (size - 1) { bits - (1 << size) + 1 } else { bits })
    }

    /// Drops the rest of the byte and takes the restart marker that must follow.
    pub(super) fn restart(&mut self) -> Result<(), String> {
        (self.held, self.count) = (0, 0);
        let mut at = self.at;
        // fill bytes may stand before a marker
        while self.bytes.get(at) == Some(&0xff) && self.bytes.get(at + 1) == Some(&0xff) {
            at += 1;
        }
        match self.bytes.get(at..at + 2) {
            Some([0xff, 0xd0..=0xd7]) => {
                self.at = at + 2;
                Ok(())
            }
            _ => Err("a restart marker is missing".to_owned()),
        }
    }
}
