//! The bits of a JPEG-LS scan: after a byte of ones the next byte's first bit is stuffed.
//! A read beyond the last bit is an error. Source: ITU-T T.87 A.1 and C.3.

pub(super) const CUT: &str = "the scan ends early";

/// Bits of one scan.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    after_ones: bool,
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, after_ones: false, held: 0, count: 0 }
    }

    pub(super) const fn place(&self) -> usize {
        self.at
    }

    fn fill(&mut self) {
        while self.count <= 48 {
            let Some(byte) = self.bytes.get(self.at).copied() else { return };
            if self.after_ones {
                if byte >= 0x80 {
                    return;
                }
                self.held = self.held << 7 | u64::from(byte);
                self.count += 7;
            } else {
                // a byte of ones that begins a marker is no data
                if byte == 0xff && self.bytes.get(self.at + 1).is_none_or(|next| *next >= 0x80) {
                    return;
                }
                self.held = self.held << 8 | u64::from(byte);
                self.count += 8;
            }
            self.after_ones = byte == 0xff;
            self.at += 1;
        }
    }

    /// The next `count` bits, at most 24.
    pub(super) fn take(&mut self, count: u32) -> Result<u32, String> {
        if self.count < count {
            self.fill();
        }
        self.count = self.count.checked_sub(count).ok_or(CUT)?;
        Ok((self.held >> self.count & ((1 << count) - 1)) as u32)
    }

    /// Zeros before the next one, which is taken too; an error above `most`.
    pub(super) fn zeros(&mut self, most: u32) -> Result<u32, String> {
        let mut zeros = 0;
        loop {
            if self.count == 0 {
                self.fill();
                if self.count == 0 {
                    return Err(CUT.to_owned());
                }
            }
            let held = self.held << (64 - self.count);
            let here = held.leading_zeros().min(self.count);
            zeros += here;
            if zeros > most {
                return Err("a code that cannot be".to_owned());
            }
            if here < self.count {
                self.count -= here + 1;
                return Ok(zeros);
            }
            self.count = 0;
        }
    }

    /// Nothing but zero padding may be left.
    pub(super) fn end(&mut self) -> Result<(), String> {
        self.fill();
        let left = if self.count == 0 { 0 } else { self.held << (64 - self.count) };
        let marker = self.bytes.get(self.at).is_none_or(|byte| *byte == 0xff) || self.after_ones;
        if left == 0 && self.count < 16 && marker {
            return Ok(());
        }
        Err("the scan is longer than the image".to_owned())
    }
}
