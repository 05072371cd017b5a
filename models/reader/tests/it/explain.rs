//! Methods of explanation: against Captum and PyTorch on small networks, against laws that each must keep, and their
//! quality.

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use vidimus_engine::{Graph, Shape, Weights, Window, graph::Activation};
use vidimus_networks::architecture::{Description, Network};
use vidimus_reader::explain::badge::{Badge, Checks, LIMITS, Trust, fillings, mirror_agreement};
use vidimus_reader::explain::quality::{
    curves, energy_inside, points_inside, randomised, rank_correlation, top_overlap,
};
use vidimus_reader::explain::{
    EigenCam, ExplainError, GradCam, GradCamPlusPlus, IntegratedGradients, Method, Occlusion, Saliency, Score,
    SmoothGrad, Subject, boundary,
};

/// Tensors of a golden file.
fn golden(name: &str) -> BTreeMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/golden").join(name);
    candle_core::safetensors::load(path, &Device::Cpu).unwrap().into_iter().collect()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// A small network of the golden files, with its image.
struct Small {
    network: Network,
    image: Vec<f32>,
    input: Shape,
    maps: BTreeMap<String, Tensor>,
    name: &'static str,
}

impl Small {
    fn read(name: &'static str, family: &str) -> Self {
        let prefix = format!("{name}/weights/");
        let of = |(key, tensor): (String, Tensor)| Some((key.strip_prefix(&prefix)?.to_owned(), tensor));
        let weights: Weights = golden("networks.safetensors").into_iter().filter_map(of).collect();
        let description = Description::parse(&format!("family = \"{family}\"")).unwrap();
        let network = Network::build(&description, weights).unwrap();
        let maps = golden("maps.safetensors");
        let image = &maps[&format!("{name}/input")];
        let dims = image.dims().to_vec();
        let input = Shape::plane(dims[1], dims[2], dims[3]);
        Self { network, image: flat(image), input, maps, name }
    }

    fn subject(&self) -> Subject<'_> {
        let Network { graph, weights, .. } = &self.network;
        Subject { graph, weights, input: self.input, score: Score::Channel(1) }
    }

    fn expected(&self, method: &str) -> Vec<f32> {
        flat(&self.maps[&format!("{}/{method}", self.name)])
    }

    fn holds(&self, method: &dyn Method, key: &str) {
        let found = method.explain(&self.subject(), &self.image).unwrap();
        let expected = self.expected(key);
        assert_eq!(found.values.len(), expected.len(), "{} {key}", self.name);
        let largest = expected.iter().fold(1e-6f32, |top, v| top.max(v.abs()));
        let worst = found.values.iter().zip(&expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(worst <= 1e-4 * largest, "{} {key}: off by {worst} of {largest}", self.name);
    }
}

