//! A graph run through the operations of [`crate::ops`], so that gradients reach whatever is tracked: training.
//! Shapes: in and out `[images, channels, (depth,) rows, columns]`; within, channels are innermost. A wanted value has
//! the input's number of dimensions.
//! Batch norms take their running statistics, or those of the batch: then these are returned, for the running ones to
//! follow. A convolution whose result only a norm reads, and a norm whose result only a ReLU reads, run as one.
//! Exactness: as the operations; neither threads nor the instruction set change a bit of a step.
//! Errors: [`EngineError`], as [`Graph::shapes`], and for gradient operations: a tracked graph makes its own.

use super::plain::floats;
use super::tape::{Entry, Leaf, Tape};
use super::{Activation, BatchNorm, Graph, Node, Op, Shape, Weights};
use crate::EngineError;
use crate::isa::Isa;
use crate::ops::BatchStatistics;
use crate::ops::activation::Activate;
use crate::ops::conv::{Convolution, Transposed};
use crate::ops::fused::{Between, Fused};
use crate::ops::group::Inner;
use crate::ops::norm::{Frozen, Norm, Training};
use crate::ops::pool::{MaxPool, MeanPool, SpaceMean};
use crate::ops::product::Multiply;
use crate::ops::rearrange::{Concatenation, Flattening, Scaling, Slice, Sum};
use crate::ops::resize::Upsample;
use crate::ops::softmax::Softmax;
use crate::ops::tensors::{One, Step, Three, Two};
use candle_core::{DType, Device, Tensor, Var};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

/// Where batch norms take mean and variance from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// The running ones among the weights, as in use.
    Running,
    /// This batch's.
    Batch,
}

/// The wanted values, and what the batch norms found.
#[derive(Clone, Debug)]
pub struct Tracked {
    /// One tensor a wanted node.
    pub values: Vec<Tensor>,
    /// By the names of mean and variance among the weights; empty with [`Statistics::Running`].
    pub statistics: BTreeMap<(String, String), BatchStatistics>,
}

impl Tracked {
    /// Moves the running statistics by `momentum` towards those of the batch (the variance divided by the count less
    /// one, as in PyTorch). Running ones that are variables are set; others are replaced.
    pub fn follow(&self, weights: &mut Weights, momentum: f64) -> Result<(), EngineError> {
        for ((mean, variance), found) in &self.statistics {
            for (name, values) in [(mean, found.mean.clone()), (variance, found.variance_unbiased())] {
                let Some(running) = weights.get_mut(name) else {
                    return Err(EngineError::MissingWeight { name: name.clone() });
                };
                let found = Tensor::from_vec(values, running.dims(), running.device())?;
                let moved = ((running.detach() * (1.0 - momentum))? + (found * momentum)?)?;
                if running.is_variable() {
                    Var::from_tensor(running)?.set(&moved)?;
                } else {
                    *running = moved;
                }
            }
        }
        Ok(())
    }
}

impl Graph {
    /// Runs the graph on `x`, `[images, channels, (depth,) rows, columns]`, with weights that may be variables.
    pub fn forward_tracked(
        &self,
        weights: &Weights,
        x: &Tensor,
        wanted: &[Node],
        statistics: Statistics,
    ) -> Result<Tracked, EngineError> {
        let input = match *x.dims() {
            [_, channels, rows, columns] => Shape::plane(channels, rows, columns),
            [_, channels, depth, rows, columns] => Shape::volume(channels, [depth, rows, columns]),
            _ => {
                let problem = format!("expected [images, channels, (depth,) rows, columns], found {:?}", x.dims());
                return Err(EngineError::Operation { op: "input", node: 0, problem });
            }
        };
        let shapes = self.shapes(weights, input)?;
        let x = channels_last(x)?;
        let mut writer = Writer {
            graph: self,
            weights,
            shapes: &shapes,
            dims: x.dims(),
            uses: self.uses(wanted),
            places: vec![None; self.ops().len()],
            leaves: vec![Leaf::Input(x.dims().to_vec())],
            named: BTreeMap::new(),
            learnt: Vec::new(),
            entries: Vec::new(),
            statistics,
            found: Vec::new(),
        };
        writer.read_weights()?;
        writer.places[0] = Some(0);
        for at in 1..self.ops().len() {
            if writer.uses[at] > 0 && !writer.is_fused_away(Node(at)) {
                let place = writer.write(Node(at))?;
                writer.places[at] = Some(place);
            }
        }
        let places = wanted.iter().map(|node| writer.place(*node)).collect::<Result<_, EngineError>>()?;
        let learnt = if writer.learnt.is_empty() {
            Tensor::zeros(1, DType::F32, &Device::Cpu)?
        } else {
            Tensor::cat(&writer.learnt, 0)?
        };
        let Writer { leaves, entries, found, .. } = writer;
        let values = Tape::new(leaves, entries, places).run(&x, &learnt)?;
        let values = values.iter().map(channels_second).collect::<Result<_, EngineError>>()?;
        let found = found.into_iter().filter_map(|(names, found)| Some((names, found.statistics()?)));
        Ok(Tracked { values, statistics: found.collect() })
    }

