//! Candidates: imported, run for research, logged, and never a released model.

use std::{fs, path::Path};

use serde_json::Value;
use vidimus_tests::{Ran, root, vidimus_run};

use crate::site::{assert_log_whole, copy, text};

/// A safetensors file of f32 tensors.
fn tensors(path: &Path, tensors: &[(&str, &[usize], Vec<f32>)]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let from = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [from, data.len()] });
        header.insert((*name).to_owned(), entry);
    }
    let mut header = Value::Object(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let bytes = [(header.len() as u64).to_le_bytes().to_vec(), header.into_bytes(), data].concat();
    fs::write(path, bytes).unwrap();
}

fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A little MeshNet of three classes, and its description.
fn meshnet(folder: &Path) {
    tensors(
        &folder.join("net.pth"),
        &[
            ("model.0.weight", &[4, 1, 3, 3, 3], noise(108, 1)),
            ("model.0.bias", &[4], noise(4, 2)),
            ("model.2.weight", &[4, 4, 3, 3, 3], noise(432, 3)),
            ("model.2.bias", &[4], noise(4, 4)),
            ("model.4.weight", &[3, 4, 1, 1, 1], noise(12, 5)),
            ("model.4.bias", &[3], vec![0.0; 3]),
        ],
    );
    let text = "family = \"meshnet\"\ndilations = [1, 2]\nactivation = \"elu\"\nlabels = [\"none\", \"one\", \"two\"]\n\
                [preparation]\nintensity = \"min-max\"\n";
    fs::write(folder.join("net.toml"), text).unwrap();
}

fn import(folder: &Path, dir: &Path, name: &str) -> Ran {
    let (toml, weights) = (folder.join("net.toml"), folder.join("net.pth"));
    vidimus_run(&[
        "model",
        "import",
        "--architecture",
        text(&toml),
        "--weights",
        text(&weights),
        "--name",
        name,
        "--dir",
        text(dir),
        "--json",
    ])
}

fn run(name: &str, input: &Path, out: &Path, dir: &Path) -> Ran {
    vidimus_run(&["model", "run", name, text(input), "--out", text(out), "--dir", text(dir), "--json"])
}

/// A NIfTI volume of 1.5 mm voxels, uncompressed.
fn nifti(path: &Path, shape: [u16; 3], values: &[u8]) {
    let mut head = vec![0u8; 352];
    let mut put = |at: usize, part: &[u8]| head[at..at + part.len()].copy_from_slice(part);
    put(0, &348i32.to_le_bytes());
    put(40, &3u16.to_le_bytes());
    for (axis, length) in shape.into_iter().enumerate() {
        put(42 + 2 * axis, &length.to_le_bytes());
        put(80 + 4 * axis, &1.5f32.to_le_bytes());
        put(280 + 20 * axis, &1.5f32.to_le_bytes());
    }
    put(70, &2u16.to_le_bytes());
    put(72, &8u16.to_le_bytes());
    put(108, &352f32.to_le_bytes());
    put(123, &[2]);
    put(254, &1u16.to_le_bytes());
    put(344, b"n+1\0");
    head.extend_from_slice(values);
    fs::write(path, head).unwrap();
}

/// Proves: REQ-SYS-070
#[test]
fn a_published_network_is_imported_run_and_logged_as_research_and_reads_nothing_clinically() {
    let (folder, dir) = copy();
    let folder = folder.path();
    meshnet(folder);
    let candidate = import(folder, &dir, "little").expect_code(0).objects().remove(0);
    assert_eq!((&candidate["state"], &candidate["parameters"]), (&"candidate".into(), &563.into()));
    assert_eq!(import(folder, &dir, "little").expect_code(0).objects()[0]["registered"], candidate["registered"]);

    let input = folder.join("input.safetensors");
    tensors(&input, &[("input", &[2, 1, 5, 6, 7], noise(420, 9))]);
    let object = run("little", &input, &folder.join("out"), &dir).expect_code(0).objects().remove(0);
    assert_eq!((&object["profile"], &object["purpose"]), (&"f32-exact".into(), &"research".into()));
    assert_eq!(object["weights_sha256"], candidate["weights_sha256"]);
    assert_eq!(object["outputs"][0]["shape"], serde_json::json!([2, 3, 5, 6, 7]));
    assert_eq!(object["outputs"][1]["shape"], serde_json::json!([2, 5, 6, 7]));
    assert!(object["notice"].as_str().unwrap().contains("not for clinical use"));
    let receipt = Path::new(object["files"]["receipt"].as_str().unwrap());
    let key = dir.join("log.vkey");
    vidimus_tests::verify_run(&["receipt", text(receipt), "--key", text(&key)]).expect_code(0);
    for threads in ["1", "2", "4"] {
        let mut command = vidimus_tests::vidimus();
        command.env("RAYON_NUM_THREADS", threads).args(["model", "run", "little"]);
        command.args([text(&input), "--out", text(&folder.join("again")), "--dir", text(&dir), "--json"]);
        let again = vidimus_tests::run(&mut command).expect_code(0).objects().remove(0);
        assert_eq!(again["outputs"], object["outputs"], "{threads} threads");
    }

    let shown = vidimus_run(&["model", "list", "--dir", text(&dir), "--json"]).expect_code(0).objects();
    assert!(shown.iter().all(|model| model["id"] != "little"), "a candidate is no registered model");
    vidimus_run(&["replay", "--all", "--dir", text(&dir)]).expect_code(0);
    assert_log_whole(&dir);
}