/// Proves: REQ-EXP-001
#[test]
fn every_method_agrees_with_captum_and_pytorch_on_small_networks() {
    for (small, layers) in [
        (Small::read("resnet", "residual"), [("layer3", "layer3"), ("layer4", "layer4")]),
        (Small::read("unet", "u-net"), [("bottom", "m"), ("features", "c.2")]),
    ] {
        for (stage, layer) in layers {
            if !small.network.graph.stages().contains_key(stage) {
                continue;
            }
            let stage = stage.to_owned();
            small.holds(&GradCam { stage: stage.clone() }, &format!("grad-cam@{layer}/image"));
            small.holds(&GradCamPlusPlus { stage: stage.clone() }, &format!("grad-cam-plus-plus@{layer}/image"));
            let eigen = EigenCam { stage }.explain(&small.subject(), &small.image).unwrap();
            let expected = small.expected(&format!("eigen-cam@{layer}/image"));
            // ours keeps the positive part; where the golden map is positive too they are equal
            let largest = expected.iter().fold(1e-6f32, |top, v| top.max(v.abs()));
            if expected.iter().all(|v| *v >= 0.0) {
                let off = eigen.values.iter().zip(&expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
                assert!(off <= 1e-4 * largest, "{} eigen-cam@{layer}: {off}", small.name);
            }
            assert!(rank_correlation(&eigen.values, &expected) > 0.8, "{} eigen-cam@{layer}", small.name);
        }
        small.holds(&SmoothGrad { draws: 1, deviation: 0.0, seed: 0, times_input: false }, "input-gradient");
        small.holds(&IntegratedGradients { steps: 32, baseline: 0.0 }, "integrated-gradients");
        small.holds(&Occlusion::plane(8, 8, 0.0), "occlusion-8-8");
        small.holds(&Occlusion::plane(8, 4, 0.0), "occlusion-8-4");
    }
}

/// Proves: REQ-EXP-002
#[test]
fn integrated_gradients_add_up_to_the_scores_difference() {
    let small = Small::read("resnet", "residual");
    let gap = |steps| {
        let map = IntegratedGradients { steps, baseline: 0.0 }.explain(&small.subject(), &small.image).unwrap();
        map.facts.iter().find(|(name, _)| *name == "completeness-gap").unwrap().1
    };
    assert!(gap(64) < 0.05 && gap(64) <= gap(4) + 1e-6, "{} with 64 steps, {} with 4", gap(64), gap(4));
}

/// A linear network: its score is a weighted sum of the input.
fn linear(space: usize) -> (Graph, Weights, Vec<f32>) {
    let pull: Vec<f32> = (0..2 * space).map(|at| ((at * 37 % 19) as f32 - 9.0) / 10.0).collect();
    let weights: Weights = [(
        "w".to_owned(),
        Tensor::from_vec([pull.clone(), pull.iter().map(|v| -v).collect()].concat(), (2, 2 * space), &Device::Cpu)
            .unwrap(),
    )]
    .into();
    let (mut graph, x) = Graph::new();
    let y = graph.linear(x, "w", None);
    graph.set_output(y);
    (graph, weights, pull)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Proves: REQ-EXP-003
    #[test]
    fn of_a_linear_network_every_method_finds_the_weights(
        rows in 2usize..6,
        columns in 2usize..6,
        seed in any::<u32>(),
    ) {
        let space = rows * columns;
        let (graph, weights, pull) = linear(space);
        let value = |at: usize| ((at as u32).wrapping_mul(seed | 1) >> 8) as f32 / (1 << 24) as f32;
        let x: Vec<f32> = (0..2 * space).map(value).collect();
        let input = Shape::plane(2, rows, columns);
        let subject = Subject { graph: &graph, weights: &weights, input, score: Score::Channel(0) };
        let expected: Vec<f32> = pull.iter().zip(&x).map(|(w, v)| w * v).collect();
        let close = |found: &[f32]| found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5);
        let line = IntegratedGradients { steps: 3, baseline: 0.0 }.explain(&subject, &x).unwrap();
        prop_assert!(close(&line.values));
        let smooth = SmoothGrad { draws: 4, deviation: 0.2, seed: 1, times_input: true };
        prop_assert!(close(&smooth.explain(&subject, &x).unwrap().values));
        let single = Occlusion::plane(1, 1, 0.0).explain(&subject, &x).unwrap();
        let both: Vec<f32> = (0..space).map(|at| expected[at] + expected[space + at]).collect();
        prop_assert!(single.values.iter().zip(&both).all(|(a, b)| (a - b).abs() < 1e-5));
        // the log odds of two opposite channels is twice the first
        let odds = Subject { score: Score::Against(vec![0]), ..subject.clone() };
        let twice = IntegratedGradients { steps: 3, baseline: 0.0 }.explain(&odds, &x).unwrap();
        prop_assert!(twice.values.iter().zip(&expected).all(|(a, b)| (a - 2.0 * b).abs() < 1e-4));
        // the same bits again, on one thread and on three
        for threads in [1, 3] {
            let again = vidimus_engine::with_threads(threads, || smooth.explain(&subject, &x).unwrap());
            prop_assert_eq!(again.digest(), smooth.explain(&subject, &x).unwrap().digest());
        }
    }
}

