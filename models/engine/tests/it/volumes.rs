//! Published MeshNets over a 64^3 crop, against PyTorch's figures: labels and logits.
//! Needs the project's data folder (`VIDIMUS_DATA`); without it nothing is run, and the test says so; with
//! `CI=true` that is a failure.

use candle_core::{Device, Tensor};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use vidimus_engine::graph::Activation;
use vidimus_engine::{Graph, Plan, Shape, Weights, Window};

/// Largest difference of a logit, of the largest logit.
const TOLERANCE: f32 = 1e-5;

fn folder() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("VIDIMUS_DATA").map_or(default, PathBuf::from).join("weights");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "no data folder");
    eprintln!("not run: no data folder");
    None
}

fn load(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn meshnet(weights: &Weights, kind: Activation) -> Graph {
    let (mut graph, mut x) = Graph::new();
    for (layer, dilation) in [1, 2, 4, 8, 16, 8, 4, 2, 1, 0].into_iter().enumerate() {
        let names = ["weight", "bias"].map(|part| format!("model.{}.{part}", 2 * layer));
        assert!(weights.contains_key(&names[0]), "{}", names[0]);
        let window = if dilation == 0 { Window::ONE } else { Window::volume(1, dilation, dilation) };
        x = graph.conv(x, &names[0], Some(&names[1]), window, 1);
        if dilation > 0 {
            x = graph.activation(x, kind);
        }
    }
    graph
}

/// The labels of a crop, and its logits from `first` along every axis.
fn agrees(folder: &Path, kind: Activation, logits: &str, first: usize) {
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let weights: Weights = load(&folder.join(format!("{name}.safetensors"))).into_iter().collect();
    let golden = load(&folder.join("golden/crop64_at_100.safetensors"));
    let graph = meshnet(&weights, kind);
    let input = Shape::volume(1, [64; 3]);
    let plan = Plan::new(&graph, &weights, input, &[graph.output()]).unwrap();
    let found = plan.run(&flat(&golden["input"]), 1).unwrap().remove(0);

    let expected = flat(&golden[logits]);
    let size = *golden[logits].dims().last().unwrap();
    let largest = expected.iter().fold(0.0f32, |top, v| top.max(v.abs()));
    let mut worst = 0.0f32;
    for (at, expected) in expected.iter().enumerate() {
        let (channel, rest) = (at / size.pow(3), at % size.pow(3));
        let [d, r, c] = [rest / size / size, rest / size % size, rest % size].map(|place| place + first);
        worst = worst.max((found.values[((channel * 64 + d) * 64 + r) * 64 + c] - expected).abs());
    }
    assert!(worst <= TOLERANCE * largest, "{name}: a logit is off by {worst} of {largest}");

    let space = 64 * 64 * 64;
    let labels: Vec<u8> = golden["labels_u8"].flatten_all().unwrap().to_vec1().unwrap();
    let mut others = 0;
    for (at, label) in labels.iter().enumerate() {
        let value = |channel: usize| found.values[channel * space + at];
        let best = (1..found.shape.channels).fold(0, |best, next| if value(next) > value(best) { next } else { best });
        // another label only where the two are as good as equal
        if best != usize::from(*label) {
            let ahead = value(best) - value(usize::from(*label));
            assert!(ahead <= 2.0 * TOLERANCE * largest, "{name}: label {best} for {label} by {ahead}");
            others += 1;
        }
    }
    eprintln!("{name}: logits within {:.1e}, {others} of {space} labels undecided", worst / largest);
    assert!(others <= 3, "{name}: {others} labels differ");
}

/// Proves: REQ-ENG-085
#[test]
fn published_meshnets_give_the_labels_and_logits_of_their_golden_crops() {
    let Some(folder) = folder() else { return };
    agrees(&folder.join("meshnet-tissue"), Activation::Relu, "logits_16_48", 16);
    agrees(&folder.join("meshnet-subcortical"), Activation::Elu(1.0), "logits_24_40", 24);
}
