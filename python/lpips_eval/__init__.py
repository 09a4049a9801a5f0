"""LPIPS of image pairs, with the numbers of the command `lpips`, bit for bit.

    >>> import lpips_eval
    >>> scorer = lpips_eval.Scorer()
    >>> score = scorer.score("ref.png", "dist.png")
    >>> score.total, score.layers

`lpips_eval.compat.LPIPS` takes the place of `lpips.LPIPS` for evaluation, and
`lpips_eval.testing.assert_perceptually_close` is for tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._core import __version__
from ._errors import (
    DeviceError,
    DtypeError,
    Error,
    FileError,
    InternalError,
    PairError,
    RangeError,
    ShapeError,
    SizeError,
    UsageError,
    WeightsError,
)
from ._scorer import Score, Scorer

if TYPE_CHECKING:
    from ._runs import Run, RunError, RunWarning, compare, evaluate

__all__ = [
    "DeviceError",
    "DtypeError",
    "Error",
    "FileError",
    "InternalError",
    "PairError",
    "RangeError",
    "Run",
    "RunError",
    "RunWarning",
    "Score",
    "Scorer",
    "ShapeError",
    "SizeError",
    "UsageError",
    "WeightsError",
    "__version__",
    "compare",
    "evaluate",
]


def __getattr__(name: str) -> Any:
    # Imported when it is first used: the command, which starts here, does not need it.
    if name in ("Run", "RunError", "RunWarning", "compare", "evaluate"):
        from . import _runs

        return getattr(_runs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
