//! Geometry both ways: indices to millimetres and back, LPS to RAS and back, the order of a series and its faults.

use proptest::prelude::*;
use vidimus_imaging::{
    Affine, Instance, Millimetre, Orientation, Spacing, SpacingSource,
    geometry::{SeriesFault, Slice, order},
};

fn spacing() -> Spacing {
    let length = |value| Millimetre::new(value).unwrap();
    Spacing { row_mm: length(0.7), column_mm: length(0.5), source: SpacingSource::PixelSpacing }
}

fn slices(places: &[f64]) -> Vec<Slice> {
    let orientation = Orientation::new([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]).unwrap();
    places.iter().map(|z| Slice { orientation, position: [10.0, 20.0, *z] }).collect()
}

/// Proves: REQ-IMG-017
#[test]
fn a_row_runs_to_the_right_by_the_column_spacing_and_a_column_down_by_the_row_spacing() {
    let orientation = Orientation::new([1.0, 0.0, 0.0, 0.0, 0.0, -1.0]).unwrap();
    let affine = Affine::of_slices(&orientation, &spacing(), [1.0, 2.0, 3.0], [0.0, 2.0, 0.0]);
    let close = |found: [f64; 3], wanted: [f64; 3]| found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9);
    assert!(close(affine.apply([2.0, 0.0, 0.0]), [2.0, 2.0, 3.0]));
    assert!(close(affine.apply([0.0, 2.0, 0.0]), [1.0, 2.0, 1.6]));
    assert!(close(affine.apply([0.0, 0.0, 1.0]), [1.0, 4.0, 3.0]));
    assert!(close(affine.flipped().apply([0.0, 0.0, 1.0]), [-1.0, -4.0, 3.0]));
    assert!(close(orientation.normal(), [0.0, 1.0, 0.0]));
}

proptest! {
    /// Proves: REQ-IMG-017
    #[test]
    fn the_affine_and_its_inverse_undo_each_other_and_so_does_the_flip(
        turn in -3.0..3.0_f64, tilt in -1.0..1.0_f64, step in 0.5..5.0_f64,
        index in prop::array::uniform3(-50.0..50.0_f64),
    ) {
        let (s, c) = turn.sin_cos();
        let (t, u) = tilt.sin_cos();
        let orientation = Orientation::new([c, s, 0.0, -s * u, c * u, t]).unwrap();
        let along = orientation.normal().map(|cosine| cosine * step);
        let affine = Affine::of_slices(&orientation, &spacing(), [4.0, -5.0, 6.0], along);
        let back = affine.inverse().unwrap().apply(affine.apply(index));
        for (a, b) in back.iter().zip(index) {
            prop_assert!((a - b).abs() < 1e-6);
        }
        prop_assert_eq!(affine.flipped().flipped(), affine);
    }
}

/// Proves: REQ-IMG-018
#[test]
fn slices_are_ordered_along_the_normal_whatever_their_order_of_arrival() {
    let found = order(&slices(&[4.0, 0.0, 2.0, 6.0])).unwrap();
    assert_eq!(found.order, [1, 2, 0, 3]);
    assert!((found.step - 2.0).abs() < 1e-9);
}

/// Proves: REQ-IMG-018
#[test]
fn each_fault_of_a_series_is_named() {
    assert_eq!(order(&slices(&[0.0])), Err(SeriesFault::TooFew { found: 1 }));
    assert_eq!(order(&slices(&[0.0, 2.0, 2.0, 4.0])), Err(SeriesFault::Duplicate { first: 1, second: 2 }));
    assert_eq!(order(&slices(&[0.0, 2.0, 4.0, 8.0])), Err(SeriesFault::Missing { index: 2, count: 1 }));
    assert_eq!(order(&slices(&[0.0, 2.0, 4.0, 6.5, 8.5])), Err(SeriesFault::Uneven { index: 2 }));
    let mut mixed = slices(&[0.0, 2.0, 4.0]);
    mixed[1].orientation = Orientation::new([0.0, 1.0, 0.0, 0.0, 0.0, 1.0]).unwrap();
    assert_eq!(order(&mixed), Err(SeriesFault::MixedOrientation { index: 1 }));
    // one per cent of the step is allowed, more is not
    assert!(order(&slices(&[0.0, 2.0, 4.019])).is_ok());
    assert!(order(&slices(&[0.0, 2.0, 4.03])).is_err());
}

/// Proves: REQ-IMG-018
#[test]
fn the_series_of_the_corpus_are_ordered_as_independently_measured() {
    let Some(folder) = crate::corpus::corpus() else { return };
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    for series in all["series"].as_array().unwrap() {
        let names: Vec<&str> = series["order"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let mut shuffled = names.clone();
        shuffled.sort_unstable();
        let slice = |name: &&str| {
            let path = folder.join(series["folder"].as_str().unwrap()).join(name);
            let instance = Instance::open(path).unwrap();
            Slice { orientation: instance.orientation.unwrap(), position: instance.position.unwrap() }
        };
        let found = order(&shuffled.iter().map(slice).collect::<Vec<_>>());
        if series["even"] == true {
            let order: Vec<&str> = found.unwrap().order.iter().map(|index| shuffled[*index]).collect();
            assert_eq!(order, names, "{}", series["folder"]);
        } else if series["folder"].as_str().unwrap().starts_with("cardiac") {
            // two phases at each place
            assert!(matches!(found, Err(SeriesFault::Duplicate { .. })), "{}", series["folder"]);
        } else {
            // localisers in several planes, and steps that differ; one per cent of the step is allowed
            let (low, high) = (series["step_min"].as_f64().unwrap(), series["step_max"].as_f64().unwrap());
            assert!(found.is_err() || high - low < 0.01 * low, "{}", series["folder"]);
        }
    }
}
