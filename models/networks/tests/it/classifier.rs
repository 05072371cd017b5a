//! The classifier: loading, exactness, the activation map against autograd, features.

use super::made;
use candle_core::{Device, Tensor, Var};
use vidimus_networks::{Classifier, ClassifierConfig, ExactClassifier, NetworkError, Score, probabilities};

fn config() -> ClassifierConfig {
    ClassifierConfig { classes: ["normal", "bacteria", "virus"].map(String::from).to_vec() }
}

fn network() -> Classifier {
    Classifier::load(&made::bytes(&made::classifier()), &config()).unwrap()
}

fn input(images: usize) -> Tensor {
    let values = made::noise(7, 3 * 48 * 48);
    Tensor::from_slice(&values[..images * 48 * 48], (images, 1, 48, 48), &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    flat(tensor).iter().map(|v| v.to_bits()).collect()
}

/// Proves: REQ-NET-003
#[test]
fn an_image_has_the_same_bits_alone_in_a_batch_and_on_any_number_of_threads() {
    let network = network();
    let alone = network.forward(&input(1)).unwrap();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let batch = pool.install(|| network.forward(&input(3))).unwrap();
        assert_eq!(bits(&alone.logits), bits(&batch.logits.narrow(0, 0, 1).unwrap()));
        assert_eq!(bits(&alone.stages.stage5), bits(&batch.stages.stage5.narrow(0, 0, 1).unwrap()));
        assert_eq!(Classifier::features(&alone.stages, 0).unwrap(), Classifier::features(&batch.stages, 0).unwrap());
    }
}

/// Proves: REQ-NET-003
#[test]
fn a_scalar_auditor_gets_the_same_bits_as_every_instruction_set() {
    let network = network();
    let expected = network.forward(&input(1)).unwrap();
    for isa in vidimus_engine::Isa::available() {
        let found = vidimus_engine::with_isa(isa, || network.forward(&input(1)).unwrap()).unwrap();
        assert_eq!(bits(&found.logits), bits(&expected.logits), "{isa:?}");
        assert_eq!(bits(&found.stages.stage3), bits(&expected.stages.stage3), "{isa:?}");
    }
}

/// Proves: REQ-NET-004
#[test]
fn the_activation_map_of_a_class_adds_up_to_its_logit() {
    let network = network();
    let forward = network.forward(&input(2)).unwrap();
    let logits = forward.logits.to_vec2::<f32>().unwrap();
    for (image, logits) in logits.iter().enumerate() {
        for (class, logit) in logits.iter().enumerate() {
            let map = network.grad_cam(&forward, image, &Score::Class(class)).unwrap();
            assert_eq!((map.rows, map.columns, map.signed.len()), (3, 3, 9));
            let mean = map.signed.iter().sum::<f32>() / 9.0;
            assert!((mean + map.offset - logit).abs() < 1e-4);
        }
    }
}

/// Proves: REQ-NET-005
#[test]
fn the_activation_map_is_grad_cam_by_autograd() {
    let network = network();
    let forward = network.forward(&input(1)).unwrap();
    let maps = [&forward.stages.stage4, &forward.stages.stage5].map(|map| Var::from_tensor(map).unwrap());
    let pooled = Tensor::cat(&[maps[0].mean((1, 2)).unwrap(), maps[1].mean((1, 2)).unwrap()], 1).unwrap();
    let tensors = made::classifier();
    let logits = pooled.matmul(&tensors["head.weight"].t().unwrap()).unwrap();
    let logits = logits.broadcast_add(&tensors["head.bias"]).unwrap();
    let p = candle_nn::ops::softmax(&logits, 1).unwrap();
    let odds = |group: [usize; 2], other: usize| {
        let part = |k: usize| p.narrow(1, k, 1).unwrap();
        let group = (part(group[0]) + part(group[1])).unwrap().log().unwrap();
        (group - part(other).log().unwrap()).unwrap()
    };
    let gradients = odds([1, 2], 0).sum_all().unwrap().backward().unwrap();
    let mut expected = vec![0.0; 9];
    for map in &maps {
        // each channel weighted by its mean gradient, times the map's size, so that the mean is the score
        let weights = gradients.get(map).unwrap().sum((1, 2)).unwrap();
        let weighted = flat(&map.broadcast_mul(&weights.reshape((1, 1, 1, ())).unwrap()).unwrap().sum(3).unwrap());
        expected.iter_mut().zip(weighted).for_each(|(sum, v)| *sum += v);
    }
    let map = network.grad_cam(&forward, 0, &Score::Against { group: vec![1, 2] }).unwrap();
    for (found, expected) in map.signed.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-3, "{found} {expected}");
    }
    assert!(map.positive().iter().zip(&map.signed).all(|(p, s)| *p >= 0.0 && (*p > 0.0) == (*s > 0.0)));
}

/// Proves: REQ-NET-006
#[test]
fn a_score_that_names_no_class_is_refused() {
    let network = network();
    let forward = network.forward(&input(1)).unwrap();
    for score in [Score::Class(3), Score::Against { group: vec![0, 1, 2] }, Score::Against { group: vec![] }] {
        assert!(network.grad_cam(&forward, 0, &score).is_err(), "{score:?}");
    }
}

