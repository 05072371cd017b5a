//! Gradients: against central differences of the textbook form in f64. A convolution is linear in each argument, so a
//! difference of any step is exact; the activation is checked by its rule.

use super::textbook::{Case, cases, flat, noise, tensor};
use candle_core::Var;
use proptest::prelude::*;
use vidimus_engine::{Activation, conv2d, depthwise_conv2d, global_mean};

fn differences(values: &[f32], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
    (0..values.len())
        .map(|at| {
            let mut moved = |step: f64| {
                values[at] += step;
                let found = loss(&values);
                values[at] -= step;
                found
            };
            (moved(0.5) - moved(-0.5)) / 1.0
        })
        .collect()
}

fn check(case: &Case) {
    let (x, w, b, r) = (case.x(), case.weight(), case.bias(), case.upstream());
    let vars = [tensor(&x, case.x_shape()), tensor(&w, case.w_shape()), tensor(&b, [case.outputs])]
        .map(|t| Var::from_tensor(&t).unwrap());
    let op = if case.depthwise { depthwise_conv2d } else { conv2d };
    let upstream = tensor(&r, case.y_shape());
    let gradients = |activation| {
        let y = op(&vars[0], &vars[1], &vars[2], case.stride, activation).unwrap();
        let passes = y.gt(0f32).unwrap().mul(&y.lt(6f32).unwrap()).unwrap();
        let store = y.mul(&upstream).unwrap().sum_all().unwrap().backward().unwrap();
        (vars.clone().map(|v| flat(store.get(&v).unwrap())), passes)
    };
    let (found, _) = gradients(Activation::None);
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let (xd, wd, bd) = (wide(&x), wide(&w), wide(&b));
    let dot = |y: Vec<f64>| y.iter().zip(&r).map(|(y, r)| y * f64::from(*r)).sum::<f64>();
    let expected = [
        differences(&x, |x| dot(case.forward_f64(x, &wd, &bd))),
        differences(&w, |w| dot(case.forward_f64(&xd, w, &bd))),
        differences(&b, |b| dot(case.forward_f64(&xd, &wd, b))),
    ];
    for (found, expected) in found.iter().zip(&expected) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 2e-3, "{found} {expected}");
        }
    }
    // With ReLU6: the gradients of the linear form, the upstream set to zero where the result is at a limit.
    let (active, passes) = gradients(Activation::Relu6);
    let masked = upstream.mul(&passes.to_dtype(candle_core::DType::F32).unwrap()).unwrap();
    let y = op(&vars[0], &vars[1], &vars[2], case.stride, Activation::None).unwrap();
    let store = y.mul(&masked).unwrap().sum_all().unwrap().backward().unwrap();
    for (found, var) in active.iter().zip(&vars) {
        for (found, expected) in found.iter().zip(flat(store.get(var).unwrap())) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}

fn small(case: Case) -> Case {
    Case { n: case.n.min(2), h: case.h.min(5), w: case.w.min(6), inputs: case.inputs % 19 + 1, ..case }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Proves: REQ-ENG-007
    #[test]
    fn convolution_gradients_equal_differences(case in cases(false)) {
        check(&Case { outputs: case.outputs % 18 + 1, ..small(case) });
    }

    /// Proves: REQ-ENG-007
    #[test]
    fn depthwise_gradients_equal_differences(case in cases(true)) {
        let case = small(case);
        check(&Case { outputs: case.inputs, ..case });
    }
}

/// Proves: REQ-ENG-007
#[test]
fn the_mean_spreads_its_gradient_evenly() {
    let x = Var::from_tensor(&tensor(&noise(1, 2 * 3 * 5 * 7), [2, 3, 5, 7])).unwrap();
    let r = tensor(&noise(2, 14), [2, 7]);
    let mean = global_mean(&x).unwrap();
    let plain = x.mean((1, 2)).unwrap();
    for (own, their) in flat(&mean).iter().zip(flat(&plain)) {
        assert!((own - their).abs() < 1e-6);
    }
    let [own, their] =
        [mean, plain].map(|y| flat(y.mul(&r).unwrap().sum_all().unwrap().backward().unwrap().get(&x).unwrap()));
    for (own, their) in own.iter().zip(their) {
        assert!((own - their).abs() < 1e-6);
    }
}

/// Proves: REQ-ENG-008
#[test]
fn a_frozen_argument_gets_no_gradient() {
    let x = tensor(&noise(1, 18), [1, 3, 3, 2]);
    let w = Var::from_tensor(&tensor(&noise(2, 6), [3, 2, 1, 1])).unwrap();
    let y = conv2d(&x, &w, &tensor(&[0.0; 3], [3]), 1, Activation::None).unwrap();
    let store = y.sum_all().unwrap().backward().unwrap();
    assert!(store.get(&x).is_none() && store.get(&w).is_some());
}
