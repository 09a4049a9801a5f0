"""The arguments of scripts/gpu_check."""

import argparse
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from .nets import NETS
from .parts import PARTS

ROOT = Path(__file__).resolve().parent.parent.parent

PRECISIONS = ("fp32", "tf32", "fp16")
ENGINES = ("cudnn", "cublas")


@dataclass(frozen=True)
class Options:
    """What was decided. `seconds` holds the time of each chosen part, in the order of running."""

    out: Path
    program: Path
    device: str
    seconds: dict[str, float]
    skipped: list[str]
    budget: float | None
    nets: list[str]
    selftest_nets: list[str]  # all that the program knows where none was named
    selftest_precisions: list[str]  # all that the device has where none was named
    precisions: list[str]
    engines: list[str | None]
    sizes: list[int]
    sides: list[int]
    pairs: int
    files: int
    workers: int
    rounds: int
    seed: int
    weights: Path
    photos: Path


def parse(argv: Sequence[str] | None = None) -> Options:
    """Reads the arguments; exits with 2 where they contradict."""
    listing = "\n".join(f"  {part.name:11} {part.seconds:4.0f} s  {part.what}" for part in PARTS.values())
    parser = argparse.ArgumentParser(
        prog="scripts/gpu_check",
        description="Checks and measures `lpips` on a GPU host, against PyTorch in the same run.",
        epilog=f"parts, in order, with the most time that each may take:\n{listing}\n\n"
        "exit codes: 0 all chosen parts passed; 1 one failed; 2 usage; 3 one could not be finished",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("out", type=Path, metavar="OUT", help="new or empty folder for gpu_check.md, .json and commands.log")
    add("--program", type=Path, default=ROOT / "target/release/lpips", help="the binary")
    add("--device", choices=("cuda", "cpu"), default="cuda", help="cpu is for trying this script out")
    add("--parts", type=_list(PARTS), metavar="A,B", help="run these only")
    add("--skip", type=_list(PARTS), metavar="A,B", default=[], help="leave these out")
    add("--seconds", type=_limits, metavar="PART=S,...", default={}, help="other limits for parts")
    add("--budget", type=float, metavar="S", help="most seconds for everything together")
    add("--nets", type=_list(NETS), metavar="A,B", help="[default: alex,vgg; the self-test takes all]")
    add("--precisions", type=_list(PRECISIONS), metavar="A,B", help="[default: all; on the CPU fp32]")
    add("--engines", type=_list(ENGINES), metavar="A,B", help="convolution engines [default: both]")
    add("--sizes", type=_numbers, metavar="N,N", default=[256, 1024], help="of the speed tests' images")
    add(
        "--sides",
        type=_numbers,
        metavar="MIN,MAX",
        default=[64, 192],
        help="of the accuracy tests' crops",
    )
    add("--pairs", type=int, default=120, help="crops of the accuracy tests")
    add("--files", type=int, default=4096, help="256x256 pairs in part `files`; larger sizes take fewer")
    add("--workers", type=int, default=0, help="decoding processes of PyTorch [default: one per core]")
    add("--rounds", type=int, default=5, help="timed rounds; the median counts")
    add("--seed", type=int, help="of the crops [default: fresh, and written down]")
    add("--weights-dir", type=Path, default=ROOT / "weights", help="alex, lin and, if there, vgg")
    args = parser.parse_args(argv)

    chosen = [name for name in PARTS if name in (args.parts or PARTS) and name not in args.skip]
    if not chosen:
        parser.error("no part is left to run")
    if len(args.sides) != 2 or args.sides[0] > args.sides[1]:
        parser.error("--sides takes the smallest and the largest side")
    unknown = set(args.seconds) - set(PARTS)
    if unknown:
        parser.error(f"--seconds: no part is called {', '.join(sorted(unknown))}")
    cpu = args.device == "cpu"
    if cpu and (args.engines or args.precisions not in (None, ["fp32"])):
        parser.error("--device cpu has one engine and fp32")
    if args.out.is_dir() and any(args.out.iterdir()):
        parser.error(f"{args.out} is not empty: results of different runs are not mixed")
    return Options(
        out=args.out,
        program=args.program.absolute(),
        device=args.device,
        seconds={name: args.seconds.get(name, PARTS[name].seconds) for name in chosen},
        skipped=[name for name in PARTS if name not in chosen],
        budget=args.budget,
        nets=args.nets or ["alex", "vgg"],
        selftest_nets=args.nets or [],
        selftest_precisions=args.precisions or [],
        precisions=["fp32"] if cpu else args.precisions or list(PRECISIONS),
        engines=[None] if cpu else args.engines or list(ENGINES),
        sizes=args.sizes,
        sides=args.sides,
        pairs=args.pairs,
        files=args.files,
        workers=args.workers,
        rounds=args.rounds,
        seed=random.SystemRandom().randrange(1 << 32) if args.seed is None else args.seed,
        weights=args.weights_dir.absolute(),
        photos=ROOT / "tests/data/sr",
    )


def _list(known: Collection[str]) -> Callable[[str], list[str]]:
    """A converter of comma lists of known names."""

    def names(text: str) -> list[str]:
        found = [name for name in text.split(",") if name]
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"`{name}`: expected one of {', '.join(known)}")
        return found

    return names


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}`: expected numbers, separated by commas") from None


def _limits(text: str) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in (word.split("=") for word in text.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}`: expected PART=SECONDS,...") from None
