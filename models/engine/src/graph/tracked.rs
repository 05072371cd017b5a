//! A graph run through the operations of [`crate::ops`], so that gradients reach whatever is tracked: training.
//! Shapes: in and out `[images, channels, (depth,) rows, columns]`; within, channels are innermost. A wanted value has
//! the input's number of dimensions.
//! Batch norms take their running statistics, or those of the batch: then these are returned, for the running ones to
//! follow. A convolution whose result only a norm reads, and a norm whose result only a ReLU reads, run as one.
//! Exactness: as the operations; neither threads nor the instruction set change a bit of a step.
//! Errors: [`EngineError`], as [`Graph::shapes`], and for gradient operations: a tracked graph makes its own.

use super::{Activation, BatchNorm, Graph, Node, Op, Shape, Weights};
use crate::EngineError;
use crate::ops::{self, BatchStatistics, Follow, Unit};
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;

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
        let mut run = Run {
            graph: self,
            weights,
            shapes: &shapes,
            volume: x.rank() == 5,
            images: x.dim(0)?,
            uses: self.uses(wanted),
            values: vec![None; self.ops().len()],
            statistics,
            found: BTreeMap::new(),
        };
        for (at, op) in self.ops().iter().enumerate() {
            if run.uses[at] == 0 || run.is_fused_away(Node(at)) {
                continue;
            }
            let value = if *op == Op::Input { channels_last(x)? } else { run.compute(op, Node(at))? };
            run.values[at] = Some(value);
        }
        let values = wanted.iter().map(|node| channels_second(run.value(*node)?));
        Ok(Tracked { values: values.collect::<Result<_, EngineError>>()?, statistics: run.found })
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

struct Run<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    shapes: &'a [Shape],
    volume: bool,
    images: usize,
    uses: Vec<usize>,
    values: Vec<Option<Tensor>>,
    statistics: Statistics,
    found: BTreeMap<(String, String), BatchStatistics>,
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

