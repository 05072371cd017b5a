//! The executor of planes: graphs whose depths are all 1, compiled to a few steps over one arena.
//! Compiling: norms are folded into convolutions (`f64`, rounded once), activations, residuals and following norms
//! become a convolution's ending, norm and activation before a pointwise convolution its preparation; parts of a
//! concatenation are written where they will be read; buffers are reused when their values are dead.
//! Exactness: see `convolution` and the kernels; which form a layer takes depends on its shape only. Direct forms have
//! the bits of `graph::plain`; foldings and Winograd's forms have their own, the same everywhere.
//! Safety: views are worked out and checked when the plan is made (`layout`); tasks of an operation write disjoint
//! elements, and an operation starts when the one before has ended.
//! Errors: those of reading tensors, of a seed, of the plain form.

mod alone;
mod compile;
mod convolution;
mod dense;
mod floats;
mod fusion;
mod homes;
mod layout;
mod light;
mod pack;
mod step;
#[cfg(test)]
mod tests;
mod transposed;
mod winograd;

use super::{Crew, Executor, Job, Memory, Seeder};
use crate::EngineError;
use alone::Alone;
use floats::Floats;
use std::sync::{Mutex, PoisonError};
use step::{Clear, Place, Slot, Step};

/// A compiled graph of planes.
pub(crate) struct Planes {
    operations: Vec<Operation>,
    /// Floats of the arena and of each worker's scratch memory.
    arena: usize,
    scratch: usize,
    /// Lengths of the wanted values.
    wanted: Vec<usize>,
    /// Memory of images gone by.
    idle: Mutex<Vec<Floats>>,
}

/// Steps that may run at the same time, or one that runs alone.
enum Operation {
    Together(Together),
    Alone(Alone, Vec<Clear>),
}

/// A step and the borders of the buffers that it is the first to write.
struct Together {
    step: Box<dyn Step>,
    clears: Vec<Clear>,
}

impl Together {
    fn tasks(&self) -> usize {
        self.step.tasks() + self.clears.iter().map(Step::tasks).sum::<usize>()
    }

    /// # Safety
    /// As [`Step::task`].
    unsafe fn task(&self, place: &Place<'_>, index: usize) {
        let own = self.step.tasks();
        // SAFETY: as this function's; a border and what lies within are different elements.
        unsafe {
            if index < own {
                self.step.task(place, index);
                return;
            }
            let mut index = index - own;
            for clear in &self.clears {
                if index < clear.tasks() {
                    clear.task(place, index);
                    return;
                }
                index -= clear.tasks();
            }
        }
    }
}

/// An address that workers share.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: workers write disjoint elements of what it points to (see `Step`).
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Planes {
    /// Compiles a job whose depths are all 1.
    pub(crate) fn new(job: &Job<'_>) -> Result<Self, EngineError> {
        let compile::Compiled { operations, arena } = compile::compile(job)?;
        let scratch = operations
            .iter()
            .map(|operation| match operation {
                Operation::Together(together) => together.step.scratch(),
                Operation::Alone(..) => 0,
            })
            .max()
            .unwrap_or(0)
            .next_multiple_of(16);
        let wanted = job.wanted.iter().map(|node| job.shapes[node.index()].len()).collect();
        Ok(Self { operations, arena: arena.next_multiple_of(16), scratch, wanted, idle: Mutex::new(Vec::new()) })
    }

    fn take(&self, floats: usize) -> Floats {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = idle.iter().position(|memory| memory.len() >= floats);
        fits.map_or_else(|| Floats::new(floats), |at| idle.swap_remove(at))
    }

    /// Runs all operations; those between two that run alone as one piece of work for the crew.
    fn operate(
        &self,
        crew: &Crew,
        seed: Seeder<'_>,
        place: impl Fn(usize) -> Worker + Sync,
        x: &[f32],
        out: &[Slot],
    ) -> Result<(), EngineError> {
        let at = |worker: usize| {
            let Worker { arena, scratch } = place(worker);
            Place { arena: arena.0, scratch: scratch.0, isa: crew.isa(), x, out }
        };
        let mut first = 0;
        while first < self.operations.len() {
            if let Operation::Alone(alone, clears) = &self.operations[first] {
                // SAFETY: the crew has ended what came before; nobody else uses the place.
                unsafe {
                    for clear in clears {
                        (0..clear.tasks()).for_each(|index| clear.task(&at(0), index));
                    }
                    alone.run(&at(0), seed)?;
                }
                first += 1;
                continue;
            }
            let run: Vec<&Together> = self.operations[first..]
                .iter()
                .map_while(|operation| match operation {
                    Operation::Together(together) => Some(together),
                    Operation::Alone(..) => None,
                })
                .collect();
            let tasks: Vec<usize> = run.iter().map(|together| together.tasks()).collect();
            crew.run(&tasks, &|operation, index, worker| {
                // SAFETY: the crew runs each task once and an operation after the one before; scratch is the worker's.
                unsafe { run[operation].task(&at(worker), index) };
            });
            first += run.len();
        }
        Ok(())
    }
}

/// One worker's memory.
struct Worker {
    arena: Shared,
    scratch: Shared,
}

impl Executor for Planes {
    fn image(&self, x: &[f32], seed: Seeder<'_>, out: &mut [&mut [f32]], crew: &Crew) -> Result<(), EngineError> {
        assert_eq!(out.len(), self.wanted.len(), "memory for every wanted node");
        let slots: Vec<Slot> = out.iter_mut().map(|out| Slot { at: out.as_mut_ptr(), floats: out.len() }).collect();
        let mut memory = self.take(self.arena + self.scratch * crew.threads());
        let arena = Shared(memory.start());
        let result = self.operate(
            crew,
            seed,
            |worker| {
                // SAFETY: the memory holds the arena and a scratch for each of the crew's threads.
                let scratch = Shared(unsafe { { arena }.0.add(self.arena + worker * self.scratch) });
                Worker { arena: { arena }, scratch }
            },
            x,
            &slots,
        );
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
        result
    }

    fn memory(&self) -> Memory {
        let bytes = |operation: &Operation| match operation {
            Operation::Together(together) => together.step.bytes(),
            Operation::Alone(..) => 0,
        };
        Memory { weights_bytes: self.operations.iter().map(bytes).sum(), arena_bytes: (self.arena + self.scratch) * 4 }
    }

    fn steps(&self) -> Vec<String> {
        let name = |operation: &Operation| match operation {
            Operation::Together(together) => together.step.name(),
            Operation::Alone(alone, _) => alone.name(),
        };
        self.operations.iter().map(name).collect()
    }
}
