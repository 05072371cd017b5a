//! What a candidate is given: a prepared tensor, a picture, a DICOM file or series, a NIfTI volume.
//! Shapes: prepared values `[images, channels, depth, rows, columns]`; a plane has depth 1.
//! Units: pictures as display values 0..=1, volumes in the file's own units, then as the description's preparation
//! says. A prepared tensor is taken as it is. NaN and infinite values are refused.
//! Errors: each names what was expected and found.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use vidimus_engine::Shape;
use vidimus_imaging::{
    Image, Instance, Volume,
    import::{ImportFacts, picture_to_instance},
    volume::{Interpolation, directions, read_nifti, series_volume},
    walk,
};
use vidimus_log::Digest;
use vidimus_networks::{
    architecture::{Intensity, Network, PreparationSpec, SpaceKind},
    preparation::resized,
};
use vidimus_reader::measure::PixelSize;

/// ImageNet's means and deviations of 8-bit values, as shares of 255.
const IMAGENET: [(f32, f32); 3] = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)];
/// The largest prepared tensor or volume file.
const BYTES_MAX: u64 = 2 << 30;

/// Where the result of an input has its place.
pub(super) enum Place {
    /// Nowhere: a tensor.
    Tensor,
    /// A picture of so many rows and columns, with its spacing where it says one.
    Picture { rows: usize, columns: usize, spacing_mm: Option<[f64; 2]> },
    /// A volume as it came, and the grid that the network sees.
    Volume { original: Box<Volume>, seen: Box<Volume> },
}

/// An input, prepared.
pub(super) struct Input {
    /// `[images, channels, depth, rows, columns]`.
    pub values: Vec<f32>,
    pub images: usize,
    /// One image, padded to what the network needs.
    pub shape: Shape,
    /// Rows and columns (and depth) before that padding.
    pub unpadded: [usize; 3],
    /// Whether values were 2-D in the file (so that outputs have no depth).
    pub planar: bool,
    /// Digest of the bytes as they came.
    pub digest: Digest,
    pub place: Place,
    /// Patient, study, modality and body part, as far as the file says; committed to, never shown.
    pub patient: String,
    pub study: String,
    pub modality: String,
    pub body_part: String,
}

/// The files of an input, read; its digest is over all of them.
pub(super) struct Source {
    files: Vec<(PathBuf, Vec<u8>)>,
    pub digest: Digest,
}

impl Source {
    /// Reads the file, or every file below the folder.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let paths: Vec<PathBuf> = if path.is_dir() {
            walk([path]).into_iter().map(|found| found.path).collect()
        } else {
            vec![path.to_owned()]
        };
        anyhow::ensure!(!paths.is_empty(), "{}: there is no file in it", path.display());
        let mut files = Vec::new();
        let mut total = 0;
        for path in paths {
            let shown = path.display().to_string();
            total += std::fs::metadata(&path).with_context(|| format!("{shown}: cannot be read"))?.len();
            anyhow::ensure!(total <= BYTES_MAX, "{shown}: more than {BYTES_MAX} bytes of input");
            files.push((path.clone(), std::fs::read(&path).with_context(|| format!("{shown}: cannot be read"))?));
        }
        let digest = match &files[..] {
            [(_, bytes)] => Digest::of(bytes),
            several => {
                let each: Vec<Digest> = several.iter().map(|(_, bytes)| Digest::of(bytes)).collect();
                Digest::of_parts(each.iter().map(|digest| digest.as_bytes().as_slice()))
            }
        };
        Ok(Self { files, digest })
    }

    /// What the network is given.
    pub(super) fn prepare(self, network: &Network, spec: &PreparationSpec) -> anyhow::Result<Input> {
        let digest = self.digest;
        let mut input = match self.kind() {
            Kind::Tensor => tensor(&self.files[0].1)?,
            Kind::Nifti => {
                let nifti = read_nifti(&self.files[0].1)?;
                anyhow::ensure!(network.space == SpaceKind::Volume, "input: a volume, and the network takes pictures");
                volume(nifti.volume, spec)?
            }
            Kind::Dicom => self.dicom(network, spec)?,
            Kind::Picture => {
                let facts = ImportFacts::default();
                let instance = Instance::from_vec(picture_to_instance(&self.files[0].1, &facts)?)?;
                picture(&instance, network, spec)?
            }
        };
        input.digest = digest;
        if let Some(at) = input.values.iter().position(|value| !value.is_finite()) {
            anyhow::bail!("input: value {at} is not finite");
        }
        fit(&mut input, network)?;
        Ok(input)
    }

    fn kind(&self) -> Kind {
        let bytes = &self.files[0].1;
        if self.files.len() > 1 {
            return Kind::Dicom;
        }
        if bytes.get(8) == Some(&b'{') {
            return Kind::Tensor;
        }
        let nifti = |bytes: &[u8]| bytes.starts_with(&348i32.to_le_bytes()) || bytes.starts_with(&348i32.to_be_bytes());
        if bytes.starts_with(&[0x1f, 0x8b]) || nifti(bytes) {
            return Kind::Nifti;
        }
        if bytes.starts_with(b"\x89PNG") || bytes.starts_with(&[0xff, 0xd8, 0xff]) {
            return Kind::Picture;
        }
        Kind::Dicom
    }

    fn dicom(self, network: &Network, spec: &PreparationSpec) -> anyhow::Result<Input> {
        let single = self.files.len() == 1;
        let mut instances = Vec::new();
        for (path, bytes) in self.files {
            match Instance::from_vec(bytes) {
                Ok(instance) if instance.has_pixels() => instances.push(instance),
                Ok(_) => {}
                Err(error) if single => anyhow::bail!(
                    "{}: neither a picture, a DICOM file, a NIfTI volume nor a .safetensors file: {error}",
                    path.display()
                ),
                // what lies beside a series is no part of it
                Err(_) => {}
            }
        }
        let Some(first) = instances.first() else { anyhow::bail!("input: no file holds pixels") };
        let facts = [
            first.patient.id.open().to_owned(),
            first.study_instance_uid.open().to_owned(),
            first.modality.clone(),
            first.body_part.clone().unwrap_or_default(),
        ];
        let mut input = match network.space {
            SpaceKind::Volume => volume(series_volume(&instances)?, spec)?,
            SpaceKind::Plane => {
                anyhow::ensure!(
                    instances.len() == 1,
                    "input: {} files, and the network takes one picture",
                    instances.len()
                );
                picture(first, network, spec)?
            }
        };
        [input.patient, input.study, input.modality, input.body_part] = facts;
        Ok(input)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Tensor,
    Nifti,
    Dicom,
    Picture,
}

