#!/usr/bin/env python3
"""This program against PyTorch and ONNX Runtime on the same cores, alternating in one run.

    python3 scripts/bench_peers.py                          # everything, about 40 minutes
    python3 scripts/bench_peers.py --quick                  # the goals' cases only, about 10 minutes
    python3 scripts/bench_peers.py --nets vgg --sides 256 --threads 2 --only resident

It builds the release program, makes a virtual environment of its own (.venv-bench: torch,
torchvision, lpips 0.1.4, onnx, onnxruntime, pillow, numpy) unless --python names one, fetches VGG16's
weights where they are missing, and writes docs/measurements/cpu.{json,md} (--output).

Resident: every contender is a process that holds the same batch in memory (bytes here, normalised
float32 tensors there) and scores it on request; the contenders take turns, so that a busy moment
of the machine affects all of them. A turn begins with a pause, since the threads of others spin for a while when
their work is done, and with a run that is not counted, since others emptied the caches. A run is the
batch scored some times in succession, as often by each, for 0.2 s or more. PyTorch
runs the module of `lpips` 0.1.4 in channels_last and in its default layout under inference_mode; ONNX
Runtime runs the same module exported by torch, at full graph optimisation. Peers get weights from
weights/, so nothing is downloaded from a hub.

End to end: whole processes on PNG files. Ours counts everything; PyTorch is a script as a careful
user writes it (PIL, a DataLoader with workers or without, whichever is faster, batches of 8,
channels_last, inference_mode), without interpreter start and imports.

Start-up: the wall time of a whole `lpips eval --pair` on 64x64 images, which prints one row.

Scores of all contenders are compared before a time is printed. Ratios are of medians.
"""
import argparse
import csv
import json
import os
import platform
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from contenders import ROOT, Contender, race

PROGRAM = ROOT / "target/release/lpips"
RESIDENT = ROOT / "target/release/examples/resident"
PACKAGES = ["torch", "torchvision", "lpips==0.1.4", "onnx", "onnxruntime", "pillow", "numpy"]
# Relative difference of two float32 implementations that is no error.
AGREE = 2e-4


# --- Contenders: child processes of this script ---------------------------------------------------


def lpips_module(net: str, threads: int, **options):
    """The module of `lpips` 0.1.4 with the trunk from weights/."""
    import warnings

    warnings.filterwarnings("ignore")
    import lpips
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    module = lpips.LPIPS(net=net, pnet_rand=True, verbose=False, **options).eval()
    data = (ROOT / f"weights/{net}.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    tensors = json.loads(data[8 : 8 + length])
    state = module.net.state_dict()
    for key in state:
        entry = tensors["features." + ".".join(key.split(".")[1:])]
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[start:end], dtype="<f4").reshape(entry["shape"])
        state[key] = torch.from_numpy(values.copy())
    module.net.load_state_dict(state)
    return module


def images(side: int, count: int):
    """The images of examples/resident.rs: (count, side, side, 3) bytes."""
    import numpy as np

    index = np.arange(3 * side * side, dtype=np.int64)
    y, x, c = index // 3 // side, index // 3 % side, index % 3
    waves = (x + 2 * y + 40 * c) // 2
    every = [(waves + (index * 7919 + seed * 104_729) % 61) % 256 for seed in range(count)]
    return np.stack(every).astype(np.uint8).reshape(count, side, side, 3)


def answer(score) -> None:
    """Scores as often as each line on stdin says: seconds of one time, and the first value."""
    score()
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        for _ in range(int(line)):
            value = score()
        print(f"{(time.perf_counter() - started) / int(line):.9f} {value:.9g}", flush=True)


def resident_peer(kind: str, net: str, side: int, batch: int, threads: int) -> None:
    """Child process: one contender that is not ours."""
    import torch

    module = lpips_module(net, threads)
    pixels = torch.from_numpy(images(side, 2 * batch)).permute(0, 3, 1, 2).float() / 127.5 - 1
    ref, dist = pixels[0::2].contiguous(), pixels[1::2].contiguous()
    if kind == "onnxruntime":
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/lpips.onnx"
            torch.onnx.export(module, (ref, dist), path, input_names=["a", "b"], dynamo=False)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        feed = {"a": ref.numpy(), "b": dist.numpy()}
        answer(lambda: float(session.run(None, feed)[0].reshape(-1)[0]))
    else:
        if kind == "torch_channels_last":
            module = module.to(memory_format=torch.channels_last)
            ref, dist = (one.contiguous(memory_format=torch.channels_last) for one in (ref, dist))
        with torch.inference_mode():
            answer(lambda: float(module(ref, dist).reshape(-1)[0]))


