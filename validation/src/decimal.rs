//! Decimals of fixed digits as text: canonical JSON has no floats, so figures travel as `dec` of AUDIT_LOG section 2.
//! Rounding: to nearest, ties to even, of the exact binary value (the rule of the standard library's formatter).

/// Digits after the point of every ratio, probability and score of a verdict.
pub(crate) const DIGITS: usize = 6;

/// `value` with `digits` digits after the point, never `-0.0..`; `None` where it is not finite.
pub(crate) fn fixed(value: f64, digits: usize) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let text = format!("{value:.digits$}");
    let is_zero = text.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'));
    Some(if is_zero { text.trim_start_matches('-').to_owned() } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-VAL-016
    #[test]
    fn a_decimal_has_fixed_digits_and_no_negative_zero() {
        for (value, expected) in [
            (0.5, Some("0.500000")),
            (-0.000_000_04, Some("0.000000")),
            (-1.25, Some("-1.250000")),
            (2.0 / 3.0, Some("0.666667")),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(fixed(value, DIGITS).as_deref(), expected);
        }
    }
}
