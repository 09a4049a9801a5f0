#!/usr/bin/env python3
"""`lpips_eval.Scorer` against `lpips` and torchmetrics on arrays in memory, alternating in one run.

    .venv-peers/bin/pip install target/dist/*.whl
    .venv-peers/bin/python scripts/bench_python.py [--nets alex,vgg] [--sides 64,256] [--seconds 60]

scripts/check_peers makes the environment, and scripts/release the wheel. Every contender holds the same images as NumPy
arrays, (height, width, 3), uint8, as a program that made or read them does, and gives a number for each pair. `one` is
a pair in a call; `batch` is 16 pairs: `score_all` here, one tensor there. What it takes to make tensors of arrays
counts, as it does in such a program: permute, float, scale. PyTorch's modules run under inference_mode with as many
threads, and their trunks are those of weights/. Scores are compared before a time is printed. Ratios are of medians.
"""

import argparse
import sys

from bench_peers import AGREE, answer, describe, images, lpips_module
from contenders import Contender, race

FORMS = {"one": 1, "batch": 16}


def ours(net, pairs, threads):
    import lpips_eval

    scorer = lpips_eval.Scorer(net, device="cpu", threads=threads, weights_dir="weights" if net == "vgg" else None)
    if len(pairs) == 1:
        answer(lambda: scorer.score(*pairs[0]).total)
    else:
        answer(lambda: scorer.score_all(pairs)[0].total)


def theirs(kind, net, pairs, threads):
    import numpy
    import torch

    module = lpips_module(net, threads)
    if kind == "torchmetrics":
        from torchmetrics.functional.image.lpips import _NoTrainLpips

        other = _NoTrainLpips(net=net, pnet_rand=True).eval()
        other.net.load_state_dict(module.net.state_dict())
        module = other

    def tensor(which):
        array = numpy.stack([pair[which] for pair in pairs])
        return torch.from_numpy(array).permute(0, 3, 1, 2).float() / 127.5 - 1

    def score():
        with torch.inference_mode():
            return float(module(tensor(0), tensor(1)).reshape(-1)[0])

    answer(score)


def child(kind, net, side, form, threads):
    count = FORMS[form]
    pixels = images(side, 2 * count)
    pairs = [(pixels[2 * index], pixels[2 * index + 1]) for index in range(count)]
    ours(net, pairs, threads) if kind == "lpips_eval" else theirs(kind, net, pairs, threads)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nets", default="alex,vgg")
    parser.add_argument("--sides", default="64,256")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60, help="for each case")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        kind, net, side, form, threads = arguments.child
        return child(kind, net, int(side), form, int(threads))
    machine = describe(["torch", "torchmetrics"])
    print(f"{machine['cpu']}, {arguments.threads} threads, load {machine['load']} at the start, "
          f"torch {machine['torch']}, torchmetrics {machine['torchmetrics']}, commit {machine['commit']}\n")  # fmt: skip
    print("| net | side | pairs in a call | lpips_eval, ms a pair | lpips | torchmetrics | ratios |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for net in arguments.nets.split(","):
        for side in arguments.sides.split(","):
            for form, count in FORMS.items():
                row(net, side, form, count, arguments)


def row(net, side, form, count, arguments):
    contenders = [
        Contender(kind, [sys.executable, __file__, "--child", kind, net, side, form, arguments.threads])
        for kind in ("lpips_eval", "lpips", "torchmetrics")
    ]
    times = race(contenders, arguments.seconds, AGREE)["median_ms"]
    ours, *others = (times[contender.name] / count for contender in contenders)
    ratios = ", ".join(f"{other / ours:.1f}" for other in others)
    cells = " | ".join(f"{time:.2f}" for time in (ours, *others))
    print(f"| {net} | {side} | {count} | {cells} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
