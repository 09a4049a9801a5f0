"""Compares `lpips eval --preset` and `--metrics` with the packages' own code, in float64; see scripts/check_peers.

The trunks are this project's files of weights, written where torchvision looks for its downloads, so that
nothing is downloaded. No package carries SqueezeNet's, whose trunk is `random:1` on both sides, made here as
docs/metrics.md says. pyiqa's lin weights are those of `lpips`, byte for byte, named by path.
"""

import argparse
import csv
import functools
import importlib.metadata
import importlib.util
import json
import os
import struct
import subprocess
import sys
import tempfile
import types

import numpy as np
import torch
import torchvision
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MANIFEST = os.path.join(ROOT, "tests/data/sr/manifest.csv")
CHECKPOINTS = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}
MODELS = {
    "alex": torchvision.models.alexnet,
    "vgg": torchvision.models.vgg16,
    "squeeze": torchvision.models.squeezenet1_1,
}
# What is passed to this program instead of the published trunk.
TRUNKS = {"squeeze": ["--trunk", "random:1"]}


def read_safetensors(path):
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    header, start = json.loads(data[8 : 8 + length]), 8 + length
    tensors = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        values = np.frombuffer(data[start + first : start + end], "<f4").reshape(entry["shape"])
        tensors[name] = torch.from_numpy(values.copy())
    return tensors


def random_units(seed, first, count):
    """Numbers `first`, `first + 1`, ... in [0, 1) of SplitMix64, counted from 1."""
    z = np.uint64(seed) + np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def random_trunk(state, seed):
    """`--trunk random:SEED`, by the rule of docs/weights.md."""
    trunk, drawn = {}, 0
    for name, tensor in state.items():
        if name.endswith(".bias"):
            trunk[name] = torch.zeros_like(tensor)
        elif name.startswith("features"):
            units = random_units(seed, drawn + 1, tensor.numel())
            values = (2 * units - 1) * (6 / tensor[0].numel()) ** 0.5
            trunk[name] = torch.from_numpy(values.astype(np.float32)).reshape(tensor.shape)
            drawn += tensor.numel()
    return trunk


def write_trunks(program, nets, hub):
    """Writes whole state dicts: the classifier, which LPIPS does not use, is zero."""
    for net in nets:
        state = MODELS[net](weights=None).state_dict()
        if net in TRUNKS:
            trunk = random_trunk(state, 1)
        else:
            exported = os.path.join(hub, net + ".safetensors")
            subprocess.run([program, "weights", "export", net, "-o", exported, "--weights-dir", "weights"], check=True, cwd=ROOT)
            trunk = read_safetensors(exported)
        for name in state:
            state[name] = trunk[name] if name.startswith("features") else torch.zeros_like(state[name])
        torch.save(state, os.path.join(hub, "checkpoints", CHECKPOINTS[net]))


@functools.cache
def load_pyiqa():
    """pyiqa's class for LPIPS without the rest of the package, which needs sixty others."""
    root = os.path.dirname(importlib.util.find_spec("pyiqa").origin)
    for name in ["pyiqa", "pyiqa.utils", "pyiqa.archs"]:
        shell = types.ModuleType(name)
        shell.__path__ = [os.path.join(root, *name.split(".")[1:])]
        sys.modules[name] = shell
    # It forms an address that is not used here.
    sys.modules.setdefault("huggingface_hub", types.SimpleNamespace(hf_hub_url=lambda **_: ""))
    from pyiqa.archs.lpips_arch import LPIPS

    return LPIPS


def peers():
    """Per preset: how its package makes a function of (reference, distorted) in [0, 1] for a net."""
    import lpips
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    pyiqa = load_pyiqa()
    folder = os.path.join(os.path.dirname(lpips.__file__), "weights", "v0.1")

    def of_lpips(net, normalize=True):
        metric = lpips.LPIPS(net=net, verbose=False).double()
        return lambda ref, dist: metric(ref, dist, normalize=normalize)

    def of_pyiqa(net, **options):
        path = os.path.join(folder, net + ".pth")
        metric = pyiqa(net=net, pretrained_model_path=path, **options).double()
        return lambda ref, dist: metric(dist, ref)

    def of_torchmetrics(net):
        metric = _NoTrainLpips(net=net).double()
        return lambda ref, dist: metric(ref, dist, normalize=True)

    return {
        "lpips-0.1.4": ("lpips_{}", of_lpips),
        "pyiqa": ("lpips_{}", of_pyiqa),
        "lpips+": ("lpips_semantic2_{}", lambda net: of_pyiqa(net, semantic_weight_layer=2)),
        "torchmetrics": ("lpips_{}", of_torchmetrics),
        # Its formula: LPIPS as published, of samples that were not brought to -1..1.
        "3dgs": ("lpips_{}", lambda net: of_lpips(net, normalize=False)),
    }


