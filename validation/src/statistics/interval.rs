//! An interval with the confidence it was made for; no limit travels without it.

use super::StatisticsError;

/// A two-sided confidence level strictly between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Confidence(f64);

impl Confidence {
    /// The usual 95 %.
    pub const NINETY_FIVE: Self = Self(0.95);

    /// `level` must lie strictly between 0 and 1.
    pub fn new(level: f64) -> Result<Self, StatisticsError> {
        if level > 0.0 && level < 1.0 {
            Ok(Self(level))
        } else {
            Err(StatisticsError::OutOfRange {
                what: "confidence",
                index: 0,
                expected: "more than 0 and less than 1",
                found: level,
            })
        }
    }

    /// The level, for example 0.95.
    pub const fn level(self) -> f64 {
        self.0
    }

    /// What lies outside the interval on each side, for example 0.025.
    pub fn tail(self) -> f64 {
        (1.0 - self.0) / 2.0
    }

    /// The normal quantile of the upper limit, for example 1.959964.
    pub fn z(self) -> f64 {
        -super::normal_quantile(self.tail())
    }
}

/// A two-sided interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower limit.
    pub low: f64,
    /// Upper limit.
    pub high: f64,
    /// The level that both limits were made for.
    pub confidence: Confidence,
}

impl Interval {
    /// The normal interval around `estimate`, cut to `within`.
    pub(crate) fn normal(estimate: f64, standard_error: f64, confidence: Confidence, within: (f64, f64)) -> Self {
        let half = confidence.z() * standard_error;
        Self {
            low: (estimate - half).clamp(within.0, within.1),
            high: (estimate + half).clamp(within.0, within.1),
            confidence,
        }
    }

    /// `high - low`.
    pub fn width(&self) -> f64 {
        self.high - self.low
    }
}
