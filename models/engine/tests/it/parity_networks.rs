//! Whole networks and what explanations are made of, against PyTorch and Captum: `tests/peers/golden`.
//! Held: outputs of small networks of each family; on two of them the score, the input's gradient, the noise-averaged
//! gradient, the integrated gradients and Grad-CAM, by seeded plans.
//! A line `parity | network | ...` or `parity | map | ...` a figure goes to standard error, for the table of
//! `tests/peers/run parity`.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use vidimus_engine::{Graph, Node, Plan, Shape, Values, Weights};

use crate::networks;
use crate::parity::{hold, shape, widened};

/// Largest difference of an output, of the largest expected value.
const TOLERANCE: f64 = 1e-5;

/// Steps of the golden integrated gradients, at the midpoints of the line from an all-zero image.
const STEPS: usize = 32;

struct Golden(BTreeMap<String, Tensor>);

impl Golden {
    fn read(name: &str) -> Self {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/golden").join(name);
        Self(candle_core::safetensors::load(path, &Device::Cpu).unwrap().into_iter().collect())
    }

    fn weights(&self, network: &str) -> Weights {
        let prefix = format!("{network}/weights/");
        let of = |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix(&prefix)?.to_owned(), tensor.clone()));
        self.0.iter().filter_map(of).collect()
    }

    fn values(&self, name: &str) -> Vec<f32> {
        self.0[name].flatten_all().unwrap().to_vec1().unwrap()
    }
}

/// Dilations of the golden MeshNet.
const DILATIONS: [usize; 4] = [1, 2, 4, 1];

/// Proves: REQ-PER-002
#[test]
fn networks_of_every_family_agree_with_pytorch() {
    let golden = Golden::read("networks.safetensors");
    for name in ["resnet", "densenet", "efficientnet-lite", "unet", "w-net", "meshnet", "dncnn"] {
        let weights = golden.weights(name);
        let graph = networks::graph(name, &weights, &DILATIONS);
        let (images, input) = shape(&golden.0[&format!("{name}/input")]);
        let plan = Plan::new(&graph, &weights, input, &[graph.output()]).unwrap();
        let output = plan.run(&golden.values(&format!("{name}/input")), images).unwrap();
        let expected = golden.values(&format!("{name}/output"));
        hold("network", name, "output", &widened(&output[0].values), &expected, TOLERANCE);
    }
}

/// One of the two networks that have golden maps, with what explanations ask of it.
struct Subject {
    name: &'static str,
    graph: Graph,
    weights: Weights,
    input: Shape,
    image: Vec<f32>,
}

/// The gradient of the score, class 1 added up over the image, where the output has `length` values.
fn seed(length: usize, classes: usize) -> Vec<f32> {
    let space = length / classes;
    (0..length).map(|at| if at / space == 1 { 1.0 } else { 0.0 }).collect()
}

impl Subject {
    fn read(name: &'static str, maps: &Golden) -> Self {
        let weights = Golden::read("networks.safetensors").weights(name);
        let graph = networks::graph(name, &weights, &[]);
        let (_, input) = shape(&maps.0[&format!("{name}/input")]);
        Self { name, graph, weights, input, image: maps.values(&format!("{name}/input")) }
    }

    fn classes(&self) -> usize {
        self.graph.shapes(&self.weights, self.input).unwrap()[self.graph.output().index()].channels
    }

    /// The values of `wanted` and of the score's gradient at `at`, for images one after another.
    fn run(&self, wanted: &[Node], at: Node, images: &[f32]) -> Vec<Values> {
        let mut graph = self.graph.clone();
        let gradient = graph.gradient(graph.output(), &[at]).unwrap();
        let wanted: Vec<Node> = wanted.iter().copied().chain(gradient).collect();
        let plan = Plan::new(&graph, &self.weights, self.input, &wanted).unwrap();
        let classes = self.classes();
        plan.run_seeded(images, images.len() / self.input.len(), &|_, value| seed(value.len(), classes)).unwrap()
    }

    fn score(&self) -> f64 {
        let output = self.run(&[self.graph.output()], self.graph.input(), &self.image).swap_remove(0);
        let space = output.shape.space();
        output.values[space..2 * space].iter().map(|v| f64::from(*v)).sum()
    }

    fn hold(&self, golden: &Golden, method: &str, found: &[f64]) {
        hold("map", self.name, method, found, &golden.values(&format!("{}/{method}", self.name)), TOLERANCE);
    }

    /// The mean over `images` of the score's gradient.
    fn mean_gradient(&self, images: &[f32]) -> Vec<f64> {
        let values = self.run(&[], self.graph.input(), images).swap_remove(0);
        let count = values.images as f64;
        let at = |place: usize| (0..values.images).map(|image| f64::from(values.image(image)[place])).sum::<f64>();
        (0..self.input.len()).map(|place| at(place) / count).collect()
    }

    /// Channel weights by the mean gradient, the weighted sum of the maps, negatives cut.
    fn grad_cam(&self, layer: Node) -> Vec<f64> {
        let values = self.run(&[layer], layer, &self.image);
        let (map, gradient) = (&values[0], &values[1]);
        let space = map.shape.space();
        let mut cam = vec![0f64; space];
        for (map, gradient) in map.values.chunks_exact(space).zip(gradient.values.chunks_exact(space)) {
            let weight = gradient.iter().map(|g| f64::from(*g)).sum::<f64>() / space as f64;
            cam.iter_mut().zip(map).for_each(|(sum, v)| *sum += weight * f64::from(*v));
        }
        cam.into_iter().map(|v| v.max(0.0)).collect()
    }
}

/// Proves: REQ-PER-003
#[test]
fn gradients_that_explanations_are_made_of_agree_with_pytorch_and_captum() {
    let golden = Golden::read("maps.safetensors");
    for (name, stages) in
        [("resnet", [("layer3", "layer3"), ("layer4", "features")]), ("unet", [("m", "features"), ("c.2", "last")])]
    {
        let subject = Subject::read(name, &golden);
        subject.hold(&golden, "score", &[subject.score()]);
        subject.hold(&golden, "input-gradient", &subject.mean_gradient(&subject.image));
        let noise = golden.values(&format!("{name}/noise"));
        let noisy: Vec<f32> = noise.iter().zip(subject.image.iter().cycle()).map(|(n, x)| n + x).collect();
        subject.hold(&golden, "smooth-grad", &subject.mean_gradient(&noisy));
        let line: Vec<f32> = (0..STEPS)
            .flat_map(|step| subject.image.iter().map(move |x| x * ((step as f32 + 0.5) / STEPS as f32)))
            .collect();
        let mean = subject.mean_gradient(&line);
        let integrated: Vec<f64> = mean.iter().zip(&subject.image).map(|(g, x)| g * f64::from(*x)).collect();
        subject.hold(&golden, "integrated-gradients", &integrated);
        for (label, stage) in stages {
            let cam = subject.grad_cam(subject.graph.stages()[stage]);
            subject.hold(&golden, &format!("grad-cam@{label}"), &cam);
        }
    }
}
