//! From a graph to steps: fuse, find homes, draft the steps, lay the buffers out, pack the weights.
//! Errors: those of reading tensors.

use super::alone::{Alone, Plain};
use super::convolution::{Affine, Convolution, Form, Geometry, Preparation, Source};
use super::dense::Dense;
use super::fusion::{self, Chain, Fusion, fuse};
use super::homes::Homes;
use super::layout::{Map, View};
use super::step::{Clear, Load, Step, Store};
use super::{Operation, Together, light, pack, transposed, winograd};
use crate::EngineError;
use crate::graph::{Activation, Axis, BatchNorm, Node, Op, Pool, Shape, Weights, Window, plain};
use crate::kernels::plane::Clip;
use crate::kernels::plane::map::Each;
use crate::plan::Job;
use crate::plan::arena::{Tenant, place};
use rayon::prelude::*;

/// Steps in order, and the floats of the arena that they work in.
pub(super) struct Compiled {
    pub(super) operations: Vec<Operation>,
    pub(super) arena: usize,
}

/// A step before its buffers have a place.
struct Draft {
    reads: Vec<View>,
    y: View,
    work: Work,
}

enum Work {
    Load,
    Store { slot: usize },
    Seed,
    Plain { op: Op, node: usize },
    Convolution(Box<Convolution>),
    Transform(Box<Convolution>),
    Products(Box<Convolution>),
    Restore(Box<Convolution>),
    Pooling { axes: [Axis; 2], maximum: bool },
    GlobalMean { prepared: Option<(Affine, Clip)> },
    Map { each: Each, affine: Option<Affine>, clip: Clip },
    Copy { from: usize, to: usize, channels: usize },
}

/// Compiles a job.
pub(super) fn compile(job: &Job<'_>) -> Result<Compiled, EngineError> {
    let fusion = fuse(job);
    let mut drafter = Drafter { job, fusion: &fusion, homes: Homes::new(job, &fusion), drafts: Vec::new() };
    for node in 0..job.shapes.len() {
        if fusion.needed[node] && !fusion.within[node] {
            drafter.node(node)?;
            for (slot, _) in job.wanted.iter().enumerate().filter(|(_, wanted)| wanted.index() == node) {
                let x = drafter.view(Node(node));
                drafter.drafts.push(Draft { reads: vec![x], y: x, work: Work::Store { slot } });
            }
        }
    }
    let Drafter { homes, mut drafts, .. } = drafter;
    let mut buffers = homes.buffers;
    for draft in &drafts {
        if let Work::Convolution(conv) | Work::Transform(conv) = &draft.work {
            let buffer = &mut buffers[draft.reads[0].buffer];
            buffer.widen(conv.border(buffer.size, buffer.lanes));
        }
    }
    let mut tenants: Vec<Tenant> =
        buffers.iter().map(|buffer| Tenant { floats: buffer.floats(), born: usize::MAX, dies: 0 }).collect();
    for (at, draft) in drafts.iter().enumerate() {
        for view in draft.reads.iter().chain([&draft.y]) {
            let tenant = &mut tenants[view.buffer];
            (tenant.born, tenant.dies) = (tenant.born.min(at), tenant.dies.max(at));
        }
    }
    let (offsets, arena) = place(&tenants);
    for (buffer, offset) in buffers.iter_mut().zip(offsets) {
        buffer.offset = offset;
    }
    let clears = |at: usize| {
        let born = buffers.iter().zip(&tenants).filter(|(_, tenant)| tenant.born == at);
        born.map(|(buffer, _)| Clear(*buffer)).filter(|clear| clear.tasks() > 0).collect()
    };
    let make = |(at, draft): (usize, Draft)| {
        let map = |view: View| Map::new(&buffers, view, arena);
        draft.make(job, map, clears(at))
    };
    let operations = std::mem::take(&mut drafts).into_par_iter().enumerate().map(make).collect::<Result<_, _>>()?;
    Ok(Compiled { operations, arena })
}