    /// How often each node is read by what `wanted` needs; a wanted one counts as read twice, so that it is kept.
    fn uses(&self, wanted: &[Node]) -> Vec<usize> {
        let mut uses = vec![0; self.ops().len()];
        wanted.iter().for_each(|node| uses[node.0] += 2);
        for (at, op) in self.ops().iter().enumerate().rev() {
            if uses[at] > 0 {
                op.reads().iter().for_each(|read| uses[read.0] += 1);
            }
        }
        uses
    }
}

/// Where a batch norm leaves what it found.
enum Found {
    Alone(Arc<OnceLock<BatchStatistics>>),
    Fused(Arc<OnceLock<Between>>),
}

impl Found {
    fn statistics(&self) -> Option<BatchStatistics> {
        match self {
            Self::Alone(found) => found.get().cloned(),
            Self::Fused(found) => found.get().map(|between| between.statistics.clone()),
        }
    }
}

/// Writes a graph down as a tape.
struct Writer<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    shapes: &'a [Shape],
    /// Of the input, channels last.
    dims: &'a [usize],
    uses: Vec<usize>,
    places: Vec<Option<usize>>,
    leaves: Vec<Leaf>,
    named: BTreeMap<String, usize>,
    learnt: Vec<Tensor>,
    entries: Vec<Entry>,
    statistics: Statistics,
    found: Vec<((String, String), Found)>,
}

/// `[N, C, ..]` to `[N, .., C]`; a move of values only where there are several channels and positions.
fn channels_last(x: &Tensor) -> Result<Tensor, EngineError> {
    let mut dims = x.dims().to_vec();
    let channels = dims.remove(1);
    let space: usize = dims[1..].iter().product();
    dims.push(channels);
    if channels == 1 || space == 1 {
        return Ok(x.contiguous()?.reshape(dims)?);
    }
    let mut order: Vec<usize> = (0..x.rank()).collect();
    order.remove(1);
    order.push(1);
    Ok(x.permute(order)?.contiguous()?)
}

/// The way back.
fn channels_second(x: &Tensor) -> Result<Tensor, EngineError> {
    let mut dims = x.dims().to_vec();
    let channels = dims.pop().unwrap_or_default();
    let space: usize = dims[1..].iter().product();
    dims.insert(1, channels);
    if channels == 1 || space == 1 {
        return Ok(x.contiguous()?.reshape(dims)?);
    }
    let mut order: Vec<usize> = (0..x.rank() - 1).collect();
    order.insert(1, x.rank() - 1);
    Ok(x.permute(order)?.contiguous()?)
}

/// The names of the weights that an operation's step reads.
fn weights_of(op: &Op) -> Vec<&String> {
    match op {
        Op::Conv { weight, bias, .. } | Op::ConvTransposed { weight, bias, .. } => {
            std::iter::once(weight).chain(bias).collect()
        }
        Op::Norm { norm, .. } => vec![&norm.scale, &norm.shift],
        Op::SpaceNorm { scale, shift, .. } | Op::GroupNorm { scale, shift, .. } => vec![scale, shift],
        _ => Vec::new(),
    }
}

