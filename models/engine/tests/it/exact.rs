//! Values: bit for bit the textbook's, on every instruction set, thread count and batch.

use super::textbook::{Case, bits, cases, flat, noise, relu6, tensor};
use candle_core::{Device, Tensor};
use proptest::prelude::*;
use vidimus_engine::{Activation, Isa, conv2d, depthwise_conv2d, global_mean, pointwise_conv2d, with_isa};

fn run(case: &Case, activation: Activation) -> Tensor {
    let (x, w) = (tensor(&case.x(), case.x_shape()), tensor(&case.weight(), case.w_shape()));
    let b = tensor(&case.bias(), [case.outputs]);
    let op = if case.depthwise { depthwise_conv2d } else { conv2d };
    op(&x, &w, &b, case.stride, activation).unwrap()
}

fn check(case: &Case) {
    let sums = case.forward_f32(&case.x(), &case.weight(), &case.bias());
    let active: Vec<f32> = sums.iter().map(|&v| relu6(v)).collect();
    for isa in Isa::available() {
        for (activation, expected) in [(Activation::None, &sums), (Activation::Relu6, &active)] {
            let y = with_isa(isa, || run(case, activation)).unwrap();
            assert_eq!(y.dims(), case.y_shape());
            assert_eq!(bits(&flat(&y)), bits(expected), "{isa:?} {activation:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Proves: REQ-ENG-002
    #[test]
    fn a_convolution_has_the_textbooks_bits_on_every_instruction_set(case in cases(false)) {
        check(&case);
    }

    /// Proves: REQ-ENG-002
    #[test]
    fn a_depthwise_convolution_has_the_textbooks_bits_on_every_instruction_set(case in cases(true)) {
        check(&case);
    }

    /// Proves: REQ-ENG-003
    #[test]
    fn plain_candle_agrees_where_its_padding_is_the_same(mut case in cases(false), depthwise in any::<bool>()) {
        case.stride = 1;
        case.depthwise = depthwise;
        case.outputs = if depthwise { case.inputs } else { case.outputs };
        let x = tensor(&case.x(), case.x_shape()).permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        let groups = if depthwise { case.inputs } else { 1 };
        let theirs = x.conv2d(&tensor(&case.weight(), case.w_shape()), case.k / 2, 1, 1, groups).unwrap();
        let theirs = theirs.broadcast_add(&tensor(&case.bias(), [1, case.outputs, 1, 1])).unwrap();
        let theirs = flat(&theirs.permute((0, 2, 3, 1)).unwrap());
        for (own, their) in flat(&run(&case, Activation::None)).iter().zip(&theirs) {
            prop_assert!((own - their).abs() <= 2e-4, "{own} {their}");
        }
    }
}

/// Values and gradients of a small chain of all operations, as bits.
fn chain(images: usize) -> Vec<u32> {
    let dev = Device::Cpu;
    let x = noise(5, 3 * 9 * 11 * 24);
    let x = Tensor::from_slice(&x[..images * 9 * 11 * 24], (images, 9, 11, 24), &dev).unwrap();
    let x = candle_core::Var::from_tensor(&x).unwrap();
    let w = [(40, 24 * 9), (40, 9), (56, 40)]
        .map(|(o, d)| candle_core::Var::from_tensor(&tensor(&noise((o + d) as u64, o * d), [o, d])).unwrap());
    let bias = |n: usize| tensor(&noise(n as u64, n), [n]);
    let y = conv2d(&x, &w[0].reshape((40, 24, 3, 3)).unwrap(), &bias(40), 2, Activation::Relu6).unwrap();
    let y = depthwise_conv2d(&y, &w[1].reshape((40, 1, 3, 3)).unwrap(), &bias(40), 1, Activation::Relu6).unwrap();
    let y = pointwise_conv2d(&y, &w[2], &bias(56), Activation::None).unwrap();
    let mean = global_mean(&y).unwrap();
    let grads = mean.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let mut all = bits(&flat(&mean.narrow(0, 0, 1).unwrap()));
    all.extend(bits(&flat(&grads.get(&x).unwrap().narrow(0, 0, 1).unwrap())));
    if images == 3 {
        w.iter().for_each(|w| all.extend(bits(&flat(grads.get(w).unwrap()))));
    }
    all
}

/// Proves: REQ-ENG-004
#[test]
fn thread_count_and_instruction_set_never_change_a_bit() {
    let expected = chain(3);
    for threads in [1, 2, 3, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for isa in Isa::available() {
            assert!(pool.install(|| with_isa(isa, || chain(3))).unwrap() == expected, "{threads} {isa:?}");
        }
    }
}

/// Proves: REQ-ENG-004
#[test]
fn an_image_alone_has_the_bits_it_has_in_a_batch() {
    let (alone, batch) = (chain(1), chain(3));
    assert!(batch[..alone.len()] == alone[..]);
}

/// Proves: REQ-ENG-005
#[test]
fn a_nan_is_never_hidden() {
    for isa in Isa::available() {
        let x = tensor(&[f32::NAN; 16], [1, 1, 1, 16]);
        let (w, b) = (tensor(&[1.0; 16], [16, 1, 1, 1]), tensor(&[0.0; 16], [16]));
        let y = with_isa(isa, || depthwise_conv2d(&x, &w, &b, 1, Activation::Relu6).unwrap()).unwrap();
        assert!(flat(&y).iter().all(|v| v.is_nan()), "{isa:?}");
    }
}

/// Proves: REQ-ENG-006
#[test]
fn arguments_that_do_not_fit_are_refused_with_their_shapes() {
    let x = tensor(&[0.0; 12], [1, 2, 2, 3]);
    let (w, b) = (tensor(&[0.0; 8], [2, 4, 1, 1]), tensor(&[0.0; 2], [2]));
    let error = conv2d(&x, &w, &b, 1, Activation::None).unwrap_err().to_string();
    assert!(error.contains("conv2d: input [1, 2, 2, 3] does not fit weight [2, 4, 1, 1]"), "{error}");
    assert!(depthwise_conv2d(&x, &w, &b, 1, Activation::None).is_err());
    let strideless = conv2d(&x, &tensor(&[0.0; 3], [1, 3, 1, 1]), &tensor(&[0.0], [1]), 0, Activation::None);
    assert!(strideless.is_err());
}
