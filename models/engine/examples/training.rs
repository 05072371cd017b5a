//! Times one training step: forward, backward and AdamW of a small network, as the comparison with PyTorch does.
//!
//!     training [--channels 16] [--side 128] [--batch 16] [--steps 15] [--threads 1] [--json]
//!
//! Network: five 3x3 convolutions 1 -> c -> 2c -> 4c -> 8c -> 8c, the last four with stride 2, each with batch norm of
//! the batch and ReLU; mean over the space; a linear layer to two classes; cross entropy.
//! Units: milliseconds of processor time of all threads, and of wall time; the median and the least of the steps, after
//! three that are not counted. Errors: printed, with exit code 1.

use candle_core::{Device, Tensor, Var};
use std::collections::BTreeMap;
use std::time::Instant;
use vidimus_engine::graph::Activation;
use vidimus_engine::ops::log_softmax;
use vidimus_engine::{BatchNorm, Graph, Node, Statistics, Weights, Window};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Steps before the clock counts.
const WARM_UP: usize = 3;

struct Setting {
    channels: usize,
    side: usize,
    batch: usize,
    steps: usize,
    threads: usize,
    json: bool,
}

impl Setting {
    fn read() -> Result<Self, Failure> {
        let mut setting = Self { channels: 16, side: 128, batch: 16, steps: 15, threads: 1, json: false };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let place = match word.as_str() {
                "--json" => {
                    setting.json = true;
                    continue;
                }
                "--channels" => &mut setting.channels,
                "--side" => &mut setting.side,
                "--batch" => &mut setting.batch,
                "--steps" => &mut setting.steps,
                "--threads" => &mut setting.threads,
                other => return Err(format!("{other}: not an option").into()),
            };
            let number = words.next().ok_or_else(|| format!("{word}: a number must follow"))?;
            *place = number.parse::<usize>().ok().filter(|n| *n > 0).ok_or("options are whole numbers above 0")?;
        }
        Ok(setting)
    }
}

