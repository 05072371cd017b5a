//! Equal bits everywhere, and NaN.

use super::networks::{dense_net, light_net, residual_net, u_net};
use super::{Net, noise};
use crate::graph::{Pool, Shape, Window};
use crate::{Isa, with_isa};

/// Proves: REQ-ENG-057
#[test]
fn instruction_set_threads_and_batch_never_change_a_bit() {
    for (channels, (net, wanted)) in [(3, residual_net()), (1, dense_net()), (1, u_net()), (3, light_net())] {
        net.check_everywhere(Shape::plane(channels, 40, 36), &wanted);
    }
}

/// Proves: REQ-ENG-057
#[test]
fn every_form_of_a_convolution_has_the_same_bits_everywhere() {
    for (inputs, outputs, size, kernel, stride, dilation) in [
        (16, 33, [30, 29], 3, 1, 1),
        (144, 144, [14, 15], 3, 1, 1),
        (5, 70, [9, 31], 5, 2, 1),
        (2, 17, [12, 12], 7, 3, 1),
        (40, 40, [7, 7], 3, 1, 1),
        (33, 5, [11, 17], 3, 1, 2),
        (70, 40, [13, 5], 1, 1, 1),
        (70, 40, [13, 5], 1, 2, 1),
    ] {
        let (mut net, x) = Net::new();
        let y = net.conv(x, [outputs, inputs, kernel, kernel], Window::plane(stride, kernel / 2, dilation), 1);
        net.check_everywhere(Shape::plane(inputs, size[0], size[1]), &[y]);
    }
}

/// Proves: REQ-ENG-058
#[test]
fn a_nan_reaches_every_value_that_depends_on_it() {
    for form in [[16, 30], [5, 9]] {
        let [channels, size] = form;
        let (mut net, x) = Net::new();
        let pooled = net.graph.max_pool(x, Pool::plane(3, 2, 1));
        let y = net.conv(pooled, [20, channels, 1, 1], Window::ONE, 1);
        let y = net.relu(y);
        let wide = net.conv(x, [20, channels, 3, 3], Window::plane(1, 1, 1), 1);
        let wide = net.relu(wide);
        let mean = net.graph.global_mean(y);
        let input = Shape::plane(channels, size, size);
        let plan = net.plan(input, &[mean, wide]);
        for isa in Isa::available() {
            for at in [0, 1, size, size * size - 1] {
                let mut x = noise(1, input.len());
                x[at] = f32::NAN;
                let values = with_isa(isa, || plan.run(&x, 1).unwrap()).unwrap();
                assert!(values[0].values.iter().all(|v| v.is_nan()), "{isa:?}: the mean");
                let space = size * size;
                assert!((0..20).all(|channel| values[1].values[channel * space + at].is_nan()), "{isa:?}: {at}");
            }
        }
    }
}
