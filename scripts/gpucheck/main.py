"""Arguments -> parts -> report -> exit code."""

import shlex
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from . import machine, photos, png, weights
from .options import parse
from .parts import exit_code, run_all
from .process import Commands, Deadline
from .program import Program
from .session import Session


def prepare_weights(given: Path, folder: Path, nets: Sequence[str]) -> dict[str, str]:
    """Makes the folder that both the program and PyTorch read trunks from.

    Joins a file that was sent in pieces. Returns net -> its trunk: `published`, `brought` (a file that
    is not published), `formula` (needs no file: right for speed and deviation, meaningless as a metric), or
    `formula for PyTorch` (the program takes the published file only, and that is not here).
    """
    sums = weights.published(given)
    trunks = {}
    for net in nets:
        name = f"{net}.safetensors"
        if name in sums:
            against = weights.join_pieces(given, name, sums[name])
            if against:
                print(f"note: {against}", file=sys.stderr)
        file = given / name
        if file.is_file():
            (folder / name).symlink_to(file)
            trunks[net] = "published" if weights.sha256(file) == sums.get(name) else "brought"
        elif name in sums:
            trunks[net] = "formula for PyTorch"
        else:
            trunks[net] = "formula"
            weights.write(folder / name, weights.formula(net))
    (folder / "lin.safetensors").symlink_to(given / "lin.safetensors")
    return trunks


def main(argv: Sequence[str] | None = None) -> int:
    """The whole script; returns its exit code."""
    options = parse(argv)
    if not options.program.is_file():
        print(
            f"error: {options.program}: no such file\n"
            "hint: build it with `cargo build --release` and carry target/release/lpips here, "
            "or name it with --program",
            file=sys.stderr,
        )
        return 2
    needed = ["SHA256SUMS", "lin.safetensors", "alex.safetensors"]
    absent = [name for name in needed if not (options.weights / name).is_file()]
    if absent:
        print(
            f"error: {options.weights}: expected {', '.join(needed)}; {', '.join(absent)} is missing\n"
            "hint: name the repository's folder weights/ with --weights-dir",
            file=sys.stderr,
        )
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    commands = Commands(options.out / "commands.log")
    with tempfile.TemporaryDirectory(prefix="gpu_check.") as name:
        folder = Path(name)
        trunk_folder = folder / "weights"
        trunk_folder.mkdir()
        trunks = prepare_weights(options.weights, trunk_folder, options.nets)
        unpublished = [net for net, trunk in trunks.items() if trunk in ("formula", "brought")]
        head = {
            "command": shlex.join(["scripts/gpu_check", *(sys.argv[1:] if argv is None else argv)]),
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seed": options.seed,
            "trunks": trunks,
            "png": png.CODEC,
            "machine": machine.describe(commands, options),
        }
        session = Session(
            options=options,
            commands=commands,
            program=Program(commands, options.program, options.device, trunk_folder, unpublished),
            folder=folder,
            trunks=trunks,
            photos=photos.load(options.photos),
            head=head,
        )
        budget = Deadline(options.budget if options.budget is not None else float("inf"))
        results = run_all(session, options.seconds, budget)
        session.save(results)
    print((options.out / "gpu_check.md").read_text())
    return exit_code(results)
