//! Times a MeshNet over a cube: `volume CHANNELS CLASSES EXTENT [THREADS [RUNS [steps]]]`, with random weights; 21
//! channels take ELU, others ReLU, as the published networks do. Prints milliseconds of processor time and of the
//! clock, an FNV hash of the output's bits, and the plan's memory; with `steps` the plan's steps.
//! Errors: an argument that is no number, or a plan that cannot be made, ends the program with a message.

use candle_core::{Device, Tensor};
use std::error::Error;
use std::io::Write;
use std::time::Instant;
use vidimus_engine::graph::Activation;
use vidimus_engine::{Graph, Plan, Shape, Weights, Window, with_threads};

fn noise(state: &mut u64) -> f32 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    f32::from_bits(0x3f80_0000 | (*state >> 41) as u32) - 1.5
}

/// Milliseconds of processor time that this process's threads have had.
fn processor() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let spent = |path: std::path::PathBuf| -> Option<f64> {
        std::fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    tasks.flatten().filter_map(|task| spent(task.path())).sum::<f64>() / 1e6
}

fn meshnet(channels: usize, classes: usize) -> Result<(Graph, Weights), Box<dyn Error>> {
    let kind = if channels == 21 { Activation::Elu(1.0) } else { Activation::Relu };
    let (mut graph, mut x) = Graph::new();
    let (mut weights, mut state, mut inputs) = (Weights::new(), 7, 1);
    let dilations = [1, 2, 4, 8, 16, 8, 4, 2, 1, 1];
    for (layer, dilation) in dilations.into_iter().enumerate() {
        let last = layer + 1 == dilations.len();
        let (outputs, kernel) = if last { (classes, 1) } else { (channels, 3) };
        let scale = 3.5 / ((inputs * kernel * kernel * kernel) as f32).sqrt();
        let names = [format!("{layer}.weight"), format!("{layer}.bias")];
        let values: Vec<f32> = (0..outputs * inputs * kernel.pow(3)).map(|_| noise(&mut state) * scale).collect();
        weights.insert(
            names[0].clone(),
            Tensor::from_vec(values, (outputs, inputs, kernel, kernel, kernel), &Device::Cpu)?,
        );
        let values: Vec<f32> = (0..outputs).map(|_| noise(&mut state) * 0.1).collect();
        weights.insert(names[1].clone(), Tensor::from_vec(values, outputs, &Device::Cpu)?);
        let window = if last { Window::ONE } else { Window::volume(1, dilation, dilation) };
        x = graph.conv(x, &names[0], Some(&names[1]), window, 1);
        if !last {
            x = graph.activation(x, kind);
        }
        inputs = outputs;
    }
    Ok((graph, weights))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (channels, classes, extent) = (number(0, 5)?, number(1, 3)?, number(2, 64)?);
    let (threads, runs) = (number(3, 1)?, number(4, 7)?);
    let (graph, weights) = meshnet(channels, classes)?;
    let input = Shape::volume(1, [extent; 3]);
    let mut state = 3;
    let x: Vec<f32> = (0..input.len()).map(|_| noise(&mut state) + 0.5).collect();
    let mut to = std::io::stdout().lock();
    let began = processor();
    let plan = Plan::new(&graph, &weights, input, &[graph.output()])?;
    writeln!(to, "compiled in {:.1} ms; {:?}", processor() - began, plan.memory())?;
    if arguments.get(5).is_some_and(|word| word == "steps") {
        for step in plan.steps() {
            writeln!(to, "{step}")?;
        }
    }
    for _ in 0..runs {
        let (began, clock) = (processor(), Instant::now());
        let output = with_threads(threads, || plan.run(&x, 1))?;
        let (spent, passed) = (processor() - began, clock.elapsed().as_secs_f64() * 1e3);
        let hash = output[0]
            .values
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, v| (hash ^ u64::from(v.to_bits())).wrapping_mul(0x0100_0000_01b3));
        writeln!(to, "{spent:.1} ms of processor, {passed:.1} ms passed, output {hash:016x}")?;
    }
    Ok(())
}
