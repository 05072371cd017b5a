//! A convolution as the kernels see it, whatever the graph called it: a convolution, one of the interleaved parts of a
//! transposed one, or a gradient. Which form it takes is decided by its shape alone: see [`Convolution::form`].
//! Units: positions of rows and columns. Element `q` of the result reads input `q · stride - lead + tap · dilation`
//! and lies at position `q · step + from` of the value.
//! Errors: those of reading a tensor.

use super::floats::Floats;
use super::layout::{Border, Map};
use super::pack;
use crate::EngineError;
use crate::kernels::plane::Clip;
use crate::lanes::LANES;
use candle_core::Tensor;

/// Factor and offset by channel, in whole blocks.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    pub(super) factor: Vec<f32>,
    pub(super) offset: Vec<f32>,
}

/// Norm and clip of the input before a pointwise convolution, and whether 2x2 means are taken after them.
#[derive(Clone, Debug)]
pub(super) struct Preparation {
    pub(super) affine: Affine,
    pub(super) clip: Clip,
    pub(super) means: bool,
}

/// Geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) lead: [isize; 2],
    /// Elements of the result that are computed.
    pub(super) count: [usize; 2],
    pub(super) step: [usize; 2],
    pub(super) from: [usize; 2],
}

/// Which kernel a convolution takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Direct,
    Pointwise,
    /// F(m x m, 3x3).
    Winograd(usize),
    Depthwise,
}

/// Where the weights come from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) weight: Tensor,
    /// `[inputs, outputs / groups, ..]`, as transposed convolutions have it.
    pub(super) transposed: bool,
    /// The tensor's tap under each kernel row and column.
    pub(super) taps: [Vec<usize>; 2],
    /// Rows and columns of the tensor's kernel.
    pub(super) kernel: [usize; 2],
    /// Folded in behind, by output.
    pub(super) factor: Option<Vec<f64>>,
}

/// What is compiled.
#[derive(Clone, Debug)]
pub(super) struct Convolution {
    pub(super) groups: usize,
    /// Per group.
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) geometry: Geometry,
    pub(super) source: Source,
    /// By output; empty: zeros.
    pub(super) start: Vec<f32>,
    pub(super) prepared: Option<Preparation>,
    pub(super) first: Clip,
    pub(super) affine: Option<Affine>,
    /// Whether the second operand is added.
    pub(super) rest: bool,
    pub(super) last: Clip,
}

impl Geometry {
    /// Whether it reads each position once, through one tap.
    pub(super) fn pointwise(&self) -> bool {
        self.kernel == [1; 2] && self.stride == [1; 2] && self.step == [1; 2] && self.lead == [0; 2]
    }

    /// First and last input position that elements up to `count` read.
    fn reach(&self, axis: usize, count: usize) -> (isize, isize) {
        let last = (count - 1) * self.stride[axis] + self.kernel[axis].saturating_sub(1) * self.dilation[axis];
        (-self.lead[axis], last.cast_signed() - self.lead[axis])
    }
}

impl Convolution {
    /// The form, from the shape alone (`lanes` is 4 for an input of at most four channels that only such layers read).
    pub(super) fn form(&self, lanes: usize) -> Form {
        let at = &self.geometry;
        if self.groups > 1 && self.inputs == 1 && self.outputs == 1 {
            return Form::Depthwise;
        }
        if self.prepared.is_some() || (at.pointwise() && self.groups == 1 && lanes == LANES) {
            return Form::Pointwise;
        }
        let plain = at.kernel == [3; 2] && at.stride == [1; 2] && at.dilation == [1; 2] && at.step == [1; 2];
        if !plain || self.groups > 1 || self.inputs < LANES || lanes != LANES {
            return Form::Direct;
        }
        match at.count[0] * at.count[1] {
            784.. => Form::Winograd(4),
            196.. => Form::Winograd(2),
            _ => Form::Direct,
        }
    }

    /// The border that its input needs.
    pub(super) fn border(&self, size: [usize; 2], lanes: usize) -> Border {
        let mut border = Border::NONE;
        if self.prepared.is_some() {
            return border;
        }
        for (axis, size) in size.into_iter().enumerate() {
            let count = self.reached(axis, lanes);
            let (first, last) = self.geometry.reach(axis, count);
            border.before[axis] = first.min(0).unsigned_abs();
            border.after[axis] = (last + 1 - size.cast_signed()).max(0).unsigned_abs();
        }
        border
    }

    /// Elements whose inputs are read: Winograd's patches run over the end.
    fn reached(&self, axis: usize, lanes: usize) -> usize {
        match self.form(lanes) {
            Form::Winograd(m) => self.geometry.count[axis].next_multiple_of(m),
            _ => self.geometry.count[axis],
        }
    }

