//! From picture to input: against a slow form, on sizes near the edges, on wrong settings.

use super::made::noise;
use proptest::prelude::*;
use vidimus_networks::Preparation;

fn settings(cut: f64, side: usize) -> Preparation {
    Preparation { cut_per_side: cut, side, mean: 127.0, scale: 128.0 }
}

/// The definition, without separation: a two-dimensional triangle about each output pixel's centre.
fn slow(p: &Preparation, rows: usize, columns: usize, pixels: &[f32]) -> Vec<f64> {
    let axis = |length: usize, at: usize| {
        let step = (1.0 - 2.0 * p.cut_per_side) * length as f64 / p.side as f64;
        let centre = p.cut_per_side * length as f64 + (at as f64 + 0.5) * step;
        let reach = step.max(1.0);
        let weights: Vec<f64> =
            (0..length).map(|i| (1.0 - ((i as f64 + 0.5 - centre) / reach).abs()).max(0.0)).collect();
        let total: f64 = weights.iter().sum();
        weights.into_iter().map(|w| w / total).collect::<Vec<_>>()
    };
    let mut values = Vec::new();
    for (down, across) in (0..p.side * p.side).map(|i| (axis(rows, i / p.side), axis(columns, i % p.side))) {
        let mut sum = 0.0;
        for (row, a) in down.iter().enumerate() {
            for (column, b) in across.iter().enumerate() {
                sum += a * b * f64::from(pixels[row * columns + column]);
            }
        }
        values.push((sum * 255.0 - p.mean) / p.scale);
    }
    values
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Proves: REQ-NET-011
    #[test]
    fn the_square_equals_its_definition(
        rows in 1..40usize, columns in 1..40usize, side in 1..12usize, cut in 0.0..0.3f64, seed in any::<u64>(),
    ) {
        let pixels: Vec<f32> = noise(seed, rows * columns).iter().map(|v| v * 0.5 + 0.5).collect();
        let p = settings(cut, side);
        let found = p.values(rows, columns, &pixels).unwrap();
        for (found, expected) in found.iter().zip(slow(&p, rows, columns, &pixels)) {
            prop_assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
}

/// Proves: REQ-NET-012
#[test]
fn a_flat_picture_of_any_size_stays_flat() {
    for (rows, columns) in [(1, 1), (2, 3000), (300, 7), (224, 224)] {
        let values = settings(0.075, 16).values(rows, columns, &vec![127.0 / 255.0; rows * columns]).unwrap();
        assert!(values.iter().all(|v| v.abs() < 1e-5), "{rows} x {columns}");
    }
}

/// Proves: REQ-NET-012
#[test]
fn the_frame_that_is_cut_off_has_no_influence() {
    let frame = |edge: f32| -> Vec<f32> {
        let inside = |i: usize| (20..180).contains(&(i / 200)) && (20..180).contains(&(i % 200));
        (0..200 * 200).map(|i| if inside(i) { (i % 97) as f32 / 97.0 } else { edge }).collect()
    };
    let p = settings(0.11, 64);
    assert_eq!(p.values(200, 200, &frame(0.0)).unwrap(), p.values(200, 200, &frame(1.0)).unwrap());
}

/// Proves: REQ-NET-013
#[test]
fn pixels_and_settings_that_make_no_sense_are_refused() {
    let good = settings(0.075, 16);
    for (rows, columns, count) in [(0, 4, 0), (2, 2, 3), (usize::MAX, 2, 4)] {
        assert!(good.values(rows, columns, &vec![0.5; count]).is_err());
    }
    assert!(good.values(1, 2, &[0.5, f32::NAN]).is_err());
    for bad in [settings(0.5, 16), settings(-0.1, 16), settings(0.1, 0), settings(0.1, 1025), settings(f64::NAN, 16)] {
        assert!(bad.values(4, 4, &[0.5; 16]).is_err(), "{bad:?}");
    }
    assert!(settings(0.1, 1024).values(4, 4, &[0.5; 16]).is_ok());
    assert!(Preparation { scale: 0.0, ..good }.check().is_err());
}
