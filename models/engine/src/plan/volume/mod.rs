//! The fast executor of volumes: every operation over whole rows, cut into tasks of different rows.
//! Shapes: in and out `[channels, depth, rows, columns]`; inside see `layout`.
//! Exactness: an element's bits depend on the graph before it, the weights and the input; see `conv` for the forms, and
//! `kernels::volume` for the order of every sum. Operations that have no fast form are computed by `graph::plain`, so
//! every graph is taken.
//! Memory: one buffer in which values share places when their lives do not meet; parts of a concatenation are written
//! where it wants them; a wanted value that nobody reads is written where the caller wants it; a large buffer is cut
//! where no value crosses, and given back part by part.
//! Errors: [`EngineError`] of weights and shapes when compiled.

mod compile;
mod conv;
mod layout;
mod lower;
mod run;
#[cfg(test)]
mod tests;

use super::{Crew, Executor, Job, Memory, Seeder};
use crate::EngineError;
use crate::graph::{Graph, Node, Shape, Weights, plain};
use crate::lanes::LANES;
use layout::{Place, Slab};
use run::{Address, Run, Work};
use std::sync::{Mutex, PoisonError};

/// Buffers of at most so many floats are kept for the next image.
const KEPT: usize = 64 << 20;

/// A graph over volumes, ready to run.
pub(crate) struct Volume {
    steps: Vec<Work>,
    tasks: Vec<usize>,
    slabs: Vec<Slab>,
    scratch: usize,
    graph: Graph,
    weights: Weights,
    shapes: Vec<Shape>,
    kept: Mutex<Vec<Vec<f32>>>,
}

impl Volume {
    /// Compiles the job.
    pub(crate) fn new(job: &Job<'_>) -> Result<Self, EngineError> {
        Self::compiled(job, KEPT)
    }

    /// The same, with one buffer for all up to `small` floats.
    fn compiled(job: &Job<'_>, small: usize) -> Result<Self, EngineError> {
        let (steps, slabs) = compile::compile(job, small)?;
        let tasks = steps.iter().map(Work::tasks).collect();
        let scratch = steps.iter().map(Work::scratch).max().unwrap_or(0).next_multiple_of(LANES);
        // whole weights are kept only for what the plain form computes
        let plainly = steps.iter().any(|step| matches!(step, Work::Plain { .. }));
        let weights = if plainly { job.weights.clone() } else { Weights::new() };
        let (graph, shapes) = (job.graph.clone(), job.shapes.to_vec());
        Ok(Self { steps, tasks, slabs, scratch, graph, weights, shapes, kept: Mutex::new(Vec::new()) })
    }

    fn take(&self, floats: usize) -> Vec<f32> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.filter(|kept| kept.len() >= floats).unwrap_or_else(|| vec![0.0; floats])
    }

    fn give_back(&self, memory: Vec<f32>) {
        if memory.len() <= KEPT {
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
        }
    }

    /// What one thread does between operations.
    fn alone(&self, run: &Run<'_>, work: &Work, seed: Seeder<'_>) -> Result<(), EngineError> {
        let (value, y) = match work {
            Work::Plain { node, reads, y } => {
                let reads: Vec<Vec<f32>> = reads.iter().map(|place| read(run, place)).collect();
                let reads: Vec<&[f32]> = reads.iter().map(Vec::as_slice).collect();
                let op = &self.graph.ops()[*node];
                (plain::compute(op, Node(*node), &self.shapes, &self.weights, &reads)?, y)
            }
            Work::Seed { of, y } => (seed(&read(run, of))?, y),
            _ => return Ok(()),
        };
        write(run, y, &value);
        Ok(())
    }
}

/// A value as callers hold it.
fn read(run: &Run<'_>, place: &Place) -> Vec<f32> {
    let mut values = Vec::with_capacity(place.shape.len());
    each_row(place.shape, |at| {
        // SAFETY: the place was checked, and no operation is under way.
        let row = unsafe { std::slice::from_raw_parts(run.row(place, at), place.shape.extent[2]) };
        values.extend_from_slice(row);
    });
    values
}