fn bare(values: Vec<f32>, images: usize, shape: Shape, planar: bool, place: Place) -> Input {
    Input {
        values,
        images,
        shape,
        unpadded: shape.extent,
        planar,
        digest: Digest::of(&[]),
        place,
        patient: String::new(),
        study: String::new(),
        modality: String::new(),
        body_part: String::new(),
    }
}

fn tensor(bytes: &[u8]) -> anyhow::Result<Input> {
    let tensors = candle_core::safetensors::load_buffer(bytes, &candle_core::Device::Cpu)
        .context("input: not a readable safetensors file")?;
    let names = || tensors.keys().cloned().collect::<Vec<_>>().join(", ");
    let input =
        tensors.get("input").with_context(|| format!("input: the file has no tensor `input`, only {}", names()))?;
    let found = format!("{} {:?}", input.dtype().as_str(), input.dims());
    anyhow::ensure!(input.dtype() == candle_core::DType::F32, "input: tensor `input`: expected f32, found {found}");
    let (images, shape, planar) = match *input.dims() {
        [n, c, h, w] => (n, Shape::plane(c, h, w), true),
        [n, c, d, h, w] => (n, Shape::volume(c, [d, h, w]), false),
        _ => anyhow::bail!("input: tensor `input`: expected [batch, channel, (depth,) rows, columns], found {found}"),
    };
    anyhow::ensure!(images > 0 && !shape.is_empty(), "input: tensor `input` is empty: {found}");
    Ok(bare(input.flatten_all()?.to_vec1()?, images, shape, planar, Place::Tensor))
}

/// A picture by channel, display values 0..=1.
struct Planes {
    planes: Vec<Vec<f32>>,
    rows: usize,
    columns: usize,
    spacing_mm: Option<[f64; 2]>,
}

fn planes(instance: &Instance, channels: usize) -> anyhow::Result<Planes> {
    let frames = instance.description()?.frames;
    anyhow::ensure!(frames <= 1, "input: {frames} frames, and the network takes one picture");
    let decoded = instance.decode()?;
    // a spacing at the detector or on a film is none in the patient: then pixels are counted
    let spacing_mm = instance
        .frame_spacing(0)
        .filter(|spacing| PixelSize::of(Some(spacing)).is_ok())
        .map(|spacing| [spacing.row_mm.value(), spacing.column_mm.value()]);
    if decoded.description.photometric.grey() {
        let Image { rows, columns, pixels, .. } = decoded.display(instance, 0)?;
        anyhow::ensure!(matches!(channels, 1 | 3), "input: a grey picture, and the network takes {channels} channels");
        return Ok(Planes { planes: vec![pixels; channels], rows, columns, spacing_mm });
    }
    let Image { rows, columns, pixels, .. } = decoded.display_rgb(instance, 0)?;
    anyhow::ensure!(channels == 3, "input: a colour picture of 3 channels, and the network takes {channels}");
    let channel = |at: usize| pixels.iter().map(|pixel| pixel[at]).collect();
    Ok(Planes { planes: (0..3).map(channel).collect(), rows, columns, spacing_mm })
}

