//! The reading of accepted films by the admitted model.

use vidimus_log::body::Verdict;
use vidimus_reader::{Bundle, IntentReceipt, Probability, Reading, ReleasedModel, overlay_png, read, saliency_png};

use crate::world::{Held, film, shipped};

fn reading(numbers: &[usize]) -> Reading {
    let bundle = Bundle::from_files(shipped()).unwrap();
    let root = bundle.root();
    let mut held = Held::new(&bundle, Verdict::Pass, "demonstration");
    let model = held.with(|evidence| ReleasedModel::admit(bundle, evidence)).unwrap();
    let films: Vec<_> = numbers.iter().map(|number| film(*number)).collect();
    let Ok(accepted) = model.candidate().accept(&films.iter().collect::<Vec<_>>()) else { panic!("films are right") };
    let permit = IntentReceipt::new(held.intent(root), &model).unwrap();
    read(&model, &accepted, &permit).unwrap()
}

/// Proves: REQ-RDR-030
#[test]
fn a_reading_is_whole_and_the_same_each_time() {
    let (one, two) = (reading(&[1]), reading(&[1]));
    assert_eq!(one.digests, two.digests);
    assert_ne!(one.digests.output, reading(&[2]).digests.output);
    let finding = &one.findings[0];
    assert_eq!(finding.id, "pneumonia");
    assert_eq!(finding.decision == "present", finding.probability.get() >= finding.operating_point.threshold);
    let expected = (finding.probability.get() - finding.operating_point.threshold).abs();
    assert!((one.uncertainty.margin - expected).abs() < 1e-12);
    assert!(one.uncertainty.ood_score <= one.uncertainty.ood_limit);
    assert!(one.uncertainty.notes.iter().any(|note| note.code == "limit"));
}

/// Proves: REQ-RDR-031
#[test]
fn a_study_of_several_films_shows_the_one_with_the_highest_probability_and_says_so() {
    let alone: Vec<f64> = [1, 9, 12].iter().map(|number| reading(&[*number]).findings[0].probability.get()).collect();
    let study = reading(&[1, 9, 12]);
    let most = alone.iter().copied().fold(0.0, f64::max);
    assert!((study.findings[0].probability.get() - most).abs() < 1e-12);
    assert!((alone[study.image] - most).abs() < 1e-12);
    assert!(study.uncertainty.notes.iter().any(|note| note.code == "several-films"));
}

/// Proves: REQ-RDR-032
#[test]
fn pictures_have_the_size_of_the_film() {
    let reading = reading(&[3]);
    let film = film(3);
    let display = film.decode().unwrap().display(&film, 0).unwrap();
    for png in [saliency_png(&reading.saliency).unwrap(), overlay_png(&display, &reading.saliency, 1.0).unwrap()] {
        let picture = image::load_from_memory(&png).unwrap();
        assert_eq!((picture.height() as usize, picture.width() as usize), (display.rows, display.columns));
    }
}

/// Proves: REQ-RDR-033
#[test]
fn only_numbers_from_zero_to_one_are_probabilities() {
    for good in [0.0, 0.5, 1.0] {
        assert!(Probability::new(good).is_ok());
    }
    for bad in [-1e-9, 1.0 + 1e-9, f64::NAN, f64::INFINITY] {
        assert!(Probability::new(bad).is_err());
    }
}
