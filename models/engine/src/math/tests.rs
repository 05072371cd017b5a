//! The functions against the C library's f64 forms, and one instruction set against another.

use super::vector;
use crate::graph::Activation;
use crate::isa::Isa;
use crate::lanes::{LANES, Lanes, instances};
use proptest::prelude::*;

/// Distance of `found` from `exact` in units of the last place of `exact` as f32 (of the smallest normal number at
/// least).
fn units(found: f32, exact: f64) -> f64 {
    let size = exact.abs().max(f64::from(f32::MIN_POSITIVE));
    (f64::from(found) - exact).abs() / (2.0f64).powi(size.log2().floor() as i32 - 23)
}

fn worst(function: fn(f32) -> f32, exact: fn(f64) -> f64, from: f32, to: f32) -> f64 {
    let count = 400_000u32;
    (0..=count)
        .map(|at| from + (to - from) * (at as f32 / count as f32))
        .map(|x| units(function(x), exact(f64::from(x))))
        .fold(0.0, f64::max)
}

/// Proves: REQ-ENG-080
#[test]
fn exponentials_are_within_two_units_and_their_relatives_within_four() {
    assert!(worst(super::exp, libm::exp, -87.3, 88.72) <= 2.0);
    assert!(worst(super::exp, libm::exp, -1.0, 1.0) <= 2.0);
    assert!(worst(super::expm1_below, libm::expm1, -30.0, -1e-6) <= 2.0);
    assert!(worst(super::sigmoid, |x| 1.0 / (1.0 + libm::exp(-x)), -80.0, 30.0) <= 4.0);
    assert!(worst(super::tanh, libm::tanh, -10.0, 10.0) <= 4.0);
    assert!(worst(super::erf, libm::erf, -5.0, 5.0) <= 4.0);
}

/// Proves: REQ-ENG-080
#[test]
fn limits_are_met_and_nan_passes() {
    let inf = f32::INFINITY;
    let same = |found: f32, expected: f32| assert_eq!(found.to_bits(), expected.to_bits(), "{found} {expected}");
    for (x, y) in [(-inf, 0.0), (inf, inf), (0.0, 1.0), (-0.0, 1.0), (89.0, inf), (-88.0, 0.0), (-1e30, 0.0)] {
        same(super::exp(x), y);
    }
    assert!(super::exp(88.722).is_finite() && super::exp(88.73).is_infinite());
    same(super::expm1_below(-inf), -1.0);
    for (function, low, high) in
        [(super::sigmoid as fn(f32) -> f32, 0.0, 1.0), (super::tanh, -1.0, 1.0), (super::erf, -1.0, 1.0)]
    {
        same(function(-inf), low);
        same(function(inf), high);
        same(function(200.0), high);
        assert!(function(f32::NAN).is_nan());
    }
    assert!(super::exp(f32::NAN).is_nan() && super::expm1_below(f32::NAN).is_nan());
}

/// Applies what `what` says to sixteen values.
#[inline(always)]
unsafe fn body<V: Lanes, const R: usize, const N: usize>(what: usize, x: &[f32; LANES], y: &mut [f32; LANES]) {
    // SAFETY: the arrays hold sixteen values; the instance has the instructions.
    unsafe {
        let v = V::load(x.as_ptr());
        let one = V::splat(1.0);
        let v = match what {
            0 => vector::exp(v),
            1 => vector::expm1_below(V::splat(0.0).if_greater(v, v, V::splat(0.0).sub(v))),
            2 => vector::activate(Activation::Elu(0.7), v),
            3 => vector::activate(Activation::Sigmoid, v),
            4 => vector::activate(Activation::Tanh, v),
            5 => vector::activate(Activation::Gelu, v),
            6 => vector::activate(Activation::Silu, v),
            7 => vector::activate(Activation::LeakyRelu(0.1), v),
            8 => one.div(v).sub(v).mul(v),
            9 => v.if_greater(one, v, one).if_nan(one, v),
            10 => v.relu(),
            _ => v.relu6(),
        };
        v.store(y.as_mut_ptr());
    }
}
instances!(apply = body(what: usize, x: &[f32; LANES], y: &mut [f32; LANES]));

fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => -20.0f32..20.0,
        2 => -130.0f32..130.0,
        1 => any::<u32>().prop_map(f32::from_bits),
        1 => prop::sample::select(vec![0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, 88.72, -87.33]),
    ]
}

proptest! {
    /// Proves: REQ-ENG-080
    #[test]
    fn every_instruction_set_gives_the_same_bits(x in prop::collection::vec(number(), LANES), what in 0usize..12) {
        let x: [f32; LANES] = x.try_into().unwrap();
        let run = |isa| {
            let mut y = [0.0; LANES];
            apply(isa, what, &x, &mut y);
            // which NaN it is, is nobody's promise
            y.map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() })
        };
        let plain = run(Isa::Scalar);
        for isa in Isa::available() {
            prop_assert_eq!(run(isa), plain);
        }
        if what == 0 {
            let alone = x.map(|v| { let y = super::exp(v); if y.is_nan() { f32::NAN.to_bits() } else { y.to_bits() } });
            prop_assert_eq!(alone, plain);
        }
    }
}
