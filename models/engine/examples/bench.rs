//! A worker for `tests/peers/run compare`: one network, one task; answers a line of JSON for each line on standard input.
//! `bench NAME WEIGHTS INPUT TASK BATCH THREADS`; "run" answers the wall time, "write FILE" writes the result as well.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool that stops at the first fault and answers lines")]

use std::{collections::HashMap, io::BufRead, time::Instant};

use candle_core::{Device, Tensor};
use vidimus_engine::{Graph, Node, Plan, Shape, Weights, with_threads};

#[path = "../tests/it/networks.rs"]
mod networks;

const STEPS: usize = 32;

fn seed(value: &[f32], classes: usize) -> Vec<f32> {
    let from = value.len() / classes * (classes - 1);
    (0..value.len()).map(|at| if at >= from { 1.0 } else { 0.0 }).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, name, weights, input, task, batch, threads] = &arguments[..] else { panic!("six arguments") };
    let (batch, threads): (usize, usize) = (batch.parse().unwrap(), threads.parse().unwrap());
    let weights: Weights = candle_core::safetensors::load(weights, &Device::Cpu).unwrap().into_iter().collect();
    let images = candle_core::safetensors::load(input, &Device::Cpu).unwrap()["input"].clone();
    let shape = match *images.dims() {
        [_, c, h, w] => Shape::plane(c, h, w),
        [_, c, d, h, w] => Shape::volume(c, [d, h, w]),
        _ => panic!("shape"),
    };
    let x: Vec<f32> = images.flatten_all().unwrap().to_vec1().unwrap()[..batch * shape.len()].to_vec();
    let mut graph: Graph = networks::graph(name, &weights, &[1, 2, 4, 8, 16, 8, 4, 2, 1]);
    let output = graph.output();
    let classes = graph.shapes(&weights, shape).unwrap()[output.index()].channels;
    let wanted: Vec<Node> = match task.as_str() {
        "forward" => vec![output],
        "grad-cam" => {
            let layer = graph.stages()["features"];
            [vec![layer], graph.gradient(output, &[layer]).unwrap()].concat()
        }
        _ => graph.gradient(output, &[graph.input()]).unwrap(),
    };
    let plan = Plan::new(&graph, &weights, shape, &wanted).unwrap();
    drop(weights);
    let seeded = |_: usize, value: &[f32]| seed(value, classes);
    let run = || -> Vec<f32> {
        match task.as_str() {
            "forward" => plan.run(&x, batch).unwrap().swap_remove(0).values,
            "grad-cam" => {
                let values = plan.run_seeded(&x, batch, &seeded).unwrap();
                let space = values[0].shape.space();
                let mut cams = Vec::new();
                for image in 0..batch {
                    let mut cam = vec![0f32; space];
                    let (maps, gradients) = (values[0].image(image), values[1].image(image));
                    for (map, gradient) in maps.chunks_exact(space).zip(gradients.chunks_exact(space)) {
                        let weight = gradient.iter().sum::<f32>() / space as f32;
                        cam.iter_mut().zip(map).for_each(|(sum, v)| *sum += weight * v);
                    }
                    cams.extend(cam.into_iter().map(|v| v.max(0.0)));
                }
                cams
            }
            _ => {
                let line: Vec<f32> = (0..STEPS)
                    .flat_map(|step| x.iter().map(move |x| x * ((step as f32 + 0.5) / STEPS as f32)))
                    .collect();
                let values = plan.run_seeded(&line, STEPS, &seeded).unwrap().swap_remove(0);
                let sum = |at: usize| (0..STEPS).map(|step| values.image(step)[at]).sum::<f32>();
                (0..x.len()).map(|at| x[at] * sum(at) / STEPS as f32).collect()
            }
        }
    };
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let start = Instant::now();
        let values = with_threads(threads, run);
        let wall = start.elapsed().as_secs_f64() * 1e3;
        if let Some(file) = line.strip_prefix("write ") {
            let length = values.len();
            let tensor = Tensor::from_vec(values, length, &Device::Cpu).unwrap();
            candle_core::safetensors::save(&HashMap::from([("output", tensor)]), file).unwrap();
        }
        println!("{{\"wall_ms\": {wall}}}");
    }
}
