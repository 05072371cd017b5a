//! Random numbers of a training run: ChaCha8 streams of one seed, read in one way.
//! The conversions are written out here, so that a library's next version cannot change a run.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is for.
#[derive(Clone, Copy)]
pub(crate) enum Use {
    /// Which patients are kept apart.
    Split = 1,
    /// Which images a step takes.
    Draw = 2,
    /// How an image is varied.
    Vary = 3,
    /// Which pooled numbers are dropped.
    Drop = 4,
    /// The head's first weights.
    Head = 5,
    /// Bootstrap samples.
    Bootstrap = 6,
    /// Which images the guard's reference takes.
    Reference = 7,
}

/// One stream.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// The stream of a use and a number (a step, an image of a step).
    pub(crate) fn new(seed: u64, what: Use, number: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream((what as u64) << 48 | number as u64);
        Self(rng)
    }

    /// Uniform in 0..1, in steps of 2^-32.
    pub(crate) fn share(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / 4_294_967_296.0
    }

    /// Uniform in `-width..width`.
    pub(crate) fn around(&mut self, width: f64) -> f64 {
        (2.0 * self.share() - 1.0) * width
    }

    /// Uniform in `from..to`.
    pub(crate) fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.share()
    }

    /// Uniform in `0..count`, `count` at least 1.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.0.next_u64()) * count as u128) >> 64) as usize
    }

    /// About normal, mean 0, deviation 1: the sum of four uniform numbers.
    pub(crate) fn normal(&mut self) -> f32 {
        let bits = self.0.next_u64();
        let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xffff).sum();
        // the sum has mean 4 * 32767.5 and variance 4 * (65536^2 - 1) / 12
        (sum as f32 - 131_070.0) / 37_837.2
    }

    /// Puts `items` into a random order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }
}