impl Run<'_> {
    fn value(&self, node: Node) -> Result<&Tensor, EngineError> {
        self.values[node.0].as_ref().ok_or_else(|| {
            let op = self.graph.op(node).name();
            EngineError::Operation { op, node: node.0, problem: "its value was not computed".into() }
        })
    }

    fn weight(&self, name: &str) -> Result<&Tensor, EngineError> {
        self.weights.get(name).ok_or_else(|| EngineError::MissingWeight { name: name.to_owned() })
    }

    fn optional(&self, name: Option<&String>) -> Result<Option<&Tensor>, EngineError> {
        name.map(|name| self.weight(name)).transpose()
    }

    fn pair(&self, scale: &str, shift: &str) -> Result<[&Tensor; 2], EngineError> {
        Ok([self.weight(scale)?, self.weight(shift)?])
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

    /// The norm at `node` with what it follows and what follows it.
    fn batch_norm(&mut self, node: Node, norm: &BatchNorm, follow: Follow) -> Result<Tensor, EngineError> {
        let weights = self.pair(&norm.scale, &norm.shift)?;
        let [x] = self.graph.op(node).reads()[..] else { return Err(self.unsupported(node)) };
        let (y, found) = match self.graph.op(x) {
            Op::Conv { x: from, weight, window, groups, .. } if self.is_fused_away(x) => {
                let unit = Unit { window: *window, groups: *groups, epsilon: norm.epsilon, follow };
                ops::convolution_norm(self.value(*from)?, self.weight(weight)?, weights, &unit)?
            }
            _ => ops::batch_norm_training(self.value(x)?, weights, norm.epsilon, follow)?,
        };
        self.found.insert((norm.mean.clone(), norm.variance.clone()), found);
        Ok(y)
    }

    fn unsupported(&self, node: Node) -> EngineError {
        let problem = "a graph under training makes its own gradients; run the graph without them".to_owned();
        EngineError::Operation { op: self.graph.op(node).name(), node: node.0, problem }
    }

    fn compute(&mut self, op: &Op, node: Node) -> Result<Tensor, EngineError> {
        match op {
            Op::Norm { norm, .. } if self.statistics == Statistics::Batch => {
                return self.batch_norm(node, norm, Follow::Nothing);
            }
            Op::Activation { x, .. } if self.is_fused_away(*x) => {
                if let Op::Norm { norm, .. } = self.graph.op(*x) {
                    return self.batch_norm(*x, norm, Follow::Relu);
                }
            }
            _ => {}
        }
        Ok(match op {
            Op::Conv { x, weight, bias, window, groups } => {
                let bias = self.optional(bias.as_ref())?;
                ops::convolution(self.value(*x)?, self.weight(weight)?, bias, window, *groups)?
            }
            Op::ConvTransposed { x, weight, bias, window, groups, .. } => {
                let (bias, extent) = (self.optional(bias.as_ref())?, Some(self.shapes[node.0].extent));
                ops::transposed_convolution(self.value(*x)?, self.weight(weight)?, bias, window, *groups, extent)?
            }
            Op::Norm { x, norm } => {
                let running = self.pair(&norm.mean, &norm.variance)?;
                ops::batch_norm(self.value(*x)?, self.pair(&norm.scale, &norm.shift)?, running, norm.epsilon)?
            }
            Op::SpaceNorm { x, scale, shift, epsilon } => {
                ops::space_norm(self.value(*x)?, self.pair(scale, shift)?, *epsilon)?
            }
            Op::GroupNorm { x, groups, scale, shift, epsilon } => {
                ops::group_norm(self.value(*x)?, self.pair(scale, shift)?, *groups, *epsilon)?
            }
            Op::Activation { x, kind } => ops::activation(self.value(*x)?, *kind)?,
            Op::MaxPool { x, pool } => ops::max_pool(self.value(*x)?, pool)?,
            Op::MeanPool { x, pool } => ops::mean_pool(self.value(*x)?, pool)?,
            Op::GlobalMean { x } => ops::space_mean(self.value(*x)?)?,
            Op::Upsample { x, factor, mode } => ops::upsample(self.value(*x)?, *factor, *mode)?,
            Op::Softmax { x } => ops::softmax(self.value(*x)?)?,
            _ => self.rearrange(op, node)?,
        })
    }

    /// What computes at most one sum or product an element.
    fn rearrange(&self, op: &Op, node: Node) -> Result<Tensor, EngineError> {
        Ok(match op {
            Op::Add { a, b } => (self.value(*a)? + self.value(*b)?)?,
            Op::Subtract { a, b } => (self.value(*a)? - self.value(*b)?)?,
            Op::Multiply { a, b } => ops::multiply(self.value(*a)?, self.value(*b)?)?,
            Op::Scale { x, by } => (self.value(*x)? * f64::from(*by))?,
            Op::Concat { parts } => {
                let parts = parts.iter().map(|part| self.value(*part)).collect::<Result<Vec<_>, _>>()?;
                Tensor::cat(&parts, parts[0].rank() - 1)?
            }
            Op::Slice { x, from, channels } => {
                let x = self.value(*x)?;
                x.narrow(x.rank() - 1, *from, *channels)?.contiguous()?
            }
            Op::Flatten { x } => {
                let flat = channels_second(self.value(*x)?)?;
                flat.reshape(self.dims(Shape { channels: self.shapes[x.0].len(), extent: [1; 3] }))?
            }
            Op::Unflatten { x, .. } => {
                let Shape { channels, extent: [depth, rows, columns] } = self.shapes[node.0];
                let mut dims = vec![self.images, channels];
                if self.volume {
                    dims.push(depth);
                }
                dims.extend([rows, columns]);
                channels_last(&self.value(*x)?.reshape(dims)?)?
            }
            _ => return Err(self.unsupported(node)),
        })
    }

    /// The dimensions of a channels-last value.
    fn dims(&self, Shape { channels, extent: [depth, rows, columns] }: Shape) -> Vec<usize> {
        let mut dims = vec![self.images];
        if self.volume {
            dims.push(depth);
        }
        dims.extend([rows, columns, channels]);
        dims
    }
}
