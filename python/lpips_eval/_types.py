"""Types of arguments."""

from __future__ import annotations

import os
from typing import Any, Literal, Protocol, Tuple, Union


class HasArrayInterface(Protocol):
    """NumPy's arrays and PIL's images."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


class HasDLPack(Protocol):
    """Arrays of PyTorch, JAX and others."""

    def __dlpack__(self) -> Any: ...
    def __dlpack_device__(self) -> Any: ...


#: A path, a PIL image, or an array of the shape (height, width, 3).
Image = Union[str, "os.PathLike[str]", HasArrayInterface, HasDLPack]
#: What floats stand for: (0, 1) or (-1, 1).
Range = Tuple[float, float]
#: What becomes of a pair that cannot be scored.
OnError = Literal["raise", "return"]