def script_peer(manifest: Path, net: str, threads: int, workers: int) -> None:
    """Child process: the Python script of a careful user. Prints JSON."""
    import numpy as np
    import torch
    from PIL import Image

    module = lpips_module(net, threads).to(memory_format=torch.channels_last)
    rows = list(csv.DictReader(manifest.open()))

    def load(path: str):
        image = np.asarray(Image.open(manifest.parent / path).convert("RGB"))
        return torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 127.5 - 1

    class Pairs(torch.utils.data.Dataset):
        def __len__(self):
            return len(rows)

        def __getitem__(self, index):
            return load(rows[index]["ref"]), load(rows[index]["dist"])

    one_size = len({Image.open(manifest.parent / row["ref"]).size for row in rows}) == 1
    started = time.perf_counter()
    scores: list = []
    loader = torch.utils.data.DataLoader(Pairs(), batch_size=8 if one_size else 1, num_workers=workers)
    with torch.inference_mode():
        for sides in loader:
            ref, dist = (side.contiguous(memory_format=torch.channels_last) for side in sides)
            scores += module(ref, dist).flatten().tolist()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak, "scores": scores}))


# --- Resident tensors -----------------------------------------------------------------------------


def resident(net: str, side: int, batch: int, threads: int, seconds: float) -> dict:
    """Alternates all contenders until each has had about its share of `seconds`."""
    case = ["--net", net, "--side", side, "--batch", batch, "--threads", threads]
    contenders = [Contender("lpips", [RESIDENT, *case, "--weights-dir", "weights"])]
    contenders += [
        Contender(kind, [sys.executable, __file__, "--resident-peer", kind, *case])
        for kind in ("torch_channels_last", "torch", "onnxruntime")
    ]
    times = race(contenders, seconds, AGREE)
    per_pair = lambda times: {name: value / batch for name, value in times.items()}
    return {
        "net": net,
        "side": side,
        "batch": batch,
        "threads": threads,
        "rounds": times["rounds"],
        "in_succession": times["in_succession"],
        "min_ms": per_pair(times["min_ms"]),
        "median_ms": per_pair(times["median_ms"]),
    }


# --- End to end -----------------------------------------------------------------------------------


