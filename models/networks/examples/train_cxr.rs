//! Trains by a recipe and writes weights, record, tuning answers and guard features into a folder:
//! `train_cxr RECIPE DATA TRUNK OUT CODE_VERSION`. The command `vidimus train` does the same for a site.

use candle_core::{Device, Tensor};
use std::path::{Path, PathBuf};
use std::time::Instant;
use vidimus_networks::train::{Recipe, Trained, train};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, data, trunk, out, version] = args.as_slice() else {
        return Err("usage: train_cxr RECIPE DATA TRUNK OUT CODE_VERSION".into());
    };
    let recipe = Recipe::parse(&std::fs::read_to_string(recipe)?)?;
    let out = PathBuf::from(out);
    std::fs::create_dir_all(&out)?;
    let start = Instant::now();
    let trained = train(&recipe, Path::new(data), Path::new(trunk), version, &mut |at| {
        if at.step <= 3 || at.step.is_multiple_of(10) || at.tuning_auc.is_some() {
            let seconds = start.elapsed().as_secs_f64();
            eprintln!(
                "{seconds:7.1} s  step {}/{}  loss {:.4}  tuning {:?}",
                at.step, at.steps, at.loss, at.tuning_auc
            );
        }
    })?;
    write(&out, &trained)?;
    eprintln!("{}", serde_json::to_string_pretty(&trained.record.tuning)?);
    Ok(())
}

fn write(out: &Path, trained: &Trained) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::write(out.join("weights.safetensors"), &trained.weights)?;
    std::fs::write(out.join("training-record.json"), serde_json::to_vec_pretty(&trained.record)?)?;
    std::fs::write(out.join("tuning.json"), serde_json::to_vec_pretty(&trained.tuning)?)?;
    let reference = &trained.reference;
    let rows = reference.features.len();
    let width = reference.features.first().map_or(0, Vec::len);
    let classes: Vec<u8> = reference.classes.iter().map(|&k| u8::try_from(k)).collect::<Result<_, _>>()?;
    let tuning: Vec<u8> = reference.tuning.iter().map(|&t| u8::from(t)).collect();
    let features = Tensor::from_vec(reference.features.concat(), (rows, width), &Device::Cpu)?;
    let tensors = [
        ("classes".to_owned(), Tensor::from_vec(classes, rows, &Device::Cpu)?),
        ("features".to_owned(), features),
        ("tuning".to_owned(), Tensor::from_vec(tuning, rows, &Device::Cpu)?),
    ];
    candle_core::safetensors::save(&tensors.into(), out.join("train-features.safetensors"))?;
    Ok(())
}