/// Proves: REQ-EXP-004
#[test]
fn volumes_are_explained_as_planes_are() {
    let weights: Weights = [
        (
            "w".to_owned(),
            Tensor::from_vec(
                (0..54).map(|at| (at % 7) as f32 / 7.0 - 0.4).collect::<Vec<_>>(),
                (2, 1, 3, 3, 3),
                &Device::Cpu,
            )
            .unwrap(),
        ),
        ("h".to_owned(), Tensor::from_vec(vec![1.0f32, -0.5, 0.25, 1.0], (2, 2), &Device::Cpu).unwrap()),
    ]
    .into();
    let (mut graph, x) = Graph::new();
    let y = graph.conv(x, "w", None, Window::volume(1, 1, 1), 1);
    let y = graph.activation(y, Activation::Relu);
    graph.stage("features", y);
    let y = graph.global_mean(y);
    graph.linear(y, "h", None);
    let input = Shape::volume(1, [4, 5, 6]);
    let subject = Subject { graph: &graph, weights: &weights, input, score: Score::Channel(0) };
    let image: Vec<f32> = (0..120).map(|at| (at * 31 % 17) as f32 / 17.0).collect();
    let cam = GradCam { stage: "features".into() }.explain(&subject, &image).unwrap();
    assert_eq!((cam.shape, cam.values.len()), (Shape::volume(1, [4, 5, 6]), 120));
    let windows = Occlusion { window: [2, 2, 2], stride: [2, 2, 2], fill: 0.0 }.explain(&subject, &image).unwrap();
    assert_eq!(windows.values.len(), 120);
    let line = IntegratedGradients { steps: 16, baseline: 0.0 }.explain(&subject, &image).unwrap();
    let total: f64 = line.values.iter().map(|v| f64::from(*v)).sum();
    let ends = subject.scores(&[image.clone(), vec![0.0; 120]].concat()).unwrap();
    assert!((total - (ends[0] - ends[1])).abs() < 0.02 * (ends[0] - ends[1]).abs());
}

/// Proves: REQ-EXP-005
#[test]
fn what_cannot_be_explained_is_refused_by_name() {
    let small = Small::read("resnet", "residual");
    let subject = small.subject();
    let method = IntegratedGradients { steps: 4, baseline: 0.0 };
    let says = |error: ExplainError, what: &str| assert!(error.to_string().contains(what), "{what}: {error}");
    says(GradCam { stage: "none".into() }.explain(&subject, &small.image).unwrap_err(), "none");
    says(
        method.explain(&Subject { score: Score::Channel(9), ..subject.clone() }, &small.image).unwrap_err(),
        "channel 9",
    );
    says(
        method.explain(&Subject { score: Score::Against(vec![]), ..subject.clone() }, &small.image).unwrap_err(),
        "opposite",
    );
    says(method.explain(&subject, &small.image[1..]).unwrap_err(), "expected");
    // two inputs are not one: no method mixes them
    let two = small.image.repeat(2);
    let methods: [&dyn Method; 5] = [
        &method,
        &GradCam { stage: "layer4".into() },
        &EigenCam { stage: "layer4".into() },
        &SmoothGrad { draws: 2, deviation: 0.1, seed: 0, times_input: true },
        &Occlusion::plane(8, 8, 0.0),
    ];
    let mut broken = small.image.clone();
    broken[7] = f32::NAN;
    for each in methods {
        says(each.explain(&subject, &two).unwrap_err(), "expected");
        let name = each.name();
        assert!(matches!(each.explain(&subject, &broken), Err(ExplainError::NotFinite)), "{name}: a NaN makes no map");
    }
    says(curves(&subject, &two, &vec![0.0; small.input.space()], (2, 0.0), (1, 1)).unwrap_err(), "expected");
    says(IntegratedGradients { steps: 0, baseline: 0.0 }.explain(&subject, &small.image).unwrap_err(), "steps");
    says(Occlusion::plane(0, 1, 0.0).explain(&subject, &small.image).unwrap_err(), "window");
}

