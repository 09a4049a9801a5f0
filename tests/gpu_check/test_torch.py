"""The half that needs PyTorch: the rebuilt module against golden values, its jobs, the whole script.

Without PyTorch these tests print SKIPPED; with LPIPS_REQUIRE_TORCH=1 they fail instead.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import support

try:
    import emulate_precision
    import torch
    from gpucheck import module, png, weights, worker
except ImportError:
    torch = None  # type: ignore[assignment]

GOLDEN = support.ROOT / "tests/data/golden"
FOLDER = support.ROOT / "weights"


def setUpModule() -> None:
    """Skips the module where PyTorch is missing."""
    if torch is None:
        if os.environ.get("LPIPS_REQUIRE_TORCH") == "1":
            raise RuntimeError("PyTorch is missing, and LPIPS_REQUIRE_TORCH=1 asks for it")
        raise unittest.SkipTest("SKIPPED: PyTorch is not installed; docs/gpu_check.md explains how to run these")


def rows(path: Path) -> "list[dict[str, str]]":
    """A CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def image(name: str) -> "torch.Tensor":
    """A golden image in [-1, 1], float64."""
    found = png.read(GOLDEN / name)
    flat = torch.frombuffer(bytearray(found.rgb), dtype=torch.uint8)
    return flat.view(found.height, found.width, 3).permute(2, 0, 1)[None].double() / 255 * 2 - 1


class Module(unittest.TestCase):
    """The LPIPS module that is the peer and the oracle."""

    def test_golden_values_of_every_net_version_mode_and_layer(self) -> None:
        lins = weights.read(FOLDER / "lin.safetensors")
        pairs = {row["id"]: (image(row["ref"]), image(row["dist"])) for row in rows(GOLDEN / "pairs.csv")}
        modules, compared = {}, 0
        for row in rows(GOLDEN / "expected.csv"):
            net, key = row["net"], (row["net"], row["version"], row["mode"])
            file = FOLDER / f"{net}.safetensors"
            if net == "vgg" and not file.is_file():
                continue
            if key not in modules:
                trunk = weights.formula(net) if net == "squeeze" else weights.read(file)
                modules[key] = module.Lpips(net, trunk, lins, key[1], key[2] == "baseline").double()
            layers = modules[key].layers(*pairs[row["id"]])[0].tolist()
            expected = [float(row[f"layer{index}"]) for index in range(len(layers))]
            for found, value in zip([sum(layers), *layers], [float(row["lpips"]), *expected], strict=True):
                # The golden numbers have 12 digits.
                self.assertLessEqual(abs(found - value), 1e-10 * abs(value), row)
                compared += 1
        self.assertGreater(compared, 500)

    def test_forward_is_the_sum_of_the_layers(self) -> None:
        found = module.load("alex", FOLDER, formula=False)
        ref, dist = image("images/jpeg10_ref.png").float(), image("images/jpeg10_dist.png").float()
        total = found(ref, dist)
        self.assertEqual(list(total.shape), [1, 1, 1, 1])
        self.assertAlmostEqual(float(total), float(found.layers(ref, dist).sum()), places=6)


