//! Made-up weights and a made-up data folder, for tests that need no shared data.

use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::path::Path;
use vidimus_log::Digest;
use vidimus_networks::train::Recipe;

/// Reproducible values in -1..1.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Channels in, hidden and out, and kernel of each block, as the trunk's card lists them.
const BLOCKS: [(usize, usize, usize, usize); 11] = [
    (32, 32, 16, 3),
    (16, 96, 24, 3),
    (24, 144, 24, 3),
    (24, 144, 40, 5),
    (40, 240, 40, 5),
    (40, 240, 80, 3),
    (80, 480, 80, 3),
    (80, 480, 80, 3),
    (80, 480, 112, 5),
    (112, 672, 112, 5),
    (112, 672, 112, 5),
];

/// A trunk of random filters of a size that keeps activations near one.
pub(crate) fn trunk() -> BTreeMap<String, Tensor> {
    let mut tensors = BTreeMap::new();
    let mut unit = |name: String, shape: [usize; 4]| {
        let [outputs, depth, k, _] = shape;
        let (count, size) = (shape.iter().product::<usize>(), (depth * k * k) as f32);
        let seed = Digest::of(name.as_bytes()).as_bytes()[..8].iter().fold(0, |s, &b| s << 8 | u64::from(b));
        let values: Vec<f32> = noise(seed, count).iter().map(|v| v * (6.0 / size).sqrt()).collect();
        let mut put = |part: &str, values: Vec<f32>, shape: &[usize]| {
            tensors.insert(format!("{name}.{part}"), Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
        };
        put("conv.weight", values, &shape);
        put("bn.weight", vec![1.0; outputs], &[outputs]);
        put("bn.bias", noise(seed ^ 1, outputs).iter().map(|v| v * 0.3 + 0.2).collect(), &[outputs]);
        put("bn.running_mean", noise(seed ^ 2, outputs).iter().map(|v| v * 0.1).collect(), &[outputs]);
        put("bn.running_var", noise(seed ^ 3, outputs).iter().map(|v| v * 0.2 + 1.0).collect(), &[outputs]);
    };
    unit("stem".into(), [32, 3, 3, 3]);
    for (number, (inputs, hidden, outputs, k)) in BLOCKS.into_iter().enumerate() {
        if number > 0 {
            unit(format!("blocks.{number}.expand"), [hidden, inputs, 1, 1]);
        }
        unit(format!("blocks.{number}.depthwise"), [hidden, 1, k, k]);
        unit(format!("blocks.{number}.project"), [outputs, hidden, 1, 1]);
    }
    tensors
}

/// The trunk with a random head for three classes.
pub(crate) fn classifier() -> BTreeMap<String, Tensor> {
    let mut tensors = trunk();
    let head = noise(11, 3 * 192).iter().map(|v| v * 0.3).collect();
    tensors.insert("head.weight".into(), Tensor::from_vec(head, (3, 192), &Device::Cpu).unwrap());
    tensors.insert("head.bias".into(), Tensor::from_vec(vec![0.1f32, -0.2, 0.3], 3, &Device::Cpu).unwrap());
    tensors
}

/// Tensors as the bytes of a safetensors file.
pub(crate) fn bytes(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    safetensors::serialize(tensors.iter().map(|(n, t)| (n.as_str(), t)), None).unwrap()
}

/// The shipped recipe, made small.
pub(crate) fn recipe() -> Recipe {
    let mut recipe = Recipe::parse(include_str!("../../../recipes/cxr-pneumonia.toml")).unwrap();
    recipe.preparation.side = 32;
    recipe.schedule.steps = 4;
    recipe.schedule.batch = 4;
    recipe.schedule.tuning_share = 0.34;
    recipe.schedule.tuning_every = 2;
    recipe.sampling.per_batch = [("normal", 2), ("bacteria", 1), ("virus", 1)].map(|(n, c)| (n.into(), c)).into();
    recipe
}

/// One row of a made-up data folder: split, class, subtype, patient.
pub(crate) type Row = (&'static str, &'static str, &'static str, String);

/// Rows of three patients a class, two pictures each, in the train split, and one of the test split.
pub(crate) fn rows() -> Vec<Row> {
    let kinds = [("normal", "none"), ("pneumonia", "bacteria"), ("pneumonia", "virus")];
    let mut rows: Vec<Row> = Vec::new();
    for (class, subtype) in kinds {
        rows.extend((0..6).map(|i| ("train", class, subtype, format!("p{}", i / 2))));
    }
    rows.push(("test", "normal", "none", "t0".into()));
    rows
}

/// Writes `labels.csv` and `train.tar` with a picture for each row whose position `archived` accepts.
pub(crate) fn folder(at: &Path, rows: &[Row], archived: impl Fn(usize) -> bool) {
    let mut table = String::from("file,split,class,subtype,patient,width,height,file_sha256\n");
    let mut archive = tar::Builder::new(std::fs::File::create(at.join("train.tar")).unwrap());
    for (number, (split, class, subtype, patient)) in rows.iter().enumerate() {
        let grey: Vec<u8> = noise(number as u64 + 1, 40 * 48).iter().map(|v| (v * 60.0 + 128.0) as u8).collect();
        let mut jpeg = Vec::new();
        image::codecs::jpeg::JpegEncoder::new(&mut jpeg).encode(&grey, 48, 40, image::ExtendedColorType::L8).unwrap();
        let name = format!("{split}/{number:02}.jpeg");
        let digest = Digest::of(&jpeg).hex();
        table += &format!("{name},{split},{class},{subtype},{patient},48,40,{digest}\n");
        if archived(number) {
            let mut header = tar::Header::new_ustar();
            header.set_size(jpeg.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, &name, jpeg.as_slice()).unwrap();
        }
    }
    archive.finish().unwrap();
    std::fs::write(at.join("labels.csv"), table).unwrap();
}
