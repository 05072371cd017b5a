//! What a research run leaves in its folder: the raw tensors, and the finished result in the patient's space with its
//! measures.
//! Shapes: `output` `[images, channels, (depth,) rows, columns]` of f32; `labels` u8, the spatial axes, before them the
//! images where there are several.
//! Units: mm3 and mm2 where the input has a spacing, else pixels; shares in percent. UCUM.
//! Errors: a file that cannot be written, a result that is not finite.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use vidimus_imaging::{
    Volume,
    volume::{Interpolation, write_nifti},
};
use vidimus_log::Digest;
use vidimus_networks::architecture::{Description, OutputKind};
use vidimus_reader::film_png;

use super::{
    NOTICE,
    input::{Input, Place},
};

/// Values that are turned into bytes at a time.
const CHUNK: usize = 1 << 16;

/// The network's raw result, without the padding that the input was given.
pub(super) struct Raw {
    /// `[images, channels, depth, rows, columns]`.
    pub values: Vec<f32>,
    pub images: usize,
    pub channels: usize,
    pub extent: [usize; 3],
    pub planar: bool,
}

impl Raw {
    fn dims(&self) -> Vec<usize> {
        let space = &self.extent[usize::from(self.planar)..];
        [&[self.images, self.channels], space].concat()
    }

    fn space(&self) -> usize {
        self.extent.iter().product()
    }

    /// One channel of the first image.
    fn channel(&self, channel: usize) -> &[f32] {
        &self.values[channel * self.space()..][..self.space()]
    }

    /// The largest channel at each place of each image; of equal ones the first.
    pub(super) fn labels(&self) -> Vec<u8> {
        let space = self.space();
        let mut labels = vec![0u8; self.images * space];
        let images = self.values.chunks_exact(self.channels * space).zip(labels.chunks_exact_mut(space));
        for (image, labels) in images {
            let mut best = image[..space].to_vec();
            for (channel, values) in image.chunks_exact(space).enumerate().skip(1) {
                for ((best, label), value) in best.iter_mut().zip(&mut *labels).zip(values) {
                    if *value > *best {
                        (*best, *label) = (*value, u8::try_from(channel).unwrap_or(u8::MAX));
                    }
                }
            }
        }
        labels
    }
}

