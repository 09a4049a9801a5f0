#!/usr/bin/env python3
"""Decoding against PIL on one core, alternating in one run.

    python3 scripts/bench_decode.py            # about a minute

It needs an interpreter with pillow and numpy: that of scripts/bench_peers.py (.venv-bench), if it is
there. The pictures are the sample set's photographs, enlarged to 2040x1356 with noise. Both read the
file and give 8-bit RGB; PIL's pixels go into a numpy array.
"""
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contenders import ROOT, Contender, race

DECODE = ROOT / "target/release/examples/decode"
SIZE = (2040, 1356)
FILES = {
    "JPEG q92 4:2:0": ("a.jpg", {"quality": 92, "subsampling": 2}),
    "JPEG q92 4:4:4": ("b.jpg", {"quality": 92, "subsampling": 0}),
    "JPEG q92 4:2:0 progressive": ("c.jpg", {"quality": 92, "subsampling": 2, "progressive": True}),
    "PNG": ("d.png", {}),
    "WebP q90": ("e.webp", {"quality": 90}),
}


def peer(path: str) -> None:
    """Child process: PIL."""
    import numpy
    from PIL import Image

    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        for _ in range(int(line)):
            pixels = numpy.asarray(Image.open(path).convert("RGB"))
        seconds = (time.perf_counter() - started) / int(line)
        print(f"{seconds:.9f} {pixels.mean(dtype=numpy.float64):.9f}", flush=True)


def picture():
    import numpy
    from PIL import Image

    image = Image.open(ROOT / "tests/data/sr/hr/chelsea.png").convert("RGB").resize(SIZE, Image.BICUBIC)
    noise = numpy.random.default_rng(1).integers(-6, 7, (SIZE[1], SIZE[0], 3))
    return Image.fromarray((numpy.asarray(image).astype(int) + noise).clip(0, 255).astype("uint8"))


def main() -> None:
    venv = ROOT / ".venv-bench/bin/python"
    if venv.exists() and Path(sys.prefix) != venv.parent.parent:
        os.execv(venv, [str(venv), __file__, *sys.argv[1:]])
    if sys.argv[1:2] == ["--peer"]:
        return peer(sys.argv[2])
    import PIL

    build = ["cargo", "build", "--release", "--locked", "-q", "--example", "decode"]
    subprocess.run(build, cwd=ROOT, check=True)
    print(f"pillow {PIL.__version__}, {SIZE[0]}x{SIZE[1]}, ms, min / median\n")
    print("| file | lpips | PIL | ratio of medians |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, (file, options) in FILES.items():
            path = Path(folder) / file
            picture().save(path, **options)
            contenders = [
                Contender("lpips", [DECODE, path]),
                Contender("pil", [sys.executable, __file__, "--peer", path]),
            ]
            times = race(contenders, 8, 0)
            low, mid = times["min_ms"], times["median_ms"]
            cells = [f"{low[one]:.1f} / {mid[one]:.1f}" for one in ("lpips", "pil")]
            print(f"| {name} | {' | '.join(cells)} | **{mid['pil'] / mid['lpips']:.2f}** |", flush=True)


if __name__ == "__main__":
    main()
