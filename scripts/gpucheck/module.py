"""The LPIPS module of PyTorch, rebuilt from our weights files: the peer, and the float64 values.

It computes what the class LPIPS of the Python package `lpips` 0.1.4 computes, operation by operation
(two passes through the trunk, normalisation, squared difference, 1x1 convolution, mean), so its
speed is that module's speed, and in float64 it is the oracle.
"""

from pathlib import Path

import torch
from torch import nn

from . import weights
from .nets import NETS, Conv, Fire, Pool, Tap, tap_channels

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
EPS = 1e-10


class FireModule(nn.Module):
    """SqueezeNet's module, as torchvision has it."""

    def __init__(self, squeeze: nn.Module, expand1x1: nn.Module, expand3x3: nn.Module) -> None:
        super().__init__()
        self.squeeze, self.expand1x1, self.expand3x3 = squeeze, expand1x1, expand3x3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu_(self.squeeze(x))
        return torch.cat([torch.relu_(self.expand1x1(x)), torch.relu_(self.expand3x3(x))], 1)


class Lpips(nn.Module):
    """LPIPS of images (N, 3, H, W) in [-1, 1]; `forward` returns (N, 1, 1, 1)."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        net: str,
        trunk: weights.Tensors,
        lins: weights.Tensors,
        version: str = "0.1",
        baseline: bool = False,
    ) -> None:
        super().__init__()
        self.version = version
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))
        self.slices = nn.ModuleList(_slices(net, trunk))
        self.lins = nn.ModuleList()
        for layer, channels in enumerate(tap_channels(net)):
            lin = nn.Conv2d(channels, 1, 1, bias=False)
            if baseline:
                values = torch.ones(channels)
            else:
                values = tensor(lins, f"v{version}.{net}.lin{layer}.weight")
            lin.weight.data = values.view(1, channels, 1, 1)
            self.lins.append(nn.Sequential(nn.Dropout(), lin))
        self.eval().requires_grad_(False)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The taps of one batch of images."""
        if self.version == "0.1":
            x = (x - self.shift) / self.scale
        taps = []
        for part in self.slices:
            x = part(x)
            taps.append(x)
        return taps

    def maps(self, ref: torch.Tensor, dist: torch.Tensor) -> list[torch.Tensor]:
        """D_l of each layer, (N, 1, H_l, W_l)."""
        taps = zip(self.features(ref), self.features(dist), self.lins, strict=True)
        return [lin((normalised(a) - normalised(b)) ** 2) for a, b, lin in taps]

    def layers(self, ref: torch.Tensor, dist: torch.Tensor) -> torch.Tensor:
        """The distance of each layer, (N, layers), with means in float64."""
        means = [part.double().mean([1, 2, 3]) for part in self.maps(ref, dist)]
        return torch.stack(means, 1)

    def forward(self, ref: torch.Tensor, dist: torch.Tensor) -> torch.Tensor:
        parts = [part.mean([2, 3], keepdim=True) for part in self.maps(ref, dist)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


def normalised(x: torch.Tensor) -> torch.Tensor:
    """Unit length over channels."""
    norm = torch.sqrt(torch.sum(x**2, dim=1, keepdim=True))
    return x / (norm + EPS)


def load(net: str, folder: Path, formula: bool, version: str = "0.1") -> Lpips:
    """The module of a net from the files of a weights folder, or on the formula trunk."""
    trunk = weights.formula(net) if formula else weights.read(folder / f"{net}.safetensors")
    return Lpips(net, trunk, weights.read(folder / "lin.safetensors"), version)


def tensor(tensors: weights.Tensors, name: str) -> torch.Tensor:
    """A tensor of a weights file."""
    shape, values = tensors[name]
    return torch.frombuffer(values, dtype=torch.float32).clone().view(shape)


def _conv(conv: Conv, c_in: int, trunk: weights.Tensors) -> nn.Conv2d:
    module = nn.Conv2d(c_in, conv.c_out, conv.kernel, conv.stride, conv.pad)
    module.weight.data = tensor(trunk, f"{conv.name}.weight")
    module.bias.data = tensor(trunk, f"{conv.name}.bias")  # type: ignore[union-attr]
    return module


def _slices(net: str, trunk: weights.Tensors) -> list[nn.Sequential]:
    """The trunk, cut behind every tap."""
    slices, current, channels = [], [], 3
    for layer in NETS[net]:
        if isinstance(layer, Conv):
            current += [_conv(layer, channels, trunk), nn.ReLU(inplace=True)]
            channels = layer.c_out
        elif isinstance(layer, Fire):
            one = _conv(Conv(f"{layer.name}.squeeze", layer.squeeze, 1), channels, trunk)
            two = _conv(Conv(f"{layer.name}.expand1x1", layer.expand, 1), layer.squeeze, trunk)
            three = _conv(Conv(f"{layer.name}.expand3x3", layer.expand, 3, 1, 1), layer.squeeze, trunk)
            current.append(FireModule(one, two, three))
            channels = 2 * layer.expand
        elif isinstance(layer, Pool):
            current.append(nn.MaxPool2d(layer.kernel, 2, ceil_mode=layer.ceil))
        elif isinstance(layer, Tap):
            slices.append(nn.Sequential(*current))
            current = []
    return slices
