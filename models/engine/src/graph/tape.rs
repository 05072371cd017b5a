//! The tape of one training step: the steps of a graph, run forward and walked back, as one operation for Candle.
//! Candle's own walk makes a tensor of zeros and an addition for every gradient of every map; here a gradient is moved
//! into its place, and buffers are used again from step to step.
//! Shapes: values have channels last; the operation's arguments are the input and all learnt weights in one vector, its
//! result the wanted values in one vector.
//! Exactness: a value that is read several times adds up its gradients in the reverse order of the readers.
//! Errors: Candle's, from the steps.

use crate::ops::buffers::give;
use crate::ops::tensors::{Step, View, values, with_views};
use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor, bail};
use std::sync::OnceLock;

/// Where a leaf's values come from.
pub(crate) enum Leaf {
    /// The operation's first argument, in these dimensions.
    Input(Vec<usize>),
    /// A piece of its second argument from here on, in these dimensions.
    Learnt(usize, Vec<usize>),
    /// Not learnt.
    Fixed(Vec<f32>, Vec<usize>),
}

/// One step and the places of what it reads.
pub(crate) struct Entry {
    pub(crate) step: Box<dyn Step>,
    pub(crate) reads: Vec<usize>,
}

/// Leaves, then the entries' results: places count through both.
pub(crate) struct Tape {
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) wanted: Vec<usize>,
    values: OnceLock<Vec<Value>>,
}

/// A value with its dimensions; a large buffer goes back to be used again.
struct Value {
    values: Vec<f32>,
    dims: Vec<usize>,
}

impl Drop for Value {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.values));
    }
}

impl Value {
    fn view(&self) -> View<'_> {
        View { values: &self.values, dims: &self.dims }
    }
}

impl Tape {
    pub(crate) const fn new(leaves: Vec<Leaf>, entries: Vec<Entry>, wanted: Vec<usize>) -> Self {
        Self { leaves, entries, wanted, values: OnceLock::new() }
    }

    /// Runs the tape as one operation: one tensor a wanted value.
    pub(crate) fn run(self, x: &Tensor, learnt: &Tensor) -> Result<Vec<Tensor>> {
        let dims = std::sync::Arc::new(OnceLock::new());
        let op = TapeOp { tape: self, dims: std::sync::Arc::clone(&dims) };
        let all = x.contiguous()?.apply_op2(learnt, op)?;
        let Some(dims) = dims.get() else { bail!("{NAME}: nothing was computed") };
        let mut at = 0;
        let mut made = Vec::with_capacity(dims.len());
        for dims in dims {
            let length: usize = dims.iter().product();
            // one value alone needs no cutting
            let part = if length == all.elem_count() { all.clone() } else { all.narrow(0, at, length)? };
            made.push(part.reshape(dims.as_slice())?);
            at += length;
        }
        Ok(made)
    }

    fn forward(&self, x: &[f32], learnt: &[f32]) -> Result<Vec<Value>> {
        let mut all: Vec<Value> = Vec::with_capacity(self.leaves.len() + self.entries.len());
        for leaf in &self.leaves {
            all.push(match leaf {
                Leaf::Input(dims) => Value { values: x.to_vec(), dims: dims.clone() },
                Leaf::Learnt(from, dims) => {
                    let length: usize = dims.iter().product();
                    Value { values: learnt[*from..*from + length].to_vec(), dims: dims.clone() }
                }
                Leaf::Fixed(values, dims) => Value { values: values.clone(), dims: dims.clone() },
            });
        }
        for entry in &self.entries {
            let reads: Vec<View<'_>> = entry.reads.iter().map(|&read| all[read].view()).collect();
            let (values, dims) = entry.step.run(&reads)?;
            all.push(Value { values, dims });
        }
        Ok(all)
    }

