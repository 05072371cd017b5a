//! The shape of every node, and whether every operation fits what reaches it.
//! Errors: [`EngineError`], naming the operation with its node, or the tensor.

use super::{Axis, Extent, Graph, Node, Op, Pool, Shape, Weights, Window};
use crate::EngineError;
use candle_core::{DType, Tensor};

/// Values that one node may have at most: 2^31, beyond which no machine that this is made for goes.
const VALUES_MAX: usize = 1 << 31;

/// The three axes of a window over `extent`.
pub(crate) fn axes(window: &Window, extent: Extent, kernel: Extent) -> Option<[Axis; 3]> {
    let axis = |at: usize| Axis::new(window, at, extent[at], kernel[at]);
    Some([axis(0)?, axis(1)?, axis(2)?])
}

/// Depth, rows and columns of a kernel of dimensions `dims`, the channels left out.
pub(crate) fn kernel(dims: &[usize]) -> Option<Extent> {
    match *dims {
        [_, _] => Some([1; 3]),
        [_, _, rows, columns] => Some([1, rows, columns]),
        [_, _, depth, rows, columns] => Some([depth, rows, columns]),
        _ => None,
    }
}

struct Inference<'a> {
    weights: &'a Weights,
    shapes: Vec<Shape>,
    node: usize,
    op: &'static str,
}