def ours(manifest: Path, net: str, threads: int) -> dict:
    """Runs the program as a whole process."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [PROGRAM, "eval", manifest, "-o", run, "--net", net, "--threads", str(threads)]
        command += ["--device", "cpu", "--weights-dir", ROOT / "weights", "-q"]
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if status:
            sys.exit(f"{command} failed with status {status}")
        scores = [float(row[f"lpips_{net}"]) for row in csv.DictReader((run / "pairs.csv").open())]
    return {"seconds": seconds, "peak_mib": usage.ru_maxrss / 1024, "scores": scores}


def script(manifest: Path, net: str, threads: int, workers: int) -> dict:
    """Runs the Python script in a process of its own."""
    command = [sys.executable, __file__, "--script-peer", manifest, "--net", net]
    command += ["--threads", str(threads), "--workers", str(workers)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def crops(folder: Path, count: int, side: int, methods: int = 1, shared: bool = False) -> Path:
    """Makes pairs of PNG files from the sample set's photographs: `count` references with `methods`
    distorted images each. Without `shared`, every pair has a copy of its reference for itself."""
    from PIL import Image

    folder.mkdir()
    lines = ["ref,dist,method"]
    rows = list(csv.DictReader((ROOT / "tests/data/sr/manifest.csv").open()))
    sample = ROOT / "tests/data/sr"
    base = side + side // 4

    def crop(path: str, index: int):
        image = Image.open(sample / path).convert("RGB").resize((base, base))
        x, y = index * 7 % (base - side + 1), index * 13 % (base - side + 1)
        return image.crop((x, y, x + side, y + side))

    for index in range(count):
        reference = crop(rows[index % len(rows)]["ref"], index)
        for method in range(methods):
            ref = f"{index}_ref.png" if shared else f"{index}_{method}_ref.png"
            dist = f"{index}_{method}_dist.png"
            reference.save(folder / ref)
            crop(rows[(index + method) % len(rows)]["dist"], index).save(folder / dist)
            lines.append(f"{ref},{dist},m{method}")
    manifest = folder / "pairs.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def end_to_end(name: str, manifest: Path, net: str, threads: int, rounds: int, peers: bool) -> dict:
    """Alternates the program and the script, with and without workers."""
    results: dict[str, list] = {"lpips": []}
    for _ in range(rounds):
        results["lpips"].append(ours(manifest, net, threads))
        for workers in (0, threads) if peers else ():
            one = script(manifest, net, threads, workers)
            results.setdefault(f"torch, {workers} workers", []).append(one)
    first = results["lpips"][0]["scores"]
    for contender, runs in results.items():
        for own, other in zip(first, runs[0]["scores"], strict=True):
            if abs(own - other) > AGREE * abs(own) + 1e-6:
                sys.exit(f"{name}, {net}: lpips says {own}, {contender} {other}")
    return {
        "job": name,
        "net": net,
        "threads": threads,
        "rounds": rounds,
        "pairs": len(first),
        "seconds": {c: statistics.median(r["seconds"] for r in runs) for c, runs in results.items()},
        "peak_mib": {c: max(r["peak_mib"] for r in runs) for c, runs in results.items()},
    }


def start_up(net: str, rounds: int = 21) -> dict:
    """Wall times of the program that scores one small pair."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = crops(Path(folder) / "pairs", 1, 64)
        ref, dist = (manifest.parent / name for name in ("0_0_ref.png", "0_0_dist.png"))
        command = [PROGRAM, "eval", "--pair", ref, dist, "--net", net, "--device", "cpu", "-q"]
        command += ["--weights-dir", ROOT / "weights"]
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times.append(1e3 * (time.perf_counter() - started))
    return {"net": net, "rounds": rounds, "min_ms": min(times), "median_ms": statistics.median(times)}


# --- Tables ---------------------------------------------------------------------------------------


def resident_table(cases: list[dict]) -> list[str]:
    names = ["lpips", "torch_channels_last", "torch", "onnxruntime"]
    lines = ["| net | side | batch | threads | " + " | ".join(names) + " | / channels_last | / ORT |"]
    lines.append("|---" * (6 + len(names)) + "|")
    for case in cases:
        low, mid = case["min_ms"], case["median_ms"]
        cells = [f"{low[name]:.1f} / {mid[name]:.1f}" for name in names]
        ratios = [mid[name] / mid["lpips"] for name in ("torch_channels_last", "onnxruntime")]
        head = [case["net"], case["side"], case["batch"], case["threads"]]
        cells += [f"**{ratio:.2f}**" for ratio in ratios]
        lines.append("| " + " | ".join(map(str, head + cells)) + " |")
    return lines


def job_table(jobs: list[dict]) -> list[str]:
    lines = ["| job | net | threads | lpips pairs/s | PyTorch pairs/s (best) | ratio | lpips MiB | PyTorch MiB |"]
    lines.append("|---" * 8 + "|")
    for job in jobs:
        rate = {name: job["pairs"] / seconds for name, seconds in job["seconds"].items()}
        peers = [name for name in rate if name != "lpips"]
        cells = [job["job"], job["net"], job["threads"], f"{rate['lpips']:.1f}"]
        if peers:
            best = max(peers, key=rate.get)
            cells += [f"{rate[best]:.1f} ({best})", f"**{rate['lpips'] / rate[best]:.2f}**"]
        else:
            best = None
            cells += ["", ""]
        cells += [f"{job['peak_mib']['lpips']:.0f}", f"{job['peak_mib'][best]:.0f}" if best else ""]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def start_table(starts: list[dict]) -> list[str]:
    lines = ["| one pair of 64x64 | ms, min / median |", "|---|---|"]
    return lines + [f"| {s['net']} | {s['min_ms']:.0f} / {s['median_ms']:.0f} |" for s in starts]


