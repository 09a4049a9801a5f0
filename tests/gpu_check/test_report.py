"""gpu_check.json and gpu_check.md."""

import json
import tempfile
import unittest
from pathlib import Path

import support  # noqa: F401 - it puts the package on the path.
from gpucheck import nets, report
from gpucheck.parts import FAILED, Result

HEAD = {
    "command": "scripts/gpu_check out",
    "started": "2026-01-02T03:04:05+00:00",
    "seed": 7,
    "trunks": {"vgg": "formula"},
    "png": "Pillow",
    "machine": {
        "gpus": [{"name": "NVIDIA Toy", "driver_version": "1.2", "memory.total": "8 MiB"}],
        "torch": {"torch": "2.0", "cuda": "12.0", "cudnn": 9000},
        "nvcc": None,
        "python": "3.12",
        "cores": 4,
        "processor": "Toy",
        "system": "Linux",
        "program": {"version": "lpips 0.1.0", "sha256": "ab12"},
    },
}


def results() -> "dict[str, Result]":
    """A run whose rates make round ratios."""
    flops = nets.cost("vgg", 256, 256).flops
    ours = {
        "net": "vgg",
        "precision": "fp16",
        "status": "ok",
        "device": "cuda:0",
        "deviation": {"total": 1.5e-4},
        "invariant": True,
    }
    size = {"width": 256, "height": 256, "batch": 8}
    peer = {"net": "vgg", "side": 256, "precision": "fp16", "batch": 8, "score": 0.25}
    return {
        "selftest": Result(
            data={
                "selftest": [
                    {
                        **ours,
                        "engine": "cudnn",
                        "described": "CUDA 0: NVIDIA Toy",
                        "throughput": [
                            {
                                **size,
                                "pairs_per_second": 4000.0,
                                "tap_bytes_per_second": 3e12,
                                "copy_bytes_per_second": 4e12,
                            }
                        ],
                    },
                    {**ours, "engine": "cublas", "throughput": [{**size, "pairs_per_second": 3000.0}]},
                ]
            }
        ),
        "floors": Result(
            data={
                "rows": [
                    {"kind": "matmul", "precision": "fp16", "side": 8192, "rate": 8000.0 * flops},
                    {"kind": "copy", "bytes": 1, "rate": 1e18},
                ]
            }
        ),
        "resident": Result(
            data={
                "rows": [
                    {**peer, "variant": "slow", "rate": 1000.0},
                    {**peer, "variant": "fast", "rate": 2000.0},
                    {**peer, "variant": "not a number", "rate": 9000.0, "score": None},
                    {"net": "vgg", "side": 256, "variant": "none", "precision": "fp16", "error": "a|b"},
                    {**peer, "variant": "default", "precision": "tf32", "rate": 1600.0},
                ]
            }
        ),
        "files": Result(
            data={
                "workers": 4,
                "decode": [{"side": 256, "rate": 5000.0}],
                "rows": [
                    {
                        "net": "vgg",
                        "side": 256,
                        "precision": "fp16",
                        "pairs": 64,
                        "ours_rate": 3000.0,
                        "ours_steady_rate": 3900.0,
                        "peer": "usual",
                        "peer_rate": 600.0,
                    }
                ],
            }
        ),
        "deviation": Result(
            status=FAILED,
            notes=["vgg fp32 cudnn: 2 values break the promise"],
            data={
                "pairs": 100,
                "near": 10,
                "rows": [
                    {
                        "net": "vgg",
                        "trunk": "published",
                        "precision": "fp32",
                        "engine": "cudnn",
                        "total": {"median": 1e-6, "p95": 2e-6, "max": 3e-5},
                        "near_identical": None,
                        "worst_layer": 1e-4,
                        "broken": 2,
                    }
                ],
            },
        ),
    }


class Report(unittest.TestCase):
    """From results to files."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = Path(folder.name)
        report.write(self.out, HEAD, results(), ["sanitizer"])
        self.text = (self.out / "gpu_check.md").read_text()

    def line(self, start: str) -> "list[str]":
        """The cells of the one table row that starts so."""
        found = [line for line in self.text.splitlines() if line.startswith(start)]
        self.assertEqual(len(found), 1, found)
        return [cell.strip() for cell in found[0].strip("|").split(" | ")]

    def test_json_holds_everything(self) -> None:
        document = json.loads((self.out / "gpu_check.json").read_text())
        self.assertEqual(document["seed"], 7)
        self.assertEqual(document["parts"]["deviation"]["status"], FAILED)
        self.assertEqual(document["parts"]["sanitizer"], {"status": "skipped"})
        self.assertEqual(len(document["parts"]["resident"]["rows"]), 5)

    def test_the_head_names_machine_versions_and_command(self) -> None:
        for text in ("NVIDIA Toy, 1.2", "cuDNN 9000", "seed 7", "sha256 ab12", "vgg formula"):
            self.assertIn(text, self.text)

    def test_rates_are_compared_with_the_best_peer_and_the_ceiling(self) -> None:
        cells = self.line("| vgg | 256x256 | fp16 | 4,000")
        self.assertEqual(
            cells,
            ["vgg", "256x256", "fp16", "4,000", "cudnn", "2,000", "fast", "2.00", "2.00", "8,000", "50 %"],
        )
        # Of tf32 we have no rate: dashes, not zeros.
        cells = self.line("| vgg | 256x256 | tf32 | –")
        self.assertEqual(cells[3:], ["–", "–", "1,600", "default", "–", "–", "–", "–"])

    def test_end_to_end_is_held_against_decoding_and_scoring_alone(self) -> None:
        cells = self.line("| vgg | 256x256 | fp16 | 64 |")[4:]
        self.assertEqual(cells, ["3,000", "3,900", "5,000", "4,000", "98 %", "600", "usual", "5.00"])

    def test_a_variant_that_does_not_work_is_shown_with_its_reason(self) -> None:
        self.assertIn("| none | fp16 | – | – | a\\|b |", self.text)
        self.assertIn("| not a number | fp16 | 9,000 | 8 | – |", self.text)

    def test_taps_are_held_against_copying_on_the_device_that_was_measured(self) -> None:
        self.assertIn("\n- CUDA 0: NVIDIA Toy\n", self.text)
        self.assertIn("| yes | 256x256: 3,000 (75 %) |", self.text)

    def test_failures_are_seen(self) -> None:
        self.assertIn("| deviation | failed |", self.text)
        self.assertIn("2 values break the promise", self.text)
        self.assertEqual(self.line("| sanitizer |")[1], "skipped")
        self.assertEqual(self.line("| vgg | fp32 | cudnn | 1e-06")[-1], "2")

    def test_sections_without_data_are_left_out(self) -> None:
        self.assertNotIn("## compute-sanitizer", self.text)
        report.write(self.out, HEAD, {}, [])
        self.assertIn("# gpu_check", (self.out / "gpu_check.md").read_text())

    def test_numbers(self) -> None:
        cases = [(None, "–"), (0.0, "0"), (12.345, "12.35"), (12345.6, "12,346"), (3e-7, "3e-07")]
        for value, text in cases:
            self.assertEqual(report.number(value), text)


if __name__ == "__main__":
    unittest.main()
