"""Jobs that need PyTorch, each in a child process: `python -m gpucheck.worker '{"job": ...}'`.

A job prints one JSON object a line, as soon as it knows it: what was measured before the time was
over counts.
"""

import csv
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from . import module, png

TORCH_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16}


@dataclass(frozen=True)
class Variant:
    """One way in which people run LPIPS in PyTorch.

    `precision` is that of the convolutions. `half` casts module and images, as `module.half()` does;
    `autocast` leaves the head in float32.
    """

    name: str
    precision: str
    channels_last: bool = False
    autocast: bool = False
    benchmark: bool = False
    compile: bool = False


# PyTorch comes with TF32 convolutions allowed: that, and nothing else, is `default`. Compiled ones
# come last, as compiling takes long.
VARIANTS = (
    Variant("default", "tf32"),
    Variant("strict fp32", "fp32"),
    Variant("fp16 channels_last", "fp16", channels_last=True),
    Variant("autocast channels_last", "fp16", channels_last=True, autocast=True),
    Variant("default, benchmark", "tf32", benchmark=True),
    Variant("strict fp32, benchmark", "fp32", benchmark=True),
    Variant("fp16 channels_last, benchmark", "fp16", channels_last=True, benchmark=True),
    Variant("fp16 channels_last, benchmark, compile", "fp16", True, False, True, True),
    Variant("tf32 channels_last, benchmark, compile", "tf32", True, False, True, True),
    Variant("strict fp32, benchmark, compile", "fp32", False, False, True, True),
)


def emit(**row: Any) -> None:
    """One line for the parent."""
    print(json.dumps(row), flush=True)


def synchronize(device: str) -> None:
    """Waits for the device, where there is one."""
    if device == "cuda":
        torch.cuda.synchronize()


def rate(call: Callable[[], Any], device: str, rounds: int, seconds: float) -> tuple[float, list[float]]:
    """Calls per second: the median of `rounds` rounds of about `seconds` each, after a warm-up."""
    for _ in range(2):
        call()
    synchronize(device)
    started = time.perf_counter()
    call()
    synchronize(device)
    once = time.perf_counter() - started
    count = max(1, int(seconds / max(once, 1e-6)))
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(count):
            call()
        synchronize(device)
        found.append(count / (time.perf_counter() - started))
    return statistics.median(found), found


def emit_rate(call: Callable[[], Any], args: dict[str, Any], scale: float, **row: Any) -> None:
    """Measures a call and prints its rate, in units of which one call does `scale`."""
    found, rounds = rate(call, args["device"], args["rounds"], 0.3)
    emit(**row, rate=found * scale, rounds=[calls * scale for calls in rounds])


# --- jobs ---------------------------------------------------------------------------------------------


def versions(_: dict[str, Any]) -> None:
    """What PyTorch brings along."""
    cuda = torch.cuda.is_available()
    emit(
        torch=torch.__version__,
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version() if cuda else None,  # type: ignore[no-untyped-call]
        device=torch.cuda.get_device_name() if cuda else None,
        capability=list(torch.cuda.get_device_capability()) if cuda else None,
        cudnn_allow_tf32=torch.backends.cudnn.allow_tf32,
    )


def float64(args: dict[str, Any]) -> None:
    """The distance of every layer of every pair of a manifest, in float64, one pair at a time."""
    device = args["device"]
    net = module.load(args["net"], Path(args["weights"]), args["net"] in args["formula"])
    net = net.double().to(device)
    manifest = Path(args["manifest"])
    with torch.inference_mode():
        for row in _rows(manifest):
            sides = (png.read(manifest.parent / row[side]) for side in ("ref", "dist"))
            ref, dist = (_image(image).double().to(device) / 255 * 2 - 1 for image in sides)
            emit(id=row["id"], layers=net.layers(ref[None], dist[None])[0].tolist())


