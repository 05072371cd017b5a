//! The tensors of a network under construction: looked up by name, and counted, so that a stranger is noticed.
//! Errors: [`NetworkError::Missing`], [`NetworkError::Unknown`], [`NetworkError::Tensor`].

use crate::NetworkError;
use std::collections::BTreeSet;
use vidimus_engine::{BatchNorm, Weights};

/// Tensors by name, and which of them an operation has named.
pub(super) struct Tensors {
    weights: Weights,
    used: BTreeSet<String>,
}

impl Tensors {
    pub(super) const fn new(weights: Weights) -> Self {
        Self { weights, used: BTreeSet::new() }
    }

    /// Every name.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.weights.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.weights.contains_key(name)
    }

    /// The dimensions of a tensor that an operation takes.
    pub(super) fn take(&mut self, name: &str) -> Result<Vec<usize>, NetworkError> {
        let tensor = self.weights.get(name).ok_or_else(|| NetworkError::Missing { name: name.to_owned() })?;
        self.used.insert(name.to_owned());
        Ok(tensor.dims().to_vec())
    }

    /// The dimensions of a weight of so many.
    pub(super) fn take_rank(&mut self, name: &str, rank: usize) -> Result<Vec<usize>, NetworkError> {
        let dims = self.take(name)?;
        if dims.len() == rank && dims.iter().all(|&length| length > 0) {
            return Ok(dims);
        }
        let expected = vec![0; rank];
        Err(NetworkError::Tensor { name: name.to_owned(), expected, found: format!("f32 {dims:?}") })
    }

    /// `prefix.bias`, if there is one.
    pub(super) fn bias(&mut self, prefix: &str) -> Result<Option<String>, NetworkError> {
        let name = format!("{prefix}.bias");
        if !self.has(&name) {
            return Ok(None);
        }
        self.take(&name)?;
        Ok(Some(name))
    }

    /// The batch norm under `prefix`.
    pub(super) fn norm(&mut self, prefix: &str, epsilon: f64) -> Result<BatchNorm, NetworkError> {
        let norm = BatchNorm::named(prefix, epsilon);
        for name in [&norm.scale, &norm.shift, &norm.mean, &norm.variance] {
            self.take(name)?;
        }
        Ok(norm)
    }

    /// Whether a batch norm lies under `prefix`.
    pub(super) fn has_norm(&self, prefix: &str) -> bool {
        self.has(&format!("{prefix}.running_mean"))
    }

    /// The weights, unless one of them belongs to no operation.
    pub(super) fn finish(self) -> Result<Weights, NetworkError> {
        let stranger = self.weights.keys().find(|name| !self.used.contains(*name));
        stranger.map_or_else(|| Ok(self.weights.clone()), |name| Err(NetworkError::Unknown { name: name.clone() }))
    }
}
