#!/usr/bin/env python3
"""Makes tests/data/jpeg: small JPEG files and the SHA-256 of the RGB samples that PIL decodes.

Usage, with Pillow 11 or newer in a virtual environment:
    python scripts/make_jpeg_twins.py
"""
import csv
import hashlib
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/data/jpeg"


def main() -> None:
    """Writes every twin and expected.csv."""
    OUT.mkdir(exist_ok=True)
    photo = Image.open(ROOT / "tests/data/sr/hr/astronaut.png").convert("RGB")
    cases = {
        f"{name}_q{quality}": dict(quality=quality, subsampling=subsampling)
        for quality in (10, 92)
        for name, subsampling in (("444", 0), ("422", 1), ("420", 2))
    }
    cases["progressive"] = dict(quality=80, progressive=True)
    cases["optimized"] = dict(quality=80, optimize=True)
    with (OUT / "expected.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["name", "width", "height", "sha256"])
        for name, options in cases.items():
            for width, height in ((64, 48), (37, 23), (17, 1)):
                for mode in ("RGB", "L"):
                    image = photo.crop((90, 60, 90 + width, 60 + height)).convert(mode)
                    kept = {k: v for k, v in options.items() if mode == "RGB" or k != "subsampling"}
                    path = OUT / f"{name}_{width}x{height}_{mode.lower()}.jpg"
                    image.save(path, **kept)
                    rgb = Image.open(path).convert("RGB").tobytes()
                    table.writerow([path.name, width, height, hashlib.sha256(rgb).hexdigest()])


if __name__ == "__main__":
    main()