def floors(args: dict[str, Any]) -> None:
    """Measured ceilings: matrix products per precision (FLOP/s), copies (bytes/s)."""
    device = args["device"]
    cuda = device == "cuda"
    side = 8192 if cuda else 512
    for name in args["precisions"]:
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        a, b = (torch.randn(side, side, device=device).to(TORCH_DTYPES[name]) for _ in range(2))
        call = partial(torch.mm, a, b, out=torch.empty_like(a))
        emit_rate(call, args, 2 * side**3, kind="matmul", precision=name, side=side)
    count = (1 << 30) if cuda else (1 << 26)
    source = torch.randint(0, 256, (count,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    emit_rate(lambda: target.copy_(source), args, 2 * count, kind="copy", bytes=count)
    if cuda:
        host = torch.empty(count // 4, dtype=torch.uint8).pin_memory()
        part = target[: count // 4]
        call = partial(part.copy_, host, non_blocking=True)
        emit_rate(call, args, count // 4, kind="upload", bytes=count // 4)


def resident(args: dict[str, Any]) -> None:
    """Pairs per second of every variant on images that lie on the device, best batch size of several."""
    done: dict[tuple[str, int], int] = {}
    wanted = [variant for variant in VARIANTS if variant.precision in args["precisions"]]
    for compiled in (False, True):
        for net in args["nets"]:
            for side in args["sizes"]:
                for variant in wanted:
                    if variant.compile != compiled:
                        continue
                    best = done.get((net, side))
                    batches = [best] if compiled and best else _batches(side, args["device"])
                    row = _resident(args, net, side, variant, batches)
                    done.setdefault((net, side), row.get("batch") or batches[0])
                    emit(net=net, side=side, variant=variant.name, precision=variant.precision, **row)


def files(args: dict[str, Any]) -> None:
    """Pairs per second from PNG files to scores, decoded by DataLoader workers.

    The clock runs from the first request for a batch (the workers start then) to the last score;
    imports, loading the module and one warm-up batch of the shape are left out.
    """
    if png.CODEC != "Pillow":
        sys.exit("Pillow is missing: people decode with it, and our own reader is slow")
    device, side, batch = args["device"], args["side"], args["batch"]
    variant = next(v for v in VARIANTS if v.name == args["variant"])
    prepared = Peer(args, args["net"], variant)
    pairs = PngPairs(Path(args["manifest"]))
    blank = torch.zeros(batch, 3, side, side, dtype=torch.uint8, device=device)
    for _ in range(3):
        prepared.score(blank, blank)
    synchronize(device)
    loader = torch.utils.data.DataLoader(
        pairs, batch_size=batch, num_workers=args["workers"], pin_memory=device == "cuda", prefetch_factor=4
    )
    started = time.perf_counter()
    scores: list[float] = []
    waiting: torch.Tensor | None = None
    for ref, dist in loader:
        found = prepared.score(ref.to(device, non_blocking=True), dist.to(device, non_blocking=True))
        # The scores of a batch are fetched while the next one is computed.
        if waiting is not None:
            scores += waiting.flatten().tolist()
        waiting = found
    if waiting is not None:
        scores += waiting.flatten().tolist()
    seconds = time.perf_counter() - started
    emit(seconds=seconds, pairs=len(scores), mean=statistics.fmean(scores))


# --- the peer -----------------------------------------------------------------------------------------


class Peer:
    """A variant, ready to score uint8 images (N, 3, H, W) on its device."""

    def __init__(self, args: dict[str, Any], net: str, variant: Variant) -> None:
        self.variant, self.device = variant, args["device"]
        torch.backends.cudnn.allow_tf32 = variant.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = variant.precision == "tf32"
        torch.backends.cudnn.benchmark = variant.benchmark
        half = variant.precision == "fp16" and not variant.autocast
        self.dtype = torch.float16 if half else torch.float32
        self.format = torch.channels_last if variant.channels_last else torch.contiguous_format
        built = module.load(net, Path(args["weights"]), net in args["formula"]).to(self.device, self.dtype)
        built = built.to(memory_format=self.format)
        self.module = torch.compile(built) if variant.compile else built

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 -> [-1, 1] in the variant's type and layout."""
        return (pixels.float() / 127.5 - 1).to(self.dtype).contiguous(memory_format=self.format)

    def distance(self, ref: torch.Tensor, dist: torch.Tensor) -> torch.Tensor:
        """Of images as `images` returns them."""
        with torch.inference_mode():
            if self.variant.autocast:
                with torch.autocast(self.device, torch.float16):
                    return self.module(ref, dist)  # type: ignore[no-any-return]
            return self.module(ref, dist)  # type: ignore[no-any-return]

    def score(self, ref: torch.Tensor, dist: torch.Tensor) -> torch.Tensor:
        """Of uint8 images."""
        return self.distance(self.images(ref), self.images(dist))


class PngPairs(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """The pairs of a manifest as uint8 (3, H, W), decoded where they are asked for."""

    def __init__(self, manifest: Path) -> None:
        self.folder, self.rows = manifest.parent, _rows(manifest)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        row = self.rows[index]
        ref, dist = (_image(png.read(self.folder / row[side])) for side in ("ref", "dist"))
        return ref, dist


def _resident(
    args: dict[str, Any], net: str, side: int, variant: Variant, batches: list[int]
) -> dict[str, Any]:
    """Rates by batch size until memory is full; the score of a known pair shows what is computed."""
    try:
        peer = Peer(args, net, variant)
        ref, dist = (_pattern(side, shift, args["device"]) for shift in (0, 3))
        score = float(peer.score(ref, dist).flatten()[0])
        rates: dict[int, float] = {}
        for batch in batches:
            a, b = (peer.images(image.expand(batch, -1, -1, -1)) for image in (ref, dist))
            try:
                calls, _ = rate(partial(peer.distance, a, b), args["device"], args["rounds"], 0.25)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                break
            rates[batch] = calls * batch
        best = max(rates, key=lambda batch: rates[batch])
        return {
            "rate": rates[best],
            "batch": best,
            "rates": rates,
            "score": score if math.isfinite(score) else None,
        }
    except Exception as error:  # noqa: BLE001 - a variant that does not work here is a finding.
        return {"error": f"{type(error).__name__}: {str(error)[:300]}"}


def _batches(side: int, device: str) -> list[int]:
    if device == "cpu":
        return [1]
    return [batch for batch in (1, 8, 32, 64) if batch * side * side <= 8 << 20] or [1]


def _pattern(side: int, shift: int, device: str) -> torch.Tensor:
    """One image that every machine makes alike, (1, 3, side, side), uint8."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    channels = [(x * (2 + c) + y * (5 - c) + (x * y // 64) * (1 + c) + 7 * shift) % 251 for c in range(3)]
    return torch.stack(channels).to(torch.uint8)[None].to(device)


def _image(image: png.Image) -> torch.Tensor:
    flat = torch.frombuffer(bytearray(image.rgb), dtype=torch.uint8)
    return flat.view(image.height, image.width, 3).permute(2, 0, 1).contiguous()


def _rows(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="") as file:
        return list(csv.DictReader(file))


JOBS = {job.__name__: job for job in (versions, float64, floors, resident, files)}


def main() -> None:
    """Runs the job that the one argument describes."""
    args = json.loads(sys.argv[1])
    if args["device"] == "cuda" and args["job"] != "versions" and not torch.cuda.is_available():
        sys.exit("PyTorch finds no CUDA device")
    JOBS[args["job"]](args)


if __name__ == "__main__":
    main()
