"""The networks in PyTorch, of any width, with the tensor names that ours are imported by.

Used for the golden figures (small, random weights) and for the comparison (whole, trained). ResNet and U-Net are written
out because torchvision's widths are fixed; at full width their names and results are torchvision's (checked in compare).
"""
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.densenet import DenseNet


def conv(inputs, outputs, kernel, stride=1, **how):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False, **how)


class Basic(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """torchvision's ResNet of basic blocks: ResNet-18 with widths 64, 128, 256, 512 and two blocks a stage."""

    def __init__(self, widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2), classes=2, inputs=3):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, widths[0], 7, 2), nn.BatchNorm2d(widths[0])
        last = widths[0]
        for i, (width, count) in enumerate(zip(widths, blocks)):
            stage = [Basic(last if j == 0 else width, width, 2 if i and j == 0 else 1) for j in range(count)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*stage))
            last = width
        self.fc = nn.Linear(last, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def densenet(growth=32, blocks=(6, 12, 24, 16), first=64, bottleneck=4, classes=2):
    """torchvision's own; the defaults are DenseNet-121."""
    return DenseNet(growth, blocks, first, bottleneck, 0, classes)


class Norm(nn.Module):
    """Convolution and norm with the names of the trunk's card: `conv.weight`, `bn.*`."""

    def __init__(self, inputs, outputs, kernel, stride, groups=1):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, 0, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x):
        sides = []
        for n in (x.shape[3], x.shape[2]):
            total = max((-(-n // self.stride) - 1) * self.stride + self.kernel - n, 0)
            sides += [total // 2, total - total // 2]
        return self.bn(self.conv(F.pad(x, sides)))


class Inverted(nn.Module):
    def __init__(self, inputs, hidden, outputs, kernel, stride):
        super().__init__()
        self.expand = Norm(inputs, hidden, 1, 1) if hidden != inputs else None
        self.depthwise = Norm(hidden, hidden, kernel, stride, hidden)
        self.project = Norm(hidden, outputs, 1, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """The trunk of the card efficientnet-lite0-imagenet, of any plan: (inputs, hidden, outputs, kernel, stride) a block."""

    def __init__(self, plan, inputs=3):
        super().__init__()
        self.stem = Norm(inputs, plan[0][0], 3, 2)
        self.blocks = nn.Sequential(*[Inverted(*block) for block in plan])

    def forward(self, x):
        return self.blocks(F.relu6(self.stem(x)))


def double(inputs, outputs):
    layers = []
    for i in (inputs, outputs):
        layers += [nn.Conv2d(i, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """The U-Net of ../../../shared/prototypes/conv-kernels: `d.L`, `m`, `u.L`, `c.L` (upsampled after the skip), `o`."""

    def __init__(self, base=32, levels=4, inputs=1, classes=1):
        super().__init__()
        widths = [base << level for level in range(levels + 1)]
        self.d = nn.ModuleList([double(i, o) for i, o in zip([inputs, *widths], widths[:-1])])
        self.m = double(widths[-2], widths[-1])
        pairs = list(zip(reversed(widths[1:]), reversed(widths[:-1])))
        self.u = nn.ModuleList([nn.ConvTranspose2d(i, o, 2, 2) for i, o in pairs])
        self.c = nn.ModuleList([double(i, o) for i, o in pairs])
        self.o = nn.Conv2d(base, classes, 1)

    def forward(self, x):
        skips = []
        for down in self.d:
            x = down(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.m(x)
        for up, join in zip(self.u, self.c):
            x = join(torch.cat([skips.pop(), up(x)], 1))
        return self.o(x)


class Block(nn.Module):
    """lwnet's: convolution, ReLU, norm, twice, plus a projected shortcut."""

    def __init__(self, inputs, outputs, pool):
        super().__init__()
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        layers = []
        for i in (inputs, outputs):
            layers += [nn.Conv2d(i, outputs, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(outputs)]
        self.block = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        x = self.pool(x)
        return self.block(x) + self.shortcut(x)


class Up(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.up_layer = nn.Module()
        self.up_layer.block = nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 2, 2))
        bridge = [nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(outputs)]
        self.conv_bridge_layer = nn.Module()
        self.conv_bridge_layer.block = nn.Sequential(*bridge)
        self.conv_layer = Block(2 * outputs, outputs, False)

    def forward(self, x, skip):
        return self.conv_layer(torch.cat([self.up_layer.block(x), self.conv_bridge_layer.block(skip)], 1))


class Half(nn.Module):
    """One of the two U-Nets of a W-Net."""

    def __init__(self, inputs, widths, classes):
        super().__init__()
        self.first = Block(inputs, widths[0], False)
        self.down_path = nn.ModuleList([Block(i, o, True) for i, o in zip(widths, widths[1:])])
        self.up_path = nn.ModuleList([Up(i, o) for o, i in reversed(list(zip(widths, widths[1:])))])
        self.final = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        maps = [self.first(x)]
        for down in self.down_path:
            maps.append(down(maps[-1]))
        x = maps.pop()
        for up in self.up_path:
            x = up(x, maps.pop())
        return self.final(x)


class WNet(nn.Module):
    """The card lwnet-drive: the second U-Net sees the image and the first one's logits."""

    def __init__(self, inputs=3, widths=(8, 16, 32), classes=1):
        super().__init__()
        self.unet1 = Half(inputs, widths, classes)
        self.unet2 = Half(inputs + classes, widths, classes)

    def forward(self, x):
        return self.unet2(torch.cat([x, self.unet1(x)], 1))


class MeshNet(nn.Module):
    """The cards meshnet-*: 3x3x3 convolutions at the dilations given, then 1x1x1; `model.N` with N = 0, 2, ..."""

    def __init__(self, channels, classes, dilations, activation):
        super().__init__()
        layers, inputs = [], 1
        for dilation in dilations:
            layers += [nn.Conv3d(inputs, channels, 3, padding=dilation, dilation=dilation), activation()]
            inputs = channels
        self.model = nn.Sequential(*layers, nn.Conv3d(channels, classes, 1))

    def forward(self, x):
        return self.model(x)


class DnCNN(nn.Module):
    """The card dncnn-25: the image less what `model` finds in it."""

    def __init__(self, channels=64, layers=17):
        super().__init__()
        stack = [nn.Conv2d(1, channels, 3, padding=1), nn.ReLU()]
        for _ in range(layers - 2):
            stack += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
        self.model = nn.Sequential(*stack, nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, x):
        return x - self.model(x)


def randomise(network, seed):
    """Random f32 weights that keep values near one, and random running statistics; in f64, evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda like: torch.randn(like.shape, generator=generator, dtype=torch.float64)
    state = network.state_dict()
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_mean"):
            fresh = 0.3 * draw(value)
        elif name.endswith("running_var"):
            fresh = draw(value).abs() + 0.5
        elif value.dim() == 1:
            norm = name.removesuffix("weight").removesuffix("bias") + "running_var" in state
            fresh = 0.2 * draw(value) + (1.0 if norm and name.endswith("weight") else 0.0)
        else:
            fresh = draw(value) * (2.0 / value[0].numel()) ** 0.5
        state[name] = fresh.float()
    network.load_state_dict(state)
    return network.double().eval()


def tiny():
    """The small networks of the golden figures: name -> (network, input shape)."""
    plan = [(4, 4, 3, 3, 1), (3, 12, 5, 3, 2), (5, 20, 5, 3, 1), (5, 20, 6, 5, 2)]
    return {
        "resnet": (randomise(ResNet((4, 5, 6, 7), classes=3), 1), (2, 3, 36, 53)),
        "densenet": (randomise(densenet(3, (2, 3, 2, 2), 5, 2, 3), 2), (1, 3, 64, 67)),
        "efficientnet-lite": (randomise(EfficientNetLite(plan), 3), (1, 3, 21, 26)),
        "unet": (randomise(UNet(2, 3, 1, 2), 4), (2, 1, 24, 40)),
        "w-net": (randomise(WNet(3, (3, 4, 5, 6), 2), 5), (1, 3, 24, 32)),
        "meshnet": (randomise(MeshNet(3, 4, (1, 2, 4, 1), nn.ELU), 6), (1, 1, 9, 11, 13)),
        "dncnn": (randomise(DnCNN(5, 5), 7), (2, 1, 11, 13)),
    }