/// Proves: REQ-SYS-071
#[test]
fn a_volume_gets_labels_in_its_own_space_with_their_volumes() {
    let (folder, dir) = copy();
    let folder = folder.path();
    meshnet(folder);
    import(folder, &dir, "little").expect_code(0);
    let input = folder.join("volume.nii");
    let values: Vec<u8> = (0..8 * 9 * 10u32).map(|at| (at * 37 % 251) as u8).collect();
    nifti(&input, [8, 9, 10], &values);
    let object = run("little", &input, &folder.join("out"), &dir).expect_code(0).objects().remove(0);
    assert_eq!(object["input"]["shape"], serde_json::json!([8, 9, 10]));
    assert_eq!(object["input"]["spacing_mm"], serde_json::json!([1.5, 1.5, 1.5]));
    let result = fs::read(object["files"]["result"].as_str().unwrap()).unwrap();
    let labels = vidimus_imaging::volume::read_nifti(&result).unwrap().volume;
    let source = vidimus_imaging::volume::read_nifti(&fs::read(&input).unwrap()).unwrap().volume;
    assert!(labels.grid().same(&source.grid()));
    let measured = object["measurements"].as_array().unwrap();
    assert_eq!(measured.len(), 2);
    for (number, measure) in (1u8..).zip(measured) {
        let count = labels.values.iter().filter(|value| (**value - f32::from(number)).abs() < 0.5).count();
        assert!((measure["value"].as_f64().unwrap() - count as f64 * 3.375).abs() < 1e-6);
        assert_eq!(measure["unit"], "mm3");
    }
    assert_eq!((&measured[0]["name"], &measured[1]["name"]), (&"one".into(), &"two".into()));
}

/// Proves: REQ-SYS-072
#[test]
fn what_does_not_fit_is_refused_by_name_and_leaves_the_log_whole() {
    let (folder, dir) = copy();
    let folder = folder.path();
    meshnet(folder);
    let says = |ran: Ran, what: &str| {
        let ran = ran.expect_code(1);
        assert!(ran.err.contains(what), "{what}: {}", ran.err);
    };
    fs::rename(folder.join("net.pth"), folder.join("good.pth")).unwrap();
    fs::write(folder.join("net.pth"), b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.").unwrap();
    says(import(folder, &dir, "bad"), "posix.system");
    fs::copy(folder.join("good.pth"), folder.join("net.pth")).unwrap();
    says(import(folder, &dir, "../up"), "--name");
    import(folder, &dir, "little").expect_code(0);

    let input = folder.join("input.safetensors");
    let out = folder.join("out");
    let given = |shape: &[usize], values: Vec<f32>| {
        tensors(&input, &[("input", shape, values)]);
        let ran = run("little", &input, &out, &dir);
        assert!(ran.err.contains("was not run (entry "), "a refusal is in the log: {}", ran.err);
        ran
    };
    says(given(&[1, 2, 4, 4, 4], noise(128, 1)), "expected 1 channels, found 2");
    says(given(&[1, 1, 8, 8], noise(64, 1)), "dimensions");
    says(given(&[64], noise(64, 1)), "expected [batch, channel");
    says(given(&[1, 1, 2, 2, 2], vec![f32::NAN; 8]), "not finite");
    tensors(&input, &[("image", &[1, 1, 2, 2, 2], vec![0.0; 8])]);
    says(run("little", &input, &out, &dir), "no tensor `input`");
    fs::write(&input, b"junk").unwrap();
    says(run("little", &input, &out, &dir), "neither a picture");
    says(run("little", &root().join("service/samples/sample-01.dcm"), &out, &dir), "(0028,0030)");
    says(run("unknown", &input, &out, &dir), "no such candidate");

    let weights = dir.join("research/little/weights");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();
    tensors(&input, &[("input", &[1, 1, 2, 2, 2], vec![0.0; 8])]);
    says(run("little", &input, &out, &dir), "weights differs from what was imported");
    assert_log_whole(&dir);
}
