//! An evaluation: every case of a look rated once. It uses the look up, and what a single case got stays sealed in it.
//! Order: that of the manifest (random case ids). A probability that is missing, not a number or outside 0..=1 makes
//! its case a failed one. Errors: [`EvaluationError`].

use std::collections::BTreeMap;

use vidimus_log::Digest;

use crate::{
    look::{Look, SetFacts, Subject},
    protocol::Protocol,
    rater::{Rater, Rating},
};

/// Why an evaluation could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// The look was granted for another protocol.
    #[error("evaluation: the look was granted for another protocol than {id}")]
    Protocol {
        /// The protocol's id.
        id: String,
    },
    /// A class of the set is neither positive nor negative in the protocol.
    #[error("evaluation: class {class} of the set is neither positive nor negative in protocol {id}")]
    Class {
        /// The class.
        class: String,
        /// The protocol's id.
        id: String,
    },
}

/// What became of one case.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// Its probabilities; the finding's is among them.
    Scored { finding: f64, all: BTreeMap<String, f64> },
    /// A refusal's code.
    NotEvaluated(String),
    /// Failed.
    Failed,
}

/// One case with its outcome.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub(crate) patient: String,
    pub(crate) positive: bool,
    pub(crate) subtype: String,
    pub(crate) strata: BTreeMap<String, String>,
    pub(crate) pixels: Digest,
    pub(crate) outcome: Outcome,
}

/// All cases of a look, rated. `Debug` shows no case.
pub struct Evaluation {
    pub(crate) protocol: Protocol,
    pub(crate) subject: Subject,
    pub(crate) set: SetFacts,
    pub(crate) look: u64,
    pub(crate) files: Vec<Digest>,
    pub(crate) cases: Vec<Judged>,
}

impl std::fmt::Debug for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Evaluation {{ {} cases, sealed }}", self.cases.len())
    }
}

/// Rates every case of the look.
pub fn evaluate(protocol: &Protocol, look: Look, rater: &dyn Rater) -> Result<Evaluation, EvaluationError> {
    evaluate_with(protocol, look, rater, &mut |_, _| {})
}

/// Rates every case of the look; `progress` is told how many are done, of how many.
pub fn evaluate_with(
    protocol: &Protocol,
    look: Look,
    rater: &dyn Rater,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation, EvaluationError> {
    let text = protocol.text();
    if look.protocol != protocol.digest() {
        return Err(EvaluationError::Protocol { id: text.id.clone() });
    }
    let total = look.cases.len();
    let mut cases = Vec::with_capacity(total);
    let mut files = Vec::with_capacity(total);
    for (index, (case, bytes)) in look.cases.into_iter().enumerate() {
        let positive = text.positive_classes.contains(&case.class);
        if !positive && !text.negative_classes.contains(&case.class) {
            return Err(EvaluationError::Class { class: case.class, id: text.id.clone() });
        }
        files.push(case.file_sha256);
        cases.push(Judged {
            patient: case.patient,
            positive,
            subtype: case.subtype,
            strata: case.strata,
            pixels: case.pixel_sha256,
            outcome: outcome(rater.rate(&bytes), &text.finding),
        });
        progress(index + 1, total);
    }
    Ok(Evaluation { protocol: protocol.clone(), subject: look.subject, set: look.set, look: look.number, files, cases })
}

fn outcome(rating: Rating, finding: &str) -> Outcome {
    match rating {
        Rating::Evaluated { probabilities } => {
            let sound = probabilities.values().all(|p| (0.0..=1.0).contains(p));
            match probabilities.get(finding).copied() {
                Some(finding) if sound => Outcome::Scored { finding, all: probabilities },
                _ => Outcome::Failed,
            }
        }
        Rating::NotEvaluated { code } => Outcome::NotEvaluated(code),
        Rating::Failed { .. } => Outcome::Failed,
    }
}
