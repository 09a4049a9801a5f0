"""Parts `start` and `sizes`: what a job costs before its first pair, and what every new size of images costs.

The second includes what a lone pair costs: it fills a micro-batch with copies of its images.
"""

from statistics import median
from typing import Any

from . import photos
from .accuracy import differences
from .parts import FAILED, Result
from .process import Deadline
from .program import guarded
from .session import Session

ROUNDS = 3
SIZES = 200


def start(session: Session, deadline: Deadline, result: Result) -> None:
    """Seconds of the whole process for two pairs: the first time, when the driver may compile, and the median of
    further times."""
    options = session.options
    nets = session.scorable(result)
    pairs = photos.crops(session.photos, 2, (options.sides[0], options.sides[0]), options.seed + 3)
    manifest = photos.write(session.folder / "start", pairs)
    result.data["rows"] = []
    for net in nets:
        for precision in options.precisions:
            for engine in options.engines:
                row: dict[str, Any] = {"net": net, "precision": precision, "engine": engine or options.device}
                with guarded(result, " ".join(row.values())):
                    runs = [
                        session.program.eval(deadline, manifest, [net], precision, engine)
                        for _ in range(1 + ROUNDS)
                    ]
                    row.update(first=runs[0].seconds, later=median(run.seconds for run in runs[1:]))
                    row["class"] = runs[0].numerics_class
                    result.data["rows"].append(row)


def sizes(session: Session, deadline: Deadline, result: Result) -> None:
    """Pairs of which each has a size of its own, and the same rows in reverse order: pairs/s of both."""
    options = session.options
    nets = session.scorable(result)
    sides = (options.sides[0], options.sides[1])
    pairs = photos.crops(session.photos, min(SIZES, 2 * options.pairs), sides, options.seed + 4)
    forward = photos.write(session.folder / "sizes", pairs)
    backward = photos.write(session.folder / "sizes", pairs, list(reversed(range(len(pairs)))))
    result.data.update(pairs=len(pairs), rows=[])
    for precision in options.precisions:
        for engine in options.engines:
            for group in session.program.together(nets):
                row: dict[str, Any] = {"net": ",".join(group), "precision": precision}
                row["engine"] = engine or options.device
                name = " ".join(row.values())
                with guarded(result, name):
                    run = session.program.eval(deadline, forward, group, precision, engine)
                    row["rate"] = len(pairs) / run.seconds
                    result.data["rows"].append(row)
                    other = session.program.eval(deadline, backward, group, precision, engine)
                    row["rate_reversed"] = len(pairs) / other.seconds
                    differ = differences(other.rows, run.rows)
                    if differ:
                        result.worsen(FAILED, f"{name}: the order changes {len(differ)} rows, such as {differ[0]}")
