"""The three trunks of LPIPS as data, and what a pair costs.

The tables repeat those of src/net.rs on purpose: what checks the program is not made of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Conv:
    """A convolution with bias and ReLU."""

    name: str
    c_out: int
    kernel: int
    stride: int = 1
    pad: int = 0


@dataclass(frozen=True)
class Pool:
    """Max-pooling at stride 2 without padding; `ceil` keeps a partial last window."""

    kernel: int
    ceil: bool = False


@dataclass(frozen=True)
class Fire:
    """SqueezeNet's module: 1x1 to `squeeze` channels, then 1x1 and 3x3 to `expand` each."""

    name: str
    squeeze: int
    expand: int


@dataclass(frozen=True)
class Tap:
    """The activation here is compared."""


Layer = Conv | Pool | Fire | Tap


def _vgg() -> list[Layer]:
    layers: list[Layer] = []
    index = 0
    for block, (count, channels) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)]):
        if block:
            layers.append(Pool(2))
            index += 1
        for _ in range(count):
            layers.append(Conv(f"features.{index}", channels, 3, 1, 1))
            index += 2  # torchvision counts the ReLU too.
        layers.append(Tap())
    return layers


NETS: dict[str, list[Layer]] = {
    "alex": [
        Conv("features.0", 64, 11, 4, 2),
        Tap(),
        Pool(3),
        Conv("features.3", 192, 5, 1, 2),
        Tap(),
        Pool(3),
        Conv("features.6", 384, 3, 1, 1),
        Tap(),
        Conv("features.8", 256, 3, 1, 1),
        Tap(),
        Conv("features.10", 256, 3, 1, 1),
        Tap(),
    ],
    "vgg": _vgg(),
    "squeeze": [
        Conv("features.0", 64, 3, 2, 0),
        Tap(),
        Pool(3, True),
        Fire("features.3", 16, 64),
        Fire("features.4", 16, 64),
        Tap(),
        Pool(3, True),
        Fire("features.6", 32, 128),
        Fire("features.7", 32, 128),
        Tap(),
        Pool(3, True),
        Fire("features.9", 48, 192),
        Tap(),
        Fire("features.10", 48, 192),
        Tap(),
        Fire("features.11", 64, 256),
        Tap(),
        Fire("features.12", 64, 256),
        Tap(),
    ],
}

MIN_SIDE = {"alex": 31, "vgg": 16, "squeeze": 17}


def parts_of(layer: Layer) -> list[Conv]:
    """The convolutions of one layer, in the order of torchvision's parameters."""
    if isinstance(layer, Conv):
        return [layer]
    if isinstance(layer, Fire):
        return [
            Conv(f"{layer.name}.squeeze", layer.squeeze, 1),
            Conv(f"{layer.name}.expand1x1", layer.expand, 1),
            Conv(f"{layer.name}.expand3x3", layer.expand, 3, 1, 1),
        ]
    return []


def convolutions(net: str) -> Iterator[tuple[Conv, int]]:
    """Every convolution of the trunk with the number of its input channels."""
    channels = 3
    for layer in NETS[net]:
        convs = parts_of(layer)
        for index, conv in enumerate(convs):
            yield conv, channels if index == 0 else convs[0].c_out
        if convs:
            channels = convs[0].c_out if len(convs) == 1 else 2 * convs[1].c_out


def tap_channels(net: str) -> list[int]:
    """Channels of each tap, in order."""
    channels, taps = 3, []
    for layer in NETS[net]:
        convs = parts_of(layer)
        if convs:
            channels = convs[0].c_out if len(convs) == 1 else 2 * convs[1].c_out
        elif isinstance(layer, Tap):
            taps.append(channels)
    return taps


def pooled(side: int, pool: Pool) -> int:
    """Side of a pooling's output; PyTorch's rule for `ceil`."""
    if not pool.ceil:
        return (side - pool.kernel) // 2 + 1
    out = -((pool.kernel - side) // 2) + 1
    return out - 1 if (out - 1) * 2 >= side else out


@dataclass(frozen=True)
class Cost:
    """What one pair asks of a device.

    `flops` counts a multiply-add as two and convolutions only. `elements` is the number of values
    that go through memory if every layer is one kernel: each activation is written once and read
    once by its successor and once by its tap; pixels and weights do not count.
    """

    flops: int
    elements: int


def cost(net: str, height: int, width: int) -> Cost:
    """The cost of one pair (two images) of this size."""
    flops = elements = 0
    channels, h, w = 3, height, width
    for layer in NETS[net]:
        if isinstance(layer, Pool):
            elements += channels * h * w
            h, w = pooled(h, layer), pooled(w, layer)
            elements += channels * h * w
        elif isinstance(layer, Tap):
            elements += channels * h * w
        convs = parts_of(layer)
        for index, conv in enumerate(convs):
            c_in = channels if index == 0 else convs[0].c_out
            elements += c_in * h * w
            if len(convs) == 1:
                h = (h + 2 * conv.pad - conv.kernel) // conv.stride + 1
                w = (w + 2 * conv.pad - conv.kernel) // conv.stride + 1
            elements += conv.c_out * h * w
            flops += 2 * conv.c_out * h * w * c_in * conv.kernel**2
        if convs:
            channels = convs[0].c_out if len(convs) == 1 else 2 * convs[1].c_out
    return Cost(2 * flops, 2 * elements)
