//! How a picture is varied before it is learnt from.
//! Shapes: in a `Picture`; out `side * side` network values, row by row.
//! Order: crop, turn and mirror in one bilinear pass within the part that reading keeps; tone; sharpness; noise; an
//! erased box. Every draw is made in this order from the picture's own stream, whether it is used or not.
//! Source: the recipe of the training study.

use super::dataset::Picture;
use super::random::Random;
use super::recipe::Augmentation;
use crate::preparation::Preparation;

/// Steps of the tone table.
const TONES: usize = 256;

/// The varied picture as network values.
pub(crate) fn vary(picture: &Picture, to: &Preparation, how: &Augmentation, random: &mut Random) -> Vec<f32> {
    let mut values = View::draw(picture, to, how, random).sample(picture, to.side);
    tone(&mut values, how, random);
    let sharpness = (random.share() < 0.5).then(|| random.around(how.sharpness) as f32);
    if let Some(weight) = sharpness {
        let soft = softened(&values, to.side);
        for (value, soft) in values.iter_mut().zip(soft) {
            *value += weight * (*value - soft);
        }
    }
    let (noisy, deviation) = (random.share() < 0.5, random.between(0.0, how.noise) as f32);
    if noisy {
        values.iter_mut().for_each(|value| *value += deviation * random.normal());
    }
    erase(&mut values, to.side, how, random);
    values.iter().map(|v| to.scaled(f64::from(v.clamp(0.0, 1.0)))).collect()
}

/// The part of a picture that becomes the square: its centre and the steps of one output pixel, in input pixels.
struct View {
    centre: [f64; 2],
    across: [f64; 2],
    down: [f64; 2],
    low: [f64; 2],
    high: [f64; 2],
}

impl View {
    fn draw(picture: &Picture, to: &Preparation, how: &Augmentation, random: &mut Random) -> Self {
        let size = [picture.columns as f64, picture.rows as f64];
        let kept = 1.0 - 2.0 * to.cut_per_side;
        let area = random.between(how.area_min, 1.0);
        let aspect = libm::exp(random.around(how.aspect_log));
        let share = [(area * aspect).sqrt().min(1.0), (area / aspect).sqrt().min(1.0)];
        let free = [random.share(), random.share()];
        let turn = random.around(how.turn_degrees).to_radians();
        let mirrored = if random.share() < how.flip { -1.0 } else { 1.0 };
        let axis = |i: usize| {
            let first = to.cut_per_side + kept * (1.0 - share[i]) * free[i];
            (first + kept * share[i] / 2.0) * size[i]
        };
        let step = [0, 1].map(|i| kept * share[i] * size[i] / to.side as f64);
        let (sin, cos) = (libm::sin(turn), libm::cos(turn));
        Self {
            centre: [axis(0), axis(1)],
            across: [mirrored * step[0] * cos, mirrored * step[0] * sin],
            down: [-step[1] * sin, step[1] * cos],
            low: size.map(|n| to.cut_per_side * n),
            high: size.map(|n| (1.0 - to.cut_per_side) * n - 1.0),
        }
    }

    fn sample(&self, picture: &Picture, side: usize) -> Vec<f32> {
        let offset = |i: usize| i as f64 + 0.5 - side as f64 / 2.0;
        let mut values = Vec::with_capacity(side * side);
        for row in 0..side {
            for column in 0..side {
                let at = |axis: usize| {
                    let place = self.centre[axis] + offset(column) * self.across[axis] + offset(row) * self.down[axis];
                    (place - 0.5).clamp(self.low[axis], self.high[axis].max(self.low[axis]))
                };
                values.push(bilinear(picture, at(0), at(1)));
            }
        }
        values
    }
}

/// The display value at a place counted from the first pixel's centre.
fn bilinear(picture: &Picture, x: f64, y: f64) -> f32 {
    let (left, top) = (x as usize, y as usize);
    let (right, bottom) = ((left + 1).min(picture.columns - 1), (top + 1).min(picture.rows - 1));
    let (fx, fy) = ((x - left as f64) as f32, (y - top as f64) as f32);
    let value = |row: usize, column: usize| f32::from(picture.grey[row * picture.columns + column]);
    let upper = value(top, left) + fx * (value(top, right) - value(top, left));
    let lower = value(bottom, left) + fx * (value(bottom, right) - value(bottom, left));
    (upper + fy * (lower - upper)) / 255.0
}

/// Gamma, contrast about the mean, brightness.
fn tone(values: &mut [f32], how: &Augmentation, random: &mut Random) {
    let gamma = libm::exp(random.around(how.gamma_log));
    let contrast = libm::exp(random.around(how.contrast_log)) as f32;
    let shift = random.around(how.brightness) as f32;
    let curve: Vec<f32> = (0..=TONES).map(|i| libm::pow(i as f64 / TONES as f64, gamma) as f32).collect();
    for value in values.iter_mut() {
        let place = value.clamp(0.0, 1.0) * TONES as f32;
        let low = (place as usize).min(TONES - 1);
        *value = curve[low] + (place - low as f32) * (curve[low + 1] - curve[low]);
    }
    let mean = (values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64) as f32;
    values.iter_mut().for_each(|v| *v = (*v - mean) * contrast + mean + shift);
}