fn picture(instance: &Instance, network: &Network, spec: &PreparationSpec) -> anyhow::Result<Input> {
    anyhow::ensure!(network.space == SpaceKind::Plane, "input: a picture, and the network takes volumes");
    let Planes { mut planes, rows, columns, spacing_mm } = planes(instance, network.channels)?;
    let [height, width] = spec.size.unwrap_or([rows, columns]);
    if [height, width] != [rows, columns] {
        for plane in &mut planes {
            // the published preparation rounds to 8 bits after the filter
            let small = resized(rows, columns, plane, [height, width])?;
            *plane = small.into_iter().map(|value| (value * 255.0).round() / 255.0).collect();
        }
    }
    for (channel, plane) in planes.iter_mut().enumerate() {
        scale(plane, spec.intensity, (channel, 1.0));
    }
    let place = Place::Picture { rows, columns, spacing_mm };
    Ok(bare(planes.concat(), 1, Shape::plane(network.channels, height, width), true, place))
}

fn volume(original: Volume, spec: &PreparationSpec) -> anyhow::Result<Input> {
    let mut seen = original.clone();
    if let Some(text) = &spec.orientation {
        let to = directions(text)?;
        if seen.placed {
            seen = seen.oriented(to);
        }
    }
    if let (Some(voxels), Some(mm)) = (spec.conform_voxels, spec.conform_mm) {
        let there = seen.shape == voxels && seen.spacing_mm().iter().all(|own| (own - mm).abs() < 1e-3);
        if !there {
            let grid = seen.grid().conformed(voxels, mm, seen.grid().directions());
            seen = seen.resampled(&grid, Interpolation::Linear)?;
        }
    }
    let mut values = seen.values.clone();
    scale(&mut values, spec.intensity, (0, 255.0));
    let shape = Shape::volume(1, seen.shape);
    let place = Place::Volume { original: Box::new(original), seen: Box::new(seen) };
    Ok(bare(values, 1, shape, false, place))
}

/// Brings intensities to the network's range; `white` is what an 8-bit 255 is here (pictures are shares of it already).
/// Sums run in f64, in order.
fn scale(values: &mut [f32], how: Intensity, (channel, white): (usize, f32)) {
    match how {
        Intensity::None => {}
        Intensity::Byte => values.iter_mut().for_each(|value| *value /= white),
        Intensity::MinMax => {
            let (least, most) =
                values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
            let span = most - least;
            values.iter_mut().for_each(|value| *value = if span > 0.0 { (*value - least) / span } else { 0.0 });
        }
        Intensity::Standard => {
            let count = values.len() as f64;
            let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
            let square = |value: &f32| (f64::from(*value) - mean) * (f64::from(*value) - mean);
            let deviation = (values.iter().map(square).sum::<f64>() / count).sqrt().max(f64::MIN_POSITIVE);
            values.iter_mut().for_each(|value| *value = ((f64::from(*value) - mean) / deviation) as f32);
        }
        Intensity::Imagenet => {
            let (mean, deviation) = IMAGENET[channel.min(2)];
            values.iter_mut().for_each(|value| *value = (*value / white - mean) / deviation);
        }
    }
}

/// Holds the input to the network; pictures and volumes are padded to a multiple, tensors are not touched.
fn fit(input: &mut Input, network: &Network) -> anyhow::Result<()> {
    let Shape { channels, extent } = input.shape;
    anyhow::ensure!(channels == network.channels, "input: expected {} channels, found {channels}", network.channels);
    anyhow::ensure!(
        input.planar == (network.space == SpaceKind::Plane),
        "input: expected {}, found a shape of {} dimensions",
        if network.space == SpaceKind::Plane {
            "[batch, channel, rows, columns]"
        } else {
            "[batch, channel, depth, rows, columns]"
        },
        if input.planar { 4 } else { 5 }
    );
    let axes = if input.planar { 1..3 } else { 0..3 };
    let mut grown = extent;
    for axis in axes {
        grown[axis] = extent[axis].next_multiple_of(network.multiple);
    }
    if grown == extent {
        return Ok(());
    }
    anyhow::ensure!(
        !matches!(input.place, Place::Tensor),
        "input: rows, columns and depth must be multiples of {}, found {:?}",
        network.multiple,
        &extent[usize::from(input.planar)..]
    );
    let shape = Shape { channels, extent: grown };
    let mut values = vec![0.0; input.images * shape.len()];
    for plane in 0..input.images * channels * extent[0] {
        let (channel, depth) = (plane / extent[0], plane % extent[0]);
        for row in 0..extent[1] {
            let from = (plane * extent[1] + row) * extent[2];
            let to = ((channel * grown[0] + depth) * grown[1] + row) * grown[2];
            values[to..to + extent[2]].copy_from_slice(&input.values[from..from + extent[2]]);
        }
    }
    (input.values, input.shape) = (values, shape);
    Ok(())
}
