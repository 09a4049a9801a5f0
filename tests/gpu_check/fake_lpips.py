#!/usr/bin/env python3
"""Stands in for the `lpips` binary where a test plants a fault: FAKE_FAULT names it.

It scores a pair by a hash of its files, so that a score does not depend on other pairs, as in the program.
"""

import argparse
import csv
import hashlib
import json
import os
import sys
from pathlib import Path

FAULT = os.environ.get("FAKE_FAULT", "")


def evaluate(args: argparse.Namespace) -> int:
    """`lpips eval`, as much of it as the script uses."""
    with Path(args.manifest).open(newline="") as file:
        rows = list(csv.DictReader(file))
    out = Path(args.out)
    out.mkdir()
    columns = [f"lpips_{net}" for net in args.net.split(",")]
    with (out / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *columns, "status", "error"])
        for index, row in enumerate(rows):
            files = [(Path(args.manifest).parent / row[side]).read_bytes() for side in ("ref", "dist")]
            score = int(hashlib.sha256(b"".join(files)).hexdigest()[:6], 16) / (1 << 24)
            if FAULT == "batch" and args.batch == "7" and index == 3:
                score += 1e-9
            if FAULT == "order":
                score += index * 1e-9
            failed = FAULT == "row" and index == 1
            cells = [""] * len(columns) if failed else [f"{score:.9}"] * len(columns)
            writer.writerow([row["id"], *cells, "failed" if failed else "ok", "planted" if failed else ""])
    (out / "run.json").write_text(json.dumps({"fingerprint": {"numerics_class": "stand-in"}}))
    return 3 if FAULT == "row" else 0


def doctor(args: argparse.Namespace) -> int:
    """`lpips doctor`, with a self-test of one row."""
    row = {"device": "cpu", "net": "alex", "precision": "fp32", "engine": "cpu", "status": "ok"}
    row["invariant"] = FAULT != "selftest"
    row["throughput"] = [{"width": 256, "height": 256, "batch": 8, "pairs_per_second": 1000.0}]
    print(json.dumps({"devices": [], "selftest": [row] if args.selftest else []}))
    return 5 if FAULT == "exit" else 0


def main() -> int:
    """Picks the command."""
    if sys.argv[1:] == ["--version"]:
        print("lpips 0.0.0 (stand-in)")
        return 0
    while FAULT == "hang":
        pass
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("eval")
    command.set_defaults(run=evaluate)
    command.add_argument("manifest")
    command.add_argument("-o", dest="out")
    for name in ("--net", "--device", "--weights-dir", "--batch", "--precision", "--conv"):
        command.add_argument(name)
    for name in ("--quiet", "--per-layer"):
        command.add_argument(name, action="store_true")
    command = commands.add_parser("doctor")
    command.set_defaults(run=doctor)
    for name in ("--json", "--selftest"):
        command.add_argument(name, action="store_true")
    for name in ("--device", "--weights-dir", "--net", "--sides", "--precision"):
        command.add_argument(name)
    args = parser.parse_args()
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
