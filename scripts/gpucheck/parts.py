"""The parts of a check, and the loop that runs each within its time."""

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .process import Deadline

if TYPE_CHECKING:
    from .session import Session

# How a part ended. A part that is not here to judge (`unavailable`: a tool is missing) or not done
# (`unfinished`: out of time) must not be read as passed.
OK, FAILED, UNAVAILABLE, UNFINISHED, SKIPPED = "ok", "failed", "unavailable", "unfinished", "skipped"


@dataclass
class Result:
    """What a part found: a status, reasons for people, and data for the report."""

    status: str = OK
    notes: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def worsen(self, status: str, note: str) -> None:
        """Takes the worse of two statuses, and the reason."""
        order = [OK, UNAVAILABLE, UNFINISHED, FAILED]
        if order.index(status) > order.index(self.status):
            self.status = status
        self.notes.append(note)


@dataclass(frozen=True)
class Part:
    """A part by name: what it is for, its usual limit, and where its function is."""

    name: str
    seconds: float
    what: str
    module: str

    def function(self) -> Callable[["Session", Deadline, Result], None]:
        """Imported when it is needed, so that the table stands alone."""
        module = __import__(f"{__package__}.{self.module}", fromlist=[self.name])
        return getattr(module, self.name)  # type: ignore[no-any-return]


PARTS = {
    part.name: part
    for part in (
        Part("doctor", 60, "`lpips doctor`: devices, drivers, libraries", "selftest"),
        Part("selftest", 300, "`lpips doctor --selftest`: all nets, precisions and engines", "selftest"),
        Part("start", 90, "seconds of a process that scores two pairs", "starting"),
        Part("sizes", 120, "pairs of many sizes, and their order", "starting"),
        Part("floors", 60, "measured rates of matrix products and copies", "rates"),
        Part("resident", 420, "pairs/s of PyTorch on data in GPU memory", "rates"),
        Part("deviation", 240, "fp32, tf32, fp16 against float64 on fresh crops", "accuracy"),
        Part("invariance", 300, "same bits for --batch 1, 2, 7, 32 and any order", "accuracy"),
        Part("files", 420, "end to end from PNG files, this program and PyTorch", "rates"),
        Part("sanitizer", 420, "compute-sanitizer: memcheck, racecheck, initcheck, synccheck", "sanitizer"),
    )
}


def run_all(session: "Session", limits: dict[str, float], budget: Deadline) -> dict[str, Result]:
    """Runs parts in order. A part that breaks is a failed part; the others run all the same."""
    results: dict[str, Result] = {}
    for name, seconds in limits.items():
        result = results[name] = Result()
        seconds = min(seconds, budget.left())
        if seconds <= 0:
            result.worsen(UNFINISHED, "no time was left of --budget")
            continue
        print(f"{name} (at most {seconds:.0f} s) ...", file=sys.stderr, flush=True)
        started = time.monotonic()
        try:
            PARTS[name].function()(session, Deadline(seconds), result)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other parts must run.
            traceback.print_exc()
            result.worsen(FAILED, f"{type(error).__name__}: {error}")
        result.seconds = time.monotonic() - started
        session.save(results)
        for note in result.notes[:3]:
            print(f"  {note}", file=sys.stderr)
        print(f"{name}: {result.status}, {result.seconds:.0f} s", file=sys.stderr, flush=True)
    return results


def exit_code(results: dict[str, Result]) -> int:
    """0 all passed, 1 one failed, 3 one was not finished or could not be done."""
    statuses = {result.status for result in results.values()}
    if FAILED in statuses:
        return 1
    return 3 if statuses & {UNAVAILABLE, UNFINISHED} else 0
