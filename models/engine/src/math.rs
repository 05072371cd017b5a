//! Exponential and its relatives as fixed lists of operations, so that they have the same bits on every instruction
//! set, one number at a time or sixteen; no C library is asked.
//! Units: none. `exp` is within 2 units in the last place; results below 2^-126 are +0, so no slow denormal arises.
//! `tanh`, `sigmoid` and `erf` are within 4 units. NaN passes; infinities give the limits.
//! Errors: none. `unsafe` as in `lanes`: a vector form may only run where the processor has its instructions.
//! Source: reduction by whole powers of two with ln 2 in two parts (Cody and Waite 1980); the coefficients are own
//! minimax fits over the ranges given.

use crate::graph::Activation;
use crate::lanes::{LANES, Lanes};

/// 1.5 · 2^23: adding and taking it away again rounds to a whole number.
pub(crate) const WHOLE: f32 = 12_582_912.0;
/// ln 2, its first 9 bits: products with whole numbers up to 2^15 are exact.
const LN2_HIGH: f32 = 0.693_359_4;
/// The rest.
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Below, exp is less than 2^-126.
const LOWEST: f32 = -87.336_54;
/// Above, exp is infinite.
const HIGHEST: f32 = 88.722_84;
/// `(exp(r) - 1 - r) / r²` over |r| <= 0.35, highest power first.
const EXP: [f32; 6] = [0.000_199_193_8, 0.001_394_722_5, 0.008_333_263, 0.041_666_254, 0.166_666_67, 0.5];
/// `erf(x) / x - 1` as a polynomial in x² over |x| <= 0.93, highest power first.
const ERF_NEAR: [f32; 6] =
    [-0.000_597_689_36, 0.004_990_98, -0.026_765_566, 0.112_818_025, -0.376_124_95, 0.128_379_15];
/// `ln(1 - erf(t)) / t + 1` over 0.93 <= t <= 4, highest power first.
const ERF_FAR: [f32; 7] =
    [-1.188_546_1e-5, 0.000_329_309_32, -0.003_668_724_8, 0.023_817_196, -0.106_300_37, -0.635_113_24, -0.128_657_79];
/// Where the two meet.
const ERF_BORDER: f32 = 0.927_734_4;

/// One number's vector.
type One = [f32; 1];

macro_rules! one_number {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(x: f32) -> f32 {
            // SAFETY: portable lanes need no special instructions.
            let [y] = unsafe { vector::$name::<One>([x]) };
            y
        }
    )*};
}

one_number!(
    /// The exponential.
    exp,
    /// `exp(x) - 1` for x not above 0 (or NaN), without the loss near 0.
    expm1_below,
    /// The logistic function.
    sigmoid,
    /// The hyperbolic tangent.
    tanh,
    /// The error function.
    erf
);

pub(crate) mod vector {
    //! The functions over the lanes of a vector.
    use super::{ERF_BORDER, ERF_FAR, ERF_NEAR, EXP, HIGHEST, LANES, LN2_HIGH, LN2_LOW, LOWEST, Lanes, WHOLE};

    #[inline(always)]
    unsafe fn polynomial<V: Lanes, const N: usize>(x: V, coefficients: [f32; N]) -> V {
        // SAFETY: the caller vouches for the vector's instructions.
        unsafe {
            let mut sum = V::splat(coefficients[0]);
            for &coefficient in &coefficients[1..] {
                sum = sum.fma(x, V::splat(coefficient));
            }
            sum
        }
    }

    /// The power of two `n` nearest to exp(x) and `exp(x) / 2^n - 1`.
    #[inline(always)]
    unsafe fn reduced<V: Lanes>(x: V) -> (V, V) {
        // SAFETY: the caller vouches for the vector's instructions.
        unsafe {
            let whole = V::splat(WHOLE);
            let n = x.fma(V::splat(std::f32::consts::LOG2_E), whole).sub(whole);
            let r = n.fma(V::splat(-LN2_LOW), n.fma(V::splat(-LN2_HIGH), x));
            (n, polynomial(r, EXP).fma(r.mul(r), r))
        }
    }

