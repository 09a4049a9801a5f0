"""PNG files: through Pillow where it is installed, else by a reader and a writer of our own.

Our own reader knows what the sample photographs are: 8 bits, grey or RGB, not interlaced.
"""

import struct
import zlib
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

try:
    from PIL import Image as _pil
except ImportError:
    _pil = None  # type: ignore[assignment]

CODEC = "Pillow" if _pil else "built in (unfiltered rows)"


@dataclass(frozen=True)
class Image:
    """RGB, 8 bits, row by row."""

    width: int
    height: int
    rgb: bytes

    def crop(self, left: int, top: int, width: int, height: int) -> "Image":
        """A part that must lie inside."""
        assert left >= 0 and top >= 0 and left + width <= self.width and top + height <= self.height
        stride = 3 * self.width
        starts = (row * stride + 3 * left for row in range(top, top + height))
        return Image(width, height, b"".join(self.rgb[at : at + 3 * width] for at in starts))


def read(path: Path) -> Image:
    """Reads one file as RGB."""
    if _pil is None:
        return read_plain(path)
    with _pil.open(path) as opened:
        image = opened.convert("RGB")
    return Image(image.width, image.height, image.tobytes())


def write(path: Path, image: Image) -> None:
    """Writes one file."""
    if _pil is None:
        write_plain(path, image)
    else:
        _pil.frombytes("RGB", (image.width, image.height), image.rgb).save(path)


def write_plain(path: Path, image: Image) -> None:
    """Writes a PNG of unfiltered rows."""
    stride = 3 * image.width
    rows = b"".join(b"\0" + image.rgb[row * stride : (row + 1) * stride] for row in range(image.height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def read_plain(path: Path) -> Image:
    """Reads an 8-bit grey or RGB PNG without interlacing."""
    data = path.read_bytes()
    at, compressed, header = 8, b"", b""
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, block = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IHDR":
            header = block
        elif kind == b"IDAT":
            compressed += block
    width, height, depth, color, _, _, interlace = struct.unpack(">IIBBBBB", header)
    samples = {0: 1, 2: 3}.get(color)
    if samples is None or depth != 8 or interlace:
        raise ValueError(f"{path}: expected 8 bits, grey or RGB, not interlaced; install Pillow for others")
    raw = zlib.decompress(compressed)
    stride = width * samples
    out, above = bytearray(), bytearray(stride)
    for row in range(height):
        start = row * (stride + 1)
        above = _unfilter(raw[start], bytearray(raw[start + 1 : start + 1 + stride]), above, samples)
        out += above
    rgb = bytes(out) if samples == 3 else bytes(value for value in out for _ in range(3))
    return Image(width, height, rgb)


def _unfilter(kind: int, line: bytearray, above: bytearray, step: int) -> bytearray:
    """Undoes one row's filter (PNG specification, chapter 9); `step` is the bytes of a pixel."""
    if kind == 1:
        for channel in range(step):
            line[channel::step] = bytes([total & 255 for total in accumulate(line[channel::step])])
    elif kind == 2:
        line[:] = bytes([(a + b) & 255 for a, b in zip(line, above, strict=True)])
    elif kind in (3, 4):
        for channel in range(step):
            undo = _average if kind == 3 else _paeth
            line[channel::step] = undo(line[channel::step], above[channel::step])
    return line


def _average(line: bytearray, above: bytearray) -> bytes:
    left, out = 0, []
    for value, up in zip(line, above, strict=True):
        left = (value + (left + up) // 2) & 255
        out.append(left)
    return bytes(out)


def _paeth(line: bytearray, above: bytearray) -> bytes:
    left = corner = 0
    out = []
    for value, up in zip(line, above, strict=True):
        to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
        if to_left <= to_up and to_left <= to_corner:
            guess = left
        elif to_up <= to_corner:
            guess = up
        else:
            guess = corner
        left, corner = (value + guess) & 255, up
        out.append(left)
    return bytes(out)
