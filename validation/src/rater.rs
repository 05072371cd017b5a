//! The seam to the model: whoever rates a case sees the file's bytes and nothing else, no name and no label.

use std::collections::BTreeMap;

/// What a rater says of one case.
#[derive(Debug, Clone, PartialEq)]
pub enum Rating {
    /// The model answered: class or finding code to probability.
    Evaluated {
        /// Calibrated probabilities by code.
        probabilities: BTreeMap<String, f64>,
    },
    /// The guard or the model said no.
    NotEvaluated {
        /// The refusal's code.
        code: String,
    },
    /// The reading failed.
    Failed {
        /// What happened, without patient data; it does not leave the gate.
        text: String,
    },
}

/// A model that rates cases.
pub trait Rater {
    /// Rates one file.
    fn rate(&self, case: &[u8]) -> Rating;
}

impl<F: Fn(&[u8]) -> Rating> Rater for F {
    fn rate(&self, case: &[u8]) -> Rating {
        self(case)
    }
}