/// Proves: REQ-EXP-006
#[test]
fn a_map_follows_the_network_and_not_the_image_alone() {
    let small = Small::read("resnet", "residual");
    let line = IntegratedGradients { steps: 16, baseline: 0.0 };
    let found = randomised(&line, &small.subject(), &small.image, 5).unwrap();
    assert!(found.windows(2).all(|pair| pair[0].layers <= pair[1].layers) && found[3].layers == found[3].of);
    assert!(found[3].correlation < 0.9, "all layers shuffled: {}", found[3].correlation);
    assert_eq!(found, randomised(&line, &small.subject(), &small.image, 5).unwrap(), "the same each time");
}

/// Proves: REQ-EXP-007
#[test]
fn faithful_maps_take_the_score_down_before_random_orders_do() {
    let (graph, weights, pull) = linear(36);
    let x = vec![1.0; 72];
    let subject = Subject { graph: &graph, weights: &weights, input: Shape::plane(2, 6, 6), score: Score::Channel(0) };
    let map: Vec<f32> = (0..36).map(|at| pull[at] + pull[36 + at]).collect();
    let good = curves(&subject, &x, &map, (6, 0.0), (5, 1)).unwrap();
    let bad = curves(&subject, &x, &map.iter().map(|v| -v).collect::<Vec<_>>(), (6, 0.0), (5, 1)).unwrap();
    assert!(good.gain() > 0.0 && bad.gain() < 0.0, "{} {}", good.gain(), bad.gain());
    assert!((good.deletion[0] - good.insertion[6]).abs() < 1e-5, "all there is all there");
    assert_eq!((good.deletion.len(), good.insertion.len()), (7, 7));
}

/// Proves: REQ-EXP-008
#[test]
fn localisation_and_similarity_have_their_textbook_values() {
    let map = [0.0, 3.0, 1.0, 0.0];
    let mask = [false, true, false, false];
    assert_eq!(points_inside(&map, &mask), Some(true));
    assert_eq!(points_inside(&map, &[true, false, false, false]), Some(false));
    assert_eq!(points_inside(&map, &[false; 4]), None);
    assert_eq!(points_inside(&[0.0; 4], &mask), None);
    assert!((energy_inside(&map, &mask).unwrap() - 0.75).abs() < 1e-12);
    assert_eq!(energy_inside(&[0.0; 4], &mask), None);
    assert!((rank_correlation(&[1.0, 2.0, 3.0], &[10.0, 20.0, 90.0]) - 1.0).abs() < 1e-12);
    assert!((rank_correlation(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]) + 1.0).abs() < 1e-12);
    // SciPy: spearmanr([1, 2, 2, 4], [1, 3, 2, 4]) = 0.9486832980505139
    assert!((rank_correlation(&[1.0, 2.0, 2.0, 4.0], &[1.0, 3.0, 2.0, 4.0]) - 0.948_683_298_050_513_9).abs() < 1e-12);
    assert!(rank_correlation(&[1.0; 3], &[1.0, 2.0, 3.0]).abs() < 1e-12);
    assert!((top_overlap(&[4.0, 3.0, 2.0, 1.0], &[4.0, 1.0, 3.0, 2.0], 0.5) - 1.0 / 3.0).abs() < 1e-12);
}

