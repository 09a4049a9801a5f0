"""The whole script, with faults planted into a stand-in for the program, and with the program itself.

No PyTorch is needed: the parts that want it are left out, or found unavailable.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import support

TINY = ["--device", "cpu", "--nets", "alex", "--pairs", "6", "--sides", "32,40", "--seed", "1"]
FAULTS = {"batch": 1, "order": 1, "row": 1, "selftest": 1, "exit": 1, "": 0}


class Script(unittest.TestCase):
    """Exit codes and reports."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = Path(folder.name) / "out"

    def check(
        self, *words: object, fault: str = "", program: Path = support.FAKE, **variables: str
    ) -> "tuple[int, str]":
        command = [sys.executable, support.ROOT / "scripts/gpu_check", self.out, "--program", program, *words]
        found = subprocess.run(
            list(map(str, command)),
            env={**os.environ, "FAKE_FAULT": fault, **variables},
            capture_output=True,
            text=True,
        )
        return found.returncode, found.stdout + found.stderr

    def part(self, name: str) -> "dict[str, object]":
        document = json.loads((self.out / "gpu_check.json").read_text())
        return dict(document["parts"][name])

    def test_planted_faults_are_found(self) -> None:
        for fault, expected in FAULTS.items():
            with self.subTest(fault=fault):
                self.out = self.out.with_name(f"out_{fault}")
                code, said = self.check(*TINY, "--parts", "doctor,selftest,invariance", fault=fault)
                self.assertEqual(code, expected, said)
                status = {fault_part(fault): "failed"} if fault else {"invariance": "ok"}
                for name, wanted in status.items():
                    self.assertEqual(self.part(name)["status"], wanted, said)

    def test_start_and_sizes_are_timed_and_the_order_of_sizes_changes_nothing(self) -> None:
        code, said = self.check(*TINY, "--parts", "start,sizes")
        self.assertEqual(code, 0, said)
        (row,) = self.part("start")["rows"]  # type: ignore[misc]
        self.assertEqual((row["net"], row["class"]), ("alex", "stand-in"))
        self.assertGreater(min(row["first"], row["later"]), 0)
        sizes = self.part("sizes")
        (row,) = sizes["rows"]  # type: ignore[misc]
        self.assertEqual(sizes["pairs"], 12)
        self.assertGreater(min(row["rate"], row["rate_reversed"]), 0)
        self.assertIn("stand-in", (self.out / "gpu_check.md").read_text())
        self.out = self.out.with_name("out_order")
        code, said = self.check(*TINY, "--parts", "sizes", fault="order")
        self.assertEqual((code, self.part("sizes")["status"]), (1, "failed"), said)

    def test_a_program_that_hangs_costs_its_part_and_no_more(self) -> None:
        limits = "invariance=1,selftest=1"
        words = [*TINY, "--parts", "selftest,invariance,sanitizer", "--seconds", limits]
        code, said = self.check(*words, fault="hang")
        self.assertEqual(code, 1, said)
        self.assertEqual(self.part("invariance")["status"], "unfinished", said)
        self.assertEqual(self.part("sanitizer")["status"], "unavailable", said)
        self.assertIn("[out of time", (self.out / "commands.log").read_text())

    def test_compute_sanitizer_runs_every_tool_on_every_combination(self) -> None:
        tools = self.out.with_name("bin")
        tools.mkdir()
        (tools / "compute-sanitizer").symlink_to(support.FAKE.with_name("fake_sanitizer.py"))
        path = f"{tools}{os.pathsep}{os.environ['PATH']}"
        words = ["--nets", "alex", "--parts", "sanitizer", "--precisions", "fp16"]
        for kernel, expected in [("", 0), ("cutlass_kernel", 0), ("finish", 1)]:
            with self.subTest(kernel=kernel):
                self.out = self.out.with_name(f"out_{kernel}")
                code, said = self.check(*words, PATH=path, FAKE_REPORT=kernel)
                self.assertEqual(code, expected, said)
                runs = self.part("sanitizer")["runs"]
                cases = {(run["tool"], run["engine"], run["precision"]) for run in runs}  # type: ignore[attr-defined]
                self.assertEqual(len(cases), 8)
                self.assertIn(f"only in libraries: {kernel}" if expected == 0 and kernel else "clean", said)

    def test_without_a_program_the_remedy_is_printed(self) -> None:
        code, said = self.check(*TINY, program=Path("/nowhere/lpips"))
        self.assertEqual(code, 2)
        self.assertIn("hint: build it", said)
        self.assertFalse(self.out.exists())

    def test_without_the_embedded_weights_the_folder_is_refused(self) -> None:
        code, said = self.check(*TINY, "--weights-dir", self.out.parent)
        self.assertEqual(code, 2)
        self.assertIn("alex.safetensors is missing", said)

    def test_a_trunk_that_is_absent_is_said_to_be(self) -> None:
        weights = self.out.with_name("weights")
        weights.mkdir()
        for name in ("alex.safetensors", "lin.safetensors", "SHA256SUMS"):
            (weights / name).symlink_to(support.ROOT / "weights" / name)
        words = [*TINY, "--nets", "alex,vgg", "--parts", "invariance", "--weights-dir", weights]
        code, said = self.check(*words)
        self.assertEqual(code, 3, said)
        self.assertIn("vgg: its weights are not here", said)
        self.assertEqual(self.part("invariance")["nets"], ["alex"])

    def test_the_program_itself_passes(self) -> None:
        program = support.real_program()
        if program is None:
            self.skipTest("SKIPPED: no binary was built; `cargo build`, or name it in LPIPS_PROGRAM")
        words = [*TINY, "--nets", "alex,squeeze", "--parts", "doctor,selftest,invariance", "--sizes", "64"]
        code, said = self.check(*words, program=program)
        self.assertEqual(code, 0, said)
        # What the report shows is what the program prints today.
        rows = self.part("selftest")["selftest"]
        self.assertEqual([row["net"] for row in rows], ["alex", "squeeze"])  # type: ignore[attr-defined]
        processor = self.part("doctor")["cpu"]["instruction_set"]  # type: ignore[index]
        self.assertTrue(processor)
        report = (self.out / "gpu_check.md").read_text()
        self.assertIn("\n- CPU: ", report)
        for row in rows:  # type: ignore[attr-defined]
            (rate,) = row["throughput"]
            self.assertEqual((rate["width"], rate["height"]), (64, 64))
            cells = ["cpu", row["net"], row["trunk"], "fp32", "cpu", "ok"]
            line = next(line for line in report.splitlines() if line.startswith(f"| {' | '.join(cells)} |"))
            self.assertNotIn("NO", line)
            deviations = [f"{row['deviation'][key]:.2g}" for key in ("total", "layer", "near_identical")]
            self.assertIn(f"| {' | '.join(deviations)} | yes |", line)
            self.assertIn(f"| {row['net']} | 64x64 | fp32 | ", report)
        rows = self.part("invariance")["rows"]
        self.assertEqual(len(rows[0]["same"]), 6)  # type: ignore[index]


def fault_part(fault: str) -> str:
    """The part that must notice."""
    return {"selftest": "selftest", "exit": "doctor"}.get(fault, "invariance")


if __name__ == "__main__":
    unittest.main()
