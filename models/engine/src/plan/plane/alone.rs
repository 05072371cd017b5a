//! Steps that run alone, on the calling thread, outside the crew: the caller's seed, and operations without a kernel
//! here, which go through `graph::plain` between two changes of layout. (Both may start rayon's own work, which must
//! never wait below a task that others wait for.)
//! Errors: those of the seed and of the plain form.

use super::layout::Map;
use super::step::{Place, plain_channel};
use crate::EngineError;
use crate::graph::{Node, Op, Shape, Weights, plain};
use crate::plan::Seeder;

/// One of the two.
pub(super) enum Alone {
    /// Asks the caller for the gradient of the value.
    Seed { of: Map, y: Map },
    /// Runs an operation plainly.
    Plain(Box<Plain>),
}

/// An operation with all that its plain form reads.
pub(super) struct Plain {
    pub(super) op: Op,
    pub(super) node: Node,
    pub(super) shapes: Vec<Shape>,
    /// The tensors that it names.
    pub(super) weights: Weights,
    pub(super) reads: Vec<Map>,
    pub(super) y: Map,
}

impl Alone {
    /// # Safety
    /// `place` belongs to the plan that the step was made for, and nobody else uses it now.
    pub(super) unsafe fn run(&self, place: &Place<'_>, seed: Seeder<'_>) -> Result<(), EngineError> {
        // SAFETY: as this function's.
        unsafe {
            match self {
                Self::Seed { of, y } => {
                    let values = seed(&to_plain(of, place))?;
                    from_plain(&values, y, place);
                }
                Self::Plain(plain) => {
                    let reads: Vec<Vec<f32>> = plain.reads.iter().map(|read| to_plain(read, place)).collect();
                    let reads: Vec<&[f32]> = reads.iter().map(Vec::as_slice).collect();
                    let values = plain::compute(&plain.op, plain.node, &plain.shapes, &plain.weights, &reads)?;
                    from_plain(&values, &plain.y, place);
                }
            }
        }
        Ok(())
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Seed { .. } => "seed".into(),
            Self::Plain(plain) => format!("plain {}", plain.op.name()),
        }
    }
}

/// # Safety
/// As [`Alone::run`].
unsafe fn to_plain(x: &Map, place: &Place<'_>) -> Vec<f32> {
    let space = x.space();
    let mut values = vec![0.0; x.channels * space];
    for (channel, values) in values.chunks_exact_mut(space).enumerate() {
        // SAFETY: a channel of the view into a slice of its length.
        unsafe { plain_channel(x, place.arena, channel, values.as_mut_ptr()) };
    }
    values
}

/// # Safety
/// As [`Alone::run`].
unsafe fn from_plain(values: &[f32], y: &Map, place: &Place<'_>) {
    let [rows, columns] = y.size;
    assert_eq!(values.len(), y.channels * rows * columns, "a value has its shape's length");
    for (at, row) in values.chunks_exact(columns).enumerate() {
        let (channel, line) = (at / rows, at % rows);
        // SAFETY: a row of a channel of the view.
        unsafe {
            let to = y.address(place.arena, channel / y.lanes, line.cast_signed(), 0).add(channel % y.lanes);
            for (column, value) in row.iter().enumerate() {
                to.add(column * y.lanes).write(*value);
            }
        }
    }
}
