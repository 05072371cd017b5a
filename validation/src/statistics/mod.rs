//! The statistics of the gate: every figure that a person reads about a model is computed here, once.
//!
//! Shapes: scores are `f64` (`+-inf` allowed where a refused case must rank last, `NaN` never), outcomes are `bool`,
//! probabilities lie in `0.0..=1.0`. Every ratio keeps the integer counts that it was made of.
//! Errors: [`StatisticsError`] names the input and the culprit's position; nothing is dropped silently.
//! Determinism: sums are compensated, ties go by mid-rank, random draws come from ChaCha20 under a registered seed, and
//! `exp`, `ln` and their kin come from the `libm` crate, so the same input gives the same bits on every machine.
//! Sources: the head of each file. Independent values: `validation/tests/peers/`.

mod auc;
mod bootstrap;
mod calibration;
mod conformal;
mod interval;
mod operating;
mod proportion;
mod recalibration;
mod reliability;
mod selective;
mod special;
mod sum;

pub use auc::{Auc, AucDifference, PairCounts, clustered_auc, delong, delong_difference};
pub use bootstrap::{Bootstrap, BootstrapPlan, Cluster, bootstrap};
pub use calibration::{
    Bin, BrierParts, CalibrationLine, LOGIT_MARGIN, brier, brier_parts, calibration_line, equal_mass_bins,
    expected_calibration_error, spiegelhalter_z,
};
pub use conformal::{Conformal, ConformalScore, Coverage, conformal_quantile};
pub use interval::{Confidence, Interval};
pub use operating::{Confusion, LikelihoodRatio, RocPoint, roc_points};
pub use proportion::{Proportion, clopper_pearson, clustered_wilson, wilson};
pub use recalibration::{Isotonic, Temperature, fit_temperature};
pub use reliability::{ReliabilityPoint, brier_within, equal_width_bins, maximum_calibration_error, reliability};
pub use selective::{CoveragePoint, RiskCoverage, risk_coverage};
pub use special::{beta_quantile, normal_cdf, normal_quantile, regularized_beta};
pub use sum::{Sum, mean};

/// Why a statistic could not be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StatisticsError {
    /// No case at all.
    #[error("{what}: no case")]
    Empty {
        /// The input.
        what: &'static str,
    },
    /// A value outside its range, or not a number.
    #[error("{what}: value {index} is {found}, expected {expected}")]
    OutOfRange {
        /// The input.
        what: &'static str,
        /// Its position, counted from 0.
        index: usize,
        /// The allowed range in words.
        expected: &'static str,
        /// The value found.
        found: f64,
    },
    /// Two inputs that belong together differ in length.
    #[error("{what}: {left} and {right} values, expected as many of one as of the other")]
    Length {
        /// The inputs.
        what: &'static str,
        /// The length of the first.
        left: usize,
        /// The length of the second.
        right: usize,
    },
    /// A statistic of two classes has only one.
    #[error("{what}: {positives} positive and {negatives} negative cases, expected at least {least} of each")]
    OneClass {
        /// The statistic.
        what: &'static str,
        /// Positive cases.
        positives: u64,
        /// Negative cases.
        negatives: u64,
        /// The least of each.
        least: u64,
    },
    /// More successes than trials.
    #[error("{what}: {successes} of {n}, expected at most all of them and n above 0")]
    Counts {
        /// The statistic.
        what: &'static str,
        /// Successes.
        successes: u64,
        /// Trials.
        n: u64,
    },
    /// An iteration found no answer (for example classes separated completely, so that a slope is infinite).
    #[error("{what}: no convergence after {steps} steps; the classes may be separated completely")]
    NotConverged {
        /// The statistic.
        what: &'static str,
        /// Steps taken.
        steps: u32,
    },
}

/// A count as a float: exact below 2^53, far above any number of cases.
#[expect(clippy::cast_precision_loss, reason = "counts of cases stay far below 2^53")]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

/// A length as a count.
pub(crate) const fn count(length: usize) -> u64 {
    length as u64
}

/// Refuses anything that is not a number; infinities pass, for a refused case ranks last.
pub(crate) fn check_scores(what: &'static str, scores: &[f64]) -> Result<(), StatisticsError> {
    match scores.iter().position(|score| score.is_nan()) {
        Some(index) => Err(StatisticsError::OutOfRange { what, index, expected: "a number", found: f64::NAN }),
        None => Ok(()),
    }
}

/// Refuses anything outside `0.0..=1.0`.
pub(crate) fn check_probabilities(what: &'static str, values: &[f64]) -> Result<(), StatisticsError> {
    if values.is_empty() {
        return Err(StatisticsError::Empty { what });
    }
    match values.iter().position(|value| !(0.0..=1.0).contains(value)) {
        Some(index) => Err(StatisticsError::OutOfRange { what, index, expected: "0 to 1", found: values[index] }),
        None => Ok(()),
    }
}
