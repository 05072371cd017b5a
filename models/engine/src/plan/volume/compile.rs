//! From a job to steps over places: which values are made, fused, joined, and where each lies.
//! Errors: [`EngineError`] of weights; a place outside its buffer.

use super::conv::{self, Packed};
use super::layout::{Base, Buffer, Place, Slab, slabs};
use super::lower::{Convolution, Lowered, lower};
use super::run::Work;
use crate::EngineError;
use crate::graph::{Activation, Node, axes, plain};
use crate::kernels::volume::SLACK;
use crate::kernels::volume::rows::Each;
use crate::plan::Job;
use crate::plan::arena::{Tenant, place};

/// The steps, and the slabs that they share; where all is small, there is one.
pub(super) fn compile(job: &Job<'_>, small: usize) -> Result<(Vec<Work>, Vec<Slab>), EngineError> {
    let mut compiler = Compiler::new(job);
    compiler.fuse();
    compiler.join();
    let order = compiler.order();
    compiler.lay_out(&order, small);
    let steps = order.iter().map(|made| compiler.step(made)).collect::<Result<Vec<_>, _>>()?;
    Ok((steps, compiler.slabs))
}

/// A step in the order of computation.
#[derive(Clone, Copy, Debug)]
enum Made {
    /// The node's value.
    Node(usize),
    /// The copy of part `1` into concatenation `0`.
    Joined(usize, usize),
    /// The copy of node `0` to wanted place `1`.
    Wanted(usize, usize),
}

struct Compiler<'a> {
    job: &'a Job<'a>,
    lowered: Vec<Lowered>,
    needed: Vec<bool>,
    /// How many needed nodes read each, and whether the caller wants it.
    readers: Vec<usize>,
    wanted: Vec<usize>,
    /// The activation fused into a convolution, and the convolution whose value a node's is.
    fused: Vec<Option<(Convolution, Activation)>>,
    /// The value that holds this one, and the first channel there.
    within: Vec<Option<(usize, usize)>>,
    /// Where a value lies that only the caller reads.
    out: Vec<Option<usize>>,
    buffers: Vec<Buffer>,
    offsets: Vec<(usize, usize)>,
    slabs: Vec<Slab>,
}

impl<'a> Compiler<'a> {
    fn new(job: &'a Job<'a>) -> Self {
        let count = job.graph.ops().len();
        let lowered: Vec<Lowered> = (0..count).map(|node| lower(job, node)).collect();
        let (mut needed, mut readers, mut wanted) = (vec![false; count], vec![0; count], vec![0; count]);
        for node in job.wanted {
            needed[node.index()] = true;
            wanted[node.index()] += 1;
        }
        for node in (0..count).rev().filter(|&node| node < count) {
            if needed[node] {
                for read in lowered[node].reads() {
                    needed[read.index()] = true;
                    readers[read.index()] += 1;
                }
            }
        }
        let buffers = job.shapes.iter().map(|&shape| Buffer { shape, gap: 0 }).collect();
        let (fused, within) = (vec![None; count], vec![None; count]);
        let (out, offsets) = (vec![None; count], vec![(0, 0); count]);
        Self { job, lowered, needed, readers, wanted, fused, within, out, buffers, offsets, slabs: Vec::new() }
    }

    /// Puts activations into the convolutions that nobody else reads.
    fn fuse(&mut self) {
        for node in 0..self.lowered.len() {
            let Lowered::Each { what: Each::Activation(kind), a, .. } = self.lowered[node] else { continue };
            let from = a.index();
            let Lowered::Convolution(convolution) = &self.lowered[from] else { continue };
            if self.needed[node] && self.readers[from] == 1 && self.wanted[from] == 0 {
                self.fused[node] = Some(((**convolution).clone(), kind));
                self.needed[from] = false;
            }
        }
    }