class Jobs(unittest.TestCase):
    """The worker's jobs on the CPU, at tiny sizes."""

    def job(self, **arguments: object) -> "list[dict[str, object]]":
        base = {"device": "cpu", "weights": str(FOLDER), "formula": ["squeeze"], "rounds": 1}
        found = subprocess.run(
            [sys.executable, "-m", "gpucheck.worker", json.dumps({**base, **arguments})],
            env={**os.environ, "PYTHONPATH": str(support.ROOT / "scripts")},
            capture_output=True,
            text=True,
        )
        self.assertEqual(found.returncode, 0, found.stderr)
        return [json.loads(line) for line in found.stdout.splitlines()]

    def test_float64_gives_golden_layers(self) -> None:
        found = {
            row["id"]: row["layers"]
            for row in self.job(job="float64", manifest=str(GOLDEN / "pairs.csv"), net="alex")
        }
        for row in rows(GOLDEN / "expected.csv"):
            if (row["net"], row["version"], row["mode"]) == ("alex", "0.1", "lpips"):
                self.assertAlmostEqual(sum(found[row["id"]]), float(row["lpips"]), places=10)  # type: ignore[arg-type]

    def test_every_eager_variant_scores_the_same_pair_alike(self) -> None:
        # On the CPU the layouts, casts and switches of all variants can be tried; compilers are left out.
        ref, dist = (worker._pattern(64, shift, "cpu") for shift in (0, 3))
        arguments = {"device": "cpu", "weights": str(FOLDER), "formula": ["squeeze"]}
        for net in ("alex", "squeeze"):
            exact = worker.Peer(arguments, net, worker.Variant("exact", "fp32")).score(ref, dist)
            for variant in worker.VARIANTS:
                if variant.compile or variant.benchmark:
                    continue
                score = worker.Peer(arguments, net, variant).score(ref, dist)
                relative = abs(float(score) - float(exact)) / float(exact)
                self.assertLess(relative, 2e-2 if variant.precision == "fp16" else 1e-5, (net, variant))

    def test_floors_and_resident_rates_are_printed_line_by_line(self) -> None:
        kinds = [row["kind"] for row in self.job(job="floors", precisions=["fp32"])]
        self.assertEqual(kinds, ["matmul", "copy"])
        (row,) = (
            row
            for row in self.job(job="resident", precisions=["fp32"], nets=["alex"], sizes=[64])
            if row["variant"] == "strict fp32"
        )
        self.assertGreater(row["rate"], 0)  # type: ignore[operator]
        self.assertGreater(row["score"], 0)  # type: ignore[operator]


class Emulation(unittest.TestCase):
    """scripts/emulate_precision.py, which docs/numerics.md quotes."""

    def test_tf32_keeps_ten_bits(self) -> None:
        kept, tie, below = 1 + 2.0**-10, 1 + 2.0**-11, 1 + 2.0**-11 - 2.0**-23
        values = torch.tensor([1.0, kept, tie, -tie, below, 0.0, torch.inf])
        rounded = torch.tensor([1.0, kept, kept, -kept, 1.0, 0.0, torch.inf])
        self.assertTrue(torch.equal(emulate_precision.tf32(values), rounded))
        cut = torch.tensor([1.0, kept, 1.0, -1.0, 1.0, 0.0, torch.inf])
        self.assertTrue(torch.equal(emulate_precision.tf32_cut(values), cut))

    def test_only_what_is_rounded_differs(self) -> None:
        ref, dist = image("images/jpeg10_ref.png").float(), image("images/jpeg10_dist.png").float()
        plain = module.load("alex", FOLDER, formula=False).layers(ref, dist)
        same = emulate_precision.emulator("alex", FOLDER, lambda x: x, True).layers(ref, dist)
        self.assertTrue(torch.equal(plain, same))
        for name, (rounding, stored) in emulate_precision.EMULATED.items():
            other = emulate_precision.emulator("alex", FOLDER, rounding, stored).layers(ref, dist)
            deviation = float((other / plain - 1).abs().max())
            self.assertTrue(1e-6 < deviation < 0.1, (name, deviation))


class Whole(unittest.TestCase):
    """The script with the real program on the CPU."""

    def test_deviation_and_files_against_the_program(self) -> None:
        program = support.real_program()
        if program is None:
            self.skipTest("SKIPPED: no binary was built; `cargo build`, or name it in LPIPS_PROGRAM")
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, support.ROOT / "scripts/gpu_check", Path(folder) / "out"]
            command += ["--program", program, "--device", "cpu", "--nets", "alex,squeeze", "--pairs", "6"]
            command += [
                "--sides",
                "48,64",
                "--sizes",
                "64",
                "--files",
                "16",
                "--workers",
                "1",
                "--rounds",
                "1",
            ]
            command += ["--parts", "floors,deviation,invariance,files"]
            found = subprocess.run(list(map(str, command)), capture_output=True, text=True)
            self.assertEqual(found.returncode, 0, found.stdout + found.stderr)
            document = json.loads((Path(folder) / "out/gpu_check.json").read_text())
        self.assertEqual(len(document["parts"]["deviation"]["rows"]), 2)
        for row in document["parts"]["files"]["rows"]:
            self.assertAlmostEqual(row["ours_mean"], row["peer_mean"], places=5)
        self.assertIn("End to end", found.stdout)


if __name__ == "__main__":
    unittest.main()
