//! The operations of training: values and every gradient against PyTorch's golden figures, bits against themselves.
//! Shapes: golden tensors are `[images, channels, (depth,) rows, columns]`, the operations' maps have channels last.

use super::textbook::{bits, flat, noise, tensor};
use candle_core::{Device, Tensor, Var};
use proptest::prelude::*;
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
    let apart = Var::from_tensor(&tensor(&noise(9, 34 * 9), [34, 1, 1, 3, 3])).unwrap();
    let y = convolution(&x, &w[0], None, &Window::volume(2, 1, 1), 1).unwrap();
    let y = convolution(&y, &w[1], None, &Window { dilation: [1, 2, 2], ..Window::plane(1, 2, 1) }, 1).unwrap();
    let y = convolution(&y, &apart, None, &Window::plane(2, 1, 1), 34).unwrap();
    let y = transposed_convolution(&y, &w[2], None, &Window::volume(2, 0, 1), 1, None).unwrap();
    let store = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let mut found = bits(&flat(&y.narrow(0, 0, 1).unwrap()));
    found.extend(bits(&flat(&store.get(&x).unwrap().narrow(0, 0, 1).unwrap())));
    if images == 3 {
        w.iter().chain([&apart]).for_each(|w| found.extend(bits(&flat(store.get(w).unwrap()))));
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

/// A plane convolution of any odd size.
#[derive(Clone, Copy, Debug)]
struct Plane {
    images: usize,
    rows: usize,
    columns: usize,
    groups: usize,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    window: (usize, usize, usize),
    seed: u64,
}

fn planes() -> impl Strategy<Value = Plane> {
    let sizes = (1..3usize, 5..19usize, 5..19usize);
    let channels = (1..4usize, 1..20usize, 1..20usize);
    (sizes, channels, 1..4usize, (1..3usize, 0..3usize, 1..3usize), any::<u64>()).prop_map(
        |((images, rows, columns), (groups, inputs, outputs), kernel, window, seed)| {
            let (inputs, outputs) = (groups * inputs, groups * outputs);
            Plane { images, rows, columns, groups, inputs, outputs, kernel, window, seed }
        },
    )
}

impl Plane {
    fn x(&self) -> Tensor {
        let dims = [self.images, self.rows, self.columns, self.inputs];
        tensor(&noise(self.seed, dims.iter().product()), dims)
    }

    fn weight(&self) -> Tensor {
        let dims = [self.outputs, self.inputs / self.groups, self.kernel, self.kernel];
        tensor(&noise(self.seed ^ 1, dims.iter().product()), dims)
    }

    fn window(&self) -> Window {
        Window::plane(self.window.0, self.window.1, self.window.2)
    }

    /// The rule, word for word: kernel rows in the image, kernel columns with +0 beside it, channels of the group.
    fn textbook(&self, x: &[f32], w: &[f32], [rows_out, columns_out]: [usize; 2]) -> Vec<f32> {
        let (stride, padding, dilation) = self.window;
        let (inputs, outputs) = (self.inputs / self.groups, self.outputs / self.groups);
        let at = |out: usize, tap: usize, length: usize| {
            (out * stride + tap * dilation).checked_sub(padding).filter(|&at| at < length)
        };
        let mut y = Vec::new();
        for place in 0..self.images * rows_out * columns_out {
            let (image, row, column) =
                (place / (rows_out * columns_out), place / columns_out % rows_out, place % columns_out);
            for output in 0..self.outputs {
                let mut sum = 0f32;
                for i in 0..self.kernel {
                    let Some(r) = at(row, i, self.rows) else { continue };
                    for j in 0..self.kernel {
                        for input in 0..inputs {
                            let channel = output / outputs * inputs + input;
                            let from = at(column, j, self.columns)
                                .map(|c| ((image * self.rows + r) * self.columns + c) * self.inputs + channel);
                            let w = w[((output * inputs + input) * self.kernel + i) * self.kernel + j];
                            sum = from.map_or(0.0, |from| x[from]).mul_add(w, sum);
                        }
                    }
                }
                y.push(sum);
            }
        }
        y
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Proves: REQ-ENG-120
    #[test]
    fn a_convolution_of_any_size_has_the_textbooks_bits_on_every_instruction_set(plane in planes()) {
        // one channel a group is a depthwise convolution, whose rule leaves columns outside out: the same but for -0
        let (x, w) = (plane.x(), plane.weight());
        for isa in Isa::available() {
            let y = with_isa(isa, || convolution(&x, &w, None, &plane.window(), plane.groups).unwrap()).unwrap();
            let expected = plane.textbook(&flat(&x), &flat(&w), [y.dim(1).unwrap(), y.dim(2).unwrap()]);
            let (found, expected) = (flat(&y), expected);
            let both_zero = |a: &f32, b: &f32| a.abs().to_bits() == 0 && b.abs().to_bits() == 0;
            prop_assert!(found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits() || both_zero(a, b)));
        }
    }

    /// Proves: REQ-ENG-121
    #[test]
    fn plain_candle_agrees_in_value_and_gradient_where_it_is_right(mut plane in planes()) {
        // Candle's input gradient at stride 2 is an error where height and width differ in parity
        plane.columns = plane.rows;
        let window = plane.window;
        let x = Var::from_tensor(&plane.x()).unwrap();
        let w = Var::from_tensor(&plane.weight()).unwrap();
        let own = convolution(&x, &w, None, &plane.window(), plane.groups).unwrap();
        let planes = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        let theirs = planes.conv2d(&w, window.1, window.0, window.2, plane.groups).unwrap();
        let theirs = theirs.permute((0, 2, 3, 1)).unwrap();
        close("value", &own, &theirs);
        let g = tensor(&noise(plane.seed ^ 2, own.elem_count()), [own.elem_count()]).reshape(own.shape()).unwrap();
        let [own, theirs] = [own, theirs].map(|y| (y * &g).unwrap().sum_all().unwrap().backward().unwrap());
        close("input", own.get(&x).unwrap(), theirs.get(&x).unwrap());
        close("weight", own.get(&w).unwrap(), theirs.get(&w).unwrap());
    }
}