    #[inline(always)]
    pub(crate) unsafe fn exp<V: Lanes>(x: V) -> V {
        // SAFETY: the caller vouches for the vector's instructions.
        unsafe {
            let (low, high) = (V::splat(LOWEST), V::splat(HIGHEST));
            // a NaN becomes a bound here and comes back in the end
            let inside = high.if_greater(x, x, high);
            let inside = low.if_greater(inside, low, inside);
            let (n, rest) = reduced(inside);
            let y = rest.add(V::splat(1.0)).scale2(n);
            let y = low.if_greater(x, V::splat(0.0), y);
            let y = x.if_greater(high, V::splat(f32::INFINITY), y);
            x.if_nan(x, y)
        }
    }

    #[inline(always)]
    pub(crate) unsafe fn expm1_below<V: Lanes>(x: V) -> V {
        // SAFETY: the caller vouches for the vector's instructions.
        unsafe {
            let low = V::splat(-64.0);
            let (n, rest) = reduced(low.if_greater(x, low, x));
            let power = n.pow2();
            let y = power.fma(rest, power.sub(V::splat(1.0)));
            x.if_nan(x, y)
        }
    }

    #[inline(always)]
    pub(crate) unsafe fn sigmoid<V: Lanes>(x: V) -> V {
        // SAFETY: the caller vouches for the vector's instructions.
        unsafe {
            let one = V::splat(1.0);
            one.div(one.add(exp(V::splat(0.0).sub(x))))
        }
    }

    #[inline(always)]
    pub(crate) unsafe fn tanh<V: Lanes>(x: V) -> V {
        // SAFETY: the caller vouches for the vector's instructions.
        unsafe {
            let zero = V::splat(0.0);
            let size = zero.if_greater(x, zero.sub(x), x);
            let less = expm1_below(size.mul(V::splat(-2.0)));
            let y = zero.sub(less).div(less.add(V::splat(2.0)));
            zero.if_greater(x, zero.sub(y), y)
        }
    }

    #[inline(always)]
    pub(crate) unsafe fn erf<V: Lanes>(x: V) -> V {
        // SAFETY: the caller vouches for the vector's instructions.
        unsafe {
            let (zero, four) = (V::splat(0.0), V::splat(4.0));
            let size = zero.if_greater(x, zero.sub(x), x);
            let near = polynomial(x.mul(x), ERF_NEAR).fma(x, x);
            // beyond 4 it is 1 in f32
            let t = size.if_greater(four, four, size);
            let far = zero.sub(expm1_below(polynomial(t, ERF_FAR).fma(t, zero.sub(t))));
            let far = zero.if_greater(x, zero.sub(far), far);
            size.if_greater(V::splat(ERF_BORDER), far, near)
        }
    }

    /// An activation, as `graph::plain` has it.
    #[inline(always)]
    pub(crate) unsafe fn activate<V: Lanes>(kind: super::Activation, x: V) -> V {
        use super::Activation as A;
        // SAFETY: the caller vouches for the vector's instructions.
        unsafe {
            let zero = V::splat(0.0);
            match kind {
                A::Relu => x.relu(),
                A::Relu6 => x.relu6(),
                A::LeakyRelu(slope) => zero.if_greater(x, x.mul(V::splat(slope)), x),
                A::Elu(alpha) => zero.if_greater(x, expm1_below(x).mul(V::splat(alpha)), x),
                A::Sigmoid => sigmoid(x),
                A::Tanh => tanh(x),
                A::Silu => x.mul(sigmoid(x)),
                A::Gelu => {
                    let half = x.mul(V::splat(0.5));
                    half.fma(erf(x.mul(V::splat(std::f32::consts::FRAC_1_SQRT_2))), half)
                }
            }
        }
    }

    /// Softmax in place over `channels` vectors that lie one after another: the largest is taken off, the exponentials
    /// are added in channel order, each is divided by the sum.
    ///
    /// # Safety
    /// `channels` vectors lie at `at`; the processor has the vector's instructions.
    #[inline(always)]
    pub(crate) unsafe fn softmax<V: Lanes>(at: *mut f32, channels: usize) {
        // SAFETY: the caller vouches for the vector's instructions and for the addresses.
        unsafe {
            let at = |channel: usize| at.add(channel * LANES);
            let mut top = V::load(at(0));
            for channel in 1..channels {
                let v = V::load(at(channel));
                top = v.if_greater(top, v, top);
            }
            let mut total = V::splat(0.0);
            for channel in 0..channels {
                let power = exp(V::load(at(channel)).sub(top));
                power.store(at(channel));
                total = total.add(power);
            }
            for channel in 0..channels {
                V::load(at(channel)).div(total).store(at(channel));
            }
        }
    }
}

#[cfg(test)]
mod tests;
