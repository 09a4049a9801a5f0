"""Pairs of real photographs: random crops of the sample set tests/data/sr, references against methods."""

import csv
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import png

METHODS = ("bicubic", "lanczos", "nearest")
NEAR = "near"  # the method of a reference against itself with a few samples one level higher


@dataclass(frozen=True)
class Photo:
    """One row of the sample set, decoded when it is first looked at."""

    item: str
    method: str
    paths: tuple[Path, Path]

    @property
    def ref(self) -> png.Image:
        """The photograph."""
        return _decoded(self.paths[0])

    @property
    def dist(self) -> png.Image:
        """What a method made of it."""
        return _decoded(self.paths[1])


@cache
def _decoded(path: Path) -> png.Image:
    return png.read(path)


@dataclass(frozen=True)
class CropPair:
    """Two images of one size. `method` is a method of the sample set, or NEAR."""

    id: str
    method: str
    ref: png.Image
    dist: png.Image


def load(folder: Path) -> list[Photo]:
    """Every row of the sample set."""
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [Photo(row["item"], row["method"], (folder / row["ref"], folder / row["dist"])) for row in rows]


def crops(
    photos: Sequence[Photo], count: int, sides: tuple[int, int], seed: int, near: int = 0
) -> list[CropPair]:
    """`count` crops, photographs and methods in turn, and `near` near-identical pairs.

    Each crop has its own place and its own sides, drawn from `sides` (both ends included).
    """
    draw = random.Random(seed)
    pairs = []
    for index in range(count + near):
        photo = photos[index % len(photos)]
        width = draw.randint(sides[0], min(sides[1], photo.ref.width))
        height = draw.randint(sides[0], min(sides[1], photo.ref.height))
        left = draw.randint(0, photo.ref.width - width)
        top = draw.randint(0, photo.ref.height - height)
        box = (left, top, width, height)
        ref = photo.ref.crop(*box)
        if index < count:
            method, dist = photo.method, photo.dist.crop(*box)
        else:
            method, dist = NEAR, nudged(ref, draw)
        pairs.append(CropPair(f"{index:04}_{photo.item}_{method}", method, ref, dist))
    return pairs


def nudged(image: png.Image, draw: random.Random) -> png.Image:
    """The image with one sample in a thousand (at least one) one level off."""
    rgb = bytearray(image.rgb)
    for index in draw.sample(range(len(rgb)), max(1, len(rgb) // 1000)):
        rgb[index] += 1 if rgb[index] < 255 else -1
    return png.Image(image.width, image.height, bytes(rgb))


def mosaic(photos: Sequence[Photo], side: int, draw: random.Random) -> tuple[png.Image, png.Image]:
    """A pair of side x side pixels tiled of crops, so that large files are as dense as photographs."""
    tile = min(side, 192)
    ref_rows: list[bytes] = []
    dist_rows: list[bytes] = []
    for _ in range(-(-side // tile)):
        band_ref = [b""] * tile
        band_dist = [b""] * tile
        for _ in range(-(-side // tile)):
            photo = draw.choice(photos)
            left = draw.randint(0, photo.ref.width - tile)
            top = draw.randint(0, photo.ref.height - tile)
            for band, image in ((band_ref, photo.ref), (band_dist, photo.dist)):
                rgb = image.crop(left, top, tile, tile).rgb
                for row in range(tile):
                    band[row] += rgb[3 * tile * row : 3 * tile * (row + 1)]
        ref_rows += band_ref
        dist_rows += band_dist
    rows = (ref_rows[:side], dist_rows[:side])
    ref, dist = (b"".join(row[: 3 * side] for row in part) for part in rows)
    return png.Image(side, side, ref), png.Image(side, side, dist)


def write(folder: Path, pairs: Sequence[CropPair], order: Sequence[int] = ()) -> Path:
    """Writes images (unless they are there) and a manifest of the rows `order` (all, in order)."""
    folder.mkdir(parents=True, exist_ok=True)
    for pair in pairs:
        for side, image in (("ref", pair.ref), ("dist", pair.dist)):
            path = folder / f"{pair.id}_{side}.png"
            if not path.exists():
                png.write(path, image)
    rows = [pairs[index] for index in (order or range(len(pairs)))]
    lines = ["id,ref,dist", *(f"{row.id},{row.id}_ref.png,{row.id}_dist.png" for row in rows)]
    return manifest(folder, lines)


def write_files(folder: Path, photos: Sequence[Photo], side: int, unique: int, rows: int, seed: int) -> Path:
    """A set of `rows` pairs of PNG files, `unique` of them different and the others hard links to
    those, so that no two rows share a name. Returns the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    lines = ["id,ref,dist"]
    for row in range(rows):
        names = [f"{row:05}_{part}.png" for part in ("ref", "dist")]
        if row < unique:
            for name, image in zip(names, mosaic(photos, side, draw), strict=True):
                png.write(folder / name, image)
        else:
            for name, part in zip(names, ("ref", "dist"), strict=True):
                os.link(folder / f"{row % unique:05}_{part}.png", folder / name)
        lines.append(f"{row:05},{names[0]},{names[1]}")
    return manifest(folder, lines)


def manifest(folder: Path, lines: Sequence[str]) -> Path:
    """Writes the next free `manifest_N.csv` of a folder."""
    path = folder / f"manifest_{len(list(folder.glob('manifest_*.csv')))}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
