//! Compiled plans: a graph, its weights and one input shape made into a list of operations over reused buffers.
//! Shapes: in `[images, channels, depth, rows, columns]`, out the same for every wanted node.
//! Exactness: profile [`PROFILE`]. A value's bits depend on graph, weights and input, never on threads, batch mates or
//! instruction set; a task computes whole output elements, and which form a layer takes depends on its shape only.
//! Executors: planes (all depths 1) and volumes; each computes by the plain form what it has no fast form for.
//! Errors: [`EngineError`] when compiled; an input of another length when run. NaN passes and is the caller's to
//! refuse.

mod arena;
mod crew;
mod plane;
mod volume;

use crate::EngineError;
use crate::graph::{Graph, Node, Shape, Weights};
use crate::isa::Isa;
use rayon::prelude::*;

pub(crate) use crew::Crew;
pub use crew::with_threads;

/// The precision profile of every compiled plan: f32, one rounding an operation, in an order set by the layer's shape.
pub const PROFILE: &str = "f32-exact";

/// The gradient that a caller sends back: for an image and the seeded node's value, as many values.
pub type SeedFn<'a> = &'a (dyn Fn(usize, &[f32]) -> Vec<f32> + Sync);

/// What a plan holds in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Packed weights, shared by all images and threads.
    pub weights_bytes: usize,
    /// Buffers of one image under way.
    pub arena_bytes: usize,
}

/// The values of one wanted node.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// One image's shape.
    pub shape: Shape,
    /// Images.
    pub images: usize,
    /// `[images, channels, depth, rows, columns]`.
    pub values: Vec<f32>,
}

impl Values {
    /// The values of one image.
    #[must_use]
    pub fn image(&self, at: usize) -> &[f32] {
        &self.values[at * self.shape.len()..][..self.shape.len()]
    }
}

/// What runs one image. `out` holds a slice a wanted node, of its length.
pub(crate) trait Executor: Send + Sync {
    /// Runs the image `x`; `seed` is called once with the seeded node's value in plain order, where there is one.
    fn image(&self, x: &[f32], seed: Seeder<'_>, out: &mut [&mut [f32]], crew: &Crew) -> Result<(), EngineError>;
    /// What it holds.
    fn memory(&self) -> Memory;
    /// Its steps in order, each with the form that it takes.
    fn steps(&self) -> Vec<String>;
}

/// Calls the caller's seed for one image and checks its length.
pub(crate) type Seeder<'a> = &'a (dyn Fn(&[f32]) -> Result<Vec<f32>, EngineError> + Sync);

/// A graph compiled for one input shape.
pub struct Plan {
    executor: Box<dyn Executor>,
    input: Shape,
    wanted: Vec<Shape>,
    seed: Option<Shape>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Plan").field("input", &self.input).field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Plan {
    /// Compiles what `wanted` needs of `graph`.
    pub fn new(graph: &Graph, weights: &Weights, input: Shape, wanted: &[Node]) -> Result<Self, EngineError> {
        let shapes = graph.shapes(weights, input)?;
        let job = Job { graph, weights, shapes: &shapes, wanted, needed: needed(graph, wanted) };
        let planes = shapes.iter().all(|shape| shape.extent[0] == 1);
        let executor: Box<dyn Executor> =
            if planes { Box::new(plane::Planes::new(&job)?) } else { Box::new(volume::Volume::new(&job)?) };
        let seed = graph.ops().iter().enumerate().find_map(|(node, op)| {
            (matches!(op, crate::graph::Op::Seed { .. }) && job.needed[node]).then(|| shapes[node])
        });
        Ok(Self { executor, input, wanted: wanted.iter().map(|node| shapes[node.index()]).collect(), seed })
    }

    /// The input's shape.
    #[must_use]
    pub const fn input(&self) -> Shape {
        self.input
    }

    /// The shapes of the wanted nodes.
    #[must_use]
    pub fn outputs(&self) -> &[Shape] {
        &self.wanted
    }

    /// What the plan holds in memory.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.executor.memory()
    }

    /// The steps in order, each with the form that its shape gave it (for records and measurements).
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        self.executor.steps()
    }

    /// Runs `images` images.
    pub fn run(&self, x: &[f32], images: usize) -> Result<Vec<Values>, EngineError> {
        self.run_seeded(x, images, &|_, _| Vec::new())
    }

    /// Runs images whose gradients start from what `seed` makes of the seeded node's value.
    pub fn run_seeded(&self, x: &[f32], images: usize, seed: SeedFn<'_>) -> Result<Vec<Values>, EngineError> {
        if images.checked_mul(self.input.len()) != Some(x.len()) {
            return Err(EngineError::Input { images, shape: self.input, found: x.len() });
        }
        let make = |shape: &Shape| Values { shape: *shape, images, values: vec![0.0; images * shape.len()] };
        let mut values: Vec<Values> = self.wanted.iter().map(make).collect();
        let mut slots: Vec<Vec<&mut [f32]>> = (0..images).map(|_| Vec::with_capacity(values.len())).collect();
        for value in &mut values {
            for (slot, image) in slots.iter_mut().zip(value.values.chunks_exact_mut(value.shape.len())) {
                slot.push(image);
            }
        }
        let threads = crew::threads();
        let isa = Isa::current();
        let one = |at: usize, out: &mut [&mut [f32]], crew: &Crew| {
            let seeder = |value: &[f32]| self.seeded(at, value, seed);
            self.executor.image(&x[at * self.input.len()..][..self.input.len()], &seeder, out, crew)
        };
        if threads > 1 && images >= threads {
            // an image a thread: no waiting between operations, and the same bits
            let alone = Crew::new(1, isa);
            crew::within(threads, || {
                slots.par_iter_mut().with_max_len(1).enumerate().try_for_each(|(at, out)| one(at, out, &alone))
            })?;
        } else {
            let crew = Crew::new(threads, isa);
            crew::within(threads, || slots.iter_mut().enumerate().try_for_each(|(at, out)| one(at, out, &crew)))?;
        }
        Ok(values)
    }

    fn seeded(&self, image: usize, value: &[f32], seed: SeedFn<'_>) -> Result<Vec<f32>, EngineError> {
        let values = seed(image, value);
        let expected = self.seed.map_or(0, |shape| shape.len());
        if values.len() == expected { Ok(values) } else { Err(EngineError::Seed { expected, found: values.len() }) }
    }
}

/// What an executor is compiled from.
pub(crate) struct Job<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) weights: &'a Weights,
    /// One image's shape at every node.
    pub(crate) shapes: &'a [Shape],
    pub(crate) wanted: &'a [Node],
    /// Whether a wanted node depends on each node.
    pub(crate) needed: Vec<bool>,
}

/// Whether each node is needed by one of `wanted`.
fn needed(graph: &Graph, wanted: &[Node]) -> Vec<bool> {
    let mut needed = vec![false; graph.ops().len()];
    for node in wanted {
        needed[node.index()] = true;
    }
    for node in (0..needed.len()).rev() {
        if needed[node] {
            for read in graph.ops()[node].reads() {
                needed[read.index()] = true;
            }
        }
    }
    needed
}