impl Draft {
    fn make(self, job: &Job<'_>, map: impl Fn(View) -> Map, clears: Vec<Clear>) -> Result<Operation, EngineError> {
        let y = map(self.y);
        let reads: Vec<Map> = self.reads.into_iter().map(map).collect();
        let second = reads.get(1).copied();
        let step: Box<dyn Step> = match self.work {
            Work::Load => Box::new(Load { y }),
            Work::Store { slot } => Box::new(Store { x: reads[0], slot }),
            Work::Convolution(conv) if conv.form(reads[0].lanes) == Form::Depthwise => {
                Box::new(light::Depthwise::new(*conv, reads[0], y, second)?)
            }
            Work::Convolution(conv) => Dense::step(*conv, reads[0], y, second)?,
            Work::Transform(conv) => Box::new(winograd::Transform::new(*conv, reads[0], y)),
            Work::Products(conv) => Box::new(winograd::Products::new(*conv, reads[0], y)?),
            Work::Restore(conv) => Box::new(winograd::Restore::new(*conv, reads[0], y, second)),
            Work::Pooling { axes, maximum } => Box::new(light::Pooling::new(reads[0], y, axes, maximum)),
            Work::GlobalMean { prepared } => Box::new(light::GlobalMean::new(reads[0], y, prepared)),
            Work::Map { each, affine, clip } => Box::new(light::Mapping::new(reads[0], second, y, each, affine, clip)),
            Work::Copy { from, to, channels } => Box::new(light::Copy { x: reads[0], from, y, to, channels }.check()),
            Work::Seed => return Ok(Operation::Alone(Alone::Seed { of: reads[0], y }, clears)),
            Work::Plain { op, node } => {
                let weights = named(&op, job.weights);
                let plain = Plain { op, node: Node(node), shapes: job.shapes.to_vec(), weights, reads, y };
                return Ok(Operation::Alone(Alone::Plain(Box::new(plain)), clears));
            }
        };
        Ok(Operation::Together(Together { step, clears }))
    }
}

/// The tensors that an operation names.
fn named(op: &Op, weights: &Weights) -> Weights {
    let names: Vec<&String> = match op {
        Op::Conv { weight, bias, .. } | Op::ConvTransposed { weight, bias, .. } => {
            std::iter::once(weight).chain(bias).collect()
        }
        Op::Norm { norm, .. } | Op::NormGradient { norm, .. } => {
            vec![&norm.scale, &norm.shift, &norm.mean, &norm.variance]
        }
        Op::SpaceNorm { scale, shift, .. } | Op::GroupNorm { scale, shift, .. } => vec![scale, shift],
        _ => Vec::new(),
    };
    names.into_iter().filter_map(|name| Some((name.clone(), weights.get(name)?.clone()))).collect()
}

struct Drafter<'a> {
    job: &'a Job<'a>,
    fusion: &'a Fusion,
    homes: Homes<'a>,
    drafts: Vec<Draft>,
}

