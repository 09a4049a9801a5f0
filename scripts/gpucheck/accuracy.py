"""Parts `deviation` and `invariance`: is the number right, and does it depend on the other pairs of a batch?"""

import math
import random
from collections.abc import Sequence
from statistics import median
from typing import Any

from . import machine, photos
from .parts import FAILED, UNAVAILABLE, UNFINISHED, Result
from .process import Deadline
from .program import Broken, guarded
from .session import Session

# Of fp32, docs/numerics.md promises |value - float64| <= RELATIVE |float64| + ABSOLUTE; near-identical
# pairs, where almost everything cancels, have a bound of their own.
RELATIVE = {"total": 1e-5, "layer": 3e-5}
NEAR_RELATIVE = 2e-3
ABSOLUTE = 1e-8

BATCHES = (1, 2, 7, 32)


def quantile(values: Sequence[float], share: float) -> float:
    """By linear interpolation between order statistics (type 7)."""
    ordered = sorted(values)
    at = (len(ordered) - 1) * share
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def summary(values: Sequence[float]) -> dict[str, float]:
    """What a table of deviations shows."""
    return {
        "count": len(values),
        "median": median(values),
        "p95": quantile(values, 0.95),
        "max": max(values),
    }


def relative(found: float, exact: float) -> float:
    """Relative deviation; of a pair that is exactly 0, the absolute one."""
    return abs(found - exact) / abs(exact) if exact else abs(found)


def compare(
    rows: dict[str, dict[str, str]], exact: dict[str, list[float]], near: Sequence[str], net: str
) -> dict[str, Any]:
    """Deviations of one net's rows from float64, and which pairs break what fp32 promises.

    `exact` holds, by id, the distance of each layer; the total is their sum. Raises `Broken` where the
    pairs are not the same.
    """
    if set(rows) != set(exact):
        raise Broken(f"{len(rows)} rows for {len(exact)} pairs")
    column = f"lpips_{net}"
    totals: dict[bool, list[float]] = {True: [], False: []}
    worst = {"layer": 0.0, "near_layer": 0.0}
    broken, not_finite = [], []
    for name, layers in exact.items():
        found = [float(rows[name][f"{column}_layer{index}"]) for index in range(len(layers))]
        total = float(rows[name][column])
        if not all(math.isfinite(value) for value in (total, *found)):
            not_finite.append(name)
            continue
        is_near = name in near
        totals[is_near].append(relative(total, sum(layers)))
        key = "near_layer" if is_near else "layer"
        worst[key] = max(worst[key], *(relative(*pair) for pair in zip(found, layers, strict=True)))
        checks = [("total", total, sum(layers))]
        if not is_near:
            checks += [("layer", *pair) for pair in zip(found, layers, strict=True)]
        for kind, value, truth in checks:
            bound = (NEAR_RELATIVE if is_near else RELATIVE[kind]) * abs(truth) + ABSOLUTE
            if abs(value - truth) > bound:
                broken.append(f"{name} {kind}: {value!r}, float64 says {truth!r}")
    return {
        "total": summary(totals[False]) if totals[False] else None,
        "near_identical": summary(totals[True]) if totals[True] else None,
        "worst_layer": worst["layer"],
        "worst_near_layer": worst["near_layer"],
        "mean": sum(sum(layers) for layers in exact.values()) / len(exact),
        "broken": broken,
        "not_finite": not_finite,
    }


