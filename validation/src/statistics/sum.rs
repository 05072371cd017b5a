//! Compensated sums: the rounding error of each addition is kept and added at the end.
//! Source: Neumaier 1974 (improved Kahan-Babuska).

/// A running sum with its compensation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    total: f64,
    compensation: f64,
}

impl Sum {
    /// Adds `value`.
    pub fn add(&mut self, value: f64) {
        let next = self.total + value;
        self.compensation +=
            if self.total.abs() >= value.abs() { (self.total - next) + value } else { (value - next) + self.total };
        self.total = next;
    }

    /// The sum so far.
    pub fn value(self) -> f64 {
        self.total + self.compensation
    }
}

impl FromIterator<f64> for Sum {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut sum = Self::default();
        for value in values {
            sum.add(value);
        }
        sum
    }
}

/// The mean of `values`; `None` for none.
pub fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    Some(values.iter().copied().collect::<Sum>().value() / super::float(super::count(values.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-VAL-001
    #[test]
    fn a_compensated_sum_keeps_what_a_plain_sum_loses() {
        let values = [1.0, 1e100, 1.0, -1e100];
        let sum = values.into_iter().collect::<Sum>().value();
        assert!((sum - 2.0).abs() < 1e-12, "{sum}");
    }
}
