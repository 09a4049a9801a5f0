"""DISTS in PyTorch, rebuilt from our weights files (docs/numerics.md has the formula and its source).

In float64 it is the oracle. In less, convolutions and poolings are of the type of the images, and the
statistics behind every tap float64, as in the program.
"""

from pathlib import Path

import torch
from torch import nn

from . import module, weights
from .nets import tap_channels

#: Added to both halves of each quotient.
C = 1e-6


class L2Pool(nn.Module):
    """`sqrt(sum g f^2 + 1e-12)` over windows of 3x3 at stride 2, per channel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype)
        window = torch.outer(side, side).expand(x.shape[1], 1, 3, 3)
        squares = nn.functional.conv2d(x * x, window, stride=2, padding=1, groups=x.shape[1])
        return torch.sqrt(squares + 1e-12)


class Dists(nn.Module):
    """DISTS of images (N, 3, H, W) in [-1, 1]."""

    def __init__(self, trunk: weights.Tensors, parameters: weights.Tensors) -> None:
        super().__init__()
        self.slices = module.Lpips("vgg", trunk, {}, baseline=True).slices
        for part in self.slices:
            for at, layer in enumerate(part):
                if isinstance(layer, nn.MaxPool2d):
                    part[at] = L2Pool()
        taps = range(1 + len(tap_channels("vgg")))
        alpha, beta = ([module.tensor(parameters, f"{name}{tap}") for tap in taps] for name in ("alpha", "beta"))
        total = sum(float(one.double().sum()) for one in (*alpha, *beta))
        self.shares = [(a.double() / total, b.double() / total) for a, b in zip(alpha, beta, strict=True)]
        self.eval().requires_grad_(False)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The taps of one batch of images; the first is the images in [0, 1]."""
        taps = [(x + 1) / 2]
        shift, scale = (torch.tensor(of, dtype=x.dtype).view(1, 3, 1, 1) for of in (module.SHIFT, module.SCALE))
        x = (x - shift) / scale
        for part in self.slices:
            x = part(x)
            taps.append(x)
        return taps

    def layers(self, ref: torch.Tensor, dist: torch.Tensor) -> torch.Tensor:
        """What each tap adds, (N, taps), in float64."""
        taps = zip(self.features(ref), self.features(dist), self.shares, strict=True)
        return torch.stack([_tap(a.double(), b.double(), *shares) for a, b, shares in taps], 1)


def _tap(a: torch.Tensor, b: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """1 - S1 and 1 - S2 as fractions whose numerators vanish for equal images, weighted."""
    means = a.mean([2, 3]), b.mean([2, 3])
    spread = a.var([2, 3], correction=0) + b.var([2, 3], correction=0)
    structure = (a - b).var([2, 3], correction=0) / (spread + C)
    texture = (means[0] - means[1]) ** 2 / (means[0] ** 2 + means[1] ** 2 + C)
    return (alpha * texture + beta * structure).sum(1)


def load(folder: Path) -> Dists:
    """The module from the files of a weights folder."""
    return Dists(weights.read(folder / "vgg.safetensors"), weights.read(folder / "dists.safetensors"))
