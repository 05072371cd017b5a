//! An encoder for the tests: it shares the model (`coder`) with the decoder, so that any image can make the round trip.
//! That the model is the standard's is shown by the samples that CharLS made. Source: ITU-T T.87 A.5 to A.7.

use super::{
    coder::{Coder, RUN_BITS},
    parameters::{Parameters, Preset},
    scan::Lines,
};
use proptest::prelude::*;

/// Bits with the stuffing of T.87 A.1.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    held: u32,
    count: u32,
}

impl Writer {
    fn put(&mut self, value: u32, count: u32) {
        (0..count).rev().for_each(|bit| self.bit((u64::from(value) >> bit & 1) as u32));
    }

    fn bit(&mut self, bit: u32) {
        self.held = self.held << 1 | bit;
        self.count += 1;
        let room = if self.bytes.last() == Some(&0xff) { 7 } else { 8 };
        if self.count == room {
            self.bytes.push(self.held as u8);
            (self.held, self.count) = (0, 0);
        }
    }

    fn end(mut self) -> Vec<u8> {
        while self.count > 0 || self.bytes.last() == Some(&0xff) {
            self.bit(0);
        }
        self.bytes
    }

    fn mapped(&mut self, value: u32, k: u32, limit: u32, plain_bits: u32) {
        let escape = limit - plain_bits - 1;
        if value >> k < escape {
            self.put(0, value >> k);
            self.put(1, 1);
            self.put(value & ((1 << k) - 1), k);
        } else {
            self.put(0, escape);
            self.put(1, 1);
            self.put(value - 1, plain_bits);
        }
    }
}

/// The error that is coded for a difference, within the range and the allowed error.
fn quantised(p: &Parameters, difference: i32) -> i32 {
    let step = 2 * p.near + 1;
    let mut error = if difference > 0 { (difference + p.near) / step } else { -((p.near - difference) / step) };
    if error < 0 {
        error += p.range;
    }
    if error >= (p.range + 1) / 2 { error - p.range } else { error }
}

fn sample(out: &mut Writer, coder: &mut Coder, lines: &mut Lines, column: usize, value: i32) {
    let around = lines.around(column);
    let (number, sign) = coder.context(around);
    let predicted = coder.predict(around, number, sign);
    let error = quantised(&coder.p, sign * (value - predicted));
    let k = coder.golomb(number);
    let shown = if coder.inverted(number, k) { -error - 1 } else { error };
    let mapped = if shown >= 0 { 2 * shown } else { -2 * shown - 1 };
    out.mapped(mapped.cast_unsigned(), k, coder.p.limit, coder.p.plain_bits);
    coder.update(number, error);
    lines.line[column] = coder.value(predicted, sign * error);
}

fn run_end(out: &mut Writer, coder: &mut Coder, lines: &mut Lines, column: usize, value: i32) {
    let (a, b) = (lines.line[column - 1], lines.above[column]);
    let kind = usize::from((a - b).abs() <= coder.p.near);
    let (predicted, sign) = if kind == 1 { (a, 1) } else { (b, if b < a { -1 } else { 1 }) };
    let error = quantised(&coder.p, sign * (value - predicted));
    let k = coder.run_golomb(kind);
    let context = coder.runs[kind];
    let map = (k == 0 && error > 0 && 2 * context.negative < context.n)
        || (error < 0 && (k != 0 || 2 * context.negative >= context.n));
    let mapped = 2 * error.abs() - kind as i32 - i32::from(map);
    out.mapped(mapped.cast_unsigned(), k, coder.p.limit - RUN_BITS[lines.run_index] - 1, coder.p.plain_bits);
    coder.update_run(kind, error, mapped);
    lines.line[column] = coder.value(predicted, sign * error);
}

fn line(out: &mut Writer, coder: &mut Coder, lines: &mut Lines, values: &[i32]) {
    let mut column = 1;
    while column <= values.len() {
        if !coder.flat(lines.around(column)) {
            sample(out, coder, lines, column, values[column - 1]);
            column += 1;
            continue;
        }
        let base = lines.line[column - 1];
        let same = |value: &&i32| (**value - base).abs() <= coder.p.near;
        let run = values[column - 1..].iter().take_while(same).count();
        lines.line[column..column + run].fill(base);
        column += run;
        let mut left = run;
        while left >= 1 << RUN_BITS[lines.run_index] {
            out.put(1, 1);
            left -= 1 << RUN_BITS[lines.run_index];
            lines.run_index = (lines.run_index + 1).min(31);
        }
        if column > values.len() {
            if left > 0 {
                out.put(1, 1);
            }
            return;
        }
        out.put(0, 1);
        out.put(left as u32, RUN_BITS[lines.run_index]);
        run_end(out, coder, lines, column, values[column - 1]);
        lines.run_index = lines.run_index.saturating_sub(1);
        column += 1;
    }
}

