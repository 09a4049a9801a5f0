"""LPIPS of image pairs, with the numbers of the command `lpips`, bit for bit.

    >>> import lpips_eval
    >>> scorer = lpips_eval.Scorer()
    >>> score = scorer.score("ref.png", "dist.png")
    >>> score.total, score.layers

`lpips_eval.compat.LPIPS` takes the place of `lpips.LPIPS` for evaluation, and
`lpips_eval.testing.assert_perceptually_close` is for tests.
"""

from __future__ import annotations

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
from ._runs import Run, RunError, RunWarning, compare, evaluate
from ._scorer import Score, Scorer

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
