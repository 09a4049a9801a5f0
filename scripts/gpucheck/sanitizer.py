"""Part `sanitizer`: NVIDIA's compute-sanitizer on a run so small that it ends.

For memcheck and initcheck every kernel is instrumented, the libraries' too: initcheck must see all writes
to know what was written. The other two tools look within one kernel, and get ours alone: on a library's
large products racecheck does not end. What it reports is then divided by kernel. A report on one of ours fails the part, and so does
one whose kernel is not named; a report on a library's kernel is written down.
"""

import re
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import photos
from .options import ROOT
from .parts import FAILED, UNAVAILABLE, UNFINISHED, Result
from .process import Deadline
from .program import free
from .session import Session

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
WITHIN_A_KERNEL = ("racecheck", "synccheck")
FOUND = 86  # the exit code that says "something was found"
UNNAMED = "?"

_PREFIX = re.compile(r"^=+\s?")
_SUMMARY = re.compile(r"(?:ERROR|INITCHECK|RACECHECK) SUMMARY: (\d+) (?:errors?|hazards?)\b(.*)")
# `at name(args)+0x10 in file`, `at 0x10 in file:12:name(args)`, `Device Frame: name(args)+0x10 in file`
_PLACE = re.compile(r"(?:\bat|Device Frame:) ?(?:0x[0-9a-fA-F]+ in (?:\S*:)?)?(?:void )?([A-Za-z_][\w:]*)")
# What opens a report; the lines below it say where.
_OPENS = re.compile(
    r"^(Invalid|Misaligned|Uninitialized|Barrier error|Race reported|Error: |Warning: |Potential|"
    r"Program hit|Out-of-|Illegal|Stack overflow)"
)


@dataclass(frozen=True)
class Findings:
    """What one run of the tool reported.

    `total` is what it counted, None where it printed no summary; `unprinted` what it counted but
    did not show. `kernels` counts reports by kernel, or by UNNAMED.
    """

    total: int | None
    unprinted: int
    kernels: dict[str, int]


def read_report(text: str, own: set[str]) -> Findings:
    """Reads what compute-sanitizer printed. A report that names one of our kernels anywhere is its;
    another belongs to the function that it names first."""
    total: int | None = None
    unprinted = 0
    reports: list[list[str]] = []
    for line in text.splitlines():
        if not line.startswith("==="):
            continue
        line = _PREFIX.sub("", line).strip()
        summary = _SUMMARY.search(line)
        if summary and "not printed" in summary[2]:
            unprinted += int(summary[1])
        elif summary:
            total = int(summary[1])
        elif _OPENS.match(line):
            reports.append([])
        if reports and not summary:
            reports[-1] += _PLACE.findall(line)
    owners = (
        next((name for name in names if name in own), names[0] if names else UNNAMED) for names in reports
    )
    return Findings(total, unprinted, dict(Counter(owners)))


def own_kernels(folder: Path) -> set[str]:
    """The entries of the committed PTX files."""
    texts = (path.read_text() for path in folder.glob("*.ptx"))
    return {name for text in texts for name in re.findall(r"\.entry\s+(\w+)", text)}


def judge(findings: Findings, returncode: int | None, own: set[str]) -> tuple[bool, str]:
    """Whether a run has no faults of ours, and a description. What cannot be attributed counts as ours."""
    ours = {name: n for name, n in findings.kernels.items() if name in own or name == UNNAMED}
    libraries = sorted(set(findings.kernels) - set(ours))
    if findings.total is None:
        return False, f"no summary was printed (exit code {returncode})"
    if ours:
        return False, "found in " + ", ".join(f"{name} ({n})" for name, n in sorted(ours.items()))
    if findings.unprinted or (findings.total and not libraries):
        return False, f"{findings.total} found, {findings.unprinted} not printed: not all have a kernel"
    if returncode not in (0, FOUND):
        return False, f"the program ended with {returncode}"
    if libraries:
        return True, "only in libraries: " + ", ".join(libraries)
    return True, "clean"


@dataclass(frozen=True)
class Case:
    """One run under one tool."""

    tool: str
    engine: str | None
    precision: str
    nets: list[str]


def cases(engines: list[str | None], precisions: list[str], nets: list[str]) -> list[Case]:
    """What is run, the most informative first: memcheck on everything, since a wrong address may hide in any
    shape; the others, which look at how the threads of a kernel work together, on one net and on the two
    combinations that launch all of our kernels of whole images between them (NCHW f32 of cuDNN, NHWC f16 with
    im2col of cuBLAS). Everything under every tool would take twice the runs, and has no time."""
    few = list(dict.fromkeys([(engines[0], precisions[0]), (engines[-1], precisions[-1])]))
    every = [(engine, precision) for engine in engines for precision in precisions]
    rest = [case for case in every if case not in few]
    found = [Case("memcheck", *case, nets) for case in few]
    found += [Case(tool, *case, nets[:1]) for tool in TOOLS if tool != "memcheck" for case in few]
    return found + [Case("memcheck", *case, nets) for case in rest]


def sanitizer(session: Session, deadline: Deadline, result: Result) -> None:
    """Runs every case and judges what was reported."""
    options = session.options
    if options.device != "cuda" or shutil.which("compute-sanitizer") is None:
        result.worsen(UNAVAILABLE, "needs a GPU and compute-sanitizer on the PATH")
        return
    own = own_kernels(ROOT / "kernels")
    if not own:
        result.worsen(FAILED, f"{ROOT / 'kernels'} names no kernels: no report could be attributed")
        return
    nets = session.scorable(result)
    if not nets:
        return
    pairs = photos.crops(session.photos, 2, (48, 72), options.seed)
    manifest = photos.write(session.folder / "sanitizer", pairs)
    result.data.update(own_kernels=sorted(own), runs=[])
    for case in cases(options.engines, options.precisions, nets):
        row: dict[str, Any] = asdict(case)
        name = f"{case.tool}, {case.engine}, {case.precision}"
        if deadline.left() <= 0:
            result.worsen(UNFINISHED, f"{name}: no time was left")
            continue
        command = session.program.arguments(
            manifest, free(manifest.parent), case.nets, case.precision, case.engine
        )
        outcome = session.commands.run([*tool_command(case.tool, own), *command], deadline)
        findings = read_report(outcome.stdout + outcome.stderr, own)
        clean, verdict = judge(findings, outcome.returncode, own)
        if outcome.returncode is None:
            verdict = outcome.why
            result.worsen(UNFINISHED, f"{name}: {verdict}")
        elif not clean:
            result.worsen(FAILED, f"{name}: {verdict}")
        row.update(seconds=outcome.seconds, verdict=verdict, kernels=findings.kernels)
        result.data["runs"].append(row)


def tool_command(tool: str, own: set[str]) -> list[object]:
    """compute-sanitizer before its program. The program checks every return code of the driver itself,
    so here only kernels are judged."""
    command: list[object] = ["compute-sanitizer", "--tool", tool, "--report-api-errors", "no"]
    if tool in WITHIN_A_KERNEL:
        for name in sorted(own):
            command += ["--kernel-name", f"kns={name}"]
    return [*command, "--error-exitcode", FOUND, "--print-limit", 10000]