/// Values in -1..1, the same at every start.
fn noise(state: &mut u64, dims: &[usize], scale: f32) -> Result<Tensor, Failure> {
    let count: usize = dims.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|_| {
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            ((*state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale
        })
        .collect();
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
}

/// One learnt tensor and the optimiser's memory of it.
struct Learnt {
    var: Var,
    values: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

struct Trainer {
    graph: Graph,
    logits: Node,
    weights: Weights,
    learnt: BTreeMap<String, Learnt>,
    step: i32,
}

impl Trainer {
    fn new(channels: usize) -> Result<Self, Failure> {
        let (mut graph, mut at) = Graph::new();
        let (mut weights, mut learnt) = (Weights::new(), BTreeMap::new());
        let mut state = 0x9e37_79b9_7f4a_7c15;
        let widths = [1, channels, 2 * channels, 4 * channels, 8 * channels, 8 * channels];
        let mut learn = |weights: &mut Weights, name: &str, tensor: Tensor| -> Result<(), Failure> {
            let var = Var::from_tensor(&tensor)?;
            weights.insert(name.to_owned(), var.as_tensor().clone());
            let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            let zeros = vec![0.0; values.len()];
            learnt.insert(name.to_owned(), Learnt { var, values, first: zeros.clone(), second: zeros });
            Ok(())
        };
        for (layer, pair) in widths.windows(2).enumerate() {
            let [inputs, outputs] = *pair else { continue };
            let name = format!("conv{layer}.weight");
            let scale = (3.0 / (9 * inputs) as f32).sqrt();
            learn(&mut weights, &name, noise(&mut state, &[outputs, inputs, 3, 3], scale)?)?;
            let norm = BatchNorm::named(&format!("norm{layer}"), 1e-5);
            let ones = Tensor::ones(outputs, candle_core::DType::F32, &Device::Cpu)?;
            learn(&mut weights, &norm.scale, ones.clone())?;
            learn(&mut weights, &norm.shift, ones.zeros_like()?)?;
            weights.insert(norm.mean.clone(), ones.zeros_like()?);
            weights.insert(norm.variance.clone(), ones);
            at = graph.conv(at, &name, None, Window::plane(if layer == 0 { 1 } else { 2 }, 1, 1), 1);
            at = graph.norm(at, norm);
            at = graph.activation(at, Activation::Relu);
        }
        let mean = graph.global_mean(at);
        learn(&mut weights, "head.weight", noise(&mut state, &[2, 8 * channels], 0.1)?)?;
        learn(&mut weights, "head.bias", noise(&mut state, &[2], 0.1)?)?;
        let logits = graph.linear(mean, "head.weight", Some("head.bias"));
        Ok(Self { graph, logits, weights, learnt, step: 0 })
    }

    /// One step; returns the loss.
    fn step(&mut self, x: &Tensor, targets: &Tensor) -> Result<f32, Failure> {
        let run = self.graph.forward_tracked(&self.weights, x, &[self.logits], Statistics::Batch)?;
        run.follow(&mut self.weights, 0.1)?;
        let logits = run.values[0].flatten_from(1)?;
        let images = logits.dim(0)? as f64;
        let loss = ((log_softmax(&logits)? * targets)?.sum_all()? * (-1.0 / images))?;
        let gradients = loss.backward()?;
        self.step += 1;
        let (rate, decay, b1, b2) = (1e-3f32, 1e-2f32, 0.9f32, 0.999f32);
        let (unbias1, unbias2) = (1.0 - b1.powi(self.step), 1.0 - b2.powi(self.step));
        for learnt in self.learnt.values_mut() {
            let Some(gradient) = gradients.get(&learnt.var) else { continue };
            let gradient: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
            let each = learnt.values.iter_mut().zip(&mut learnt.first).zip(&mut learnt.second).zip(&gradient);
            for (((value, first), second), g) in each {
                *first = b1 * *first + (1.0 - b1) * g;
                *second = b2 * *second + (1.0 - b2) * g * g;
                let pull = *first / unbias1 / ((*second / unbias2).sqrt() + 1e-8);
                *value = *value * (1.0 - rate * decay) - rate * pull;
            }
            let moved = Tensor::from_slice(&learnt.values, learnt.var.shape(), &Device::Cpu)?;
            learnt.var.set(&moved)?;
        }
        Ok(loss.to_scalar()?)
    }
}

/// Processor milliseconds of this process so far, of all threads.
fn processor_ms() -> Result<f64, Failure> {
    let mut total = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let spent: f64 = text.split_whitespace().next().ok_or("schedstat is empty")?.parse()?;
        total += spent / 1e6;
    }
    Ok(total)
}

fn median(times: &mut [f64]) -> [f64; 2] {
    times.sort_by(f64::total_cmp);
    [times[times.len() / 2], times[0]]
}

#[expect(clippy::print_stdout, reason = "an example that prints its figures")]
fn measure(setting: &Setting) -> Result<(), Failure> {
    let mut trainer = Trainer::new(setting.channels)?;
    let mut state = 7;
    let x = noise(&mut state, &[setting.batch, 1, setting.side, setting.side], 1.7)?;
    let targets: Vec<f32> =
        (0..setting.batch).flat_map(|image| [(image % 2) as f32, ((image + 1) % 2) as f32]).collect();
    let targets = Tensor::from_vec(targets, (setting.batch, 2), &Device::Cpu)?;
    let (mut processor, mut wall, mut loss) = (Vec::new(), Vec::new(), 0.0);
    for step in 0..WARM_UP + setting.steps {
        let (start, spent) = (Instant::now(), processor_ms()?);
        loss = trainer.step(&x, &targets)?;
        if step >= WARM_UP {
            processor.push(processor_ms()? - spent);
            wall.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let ([cpu, cpu_least], [wall, wall_least]) = (median(&mut processor), median(&mut wall));
    let Setting { channels, side, batch, threads, .. } = setting;
    if setting.json {
        println!(
            "{{\"task\":\"training\",\"channels\":{channels},\"side\":{side},\"batch\":{batch},\"threads\":{threads},\
             \"cpu_ms\":{cpu:.2},\"cpu_ms_least\":{cpu_least:.2},\"wall_ms\":{wall:.2},\"wall_ms_least\":{wall_least:.2},\
             \"loss\":{loss}}}"
        );
    } else {
        println!("{batch} images of {side} x {side}, {channels} channels, {threads} threads, loss {loss}");
        println!("processor {cpu:.1} ms (least {cpu_least:.1}), wall {wall:.1} ms (least {wall_least:.1})");
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let setting = Setting::read()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(setting.threads).build()?;
    pool.install(|| measure(&setting))
}