fn write(run: &Run<'_>, place: &Place, values: &[f32]) {
    let mut rows = values.chunks_exact(place.shape.extent[2]);
    each_row(place.shape, |at| {
        if let Some(row) = rows.next() {
            // SAFETY: the place was checked, and no operation is under way.
            unsafe { run.row(place, at).copy_from_nonoverlapping(row.as_ptr(), row.len()) };
        }
    });
    for depth in 0..place.shape.extent[0] {
        for row in 0..place.shape.extent[1] {
            // SAFETY: as above.
            unsafe { run.clear(place, depth, row) };
        }
    }
}

fn each_row(shape: Shape, mut each: impl FnMut([usize; 3])) {
    for channel in 0..shape.channels {
        for depth in 0..shape.extent[0] {
            for row in 0..shape.extent[1] {
                each([channel, depth, row]);
            }
        }
    }
}

/// The first float of `memory` at the beginning of a cache line.
fn aligned(memory: &mut [f32]) -> *mut f32 {
    let at = memory.as_mut_ptr();
    let skip = at.align_offset(64);
    // SAFETY: every buffer has a vector's floats more than are used of it, and a line is no longer.
    unsafe { at.add(skip.min(LANES)) }
}

impl Executor for Volume {
    fn image(&self, x: &[f32], seed: Seeder<'_>, out: &mut [&mut [f32]], crew: &Crew) -> Result<(), EngineError> {
        let mut arena: Vec<Vec<f32>> = self.slabs.iter().map(|slab| self.take(slab.floats + LANES)).collect();
        let mut scratch: Vec<Vec<f32>> = (0..crew.threads()).map(|_| vec![0.0; self.scratch + LANES]).collect();
        let run = Run {
            isa: crew.isa(),
            input: x,
            arena: arena.iter_mut().map(|slab| Address(aligned(slab))).collect(),
            outs: out.iter_mut().map(|out| Address(out.as_mut_ptr())).collect(),
            scratch: scratch.iter_mut().map(|scratch| Address(aligned(scratch))).collect(),
        };
        let mut at = 0;
        while at < self.steps.len() {
            // a step ends a stretch where a slab dies: its memory goes back at once
            let dies = |step: usize| self.slabs.iter().any(|slab| slab.dies == step);
            let ready = self.tasks[at..].iter().take_while(|&&tasks| tasks > 0).count();
            let parallel = (at..at + ready).position(dies).map_or(ready, |step| step + 1);
            crew.run(&self.tasks[at..at + parallel], &|op, index, worker| {
                // SAFETY: every place was checked against these buffers when the plan was compiled; the crew gives each
                // index to one worker and ends an operation before the next.
                unsafe { self.steps[at + op].task(&run, index, run.scratch[worker].0) };
            });
            at += parallel;
            if parallel == 0
                && let Some(work) = self.steps.get(at)
            {
                self.alone(&run, work, seed)?;
                at += 1;
            }
            for (slab, memory) in self.slabs.iter().zip(&mut arena).filter(|(slab, _)| slab.dies < at) {
                debug_assert!(slab.dies < self.steps.len());
                *memory = Vec::new();
            }
        }
        drop(run);
        arena.into_iter().filter(|slab| !slab.is_empty()).for_each(|slab| self.give_back(slab));
        Ok(())
    }

    fn memory(&self) -> Memory {
        let packed = |step: &Work| match step {
            Work::Convolution { packed, .. } => packed.bytes(),
            _ => 0,
        };
        let floats: usize = self.slabs.iter().map(|slab| slab.floats).sum();
        Memory { weights_bytes: self.steps.iter().map(packed).sum(), arena_bytes: (floats + self.scratch) * 4 }
    }

    fn steps(&self) -> Vec<String> {
        self.steps.iter().map(|step| step.name(&self.graph)).collect()
    }
}
