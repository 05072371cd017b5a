//! Coding parameters: what the stream presets, and what follows from it. Source: ITU-T T.87 A.2, C.2.4.1.1.

use super::short;

/// Preset parameters of the stream; zero means the default.
#[derive(Clone, Copy, Default)]
pub(super) struct Preset {
    greatest: i32,
    thresholds: [i32; 3],
    reset: i32,
}

/// What the coder works with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameters {
    pub(super) greatest: i32,
    pub(super) near: i32,
    pub(super) thresholds: [i32; 3],
    pub(super) reset: i32,
    pub(super) range: i32,
    /// Bits of a mapped error that is written plainly.
    pub(super) plain_bits: u32,
    pub(super) limit: u32,
}

impl Preset {
    /// Takes an LSE segment.
    pub(super) fn read(&mut self, body: &[u8]) -> Result<(), String> {
        if body.first() != Some(&1) {
            return Err("mapping tables and oversize images are not accepted".to_owned());
        }
        let number = |index: usize| short(body, 1 + 2 * index).map(i32::from);
        let all: Option<Vec<i32>> = (0..5).map(number).collect();
        let all = all.ok_or("the preset parameters are cut short")?;
        *self = Self { greatest: all[0], thresholds: [all[1], all[2], all[3]], reset: all[4] };
        Ok(())
    }

    /// The parameters of a scan.
    pub(super) fn parameters(&self, precision: u8, near: i32) -> Result<Parameters, String> {
        let top = (1 << precision) - 1;
        let greatest = if self.greatest == 0 { top } else { self.greatest };
        if greatest > top || near > greatest / 2 {
            return Err("the greatest value or the allowed error is out of range".to_owned());
        }
        let defaults = thresholds(greatest, near);
        let mut chosen = self.thresholds;
        for (one, default) in chosen.iter_mut().zip(defaults) {
            if *one == 0 {
                *one = default;
            }
        }
        let [first, second, third] = chosen;
        if first <= near || second < first || third < second || third > greatest {
            return Err("the thresholds are out of order".to_owned());
        }
        let reset = if self.reset == 0 { 64 } else { self.reset };
        let range = (greatest + 2 * near) / (2 * near + 1) + 1;
        let plain_bits = bits_for(range);
        let bits = bits_for(greatest + 1).max(2);
        let limit = 2 * (bits + bits.max(8));
        if reset < 3 || limit < plain_bits + 1 {
            return Err("the reset count is out of range".to_owned());
        }
        Ok(Parameters { greatest, near, thresholds: chosen, reset, range, plain_bits, limit })
    }
}

/// Bits that count up to `values` values.
fn bits_for(values: i32) -> u32 {
    32 - (values.max(1) - 1).leading_zeros()
}

/// The default thresholds (T.87 C.2.4.1.1.1).
fn thresholds(greatest: i32, near: i32) -> [i32; 3] {
    let clamp = |value: i32, low: i32| if value > greatest || value < low { low } else { value };
    if greatest >= 128 {
        let factor = (greatest.min(4095) + 128) / 256;
        let first = clamp(factor + 2 + 3 * near, near + 1);
        let second = clamp(factor * 4 + 3 + 5 * near, first);
        [first, second, clamp(factor * 17 + 4 + 7 * near, second)]
    } else {
        let factor = 256 / (greatest + 1);
        let first = clamp((3 / factor + 3 * near).max(2), near + 1);
        let second = clamp((7 / factor + 5 * near).max(3), first);
        [first, second, clamp((21 / factor + 7 * near).max(4), second)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-IMG-009
    #[test]
    fn the_default_thresholds_are_those_of_the_standard() {
        // T.87 table C.3: 8 bits 3 7 21; 12 bits 18 67 276
        assert_eq!(thresholds(255, 0), [3, 7, 21]);
        assert_eq!(thresholds(4095, 0), [18, 67, 276]);
        let parameters = Preset::default().parameters(8, 0).unwrap();
        assert_eq!((parameters.range, parameters.plain_bits, parameters.limit), (256, 8, 32));
    }
}
