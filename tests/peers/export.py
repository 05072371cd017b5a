"""Writes what the peers need of each network into the cache: ONNX files (one a batch size), inputs as .npy.

    export.py DATA CACHE       needs the trainings of train.py
"""
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn

import train
from networks import MeshNet

BATCHES = (1, 8)
MESHNETS = {"meshnet-tissue": (5, 3, nn.ReLU), "meshnet-subcortical": (21, 18, nn.ELU)}
DILATIONS = (1, 2, 4, 8, 16, 8, 4, 2, 1)
NAMES = (*train.SPECIFICATIONS, *MESHNETS)


def weights(name, data, cache):
    """The file that ours and the peers read."""
    if name in MESHNETS:
        return data / "weights" / name / f"{name}.safetensors"
    return cache / "weights" / f"{name}.safetensors"


def network(name, data, cache):
    net = MeshNet(*MESHNETS[name][:2], DILATIONS, MESHNETS[name][2]) if name in MESHNETS else train.network(name)
    state = {key: torch.from_numpy(value) for key, value in load_file(weights(name, data, cache)).items()}
    missing, extra = net.load_state_dict(state, strict=False)
    assert not extra and all(key.endswith("num_batches_tracked") for key in missing), (name, missing, extra)
    return net.eval()


def images(name, data, cache):
    """Eight inputs; a MeshNet's are one published crop and copies of it, shifted in brightness."""
    if name in MESHNETS:
        x = load_file(data / "weights" / name / "golden" / "crop64_at_100.safetensors")["input"]
        return np.concatenate([x * np.float32(1 - 0.02 * i) for i in range(max(BATCHES))])
    return load_file(cache / "weights" / f"{name}.input.safetensors")["input"]


def export(name, data, cache):
    x = images(name, data, cache)
    net = network(name, data, cache)
    for batch in BATCHES:
        np.save(cache / "peers" / f"{name}.{batch}.npy", x[:batch])
        torch.onnx.export(net, (torch.from_numpy(x[:batch]),), cache / "peers" / f"{name}.{batch}.onnx", dynamo=True,
                          external_data=False, verbose=False, input_names=["input"], output_names=["output"])


if __name__ == "__main__":
    data, cache = Path(sys.argv[1]), Path(sys.argv[2])
    (cache / "peers").mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        if not (cache / "peers" / f"{name}.{BATCHES[-1]}.onnx").exists():
            export(name, data, cache)