def write(output: Path, machine: dict, results: dict[str, list[dict]]) -> None:
    """Writes what is there so far, so that an interrupted run leaves it."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".json").write_text(json.dumps({"machine": machine, **results}, indent=1) + "\n")
    lines = [", ".join(f"{key} {value}" for key, value in machine.items()), ""]
    lines += ["Resident, ms per pair, min / median:", "", *resident_table(results["resident"]), ""]
    lines += ["Start-up:", "", *start_table(results["start_up"]), ""]
    lines += ["End to end from PNG files, medians:", "", *job_table(results["end_to_end"]), ""]
    output.with_suffix(".md").write_text("\n".join(lines))


def describe(packages=("torch", "onnxruntime")) -> dict:
    """Without importing the peers: a child's peak memory counts what its parent held when it started."""
    names = [l for l in Path("/proc/cpuinfo").read_text().splitlines() if l.startswith("model name")]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "cpu": names[0].split(":")[1].strip() if names else platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "commit": commit.stdout.strip() or "unknown",
        **{package: version(package) for package in packages},
    }


def enter_venv(python: Path | None) -> None:
    """Continues in an interpreter that has the peers."""
    folder = ROOT / ".venv-bench"
    if python is None:
        python = folder / "bin/python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    arguments = [argument for argument in sys.argv[1:]]
    os.execv(python, [str(python), __file__, *arguments, "--inside"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nets", default="alex,vgg")
    parser.add_argument("--sides", default="64,256,1024", help="of resident tensors")
    parser.add_argument("--threads", default="2,1")
    parser.add_argument("--batches", default="1", help="pairs of a resident batch")
    parser.add_argument("--only", choices=["resident", "jobs"])
    parser.add_argument("--quick", action="store_true", help="256 and vgg 1024 on two threads, 200 pairs")
    parser.add_argument("--seconds", type=float, default=60, help="about this long for each resident case")
    parser.add_argument("--rounds", type=int, default=3, help="of each job")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/measurements/cpu")
    parser.add_argument("--python", type=Path, help="an interpreter that has the peers")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    for hidden in ("--resident-peer", "--script-peer", "--net"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    for hidden in ("--side", "--batch", "--workers"):
        parser.add_argument(hidden, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.resident_peer:
        return resident_peer(args.resident_peer, args.net, args.side, args.batch, int(args.threads))
    if args.script_peer:
        return script_peer(Path(args.script_peer), args.net, int(args.threads), args.workers)
    if not args.inside:
        enter_venv(args.python)

    build = ["cargo", "build", "--release", "--locked", "-q"]
    subprocess.run([*build, "--bin", "lpips", "--example", "resident"], cwd=ROOT, check=True)
    nets, threads = args.nets.split(","), [int(n) for n in args.threads.split(",")]
    if "vgg" in nets and not (ROOT / "weights/vgg.safetensors").exists():
        subprocess.run([sys.executable, ROOT / "scripts/fetch_weights.py", "--dir", "weights", "vgg"],
                       cwd=ROOT, check=True)
    machine, results = describe(), {"resident": [], "start_up": [], "end_to_end": []}

    def add(kind: str, result: dict, table) -> None:
        results[kind].append(result)
        print(table(results[kind])[-1], flush=True)
        write(args.output, machine, results)

    selected = [(net, int(side), int(batch), count)
                for side in args.sides.split(",") for batch in args.batches.split(",")
                for count in threads for net in nets]
    if args.quick:
        selected = [(net, 256, 1, 2) for net in nets] + [("vgg", 1024, 1, 2)] * ("vgg" in nets)
        threads = [2]
    for net, side, batch, count in selected if args.only != "jobs" else ():
        add("resident", resident(net, side, batch, count, args.seconds), resident_table)
    if args.only == "resident":
        return
    for net in nets:
        add("start_up", start_up(net), start_table)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        todo = [("200 pairs of 256x256", crops(folder / "pairs", 200, 256), nets, threads, True)]
        if not args.quick:
            one = threads[:1]
            todo += [
                ("sample set, 21 pairs", ROOT / "tests/data/sr/manifest.csv", nets, one, True),
                ("50 references, 4 methods", crops(folder / "shared", 50, 256, 4, True), nets, one, False),
                ("the same, private references", crops(folder / "own", 50, 256, 4), nets, one, False),
                ("10,000 pairs of 64x64", crops(folder / "small", 10_000, 64), nets[:1], one, False),
            ]
        for name, manifest, job_nets, counts, peers in todo:
            for count in counts:
                for net in job_nets:
                    job = end_to_end(name, manifest, net, count, args.rounds, peers)
                    add("end_to_end", job, job_table)


if __name__ == "__main__":
    main()
