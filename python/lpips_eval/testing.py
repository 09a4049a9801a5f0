"""An assertion for tests of code that makes images."""

from __future__ import annotations

import collections
import functools
import os
import re
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._scorer import Scorer

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from ._types import Image, Range

# Maps that this process wrote, by test: another run of a test replaces its maps.
_maps: collections.Counter[str] = collections.Counter()


def assert_perceptually_close(
    actual: Image,
    expected: Image,
    *,
    lpips: float,
    range: Range | None = None,
    net: str = "alex",
    device: str = "auto",
    folder: str | os.PathLike[str] | None = None,
) -> None:
    """Fails if the LPIPS of two images is above a limit, and leaves a map of where they differ.

    Args:
        actual, expected: paths, PIL images or arrays: see `lpips_eval.Scorer`.
        lpips: the largest distance that passes.
        range: what floats stand for, `(0, 1)` or `(-1, 1)`.
        net: `"alex"`, `"vgg"` or `"squeeze"`.
        device: `"auto"`, `"cpu"` or `"cuda"`.
        folder: where the map goes; the default is the environment variable LPIPS_FAILURES_DIR, or
            `lpips-failures`.

    Raises:
        AssertionError: the distance is above the limit. It names the map: `<test>.map.png`, whose brightest
            pixel is the largest difference, and `<test>.map.npy`, its values.
    """
    __tracebackhide__ = True
    # The reference is what is expected.
    score = _scorer(os.getpid(), net, device, False).score(expected, actual, range)
    if score.total <= lpips:
        return
    map = _scorer(os.getpid(), net, device, True).score(expected, actual, range).map
    assert map is not None
    row, column = (int(index) for index in divmod(map.argmax(), map.shape[1]))
    picture = _keep(map, Path(folder or os.environ.get("LPIPS_FAILURES_DIR") or "lpips-failures"))
    raise AssertionError(
        f"LPIPS ({net}) is {score.total:.6g}, above the limit {lpips:.6g}\n"
        f"  largest difference at row {row}, column {column} of {map.shape[0]} x {map.shape[1]}\n"
        f"  map: {picture}"
    )


@functools.lru_cache(maxsize=None)
def _scorer(process: int, net: str, device: str, spatial: bool) -> Scorer:
    """One for each process: a scorer does not survive a fork."""
    return Scorer(net, device, spatial=spatial)


def _keep(map: NDArray[numpy.float32], folder: Path) -> Path:
    """Writes a map as picture and values under the name of the current test. Returns the picture."""
    import numpy

    # pytest states it as `tests/test_a.py::test_b[c] (call)`.
    test = os.environ.get("PYTEST_CURRENT_TEST", "image").rsplit(" ", 1)[0]
    name = re.sub(r"[^\w.-]+", "-", test).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    _maps[name] += 1
    count = "" if _maps[name] == 1 else f"-{_maps[name]}"
    picture = folder / f"{name}{count}.map.png"
    numpy.save(picture.with_suffix(".npy"), map)
    grey = numpy.round(map * (255 / map.max())).astype(numpy.uint8)
    picture.write_bytes(_png(grey))
    return picture


def _png(grey: Any) -> bytes:
    """A grey PNG of bytes, (row, column)."""
    height, width = grey.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    data = zlib.compress(rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
