#!/usr/bin/env python3
"""Whole jobs: this program against the usual Python script, alternating in one run.

Usage:
    cargo build --release
    python3 -m venv .venv-bench
    .venv-bench/bin/pip install torch torchvision lpips==0.1.4 pillow numpy
    .venv-bench/bin/python scripts/bench_peers.py [--rounds 3] [--threads 2] [--nets alex,vgg]

The peer loads PNG files with PIL, 8 pairs at a time, and scores them with the module of `lpips`
0.1.4 in channels_last under inference_mode; its trunk comes from weights/, so that nothing is
downloaded. Interpreter start and imports are left out of its time, and counted in ours. The numbers
of both must agree within 1e-5 before any time is printed.
"""
import argparse
import csv
import json
import os
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target/release/lpips"


def peer(manifest: Path, net: str, threads: int) -> None:
    """Child process: scores the manifest, prints JSON with seconds, peak memory and scores."""
    import warnings

    warnings.filterwarnings("ignore")
    import lpips
    import numpy as np
    import torch
    from PIL import Image

    torch.set_num_threads(threads)
    module = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    data = (ROOT / f"weights/{net}.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    tensors = json.loads(data[8 : 8 + length])
    state = module.net.state_dict()
    for key in state:
        entry = tensors["features." + ".".join(key.split(".")[1:])]
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[start:end], dtype="<f4").reshape(entry["shape"])
        state[key] = torch.from_numpy(values.copy())
    module.net.load_state_dict(state)
    module = module.to(memory_format=torch.channels_last)

    def load(path: str) -> "torch.Tensor":
        image = np.asarray(Image.open(manifest.parent / path).convert("RGB"))
        return torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 127.5 - 1

    rows = list(csv.DictReader(manifest.open()))
    started = time.perf_counter()
    scores: list = []
    with torch.inference_mode():
        start = 0
        while start < len(rows):
            pairs = [(load(rows[start]["ref"]), load(rows[start]["dist"]))]
            for row in rows[start + 1 : start + 8]:
                pair = load(row["ref"]), load(row["dist"])
                if pair[0].shape != pairs[0][0].shape:
                    break
                pairs.append(pair)
            sides = (torch.stack(side) for side in zip(*pairs))
            ref, dist = (side.contiguous(memory_format=torch.channels_last) for side in sides)
            scores += module(ref, dist).flatten().tolist()
            start += len(pairs)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak, "scores": scores}))


def ours(manifest: Path, net: str, threads: int) -> dict:
    """Runs the program as a whole process."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [PROGRAM, "eval", manifest, "-o", run, "--net", net, "--threads", str(threads), "-q"]
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if status:
            sys.exit(f"{command} failed with status {status}")
        scores = [float(row[f"lpips_{net}"]) for row in csv.DictReader((run / "pairs.csv").open())]
    return {"seconds": seconds, "peak_mib": usage.ru_maxrss / 1024, "scores": scores}


def theirs(manifest: Path, net: str, threads: int) -> dict:
    """Runs the peer in a process of its own."""
    command = [sys.executable, __file__, "--peer", manifest, "--nets", net, "--threads", str(threads)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def crops(folder: Path, count: int = 200) -> Path:
    """Makes pairs of 256x256 PNG files: crops of the sample set's photographs, private references."""
    from PIL import Image

    lines = ["ref,dist"]
    rows = list(csv.DictReader((ROOT / "tests/data/sr/manifest.csv").open()))
    for index in range(count):
        row = rows[index % len(rows)]
        for side in ("ref", "dist"):
            image = Image.open(ROOT / "tests/data/sr" / row[side]).convert("RGB").resize((320, 320))
            x, y = index * 7 % 64, index * 13 % 64
            image.crop((x, y, x + 256, y + 256)).save(folder / f"{index}_{side}.png")
        lines.append(f"{index}_ref.png,{index}_dist.png")
    manifest = folder / "pairs.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def main() -> None:
    """Prints one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--nets", default="alex,vgg")
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return peer(args.peer, args.nets, args.threads)
    print("| job | net | ours pairs/s | PyTorch pairs/s | ratio | ours peak MiB | PyTorch peak MiB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        jobs = {
            "sample set, 21 pairs": ROOT / "tests/data/sr/manifest.csv",
            "200 pairs of 256x256": crops(Path(folder)),
        }
        for name, manifest in jobs.items():
            for net in args.nets.split(","):
                rounds = [
                    (ours(manifest, net, args.threads), theirs(manifest, net, args.threads))
                    for _ in range(args.rounds)
                ]
                for own, other in zip(rounds[0][0]["scores"], rounds[0][1]["scores"], strict=True):
                    if abs(own - other) > 1e-5:
                        sys.exit(f"{name}, {net}: {own} against {other}")
                median = [statistics.median(r[i]["seconds"] for r in rounds) for i in (0, 1)]
                memory = [max(r[i]["peak_mib"] for r in rounds) for i in (0, 1)]
                rates = [len(rounds[0][0]["scores"]) / seconds for seconds in median]
                print(
                    f"| {name} | {net} | {rates[0]:.1f} | {rates[1]:.1f} | {rates[0] / rates[1]:.2f}"
                    f" | {memory[0]:.0f} | {memory[1]:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
