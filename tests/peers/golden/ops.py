"""Golden figures of single layers: `NAME.x` (input), weights, `NAME.y` (output), `NAME.g` (upstream gradient) and the
gradients of sum(y * g): `NAME.dx` and, for a weight called W, `NAME.dW`. Computed in f64 by PyTorch, kept as f32."""
import torch
import torch.nn.functional as F

from store import made, write

GENERATOR = torch.Generator().manual_seed(15)
TENSORS, CASES = {}, {}


def rand(*shape, **how):
    return made(GENERATOR, *shape, **how)


def case(name, op, x, weights, run, **attributes):
    """Runs one layer forward and backward; `run(x, weights)` gives y."""
    x = x.clone().requires_grad_()
    leaves = {key: value.clone().requires_grad_() for key, value in weights.items()}
    y = run(x, leaves)
    g = rand(*y.shape)
    learned = [value for key, value in leaves.items() if not key.startswith("running")]
    gradients = torch.autograd.grad(y, [x, *learned], g, allow_unused=True)
    TENSORS.update({f"{name}.x": x, f"{name}.y": y, f"{name}.g": g, f"{name}.dx": gradients[0]})
    for (key, value), gradient in zip([i for i in leaves.items() if not i[0].startswith("running")], gradients[1:]):
        TENSORS[f"{name}.{key}"], TENSORS[f"{name}.d{key}"] = value, gradient
    for key, value in leaves.items():
        if key.startswith("running"):
            TENSORS[f"{name}.{key}"] = value
    CASES[name] = {"op": op, **attributes}


def triple(value, dims, fill):
    value = [value] * dims if isinstance(value, int) else list(value)
    return [fill] * (3 - dims) + value


