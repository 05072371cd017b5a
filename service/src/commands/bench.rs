//! `vidimus model bench`: a network's time, asked for from outside, through the path that research runs take.
//! A line "run" on standard input runs the task once and answers a line of JSON: `wall_ms` and the `digest` (SHA-256)
//! of the result's f32, little endian. "write FILE" does the same and keeps the result as tensor `output` in a
//! safetensors file. Nothing is logged and no site is opened.
//! Shapes: `--input` holds a tensor `input`, `[images, channels, (depth,) rows, columns]`, already prepared; a batch
//! takes its images in order, from the first again where there are too few.
//! The score behind maps is the last class, in a segmentation added up over the image.
//! Errors: files that cannot be read, an input that the network does not take, a line that is neither.

use std::{
    io::BufRead as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;
use vidimus_engine::{PROFILE, Plan, Shape, Values, with_threads};
use vidimus_log::Digest;
use vidimus_networks::{
    architecture::{Description, Network},
    import::read_weights,
};

use crate::output::Output;

/// Steps of the integrated gradients: midpoints of the line from an all-zero image.
const STEPS: usize = 32;

/// Arguments of `vidimus model bench`.
#[derive(Args)]
#[command(after_help = "Example:
  printf 'run\\nrun\\n' | vidimus model bench --architecture net.toml --weights net.safetensors --input images.safetensors")]
pub(crate) struct Bench {
    /// The network's description.
    #[arg(long, value_name = "TOML")]
    architecture: PathBuf,
    /// Its weights: safetensors or PyTorch's zip.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Prepared images: a safetensors file with a tensor `input`.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// What is computed.
    #[arg(long, value_enum, default_value_t = Task::Forward)]
    task: Task,
    /// Images at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
    /// Threads (default: as many as the machine runs at once, or RAYON_NUM_THREADS).
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Task {
    /// The network's output.
    Forward,
    /// The class-activation map by gradients, at the size of the last map before the head.
    GradCam,
    /// Integrated gradients of 32 steps.
    IntegratedGradients,
}

pub(super) fn run(verb: &Bench) -> anyhow::Result<ExitCode> {
    let bench = Compiled::new(verb)?;
    let answers = Output::new(true);
    for line in std::io::stdin().lock().lines() {
        let line = line.context("read a line of standard input")?;
        let (verb, file) = line.split_once(' ').map_or((line.as_str(), None), |(verb, file)| (verb, Some(file)));
        let start = Instant::now();
        let result = bench.answer()?;
        let wall_ms = start.elapsed().as_secs_f64() * 1e3;
        let bytes: Vec<u8> = result.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        match (verb, file) {
            ("run", None) => {}
            ("write", Some(file)) => write(Path::new(file), &bytes, &result)?,
            _ => anyhow::bail!("standard input: expected \"run\" or \"write FILE\", found another line"),
        }
        let digest = Digest::of(&bytes);
        answers.result(&json!({ "wall_ms": wall_ms, "digest": digest, "profile": PROFILE }), String::new)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One tensor `output` as a safetensors file.
fn write(file: &Path, bytes: &[u8], result: &Values) -> anyhow::Result<()> {
    let [depth, rows, columns] = result.shape.extent;
    let dims = vec![result.images, result.shape.channels, depth, rows, columns];
    let file_bytes = safetensors(&[("output", dims, bytes)])?;
    std::fs::write(file, file_bytes).with_context(|| file.display().to_string())
}

/// Tensors of f32, little endian, as a safetensors file: names, shapes and bytes.
fn safetensors(tensors: &[(&str, Vec<usize>, &[u8])]) -> anyhow::Result<Vec<u8>> {
    let mut views = Vec::with_capacity(tensors.len());
    for (name, dims, bytes) in tensors {
        views.push((*name, TensorView::new(Dtype::F32, dims.clone(), bytes)?));
    }
    Ok(safetensors::serialize(views, None)?)
}

/// The task, compiled for one input shape.
struct Compiled {
    plan: Plan,
    task: Task,
    /// Prepared images, one after another.
    images: Vec<f32>,
    batch: usize,
    input: Shape,
    /// Channels of the output.
    classes: usize,
    threads: Option<usize>,
}

impl Compiled {
    fn new(verb: &Bench) -> anyhow::Result<Self> {
        let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
        let text =
            std::fs::read_to_string(&verb.architecture).with_context(|| verb.architecture.display().to_string())?;
        let description = Description::parse(&text)?;
        // the file's bytes are let go before anything is compiled
        let weights = read_weights(&read(&verb.weights)?)?.0;
        let Network { mut graph, weights, outputs, .. } = Network::build(&description, weights)?;
        let (images, input) = images(&read(&verb.input)?, usize::from(verb.batch))?;
        let output = graph.output();
        let features = graph.stages().get("features").copied();
        let wanted = match verb.task {
            Task::Forward => vec![output],
            Task::GradCam => {
                let features = features.context("the network has no stage \"features\" for a class-activation map")?;
                [vec![features], graph.gradient(output, &[features])?].concat()
            }
            Task::IntegratedGradients => graph.gradient(output, &[graph.input()])?,
        };
        let plan = Plan::new(&graph, &weights, input, &wanted)?;
        let (batch, threads) = (usize::from(verb.batch), verb.threads.map(usize::from));
        Ok(Self { plan, task: verb.task, images, batch, input, classes: outputs, threads })
    }

    /// The task's result, one value an image.
    fn answer(&self) -> anyhow::Result<Values> {
        match self.threads {
            Some(threads) => with_threads(threads, || self.compute()),
            None => self.compute(),
        }
    }

    fn compute(&self) -> anyhow::Result<Values> {
        match self.task {
            Task::Forward => Ok(self.plan.run(&self.images, self.batch)?.swap_remove(0)),
            Task::GradCam => Ok(class_activation(&self.gradients(&self.images, self.batch)?)),
            Task::IntegratedGradients => {
                let mut values = Vec::with_capacity(self.images.len());
                for image in self.images.chunks_exact(self.input.len()) {
                    let line: Vec<f32> =
                        (0..STEPS).flat_map(|step| image.iter().map(move |x| x * midpoint(step))).collect();
                    let gradients = self.gradients(&line, STEPS)?.swap_remove(0);
                    values.extend(attribution(image, &gradients));
                }
                Ok(Values { shape: self.input, images: self.batch, values })
            }
        }
    }

    /// The wanted values of images, seeded by the score's gradient: 1 for the last class, 0 for the others.
    fn gradients(&self, images: &[f32], count: usize) -> anyhow::Result<Vec<Values>> {
        let seed = |_: usize, output: &[f32]| {
            let first = output.len() / self.classes * (self.classes - 1);
            let mut seed = vec![0.0; output.len()];
            seed.iter_mut().skip(first).for_each(|value| *value = 1.0);
            seed
        };
        Ok(self.plan.run_seeded(images, count, &seed)?)
    }
}

fn midpoint(step: usize) -> f32 {
    (step as f32 + 0.5) / STEPS as f32
}

/// The image times the mean gradient along the line to it.
fn attribution(image: &[f32], gradients: &Values) -> Vec<f32> {
    let mut sum = vec![0f32; image.len()];
    for step in 0..gradients.images {
        sum.iter_mut().zip(gradients.image(step)).for_each(|(sum, gradient)| *sum += gradient);
    }
    sum.iter().zip(image).map(|(sum, x)| x * sum / gradients.images as f32).collect()
}

/// Maps weighted by their mean gradients, added up, negatives cut: Grad-CAM at the maps' size.
fn class_activation(maps_and_gradients: &[Values]) -> Values {
    let [maps, gradients] = maps_and_gradients else { unreachable!("two wanted nodes, two values") };
    let space = maps.shape.space();
    let mut values = Vec::with_capacity(maps.images * space);
    for image in 0..maps.images {
        let mut cam = vec![0f32; space];
        for (map, gradient) in maps.image(image).chunks_exact(space).zip(gradients.image(image).chunks_exact(space)) {
            // in f64: a plain f32 sum over a large map is off in the third digit
            let weight = (gradient.iter().map(|value| f64::from(*value)).sum::<f64>() / space as f64) as f32;
            cam.iter_mut().zip(map).for_each(|(sum, value)| *sum += weight * value);
        }
        values.extend(cam.into_iter().map(|value| value.max(0.0)));
    }
    Values { shape: Shape { channels: 1, ..maps.shape }, images: maps.images, values }
}

/// `count` images of the tensor `input`, and the shape of one.
fn images(bytes: &[u8], count: usize) -> anyhow::Result<(Vec<f32>, Shape)> {
    let tensors = read_weights(bytes).context("input")?.0;
    let tensor = tensors.get("input").context("input: no tensor \"input\"")?;
    let shape = match *tensor.dims() {
        [_, channels, rows, columns] => Shape::plane(channels, rows, columns),
        [_, channels, depth, rows, columns] => Shape::volume(channels, [depth, rows, columns]),
        ref other => anyhow::bail!("input: expected four or five dimensions, found {}", other.len()),
    };
    let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    anyhow::ensure!(!values.is_empty(), "input: the tensor is empty");
    Ok((values.into_iter().cycle().take(count * shape.len()).collect(), shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network of the golden file as three files, and the output that PyTorch computed for its images.
    fn files(folder: &Path, network: &str, description: &str) -> (Bench, Vec<f32>) {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/golden/networks.safetensors");
        let golden = read_weights(&std::fs::read(golden).unwrap()).unwrap().0;
        let floats = |name: &str| golden[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let keep = |file: &str, prefix: &str| {
            let of = |name: &String| Some((name.strip_prefix(prefix)?.to_owned(), name.clone()));
            let named: Vec<_> = golden.keys().filter_map(of).collect();
            let bytes = |name: &str| floats(name).iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
            let tensors: Vec<_> =
                named.iter().map(|(short, name)| (short, golden[name].dims().to_vec(), bytes(name))).collect();
            let tensors: Vec<_> =
                tensors.iter().map(|(short, dims, bytes)| (short.as_str(), dims.clone(), bytes.as_slice())).collect();
            std::fs::write(folder.join(file), safetensors(&tensors).unwrap()).unwrap();
            folder.join(file)
        };
        let architecture = folder.join("net.toml");
        std::fs::write(&architecture, description).unwrap();
        let weights = keep("weights.safetensors", &format!("{network}/weights/"));
        let input = keep("input.safetensors", &format!("{network}/"));
        let bench = Bench { architecture, weights, input, task: Task::Forward, batch: 1, threads: Some(1) };
        (bench, floats(&format!("{network}/output")))
    }

    /// Proves: REQ-PER-004
    #[test]
    fn bench_answers_with_the_networks_output_whatever_batch_and_threads() {
        let families = [
            ("resnet", "family = \"residual\""),
            ("meshnet", "family = \"meshnet\"\nactivation = \"elu\"\ndilations = [1, 2, 4, 1]"),
        ];
        for (network, description) in families {
            let folder = tempfile::tempdir().unwrap();
            let (mut bench, expected) = files(folder.path(), network, description);
            let alone = Compiled::new(&bench).unwrap().answer().unwrap().values;
            let largest = expected.iter().fold(0f32, |top, value| top.max(value.abs()));
            for (found, expected) in alone.iter().zip(&expected) {
                assert!((found - expected).abs() <= 1e-5 * largest, "{network}: {found}, PyTorch {expected}");
            }
            (bench.batch, bench.threads) = (3, Some(2));
            let among = Compiled::new(&bench).unwrap().answer().unwrap();
            assert_eq!(among.images, 3);
            assert_eq!(bits(among.image(0)), bits(&alone), "{network}: the first of three, on two threads");
        }
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// Proves: REQ-PER-004
    #[test]
    fn integrated_gradients_add_up_to_the_change_of_the_score() {
        let folder = tempfile::tempdir().unwrap();
        let (mut bench, _) = files(folder.path(), "resnet", "family = \"residual\"");
        let score = |bench: &Bench| *Compiled::new(bench).unwrap().answer().unwrap().values.last().unwrap();
        let with = score(&bench);
        bench.task = Task::IntegratedGradients;
        let sum: f32 = Compiled::new(&bench).unwrap().answer().unwrap().values.iter().sum();
        let empty = folder.path().join("empty.safetensors");
        let zeros = vec![0u8; 4 * 3 * 36 * 53];
        std::fs::write(&empty, safetensors(&[("input", vec![1, 3, 36, 53], &zeros)]).unwrap()).unwrap();
        (bench.task, bench.input) = (Task::Forward, empty);
        let change = with - score(&bench);
        assert!((sum - change).abs() < 0.05 * change.abs(), "{sum} of {change}");
    }
}
