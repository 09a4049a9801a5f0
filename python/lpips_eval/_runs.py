"""Scores data sets and compares runs, through the command of this package."""

from __future__ import annotations

import csv
import functools
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Union

from ._errors import Error

#: A row of a manifest: columns `ref` and `dist`, others as in docs/manifests.md; or (ref, dist).
Row = Union[Mapping[str, Any], "tuple[Any, Any]"]
#: Columns by name. `pandas.DataFrame` and `polars.DataFrame` take it. What is absent is None.
Table = dict[str, list[Any]]

COMPLETE, PAIRS_FAILED, GATE_FAILED = 0, 3, 4


class RunError(Error):
    """The command could not do its work. `exit_code` is its exit code: docs/errors.md lists them."""

    exit_code: int

    def __init__(self, message: str, hint: str | None, exit_code: int) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, exit_code)
        self.exit_code = exit_code


class RunWarning(UserWarning):
    """A warning of the command, such as pairs that failed."""


class Run:
    """The results in a run directory.

    Args:
        path: the run directory.
        exit_code: that of the command which wrote it, if it is known.
    """

    def __init__(self, path: str | os.PathLike[str], exit_code: int | None = None) -> None:
        self.path = Path(path)
        self.exit_code = exit_code

    @functools.cached_property
    def pairs(self) -> Table:
        """A row for each pair, in the order of the manifest: the columns of pairs.csv."""
        table = _columns(self.path / "pairs.csv")
        names = list(table)
        metrics = names[names.index("height") + 1 : names.index("status")]
        return _typed(table, integers=["width", "height"], floats=metrics)

    @functools.cached_property
    def summary(self) -> Table:
        """A row for each group and metric, that of all pairs first: the columns of summary.csv."""
        table = _columns(self.path / "summary.csv")
        names = list(table)
        counts = ["expected", "scored", "failed"]
        table = _typed(table, counts, names[names.index("complete") + 1 :])
        table["complete"] = [cell == "yes" for cell in table["complete"]]
        return table

    @functools.cached_property
    def metadata(self) -> dict[str, Any]:
        """What run.json holds: settings, provenance and signatures."""
        text = (self.path / "run.json").read_text(encoding="utf-8")
        metadata: dict[str, Any] = json.loads(text)
        return metadata

    @property
    def signatures(self) -> dict[str, str]:
        """What decides the numbers of each metric column, in one line for a paper."""
        signatures: dict[str, str] = self.metadata["signatures"]
        return signatures

    @property
    def is_complete(self) -> bool:
        """Whether every pair was scored."""
        return all(self.summary["complete"])

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"


def evaluate(
    pairs: str | os.PathLike[str] | Iterable[Row] | None = None,
    *,
    output: str | os.PathLike[str],
    **options: Any,
) -> Run:
    """Scores a data set as `lpips eval` does, in a process of its own, and resumes what is unfinished.

        run = evaluate("pairs.csv", output="results", net=["alex", "vgg"], group_by="method")
        run = evaluate(output="results", ref="hr", dist={"edsr": "out/edsr", "swinir": "out/swinir"})
        run = evaluate([{"ref": "a.png", "dist": "b.png", "method": "m"}], output="results")

    Args:
        pairs: a manifest, or its rows; relative paths of rows are relative to the working folder.
        output: the run directory.
        options: those of `lpips eval`, with `_` for `-`. True is an option without a value, a list is an
            option that is given several times, and a mapping is one with `NAME=VALUE` several times.

    Pairs that fail, and other warnings of the command, are a `RunWarning`; a gate of `fail_if` that fails is
    `run.exit_code == 4`.

    Raises:
        RunError: the command could not do its work.
    """
    arguments, rows = ["eval"], None
    if isinstance(pairs, (str, os.PathLike)):
        arguments.append(os.fspath(pairs))
    elif pairs is not None:
        arguments.append("-")
        rows = _manifest(pairs)
    arguments += ["--output", os.fspath(output), *_options({"progress": "off", **options})]
    code, _ = _command(arguments, rows)
    run = Run(output, code)
    if code == PAIRS_FAILED:
        errors = [error for error in run.pairs["error"] if error]
        count = len(run.pairs["status"])
        warnings.warn(f"{len(errors)} of {count} pairs failed: {errors[0]}", RunWarning, stacklevel=2)
    return run


def compare(*runs: str | os.PathLike[str] | Run, **options: Any) -> dict[str, Any]:
    """Compares runs as `lpips compare --json` does, and returns what it reports.

        report = compare("runs/main", "runs/branch", fail_if="mean > 0.002 @ 95%")
        report["verdict"], [gate["outcome"] for gate in report["gates"]]

    Args:
        runs: the baseline, and what is compared with it: run directories, `RUN@METHOD`, or tables. It is
            one run with the option `base`, which names the method to compare with.
        options: those of `lpips compare`: see `evaluate`.

    Raises:
        RunError: the command could not do its work.
    """
    paths = [os.fspath(run.path if isinstance(run, Run) else run) for run in runs]
    _, text = _command(["compare", *paths, "--json", "-", *_options(options)], None)
    report: dict[str, Any] = json.loads(text)
    return report


def _command(arguments: list[str], lines: Iterator[str] | None) -> tuple[int, str]:
    """Exit code and stdout of the command, which is fed with lines."""
    with subprocess.Popen(
        [sys.executable, "-m", "lpips_eval", *arguments],
        stdin=subprocess.DEVNULL if lines is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        # Ctrl-C of a terminal reaches this process alone, which passes it on once.
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(None if lines is None else "".join(lines))
        except BaseException:
            # Finished rows are written, and the same call resumes.
            process.send_signal(signal.SIGTERM)
            process.communicate()
            raise
    code = process.returncode
    if code not in (COMPLETE, PAIRS_FAILED, GATE_FAILED):
        message, _, hint = stderr.strip().partition("\nhint: ")
        message = message.rpartition("error: ")[2] or f"the command ended with {code}"
        raise RunError(message, hint or None, code)
    for line in stderr.splitlines():
        if line.startswith("warning: "):
            warnings.warn(line.removeprefix("warning: "), RunWarning, stacklevel=3)
    return code, stdout


def _options(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            yield option
        elif value is not None and value is not False:
            # In one word, so that a value may begin with `-`.
            yield from (f"{option}={text}" for text in _values(value))


def _values(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{name}={_text(part)}" for name, part in value.items()]
    return [_text(part) for part in (value if isinstance(value, (list, tuple)) else [value])]


def _text(value: Any) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _manifest(rows: Iterable[Row]) -> Iterator[str]:
    """Rows as JSON lines."""
    for row in rows:
        cells = row if isinstance(row, Mapping) else dict(zip(("ref", "dist"), row, strict=True))
        yield json.dumps(dict(cells), default=_plain, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """A path as text, or a scalar of NumPy as a number."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value.item()


def _columns(path: Path) -> Table:
    with open(path, newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        names = next(lines)
        columns = zip(*lines)
        return {name: list(next(columns, ())) for name in names}


def _typed(table: Table, integers: list[str], floats: list[str]) -> Table:
    kinds = dict.fromkeys(integers, int) | dict.fromkeys(floats, float)
    for name, kind in kinds.items():
        table[name] = [kind(cell) if cell else None for cell in table[name]]
    return table
