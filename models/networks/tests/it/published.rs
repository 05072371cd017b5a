//! Published networks: imported by their descriptions, held to figures of the authors' code and of PyTorch.

use super::data;
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use vidimus_engine::{Plan, Shape, Weights};
use vidimus_networks::NetworkError;
use vidimus_networks::architecture::{Description, Network};
use vidimus_networks::import::read_weights;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn description(name: &str) -> Description {
    Description::parse(&std::fs::read_to_string(here(&format!("published/{name}.toml"))).unwrap()).unwrap()
}

fn tensors(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The values of some stages (or `output`) for the first image of `x`.
fn run(network: &Network, x: &Tensor, stages: &[&str]) -> Vec<Vec<f32>> {
    let dims = x.dims();
    let extent = if dims.len() == 4 { [1, dims[2], dims[3]] } else { [dims[2], dims[3], dims[4]] };
    let input = Shape { channels: dims[1], extent };
    let wanted: Vec<_> = stages
        .iter()
        .map(|stage| if *stage == "output" { network.graph.output() } else { network.graph.stages()[*stage] })
        .collect();
    let plan = Plan::new(&network.graph, &network.weights, input, &wanted).unwrap();
    plan.run(&flat(x), dims[0]).unwrap().into_iter().map(|values| values.values).collect()
}

fn close(name: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let worst = found.iter().zip(expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
    let largest = expected.iter().fold(1.0f32, |top, v| top.max(v.abs()));
    assert!(worst <= tolerance * largest, "{name}: off by {worst}");
}

/// Proves: REQ-NET-101
#[test]
fn published_networks_agree_with_the_authors_code_layer_by_layer() {
    let Some(folder) = data::folder().map(|data| data.join("weights")) else { return };
    let cases = [
        ("meshnet-tissue", "meshnet-tissue/meshnet-tissue.zip.pth", "meshnet-tissue/golden/trace_20"),
        (
            "meshnet-subcortical",
            "meshnet-subcortical/meshnet-subcortical.safetensors",
            "meshnet-subcortical/golden/trace_12",
        ),
        ("dncnn-25", "dncnn-25/dncnn-25.safetensors", "dncnn-25/golden/trace_32x32"),
        ("lwnet-drive", "lwnet-drive/lwnet-drive.zip.pth", "lwnet-drive/golden/trace_32x32"),
        ("hippodeep-head", "hippodeep/head.safetensors", "hippodeep/golden/trace_head_16"),
        ("hippodeep-hippo", "hippodeep/hippo.safetensors", "hippodeep/golden/trace_hippo_20"),
    ];
    for (name, weights, golden) in cases {
        let description = description(name);
        let (weights, _) = read_weights(&std::fs::read(folder.join(weights)).unwrap()).unwrap();
        let network = Network::build(&description, weights).unwrap();
        let golden = tensors(&folder.join(format!("{golden}.safetensors")));
        let output = ["output", "logits2", "denoised", "model.18", "model.32"].iter().find_map(|key| golden.get(*key));
        let Some(input) = golden.get("input").or_else(|| golden.get("noisy")) else {
            panic!("{name}: no input among {:?}", golden.keys())
        };
        let Some(output) = output else { panic!("{name}: no output among {:?}", golden.keys()) };
        let found = run(&network, input, &["output"]).remove(0);
        close(name, &found, &flat(output), description.tolerance as f32);
    }
}

/// Proves: REQ-NET-102
#[test]
fn the_two_formats_of_one_network_hold_the_same_tensors() {
    let Some(folder) = data::folder().map(|data| data.join("weights")) else { return };
    for name in ["meshnet-tissue", "meshnet-subcortical", "lwnet-drive"] {
        let read = |suffix: &str| {
            read_weights(&std::fs::read(folder.join(format!("{name}/{name}.{suffix}"))).unwrap()).unwrap().0
        };
        let (zip, plain) = (read("zip.pth"), read("safetensors"));
        assert_eq!(zip.keys().collect::<Vec<_>>(), plain.keys().collect::<Vec<_>>(), "{name}");
        for (tensor, values) in &zip {
            assert_eq!(flat(values), flat(&plain[tensor]), "{name} {tensor}");
        }
    }
}

/// Proves: REQ-NET-103
#[test]
fn every_family_agrees_with_pytorch_on_a_small_network() {
    let golden = tensors(&here("../../tests/peers/golden/networks.safetensors"));
    let of = |prefix: &str| -> Weights {
        let of = golden.iter().filter_map(|(name, tensor)| {
            Some((name.strip_prefix(&format!("{prefix}/weights/"))?.to_owned(), tensor.clone()))
        });
        of.collect::<BTreeMap<_, _>>()
    };
    let families = [
        ("resnet", "family = \"residual\""),
        ("densenet", "family = \"densenet\""),
        ("unet", "family = \"u-net\""),
        ("w-net", "family = \"w-net\"\norder = \"activation-first\""),
        ("dncnn", "family = \"dncnn\""),
        ("meshnet", "family = \"meshnet\"\nactivation = \"elu\"\ndilations = [1, 2, 4, 1]"),
    ];
    for (name, description) in families {
        let network = Network::build(&Description::parse(description).unwrap(), of(name)).unwrap();
        let found = run(&network, &golden[&format!("{name}/input")], &["output"]).remove(0);
        let expected = flat(&golden[&format!("{name}/output")]);
        let worst = found.iter().zip(&expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
        let largest = expected.iter().fold(0.01f32, |top, v| top.max(v.abs()));
        eprintln!("parity | imported network | {name} | output | {:.1e}", worst / largest);
        close(name, &found, &expected, 1e-5);
    }
}

/// Proves: REQ-NET-104
#[test]
fn a_network_of_other_sizes_needs_a_description_and_no_code() {
    let noise = |name: &str, dims: &[usize]| {
        let values =
            super::made::noise(dims.iter().map(|d| *d as u64).sum::<u64>() + name.len() as u64, dims.iter().product());
        (name.to_owned(), Tensor::from_vec(values, dims, &Device::Cpu).unwrap())
    };
    let mut weights = Weights::new();
    for (place, (inputs, outputs)) in [(2, 7), (7, 7), (7, 7)].into_iter().enumerate() {
        weights.extend([noise(&format!("net.{}.weight", 3 * place), &[outputs, inputs, 3, 3, 3])]);
        for part in ["weight", "bias", "running_mean"] {
            weights.extend([noise(&format!("net.{}.{part}", 3 * place + 1), &[outputs])]);
        }
        let variance = Tensor::ones(outputs, candle_core::DType::F32, &Device::Cpu).unwrap();
        weights.insert(format!("net.{}.running_var", 3 * place + 1), variance);
    }
    weights.extend([noise("net.9.weight", &[5, 7, 1, 1, 1]), noise("net.9.bias", &[5])]);
    let text = "family = \"meshnet\"\ndilations = [1, 3, 2]\nactivation = \"elu\"\nlabels = [\"a\", \"b\", \"c\", \"d\", \"e\"]";
    let network = Network::build(&Description::parse(text).unwrap(), weights.clone()).unwrap();
    assert_eq!((network.channels, network.outputs), (2, 5));
    let x = noise("x", &[1, 2, 7, 9, 8]).1;
    let found = run(&network, &x, &["output", "features"]);
    assert_eq!((found[0].len(), found[1].len()), (5 * 504, 7 * 504));
    for (change, what) in [
        (text.replace("[1, 3, 2]", "[1, 3]").replace("activation", "activation "), "dilations"),
        (text.replace("elu", "swish"), "architecture"),
        (format!("{text}\ncolour = 1"), "colour"),
    ] {
        let refused = Description::parse(&change).and_then(|d| Network::build(&d, weights.clone()));
        assert!(refused.as_ref().is_err_and(|error| error.to_string().contains(what)), "{what}: {refused:?}");
    }
    let built = |weights: Weights| Network::build(&Description::parse(text).unwrap(), weights);
    let mut missing = weights.clone();
    missing.remove("net.4.running_mean");
    assert!(built(missing).is_err_and(|error| error.to_string().contains("net.4")));
    let mut extra = weights.clone();
    extra.extend([noise("net.9.scale", &[5])]);
    assert!(matches!(built(extra), Err(NetworkError::Unknown { name }) if name == "net.9.scale"));
    let mut narrow = weights;
    narrow.extend([noise("net.3.weight", &[7, 6, 3, 3, 3])]);
    assert!(built(narrow).is_err_and(|error| error.to_string().contains("net.3.weight")));
}

/// Proves: REQ-NET-104
#[test]
fn layers_are_ordered_by_the_numbers_in_their_names_however_they_are_nested() {
    let noise = |seed: usize, dims: &[usize]| {
        Tensor::from_vec(super::made::noise(seed as u64, dims.iter().product()), dims, &Device::Cpu).unwrap()
    };
    let text = "family = \"meshnet\"\ndilations = [1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1]";
    let description = Description::parse(text).unwrap();
    let made = |conv: fn(usize) -> String, norm: fn(usize) -> String, end: &str| {
        let mut weights = Weights::new();
        for place in 0..11 {
            weights.insert(
                format!("{}.weight", conv(place)),
                noise(place + 1, &[2, if place == 0 { 1 } else { 2 }, 3, 3, 3]),
            );
            for (part, seed) in [("weight", 20), ("bias", 40), ("running_mean", 60)] {
                weights.insert(format!("{}.{part}", norm(place)), noise(place + seed, &[2]));
            }
            let ones = Tensor::ones(2, candle_core::DType::F32, &Device::Cpu).unwrap();
            weights.insert(format!("{}.running_var", norm(place)), ones);
        }
        weights.insert(format!("{end}.weight"), noise(99, &[4, 2, 1, 1, 1]));
        let network = Network::build(&description, weights).unwrap();
        run(&network, &noise(7, &[1, 1, 3, 4, 5]), &["output"]).remove(0)
    };
    let flat = made(|n| format!("model.{}", 3 * n), |n| format!("model.{}", 3 * n + 1), "model.33");
    let nested = made(|n| format!("model.{n}.0"), |n| format!("model.{n}.1"), "model.11");
    let named = made(|n| format!("layers.{n}.conv"), |n| format!("layers.{n}.bn"), "classifier");
    let joined = made(|n| format!("conv{n}"), |n| format!("bn{n}"), "conv11");
    assert_eq!(flat.len(), 4 * 60);
    assert!(flat == nested && flat == named && flat == joined);
}

/// A W-Net's tensors of these widths, by their published names.
fn wnet(widths: &[usize], channels: usize, classes: usize) -> Weights {
    let mut weights = Weights::new();
    let mut put = |name: String, dims: &[usize]| {
        let seed = name.bytes().fold(7u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let values = super::made::noise(seed, dims.iter().product());
        let positive = name.ends_with("running_var");
        let values = values.into_iter().map(|v| if positive { v.abs() + 0.5 } else { v }).collect::<Vec<_>>();
        weights.insert(name, Tensor::from_vec(values, dims, &Device::Cpu).unwrap());
    };
    let layer =
        |put: &mut dyn FnMut(String, &[usize]), conv: String, norm: String, (from, to): (usize, usize), side| {
            put(format!("{conv}.weight"), &[to, from, side, side]);
            if side > 1 {
                put(format!("{conv}.bias"), &[to]);
            }
            for part in ["weight", "bias", "running_mean", "running_var"] {
                put(format!("{norm}.{part}"), &[to]);
            }
        };
    let block = |put: &mut dyn FnMut(String, &[usize]), at: String, (from, to): (usize, usize)| {
        layer(put, format!("{at}.block.0"), format!("{at}.block.2"), (from, to), 3);
        layer(put, format!("{at}.block.3"), format!("{at}.block.5"), (to, to), 3);
        layer(put, format!("{at}.shortcut.0"), format!("{at}.shortcut.1"), (from, to), 1);
    };
    for (net, channels) in [("unet1", channels), ("unet2", channels + classes)] {
        block(&mut put, format!("{net}.first"), (channels, widths[0]));
        let deepest = widths.len() - 1;
        for level in 0..deepest {
            block(&mut put, format!("{net}.down_path.{level}"), (widths[level], widths[level + 1]));
            let (from, to) = (widths[deepest - level], widths[deepest - level - 1]);
            let up = format!("{net}.up_path.{level}");
            put(format!("{up}.up_layer.block.0.weight"), &[from, to, 2, 2]);
            put(format!("{up}.up_layer.block.0.bias"), &[to]);
            let bridge = format!("{up}.conv_bridge_layer");
            layer(&mut put, format!("{bridge}.block.0"), format!("{bridge}.block.2"), (to, to), 3);
            block(&mut put, format!("{up}.conv_layer"), (2 * to, to));
        }
        put(format!("{net}.final.weight"), &[classes, widths[0], 1, 1]);
        put(format!("{net}.final.bias"), &[classes]);
    }
    weights
}

/// Proves: REQ-NET-104
#[test]
fn a_w_net_of_other_levels_and_classes_takes_the_published_description_as_it_is() {
    let network = Network::build(&description("lwnet-drive"), wnet(&[3, 4, 5, 6], 2, 3)).unwrap();
    assert_eq!((network.channels, network.outputs, network.multiple), (2, 3, 8));
    let x = Tensor::from_vec(super::made::noise(3, 2 * 16 * 24), (1, 2, 16, 24), &Device::Cpu).unwrap();
    let found = run(&network, &x, &["output", "unet1"]);
    assert_eq!((found[0].len(), found[1].len()), (3 * 384, 3 * 384));
    assert!(found[0].iter().all(|value| value.is_finite()) && found[0] != found[1]);
    let shallow = Network::build(&description("lwnet-drive"), wnet(&[3, 4], 1, 1)).unwrap();
    assert_eq!(shallow.multiple, 2);
    let mut wrong = wnet(&[3, 4], 1, 1);
    wrong.extend(wnet(&[3, 5], 1, 1).into_iter().filter(|(name, _)| name == "unet2.down_path.0.block.3.weight"));
    let refused = Network::build(&description("lwnet-drive"), wrong).unwrap_err().to_string();
    assert!(refused.contains("unet2.down_path.0.block"), "{refused}");
}

/// A stored zip of these files, as PyTorch writes it.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in files {
        let (size, at) = ((data.len() as u32).to_le_bytes(), (bytes.len() as u32).to_le_bytes());
        bytes.extend_from_slice(b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes.extend_from_slice(&[size, size].concat());
        bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&[name.as_bytes(), data].concat());
        directory.extend_from_slice(b"PK\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        directory.extend_from_slice(&[size, size].concat());
        directory.extend_from_slice(&(name.len() as u32).to_le_bytes());
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&at);
        directory.extend_from_slice(name.as_bytes());
    }
    let (count, length, at) = (files.len() as u16, directory.len() as u32, bytes.len() as u32);
    bytes.extend_from_slice(&directory);
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    bytes.extend_from_slice(&[count.to_le_bytes(), count.to_le_bytes()].concat());
    bytes.extend_from_slice(&[length.to_le_bytes(), at.to_le_bytes()].concat());
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

/// The pickle of one tensor `w` of `size` and `stride` in a storage of `numel` values of `kind`.
fn one_tensor(kind: &str, numel: u8, size: u8, stride: u8) -> Vec<u8> {
    let mut p =
        b"\x80\x02}q\x00X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n"
            .to_vec();
    p.extend_from_slice(kind.as_bytes());
    p.extend_from_slice(b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK");
    p.push(numel);
    p.extend_from_slice(b"tQK\x00K");
    p.push(size);
    p.extend_from_slice(b"\x85K");
    p.push(stride);
    p.extend_from_slice(b"\x85\x89ccollections\nOrderedDict\n)RtRs.");
    p
}

/// Proves: REQ-NET-105
#[test]
fn a_pickle_that_wants_more_than_tensors_is_refused_by_name_and_nothing_runs() {
    let data: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let archive =
        |pickle: &[u8], data: &[u8]| zip(&[("m/data.pkl", pickle), ("m/byteorder", b"little"), ("m/data/0", data)]);
    let good = archive(&one_tensor("FloatStorage", 4, 2, 2), &data);
    let (weights, _) = read_weights(&good).unwrap();
    assert_eq!(flat(&weights["w"]), [1.0, 3.0], "strides are honoured");
    let says = |bytes: &[u8], what: &str| {
        let refused = read_weights(bytes).unwrap_err().to_string();
        assert!(refused.contains(what), "{what}: {refused}");
    };
    says(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.", "posix.system");
    says(&archive(b"\x80\x02cbuiltins\neval\n.", &data), "builtins.eval");
    says(&archive(b"\x80\x04\x8c\x02os\x8c\x06system\x93.", &data), "os.system");
    says(&archive(b"\x80\x02}q\x00h\x00h\x00s.", &data), "changes a container");
    says(&archive(b"\x80\x02i", &data), "opcode 0x69");
    says(&archive(&[b"\x80\x02)".to_vec(), vec![0x85; 64], b".".to_vec()].concat(), &data), "too deep");
    says(&archive(b"\x80\x02K\x01.", &data), "no");
    says(&archive(&one_tensor("FloatStorage", 4, 9, 1), &data), "tensor w");
    says(&archive(&one_tensor("FloatStorage", 4, 3, 2), &data), "out of its storage");
    says(&archive(&one_tensor("FloatStorage", 5, 2, 1), &data), "tensor w");
    says(&archive(&one_tensor("DoubleStorage", 2, 2, 1), &data), "f64");
    let nan: Vec<u8> = [1.0, f32::NAN, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    says(&archive(&one_tensor("FloatStorage", 4, 2, 1), &nan), "not finite");
    says(&zip(&[("m/data.pkl", &one_tensor("FloatStorage", 4, 2, 1))]), "data/0 is missing");
    says(&zip(&[("m/data.pkl", b"."), ("m/code/x.py", b"")]), "TorchScript");
    says(&zip(&[("readme", b"")]), "data.pkl");
    says(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80", "before 2020");
    says(b"hello, world", "neither");
    for cut in (4..good.len()).step_by(3) {
        assert!(read_weights(&good[..cut]).is_err(), "cut at {cut}");
    }
}
