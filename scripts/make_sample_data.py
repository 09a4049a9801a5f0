#!/usr/bin/env python3
"""Make tests/data/sr: seven photographs and what three simple super-resolution methods make of them.

    python3 -m venv .venv
    .venv/bin/pip install --no-deps scikit-image==0.25.2 pillow==11.3.0
    .venv/bin/python scripts/make_sample_data.py [--dir tests/data/sr]

Needs Python 3.10 or later. The photographs lie in scikit-image's package, which is not imported, so
that it needs none of its dependencies. With these versions the result is the same bytes every time.
"""

import argparse
import csv
import hashlib
import importlib.util
import io
import os
import sys

import PIL
from PIL import Image

PILLOW = "11.3.0"
SCALE = 4

# item: file, its SHA-256, and the box that is cut out (left, top, width, height; sides divisible by 4).
ITEMS = {
    "astronaut": (
        "astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        (96, 0, 256, 256),
    ),
    "camera": (
        "camera.png",
        "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
        (128, 64, 256, 256),
    ),
    "chelsea": (
        "chelsea.png",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        (48, 32, 320, 240),
    ),
    "coffee": (
        "coffee.png",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        (200, 120, 256, 192),
    ),
    "hubble": (
        "hubble_deep_field.jpg",
        "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
        (620, 360, 256, 256),
    ),
    "retina": (
        "retina.jpg",
        "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
        (120, 480, 256, 256),
    ),
    "rocket": (
        "rocket.jpg",
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        (220, 107, 240, 320),
    ),
}

METHODS = {
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}


def photograph(folder, item):
    """A crop of one of scikit-image's photographs."""
    name, sha256, (left, top, width, height) = ITEMS[item]
    with open(os.path.join(folder, name), "rb") as file:
        data = file.read()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        sys.exit("error: %s: SHA-256 is %s, expected %s" % (name, found, sha256))
    image = Image.open(io.BytesIO(data))
    box = (left, top, left + width, top + height)
    if width % SCALE or height % SCALE or box[2] > image.width or box[3] > image.height:
        sys.exit("error: %s: the box %s does not fit %s" % (item, box, image.size))
    return image.crop(box)


def save(image, path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # A fresh image: no metadata of the source travels along.
    clean = Image.frombytes(image.mode, image.size, image.tobytes())
    clean.save(path, format="PNG", optimize=True)


def main():
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "data", "sr")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", default=os.path.normpath(default), help="where the files go")
    arguments = parser.parse_args()
    package = importlib.util.find_spec("skimage")
    if package is None or PIL.__version__ != PILLOW:
        sys.exit(
            "error: needs scikit-image 0.25.2 and Pillow %s\nhint: pip install --no-deps scikit-image==0.25.2 "
            "pillow==%s" % (PILLOW, PILLOW)
        )
    folder = os.path.join(package.submodule_search_locations[0], "data")

    rows = []
    for item in sorted(ITEMS):
        reference = photograph(folder, item)
        save(reference, os.path.join(arguments.dir, "hr", item + ".png"))
        width, height = reference.size
        small = reference.resize((width // SCALE, height // SCALE), Image.Resampling.BICUBIC)
        for method in sorted(METHODS):
            enlarged = small.resize(reference.size, METHODS[method])
            save(enlarged, os.path.join(arguments.dir, method, item + ".png"))
            rows.append(["hr/%s.png" % item, "%s/%s.png" % (method, item), item, method])
    with open(os.path.join(arguments.dir, "manifest.csv"), "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["ref", "dist", "item", "method"])
        writer.writerows(rows)


if __name__ == "__main__":
    main()
