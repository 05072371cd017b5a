//! The guard: what is not a child's chest film is not evaluated, with a code.

use proptest::prelude::*;
use vidimus_imaging::Instance;
use vidimus_reader::{Bundle, Candidate, GuardReference, NotAccepted, RefusalCode};

use crate::world::{chest_film, film, shipped};

fn candidate() -> Candidate {
    Candidate::load(Bundle::from_files(shipped()).unwrap()).unwrap()
}

#[track_caller]
fn refusal(instance: &Instance) -> RefusalCode {
    match candidate().accept(&[instance]) {
        Err(NotAccepted::Refused(refusal)) => {
            assert!(!refusal.text.is_empty());
            refusal.code
        }
        Err(NotAccepted::Unreadable(error)) => panic!("unreadable: {error}"),
        Err(NotAccepted::Broken(error)) => panic!("broken: {error}"),
        Ok(_) => panic!("accepted"),
    }
}

/// A pseudo-random grey value of a place, the same on every run.
fn noise(row: u32, column: u32) -> u8 {
    (row.wrapping_mul(2_654_435_761).wrapping_add(column.wrapping_mul(40_503)) >> 13) as u8
}

/// Proves: REQ-RDR-020
#[test]
fn sample_films_are_accepted() {
    let candidate = candidate();
    for number in 1..=12 {
        let film = film(number);
        let accepted = candidate.accept(&[&film]);
        assert!(accepted.is_ok(), "sample {number}");
    }
}

/// Proves: REQ-RDR-021
#[test]
fn images_of_nothing_noise_and_patterns_are_refused() {
    assert_eq!(refusal(&chest_film(224, 224, |_, _| 128)), RefusalCode::NoContrast);
    assert_eq!(refusal(&chest_film(64, 64, noise)), RefusalCode::TooSmall);
    assert_eq!(refusal(&chest_film(120, 600, noise)), RefusalCode::AspectUnsupported);
    for (name, picture) in [
        ("noise", chest_film(224, 224, noise)),
        ("ramp", chest_film(224, 224, |row, _| row as u8)),
        ("board", chest_film(224, 224, |row, column| if (row / 16 + column / 16) % 2 == 0 { 20 } else { 230 })),
        (
            "disc",
            chest_film(300, 300, |row, column| {
                let away = (f64::from(row) - 150.0).hypot(f64::from(column) - 150.0);
                if away < 100.0 { 200 } else { 10 }
            }),
        ),
    ] {
        let code = refusal(&picture);
        assert!(matches!(code, RefusalCode::OutOfDomain | RefusalCode::PhotometricSuspect), "{name}: {code}");
    }
}

/// Proves: REQ-RDR-022
#[test]
fn an_inverted_film_is_suspected_of_its_photometric_interpretation() {
    let mut suspected = 0;
    for number in 1..=12 {
        let film = film(number);
        let display = film.decode().unwrap().display(&film, 0).unwrap();
        let grey = |row: u32, column: u32| {
            let value = display.pixels[row as usize * display.columns + column as usize];
            255 - (value * 255.0).round() as u8
        };
        let inverted = chest_film(display.rows as u32, display.columns as u32, grey);
        suspected += usize::from(refusal(&inverted) == RefusalCode::PhotometricSuspect);
    }
    assert_eq!(suspected, 12);
}

/// Proves: REQ-RDR-023
#[test]
fn one_right_film_of_a_study_is_read_and_the_others_are_noted() {
    let (right, wrong) = (film(1), chest_film(224, 224, noise));
    let candidate = candidate();
    let Ok(accepted) = candidate.accept(&[&wrong, &right]) else { panic!("one film is right") };
    assert_eq!(accepted.images().len(), 1);
    assert_eq!(accepted.images()[0].instance, 1);
    assert_eq!(accepted.set_aside().len(), 1);
    assert_eq!(accepted.set_aside()[0].instance, 0);
    assert!(accepted.set_aside_notes()[0].text.starts_with("1 of the study's images not read"));
}

/// Proves: REQ-RDR-024
#[test]
fn codes_are_words_of_the_log() {
    for code in RefusalCode::ALL {
        assert!(vidimus_log::values::is_code(code.as_str()), "{code}");
    }
}

/// Proves: REQ-RDR-025
#[test]
fn films_that_do_not_fit_together_make_no_reference() {
    let films = vec![vec![1.0, 2.0], vec![2.0, 1.0], vec![0.0, 0.5]];
    assert!(GuardReference::fit(&films, &[vec![1.0]], 0.1, 0.99, 1.0).is_err());
    assert!(GuardReference::fit(&films[..1], &films, 0.1, 0.99, 1.0).is_err());
    assert!(GuardReference::fit(&films, &[], 0.1, 0.99, 1.0).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The distance is Mahalanobis': unchanged by a shift and a stretch of any feature, and growing along a ray.
    /// Proves: REQ-RDR-025
    #[test]
    fn the_distance_knows_neither_origin_nor_unit(
        shift in -5.0_f32..5.0,
        stretch in 0.5_f32..4.0,
        far in 3.0_f32..20.0,
    ) {
        let point = |k: u32| [1, 2, 3].map(|column| f32::from(noise(k, column)) / 64.0).to_vec();
        let films: Vec<Vec<f32>> = (0..60).map(point).collect();
        let moved = |film: &Vec<f32>| -> Vec<f32> { film.iter().map(|value| value * stretch + shift).collect() };
        let fitted = |films: &[Vec<f32>]| {
            GuardReference::load("guard", &GuardReference::fit(films, films, 0.0, 1.0, 1.0).unwrap()).unwrap()
        };
        let plain = fitted(&films);
        let other = fitted(&films.iter().map(moved).collect::<Vec<_>>());
        let probe = vec![far, 1.0, 2.0];
        let (here, there) = (plain.score(&probe).score, other.score(&moved(&probe)).score);
        prop_assert!((here - there).abs() < 1e-2 * here.max(1.0), "{here} {there}");
        let farther = vec![far + 1.0, 1.0, 2.0];
        prop_assert!(plain.score(&farther).score > here);
        prop_assert!(films.iter().all(|film| plain.score(film).score <= plain.score(film).limit * 1.0001));
    }
}