def conv(name, x, out, kernel, stride=1, padding=0, dilation=1, groups=1, bias=True):
    dims = x.dim() - 2
    kernel = [kernel] * dims if isinstance(kernel, int) else list(kernel)
    fan = x.shape[1] // groups * torch.tensor(kernel).prod().item()
    weights = {"weight": rand(out, x.shape[1] // groups, *kernel, scale=fan ** -0.5)}
    if bias:
        weights["bias"] = rand(out, scale=0.5)
    apply = F.conv2d if dims == 2 else F.conv3d
    around = triple(padding, dims, 0)
    case(name, "conv", x, weights, lambda x, w: apply(x, w["weight"], w.get("bias"), stride, padding, dilation, groups),
         stride=triple(stride, dims, 1), dilation=triple(dilation, dims, 1), before=around, after=around, groups=groups)


def conv_same(name, x, out, kernel, stride, groups=1):
    """TensorFlow's padding, written out."""
    sides = []
    for n in x.shape[2:]:
        total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
        sides.append((total // 2, total - total // 2))
    pad = [side for pair in reversed(sides) for side in pair]
    weights = {"weight": rand(out, x.shape[1] // groups, kernel, kernel, scale=0.3)}
    case(name, "conv", x, weights, lambda x, w: F.conv2d(F.pad(x, pad), w["weight"], None, stride, 0, 1, groups),
         stride=[1, stride, stride], dilation=[1, 1, 1], same=True, groups=groups)


def transposed(name, x, out, kernel, stride=1, padding=0, dilation=1, groups=1, bias=True):
    dims = x.dim() - 2
    weights = {"weight": rand(x.shape[1], out // groups, *[kernel] * dims, scale=0.4)}
    if bias:
        weights["bias"] = rand(out, scale=0.5)
    apply = F.conv_transpose2d if dims == 2 else F.conv_transpose3d
    around = triple(padding, dims, 0)
    run = lambda x, w: apply(x, w["weight"], w.get("bias"), stride, padding, 0, groups, dilation)
    case(name, "conv-transposed", x, weights, run, stride=triple(stride, dims, 1), dilation=triple(dilation, dims, 1),
         before=around, after=around, groups=groups)


def pool(name, op, x, kernel, stride, padding=0):
    dims = x.dim() - 2
    if op == "max-pool":
        run = lambda x, _: (F.max_pool2d if dims == 2 else F.max_pool3d)(x, kernel, stride, padding)
    else:
        run = lambda x, _: (F.avg_pool2d if dims == 2 else F.avg_pool3d)(x, kernel, stride, padding, count_include_pad=False)
    around = triple(padding, dims, 0)
    case(name, op, x, {}, run, kernel=triple(kernel, dims, 1), stride=triple(stride, dims, 1), before=around, after=around)


def norm_weights(channels):
    return {"weight": rand(channels, scale=0.3, shift=1.0), "bias": rand(channels, scale=0.3),
            "running_mean": rand(channels, scale=0.5), "running_var": rand(channels).abs() + 0.3}


def batch_norm(name, x, train):
    weights = norm_weights(x.shape[1])
    after = {key: weights[key].clone() for key in ("running_mean", "running_var")}
    frozen = lambda w, key: w[key].detach()

    def run(x, w):
        if train:
            return F.batch_norm(x, after["running_mean"], after["running_var"], w["weight"], w["bias"], True, 0.1, 1e-5)
        return F.batch_norm(x, frozen(w, "running_mean"), frozen(w, "running_var"), w["weight"], w["bias"], False, 0.1, 1e-5)

    case(name, "batch-norm-train" if train else "batch-norm", x, weights, run, epsilon=1e-5, momentum=0.1)
    if train:
        for key, value in after.items():
            TENSORS[f"{name}.{key}_after"] = value


def layers():
    conv("conv2d-3x3", rand(2, 3, 5, 7), 4, 3, padding=1)
    conv("conv2d-3x3-no-bias", rand(2, 5, 6, 5), 3, 3, bias=False)
    conv("conv2d-1x1", rand(2, 5, 4, 7), 6, 1)
    conv("conv2d-3x3-stride-2-other-parity", rand(2, 3, 6, 7), 4, 3, stride=2, padding=1)
    conv("conv2d-7x7-stride-2-stem", rand(1, 3, 13, 11), 5, 7, stride=2, padding=3)
    conv("conv2d-3x5-stride-2x3", rand(1, 2, 9, 11), 3, (3, 5), stride=(2, 3), padding=(1, 2))
    conv("conv2d-5x5-dilation-2", rand(1, 3, 11, 10), 4, 5, padding=4, dilation=2)
    conv("conv2d-groups-2", rand(2, 6, 5, 5), 4, 3, padding=1, groups=2)
    conv("conv2d-depthwise-5x5", rand(2, 5, 7, 6), 5, 5, padding=2, groups=5)
    conv("conv2d-depthwise-stride-2", rand(1, 6, 7, 8), 6, 3, stride=2, padding=1, groups=6)
    conv("conv2d-17-channels", rand(1, 17, 6, 5), 18, 3, padding=1)
    conv("conv2d-winograd-sized", rand(1, 16, 16, 15), 2, 3, padding=1)
    conv_same("conv2d-same-even", rand(1, 3, 8, 6), 4, 3, 2)
    conv_same("conv2d-same-odd", rand(1, 3, 7, 9), 4, 5, 2)
    conv_same("conv2d-same-depthwise", rand(1, 4, 8, 7), 4, 5, 2, groups=4)
    conv("conv3d-3x3x3", rand(2, 2, 4, 5, 7), 3, 3, padding=1)
    conv("conv3d-dilation-2", rand(1, 3, 7, 6, 9), 2, 3, padding=2, dilation=2)
    conv("conv3d-dilation-4", rand(1, 2, 5, 9, 6), 3, 3, padding=4, dilation=4)
    conv("conv3d-stride-2", rand(1, 2, 5, 6, 7), 3, 3, stride=2, padding=1)
    conv("conv3d-1x1x1", rand(1, 5, 3, 4, 5), 3, 1)
    conv("conv3d-1x1x3", rand(1, 1, 3, 4, 9), 4, (1, 1, 3))
    conv("conv3d-3x1x1", rand(1, 3, 7, 3, 4), 2, (3, 1, 1))
    conv("conv3d-groups-2", rand(1, 4, 4, 4, 5), 4, 3, padding=1, groups=2)
    conv("conv3d-depthwise", rand(1, 3, 4, 5, 6), 3, 3, padding=1, groups=3)
    conv("conv3d-13-channels", rand(1, 13, 4, 4, 6), 3, 3, padding=1)
    transposed("transposed2d-2x2-stride-2", rand(2, 4, 3, 5), 3, 2, stride=2)
    transposed("transposed2d-3x3-stride-2", rand(1, 3, 4, 5), 2, 3, stride=2, padding=1)
    transposed("transposed2d-dilation-2", rand(1, 3, 5, 4), 2, 3, dilation=2, bias=False)
    transposed("transposed2d-groups-2", rand(1, 4, 4, 3), 4, 3, stride=2, padding=1, groups=2)
    transposed("transposed3d-2x2x2-stride-2", rand(1, 3, 2, 3, 4), 2, 2, stride=2)
    pool("max-pool2d-2", "max-pool", rand(2, 3, 7, 7), 2, 2)
    pool("max-pool2d-3-stride-2", "max-pool", rand(2, 3, 7, 8), 3, 2, 1)
    pool("max-pool2d-ties", "max-pool", rand(1, 2, 8, 8).round(), 3, 2, 1)
    pool("max-pool3d-2", "max-pool", rand(1, 2, 5, 4, 6), 2, 2)
    pool("mean-pool2d-2", "mean-pool", rand(2, 3, 7, 7), 2, 2)
    pool("mean-pool2d-3-stride-2", "mean-pool", rand(1, 3, 7, 8), 3, 2, 1)
    pool("mean-pool3d-2", "mean-pool", rand(1, 2, 5, 4, 6), 2, 2)
    case("global-mean2d", "global-mean", rand(2, 5, 3, 7), {}, lambda x, _: x.mean((2, 3), keepdim=True))
    case("global-mean3d", "global-mean", rand(1, 3, 3, 4, 5), {}, lambda x, _: x.mean((2, 3, 4), keepdim=True))
    for mode, plane, volume in (("nearest", "nearest", "nearest"), ("linear", "bilinear", "trilinear")):
        how = {} if mode == "nearest" else {"align_corners": False}
        case(f"upsample2d-{mode}-2", "upsample", rand(2, 3, 3, 5), {},
             lambda x, _: F.interpolate(x, scale_factor=2, mode=plane, **how), factor=[1, 2, 2], mode=mode)
        case(f"upsample2d-{mode}-3x2", "upsample", rand(1, 2, 4, 3), {},
             lambda x, _: F.interpolate(x, scale_factor=(3, 2), mode=plane, **how), factor=[1, 3, 2], mode=mode)
        case(f"upsample3d-{mode}-2", "upsample", rand(1, 2, 2, 3, 4), {},
             lambda x, _: F.interpolate(x, scale_factor=2, mode=volume, **how), factor=[2, 2, 2], mode=mode)
    linear = lambda x, w: F.linear(x.flatten(1), w["weight"], w.get("bias"))[:, :, None, None]
    case("linear", "linear", rand(3, 7, 1, 1), {"weight": rand(5, 7, scale=0.4), "bias": rand(5)}, linear)
    case("linear-of-map", "linear", rand(2, 3, 2, 3), {"weight": rand(4, 18, scale=0.3)}, linear)
    case("softmax", "softmax", rand(2, 5, 3, 4, scale=3.0), {}, lambda x, _: x.softmax(1))
    case("softmax-large", "softmax", rand(2, 3, 1, 1, scale=40.0), {}, lambda x, _: x.softmax(1))
    batch_norm("batch-norm2d", rand(2, 5, 3, 4), train=False)
    batch_norm("batch-norm3d", rand(1, 3, 2, 3, 4), train=False)
    batch_norm("batch-norm2d-train", rand(3, 5, 3, 4, shift=0.7), train=True)
    case("group-norm2d", "group-norm", rand(2, 6, 3, 5, shift=0.5), {"weight": rand(6, shift=1.0, scale=0.3), "bias": rand(6)},
         lambda x, w: F.group_norm(x, 3, w["weight"], w["bias"], 1e-5), groups=3, epsilon=1e-5)
    case("group-norm3d", "group-norm", rand(1, 4, 2, 3, 5), {"weight": rand(4, shift=1.0, scale=0.3), "bias": rand(4)},
         lambda x, w: F.group_norm(x, 2, w["weight"], w["bias"], 1e-5), groups=2, epsilon=1e-5)
    case("space-norm3d", "space-norm", rand(1, 3, 3, 4, 5, shift=0.5),
         {"weight": rand(3, 4, 5, shift=1.0, scale=0.3), "bias": rand(3, 4, 5)},
         lambda x, w: F.layer_norm(x, x.shape[2:], w["weight"], w["bias"], 1e-5), epsilon=1e-5)
    functions = {"relu": F.relu, "relu6": F.relu6, "leaky-relu": lambda x: F.leaky_relu(x, 0.01), "elu": F.elu,
                 "sigmoid": torch.sigmoid, "tanh": torch.tanh, "silu": F.silu, "gelu": F.gelu}
    for name, function in functions.items():
        parameter = {"leaky-relu": 0.01, "elu": 1.0}.get(name)
        case(f"activation-{name}", "activation", rand(2, 3, 5, 7, scale=4.0), {}, lambda x, _: function(x), kind=name, parameter=parameter)
    case("add", "add", rand(2, 6, 3, 5), {}, lambda x, _: x[:, :3] + x[:, 3:], split=3)
    case("subtract", "subtract", rand(2, 6, 3, 5), {}, lambda x, _: x[:, :3] - x[:, 3:], split=3)
    case("multiply", "multiply", rand(2, 6, 3, 5), {}, lambda x, _: x[:, :3] * x[:, 3:], split=3)
    case("multiply-by-one-channel", "multiply", rand(2, 4, 3, 5), {}, lambda x, _: x[:, :3] * x[:, 3:], split=3)
    case("concat", "concat", rand(2, 5, 3, 5), {}, lambda x, _: torch.cat([x[:, 3:], x[:, :3], x[:, 3:]], 1), split=3)


if __name__ == "__main__":
    layers()
    write("ops.safetensors", TENSORS, CASES)
