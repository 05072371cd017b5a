"""Golden figures of whole networks: `NAME/input`, `NAME/output` and `NAME/weights/TENSOR`. Random weights and running
statistics, computed in f64 by PyTorch (DenseNet: torchvision's own definition), kept as f32."""
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from networks import tiny  # noqa: E402
from store import made, write  # noqa: E402

if __name__ == "__main__":
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(16)
    tensors, cases = {}, {}
    for name, (network, shape) in tiny().items():
        x = made(generator, *shape)
        tensors[f"{name}/input"], tensors[f"{name}/output"] = x, network(x)
        for tensor, value in network.state_dict().items():
            if not tensor.endswith("num_batches_tracked"):
                tensors[f"{name}/weights/{tensor}"] = value
        cases[name] = {"parameters": sum(value.numel() for value in network.parameters())}
    write("networks.safetensors", tensors, cases)
