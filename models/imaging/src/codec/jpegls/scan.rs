//! The samples of a scan, line by line: runs, their ends, and single samples. Source: ITU-T T.87 A.7, B (interleave).

use super::{
    Interleave,
    bits::Bits,
    coder::{Around, Coder, RUN_BITS},
    parameters::Parameters,
};

/// Sizes, and which of the frame's components the scan has.
pub(super) struct Shape<'a> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) samples: usize,
    pub(super) places: &'a [usize],
}

/// Two lines of one component, with one sample more at each end.
pub(super) struct Lines {
    pub(super) above: Vec<i32>,
    pub(super) line: Vec<i32>,
    pub(super) run_index: usize,
}

impl Lines {
    pub(super) fn new(columns: usize) -> Self {
        Self { above: vec![0; columns + 2], line: vec![0; columns + 2], run_index: 0 }
    }

    /// Sets the samples beyond the ends before a line is coded.
    pub(super) fn begin(&mut self) {
        let last = self.above.len() - 1;
        self.above[last] = self.above[last - 1];
        self.line[0] = self.above[1];
    }

    /// The line becomes the one above.
    pub(super) fn turn(&mut self) {
        std::mem::swap(&mut self.above, &mut self.line);
    }

    /// The neighbours of column `column`, counted from 1.
    pub(super) fn around(&self, column: usize) -> Around {
        let above = &self.above[column - 1..=column + 1];
        Around { a: self.line[column - 1], b: above[1], c: above[0], d: above[2] }
    }
}

/// Decodes all samples of the scan into `out`.
pub(super) fn decode(
    bits: &mut Bits<'_>,
    parameters: &Parameters,
    interleave: Interleave,
    shape: &Shape<'_>,
    out: &mut [u16],
) -> Result<(), String> {
    let mut coder = Coder::new(*parameters);
    let mut lines: Vec<Lines> = shape.places.iter().map(|_| Lines::new(shape.columns)).collect();
    for row in 0..shape.rows {
        lines.iter_mut().for_each(Lines::begin);
        if interleave == Interleave::Sample {
            sample_line(bits, &mut coder, &mut lines, shape.columns)?;
        } else {
            for one in &mut lines {
                single_line(bits, &mut coder, one, shape.columns)?;
            }
        }
        for (one, place) in lines.iter_mut().zip(shape.places) {
            let start = row * shape.columns * shape.samples + place;
            let targets = out.iter_mut().skip(start).step_by(shape.samples);
            targets.zip(&one.line[1..=shape.columns]).for_each(|(target, value)| *target = *value as u16);
            one.turn();
        }
    }
    Ok(())
}

/// A line of one component.
fn single_line(bits: &mut Bits<'_>, coder: &mut Coder, lines: &mut Lines, columns: usize) -> Result<(), String> {
    let mut column = 1;
    while column <= columns {
        let around = lines.around(column);
        if !coder.flat(around) {
            lines.line[column] = coder.sample(bits, around)?;
            column += 1;
            continue;
        }
        let run = run_length(bits, &mut lines.run_index, columns + 1 - column)?;
        lines.line[column..column + run].fill(around.a);
        column += run;
        if column <= columns {
            let (a, b) = (lines.line[column - 1], lines.above[column]);
            let kind = usize::from((a - b).abs() <= coder.p.near);
            lines.line[column] = coder.run_end(bits, a, b, lines.run_index, kind)?;
            lines.run_index = lines.run_index.saturating_sub(1);
            column += 1;
        }
    }
    Ok(())
}

/// A line of several components, sample by sample: a run is one of all of them.
fn sample_line(bits: &mut Bits<'_>, coder: &mut Coder, lines: &mut [Lines], columns: usize) -> Result<(), String> {
    let mut column = 1;
    while column <= columns {
        if !lines.iter().all(|one| coder.flat(one.around(column))) {
            for one in &mut *lines {
                let around = one.around(column);
                one.line[column] = coder.sample(bits, around)?;
            }
            column += 1;
            continue;
        }
        let mut run_index = lines[0].run_index;
        let run = run_length(bits, &mut run_index, columns + 1 - column)?;
        for one in &mut *lines {
            let value = one.line[column - 1];
            one.line[column..column + run].fill(value);
        }
        column += run;
        if column <= columns {
            for one in &mut *lines {
                let (a, b) = (one.line[column - 1], one.above[column]);
                one.line[column] = coder.run_end(bits, a, b, run_index, 0)?;
            }
            run_index = run_index.saturating_sub(1);
            column += 1;
        }
        lines[0].run_index = run_index;
    }
    Ok(())
}

/// The length of a run, at most `left`.
fn run_length(bits: &mut Bits<'_>, index: &mut usize, left: usize) -> Result<usize, String> {
    let mut run = 0;
    while bits.take(1)? == 1 {
        let whole = 1 << RUN_BITS[*index];
        if run + whole > left {
            return Ok(left);
        }
        run += whole;
        *index = (*index + 1).min(31);
        if run == left {
            return Ok(left);
        }
    }
    let part = bits.take(RUN_BITS[*index])? as usize;
    run += part;
    // a run that a zero ended has a sample after it
    if run >= left { Err("a run leaves its line".to_owned()) } else { Ok(run) }
}
