//! The operations of training: values and every gradient against PyTorch's golden figures, bits against themselves.
//! Shapes: golden tensors are `[images, channels, (depth,) rows, columns]`, the operations' maps have channels last.

use super::textbook::{bits, flat, noise, tensor};
use candle_core::{Device, Tensor, Var};
use safetensors::SafeTensors;
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};
use vidimus_engine::ops::{convolution, linear, transposed_convolution};
use vidimus_engine::{Extent, Isa, Padding, Window, with_isa};

/// Largest difference, of the largest value of the golden tensor.
const TOLERANCE: f64 = 5e-6;

pub(crate) struct Golden {
    pub(crate) cases: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Tensor>,
}

impl Golden {
    pub(crate) fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/golden/ops.safetensors");
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let cases = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap().into_iter().collect();
        Self { cases, tensors }
    }

    pub(crate) fn get(&self, case: &str, part: &str) -> Option<&Tensor> {
        self.tensors.get(&format!("{case}.{part}"))
    }

    pub(crate) fn map(&self, case: &str, part: &str) -> Tensor {
        channels_last(self.get(case, part).unwrap())
    }
}

/// `[N, C, ..]` to `[N, .., C]`.
pub(crate) fn channels_last(x: &Tensor) -> Tensor {
    let mut order: Vec<usize> = (0..x.rank()).collect();
    order.remove(1);
    order.push(1);
    x.permute(order).unwrap().contiguous().unwrap()
}

pub(crate) fn extent(case: &Value, name: &str) -> Extent {
    let numbers = case[name].as_array().unwrap();
    [0, 1, 2].map(|axis| usize::try_from(numbers[axis].as_u64().unwrap()).unwrap())
}

fn window(case: &Value) -> Window {
    let padding = if case["same"] == true {
        Padding::Same
    } else {
        Padding::Fixed { before: extent(case, "before"), after: extent(case, "after") }
    };
    Window { stride: extent(case, "stride"), dilation: extent(case, "dilation"), padding }
}

pub(crate) fn close(name: &str, found: &Tensor, expected: &Tensor) {
    let (found, expected) = (flat(found), flat(expected));
    assert_eq!(found.len(), expected.len(), "{name}");
    let top = expected.iter().fold(1e-3f64, |top, v| top.max(f64::from(v.abs())));
    for (found, expected) in found.iter().zip(expected) {
        let off = (f64::from(*found) - f64::from(expected)).abs();
        assert!(off <= TOLERANCE * top, "{name}: {found}, expected {expected}");
    }
}

type Layer<'a> = &'a dyn Fn(&Tensor, &Tensor, Option<&Tensor>) -> Tensor;

/// Value and gradients of a layer with weight and bias against the golden case.
fn check_layer(golden: &Golden, name: &str, layer: Layer<'_>) {
    let x = Var::from_tensor(&golden.map(name, "x")).unwrap();
    let weight = Var::from_tensor(golden.get(name, "weight").unwrap()).unwrap();
    let bias = golden.get(name, "bias").map(|bias| Var::from_tensor(bias).unwrap());
    let y = layer(&x, &weight, bias.as_ref().map(|bias| bias.as_tensor()));
    close(&format!("{name}: y"), &y, &golden.map(name, "y"));
    let g = golden.map(name, "g").reshape(y.shape()).unwrap();
    let store = (&y * g).unwrap().sum_all().unwrap().backward().unwrap();
    close(&format!("{name}: dx"), store.get(&x).unwrap(), &golden.map(name, "dx"));
    close(&format!("{name}: dweight"), store.get(&weight).unwrap(), golden.get(name, "dweight").unwrap());
    if let Some(bias) = bias {
        close(&format!("{name}: dbias"), store.get(&bias).unwrap(), golden.get(name, "dbias").unwrap());
    }
}

/// Proves: REQ-ENG-110
#[test]
fn convolutions_and_their_gradients_agree_with_pytorch() {
    let golden = Golden::read();
    let mut checked = 0;
    for (name, case) in &golden.cases {
        let groups = || usize::try_from(case["groups"].as_u64().unwrap()).unwrap();
        match case["op"].as_str().unwrap() {
            "conv" => check_layer(&golden, name, &|x, w, b| convolution(x, w, b, &window(case), groups()).unwrap()),
            "conv-transposed" => check_layer(&golden, name, &|x, w, b| {
                transposed_convolution(x, w, b, &window(case), groups(), None).unwrap()
            }),
            "linear" if name == "linear" => check_layer(&golden, name, &|x, w, b| linear(x, w, b).unwrap()),
            _ => continue,
        }
        checked += 1;
    }
    assert!(checked >= 30, "{checked} cases");
}

/// Value and gradients, as bits, of a strided, a dilated and a transposed layer.
fn chain(images: usize) -> Vec<u32> {
    let shape = [3, 3, 11, 13, 5];
    let all = noise(1, shape.iter().product());
    let x = Tensor::from_slice(&all[..images * all.len() / 3], (images, 3, 11, 13, 5), &Device::Cpu).unwrap();
    let x = Var::from_tensor(&x).unwrap();
    let shapes: [[usize; 5]; 3] = [[50, 5, 3, 3, 3], [34, 50, 1, 3, 3], [34, 7, 2, 2, 2]];
    let w = shapes.map(|s| Var::from_tensor(&tensor(&noise(s[0] as u64, s.iter().product()), s)).unwrap());
    let y = convolution(&x, &w[0], None, &Window::volume(2, 1, 1), 1).unwrap();
    let y = convolution(&y, &w[1], None, &Window { dilation: [1, 2, 2], ..Window::plane(1, 2, 1) }, 1).unwrap();
    let y = transposed_convolution(&y, &w[2], None, &Window::volume(2, 0, 1), 1, None).unwrap();
    let store = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let mut found = bits(&flat(&y.narrow(0, 0, 1).unwrap()));
    found.extend(bits(&flat(&store.get(&x).unwrap().narrow(0, 0, 1).unwrap())));
    if images == 3 {
        w.iter().for_each(|w| found.extend(bits(&flat(store.get(w).unwrap()))));
    }
    found
}

/// Proves: REQ-ENG-111
#[test]
fn threads_batch_and_instruction_set_never_change_a_bit_of_a_training_step() {
    let expected = chain(3);
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for isa in Isa::available() {
            assert!(pool.install(|| with_isa(isa, || chain(3))).unwrap() == expected, "{threads} {isa:?}");
        }
    }
    let alone = chain(1);
    assert!(alone[..] == expected[..alone.len()]);
}

/// Proves: REQ-ENG-112
#[test]
fn a_layer_that_does_not_fit_is_refused_with_its_shapes() {
    let (x, w) = (tensor(&[0.0; 12], [1, 2, 2, 3]), tensor(&[0.0; 8], [2, 4, 1, 1]));
    let error = convolution(&x, &w, None, &Window::ONE, 1).unwrap_err().to_string();
    assert!(error.contains("convolution: input [1, 2, 2, 3] does not fit weight [2, 4, 1, 1]"), "{error}");
    let error = transposed_convolution(&x, &w, None, &Window::ONE, 1, None).unwrap_err().to_string();
    assert!(error.contains("transposed convolution: input [1, 2, 2, 3]"), "{error}");
    let wide = tensor(&[0.0; 18 * 3], [2, 3, 3, 3]);
    assert!(convolution(&x, &wide, None, &Window::ONE, 1).is_err());
}
