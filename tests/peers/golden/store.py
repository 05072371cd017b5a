"""Files of golden figures: safetensors, f32, with the cases' attributes as JSON under `cases` in the header."""
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file



def made(generator, *shape, scale=1.0, shift=0.0):
    """Random numbers that are f32 values, as f64."""
    x = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale + shift
    return x.float().double()


def write(path, tensors, cases):
    """Writes tensors as f32, sorted by name so that a rerun gives the same bytes."""
    plain = {}
    for name in sorted(tensors):
        value = tensors[name]
        value = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        assert np.isfinite(value).all(), name
        plain[name] = np.ascontiguousarray(value.astype(np.float32))
    save_file(plain, path, metadata={"cases": json.dumps(cases, sort_keys=True)})
    Path(path).chmod(0o644)
