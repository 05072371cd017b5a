//! The adaptive model of JPEG-LS: contexts, prediction, error codes. Source: ITU-T T.87 A.3 to A.7.
//! The same model serves the decoder and, in the tests, an encoder.

use super::{bits::Bits, parameters::Parameters};

/// Run lengths by run index (T.87 A.7.1.2).
pub(super) const RUN_BITS: [u32; 32] =
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15];

#[derive(Clone, Copy)]
pub(super) struct Context {
    pub(super) a: i32,
    pub(super) b: i32,
    pub(super) c: i32,
    pub(super) n: i32,
}

#[derive(Clone, Copy)]
pub(super) struct RunContext {
    pub(super) a: i32,
    pub(super) n: i32,
    pub(super) negative: i32,
}

/// The state of a scan.
pub(super) struct Coder {
    pub(super) p: Parameters,
    contexts: Vec<Context>,
    pub(super) runs: [RunContext; 2],
}

/// The neighbours of a sample: left, above, above left, above right.
#[derive(Clone, Copy)]
pub(super) struct Around {
    pub(super) a: i32,
    pub(super) b: i32,
    pub(super) c: i32,
    pub(super) d: i32,
}

impl Coder {
    pub(super) fn new(p: Parameters) -> Self {
        let a = ((p.range + 32) / 64).max(2);
        let run = RunContext { a, n: 1, negative: 0 };
        Self { p, contexts: vec![Context { a, b: 0, c: 0, n: 1 }; 365], runs: [run; 2] }
    }

    /// The neighbourhood is flat: a run may begin.
    pub(super) fn flat(&self, around: Around) -> bool {
        let Around { a, b, c, d } = around;
        let near = self.p.near;
        (d - b).abs() <= near && (b - c).abs() <= near && (c - a).abs() <= near
    }

    /// The number of the context and its sign.
    pub(super) fn context(&self, around: Around) -> (usize, i32) {
        let Around { a, b, c, d } = around;
        let number = self.quantise(d - b) * 81 + self.quantise(b - c) * 9 + self.quantise(c - a);
        (number.unsigned_abs() as usize, if number < 0 { -1 } else { 1 })
    }

    fn quantise(&self, gradient: i32) -> i32 {
        let [first, second, third] = self.p.thresholds;
        let size = gradient.abs();
        let step = match size {
            _ if size <= self.p.near => 0,
            _ if size < first => 1,
            _ if size < second => 2,
            _ if size < third => 3,
            _ => 4,
        };
        if gradient < 0 { -step } else { step }
    }

    /// The corrected prediction.
    pub(super) fn predict(&self, around: Around, number: usize, sign: i32) -> i32 {
        let Around { a, b, c, .. } = around;
        let edge = if c >= a.max(b) {
            a.min(b)
        } else if c <= a.min(b) {
            a.max(b)
        } else {
            a + b - c
        };
        (edge + sign * self.contexts[number].c).clamp(0, self.p.greatest)
    }

    /// The Golomb parameter of a context.
    pub(super) fn golomb(&self, number: usize) -> u32 {
        let Context { a, n, .. } = self.contexts[number];
        parameter(a, n)
    }

    /// Errors are mapped with the other sign first (T.87 A.5.2).
    pub(super) fn inverted(&self, number: usize, k: u32) -> bool {
        let Context { b, n, .. } = self.contexts[number];
        self.p.near == 0 && k == 0 && 2 * b <= -n
    }

    /// Updates a context with an error.
    pub(super) fn update(&mut self, number: usize, error: i32) {
        let context = &mut self.contexts[number];
        context.b += error * (2 * self.p.near + 1);
        context.a += error.abs();
        if context.n == self.p.reset {
            context.a >>= 1;
            context.b >>= 1;
            context.n >>= 1;
        }
        context.n += 1;
        if context.b <= -context.n {
            context.b = (context.b + context.n).max(1 - context.n);
            context.c = (context.c - 1).max(-128);
        } else if context.b > 0 {
            context.b = (context.b - context.n).min(0);
            context.c = (context.c + 1).min(127);
        }
    }

    /// The Golomb parameter of a run's end.
    pub(super) fn run_golomb(&self, kind: usize) -> u32 {
        let RunContext { a, n, .. } = self.runs[kind];
        parameter(a + if kind == 1 { n >> 1 } else { 0 }, n)
    }

    /// Updates a run context with an error and its mapped form.
    pub(super) fn update_run(&mut self, kind: usize, error: i32, mapped: i32) {
        let context = &mut self.runs[kind];
        if error < 0 {
            context.negative += 1;
        }
        context.a += (mapped + 1 - kind as i32) >> 1;
        if context.n == self.p.reset {
            context.a >>= 1;
            context.n >>= 1;
            context.negative >>= 1;
        }
        context.n += 1;
    }

    /// Prediction and error make the value, within the range.
    pub(super) fn value(&self, predicted: i32, error: i32) -> i32 {
        let Parameters { near, greatest, range, .. } = self.p;
        let step = 2 * near + 1;
        let mut value = predicted + error * step;
        if value < -near {
            value += range * step;
        } else if value > greatest + near {
            value -= range * step;
        }
        value.clamp(0, greatest)
    }

    /// Decodes a sample outside a run.
    pub(super) fn sample(&mut self, bits: &mut Bits<'_>, around: Around) -> Result<i32, String> {
        let (number, sign) = self.context(around);
        let predicted = self.predict(around, number, sign);
        let k = self.golomb(number);
        let mapped = self.mapped(bits, k, self.p.limit)?;
        let plain = if mapped % 2 == 0 { mapped / 2 } else { -(mapped + 1) / 2 };
        let error = if self.inverted(number, k) { -plain - 1 } else { plain };
        self.update(number, error);
        Ok(self.value(predicted, sign * error))
    }

    /// Decodes the sample that ends a run, of the kind given.
    pub(super) fn run_end(
        &mut self,
        bits: &mut Bits<'_>,
        a: i32,
        b: i32,
        run_index: usize,
        kind: usize,
    ) -> Result<i32, String> {
        let k = self.run_golomb(kind);
        let limit = self.p.limit - RUN_BITS[run_index] - 1;
        let mapped = self.mapped(bits, k, limit)?;
        let both = mapped + kind as i32;
        let odd = both & 1;
        let size = (both + odd) / 2;
        let RunContext { n, negative, .. } = self.runs[kind];
        let error = if (k != 0 || 2 * negative >= n) == (odd == 1) { -size } else { size };
        self.update_run(kind, error, mapped);
        let (predicted, sign) = if kind == 1 { (a, 1) } else { (b, if b < a { -1 } else { 1 }) };
        Ok(self.value(predicted, sign * error))
    }

    /// A mapped error: Golomb code of limited length (T.87 A.5.3).
    fn mapped(&self, bits: &mut Bits<'_>, k: u32, limit: u32) -> Result<i32, String> {
        let escape = limit.checked_sub(self.p.plain_bits + 1).ok_or("a code length that cannot be")?;
        let zeros = bits.zeros(escape)?;
        let value = if zeros < escape { zeros << k | bits.take(k)? } else { bits.take(self.p.plain_bits)? + 1 };
        if value > 1 << 17 {
            return Err("an error that cannot be".to_owned());
        }
        Ok(value.cast_signed())
    }
}

fn parameter(a: i32, n: i32) -> u32 {
    let mut k = 0;
    while k < 24 && n << k < a {
        k += 1;
    }
    k
}