impl Drafter<'_> {
    fn view(&mut self, node: Node) -> View {
        self.homes.view(node)
    }

    fn shape(&self, node: Node) -> Shape {
        self.job.shapes[node.index()]
    }

    fn push(&mut self, reads: &[Node], y: usize, work: Work) {
        let reads = reads.iter().map(|&read| self.view(read)).collect();
        let y = self.view(Node(y));
        self.drafts.push(Draft { reads, y, work });
    }

    fn map(&mut self, reads: &[Node], y: usize, each: Each, affine: Option<Affine>, clip: Clip) {
        self.push(reads, y, Work::Map { each, affine, clip });
    }

    /// Drafts the steps whose last node is `node`.
    fn node(&mut self, node: usize) -> Result<(), EngineError> {
        if let Some(chain) = self.fusion.chains.get(&node) {
            return self.chain(node, chain);
        }
        let job = self.job;
        match &job.graph.ops()[node] {
            _ if self.homes.borrows(node) => {}
            Op::Input => self.push(&[], node, Work::Load),
            Op::Seed { of } => self.push(&[*of], node, Work::Seed),
            Op::Concat { parts } => self.concat(node, parts),
            Op::Slice { x, from, channels } => {
                self.push(&[*x], node, Work::Copy { from: *from, to: 0, channels: *channels });
            }
            Op::ConcatGradient { g, parts, which } => {
                let from = parts.iter().take(*which).map(|part| self.shape(*part).channels).sum();
                let channels = self.shape(Node(node)).channels;
                self.push(&[*g], node, Work::Copy { from, to: 0, channels });
            }
            Op::MaxPool { x, pool } if plane(pool) => self.pool(node, *x, pool, true),
            Op::MeanPool { x, pool } if plane(pool) => self.pool(node, *x, pool, false),
            Op::Activation { x, kind: Activation::Relu } => self.map(&[*x], node, Each::Same, None, Clip::Relu),
            Op::Activation { x, kind: Activation::Relu6 } => self.map(&[*x], node, Each::Same, None, Clip::Relu6),
            Op::Activation { x, kind: Activation::LeakyRelu(slope) } => {
                self.map(&[*x], node, Each::Leaky(*slope), None, Clip::None);
            }
            Op::ActivationGradient { y, g, kind, .. } if fusion::by_value(*kind) => {
                let each = match kind {
                    Activation::Relu => Each::ReluSlope,
                    Activation::Relu6 => Each::Relu6Slope,
                    Activation::LeakyRelu(slope) => Each::LeakySlope(*slope),
                    _ => {
                        self.plain(node);
                        return Ok(());
                    }
                };
                self.map(&[*y, *g], node, each, None, Clip::None);
            }
            Op::NormGradient { g, norm } => {
                let affine = self.affine(norm)?;
                self.map(&[*g], node, Each::Factor, Some(affine), Clip::None);
            }
            Op::Scale { x, by } => self.map(&[*x], node, Each::Scale(*by), None, Clip::None),
            Op::MultiplyGradient { g, other, like } => {
                let (wide, one) = (self.shape(*g).channels, self.shape(*other).channels);
                if wide != self.shape(*like).channels {
                    self.plain(node);
                } else {
                    let each = if one == wide { Each::Multiply } else { Each::MultiplyFirst };
                    self.map(&[*g, *other], node, each, None, Clip::None);
                }
            }
            _ => self.plain(node),
        }
        Ok(())
    }

    fn plain(&mut self, node: usize) {
        let op = self.job.graph.ops()[node].clone();
        self.push(&op.reads(), node, Work::Plain { op, node });
    }

    fn concat(&mut self, node: usize, parts: &[Node]) {
        let whole = self.view(Node(node));
        let mut to = 0;
        for part in parts {
            let view = self.view(*part);
            let place = View { buffer: whole.buffer, block: whole.block + to / 16, channels: view.channels };
            if to % 16 > 0 || view != place {
                self.push(&[*part], node, Work::Copy { from: 0, to, channels: view.channels });
            }
            to += view.channels;
        }
    }

    fn pool(&mut self, node: usize, x: Node, pool: &Pool, maximum: bool) {
        match self.axes(&pool.window(), self.shape(x), [pool.kernel[1], pool.kernel[2]]) {
            Some(axes) => self.push(&[x], node, Work::Pooling { axes, maximum }),
            None => self.plain(node),
        }
    }

    fn axes(&self, window: &Window, x: Shape, kernel: [usize; 2]) -> Option<[Axis; 2]> {
        let axis = |at: usize| Axis::new(window, at, x.extent[at], kernel[at - 1]);
        Some([axis(1)?, axis(2)?])
    }

    fn affine(&self, norm: &BatchNorm) -> Result<Affine, EngineError> {
        let (factor, offset) = plain::folded(self.job.weights, norm)?;
        Ok(Affine { factor: pack::lanes(&factor), offset: pack::lanes(&offset) })
    }

    /// The affine map of a norm's node.
    fn affine_of(&self, node: usize) -> Result<Option<Affine>, EngineError> {
        match &self.job.graph.ops()[node] {
            Op::Norm { norm, .. } => Ok(Some(self.affine(norm)?)),
            _ => Ok(None),
        }
    }

    fn chain(&mut self, node: usize, chain: &Chain) -> Result<(), EngineError> {
        let job = self.job;
        match &job.graph.ops()[chain.start] {
            Op::GlobalMean { x } => {
                let (x, prepared) = match chain.prepared {
                    Some((norm, clip, x)) => (x, self.affine_of(norm)?.map(|affine| (affine, clip))),
                    None => (*x, None),
                };
                self.push(&[x], node, Work::GlobalMean { prepared });
            }
            Op::Norm { x, norm } => {
                let affine = self.affine(norm)?;
                self.map(&[*x], node, Each::Affine, Some(affine), chain.last);
            }
            Op::Add { a, b } => self.map(&[*a, *b], node, Each::Add, None, chain.last),
            Op::Subtract { a, b } => self.map(&[*a, *b], node, Each::Subtract, None, chain.last),
            Op::Multiply { a, b } => {
                let (left, right) = (self.shape(*a).channels, self.shape(*b).channels);
                match (left, right) {
                    _ if left == right => self.map(&[*a, *b], node, Each::Multiply, None, chain.last),
                    (1, _) => self.map(&[*b, *a], node, Each::MultiplyFirst, None, chain.last),
                    _ => self.map(&[*a, *b], node, Each::MultiplyFirst, None, chain.last),
                }
            }
            Op::Conv { x, weight, bias, window, groups } => {
                self.convolve(node, chain, *x, (weight, bias.as_deref()), window, *groups, false)?;
            }
            Op::ConvTransposed { x, weight, bias, window, groups, .. } => {
                self.convolve(node, chain, *x, (weight, bias.as_deref()), window, *groups, true)?;
            }
            op => unreachable!("no chain starts with {}", op.name()),
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of the operation")]
    fn convolve(
        &mut self,
        node: usize,
        chain: &Chain,
        x: Node,
        (weight, bias): (&str, Option<&str>),
        window: &Window,
        groups: usize,
        transposed: bool,
    ) -> Result<(), EngineError> {
        let job = self.job;
        let missing = || EngineError::MissingWeight { name: weight.to_owned() };
        let kernel = fusion::kernel(job.weights, weight).ok_or_else(missing)?;
        let (factor, start) = self.folded(chain, bias)?;
        let (from, to) = (self.shape(x), self.shape(Node(chain.start)));
        let parts = if transposed {
            self.axes(window, to, kernel).and_then(transposed::parts).ok_or_else(missing)?
        } else {
            vec![forward(self.axes(window, from, kernel).ok_or_else(missing)?)]
        };
        let prepared = match chain.prepared {
            Some((norm, clip, _)) => {
                self.affine_of(norm)?.map(|affine| Preparation { affine, clip, means: chain.means })
            }
            None => None,
        };
        let affine = chain.affine.map(|norm| self.affine_of(norm)).transpose()?.flatten();
        let tensor = job.weights.get(weight).ok_or_else(missing)?;
        let x = chain.prepared.map_or(x, |(_, _, x)| x);
        let reads: Vec<Node> = std::iter::once(x).chain(chain.rest).collect();
        for (mut geometry, taps) in parts {
            if chain.means {
                geometry.count = geometry.count.map(|count| count / 2);
            }
            let source = Source { weight: tensor.clone(), transposed, taps, kernel, factor: factor.clone() };
            let conv = Convolution {
                groups,
                inputs: from.channels / groups,
                outputs: to.channels / groups,
                geometry,
                source,
                start: start.clone(),
                prepared: prepared.clone(),
                first: chain.first,
                affine: affine.clone(),
                rest: chain.rest.is_some(),
                last: chain.last,
            };
            self.convolution(&reads, node, Box::new(conv));
        }
        Ok(())
    }

    /// One step, or the three of a heavy Winograd filter.
    fn convolution(&mut self, reads: &[Node], node: usize, conv: Box<Convolution>) {
        let x = self.view(reads[0]);
        let Some(points) = winograd::kept(&conv, self.homes.buffers[x.buffer].lanes) else {
            self.push(reads, node, Work::Convolution(conv));
            return;
        };
        let [before, after] = points.map(|shape| self.homes.extra(shape));
        let y = self.view(Node(node));
        self.drafts.push(Draft { reads: vec![x], y: before, work: Work::Transform(conv.clone()) });
        self.drafts.push(Draft { reads: vec![before], y: after, work: Work::Products(conv.clone()) });
        let reads = std::iter::once(after).chain(reads.get(1).map(|&rest| self.view(rest))).collect();
        self.drafts.push(Draft { reads, y, work: Work::Restore(conv) });
    }

    /// Factors to fold into the weights, and the starts of the sums: bias and norm in f64, rounded once.
    #[expect(clippy::cast_possible_truncation, reason = "the one rounding of a folded bias")]
    fn folded(&self, chain: &Chain, bias: Option<&str>) -> Result<(Option<Vec<f64>>, Vec<f32>), EngineError> {
        let bias = bias.map(|name| plain::floats(self.job.weights, name)).transpose()?;
        let Some(Op::Norm { norm, .. }) = chain.fold.map(|norm| &self.job.graph.ops()[norm]) else {
            return Ok((None, bias.unwrap_or_default()));
        };
        let (factor, offset) = plain::folded_exact(self.job.weights, norm)?;
        let bias = |at: usize| bias.as_ref().map_or(0.0, |bias| f64::from(bias[at]));
        let start = factor.iter().zip(&offset).enumerate().map(|(at, (f, o))| (bias(at) * f + o) as f32).collect();
        Ok((Some(factor), start))
    }
}

/// A convolution's own geometry and taps.
fn forward(axes: [Axis; 2]) -> transposed::Part {
    let of = |get: fn(&Axis) -> usize| [get(&axes[0]), get(&axes[1])];
    let kernel = of(|axis| axis.kernel);
    let geometry = Geometry {
        kernel,
        stride: of(|axis| axis.stride),
        dilation: of(|axis| axis.dilation),
        lead: of(|axis| axis.before).map(usize::cast_signed),
        count: of(|axis| axis.output),
        step: [1; 2],
        from: [0; 2],
    };
    (geometry, kernel.map(|taps| (0..taps).collect()))
}

/// Whether a pool leaves the depth alone.
fn plane(pool: &Pool) -> bool {
    pool.kernel[0] == 1
}