/// A copy under the binomial filter 1 4 6 4 1 on both axes; the border repeats its last value.
fn softened(values: &[f32], side: usize) -> Vec<f32> {
    let pass = |source: &[f32], step: usize, other: usize| -> Vec<f32> {
        let mut out = vec![0.0; source.len()];
        for line in 0..side {
            let at = |i: usize| source[line * other + i * step];
            for i in 0..side {
                let (a, b) = (i.saturating_sub(2), i.saturating_sub(1));
                let (d, e) = ((i + 1).min(side - 1), (i + 2).min(side - 1));
                let sum = at(a) + at(e) + 4.0 * (at(b) + at(d)) + 6.0 * at(i);
                out[line * other + i * step] = sum / 16.0;
            }
        }
        out
    };
    pass(&pass(values, 1, side), side, 1)
}

/// A box of one grey, sometimes.
fn erase(values: &mut [f32], side: usize, how: &Augmentation, random: &mut Random) {
    let erased = random.share() < how.erase;
    let length = |random: &mut Random| {
        let share = random.between(how.erase_side_min, how.erase_side_max);
        ((share * side as f64) as usize).clamp(1, side)
    };
    let (height, width) = (length(random), length(random));
    let (top, left) = (random.below(side - height + 1), random.below(side - width + 1));
    let grey = random.share() as f32;
    if erased {
        for row in values.chunks_exact_mut(side).skip(top).take(height) {
            row[left..left + width].fill(grey);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::vary;
    use crate::preparation::Preparation;
    use crate::train::random::{Random, Use};
    use crate::train::{Augmentation, Picture, Recipe};

    fn picture(grey: impl Fn(usize, usize) -> u8) -> Picture {
        let grey = (0..90 * 120).map(|at| grey(at / 120, at % 120)).collect();
        Picture { file: "a".into(), class: 0, patient: "p".into(), rows: 90, columns: 120, grey }
    }

    fn settings() -> (Preparation, Augmentation) {
        let recipe = Recipe::parse(include_str!("../../../recipes/cxr-pneumonia.toml")).unwrap();
        (Preparation { side: 40, ..recipe.preparation }, recipe.augmentation)
    }

    /// Proves: REQ-NET-023
    #[test]
    fn a_picture_that_is_not_varied_is_what_reading_prepares() {
        let (to, how) = settings();
        let none = Augmentation {
            area_min: 1.0,
            aspect_log: 0.0,
            turn_degrees: 0.0,
            flip: 0.0,
            gamma_log: 0.0,
            contrast_log: 0.0,
            brightness: 0.0,
            sharpness: 0.0,
            noise: 0.0,
            erase: 0.0,
            ..how
        };
        let ramp = picture(|row, column| (row + column) as u8);
        let read = to.values(ramp.rows, ramp.columns, &ramp.display()).unwrap();
        for number in 0..4 {
            let varied = vary(&ramp, &to, &none, &mut Random::new(1, Use::Vary, number));
            let worst = varied.iter().zip(&read).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 0.02, "{worst}");
        }
        let mirrored = vary(&ramp, &to, &Augmentation { flip: 1.0, ..none }, &mut Random::new(1, Use::Vary, 0));
        let rows = mirrored.chunks(40).zip(read.chunks(40));
        assert!(rows.into_iter().all(|(a, b)| a.iter().rev().zip(b).all(|(a, b)| (a - b).abs() < 0.02)));
    }

    /// Proves: REQ-NET-023
    #[test]
    fn a_varied_picture_depends_on_its_number_alone_stays_in_range_and_never_shows_the_frame() {
        let (to, how) = settings();
        // the frame is white, the inside a dark chequerboard; erased boxes and tones are switched off to see it
        let framed = picture(|row, column| {
            let inside = (8..82).contains(&row) && (10..110).contains(&column);
            if inside { ((row + column) % 2 * 40) as u8 } else { 255 }
        });
        let dark =
            Augmentation { gamma_log: 0.0, contrast_log: 0.0, brightness: 0.0, erase: 0.0, noise: 0.0, ..how.clone() };
        let cut = Preparation { cut_per_side: 0.1, ..to.clone() };
        let (low, high) = (to.scaled(0.0), to.scaled(1.0));
        let mut different = std::collections::BTreeSet::new();
        for number in 0..200 {
            let draw =
                |how: &Augmentation, to: &Preparation| vary(&framed, to, how, &mut Random::new(9, Use::Vary, number));
            let varied = draw(&how, &to);
            assert!(varied == draw(&how, &to) && varied.len() == 1600);
            assert!(varied.iter().all(|v| (low..=high).contains(v)));
            different.insert(varied.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
            assert!(draw(&dark, &cut).iter().all(|v| *v < to.scaled(0.5)), "the frame shows in {number}");
        }
        assert_eq!(different.len(), 200);
    }
}
