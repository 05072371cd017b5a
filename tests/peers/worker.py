"""One peer, one network, one task: a process that answers lines, so that the driver can interleave.

    worker.py onnxruntime|openvino|pytorch|import-only NAME BATCH THREADS TASK DATA CACHE

"run" answers {"wall_ms": W}; "write FILE" runs once and writes the result as FILE (.npy). Only what the peer itself needs
is imported, since memory and start are measured. Each uses f32 and its own defaults but for the number of threads.
"""
import json
import sys
import time
from pathlib import Path

import numpy as np

STEPS = 32      # of integrated gradients: midpoints, from an all-zero image
CHUNK = 8       # images that PyTorch takes at once for them (faster for it than one by one)


def onnxruntime(name, x, batch, threads, task, data, cache):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(cache / "peers" / f"{name}.{batch}.onnx", options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"input": x})[0]


def openvino(name, x, batch, threads, task, data, cache):
    import openvino as ov

    how = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    compiled = ov.Core().compile_model(cache / "peers" / f"{name}.{batch}.onnx", "CPU", how)
    request = compiled.create_infer_request()
    return lambda: next(iter(request.infer([x]).values()))


def pytorch(name, x, batch, threads, task, data, cache):
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    if task == "training-step":
        return training_step(torch, torch.nn)
    import export

    net = export.network(name, data, cache).requires_grad_(False)
    x = torch.from_numpy(x)
    score = lambda y: y[:, -1].sum()  # the last class; of a segmentation, over the image

    def forward():
        with torch.inference_mode():
            return net(x).numpy()

    def grad_cam():
        """At the last map before the head; the result is of its size, as ours."""
        if name == "densenet121":
            kept = F.relu(net.features(x)).requires_grad_()
            y = net.classifier(kept.mean((2, 3)))
        else:
            maps = []
            layer = net.get_submodule({"resnet18": "layer4", "unet": "c.3"}[name])
            hook = layer.register_forward_hook(lambda _module, _inputs, out: maps.append(out.requires_grad_()))
            y, (kept,) = net(x), maps
            hook.remove()
        (gradient,) = torch.autograd.grad(score(y), kept)
        with torch.no_grad():
            return F.relu((gradient.mean((2, 3), keepdim=True) * kept).sum(1, keepdim=True)).numpy()

    def integrated_gradients():
        result = []
        for image in x:
            total = torch.zeros_like(image)
            for first in range(0, STEPS, CHUNK):
                at = (torch.arange(first, first + CHUNK, dtype=torch.float32) + 0.5) / STEPS
                points = (at.view(-1, *[1] * image.dim()) * image).requires_grad_()
                total += torch.autograd.grad(score(net(points)), points)[0].sum(0)
            result.append((image * total / STEPS).numpy())
        return np.stack(result)

    return {"forward": forward, "grad-cam": grad_cam, "integrated-gradients": integrated_gradients}[task]


def training_step(torch, nn):
    """The small CNN of the issue's figures: five 3x3 convolutions with batch norm and ReLU from 1 to 128 channels."""
    torch.manual_seed(15)
    widths, layers = (1, 16, 32, 64, 128, 128), []
    for i, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        layers += [nn.Conv2d(inputs, outputs, 3, 2 if i else 1, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 2))
    x, y = torch.randn(16, 1, 128, 128), torch.arange(16) % 2

    def step():
        net.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        return np.float32(loss.item())

    return step


def serve(task):
    answer = lambda **fields: print(json.dumps(fields), flush=True)
    for line in sys.stdin:
        verb, _, rest = line.strip().partition(" ")
        start = time.perf_counter()
        result = task()
        wall_ms = 1e3 * (time.perf_counter() - start)
        if verb == "write":
            np.save(rest, result)
        answer(wall_ms=wall_ms)


if __name__ == "__main__":
    peer, name, batch, threads, task, data, cache = sys.argv[1:]
    cache = Path(cache)
    if peer == "import-only":
        import onnxruntime  # noqa: F401, F811

        serve(lambda: np.float32(0))
    else:
        x = None if task == "training-step" else np.load(cache / "peers" / f"{name}.{batch}.npy")
        serve(globals()[peer](name, x, int(batch), int(threads), task, Path(data), cache))
