"""Weights without a library: safetensors files, files sent in pieces, and the formula trunk."""

import array
import hashlib
import json
import math
import struct
import sys
from pathlib import Path

from .nets import convolutions

# name -> (shape, little-endian float32 values)
Tensors = dict[str, tuple[list[int], "array.array[float]"]]


def read(path: Path) -> Tensors:
    """Reads a safetensors file of float32 tensors. Raises ValueError where it is none."""
    data = path.read_bytes()
    if len(data) < 8:
        raise ValueError(f"{path}: expected a safetensors file, found {len(data)} bytes")
    (length,) = struct.unpack("<Q", data[:8])
    try:
        header = json.loads(data[8 : 8 + length])
    except ValueError:
        raise ValueError(f"{path}: not a safetensors file") from None
    tensors: Tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        values = array.array("f")
        values.frombytes(data[start:end])
        if entry["dtype"] != "F32" or len(values) != math.prod(entry["shape"]):
            raise ValueError(f"{path}: tensor `{name}` is not float32 of shape {entry['shape']}")
        if sys.byteorder == "big":
            values.byteswap()
        tensors[name] = (entry["shape"], values)
    return tensors


def write(path: Path, tensors: Tensors) -> None:
    """Writes a safetensors file, tensors in the order of their names."""
    header, offset, blocks = {}, 0, []
    for name in sorted(tensors):
        shape, values = tensors[name]
        block = values.tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(block)]}
        offset += len(block)
        blocks.append(block)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blocks))


def formula(net: str) -> Tensors:
    """The trunk that needs no file: element i = 1, 2, ... of tensor k = 1, 2, ... (weight before bias)
    is u = 2 frac(0.618... i + 0.754... k) - 1 in float64, times sqrt(6 / fan-in) in weights and 0.1
    in biases, rounded to float32 at the end (tests/data/golden/README.md)."""
    tensors: Tensors = {}

    def series(k: int, count: int, scale: float) -> "array.array[float]":
        start, step = k * 0.7548776662466927, 0.6180339887498949
        return array.array(
            "f", ((2.0 * ((i * step + start) % 1.0) - 1.0) * scale for i in range(1, count + 1))
        )

    for index, (conv, c_in) in enumerate(convolutions(net)):
        fan_in = c_in * conv.kernel**2
        shape = [conv.c_out, c_in, conv.kernel, conv.kernel]
        weight = series(2 * index + 1, conv.c_out * fan_in, math.sqrt(6.0 / fan_in))
        tensors[f"{conv.name}.weight"] = (shape, weight)
        tensors[f"{conv.name}.bias"] = ([conv.c_out], series(2 * index + 2, conv.c_out, 0.1))
    return tensors


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def published(folder: Path) -> dict[str, str]:
    """File name -> SHA-256, from SHA256SUMS."""
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines if line.strip())}


def join_pieces(folder: Path, name: str, expected: str) -> str | None:
    """Joins `NAME.part-*`, as `split` makes them, into `NAME`, if that is absent.

    A connection may be too narrow for 56 MiB at once. Returns what stands against joining: the pieces
    are not all there yet, or not what was published. None when there is nothing to join, or it is done.
    """
    target = folder / name
    pieces = sorted(folder.glob(f"{name}.part-*"))
    if target.exists() or not pieces:
        return None
    partial = folder / f"{name}.joining"
    with partial.open("wb") as out:
        for piece in pieces:
            out.write(piece.read_bytes())
    found = sha256(partial)
    if found != expected:
        size = partial.stat().st_size
        partial.unlink()
        names = ", ".join(piece.name for piece in pieces)
        return f"{names}: {size} bytes together with SHA-256 {found}, expected {expected}"
    partial.rename(target)
    return None