/// A stream of components one after another (`line_interleaved`: line by line).
fn encode(planes: &[Vec<u16>], columns: usize, precision: u8, near: i32, line_interleaved: bool) -> Vec<u8> {
    let rows = planes[0].len() / columns;
    let size = [rows >> 8, rows & 255, columns >> 8, columns & 255].map(|byte| byte as u8);
    let count = planes.len() as u8;
    let mut out = vec![0xff, 0xd8, 0xff, 0xf7, 0, 8 + 3 * count, precision];
    out.extend(size);
    out.push(count);
    (1..=count).for_each(|id| out.extend([id, 0x11, 0]));
    let scans: Vec<Vec<u8>> =
        if line_interleaved { vec![(1..=count).collect()] } else { (1..=count).map(|id| vec![id]).collect() };
    let parameters = Preset::default().parameters(precision, near).unwrap();
    for ids in scans {
        out.extend([0xff, 0xda, 0, 6 + 2 * ids.len() as u8, ids.len() as u8]);
        ids.iter().for_each(|id| out.extend([*id, 0]));
        out.extend([near as u8, u8::from(line_interleaved), 0]);
        let (mut bits, mut coder) = (Writer::default(), Coder::new(parameters));
        let mut lines: Vec<Lines> = ids.iter().map(|_| Lines::new(columns)).collect();
        for row in 0..rows {
            for (one, id) in lines.iter_mut().zip(&ids) {
                let plane = &planes[usize::from(*id) - 1];
                let values: Vec<i32> =
                    plane[row * columns..][..columns].iter().map(|value| i32::from(*value)).collect();
                one.begin();
                line(&mut bits, &mut coder, one, &values);
                one.turn();
            }
        }
        out.extend(bits.end());
    }
    out.extend([0xff, 0xd9]);
    out
}

fn description(rows: usize, columns: usize, samples: u16) -> crate::PixelDescription {
    crate::PixelDescription {
        rows: rows as u32,
        columns: columns as u32,
        frames: 1,
        samples,
        photometric: if samples == 1 { crate::Photometric::Monochrome2 } else { crate::Photometric::Rgb },
        bits_allocated: 16,
        bits_stored: 16,
        signed: false,
        planar: false,
        kind: crate::PixelKind::Whole,
    }
}

proptest! {
    /// Proves: REQ-IMG-009
    #[test]
    fn decoding_what_was_encoded_gives_it_back_within_the_allowed_error(
        precision in 2..=16_u8, columns in 1..40_usize, near in 0..4_i32, colour in any::<bool>(),
        lines in any::<bool>(),
        // few levels make runs, many make noise
        levels in 1..5000_u32, noise in prop::collection::vec(any::<u32>(), 1..600),
    ) {
        let greatest = (1_u32 << precision) - 1;
        let near = near.min(greatest as i32 / 4);
        let samples = if colour { 3 } else { 1 };
        let rows = (noise.len() / columns).max(1);
        let value = |seed: u32, plane: u32| {
            let level = (seed.rotate_left(plane) >> 8) % levels.min(greatest + 1);
            (level * (greatest / levels.min(greatest + 1)).max(1)).min(greatest) as u16
        };
        let planes: Vec<Vec<u16>> = (0..samples)
            .map(|plane| (0..rows * columns).map(|at| value(noise[at / 3 % noise.len()], plane)).collect())
            .collect();
        let stream = encode(&planes, columns, precision, near, lines && colour);
        let frame = super::frame(&stream, &description(rows, columns, samples as u16)).unwrap();
        let super::Raw::Words(found) = frame.raw else { panic!("words") };
        for (pixel, values) in found.chunks_exact(samples as usize).enumerate() {
            for (plane, value) in values.iter().enumerate() {
                let off = i32::from(*value) - i32::from(planes[plane][pixel]);
                prop_assert!(off.abs() <= near, "pixel {pixel} plane {plane}: off by {off}");
            }
        }
    }
}