    /// Which places a gradient is wanted for.
    fn tracked(&self, input: bool) -> Vec<bool> {
        let leaf = |leaf: &Leaf| match leaf {
            Leaf::Input(_) => input,
            Leaf::Learnt(..) => true,
            Leaf::Fixed(..) => false,
        };
        let mut tracked: Vec<bool> = self.leaves.iter().map(leaf).collect();
        for entry in &self.entries {
            tracked.push(entry.reads.iter().any(|&read| tracked[read]));
        }
        tracked
    }

    /// The gradients of input and learnt weights.
    fn backward(&self, all: &[Value], g: &[f32], input: bool, learnt: usize) -> Result<(Option<Vec<f32>>, Vec<f32>)> {
        let tracked = self.tracked(input);
        let mut gradients: Vec<Option<Vec<f32>>> = vec![None; all.len()];
        let mut at = 0;
        for &place in &self.wanted {
            let length = all[place].values.len();
            add(&mut gradients[place], g[at..at + length].to_vec());
            at += length;
        }
        for (number, entry) in self.entries.iter().enumerate().rev() {
            let place = self.leaves.len() + number;
            let Some(gradient) = gradients[place].take().filter(|_| tracked[place]) else { continue };
            let reads: Vec<View<'_>> = entry.reads.iter().map(|&read| all[read].view()).collect();
            let wanted: Vec<bool> = entry.reads.iter().map(|&read| tracked[read]).collect();
            let g = View { values: &gradient, dims: &all[place].dims };
            let made = entry.step.back(&reads, all[place].view(), g, &wanted)?;
            for (&read, made) in entry.reads.iter().zip(made) {
                if let Some(made) = made {
                    add(&mut gradients[read], made);
                }
            }
            give(gradient);
        }
        let mut for_learnt = vec![0.0; learnt];
        let mut for_input = None;
        for (leaf, gradient) in self.leaves.iter().zip(gradients) {
            match (leaf, gradient) {
                (Leaf::Input(_), gradient) => for_input = gradient,
                (Leaf::Learnt(from, _), Some(gradient)) => {
                    for_learnt[*from..*from + gradient.len()].copy_from_slice(&gradient);
                }
                _ => {}
            }
        }
        Ok((for_input, for_learnt))
    }
}

/// The first gradient is moved in; later ones are added.
fn add(sum: &mut Option<Vec<f32>>, made: Vec<f32>) {
    match sum {
        None => *sum = Some(made),
        Some(sum) => {
            sum.iter_mut().zip(&made).for_each(|(sum, made)| *sum += made);
            give(made);
        }
    }
}

const NAME: &str = "graph under training";

struct TapeOp {
    tape: Tape,
    dims: std::sync::Arc<OnceLock<Vec<Vec<usize>>>>,
}

impl CustomOp2 for TapeOp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, learnt: &CpuStorage, ll: &Layout) -> Result<(CpuStorage, Shape)> {
        let made = self.tape.forward(values(x, xl)?, values(learnt, ll)?)?;
        let all = self.tape.values.get_or_init(|| made);
        let wanted = self.tape.wanted.iter().map(|&place| all[place].values.as_slice());
        let result = wanted.collect::<Vec<_>>().concat();
        self.dims.get_or_init(|| self.tape.wanted.iter().map(|&place| all[place].dims.clone()).collect());
        let length = result.len();
        Ok((CpuStorage::F32(result), Shape::from(length)))
    }

    fn bwd(&self, x: &Tensor, learnt: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(all) = self.tape.values.get() else { bail!("{NAME}: run forward first") };
        let (for_x, for_learnt) =
            with_views([&g.contiguous()?], |[g]| self.tape.backward(all, g.values, x.track_op(), learnt.elem_count()))?;
        let for_x = for_x.filter(|_| x.track_op());
        let for_x = for_x.map(|values| Tensor::from_vec(values, x.shape(), &Device::Cpu)).transpose()?;
        let tracked = learnt.track_op();
        let for_learnt = tracked.then(|| Tensor::from_vec(for_learnt, learnt.shape(), &Device::Cpu)).transpose()?;
        Ok((for_x, for_learnt))
    }
}