    /// Puts parts into the values that hold them.
    fn join(&mut self) {
        for node in 0..self.lowered.len() {
            if !self.needed[node] {
                continue;
            }
            match &self.lowered[node] {
                Lowered::Part { of, from } => self.within[node] = Some((of.index(), *from)),
                Lowered::Concat { parts } => {
                    let mut first = 0;
                    for part in parts.iter().map(|part| part.index()) {
                        let made = !matches!(self.lowered[part], Lowered::Part { .. });
                        if made && self.within[part].is_none() {
                            self.within[part] = Some((node, first));
                        }
                        first += self.job.shapes[part].channels;
                    }
                }
                made => {
                    let single = !matches!(made, Lowered::Input);
                    if single && self.readers[node] == 0 && self.wanted[node] == 1 {
                        self.out[node] = self.job.wanted.iter().position(|wanted| wanted.index() == node);
                    }
                }
            }
        }
    }

    /// The value in whose buffer a node's lies, and the first channel there.
    fn home(&self, node: usize) -> (usize, usize) {
        let (mut node, mut first) = (node, 0);
        while let Some((holder, from)) = self.within[node] {
            (node, first) = (holder, first + from);
        }
        (node, first)
    }

    fn order(&self) -> Vec<Made> {
        let mut order = Vec::new();
        for node in (0..self.lowered.len()).filter(|&node| self.needed[node]) {
            match &self.lowered[node] {
                Lowered::Part { .. } => {}
                Lowered::Concat { parts } => {
                    let mut first = 0;
                    for (at, part) in parts.iter().map(|part| part.index()).enumerate() {
                        if self.within[part] != Some((node, first)) {
                            order.push(Made::Joined(node, at));
                        }
                        first += self.job.shapes[part].channels;
                    }
                }
                _ => order.push(Made::Node(node)),
            }
            for (at, wanted) in self.job.wanted.iter().enumerate() {
                if wanted.index() == node && self.out[node].is_none() {
                    order.push(Made::Wanted(node, at));
                }
            }
        }
        order
    }

    fn convolution(&self, node: usize) -> Option<&Convolution> {
        match (&self.fused[node], &self.lowered[node]) {
            (Some((convolution, _)), _) => Some(convolution),
            (None, Lowered::Convolution(convolution)) => Some(convolution),
            _ => None,
        }
    }

    /// The nodes that a step reads, and the one it writes.
    fn touched(&self, made: &Made) -> (Vec<usize>, Option<usize>) {
        match *made {
            Made::Node(node) => {
                let reads = match self.convolution(node) {
                    Some(convolution) => vec![convolution.x],
                    None => self.lowered[node].reads(),
                };
                (reads.iter().map(|node| node.index()).collect(), Some(node))
            }
            Made::Joined(node, at) => (vec![self.part(node, at)], Some(node)),
            Made::Wanted(node, _) => (vec![node], None),
        }
    }

    fn part(&self, node: usize, at: usize) -> usize {
        match &self.lowered[node] {
            Lowered::Concat { parts } => parts[at].index(),
            _ => node,
        }
    }

