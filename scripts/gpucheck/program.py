"""The `lpips` binary as this check sees it: `eval` and `doctor`."""

import contextlib
import csv
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .parts import FAILED, UNFINISHED, Result
from .process import Commands, Deadline, Outcome


class Broken(Exception):
    """The program did not do what was asked; the text says what happened."""


class OutOfTime(Exception):
    """The part's time was over before the command ended."""


@dataclass(frozen=True)
class Run:
    """A finished `lpips eval`: rows by id, the cells as text, and the seconds of the whole process."""

    rows: dict[str, dict[str, str]]
    seconds: float
    record: dict[str, Any]
    command: list[str]

    @property
    def numerics_class(self) -> str:
        """Within it bits are equal: it names the libraries that computed."""
        return str(self.record.get("fingerprint", {}).get("numerics_class", ""))


@dataclass
class Program:
    """The binary, the device it is asked for, and the folder of trunks.

    `unpublished` are the nets whose file in the folder is not the published one: the program takes such
    a file only where it is named, and for one net at a time.
    """

    commands: Commands
    path: Path
    device: str
    weights: Path
    unpublished: Sequence[str] = ()

    def together(self, nets: Sequence[str]) -> list[list[str]]:
        """Which of these nets one command can score."""
        published = [net for net in nets if net not in self.unpublished]
        alone = [[net] for net in nets if net in self.unpublished]
        return [published, *alone] if published else alone

    def arguments(
        self,
        manifest: Path,
        out: Path,
        nets: Sequence[str],
        precision: str = "fp32",
        engine: str | None = None,
        batch: int | None = None,
        extra: Sequence[str] = (),
    ) -> list[str]:
        """The command line of `lpips eval` for nets that go together. Options that only CUDA has are left
        out where not asked."""
        words = [self.path, "eval", manifest, "-o", out, "--net", ",".join(nets)]
        words += ["--device", self.device, "--weights-dir", self.weights, "--quiet"]
        if nets[0] in self.unpublished:
            words += ["--trunk", self.weights / f"{nets[0]}.safetensors"]
        if precision != "fp32":
            words += ["--precision", precision]
        if engine is not None:
            words += ["--conv", engine]
        if batch is not None:
            words += ["--batch", batch]
        return [str(word) for word in [*words, *extra]]

    def eval(self, deadline: Deadline, manifest: Path, *args: Any, **options: Any) -> Run:
        """Scores a manifest and reads pairs.csv. Every row must have been scored."""
        out = free(manifest.parent)
        command = self.arguments(manifest, out, *args, **options)
        outcome = self.commands.run(command, deadline)
        demand(outcome)
        with (out / "pairs.csv").open(newline="") as file:
            rows = {row["id"]: row for row in csv.DictReader(file)}
        failed = [f"{row['id']}: {row['error']}" for row in rows.values() if row["status"] == "failed"]
        if failed or not rows:
            raise Broken(f"{len(failed)} of {len(rows)} pairs failed: {'; '.join(failed[:3])}")
        return Run(rows, outcome.seconds, json.loads((out / "run.json").read_text()), command)

    def doctor(self, deadline: Deadline, *options: object) -> Outcome:
        """`lpips doctor`, text for people or, with --json, one object."""
        return self.commands.run([self.path, "doctor", *options], deadline)


@contextlib.contextmanager
def guarded(result: Result, name: str) -> Iterator[None]:
    """What goes wrong with the program inside becomes the part's status; the next case can follow."""
    try:
        yield
    except OutOfTime as error:
        result.worsen(UNFINISHED, f"{name}: {error}")
    except Broken as error:
        result.worsen(FAILED, f"{name}: {error}")


def demand(outcome: Outcome) -> None:
    """Raises unless the command ended well."""
    if outcome.returncode is None:
        raise OutOfTime(f"out of time after {outcome.seconds:.0f} s")
    if not outcome.ok:
        raise Broken(outcome.why)


def free(folder: Path) -> Path:
    """A run directory that does not exist yet."""
    return next(p for p in (folder / f"run{n}" for n in itertools.count()) if not p.exists())
