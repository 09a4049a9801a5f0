#!/usr/bin/env python3
"""Compares the Python package with `lpips` on tensors of PyTorch.

    .venv-peers/bin/pip install target/wheel/*.whl
    .venv-peers/bin/python scripts/check_torch.py

scripts/check_peers makes the environment, and scripts/check_wheel the wheel. Both packages are imported in one program.
They get the same trunk, that of this repository. Not part of scripts/check, since PyTorch is large. Exit codes: 0 passed;
1 failed.
"""

import sys

import numpy
import torch
from PIL import Image

import lpips_eval
from bench_peers import ROOT, lpips_module
from lpips_eval.compat import LPIPS

SR = ROOT / "tests" / "data" / "sr"


def image(path):
    """(1, 3, height, width), from -1 to 1."""
    array = numpy.asarray(Image.open(path).convert("RGB"))
    return torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def close(found, expected):
    assert found.shape == expected.shape, (found.shape, expected.shape)
    assert found.dtype == expected.dtype and found.device == expected.device
    error = ((found - expected).abs() / (expected.abs() + 1e-3)).max().item()
    assert error < 1e-4, error
    return error


def main():
    pairs = [
        (image(ref), image(dist))
        for ref in sorted((SR / "hr").glob("*.png"))
        for dist in (SR / "bicubic" / ref.name, SR / "nearest" / ref.name)
    ]
    worst = 0.0
    with torch.no_grad():
        for options in ({}, {"lpips": False}, {"version": "0.0"}, {"spatial": True}):
            theirs, ours = lpips_module("alex", 2, **options), LPIPS(net="alex", device="cpu", **options)
            for ref, dist in pairs:
                worst = max(worst, close(ours(ref, dist), theirs(ref, dist)))
        theirs, ours = lpips_module("alex", 2), LPIPS(net="alex", device="cpu")
        ref, dist = pairs[0]
        worst = max(worst, close(ours((ref + 1) / 2, (dist + 1) / 2, normalize=True), theirs(ref, dist)))
        total, layers = ours(ref, dist, retPerLayer=True)
        expected, expected_layers = theirs(ref, dist, retPerLayer=True)
        close(total, expected)
        for found, layer in zip(layers, expected_layers, strict=True):
            worst = max(worst, close(found, layer))
        theirs, ours = lpips_module("alex", 2, spatial=True), LPIPS(net="alex", device="cpu", spatial=True)
        (total, layers), (expected, expected_layers) = (each(ref, dist, retPerLayer=True) for each in (ours, theirs))
        for found, layer in zip([total, *layers], [expected, *expected_layers], strict=True):
            worst = max(worst, close(found, layer))
        theirs, ours = lpips_module("alex", 2), LPIPS(net="alex", device="cpu")
        batch = torch.cat([dist, ref, dist])
        close(ours(ref.expand(3, -1, -1, -1), batch), theirs(ref, batch))
        close(ours(ref.half(), dist.half()), theirs(ref.half().float(), dist.half().float()))

    try:
        ours(ref.clone().requires_grad_(), dist)
        raise SystemExit("error: a tensor that requires a gradient was scored")
    except lpips_eval.UsageError as error:
        assert "no gradients" in str(error)

    # Tensors as they are, (height, width, 3), through DLPack.
    scorer = lpips_eval.Scorer(device="cpu")
    first, second = ((255 * (x[0] + 1) / 2).round().byte().permute(1, 2, 0) for x in (ref, dist))
    packed = scorer.score(first.contiguous(), second.contiguous()).total
    assert packed == scorer.score(first, second).total == scorer.score(first.numpy(), second.numpy()).total
    print(f"passed: largest relative difference to lpips {worst:.1e}, torch {torch.__version__}")


if __name__ == "__main__":
    sys.exit(main())
