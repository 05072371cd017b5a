"""Short trainings, so that the comparison runs on real weights: ResNet-18 and DenseNet-121 on cxr-pneumonia's train split
at 224, U-Net (base 32) on busi's train split at 256. A few dozen steps each: the weights are real, the networks are no good.

    train.py DATA OUT      writes OUT/NAME.safetensors with an image each, OUT/NAME.input.safetensors, unless they are there

The weights and images stay in the cache folder and are never committed.
"""
import csv
import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from networks import ResNet, UNet, densenet

SPECIFICATIONS = {  # images a step, steps, learning rate
    "resnet18": (16, 40, 1e-3),
    "densenet121": (8, 30, 1e-3),
    "unet": (2, 24, 1e-3),
}


def rows(path, **wanted):
    with open(path, newline="") as file:
        return [row for row in csv.DictReader(file) if all(row[key] == value for key, value in wanted.items())]


def members(path, names):
    with tarfile.open(path) as tar:
        return {name: tar.extractfile(name).read() for name in names}


def picture(data, size, resample):
    return np.asarray(Image.open(io.BytesIO(data)).convert("L").resize((size, size), resample), np.float32) / 255


def radiographs(data, count, generator):
    """Half of them normal, half pneumonia; grey three times, mean 0.5 and deviation 0.25 taken out."""
    folder = data / "cxr-pneumonia"
    chosen = []
    for kind in ("normal", "pneumonia"):
        of_kind = rows(folder / "labels.csv", split="train", **{"class": kind})
        order = torch.randperm(len(of_kind), generator=generator)[: count // 2]
        chosen += [(of_kind[i]["file"], float(kind == "pneumonia")) for i in order]
    files = members(folder / "train.tar", [name for name, _ in chosen])
    x = np.stack([picture(files[name], 224, Image.BILINEAR) for name, _ in chosen])
    x = torch.from_numpy((x - 0.5) / 0.25)[:, None].repeat(1, 3, 1, 1)
    return x, torch.tensor([label for _, label in chosen]).long()


def ultrasound(data, count, generator):
    """Images with a lesion, and its mask."""
    folder = data / "busi"
    with_mask = [row for row in rows(folder / "labels.csv", split="train") if row["mask"]]
    chosen = [with_mask[i] for i in torch.randperm(len(with_mask), generator=generator)[:count]]
    files = members(folder / "busi.tar", [row[key] for row in chosen for key in ("file", "mask")])
    x = np.stack([picture(files[row["file"]], 256, Image.BILINEAR) for row in chosen])
    y = np.stack([picture(files[row["mask"]], 256, Image.NEAREST) for row in chosen])
    return torch.from_numpy((x - 0.5) / 0.25)[:, None], torch.from_numpy(y > 0.5).float()[:, None]


def network(name):
    return {"resnet18": ResNet, "densenet121": densenet, "unet": UNet}[name]()


def train(name, data, out):
    batch, steps, rate = SPECIFICATIONS[name]
    torch.manual_seed(15)
    generator = torch.Generator().manual_seed(15)
    load = ultrasound if name == "unet" else radiographs
    x, y = load(data, batch * steps, generator)
    net = network(name)
    lost = F.binary_cross_entropy_with_logits if name == "unet" else F.cross_entropy
    optimiser = torch.optim.AdamW(net.parameters(), rate)
    order = torch.randperm(len(x), generator=generator)
    losses = []
    for step in range(steps):
        chosen = order[step * batch:(step + 1) * batch]
        optimiser.zero_grad()
        loss = lost(net(x[chosen]), y[chosen])
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    print(f"{name}: loss {np.mean(losses[:5]):.3f} in the first five steps, {np.mean(losses[-5:]):.3f} in the last", file=sys.stderr)
    state = {key: value.contiguous() for key, value in net.eval().state_dict().items() if not key.endswith("num_batches_tracked")}
    save_file({"input": x[:8].contiguous()}, out / f"{name}.input.safetensors")
    save_file(state, out / f"{name}.safetensors")


if __name__ == "__main__":
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for name in SPECIFICATIONS:
        if not (out / f"{name}.safetensors").exists():
            train(name, data, out)
