"""Golden figures of explanations, on the tiny ResNet and U-Net of networks.safetensors: `NAME/input`, `NAME/score` and
`NAME/METHOD` or `NAME/METHOD@LAYER`. Captum where it has the method, otherwise written out here in PyTorch; f64, kept as f32.

The score is the ResNet's logit of class 1 and the sum of the U-Net's logits of class 1 over the image.
CAM maps are `[rows, columns]` of the layer, and `NAME/METHOD@LAYER/image` the same enlarged bilinearly (pixel centres).
"""
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients, LayerGradCam, Occlusion

sys.path.insert(0, str(Path(__file__).parents[1]))
from networks import tiny  # noqa: E402
from store import made, write  # noqa: E402

STEPS = 32          # integrated gradients: midpoints (i + 1/2) / 32 of the straight line from an all-zero image
DRAWS = 2           # SmoothGrad: noise tensors stored, already scaled, added to the input
TENSORS = {}


def at(network, layer, x):
    """The layer's map and the gradient of the score with respect to it."""
    kept = {}
    hook = layer.register_forward_hook(lambda _m, _i, out: kept.update(map=out))
    total = score(network, x).sum()
    hook.remove()
    (gradient,) = torch.autograd.grad(total, kept["map"])
    return kept["map"][0].detach(), gradient[0]


def score(network, x):
    y = network(x)[:, 1]
    return y if y.dim() == 1 else y.sum((1, 2))


def plus_plus(a, g):
    """Chattopadhay et al. 2018, equation 19 with the exponential's derivatives written as powers of g; 0 where g is 0."""
    below = 2 * g ** 2 + a.sum((1, 2), keepdim=True) * g ** 3
    alpha = torch.where(below != 0, g ** 2 / torch.where(below != 0, below, torch.ones_like(below)), torch.zeros_like(g))
    return F.relu(((alpha * F.relu(g)).sum((1, 2), keepdim=True) * a).sum(0))


def eigen(a, centred):
    """Muhammad and Yeasin 2020: the positions-by-channels matrix times its first right singular vector; the sign is
    that with which the map's sum (centred: its product with the channels' mean map) is not negative."""
    flat = a.flatten(1).T
    flat = flat - flat.mean(0) if centred else flat
    first = torch.linalg.svd(flat, full_matrices=False)[2][0]
    cam = flat @ first
    agrees = (cam * flat.mean(1)).sum() if centred else cam.sum()
    return (cam if agrees >= 0 else -cam).reshape(a.shape[1:])


def enlarge(cam, x):
    return F.interpolate(cam[None, None], x.shape[2:], mode="bilinear", align_corners=False)[0, 0]


def explain(name, network, layers, x):
    forward = lambda batch: score(network, batch)
    for label, layer in layers.items():
        a, g = at(network, layer, x)
        cams = {"grad-cam": LayerGradCam(forward, layer).attribute(x, relu_attributions=True)[0, 0],
                "grad-cam-plus-plus": plus_plus(a, g), "eigen-cam": eigen(a, False), "eigen-cam-centred": eigen(a, True)}
        for method, cam in cams.items():
            TENSORS[f"{name}/{method}@{label}"] = cam
            TENSORS[f"{name}/{method}@{label}/image"] = enlarge(cam, x)
    gradient = lambda point: torch.autograd.grad(forward(point.requires_grad_()).sum(), point)[0].detach()
    generator = torch.Generator().manual_seed(17)
    noise = made(generator, DRAWS, *x.shape[1:], scale=0.15)
    line = IntegratedGradients(forward).attribute(x, n_steps=STEPS, method="riemann_middle")
    TENSORS.update({
        f"{name}/input": x, f"{name}/score": forward(x), f"{name}/score-of-zero": forward(torch.zeros_like(x)),
        f"{name}/input-gradient": gradient(x.clone())[0],
        f"{name}/noise": noise, f"{name}/smooth-grad": gradient(x + noise).mean(0),
        f"{name}/integrated-gradients": line[0],
    })
    for size, step in ((8, 8), (8, 4)):
        window = (x.shape[1], size, size)
        occlusion = Occlusion(forward).attribute(x, window, strides=(x.shape[1], step, step), baselines=0.0)
        TENSORS[f"{name}/occlusion-{size}-{step}"] = occlusion[0, 0]


if __name__ == "__main__":
    torch.manual_seed(0)
    networks = tiny()
    generator = torch.Generator().manual_seed(18)
    resnet, unet = networks["resnet"][0], networks["unet"][0]
    explain("resnet", resnet, {"layer3": resnet.layer3, "layer4": resnet.layer4}, made(generator, 1, 3, 36, 44))
    explain("unet", unet, {"m": unet.m, "c.2": unet.c[-1]}, made(generator, 1, 1, 24, 40))
    write("maps.safetensors", TENSORS, {"steps": STEPS, "rule": "midpoint", "class": 1})
