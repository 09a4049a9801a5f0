"""Scores images in memory and in files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

from . import _core
from ._errors import DtypeError, PairError

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from ._types import Image, OnError, Range


class Score:
    """The distance of a pair. `float(score)` is its total."""

    __slots__ = ("layer_maps", "layers", "map", "rescored", "total")

    #: LPIPS: the sum of `layers`.
    total: float
    #: The distance of each layer, the first layer first.
    layers: tuple[float, ...]
    #: Where the images differ: float32 values, (row, column); only of a scorer with `spatial=True`.
    map: NDArray[numpy.float32] | None
    #: What each layer finds, (row, column) of its features; empty without `spatial=True`. `map` is the sum of
    #: `layer_maps_in_pixels()`.
    layer_maps: tuple[NDArray[numpy.float32], ...]
    #: Whether fp16 overflowed and this is the value in fp32.
    rescored: bool

    def __init__(
        self,
        total: float,
        layers: Iterable[float],
        map: NDArray[numpy.float32] | None = None,
        rescored: bool = False,
        layer_maps: Iterable[NDArray[numpy.float32]] = (),
    ) -> None:
        self.total = total
        self.layers = tuple(layers)
        self.map = map
        self.layer_maps = tuple(layer_maps)
        self.rescored = rescored

    def layer_maps_in_pixels(self) -> list[NDArray[numpy.float32]]:
        """The map of each layer, resized to the images; empty without `spatial=True`."""
        if self.map is None:
            return []
        height, width = self.map.shape
        layers = ((values.tobytes(), values.shape) for values in self.layer_maps)
        return [
            _array(*_core.resized(values, shape, (height, width))) for values, shape in layers
        ]

    def __float__(self) -> float:
        return self.total

    def __repr__(self) -> str:
        return f"Score({self.total:.9g})"


class Scorer:
    """Scores pairs of images with one net on one device, as `lpips eval` scores them, bit for bit.

    An image is a path, a PIL image, or an array of the shape (height, width, 3): NumPy's, or one that has
    DLPack (PyTorch, JAX, CuPy). Arrays that are contiguous are not copied, but for those on a GPU, which their
    library copies to the host after the work that it has queued. Samples are uint8, uint16 (0 is black,
    the largest number is white), or floats, whose `range` must be given: `(0, 1)` or `(-1, 1)`.

    Opening a scorer loads and verifies the weights, and opens the device: keep it. It may be used by
    several threads, which take turns, but not by a process that was forked after it was opened.

    Args:
        net: `"alex"`, `"vgg"` or `"squeeze"`; the default is that of the preset, which is `"alex"`.
        device: `"auto"` (a GPU if one works, else the CPU), `"cpu"`, `"cuda"`, `"cuda:1"`, `"cuda:all"`.
        precision: `"fp32"`; on GPUs also `"tf32"` and `"fp16"`.
        preset: whose numbers to compute, such as `"torchmetrics"`; docs/metrics.md lists them.
        version: of the published metric, `"0.1"` or `"0.0"`.
        baseline: sums over channels without the lin weights (`lpips=False` of the package `lpips`).
        semantic_layer: weights each layer's map by the activity of this tap of the reference, from 0.
        spatial: whether scores have maps.
        threads: those that decode files, and those that compute on the CPU; one per processor if absent.
        batch: at most so many pairs in a batch; scores do not depend on it.
        trunk: a checkpoint with a trunk of another training.
        lin: a checkpoint with lin weights of another training.
        weights_dir: the only folder to look for the weights of VGG16 and SqueezeNet in.
        cuda_libraries: folders that are searched for CUDA's libraries before all others.

    Raises:
        UsageError: options are unknown or contradict each other.
        WeightsError: weights are missing or altered.
        DeviceError: the device cannot be used.
    """

    __slots__ = ("_core", "_keywords")

    def __init__(
        self,
        net: str | None = None,
        device: str = "auto",
        precision: str = "fp32",
        *,
        preset: str | None = None,
        version: str = "0.1",
        baseline: bool = False,
        semantic_layer: int | None = None,
        spatial: bool = False,
        threads: int | None = None,
        batch: int | None = None,
        trunk: str | os.PathLike[str] | None = None,
        lin: str | os.PathLike[str] | None = None,
        weights_dir: str | os.PathLike[str] | None = None,
        cuda_libraries: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        self._keywords = {
            "net": net,
            "device": device,
            "precision": precision,
            "preset": preset,
            "version": version,
            "baseline": baseline,
            "semantic_layer": semantic_layer,
            "spatial": spatial,
            "threads": threads,
            "batch": batch,
            "trunk": trunk,
            "lin": lin,
            "weights_dir": weights_dir,
            "cuda_libraries": list(cuda_libraries),
        }
        self._core = _core.Scorer(self._keywords)

    @property
    def device(self) -> str:
        """What it computes on, such as `CPU: AMD EPYC, 2 threads`."""
        return self._core.device

    @property
    def signature(self) -> str:
        """What decides the numbers, in one line for a paper; of samples from 0 to 1."""
        return self._core.signature

    def score(self, ref: Image, dist: Image, range: Range | None = None) -> Score:
        """Scores one pair. Several are scored faster by `score_all`.

        Raises:
            SizeError, RangeError, PairError: the pair cannot be scored.
            DtypeError, ShapeError: an object is no image.
            DeviceError: the device failed, or failed before.
        """
        return self.score_all([(ref, dist)], range)[0]

    @overload
    def score_all(
        self,
        pairs: Iterable[tuple[Image, Image]],
        range: Range | None = None,
        *,
        on_error: Literal["raise"] = "raise",
    ) -> list[Score]: ...

    @overload
    def score_all(
        self,
        pairs: Iterable[tuple[Image, Image]],
        range: Range | None = None,
        *,
        on_error: Literal["return"],
    ) -> list[Score | PairError]: ...

    def score_all(
        self,
        pairs: Iterable[tuple[Image, Image]],
        range: Range | None = None,
        *,
        on_error: OnError = "raise",
    ) -> list[Any]:
        """Scores pairs, (reference, distorted), with several batches in flight.

        Pairs are taken while earlier ones are scored, so an iterator may read or make them. In a batch,
        images of one memory go through the net once. Files are scored faster by `score_files`.

        Args:
            range: what floats stand for, in arrays and in files.
            on_error: `"raise"` raises the error of the first pair that cannot be scored; `"return"` puts
                the error of each such pair in its place.

        Raises: see `score`.
        """
        return _scores(self._core.score_all(map(_pair, pairs), range), on_error)

    def score_files(
        self,
        pairs: Iterable[tuple[str | os.PathLike[str], str | os.PathLike[str]]],
        range: Range | None = None,
        *,
        on_error: OnError = "raise",
    ) -> list[Any]:
        """Scores pairs of files, (reference, distorted). Several threads decode while the device computes.

        A file that neighbouring pairs name is decoded once. Arguments and errors: see `score_all`.
        """
        paths = [(os.fspath(ref), os.fspath(dist)) for ref, dist in pairs]
        return _scores(self._core.score_files(paths, range), on_error)

    def __repr__(self) -> str:
        return f"<lpips_eval.Scorer {self.signature} on {self.device}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process opens its own device.
        return _reopened, (self._keywords,)


def _reopened(keywords: dict[str, Any]) -> Scorer:
    return Scorer(**keywords)


def _pair(pair: tuple[Image, Image]) -> tuple[Any, Any]:
    ref, dist = pair
    first = _image(ref)
    return first, first if dist is ref else _image(dist)


def _image(image: Image) -> Any:
    """A path as text, or an object with the memory of an image."""
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    if hasattr(image, "convert") and hasattr(image, "mode"):
        # Modes of 16 and 32 bits are clipped to 8 by PIL.
        if image.mode in ("I", "F") or image.mode.startswith("I;"):
            raise DtypeError(
                f"a PIL image has the mode {image.mode!r}, which PIL does not convert to RGB exactly",
                "pass the path of its file, or `numpy.asarray(image)` with three channels",
            )
        return image if image.mode == "RGB" else image.convert("RGB")
    return _on_host(image)


#: Kinds of devices of DLPack whose memory the CPU reads.
_HOST = {1, 3}


def _on_host(array: Any) -> Any:
    """An array, or the copy that its library makes of one on a GPU, on the stream that made the array."""
    if not hasattr(array, "__dlpack_device__") or array.__dlpack_device__()[0] in _HOST:
        return array
    if hasattr(array, "cpu"):
        return array.cpu()  # PyTorch
    if hasattr(array, "get"):
        return array.get()  # CuPy
    if not hasattr(array, "__array__"):
        return array  # which is refused
    import numpy

    return numpy.asarray(array)  # JAX


def _scores(outcomes: list[Any], on_error: OnError) -> list[Any]:
    return [_score(index, outcome, on_error) for index, outcome in enumerate(outcomes)]


def _score(index: int, outcome: Any, on_error: OnError) -> Score | PairError:
    if not isinstance(outcome, tuple):
        if on_error == "return" and isinstance(outcome, PairError):
            return outcome
        outcome.index = index
        raise outcome
    total, layers, map, layer_maps, rescored = outcome
    whole = None if map is None else _array(*map)
    return Score(total, layers, whole, rescored, (_array(*layer) for layer in layer_maps))


def _array(values: bytearray, height: int, width: int) -> NDArray[numpy.float32]:
    import numpy

    return numpy.frombuffer(values, numpy.float32).reshape(height, width)