/// Proves: REQ-NET-007
#[test]
fn features_are_means_and_deviations_of_every_stage() {
    let network = network();
    let forward = network.forward(&input(1)).unwrap();
    let features = Classifier::features(&forward.stages, 0).unwrap();
    assert_eq!(features.len(), 2 * 272);
    let map = flat(&forward.stages.stage4.narrow(3, 0, 1).unwrap());
    let map: Vec<f64> = map.into_iter().map(f64::from).collect();
    let mean = map.iter().sum::<f64>() / map.len() as f64;
    let deviation = (map.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / map.len() as f64).sqrt();
    let at = 16 + 24 + 40;
    assert!((f64::from(features[at]) - mean).abs() < 1e-4);
    assert!((f64::from(features[272 + at]) - deviation).abs() < 1e-4);
}

/// Proves: REQ-NET-008
#[test]
fn weights_that_do_not_fit_are_refused_by_tensor() {
    let load = |change: &dyn Fn(&mut std::collections::BTreeMap<String, Tensor>)| {
        let mut tensors = made::classifier();
        change(&mut tensors);
        Classifier::load(&made::bytes(&tensors), &config()).unwrap_err()
    };
    let zeros = |count: usize| Tensor::zeros(count, candle_core::DType::F32, &Device::Cpu).unwrap();
    let missing = load(&|t| drop(t.remove("blocks.4.expand.bn.bias")));
    assert!(matches!(missing, NetworkError::Missing { name } if name == "blocks.4.expand.bn.bias"));
    let stranger = load(&|t| drop(t.insert("tail".into(), zeros(1))));
    assert!(matches!(stranger, NetworkError::Unknown { name } if name == "tail"));
    let shape = load(&|t| drop(t.insert("head.bias".into(), zeros(4))));
    assert_eq!(shape.to_string(), "weights: tensor head.bias: expected f32 [3], found f32 [4]");
    let nan = load(&|t| drop(t.insert("stem.bn.bias".into(), (zeros(32) / 0.0).unwrap())));
    assert!(matches!(nan, NetworkError::NotFinite { name } if name == "stem.bn.bias"));
    assert!(matches!(Classifier::load(b"weights", &config()), Err(NetworkError::Format(_))));
    let one = ClassifierConfig { classes: vec!["normal".into()] };
    assert!(Classifier::load(&made::bytes(&made::classifier()), &one).is_err());
}

/// Proves: REQ-NET-009
#[test]
fn input_of_another_shape_is_refused() {
    let network = network();
    for shape in [vec![1, 2, 48, 48], vec![48, 48], vec![1, 1, 0, 48]] {
        let x = Tensor::zeros(shape.as_slice(), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(matches!(network.forward(&x), Err(NetworkError::Input { .. })), "{shape:?}");
    }
}

/// Proves: REQ-NET-010
#[test]
fn probabilities_add_up_to_one_and_survive_large_logits() {
    for logits in [vec![0.0, 0.0], vec![900.0, -900.0, 899.0], vec![-1e30, 3.0]] {
        let p = probabilities(&logits);
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12 && p.iter().all(|v| (0.0..=1.0).contains(v)));
    }
    let p = probabilities(&[1.0, 2.0]);
    assert!((p[1] / p[0] - 1f64.exp()).abs() < 1e-9);
}

/// Proves: REQ-NET-030
#[test]
fn the_compiled_classifier_agrees_with_the_one_that_learns_and_keeps_its_bits() {
    let bytes = made::bytes(&made::classifier());
    let exact = ExactClassifier::load(&bytes, &config(), 48).unwrap();
    let (found, expected) = (exact.forward(&input(3)).unwrap(), network().forward(&input(3)).unwrap());
    let close = |found: &Tensor, expected: &Tensor| {
        assert_eq!(found.dims(), expected.dims());
        let (found, expected) = (flat(found), flat(expected));
        let largest = expected.iter().fold(1.0f32, |top, v| top.max(v.abs()));
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4 * largest));
    };
    close(&found.stages.stem, &expected.stages.stem);
    close(&found.stages.stage3, &expected.stages.stage3);
    close(&found.stages.stage5, &expected.stages.stage5);
    close(&found.pooled, &expected.pooled);
    close(&found.logits, &expected.logits);
    let alone = exact.forward(&input(1)).unwrap();
    assert_eq!(bits(&alone.logits), bits(&found.logits.narrow(0, 0, 1).unwrap()), "batch mates change no bit");
    for isa in vidimus_engine::Isa::available() {
        for threads in [1, 2, 4] {
            let again = vidimus_engine::with_isa(isa, || {
                vidimus_engine::with_threads(threads, || exact.forward(&input(1)).unwrap())
            });
            assert_eq!(bits(&again.unwrap().logits), bits(&alone.logits), "{isa:?}, {threads} threads");
        }
    }
    let trunk = exact.stages(&input(1)).unwrap();
    assert_eq!(bits(&trunk.stage5), bits(&alone.stages.stage5), "the guard sees the maps that the answer comes from");
    assert!(matches!(
        exact.forward(&Tensor::zeros((1, 1, 48, 47), candle_core::DType::F32, &Device::Cpu).unwrap()),
        Err(NetworkError::Input { .. })
    ));
}
