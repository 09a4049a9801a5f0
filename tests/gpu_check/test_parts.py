"""Arguments, selection of parts, bounds of time, statuses, exit codes."""

import contextlib
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path

import support  # noqa: F401 - it puts the package on the path.
from gpucheck import machine, options, parts
from gpucheck.parts import FAILED, OK, PARTS, UNAVAILABLE, UNFINISHED, Result
from gpucheck.process import Commands, Deadline


class Arguments(unittest.TestCase):
    """What the command line decides."""

    def refused(self, *words: str) -> str:
        said = io.StringIO()
        with self.assertRaises(SystemExit) as stopped, contextlib.redirect_stderr(said):
            options.parse(words)
        self.assertEqual(stopped.exception.code, 2)
        return said.getvalue()

    def test_all_parts_run_by_default_in_the_order_of_the_table(self) -> None:
        found = options.parse(["out"])
        self.assertEqual(list(found.seconds), list(PARTS))
        self.assertEqual(found.skipped, [])
        self.assertEqual(found.precisions, ["fp32", "tf32", "fp16"])
        self.assertEqual(found.engines, ["cudnn", "cublas"])

    def test_parts_are_chosen_skipped_and_limited(self) -> None:
        found = options.parse(["out", "--parts", "files,doctor,floors", "--skip", "files"])
        self.assertEqual(list(found.seconds), ["doctor", "floors"])
        self.assertIn("files", found.skipped)
        found = options.parse(["out", "--seconds", "doctor=5,files=7.5"])
        self.assertEqual((found.seconds["doctor"], found.seconds["files"]), (5, 7.5))

    def test_the_self_test_takes_all_precisions_unless_some_are_named(self) -> None:
        self.assertEqual(options.parse(["out"]).selftest_precisions, [])
        named = options.parse(["out", "--precisions", "tf32,fp16"])
        self.assertEqual(named.selftest_precisions, ["tf32", "fp16"])

    def test_what_cannot_be_is_refused(self) -> None:
        self.assertIn("`dr`: expected one of doctor", self.refused("out", "--parts", "dr"))
        self.assertIn("no part is left", self.refused("out", "--parts", "doctor", "--skip", "doctor"))
        self.assertIn("no part is called x", self.refused("out", "--seconds", "x=1"))
        self.assertIn("PART=SECONDS", self.refused("out", "--seconds", "doctor"))
        self.assertIn("expected numbers", self.refused("out", "--sizes", "big"))
        self.assertIn("smallest and the largest", self.refused("out", "--sides", "9,8"))
        self.assertIn("has one engine", self.refused("out", "--device", "cpu", "--engines", "cudnn"))
        self.assertIn("has one engine", self.refused("out", "--device", "cpu", "--precisions", "fp16"))

    def test_results_are_not_mixed(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "old").touch()
            self.assertIn("is not empty", self.refused(folder))

    def test_a_seed_is_drawn_unless_it_is_given(self) -> None:
        self.assertEqual(options.parse(["out", "--seed", "0"]).seed, 0)
        self.assertNotEqual(options.parse(["out"]).seed, options.parse(["out"]).seed)


class Running(unittest.TestCase):
    """The loop over parts, with parts that misbehave."""

    def setUp(self) -> None:
        self.saved = 0
        table = {
            "good": lambda _session, _deadline, result: result.data.update(x=1),
            "broken": lambda _session, _deadline, _result: 1 // 0,
        }
        for name in table:
            PARTS[name] = parts.Part(name, 9, "", "")
            self.addCleanup(PARTS.pop, name)
        original = parts.Part.function
        parts.Part.function = lambda part: table[part.name]  # type: ignore[method-assign]
        self.addCleanup(setattr, parts.Part, "function", original)

    def save(self, _results: object) -> None:
        self.saved += 1

    def run_quietly(self, limits: "dict[str, float]", budget: float) -> "dict[str, Result]":
        with contextlib.redirect_stderr(io.StringIO()):
            return parts.run_all(self, limits, Deadline(budget))  # type: ignore[arg-type]

    def test_a_part_that_breaks_fails_and_the_next_one_runs(self) -> None:
        results = self.run_quietly({"broken": 5, "good": 5}, 100)
        self.assertEqual(results["broken"].status, FAILED)
        self.assertIn("ZeroDivisionError", results["broken"].notes[0])
        self.assertEqual((results["good"].status, results["good"].data), (OK, {"x": 1}))
        self.assertEqual(self.saved, 2)

    def test_without_time_a_part_is_unfinished_not_passed(self) -> None:
        results = self.run_quietly({"good": 5}, 0)
        self.assertEqual(results["good"].status, UNFINISHED)
        self.assertEqual(results["good"].data, {})

    def test_exit_codes(self) -> None:
        for statuses, code in [
            ([OK, OK], 0),
            ([OK, FAILED, UNFINISHED], 1),
            ([OK, UNFINISHED], 3),
            ([UNAVAILABLE], 3),
        ]:
            results = {str(index): Result(status) for index, status in enumerate(statuses)}
            self.assertEqual(parts.exit_code(results), code, statuses)

    def test_a_status_only_gets_worse(self) -> None:
        result = Result()
        for status, expected in [(UNAVAILABLE, UNAVAILABLE), (FAILED, FAILED), (UNFINISHED, FAILED)]:
            result.worsen(status, status)
            self.assertEqual(result.status, expected)
        self.assertEqual(result.notes, [UNAVAILABLE, FAILED, UNFINISHED])


class Processes(unittest.TestCase):
    """Commands, their bounds and their log."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = Path(folder.name) / "commands.log"
        self.commands = Commands(self.log)

    def python(self, code: str, seconds: float = 60):  # type: ignore[no-untyped-def]
        return self.commands.run([sys.executable, "-c", code], Deadline(seconds))

    def test_streams_and_exit_code_are_kept_and_logged(self) -> None:
        outcome = self.python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
        self.assertEqual((outcome.returncode, outcome.stdout, outcome.stderr), (7, "out\n", "err\n"))
        self.assertEqual(outcome.why, "exit code 7: err")
        self.assertIn("[exit code 7,", self.log.read_text())

    def test_a_command_that_never_ends_is_ended_and_what_it_said_is_kept(self) -> None:
        # It is ended with whatever it started: the pipe closes only when its child is gone as well.
        code = (
            "import subprocess, sys\n"
            "loop = [sys.executable, '-c', 'while True: pass']\n"
            "print('said', flush=True)\n"
            "subprocess.run(loop)"
        )
        outcome = self.python(code, seconds=2)
        self.assertIsNone(outcome.returncode)
        self.assertFalse(outcome.ok)
        self.assertIn("ended after", outcome.why)
        self.assertIn("[out of time", self.log.read_text())

    def test_a_missing_program_is_an_outcome(self) -> None:
        outcome = self.commands.run(["/nowhere/program"], Deadline(5))
        self.assertEqual(outcome.returncode, 127)
        self.assertIn("/nowhere/program", outcome.why)

    def test_rows_before_a_line_that_was_cut_off_count(self) -> None:
        outcome = self.python("print('{\"a\": 1}'); print('{\"a\"')")
        self.assertEqual(machine.rows(outcome), [{"a": 1}])
        self.assertEqual(json.loads(outcome.stdout.splitlines()[0]), {"a": 1})


if __name__ == "__main__":
    unittest.main()