def deviation(session: Session, deadline: Deadline, result: Result) -> None:
    """Every precision and engine against float64, computed by PyTorch from the same weights files."""
    options = session.options
    near = max(1, options.pairs // 10)
    sides = (options.sides[0], options.sides[1])
    pairs = photos.crops(session.photos, options.pairs, sides, options.seed, near)
    manifest = photos.write(session.folder / "deviation", pairs)
    near_ids = [pair.id for pair in pairs if pair.method == photos.NEAR]
    result.data.update(pairs=options.pairs, near=near, rows=[])
    for net in session.scorable(result):
        outcome = session.worker("float64", {"manifest": str(manifest), "net": net}, deadline)
        if not outcome.ok:
            status = UNFINISHED if outcome.returncode is None else UNAVAILABLE
            result.worsen(status, f"{net}: no float64 values: {outcome.why}")
            continue
        exact = {row["id"]: row["layers"] for row in machine.rows(outcome)}
        for precision in options.precisions:
            for engine in options.engines:
                name = f"{net} {precision} {engine or options.device}"
                with guarded(result, name):
                    run = session.program.eval(
                        deadline, manifest, [net], precision, engine, extra=["--per-layer"]
                    )
                    row = compare(run.rows, exact, near_ids, net)
                    judge(name, precision, row, result)
                    row["broken"] = len(row["broken"])
                    row.update(net=net, precision=precision, engine=engine or options.device)
                    row.update(trunk=session.trunks[net])
                    result.data["rows"].append(row)


def judge(name: str, precision: str, row: dict[str, Any], result: Result) -> None:
    """fp32 must keep its promise; whatever the precision, a number must be one."""
    if row["not_finite"]:
        result.worsen(FAILED, f"{name}: {len(row['not_finite'])} pairs are not finite")
    if precision == "fp32" and row["broken"]:
        result.worsen(FAILED, f"{name}: {len(row['broken'])} values break the promise; {row['broken'][0]}")


def differences(rows: dict[str, dict[str, str]], base: dict[str, dict[str, str]]) -> list[str]:
    """Ids whose cells differ, text against text, and ids that only one of the two has."""
    names = sorted(set(rows) | set(base))
    return [name for name in names if rows.get(name) != base.get(name)]


def orders(count: int, seed: int) -> dict[str, list[int]]:
    """Other orders of the same rows."""
    draw = random.Random(seed)
    forward = list(range(count))
    shuffles = {f"shuffle {n}": draw.sample(forward, count) for n in (1, 2)}
    return {"reversed": forward[::-1], **shuffles}


def invariance(session: Session, deadline: Deadline, result: Result) -> None:
    """pairs.csv row by row, cell by cell: batch sizes and orders must not be seen in it."""
    options = session.options
    nets = session.scorable(result)
    if not nets:
        return
    pairs = _mixed(session)
    folder = session.folder / "invariance"
    forward = photos.write(folder, pairs)
    turned = {
        name: photos.write(folder, pairs, order) for name, order in orders(len(pairs), options.seed).items()
    }
    trials = [(f"--batch {batch}", forward, batch) for batch in BATCHES[1:]]
    trials += [(name, manifest, 7) for name, manifest in turned.items()]
    result.data.update(pairs=len(pairs), nets=nets, rows=[])
    for precision in options.precisions:
        for engine in options.engines:
            name = f"{precision} {engine or options.device}"
            row: dict[str, Any] = {"precision": precision, "engine": engine or options.device}
            row["same"] = []
            result.data["rows"].append(row)
            with guarded(result, name):
                changed: set[str] = set()
                for group in session.program.together(nets):
                    base = session.program.eval(
                        deadline, forward, group, precision, engine, BATCHES[0], ["--per-layer"]
                    )
                    for trial, manifest, batch in trials:
                        run = session.program.eval(
                            deadline, manifest, group, precision, engine, batch, ["--per-layer"]
                        )
                        differ = differences(run.rows, base.rows)
                        if differ:
                            changed.add(trial)
                            text = f"{name}: {trial} changes {len(differ)} rows of {', '.join(group)}"
                            result.worsen(FAILED, f"{text}, such as {differ[0]}")
                row["same"] = [trial for trial, *_ in trials if trial not in changed]


def _mixed(session: Session) -> list[photos.CropPair]:
    """Many pairs of one size and some of odd ones, so that batches are full, partial and lone."""
    options = session.options
    side = options.sides[0]
    count = max(8, options.pairs // 3)
    same = photos.crops(session.photos, count, (side, side), options.seed + 1)
    odd = photos.crops(session.photos, max(4, count // 4), (side, options.sides[1]), options.seed + 2)
    mixed = []
    for index, pair in enumerate(same):
        mixed.append(photos.CropPair(f"a{pair.id}", pair.method, pair.ref, pair.dist))
        if index < len(odd):
            pair = odd[index]
            mixed.append(photos.CropPair(f"b{pair.id}", pair.method, pair.ref, pair.dist))
    return mixed