def companions():
    """PSNR, SSIM and DISTS: package, what it is called there, our options, our column, and a function that
    makes the package's of (reference, distorted) in [0, 1]."""
    import DISTS_pytorch
    import piq
    import torchmetrics.functional.image as torchmetrics
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    load_pyiqa()
    from pyiqa.archs.psnr_arch import PSNR
    from pyiqa.archs.ssim_arch import SSIM

    def of_pixels(image):
        return (image[0].permute(1, 2, 0).numpy() * 255).round()

    def wang(ref, dist):
        window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        return structural_similarity(of_pixels(ref), of_pixels(dist), data_range=255, channel_axis=2, **window)

    def of_dists():
        metric = DISTS_pytorch.DISTS().double()
        return lambda ref, dist: metric(ref, dist)

    def of_pyiqa(metric):
        return lambda: lambda ref, dist: metric(dist, ref)

    ycbcr = {"test_y_channel": True, "color_space": "ycbcr"}
    diffusion, default = (["--preset", name] for name in ["sr-diffusion", "pyiqa-default"])
    rgb, ssim, dists = (["--metrics", name] for name in ["psnr_rgb", "ssim_rgb", "dists"])
    return [
        ("scikit-image", "peak_signal_noise_ratio", rgb, "psnr_rgb",
         lambda: lambda a, b: peak_signal_noise_ratio(of_pixels(a), of_pixels(b), data_range=255)),
        ("torchmetrics", "peak_signal_noise_ratio", rgb, "psnr_rgb",
         lambda: lambda a, b: torchmetrics.peak_signal_noise_ratio(b, a, data_range=1.0)),
        ("piq", "psnr, greyscale", default, "psnr_yiq", lambda: lambda a, b: piq.psnr(b, a, convert_to_greyscale=True)),
        ("pyiqa", "psnr", default, "psnr_rgb", of_pyiqa(PSNR())),
        ("pyiqa", "psnry", default, "psnr_yiq", of_pyiqa(PSNR(test_y_channel=True))),
        ("pyiqa", "psnr, ycbcr", diffusion, "psnr_y", of_pyiqa(PSNR(**ycbcr))),
        ("scikit-image", "structural_similarity", ssim, "ssim_rgb", lambda: wang),
        ("piq", "ssim, no subsampling", ssim, "ssim_rgb", lambda: lambda a, b: piq.ssim(b, a, downsample=False)),
        ("pyiqa", "ssim", default, "ssim_yiq_rounded_clamped", of_pyiqa(SSIM(test_y_channel=True))),
        ("pyiqa", "ssimc", default, "ssim_rgb_clamped", of_pyiqa(SSIM(test_y_channel=False))),
        ("pyiqa", "ssim, ycbcr", diffusion, "ssim_y_rounded_clamped", of_pyiqa(SSIM(**ycbcr))),
        ("dists-pytorch", "DISTS", dists, "dists", of_dists),
        ("torchmetrics", "DISTS", dists, "dists",
         # In float32 alone.
         lambda: lambda a, b: torchmetrics.deep_image_structure_and_texture_similarity(b.float(), a.float())),
    ]


def load(path):
    samples = np.asarray(Image.open(os.path.join(os.path.dirname(MANIFEST), path)).convert("RGB"))
    return torch.from_numpy(samples.copy()).permute(2, 0, 1)[None].double() / 255


def ours(program, options, scratch):
    run = os.path.join(scratch, "_".join(options).replace("/", "_"))
    if not os.path.exists(run):
        command = [program, "eval", MANIFEST, "-o", run, "-q", "--device", "cpu", "--weights-dir", "weights"]
        subprocess.run(command + options, check=True, cwd=ROOT)
    with open(os.path.join(run, "pairs.csv"), newline="") as file:
        return list(csv.DictReader(file))


def deviations(rows, column, metric):
    """Pairs of the deviation and the value of the package."""
    expected = [float(metric(load(row["ref"]), load(row["dist"]))) for row in rows]
    return [(abs(float(row[column]) - value), value) for row, value in zip(rows, expected)]


def compare_presets(program, nets, scratch):
    """Prints the table of LPIPS; returns the largest share of the bound."""
    print("| preset | net | pairs | largest deviation / value | largest share of the bound |\n|---|---|---:|---:|---:|")
    worst = 0.0
    for preset, (column, make) in peers().items():
        for net in nets:
            rows = ours(program, ["--preset", preset, "--net", net] + TRUNKS.get(net, []), scratch)
            found = deviations(rows, column.format(net), make(net))
            share = max(deviation / (1e-5 * value + 1e-8) for deviation, value in found)
            worst = max(worst, share)
            print("| %s | %s | %d | %.1e | %.2f |" % (preset, net, len(rows), max(d / v for d, v in found), share))
    return worst


def compare_companions(program, scratch):
    """Prints the table of PSNR, SSIM and DISTS, whose packages compute parts of them in float32."""
    print("\n| package | there | here | column | pairs | largest deviation |\n|---|---|---|---|---:|---:|")
    for package, name, options, column, make in companions():
        rows = ours(program, options, scratch)
        found = deviations(rows, column, make())
        largest = max(deviation for deviation, _ in found)
        print("| %s | %s | `%s` | `%s` | %d | %.1e |" % (package, name, " ".join(options), column, len(rows), largest))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", default="alex,vgg,squeeze")
    parser.add_argument("--program", default=os.path.join(ROOT, "target/release/lpips"))
    arguments = parser.parse_args()
    nets = arguments.nets.split(",")
    packages = ["torch", "torchvision", "lpips", "pyiqa", "torchmetrics", "scikit-image", "piq", "dists-pytorch"]
    print(", ".join(name + " " + importlib.metadata.version(name) for name in packages))
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        hub = os.path.join(scratch, "hub")
        os.makedirs(os.path.join(hub, "checkpoints"))
        torch.hub.set_dir(hub)
        write_trunks(arguments.program, {*nets, "vgg"}, hub)
        worst_of_all = compare_presets(arguments.program, nets, scratch)
        compare_companions(arguments.program, scratch)
    if worst_of_all > 1:
        sys.exit("a preset deviates from its package by more than 1e-5 of the value + 1e-8")


if __name__ == "__main__":
    main()