impl Inference<'_> {
    fn of(&self, node: Node) -> Result<Shape, EngineError> {
        self.shapes
            .get(node.0)
            .copied()
            .ok_or_else(|| self.wrong(format!("it reads node {} before that is made", node.0)))
    }

    fn wrong(&self, problem: String) -> EngineError {
        EngineError::Operation { op: self.op, node: self.node, problem }
    }

    fn weight(&self, name: &str) -> Result<&Tensor, EngineError> {
        let tensor = self.weights.get(name).ok_or_else(|| EngineError::MissingWeight { name: name.to_owned() })?;
        if tensor.dtype() == DType::F32 && tensor.device().is_cpu() {
            return Ok(tensor);
        }
        Err(found(name, "f32 in main memory".into(), tensor))
    }

    fn vector(&self, name: &str, dims: &[usize]) -> Result<(), EngineError> {
        let tensor = self.weight(name)?;
        if tensor.dims() == dims { Ok(()) } else { Err(found(name, format!("{dims:?}"), tensor)) }
    }

    /// Checks a convolution's weight: `inputs` and the result's channels by PyTorch's layouts.
    fn conv(
        &self,
        (weight, bias): (&str, Option<&str>),
        x: Shape,
        groups: usize,
        transposed: bool,
    ) -> Result<(usize, Extent), EngineError> {
        let tensor = self.weight(weight)?;
        let dims = tensor.dims();
        let groups_fit = groups > 0 && x.channels.is_multiple_of(groups);
        let (Some(kernel), true) = (kernel(dims), groups_fit) else {
            return Err(found(
                weight,
                format!("a kernel of 2 to 5 dimensions but 3, {groups} groups of {}", x.channels),
                tensor,
            ));
        };
        let (fits, outputs) = if transposed {
            (dims[0] == x.channels, dims[1] * groups)
        } else {
            (dims[1] * groups == x.channels && dims[0].is_multiple_of(groups), dims[0])
        };
        if !fits || tensor.elem_count() == 0 {
            let place = if transposed { "first" } else { "second" };
            let expected = if transposed { x.channels } else { x.channels / groups };
            return Err(found(weight, format!("{expected} channels in the {place} dimension"), tensor));
        }
        if let Some(bias) = bias {
            self.vector(bias, &[outputs])?;
        }
        Ok((outputs, kernel))
    }

    fn windowed(&self, window: &Window, x: Shape, kernel: Extent) -> Result<Extent, EngineError> {
        let axes = axes(window, x.extent, kernel);
        let axes =
            axes.ok_or_else(|| self.wrong(format!("a kernel of {kernel:?} does not fit {x} under {window:?}")))?;
        Ok(axes.map(|axis| axis.output))
    }

    fn same(&self, a: Node, b: Node) -> Result<Shape, EngineError> {
        let (left, right) = (self.of(a)?, self.of(b)?);
        if left == right { Ok(left) } else { Err(self.wrong(format!("{left} does not fit {right}"))) }
    }

    fn pooled(&self, x: Node, pool: &Pool) -> Result<Shape, EngineError> {
        let x = self.of(x)?;
        let axes = axes(&pool.window(), x.extent, pool.kernel);
        let axes = axes.ok_or_else(|| self.wrong(format!("a window of {:?} does not fit {x}", pool.kernel)))?;
        // a window that lies in the padding alone has no maximum and no mean
        let meets =
            |axis: &Axis| (0..axis.output).all(|out| (0..axis.kernel).any(|tap| axis.input_at(out, tap).is_some()));
        if !axes.iter().all(meets) {
            return Err(self.wrong("a window lies in the padding alone".into()));
        }
        Ok(Shape { channels: x.channels, extent: axes.map(|axis| axis.output) })
    }

    fn grown(&self, x: Shape, factor: Extent) -> Result<Shape, EngineError> {
        let mut extent = x.extent;
        for (length, factor) in extent.iter_mut().zip(factor) {
            *length = length.checked_mul(factor).ok_or_else(|| self.wrong("the result is too large".into()))?;
        }
        Ok(Shape { extent, ..x })
    }

    fn transposed(&self, x: Shape, window: &Window, kernel: Extent, like: Option<Node>) -> Result<Extent, EngineError> {
        let Some(like) = like else {
            let mut extent = [0; 3];
            for (at, length) in extent.iter_mut().enumerate() {
                let full = (x.extent[at] - 1) * window.stride[at] + window.dilation[at] * (kernel[at] - 1) + 1;
                *length = match window.padding {
                    super::Padding::Same => x.extent[at] * window.stride[at],
                    super::Padding::Fixed { before, after } => full
                        .checked_sub(before[at] + after[at])
                        .filter(|&length| length > 0)
                        .ok_or_else(|| self.wrong(format!("nothing is left of {x} within its padding")))?,
                };
            }
            return Ok(extent);
        };
        let extent = self.of(like)?.extent;
        let back = axes(window, extent, kernel).map(|axes| axes.map(|axis| axis.output));
        if back == Some(x.extent) { Ok(extent) } else { Err(self.wrong(format!("{x} does not come from {extent:?}"))) }
    }

    fn shape(&self, op: &Op, input: Shape) -> Result<Shape, EngineError> {
        Ok(match op {
            Op::Input if self.node == 0 => input,
            Op::Input => return Err(self.wrong("a graph has one input, its first node".into())),
            Op::Seed { of } => self.of(*of)?,
            Op::Conv { x, weight, bias, window, groups } => {
                let x = self.of(*x)?;
                let (channels, kernel) = self.conv((weight, bias.as_deref()), x, *groups, false)?;
                Shape { channels, extent: self.windowed(window, x, kernel)? }
            }
            Op::ConvTransposed { x, weight, bias, window, groups, like } => {
                let x = self.of(*x)?;
                let (channels, kernel) = self.conv((weight, bias.as_deref()), x, *groups, true)?;
                Shape { channels, extent: self.transposed(x, window, kernel, *like)? }
            }
            Op::Norm { x, norm } | Op::NormGradient { g: x, norm } => {
                let x = self.of(*x)?;
                for name in [&norm.scale, &norm.shift, &norm.mean, &norm.variance] {
                    self.vector(name, &[x.channels])?;
                }
                x
            }
            Op::SpaceNorm { x, scale, shift, .. } => {
                let x = self.of(*x)?;
                for name in [scale, shift] {
                    self.vector(name, &x.extent)?;
                }
                x
            }
            Op::GroupNorm { x, groups, scale, shift, .. } => {
                let x = self.of(*x)?;
                if *groups == 0 || !x.channels.is_multiple_of(*groups) {
                    return Err(self.wrong(format!("{} channels do not make {groups} groups", x.channels)));
                }
                for name in [scale, shift] {
                    self.vector(name, &[x.channels])?;
                }
                x
            }
            Op::Activation { x, .. } | Op::Scale { x, .. } | Op::Softmax { x } => self.of(*x)?,
            Op::ActivationGradient { x, y, g, .. } => {
                self.same(*x, *y)?;
                self.same(*x, *g)?
            }
            Op::Add { a, b } | Op::Subtract { a, b } | Op::SoftmaxGradient { y: a, g: b } => self.same(*a, *b)?,
            Op::Multiply { a, b } => {
                let (a, b) = (self.of(*a)?, self.of(*b)?);
                if a.extent != b.extent || (a.channels != b.channels && a.channels != 1 && b.channels != 1) {
                    return Err(self.wrong(format!("{a} does not fit {b}")));
                }
                Shape { channels: a.channels.max(b.channels), ..a }
            }
            Op::MultiplyGradient { g, other, like } => {
                let (g, other, like) = (self.of(*g)?, self.of(*other)?, self.of(*like)?);
                let product = Shape { channels: g.channels.max(other.channels), ..g };
                let fits = g.extent == other.extent && (g.channels == other.channels || other.channels == 1);
                if !fits || like.extent != g.extent || (like.channels != product.channels && like.channels != 1) {
                    return Err(self.wrong(format!("{g} and {other} do not make {like}")));
                }
                like
            }
            Op::Concat { parts } => self.concat(parts)?,
            Op::ConcatGradient { g, parts, which } => {
                self.fits(*g, self.concat(parts)?)?;
                let part = parts.get(*which).ok_or_else(|| self.wrong(format!("there is no part {which}")))?;
                self.of(*part)?
            }
            Op::Slice { x, from, channels } => {
                let x = self.of(*x)?;
                if *channels == 0 || from.checked_add(*channels).is_none_or(|past| past > x.channels) {
                    return Err(self.wrong(format!("channels {from} and {channels} more of {x}")));
                }
                Shape { channels: *channels, ..x }
            }
            Op::MaxPool { x, pool } | Op::MeanPool { x, pool } => self.pooled(*x, pool)?,
            Op::MaxPoolGradient { x, g, pool } | Op::MeanPoolGradient { like: x, g, pool } => {
                let pooled = self.pooled(*x, pool)?;
                self.fits(*g, pooled)?;
                self.of(*x)?
            }
            Op::GlobalMean { x } => Shape { extent: [1; 3], ..self.of(*x)? },
            Op::GlobalMeanGradient { g, like } => {
                let like = self.of(*like)?;
                self.fits(*g, Shape { extent: [1; 3], ..like })?;
                like
            }
            Op::Upsample { x, factor, .. } => self.grown(self.of(*x)?, *factor)?,
            Op::UpsampleGradient { g, factor, like, .. } => {
                let like = self.of(*like)?;
                self.fits(*g, self.grown(like, *factor)?)?;
                like
            }
            Op::Flatten { x } => Shape { channels: self.of(*x)?.len(), extent: [1; 3] },
            Op::Unflatten { x, like } => {
                let like = self.of(*like)?;
                self.fits(*x, Shape { channels: like.len(), extent: [1; 3] })?;
                like
            }
        })
    }

    fn fits(&self, node: Node, expected: Shape) -> Result<(), EngineError> {
        let found = self.of(node)?;
        if found == expected { Ok(()) } else { Err(self.wrong(format!("expected {expected}, found {found}"))) }
    }

    fn concat(&self, parts: &[Node]) -> Result<Shape, EngineError> {
        let mut all: Option<Shape> = None;
        for part in parts {
            let part = self.of(*part)?;
            all = Some(match all {
                None => part,
                Some(all) if all.extent == part.extent => Shape { channels: all.channels + part.channels, ..all },
                Some(all) => return Err(self.wrong(format!("{part} does not lie beside {all}"))),
            });
        }
        all.ok_or_else(|| self.wrong("there is nothing to put side by side".into()))
    }
}

fn found(name: &str, expected: String, tensor: &Tensor) -> EngineError {
    let found = format!("{} {:?}", tensor.dtype().as_str(), tensor.dims());
    EngineError::Weight { name: name.to_owned(), expected, found }
}

impl Graph {
    /// The shape of every node for an input of this shape. Checks every operation and every weight on the way.
    pub fn shapes(&self, weights: &Weights, input: Shape) -> Result<Vec<Shape>, EngineError> {
        let mut inference = Inference { weights, shapes: Vec::with_capacity(self.ops().len()), node: 0, op: "input" };
        for (node, op) in self.ops().iter().enumerate() {
            (inference.node, inference.op) = (node, op.name());
            let shape = inference.shape(op, input)?;
            let values = shape.extent.iter().try_fold(shape.channels, |all, &length| all.checked_mul(length));
            if values.is_none_or(|values| values == 0 || values > VALUES_MAX) {
                return Err(inference.wrong(format!("a value of {shape} is empty or too large")));
            }
            inference.shapes.push(shape);
        }
        Ok(inference.shapes)
    }
}