    /// Gaps by what reads each buffer, lives by the steps, then offsets.
    fn lay_out(&mut self, order: &[Made], small: usize) {
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; self.lowered.len()];
        for (step, made) in order.iter().enumerate() {
            let (reads, writes) = self.touched(made);
            if let Made::Node(node) = *made
                && let Some(convolution) = self.convolution(node)
            {
                let gap = conv::gap(&convolution.axes);
                let home = self.home(convolution.x.index()).0;
                self.buffers[home].gap = self.buffers[home].gap.max(gap);
            }
            for node in reads.into_iter().chain(writes) {
                let home = self.home(node).0;
                if self.out[home].is_none() {
                    let life = lives[home].get_or_insert((step, step));
                    life.1 = step;
                }
            }
        }
        let homes: Vec<usize> = (0..lives.len()).filter(|&node| lives[node].is_some()).collect();
        let tenant = |node: usize| {
            let (born, dies) = lives[node].unwrap_or_default();
            Tenant { floats: self.buffers[node].floats(), born, dies }
        };
        let tenants: Vec<Tenant> = homes.iter().map(|&node| tenant(node)).collect();
        let (offsets, floats) = place(&tenants);
        let (places, slabs) = if floats > small {
            slabs(&tenants, &offsets)
        } else {
            (offsets.into_iter().map(|offset| (0, offset)).collect(), vec![Slab { floats, dies: order.len() }])
        };
        for (node, place) in homes.into_iter().zip(places) {
            self.offsets[node] = place;
        }
        self.slabs = slabs;
    }

    /// Where a node's value lies, checked; `behind` floats after it may be read.
    fn place(&self, node: usize) -> Result<Place, EngineError> {
        let shape = self.job.shapes[node];
        let (home, first) = self.home(node);
        if let Some(out) = self.out[home] {
            let place = Place::packed(Base::Out(out), shape);
            place.check(node, shape.len(), 0)?;
            return Ok(place);
        }
        let place = self.buffers[home].place(self.offsets[home], first, shape.channels);
        place.check(node, self.slabs.get(self.offsets[home].0).map_or(0, |slab| slab.floats), SLACK)?;
        Ok(place)
    }

    fn step(&self, made: &Made) -> Result<Work, EngineError> {
        match *made {
            Made::Wanted(node, at) => {
                let y = Place::packed(Base::Out(at), self.job.shapes[node]);
                Ok(Work::Copy { x: self.place(node)?, y })
            }
            Made::Joined(node, at) => {
                let before: usize = (0..at).map(|at| self.job.shapes[self.part(node, at)].channels).sum();
                let part = self.part(node, at);
                let y = self.place(node)?.channels(before, self.job.shapes[part].channels);
                Ok(Work::Copy { x: self.place(part)?, y })
            }
            Made::Node(node) => self.value(node),
        }
    }

    fn value(&self, node: usize) -> Result<Work, EngineError> {
        let (job, y) = (self.job, self.place(node)?);
        let of = |node: Node| self.place(node.index());
        if let Some(convolution) = self.convolution(node) {
            let mut packed = Packed::new(convolution, job.weights, y.shape)?;
            packed.activation = self.fused[node].as_ref().map(|(_, kind)| *kind);
            return Ok(Work::Convolution { packed, x: of(convolution.x)?, y });
        }
        Ok(match &self.lowered[node] {
            Lowered::Input => Work::Copy { x: Place::packed(Base::Input, y.shape), y },
            Lowered::Seed { of: node } => Work::Seed { of: of(*node)?, y },
            Lowered::Each { what, a, b } => Work::Each { what: vec![*what], a: of(*a)?, b: b.map(of).transpose()?, y },
            Lowered::Norm { x, norm, offset } => {
                let (factor, shift) = plain::folded(job.weights, norm)?;
                // adding -0 leaves every product as it is
                let shift =
                    factor.iter().zip(shift).map(|(&factor, shift)| (factor, if *offset { shift } else { -0.0 }));
                Work::Each { what: shift.map(|(f, o)| Each::Norm(f, o)).collect(), a: of(*x)?, b: None, y }
            }
            Lowered::MaxPool { x, pool } => {
                let found = axes(&pool.window(), job.shapes[x.index()].extent, pool.kernel);
                let problem = || "its window does not fit".to_owned();
                let axes = found.ok_or_else(|| EngineError::Operation { op: "maximum", node, problem: problem() })?;
                Work::MaxPool { axes, x: of(*x)?, y }
            }
            Lowered::Grow { x, factor } => Work::Grow { factor: *factor, x: of(*x)?, y },
            Lowered::Softmax { x } => Work::Softmax { x: of(*x)?, y },
            Lowered::Part { .. } | Lowered::Concat { .. } | Lowered::Convolution(_) | Lowered::Plain { .. } => {
                let reads = self.lowered[node].reads().into_iter().map(of).collect::<Result<Vec<_>, _>>()?;
                Work::Plain { node, reads, y }
            }
        })
    }
}
