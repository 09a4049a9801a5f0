"""gpu_check.json (everything) and gpu_check.md (what people read)."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .nets import cost
from .parts import PARTS, SKIPPED, Result

BYTES = {"fp32": 4, "tf32": 4, "fp16": 2}
NONE = "–"


def write(out: Path, head: dict[str, Any], results: dict[str, Result], skipped: Sequence[str]) -> None:
    """Writes both files."""
    parts = {
        name: {"status": r.status, "seconds": r.seconds, "notes": r.notes, **r.data}
        for name, r in results.items()
    }
    parts.update({name: {"status": SKIPPED} for name in skipped})
    document = {**head, "parts": parts}
    (out / "gpu_check.json").write_text(json.dumps(document, indent=1) + "\n")
    (out / "gpu_check.md").write_text(markdown(document))


def markdown(document: dict[str, Any]) -> str:
    """The document for people. Sections of parts that did not run are left out."""
    parts = document["parts"]
    sections = [
        _head(document),
        _statuses(parts),
        _rates(parts),
        _files(parts),
        _deviations(parts),
        _selftest(parts),
        _starting(parts),
        _sanitizer(parts),
        _floors(parts),
        _variants(parts),
    ]
    return "\n".join(section for section in sections if section)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; pipes inside cells are escaped."""

    def line(cells: Sequence[object]) -> str:
        texts = (str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
        return f"| {' | '.join(texts)} |"

    return "\n".join([line(columns), "|" + "---|" * len(columns), *map(line, rows)]) + "\n"


def number(value: float | None, digits: int = 4) -> str:
    """Significant digits, thousands without exponent; a dash for what is not known."""
    if value is None:
        return NONE
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def _head(document: dict[str, Any]) -> str:
    machine = document["machine"]
    torch = machine["torch"] or {}
    gpus = [", ".join(gpu.values()) for gpu in machine["gpus"] or []] or ["none"]
    program = machine["program"]
    lines = [
        "# gpu_check",
        "",
        f"- command: `{document['command']}`, {document['started']}, seed {document['seed']}",
        f"- program: {program['version']}, sha256 {program['sha256']}",
        *(f"- GPU: {gpu} (name, driver, memory, power limit, highest SM clock)" for gpu in gpus),
        f"- PyTorch {torch.get('torch', 'none')}, CUDA {torch.get('cuda')}, cuDNN {torch.get('cudnn')}; "
        f"Python {machine['python']}; nvcc: {machine['nvcc'] or 'none'}",
        f"- {machine['cores']} cores, {machine['processor']}; {machine['system']}",
        f"- trunks: {', '.join(f'{net} {trunk}' for net, trunk in document['trunks'].items())}; "
        f"PNG by {document['png']}",
        "",
    ]
    return "\n".join(lines)


def _statuses(parts: dict[str, Any]) -> str:
    rows = [
        [name, parts[name]["status"], number(parts[name].get("seconds"), 3), _brief(parts[name])]
        for name in PARTS
        if name in parts
    ]
    return "## Parts\n\n" + table(["part", "status", "s", "notes"], rows)


def _brief(part: dict[str, Any]) -> str:
    notes = part.get("notes", [])
    return "; ".join(notes[:3]) + (f"; and {len(notes) - 3} more" if len(notes) > 3 else "")


def _throughput(parts: dict[str, Any]) -> list[dict[str, Any]]:
    """This program's resident rates, flat."""
    return [
        {
            "net": row["net"],
            "side": rate["width"],
            "precision": row["precision"],
            "engine": row["engine"],
            "rate": rate["pairs_per_second"],
        }
        for row in parts.get("selftest", {}).get("selftest", [])
        for rate in row.get("throughput", [])
        if rate["width"] == rate["height"]
    ]


def _floor(parts: dict[str, Any], net: str, side: int, precision: str) -> float | None:
    """The most pairs/s that the measured rates allow: by operations or by bytes, whichever is less."""
    rows = parts.get("floors", {}).get("rows", [])
    matmul = best(rows, kind="matmul", precision=precision)
    copy = best(rows, kind="copy")
    if not matmul or not copy:
        return None
    pair = cost(net, side, side)
    bound: float = min(matmul["rate"] / pair.flops, copy["rate"] / (pair.elements * BYTES[precision]))
    return bound


def _rates(parts: dict[str, Any]) -> str:
    ours, peers = _throughput(parts), parts.get("resident", {}).get("rows", [])
    keys = {(row["net"], row["side"], row["precision"]) for row in [*ours, *peers] if row.get("rate")}
    rows = []
    for net, side, precision in sorted(keys):
        mine = best(ours, net=net, side=side, precision=precision)
        equal = best(peers, net=net, side=side, precision=precision)
        fastest = best(peers, net=net, side=side)
        floor = _floor(parts, net, side, precision)
        rows.append(
            [
                net,
                f"{side}x{side}",
                precision,
                number(mine["rate"] if mine else None),
                mine["engine"] if mine else NONE,
                number(equal["rate"] if equal else None),
                equal["variant"] if equal else NONE,
                ratio(mine, equal),
                ratio(mine, fastest),
                number(floor),
                f"{100 * mine['rate'] / floor:.0f} %" if mine and floor else NONE,
            ]
        )
    if not rows:
        return ""
    columns = ["net", "size", "precision", "ours, pairs/s", "engine", "PyTorch, pairs/s", "variant"]
    columns += ["ratio at this precision", "ratio to its fastest", "ceiling, pairs/s", "of ceiling"]
    return (
        "## Resident data\n\nData in device memory, nothing decoded or uploaded. Ours: `lpips doctor "
        "--selftest`; PyTorch: its best\nbatch size. Ceiling: the smaller of convolution operations at the "
        "measured matmul rate, and activations\nwritten once and read by each user once at the measured copy "
        "rate.\n\n" + table(columns, rows)
    )


def best(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any] | None:
    """The fastest row that has the wanted fields. A rate of scores that are no numbers does not count."""
    fitting = [
        row
        for row in rows
        if row.get("rate")
        and row.get("score", 0) is not None
        and all(row.get(key) == value for key, value in wanted.items())
    ]
    return max(fitting, key=lambda row: row["rate"], default=None)


def ratio(mine: dict[str, Any] | None, peer: dict[str, Any] | None) -> str:
    """Ours over theirs."""
    return f"{mine['rate'] / peer['rate']:.2f}" if mine and peer else NONE


def _files(parts: dict[str, Any]) -> str:
    decode = {row["side"]: row["rate"] for row in parts.get("files", {}).get("decode", [])}
    ours = _throughput(parts)

    def alone(row: dict[str, Any]) -> list[str]:
        """Decoding alone, scoring alone, and how near the whole comes to the slower of both."""
        scoring = best(ours, net=row["net"], side=row["side"], precision=row["precision"])
        bounds = [decode.get(row["side"]), scoring["rate"] if scoring else None]
        known = [bound for bound in bounds if bound]
        rate = row.get("ours_steady_rate")
        share = f"{100 * rate / min(known):.0f} %" if rate and len(known) == 2 else NONE
        return [*map(number, bounds), share]

    rows = [
        [
            row["net"],
            f"{row['side']}x{row['side']}",
            row["precision"],
            row["pairs"],
            number(row.get("ours_rate")),
            number(row.get("ours_steady_rate")),
            *alone(row),
            number(row.get("peer_rate")),
            row.get("peer") or row.get("peer_error", NONE),
            f"{row['ours_rate'] / row['peer_rate']:.2f}"
            if "ours_rate" in row and "peer_rate" in row
            else NONE,
        ]
        for row in parts.get("files", {}).get("rows", [])
    ]
    if not rows:
        return ""
    columns = ["net", "size", "precision", "pairs", "ours, pairs/s", "without start-up"]
    columns += ["decode alone", "score alone", "of the slower", "PyTorch, pairs/s", "variant", "ratio"]
    return (
        "## End to end from PNG files\n\nOurs: the whole process. PyTorch: "
        f"{parts['files'].get('workers')} DataLoader workers, without interpreter start, imports and\n"
        "warm-up. "
        "The ratio is that of our whole process.\n\n" + table(columns, rows)
    )


def _deviations(parts: dict[str, Any]) -> str:
    part = parts.get("deviation", {})
    if not part.get("rows"):
        return ""

    def cells(stats: dict[str, float] | None, keys: Sequence[str]) -> list[str]:
        return [number(stats[key], 2) if stats else NONE for key in keys]

    rows = [
        [
            row["net"] + (" (formula)" if row["trunk"] == "formula" else ""),
            row["precision"],
            row["engine"],
            *cells(row["total"], ("median", "p95", "max")),
            number(row["worst_layer"], 2),
            *cells(row["near_identical"], ("median", "max")),
            row["broken"],
        ]
        for row in part["rows"]
    ]
    columns = ["net", "precision", "engine", "median", "p95", "max", "worst layer"]
    columns += ["near-identical median", "near-identical max", "values beyond fp32's promise"]
    return (
        "## Relative deviation from float64\n\n"
        f"{part['pairs']} random crops of photographs and {part['near']} near-identical pairs (one sample in "
        "a thousand one level off).\n\n" + table(columns, rows)
    )


def _selftest(parts: dict[str, Any]) -> str:
    found = parts.get("selftest", {}).get("selftest", [])
    rows = [
        [
            row.get("device", NONE),
            row.get("net"),
            row.get("trunk", NONE),
            row.get("precision"),
            row.get("engine"),
            row.get("status"),
            *(
                number((row.get("deviation") or {}).get(key), 2)
                for key in ("total", "layer", "near_identical")
            ),
            {True: "yes", False: "NO"}.get(row.get("invariant"), NONE),
            ", ".join(_taps(rate) for rate in row.get("throughput", [])) or NONE,
        ]
        for row in found
    ]
    columns = ["device", "net", "trunk", "precision", "engine", "status", "total", "layer", "near-identical"]
    columns += ["same bits", "taps, GB/s (of copying)"]
    devices = sorted({row["described"] for row in found if "described" in row})
    lines = "".join(f"- {device}\n" for device in devices)
    return f"## Self-test of the binary\n\n{lines}\n" + table(columns, rows) if rows else ""


def _starting(parts: dict[str, Any]) -> str:
    start, sizes = parts.get("start", {}).get("rows", []), parts.get("sizes", {}).get("rows", [])
    text = ""
    if start:
        rows = [
            [
                *(row["net"], row["precision"], row["engine"]),
                *(number(row["first"], 3), number(row["later"], 3)),
                row.get("class") or NONE,
            ]
            for row in start
        ]
        columns = ["net", "precision", "engine", "first, s", "later, s", "numerics class"]
        text += "## The whole process, for two pairs\n\n" + table(columns, rows) + "\n"
    if sizes:
        rows = [
            [
                *(row["net"], row["precision"], row["engine"]),
                *(number(row["rate"], 3), number(row.get("rate_reversed"), 3)),
            ]
            for row in sizes
        ]
        columns = ["nets", "precision", "engine", "pairs/s", "in reverse order"]
        text += f"## {parts['sizes']['pairs']} pairs, each of a size of its own\n\n" + table(columns, rows)
    return text


def _taps(rate: dict[str, Any]) -> str:
    """What the taps move with their poolings, and that of what copying within the GPU's memory moves."""
    taps, copy = rate.get("tap_bytes_per_second"), rate.get("copy_bytes_per_second")
    if taps is None or copy is None:
        return NONE
    return f"{rate['width']}x{rate['height']}: {number(taps / 1e9)} ({100 * taps / copy:.0f} %)"


def _sanitizer(parts: dict[str, Any]) -> str:
    rows = [
        [row["tool"], row["engine"], row["precision"], ", ".join(row["nets"]), number(row["seconds"], 3), row["verdict"]]
        for row in parts.get("sanitizer", {}).get("runs", [])
    ]
    return (
        "## compute-sanitizer\n\n" + table(["tool", "engine", "precision", "nets", "s", "verdict"], rows)
        if rows
        else ""
    )


def _floors(parts: dict[str, Any]) -> str:
    units: dict[str, Callable[[dict[str, Any]], str]] = {
        "matmul": lambda row: f"{number(row['rate'] / 1e12, 3)} TFLOP/s ({row['side']} cubed)",
        "copy": lambda row: f"{number(row['rate'] / 1e9, 3)} GB/s, read and written",
        "upload": lambda row: f"{number(row['rate'] / 1e9, 3)} GB/s from pinned memory",
    }
    rows = [
        [row["kind"], row.get("precision", NONE), units[row["kind"]](row)]
        for row in parts.get("floors", {}).get("rows", [])
    ]
    return "## Measured rates\n\n" + table(["what", "precision", "rate"], rows) if rows else ""


def _variants(parts: dict[str, Any]) -> str:
    rows = [
        [
            row["net"],
            f"{row['side']}x{row['side']}",
            row["variant"],
            row["precision"],
            number(row.get("rate")),
            row.get("batch", NONE),
            row.get("error") or number(row["score"], 6),
        ]
        for row in parts.get("resident", {}).get("rows", [])
    ]
    columns = ["net", "size", "variant", "precision", "pairs/s", "best batch", "score of one pair"]
    return "## Every variant of PyTorch\n\n" + table(columns, rows) if rows else ""
