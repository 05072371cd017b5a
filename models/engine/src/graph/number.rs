//! The two number types that a graph can be run in plainly: f32 with the kernels' own functions, and f64 as the
//! textbook.
//! Units: none. Every function is one rounding of f32 or f64, or a fixed list of such; so f32 has the kernels' bits.
//! Errors: none; NaN passes.

use crate::math;

/// A floating-point number.
pub trait Number: Copy + PartialOrd + Send + Sync + 'static {
    /// Rounded from f64.
    fn of(value: f64) -> Self;
    /// From f32, exactly.
    fn from_f32(value: f32) -> Self;
    /// Rounded to f32.
    fn to_f32(self) -> f32;
    /// `self · b + c`, rounded once.
    fn fma(self, b: Self, c: Self) -> Self;
    /// Sum.
    fn plus(self, b: Self) -> Self;
    /// Difference.
    fn minus(self, b: Self) -> Self;
    /// Product.
    fn times(self, b: Self) -> Self;
    /// Quotient.
    fn over(self, b: Self) -> Self;
    /// Square root.
    fn root(self) -> Self;
    /// Exponential.
    fn exp(self) -> Self;
    /// `exp(x) - 1` for x not above 0, without the loss near 0.
    fn expm1_below(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
    /// Logistic function.
    fn sigmoid(self) -> Self;
    /// Whether it is not a number.
    fn is_nan(self) -> bool;
}

macro_rules! number {
    ($type:ty, $exp:expr, $expm1:expr, $tanh:expr, $erf:expr, $sigmoid:expr) => {
        impl Number for $type {
            fn of(value: f64) -> Self {
                value as Self
            }
            fn from_f32(value: f32) -> Self {
                value as Self
            }
            fn to_f32(self) -> f32 {
                self as f32
            }
            fn fma(self, b: Self, c: Self) -> Self {
                self.mul_add(b, c)
            }
            fn plus(self, b: Self) -> Self {
                self + b
            }
            fn minus(self, b: Self) -> Self {
                self - b
            }
            fn times(self, b: Self) -> Self {
                self * b
            }
            fn over(self, b: Self) -> Self {
                self / b
            }
            fn root(self) -> Self {
                self.sqrt()
            }
            fn exp(self) -> Self {
                $exp(self)
            }
            fn expm1_below(self) -> Self {
                $expm1(self)
            }
            fn tanh(self) -> Self {
                $tanh(self)
            }
            fn erf(self) -> Self {
                $erf(self)
            }
            fn sigmoid(self) -> Self {
                $sigmoid(self)
            }
            fn is_nan(self) -> bool {
                <$type>::is_nan(self)
            }
        }
    };
}

number!(f64, libm::exp, libm::expm1, libm::tanh, libm::erf, |x: f64| 1.0 / (1.0 + libm::exp(-x)));
number!(f32, math::exp, math::expm1_below, math::tanh, math::erf, math::sigmoid);
