"""What can go wrong, as exceptions."""

from __future__ import annotations


class Error(Exception):
    """The base of all errors of this package."""

    #: What is wrong: where, expected and found.
    message: str
    #: What helps, if it is known.
    hint: str | None

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


class DtypeError(Error, TypeError):
    """An object is no image, or an array has elements of a type that is not read."""


class ShapeError(Error, ValueError):
    """An array has not the shape of an image."""


class UsageError(Error, ValueError):
    """Options contradict each other, or are unknown."""


class WeightsError(Error):
    """Weights are missing or altered."""


class DeviceError(Error, RuntimeError):
    """The device cannot be used, or failed. A scorer whose device failed scores nothing more."""


class FileError(Error, OSError):
    """The system refuses to read a file, or to start threads. The file itself may be good."""


class InternalError(Error, RuntimeError):
    """A fault of this package."""


class PairError(Error, ValueError):
    """This pair, or one of its images, cannot be scored; others can."""

    #: The code that `lpips eval` writes into the row, such as `E_MISSING`; docs/errors.md explains it.
    code: str

    def __init__(self, message: str, hint: str | None = None, code: str = "") -> None:
        super().__init__(message, hint)
        self.args = (message, hint, code)
        self.code = code


class SizeError(PairError):
    """The images of a pair differ in size, or are too small or too large."""


class RangeError(PairError):
    """Samples are outside of their range, or floats have no `range`."""