/// What was written and found.
pub(super) struct Written {
    pub outputs: Vec<Value>,
    pub measurements: Vec<Value>,
    pub files: Vec<(&'static str, PathBuf)>,
}

/// Writes `outputs.safetensors` and, for pictures and volumes, the finished result.
/// `digest` is that of the raw result; `averaged` stands for the first channel's probability in the finished result,
/// where there is one.
pub(super) fn write(
    out: &Path,
    (raw, digest): (&Raw, Digest),
    averaged: Option<Vec<f32>>,
    input: &Input,
    description: &Description,
) -> anyhow::Result<Written> {
    let kind = description.output(raw.channels);
    let compete = kind == OutputKind::Labels && raw.channels > 1 && raw.channels <= 256;
    let labels = compete.then(|| raw.labels());
    let mut written = Written { outputs: Vec::new(), measurements: Vec::new(), files: Vec::new() };
    tensors(out, (raw, digest), labels.as_deref(), &mut written)?;
    match &input.place {
        Place::Tensor => {}
        Place::Picture { rows, columns, spacing_mm } => {
            let place = (*rows, *columns, *spacing_mm);
            picture(out, raw, (labels.as_deref(), averaged), place, (kind, description), &mut written)?;
        }
        Place::Volume { original, seen } => {
            volume(out, raw, labels.as_deref(), (original, seen), (kind, description), &mut written)?;
        }
    }
    if kind == OutputKind::Values && raw.space() == 1 {
        for channel in 0..raw.channels {
            let unit = description.unit.as_deref().unwrap_or("1");
            written.measurements.push(measure(&label(description, channel), f64::from(raw.channel(channel)[0]), unit));
        }
    }
    Ok(written)
}

/// The digest of values as little-endian bytes, without a copy of them all.
pub(super) fn digest_of(values: &[f32]) -> Digest {
    let mut hash = Sha256::new();
    values.chunks(CHUNK).for_each(|part| hash.update(bytes_of(part)));
    Digest::from_bytes(hash.finalize().into())
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Writes the safetensors file value by value: the result of a whole volume is too large to be held twice.
fn tensors(
    out: &Path,
    (raw, digest): (&Raw, Digest),
    labels: Option<&[u8]>,
    written: &mut Written,
) -> anyhow::Result<()> {
    let length = raw.values.len() * 4;
    let mut header = json!({
        "__metadata__": { "purpose": NOTICE },
        "output": { "dtype": "F32", "shape": raw.dims(), "data_offsets": [0, length] },
    });
    written.outputs.push(json!({ "name": "output", "shape": raw.dims(), "sha256": digest }));
    if let Some(labels) = labels {
        let mut dims = raw.extent[usize::from(raw.planar)..].to_vec();
        if raw.images > 1 {
            dims.insert(0, raw.images);
        }
        header["labels"] = json!({ "dtype": "U8", "shape": dims, "data_offsets": [length, length + labels.len()] });
        written.outputs.push(json!({ "name": "labels", "shape": dims, "sha256": Digest::of(labels) }));
    }
    let mut header = serde_json::to_vec(&header)?;
    // values begin at a multiple of 8, as the format's own writer has it
    header.resize(header.len().next_multiple_of(8), b' ');
    let path = out.join("outputs.safetensors");
    let wrote = || -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for part in raw.values.chunks(CHUNK) {
            file.write_all(&bytes_of(part))?;
        }
        file.write_all(labels.unwrap_or_default())?;
        file.flush()
    };
    wrote().with_context(|| format!("{}: cannot be written", path.display()))?;
    written.files.push(("outputs", path));
    Ok(())
}

fn put(out: &Path, name: &str, bytes: &[u8], key: &'static str, written: &mut Written) -> anyhow::Result<()> {
    let path = out.join(name);
    std::fs::write(&path, bytes).with_context(|| format!("{}: cannot be written", path.display()))?;
    written.files.push((key, path));
    Ok(())
}

fn label(description: &Description, channel: usize) -> String {
    description.labels.get(channel).cloned().unwrap_or_else(|| format!("label-{channel}"))
}

fn measure(name: &str, value: f64, unit: &str) -> Value {
    json!({ "name": name, "value": value, "unit": unit })
}

/// The logistic function.
pub(super) fn probability(logit: f32) -> f64 {
    1.0 / (1.0 + libm::exp(-f64::from(logit)))
}

fn picture(
    out: &Path,
    raw: &Raw,
    (labels, averaged): (Option<&[u8]>, Option<Vec<f32>>),
    (rows, columns, spacing_mm): (usize, usize, Option<[f64; 2]>),
    (kind, description): (OutputKind, &Description),
    written: &mut Written,
) -> anyhow::Result<()> {
    let [_, height, width] = raw.extent;
    // a pixel of the result covers so much of the picture
    let share = (rows * columns) as f64 / (height * width) as f64;
    let area = spacing_mm.map_or((share, "{pixel}"), |[row, column]| (share * row * column, "mm2"));
    let threshold = description.threshold.unwrap_or(0.5);
    let values: Vec<f32> = match (kind, labels) {
        (_, Some(labels)) => {
            let top = (raw.channels - 1).max(1) as f32;
            for channel in 1..raw.channels {
                let count = labels.iter().filter(|label| usize::from(**label) == channel).count();
                written.measurements.push(measure(&label(description, channel), count as f64 * area.0, area.1));
            }
            labels.iter().map(|label| f32::from(*label) / top).collect()
        }
        (OutputKind::Image, None) => raw.channel(0).iter().map(|value| value.clamp(0.0, 1.0)).collect(),
        (OutputKind::Logits, None) if raw.space() > 1 => {
            let alone = || raw.channel(0).iter().map(|logit| probability(*logit)).collect();
            let probabilities: Vec<f64> =
                averaged.map_or_else(alone, |values| values.into_iter().map(f64::from).collect());
            let count = probabilities.iter().filter(|p| **p > threshold).count();
            let name = label(description, 0);
            written.measurements.push(measure(&name, count as f64 * area.0, area.1));
            let percent = 100.0 * count as f64 / probabilities.len() as f64;
            written.measurements.push(measure(&format!("{name}-share"), percent, "%"));
            probabilities.into_iter().map(|p| p as f32).collect()
        }
        _ => return Ok(()),
    };
    let pixels = vidimus_networks::preparation::resized(height, width, &values, [rows, columns])?;
    let pixels = if labels.is_some() { nearest(&values, (height, width), (rows, columns)) } else { pixels };
    let image = vidimus_imaging::Image { rows, columns, spacing: None, pixels, padding: None };
    put(out, "result.png", &film_png(&image)?, "result", written)
}

/// Labels are never mixed.
fn nearest(values: &[f32], from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    let place = |at: usize, from: usize, to: usize| (2 * at + 1) * from / (2 * to);
    (0..to.0)
        .flat_map(|row| (0..to.1).map(move |column| (row, column)))
        .map(|(row, column)| values[place(row, from.0, to.0) * from.1 + place(column, from.1, to.1)])
        .collect()
}

fn volume(
    out: &Path,
    raw: &Raw,
    labels: Option<&[u8]>,
    (original, seen): (&Volume, &Volume),
    (kind, description): (OutputKind, &Description),
    written: &mut Written,
) -> anyhow::Result<()> {
    let values: Vec<f32> = match (kind, labels) {
        (_, Some(labels)) => labels.iter().map(|label| f32::from(*label)).collect(),
        (OutputKind::Image, None) => raw.channel(0).to_vec(),
        (OutputKind::Logits, None) => raw.channel(0).iter().map(|logit| probability(*logit) as f32).collect(),
        (OutputKind::Values | OutputKind::Labels, None) => return Ok(()),
    };
    if raw.extent != seen.shape {
        return Ok(());
    }
    let result = Volume { values, ..seen.clone() };
    let result = if result.grid().same(&original.grid()) {
        result
    } else if labels.is_some() {
        result.resampled(&original.grid(), Interpolation::Nearest)?
    } else {
        result.resampled(&original.grid(), Interpolation::Linear)?
    };
    let voxel = original.grid().voxel_mm3();
    if labels.is_some() {
        let mut counts = vec![0u64; raw.channels];
        for value in &result.values {
            counts[*value as usize] += 1;
        }
        for (channel, count) in counts.iter().enumerate().skip(1) {
            written.measurements.push(measure(&label(description, channel), *count as f64 * voxel, "mm3"));
        }
    }
    put(out, "result.nii.gz", &write_nifti(&result, labels.is_some())?, "result", written)
}