/// Proves: REQ-EXP-009
#[test]
fn a_badge_says_why_a_map_is_not_to_be_believed() {
    let good = Checks { fall_strongest: 2.0, fall_random: 0.5, mirror: 0.8, border: 1.0, empty: false };
    let judged = |checks: Checks| {
        let badge = Badge::judge(&checks, &LIMITS);
        (badge.trust, badge.reasons.iter().map(|reason| reason.code).collect::<Vec<_>>())
    };
    assert_eq!(judged(good), (Trust::Reliable, vec![]));
    assert_eq!(judged(Checks { fall_strongest: 0.4, ..good }), (Trust::Unreliable, vec!["not-faithful"]));
    assert_eq!(judged(Checks { mirror: 0.1, ..good }), (Trust::Caution, vec!["not-steady"]));
    assert_eq!(judged(Checks { border: 2.5, ..good }), (Trust::Caution, vec!["on-border"]));
    assert_eq!(judged(Checks { empty: true, ..good }), (Trust::Caution, vec!["no-evidence"]));
    assert_eq!(judged(Checks { fall_strongest: f64::NAN, ..good }), (Trust::Unreliable, vec!["not-finite"]));
    let both = judged(Checks { fall_strongest: 0.4, mirror: 0.1, ..good });
    assert_eq!(both, (Trust::Unreliable, vec!["not-faithful", "not-steady"]));
    let cells = fillings(&[0.1, 0.9, 0.3, 0.8, 0.2, 0.0, 0.4, 0.5, 0.6, 0.7]);
    assert_eq!((cells.len(), &cells[0]), (4, &vec![1, 3]));
    assert_eq!(cells, fillings(&[0.1, 0.9, 0.3, 0.8, 0.2, 0.0, 0.4, 0.5, 0.6, 0.7]));
    assert!((mirror_agreement(&[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 4.0, 3.0], 2) - 1.0).abs() < 1e-12);
}

/// Proves: REQ-EXP-009
#[test]
fn of_a_map_that_is_not_to_be_believed_no_region_is_told() {
    let saliency = Saliency::new("grad-cam/1".into(), [2, 2], vec![1.0, 4.0, 0.0, 2.0], 0.0, [8, 8]);
    let good = Checks { fall_strongest: 2.0, fall_random: 0.5, mirror: 0.8, border: 1.0, empty: false };
    let judged = |checks: Checks| Badge::judge(&checks, &LIMITS).regions(&saliency).len();
    assert_eq!(judged(good), 1);
    assert_eq!(judged(Checks { mirror: 0.1, ..good }), 1, "with caution it is told");
    assert_eq!(judged(Checks { fall_strongest: 0.4, ..good }), 0);
}

/// Proves: REQ-EXP-011
#[test]
fn a_score_has_the_same_bits_beside_any_batch_mates() {
    for (small, score) in
        [(Small::read("resnet", "residual"), Score::Channel(1)), (Small::read("unet", "u-net"), Score::Channel(1))]
    {
        let subject = Subject { score, ..small.subject() };
        let alone = subject.scores(&small.image).unwrap()[0];
        let mate: Vec<f32> = small.image.iter().enumerate().map(|(at, v)| -3.0 * v + (at % 13) as f32).collect();
        let beside = subject.scores(&[&mate[..], &small.image, &mate, &small.image].concat()).unwrap();
        assert_eq!([beside[1].to_bits(), beside[3].to_bits()], [alone.to_bits(); 2], "{}", small.name);
        let other = subject.scores(&mate).unwrap()[0];
        assert_eq!([beside[0].to_bits(), beside[2].to_bits()], [other.to_bits(); 2], "{}", small.name);
    }
}

/// Proves: REQ-EXP-010
#[test]
fn a_boundarys_doubt_is_its_entropy_and_the_width_of_its_band() {
    // a step from 0 to 1 with two columns between, of 4 rows
    let line = [0.0, 0.0, 0.4, 0.6, 1.0, 1.0];
    let image: Vec<f32> = line.repeat(4);
    let found = boundary(&image, [1, 4, 6], 0.5, Some([1.0, 0.5, 2.0])).unwrap();
    assert_eq!(found.band_places, 8);
    assert!((found.width_mm.unwrap() - 4.0).abs() < 1e-9, "two columns of 2 mm: {:?}", found.width_mm);
    assert!(found.entropy[0].abs() < 1e-6 && (f64::from(found.entropy[2]) - 0.970_950_594_454_668_6).abs() < 1e-6);
    assert_eq!(boundary(&image, [1, 4, 6], 0.5, None).unwrap().width_mm, None, "no millimetres without a spacing");
    assert!(boundary(&[1.5], [1, 1, 1], 0.5, None).is_err() && boundary(&[0.5], [1, 1, 2], 0.5, None).is_err());
}
