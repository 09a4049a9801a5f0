"""Parts `doctor` and `selftest`: what the binary says of itself."""

import json
from typing import Any

from .parts import FAILED, UNFINISHED, Result
from .process import Deadline, Outcome
from .session import Session


def doctor(session: Session, deadline: Deadline, result: Result) -> None:
    """Lists devices, drivers and libraries; on a GPU host a CUDA device must be among them."""
    found = _json(session.program.doctor(deadline, "--json"), result)
    if found is None:
        return
    result.data = found
    if session.options.device == "cuda" and not found.get("devices"):
        result.worsen(FAILED, "no CUDA device was found")


def selftest(session: Session, deadline: Deadline, result: Result) -> None:
    """Every row (device, net, precision, engine) must be ok; skipped ones are named."""
    chosen = session.options
    options = ["--selftest", "--json", "--device", chosen.device]
    options += ["--weights-dir", str(session.program.weights)]
    options += ["--sides", ",".join(map(str, chosen.sizes))]
    if chosen.selftest_nets:
        options += ["--net", ",".join(chosen.selftest_nets)]
    if chosen.selftest_precisions:
        options += ["--precision", ",".join(chosen.selftest_precisions)]
    found = _json(session.program.doctor(deadline, *options), result)
    if found is None:
        return
    result.data = found
    judge(found.get("selftest", []), result)


def judge(rows: list[dict[str, Any]], result: Result) -> None:
    """A self-test of which no row was run proves nothing."""
    if all(row.get("status") == "skipped" for row in rows):
        result.worsen(FAILED, "the self-test ran on nothing")
    for name in without_overflow(rows):
        result.worsen(FAILED, f"{name}: no row whose features overflow")
    for row in rows:
        name = " ".join(str(row.get(key)) for key in ("device", "net", "precision", "engine"))
        # Here features overflow in half precision, and the bits are those of fp32.
        overflows = row.get("trunk") == "overflows"
        name += ", overflows" if overflows else ""
        status = row.get("status")
        if status == "skipped":
            result.notes.append(f"{name}: skipped, {row.get('reason')}")
        elif status != "ok":
            result.worsen(FAILED, f"{name}: {row.get('reason', status)}")
        elif not overflows and not row.get("invariant", False):
            result.worsen(FAILED, f"{name}: bits depend on the batch")


def without_overflow(rows: list[dict[str, Any]]) -> list[str]:
    """Nets and engines that ran in half precision, and not on features that overflow there."""
    half = [row for row in rows if row.get("precision") == "fp16" and row.get("status") != "skipped"]

    def ran(overflows: bool) -> set[tuple[str, str, str]]:
        chosen = [row for row in half if (row.get("trunk") == "overflows") == overflows]
        return {(str(row.get("device")), str(row.get("net")), str(row.get("engine"))) for row in chosen}

    return [" ".join(name) for name in sorted(ran(False) - ran(True))]


def _json(outcome: Outcome, result: Result) -> dict[str, Any] | None:
    """The object on stdout, whatever the exit code; both must be right for the part to pass."""
    if outcome.returncode is None:
        result.worsen(UNFINISHED, outcome.why)
    elif not outcome.ok:
        result.worsen(FAILED, outcome.why)
    try:
        found = json.loads(outcome.stdout)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        result.worsen(FAILED, "stdout held no JSON object")
        return None
    return found
