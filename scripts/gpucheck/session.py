"""What the parts of one check share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import machine, photos, report
from .options import Options
from .parts import UNAVAILABLE, Result
from .process import Commands, Deadline, Outcome
from .program import Program


@dataclass
class Session:
    """What parts share: decisions, the program, a folder that vanishes, and the sample photographs."""

    options: Options
    commands: Commands
    program: Program
    folder: Path
    trunks: dict[str, str]
    photos: list[photos.Photo]
    head: dict[str, Any]

    def save(self, results: dict[str, Result]) -> None:
        """Writes the report as far as it goes, so that an interruption loses no finished part."""
        report.write(self.options.out, self.head, results, self.options.skipped)

    def scorable(self, result: Result) -> list[str]:
        """The nets that the program can score with. The others are named in `result`: it refuses any
        file but the published one where there is one, so that their formula trunk serves PyTorch alone."""
        unpublished = [net for net, trunk in self.trunks.items() if trunk == "formula for PyTorch"]
        for net in unpublished:
            result.worsen(UNAVAILABLE, f"{net}: its weights are not here, see docs/gpu_check.md")
        return [net for net in self.options.nets if net not in unpublished]

    def worker(self, job: str, arguments: dict[str, Any], deadline: Deadline) -> Outcome:
        """Runs a job of `worker` in a child process, on the weights of this session."""
        return machine.worker(
            self.commands,
            {
                **arguments,
                "job": job,
                "device": self.options.device,
                "weights": str(self.program.weights),
                "formula": [net for net, trunk in self.trunks.items() if trunk.startswith("formula")],
            },
            deadline,
        )