    /// Asserts that everything which the steps will read and write lies within the operands.
    pub(super) fn check(&self, x: &Map, y: &Map, rest: Option<&Map>) {
        let at = &self.geometry;
        assert_eq!((x.channels, y.channels), (self.groups * self.inputs, self.groups * self.outputs));
        let reach = [0, 1].map(|axis| at.reach(axis, self.reached(axis, x.lanes)));
        if let Some(prepared) = &self.prepared {
            let factor = if prepared.means { 2 } else { 1 };
            assert!(at.pointwise() && self.groups == 1);
            x.holds(at.count.map(|count| count * factor - 1));
            x.whole();
            assert!(
                prepared.affine.factor.len() >= x.blocks() * LANES
                    && prepared.affine.offset.len() >= x.blocks() * LANES
            );
        } else {
            x.covers([reach[0].0, reach[1].0], [reach[0].1, reach[1].1]);
        }
        self.check_result(y, rest);
        if self.groups > 1 && self.form(x.lanes) != Form::Depthwise {
            assert!(self.inputs.is_multiple_of(LANES) && self.outputs.is_multiple_of(LANES), "groups are whole blocks");
            x.whole();
        }
    }

    /// The same for the result's side.
    pub(super) fn check_result(&self, y: &Map, rest: Option<&Map>) {
        let at = &self.geometry;
        assert_eq!(y.channels, self.groups * self.outputs);
        y.whole();
        y.holds([0, 1].map(|axis| (at.count[axis] - 1) * at.step[axis] + at.from[axis]));
        assert_eq!(rest.is_some(), self.rest, "a summand where one is added");
        if let Some(rest) = rest {
            rest.whole();
            assert_eq!((rest.size, rest.channels), (y.size, y.channels));
        }
        if let Some(affine) = &self.affine {
            assert!(affine.factor.len() >= y.blocks() * LANES && affine.offset.len() >= y.blocks() * LANES);
        }
    }

    /// The starts of the sums, in whole blocks.
    pub(super) fn starts(&self) -> Vec<f32> {
        let mut start = pack::lanes(&self.start);
        start.resize((self.groups * self.outputs).next_multiple_of(LANES), 0.0);
        start
    }

    /// The packed filter, group after group.
    pub(super) fn packed(&self, form: Form) -> Result<Floats, EngineError> {
        let taps = self.geometry.kernel[0] * self.geometry.kernel[1];
        let points = if let Form::Winograd(m) = form { (m + 2) * (m + 2) } else { taps };
        let room = self.outputs.next_multiple_of(LANES) * self.inputs * points;
        let mut packed = Floats::new(self.groups * room);
        self.with_filter(|values| {
            for (group, packed) in packed.slice().chunks_exact_mut(room.max(1)).take(self.groups).enumerate() {
                let length = self.outputs * self.inputs * taps;
                let factor = self.source.factor.as_ref().map(|factor| &factor[group * self.outputs..][..self.outputs]);
                let values = &values[group * length..][..length];
                let filter = pack::Filter { values, factor, outputs: self.outputs, inputs: self.inputs, taps };
                match form {
                    Form::Winograd(m) => pack::winograd(filter, m, packed),
                    _ => pack::dense(filter, packed),
                }
            }
        })?;
        Ok(packed)
    }

    /// Hands the filter `[groups · outputs][inputs][taps]` to `work`, without a copy where the tensor has that order.
    pub(super) fn with_filter<T>(&self, work: impl FnOnce(&[f32]) -> T) -> Result<T, EngineError> {
        let (storage, layout) = self.source.weight.storage_and_layout();
        let all = match &*storage {
            candle_core::Storage::Cpu(candle_core::CpuStorage::F32(all)) => {
                layout.contiguous_offsets().map(|(first, past)| &all[first..past])
            }
            _ => None,
        };
        let copied;
        let all = if let Some(all) = all {
            all
        } else {
            copied = self.source.weight.flatten_all()?.to_vec1::<f32>()?;
            &copied
        };
        Ok(if self.source.transposed { work(&self.rearranged(all)) } else { work(all) })
    }

    /// The filter of a transposed convolution in the order of a convolution's.
    fn rearranged(&self, all: &[f32]) -> Vec<f32> {
        let Source { taps, kernel, .. } = &self.source;
        let mut values = Vec::with_capacity(self.groups * self.outputs * self.inputs * taps[0].len() * taps[1].len());
        for output in 0..self.groups * self.outputs {
            let (group, within) = (output / self.outputs, output % self.outputs);
            for input in 0..self.inputs {
                let absolute = group * self.inputs + input;
                let first = absolute * self.outputs + within;
                for row in &taps[0] {
                    for column in &taps[1] {
                        values.push(all[(first * kernel[0] + row) * kernel[1] + column]);
                    }
                }
            }
        }
        values
    }
}