impl Writer<'_> {
    /// Every weight that a needed operation reads, as a leaf: learnt ones side by side in one vector. Running
    /// statistics are none of them: they get no gradient.
    fn read_weights(&mut self) -> Result<(), EngineError> {
        let graph = self.graph;
        let needed = graph.ops().iter().zip(&self.uses).filter(|(_, uses)| **uses > 0);
        let names: BTreeSet<&String> = needed.flat_map(|(op, _)| weights_of(op)).collect();
        let mut from = 0;
        for name in names {
            let Some(tensor) = self.weights.get(name) else {
                return Err(EngineError::MissingWeight { name: name.clone() });
            };
            let dims = tensor.dims().to_vec();
            self.named.insert(name.clone(), self.leaves.len());
            if tensor.track_op() {
                self.leaves.push(Leaf::Learnt(from, dims));
                self.learnt.push(tensor.flatten_all()?);
                from += tensor.elem_count();
            } else {
                self.leaves.push(Leaf::Fixed(tensor.flatten_all()?.to_vec1()?, dims));
            }
        }
        Ok(())
    }

    fn place(&self, node: Node) -> Result<usize, EngineError> {
        self.places[node.0].ok_or_else(|| {
            let op = self.graph.op(node).name();
            EngineError::Operation { op, node: node.0, problem: "its value was not computed".into() }
        })
    }

    fn weight(&self, name: &str) -> Result<usize, EngineError> {
        self.named.get(name).copied().ok_or_else(|| EngineError::MissingWeight { name: name.to_owned() })
    }

    /// A bias, or zeros in its place.
    fn bias(&mut self, name: Option<&String>, channels: usize) -> Result<usize, EngineError> {
        match name {
            Some(name) => self.weight(name),
            None => Ok(self.fixed(vec![0.0; channels])),
        }
    }

    fn fixed(&mut self, values: Vec<f32>) -> usize {
        // entries are counted behind all leaves, so a new leaf moves them
        let place = self.leaves.len();
        let dims = vec![values.len()];
        self.leaves.push(Leaf::Fixed(values, dims));
        let later = self.entries.iter_mut().flat_map(|entry| &mut entry.reads);
        later.chain(self.places.iter_mut().flatten()).filter(|at| **at >= place).for_each(|at| *at += 1);
        place
    }

    fn push(&mut self, step: impl Step + 'static, reads: Vec<usize>) -> usize {
        self.entries.push(Entry { step: Box::new(step), reads });
        self.leaves.len() + self.entries.len() - 1
    }

    /// Whether the one reader of this node computes it on the way.
    fn is_fused_away(&self, node: Node) -> bool {
        if self.statistics == Statistics::Running || self.uses[node.0] != 1 {
            return false;
        }
        let mut readers = self.graph.ops()[node.0 + 1..].iter().enumerate();
        let reader = readers.find(|(at, op)| self.uses[node.0 + 1 + at] > 0 && op.reads().contains(&node));
        matches!(
            (self.graph.op(node), reader.map(|(_, op)| op)),
            (Op::Conv { bias: None, .. }, Some(Op::Norm { .. }))
                | (Op::Norm { .. }, Some(Op::Activation { kind: Activation::Relu, .. }))
        )
    }

    /// The norm that reads `x`, with the convolution before it and what follows it.
    fn batch_norm(&mut self, x: Node, norm: &BatchNorm, relu: bool) -> Result<usize, EngineError> {
        let (scale, shift) = (self.weight(&norm.scale)?, self.weight(&norm.shift)?);
        let (epsilon, isa) = (norm.epsilon, Isa::current());
        let names = (norm.mean.clone(), norm.variance.clone());
        match self.graph.op(x) {
            Op::Conv { x: from, weight, window, groups, .. } if self.is_fused_away(x) => {
                let convolution = Convolution { window: *window, groups: *groups, isa };
                let found = Arc::new(OnceLock::new());
                self.found.push((names, Found::Fused(Arc::clone(&found))));
                let reads = vec![self.place(*from)?, self.weight(weight)?, scale, shift];
                Ok(self.push(Fused { convolution, epsilon, relu, found }, reads))
            }
            _ => {
                let found = Arc::new(OnceLock::new());
                self.found.push((names, Found::Alone(Arc::clone(&found))));
                let reads = vec![self.place(x)?, scale, shift];
                Ok(self.push(Three(Training { epsilon, relu, isa, found }), reads))
            }
        }
    }

    /// Appends the node's step; returns its place.
    fn write(&mut self, node: Node) -> Result<usize, EngineError> {
        let isa = Isa::current();
        let graph = self.graph;
        Ok(match graph.op(node) {
            Op::Norm { x, norm } if self.statistics == Statistics::Batch => self.batch_norm(*x, norm, false)?,
            Op::Activation { x, .. } if self.is_fused_away(*x) => match graph.op(*x) {
                Op::Norm { x, norm } => self.batch_norm(*x, norm, true)?,
                _ => return Err(self.unsupported(node)),
            },
            Op::Conv { x, weight, bias, window, groups } => {
                let bias = self.bias(bias.as_ref(), self.shapes[node.0].channels)?;
                let reads = vec![self.place(*x)?, self.weight(weight)?, bias];
                self.push(Three(Convolution { window: *window, groups: *groups, isa }), reads)
            }
            Op::ConvTransposed { x, weight, bias, window, groups, .. } => {
                let bias = self.bias(bias.as_ref(), self.shapes[node.0].channels)?;
                let extent = Some(self.shapes[node.0].extent);
                let reads = vec![self.place(*x)?, self.weight(weight)?, bias];
                self.push(Three(Transposed { window: *window, groups: *groups, extent, isa }), reads)
            }
            Op::Norm { x, norm } => {
                let (mean, variance) = (floats(self.weights, &norm.mean)?, floats(self.weights, &norm.variance)?);
                let reads = vec![self.place(*x)?, self.weight(&norm.scale)?, self.weight(&norm.shift)?];
                self.push(Three(Frozen(Norm { mean, variance, epsilon: norm.epsilon, isa, relu: false })), reads)
            }
            Op::SpaceNorm { x, scale, shift, epsilon } => {
                let reads = vec![self.place(*x)?, self.weight(scale)?, self.weight(shift)?];
                self.push(Three(Inner { groups: None, epsilon: *epsilon }), reads)
            }
            Op::GroupNorm { x, groups, scale, shift, epsilon } => {
                let reads = vec![self.place(*x)?, self.weight(scale)?, self.weight(shift)?];
                self.push(Three(Inner { groups: Some(*groups), epsilon: *epsilon }), reads)
            }
            _ => self.write_plain(node)?,
        })
    }

    /// The steps without weights.
    fn write_plain(&mut self, node: Node) -> Result<usize, EngineError> {
        let isa = Isa::current();
        let graph = self.graph;
        let op = graph.op(node);
        let reads = op.reads().iter().map(|read| self.place(*read)).collect::<Result<Vec<_>, _>>()?;
        Ok(match op {
            Op::Activation { kind, .. } => self.push(One(Activate { kind: *kind, isa }), reads),
            Op::MaxPool { pool, .. } => self.push(One(MaxPool(*pool)), reads),
            Op::MeanPool { pool, .. } => self.push(One(MeanPool(*pool)), reads),
            Op::GlobalMean { .. } => self.push(One(SpaceMean), reads),
            Op::Upsample { factor, mode, .. } => self.push(One(Upsample { factor: *factor, mode: *mode }), reads),
            Op::Softmax { .. } => self.push(One(Softmax { isa }), reads),
            Op::Add { .. } => self.push(Two(Sum { factor: 1.0 }), reads),
            Op::Subtract { .. } => self.push(Two(Sum { factor: -1.0 }), reads),
            Op::Multiply { .. } => self.push(Two(Multiply), reads),
            Op::Scale { by, .. } => self.push(One(Scaling { by: *by }), reads),
            Op::Concat { .. } => self.push(Concatenation, reads),
            Op::Slice { from, channels, .. } => self.push(One(Slice { from: *from, channels: *channels }), reads),
            Op::Flatten { .. } => self.push(One(Flattening::Flat), reads),
            Op::Unflatten { .. } => {
                let dims = self.like_input(self.shapes[node.0]);
                self.push(One(Flattening::Back(dims)), reads)
            }
            _ => return Err(self.unsupported(node)),
        })
    }

    fn unsupported(&self, node: Node) -> EngineError {
        let problem = "a graph under training makes its own gradients; run the graph without them".to_owned();
        EngineError::Operation { op: self.graph.op(node).name(), node: node.0, problem }
    }

    /// The dimensions of a value with channels last, as many as the input's.
    fn like_input(&self, Shape { channels, extent: [depth, rows, columns] }: Shape) -> Vec<usize> {
        let mut dims = vec![self.dims[0]];
        if self.dims.len() == 5 {
            dims.push(depth);
        }
        dims.extend([rows, columns, channels]);
        dims
    }
}
