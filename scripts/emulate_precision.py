#!/usr/bin/env python3
"""How far tf32, fp16 and bf16 are from float64, emulated on the CPU: scripts/emulate_precision.py.

An emulation, not a measurement: it rounds what a GPU would round, and adds up in float32 in whatever
order the CPU likes. What it leaves out is how tensor cores add (their sums drop bits that float32
keeps), so a GPU may be somewhat worse. `scripts/gpu_check` measures the real thing.

Nets are those of LPIPS, and `dists`.

    tf32         weights and inputs of every convolution rounded to 10 mantissa bits, ties away from zero
    tf32 (cut)   the same with the low 13 bits cut off, as tensor cores do where nothing rounds before
    fp16, bf16   weights, the normalised image and every activation stored in that type

Sums, biases and everything behind a tap are float32 in all of them. The pairs are fresh random crops
of tests/data/sr, and each crop against itself with one sample in a thousand one level off.

Needs PyTorch; vgg and dists take about five minutes each on one core. Prints Markdown.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch  # noqa: E402
from gpucheck import dists, module, photos  # noqa: E402
from gpucheck.accuracy import relative, summary  # noqa: E402
from gpucheck.png import Image  # noqa: E402
from gpucheck.report import number, table  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
Rounding = Callable[[torch.Tensor], torch.Tensor]


def tf32(x: torch.Tensor) -> torch.Tensor:
    """To 10 mantissa bits, ties away from zero: half of the last kept bit is added to the magnitude."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def tf32_cut(x: torch.Tensor) -> torch.Tensor:
    """To 10 mantissa bits, towards zero."""
    return (x.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)


def fp16(x: torch.Tensor) -> torch.Tensor:
    """To half precision and back, ties to even."""
    return x.half().float()


def bf16(x: torch.Tensor) -> torch.Tensor:
    """To bfloat16 and back, ties to even."""
    return x.bfloat16().float()


# Name -> (what rounds, whether activations are stored rounded too, as opposed to only read so).
EMULATED: dict[str, tuple[Rounding, bool]] = {
    "tf32": (tf32, False),
    "tf32 (cut)": (tf32_cut, False),
    "fp16": (fp16, True),
    "bf16": (bf16, True),
}


def load(net: str, folder: Path) -> module.Lpips | dists.Dists:
    """The module of a net in float32."""
    return dists.load(folder) if net == "dists" else module.load(net, folder, formula=False)


def emulator(net: str, folder: Path, rounding: Rounding, stored: bool) -> module.Lpips | dists.Dists:
    """The float32 module whose convolutions see rounded numbers."""
    built = load(net, folder)
    for conv in built.slices.modules():
        if isinstance(conv, torch.nn.Conv2d):
            conv.weight.data = rounding(conv.weight.data)
            conv.register_forward_pre_hook(lambda _, inputs: (rounding(inputs[0]),))
            if stored:
                # Rounding and ReLU commute, so the sum with its bias may be rounded before.
                conv.register_forward_hook(lambda _, _inputs, output: rounding(output))
    return built


def pixels(image: Image) -> torch.Tensor:
    """One image in [-1, 1], float64, (1, 3, H, W)."""
    flat = torch.frombuffer(bytearray(image.rgb), dtype=torch.uint8)
    return (flat.view(image.height, image.width, 3).permute(2, 0, 1)[None].double() / 255) * 2 - 1


def deviations(net: str, pairs: list[photos.CropPair], folder: Path) -> dict[str, dict[bool, list[float]]]:
    """Relative deviations of totals, by emulation and by whether the pair is near-identical."""
    oracle = load(net, folder).double()
    modules = {"fp32": load(net, folder)}
    for name, (rounding, stored) in EMULATED.items():
        modules[name] = emulator(net, folder, rounding, stored)
    found: dict[str, dict[bool, list[float]]] = {name: {False: [], True: []} for name in modules}
    with torch.inference_mode():
        for pair in pairs:
            ref, dist = pixels(pair.ref), pixels(pair.dist)
            exact = float(oracle.layers(ref, dist).sum())
            for name, emulation in modules.items():
                value = float(emulation.layers(ref.float(), dist.float()).sum())
                found[name][pair.method == photos.NEAR].append(relative(value, exact))
    return found


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pairs", type=int, default=120, help="crops, and a sixth as many near-identical pairs"
    )
    parser.add_argument("--sides", default="64,96", help="smallest and largest side of a crop")
    parser.add_argument("--nets", default="alex,vgg,dists")
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights-dir", type=Path, default=ROOT / "weights")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    low, high = (int(side) for side in args.sides.split(","))
    sample = photos.load(ROOT / "tests/data/sr")
    pairs = photos.crops(sample, args.pairs, (low, high), args.seed, near=max(1, args.pairs // 6))
    rows = []
    for net in args.nets.split(","):
        for name, groups in deviations(net, pairs, args.weights_dir).items():
            plain, near = summary(groups[False]), summary(groups[True])
            cells = [number(stats[key], 2) for stats in (plain, near) for key in ("median", "p95", "max")]
            rows.append([net, name, *cells])
    columns = ["net", "emulated", "median", "p95", "max", "near: median", "near: p95", "near: max"]
    near_count = sum(pair.method == photos.NEAR for pair in pairs)
    print(f"{args.pairs} crops, {near_count} near-identical pairs, sides {low} to {high}, seed {args.seed}\n")
    print(table(columns, rows))


if __name__ == "__main__":
    main()
