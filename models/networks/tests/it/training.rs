//! Training: a small run on made-up pictures, and what the loader must refuse.

use super::{data, made};
use std::collections::BTreeSet;
use std::path::Path;
use vidimus_networks::train::{Recipe, TrainError, TrainSet, Trained, train};
use vidimus_networks::{Classifier, ClassifierConfig};

fn run(folder: &Path, recipe: &Recipe) -> Trained {
    let trunk = folder.join("trunk.safetensors");
    std::fs::write(&trunk, made::bytes(&made::trunk())).unwrap();
    train(recipe, folder, &trunk, "test", &mut |_| ()).unwrap()
}

fn made_folder(archived: impl Fn(usize) -> bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    made::folder(folder.path(), &made::rows(), archived);
    folder
}

/// The test row is the last of the made-up ones.
fn all_but_the_test_row(number: usize) -> bool {
    number + 1 < made::rows().len()
}

/// Proves: REQ-NET-014
#[test]
fn the_same_recipe_gives_the_same_bits_on_any_number_of_threads() {
    let folder = made_folder(all_but_the_test_row);
    let runs = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(folder.path(), &made::recipe()))
    });
    assert_eq!(runs[0].record, runs[1].record);
    assert!(runs[0].weights == runs[1].weights);
    assert!(runs[0].reference == runs[1].reference && runs[0].tuning == runs[1].tuning);
    let other = run(folder.path(), &Recipe { seed: 1, ..made::recipe() });
    assert!(other.weights != runs[0].weights);
}

/// Proves: REQ-NET-015
#[test]
fn the_record_names_data_trunk_code_and_course_and_the_weights_load() {
    let folder = made_folder(all_but_the_test_row);
    let trained = run(folder.path(), &made::recipe());
    let record = &trained.record;
    assert_eq!(record.recipe, made::recipe());
    assert_eq!(record.trunk_sha256, vidimus_log::Digest::of(&made::bytes(&made::trunk())));
    assert_eq!(record.weights_sha256, vidimus_log::Digest::of(&trained.weights));
    assert_eq!((record.data.learning_images, record.data.tuning_images), (12, 6));
    assert_eq!((record.data.learning_patients, record.data.tuning_patients), (6, 3));
    assert_eq!(record.curve.last().map(|point| point.step), Some(4));
    assert!(record.curve.iter().all(|point| point.loss.is_finite() && point.gradient_norm > 0.0));
    assert_eq!(trained.tuning.len(), 6);
    assert_eq!(trained.reference.features.len(), 18);
    let text = serde_json::to_string(record).unwrap();
    assert_eq!(serde_json::from_str::<vidimus_networks::train::TrainingRecord>(&text).unwrap(), *record);
    let config = ClassifierConfig { classes: record.recipe.classes.clone() };
    let network = Classifier::load(&trained.weights, &config).unwrap();
    let set = TrainSet::load(folder.path(), &record.recipe).unwrap();
    let picture = &set.pictures[set.tuning[0]];
    let x = record.recipe.preparation.prepare(picture.rows, picture.columns, &picture.display()).unwrap();
    assert_eq!(network.forward(&x).unwrap().logits.to_vec2::<f32>().unwrap()[0], trained.tuning[0].logits);
}

/// Proves: REQ-NET-016
#[test]
fn only_the_part_above_the_frozen_blocks_moves() {
    let folder = made_folder(all_but_the_test_row);
    let trained = run(folder.path(), &made::recipe());
    let after = candle_core::safetensors::load_buffer(&trained.weights, &candle_core::Device::Cpu).unwrap();
    for (name, before) in made::trunk() {
        let moved = (&before - &after[&name]).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        let block = name.strip_prefix("blocks.").map(|rest| rest.split('.').next().unwrap().parse::<usize>().unwrap());
        let learns = block.is_some_and(|block| block >= 3) && !name.contains("running");
        assert_eq!(moved > 0.0, learns, "{name} moved by {moved}");
    }
}

