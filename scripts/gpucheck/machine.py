"""What a measurement was made on: GPU, driver, libraries, hashes of the program."""

import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from . import weights
from .options import Options
from .process import Commands, Deadline, Outcome

_QUERY = "name,driver_version,memory.total,power.limit,clocks.max.sm"


def describe(commands: Commands, options: Options) -> dict[str, Any]:
    """Everything that a reader needs to judge a figure; None for what cannot be found out."""
    torch = worker(commands, {"job": "versions", "device": options.device}, Deadline(120))
    return {
        "gpus": _gpus(commands),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": json.loads(torch.stdout) if torch.ok else None,
        "nvcc": _last_line(commands, "nvcc", "--version"),
        "compute_sanitizer": _last_line(commands, "compute-sanitizer", "--version"),
        "program": {
            "path": str(options.program),
            "sha256": weights.sha256(options.program),
            "version": _last_line(commands, str(options.program), "--version", line=0),
        },
    }


def worker(commands: Commands, arguments: dict[str, Any], deadline: Deadline) -> Outcome:
    """Runs one job of `worker`, which reads its arguments as JSON and prints JSON lines."""
    path = str(Path(__file__).resolve().parent.parent)
    paths = [path, *filter(None, [os.environ.get("PYTHONPATH")])]
    command: list[object] = [sys.executable, "-m", f"{__package__}.worker", json.dumps(arguments)]
    return commands.run(command, deadline, env={"PYTHONPATH": os.pathsep.join(paths)})


def rows(outcome: Outcome) -> list[dict[str, Any]]:
    """The JSON lines that a worker printed, also when it was ended early."""
    found = []
    for line in outcome.stdout.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break  # A line that was cut off: nothing follows it.
    return found


def _gpus(commands: Commands) -> list[dict[str, str]] | None:
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    outcome = commands.run(query, Deadline(30))
    if not outcome.ok:
        return None
    lines = (line.split(",") for line in outcome.stdout.splitlines() if line.strip())
    return [dict(zip(_QUERY.split(","), (cell.strip() for cell in line), strict=False)) for line in lines]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _last_line(commands: Commands, *command: str, line: int = -1) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    outcome = commands.run(command, Deadline(30))
    lines = outcome.stdout.strip().splitlines()
    return lines[line] if outcome.ok and lines else None
