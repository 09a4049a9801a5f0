"""Parts `floors`, `resident` and `files`: what the machine can do, what PyTorch does, what this program does.

The resident rates of this program come from part `selftest`, which measures them in the binary.
"""

from pathlib import Path
from typing import Any

from . import machine, photos
from .parts import UNAVAILABLE, UNFINISHED, Result
from .process import Deadline, Outcome
from .program import Broken, OutOfTime, Run, guarded
from .session import Session

# The side that is left to score when decoding alone is timed; alex needs 31.
LEFT = 32
# The peers of part `files`: the usual scripts of each precision.
FILE_VARIANTS = {"fp32": "strict fp32, benchmark", "tf32": "default", "fp16": "fp16 channels_last, benchmark"}


def floors(session: Session, deadline: Deadline, result: Result) -> None:
    """Rates of matrix products and copies, the two numbers that bound everything else."""
    options = session.options
    outcome = session.worker("floors", {"rounds": options.rounds, "precisions": options.precisions}, deadline)
    result.data["rows"] = machine.rows(outcome)
    _judge(outcome, result)


def resident(session: Session, deadline: Deadline, result: Result) -> None:
    """Every variant of PyTorch, net and size. A variant that does not work here is written down."""
    options = session.options
    arguments = {
        "nets": options.nets,
        "sizes": options.sizes,
        "rounds": options.rounds,
        "precisions": options.precisions,
    }
    outcome = session.worker("resident", arguments, deadline)
    result.data["rows"] = machine.rows(outcome)
    for row in result.data["rows"]:
        if "error" in row:
            result.notes.append(f"{row['net']} {row['side']} {row['variant']}: {row['error']}")
    _judge(outcome, result)


def files(session: Session, deadline: Deadline, result: Result) -> None:
    """From PNG files to scores: the whole process of this program, and PyTorch's loop.

    This program is run on a quarter of the rows too: the difference gives its rate without start-up,
    which is how PyTorch's loop is timed. Decoding alone is the same files with so much cut off after
    decoding that almost nothing is left to score.
    """
    options = session.options
    workers = options.workers or session.head["machine"]["cores"]
    nets = session.scorable(result)
    result.data.update(workers=workers, decode=[], rows=[])
    for side in options.sizes:
        count = max(8, min(options.files, options.files * 256**2 // side**2))
        folder = session.folder / f"files{side}"
        unique = min(count, 128 if side <= 256 else 16)
        large = photos.write_files(folder, session.photos, side, unique, count, options.seed)
        small = photos.manifest(folder, large.read_text().splitlines()[: count // 4 + 1])
        with guarded(result, f"decoding {side}"):
            border = ["--crop-border", str((side - LEFT) // 2)]
            runs = [
                session.program.eval(deadline, manifest, ["alex"], extra=border)
                for manifest in (small, large)
            ]
            result.data["decode"].append({"side": side, "rate": steady(*runs)})
        for net in nets:
            for precision in options.precisions:
                name = f"{net} {side} {precision}"
                row: dict[str, Any] = {"net": net, "side": side, "precision": precision, "pairs": count}
                result.data["rows"].append(row)
                with guarded(result, name):
                    _ours(session, deadline, row, small, large)
                    _theirs(session, deadline, result, row, large, workers)
                    agree(row)


def steady(small: Run, large: Run) -> float | None:
    """Pairs per second of what the larger run had more; None where noise was larger than that."""
    seconds = large.seconds - small.seconds
    return (len(large.rows) - len(small.rows)) / seconds if seconds > 0 else None


def _ours(session: Session, deadline: Deadline, row: dict[str, Any], small: Path, large: Path) -> None:
    runs = [
        session.program.eval(deadline, manifest, [row["net"]], row["precision"])
        for manifest in (small, large)
    ]
    scores = [float(cells[f"lpips_{row['net']}"]) for cells in runs[1].rows.values()]
    row.update(
        ours_seconds=runs[1].seconds,
        ours_rate=len(runs[1].rows) / runs[1].seconds,
        ours_steady_rate=steady(*runs),
        ours_mean=sum(scores) / len(scores),
    )


def _theirs(
    session: Session, deadline: Deadline, result: Result, row: dict[str, Any], manifest: Path, workers: int
) -> None:
    side = row["side"]
    arguments = {
        "net": row["net"],
        "side": side,
        "manifest": str(manifest),
        "variant": FILE_VARIANTS[row["precision"]],
        "workers": workers,
        "batch": max(1, min(32, (8 << 20) // side**2)) if session.options.device == "cuda" else 4,
    }
    outcome = session.worker("files", arguments, deadline)
    if outcome.returncode is None:
        raise OutOfTime(f"PyTorch: {outcome.why}")
    found = machine.rows(outcome)
    if not outcome.ok or not found:
        row["peer_error"] = outcome.why
        result.worsen(UNAVAILABLE, f"{row['net']} {side} {row['precision']}: PyTorch: {outcome.why}")
        return
    row.update(
        peer=arguments["variant"],
        peer_seconds=found[0]["seconds"],
        peer_rate=found[0]["pairs"] / found[0]["seconds"],
        peer_mean=found[0]["mean"],
    )


def agree(row: dict[str, Any]) -> None:
    """Rates of programs that compute different things cannot be compared. fp16 is left out: PyTorch's
    head then rounds to half too, and what becomes of that is PyTorch's affair."""
    ours, peer = row["ours_mean"], row.get("peer_mean")
    if peer is not None and row["precision"] != "fp16" and not abs(ours - peer) <= 2e-3 * abs(ours):
        raise Broken(f"our mean is {ours:.6g}, PyTorch's is {peer:.6g}")


def _judge(outcome: Outcome, result: Result) -> None:
    """PyTorch's troubles are not this program's failures, but they leave the part undone."""
    if outcome.returncode is None:
        result.worsen(UNFINISHED, outcome.why)
    elif not outcome.ok:
        result.worsen(UNAVAILABLE, outcome.why)