/// Proves: REQ-NET-017
#[test]
fn a_test_image_is_never_admitted() {
    let folder = made_folder(all_but_the_test_row);
    let set = TrainSet::load(folder.path(), &made::recipe()).unwrap();
    assert_eq!(set.pictures.len(), made::rows().len() - 1);
    assert!(set.pictures.iter().all(|picture| picture.file.starts_with("train/")));
    // and where one lies in the archive, nothing is learnt at all
    let smuggled = made_folder(|_| true);
    let refused = TrainSet::load(smuggled.path(), &made::recipe()).unwrap_err();
    assert!(matches!(&refused, TrainError::Data { file, .. } if file.starts_with("test/")), "{refused}");
}

/// Proves: REQ-NET-018
#[test]
fn no_patient_is_both_learnt_from_and_kept_apart() {
    let folder = made_folder(all_but_the_test_row);
    let set = TrainSet::load(folder.path(), &made::recipe()).unwrap();
    let patients = |of: &[usize]| -> BTreeSet<(usize, &str)> {
        of.iter().map(|&at| (set.pictures[at].class, set.pictures[at].patient.as_str())).collect()
    };
    assert!(!set.tuning.is_empty() && patients(&set.learning).is_disjoint(&patients(&set.tuning)));
    assert_eq!(set.learning.len() + set.tuning.len(), set.pictures.len());
    assert_eq!(set.patients(&set.tuning), 3);
}

/// Proves: REQ-NET-019
#[test]
fn missing_and_changed_members_are_refused_by_name() {
    let missing = made_folder(|number| number != 3 && all_but_the_test_row(number));
    let error = TrainSet::load(missing.path(), &made::recipe()).unwrap_err().to_string();
    assert_eq!(error, "train/03.jpeg: in labels.csv but not in train.tar");
    let changed = made_folder(all_but_the_test_row);
    let path = changed.path().join("train.tar");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[512 + 300] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = TrainSet::load(changed.path(), &made::recipe()).unwrap_err().to_string();
    assert_eq!(error, "train/00.jpeg: its bytes are not those that labels.csv names");
}

/// Proves: REQ-NET-017
#[test]
fn the_real_folder_gives_its_train_split_and_nothing_else() {
    let Some(folder) = data::folder() else { return };
    let recipe = Recipe::parse(include_str!("../../../recipes/cxr-pneumonia.toml")).unwrap();
    let set = TrainSet::load(&folder.join("cxr-pneumonia"), &recipe).unwrap();
    assert_eq!(set.pictures.len(), 5216);
    assert!(set.pictures.iter().all(|p| p.file.starts_with("train/") && (p.rows, p.columns) == (224, 224)));
    // a tenth of 1,211 normal and of 2,443 patients with pneumonia, each kind rounded by itself
    assert!((364..=367).contains(&set.patients(&set.tuning)));
}

/// Proves: REQ-NET-021
#[test]
fn a_recipe_that_makes_no_sense_is_refused_by_key() {
    let shipped = include_str!("../../../recipes/cxr-pneumonia.toml");
    let cases = [
        ("batch = 32", "batch = 31", "sampling.per_batch"),
        ("dropout = 0.3", "dropout = 1.0", "optimiser.dropout"),
        ("frozen_blocks = 3", "frozen_blocks = 12", "optimiser.frozen_blocks"),
        ("finding = [\"bacteria\", \"virus\"]", "finding = []", "finding"),
        ("area_min = 0.5", "area_min = 0.0", "augmentation"),
        ("clip = 2.0", "clip = nan", "optimiser"),
        ("cut_per_side = 0.075", "cut_per_side = 0.5", "preparation.cut_per_side"),
    ];
    for (from, to, key) in cases {
        assert!(shipped.contains(from), "{from}");
        let error = Recipe::parse(&shipped.replace(from, to)).unwrap_err();
        let text = match &error {
            TrainError::Network(inner) => inner.to_string(),
            other => other.to_string(),
        };
        assert!(text.contains(key), "{text}");
    }
    assert!(matches!(Recipe::parse(&format!("colour = 1\n{shipped}")), Err(TrainError::RecipeText(_))));
}
