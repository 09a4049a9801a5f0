"""Numbers into judgements: deviations, differences, self-test rows, compute-sanitizer's reports."""

import math
import unittest

import support  # noqa: F401 - it puts the package on the path.
from gpucheck import accuracy, rates, sanitizer, selftest
from gpucheck.parts import FAILED, OK, Result
from gpucheck.program import Broken, Run


def row(total: float, *layers: float) -> "dict[str, str]":
    """A row of pairs.csv."""
    cells = {f"lpips_alex_layer{index}": repr(value) for index, value in enumerate(layers)}
    return {"lpips_alex": repr(total), **cells}


class Deviation(unittest.TestCase):
    """Rows against float64."""

    def test_quantiles_interpolate(self) -> None:
        self.assertEqual(accuracy.quantile([3, 1, 2], 0.5), 2)
        self.assertAlmostEqual(accuracy.quantile([0, 10], 0.95), 9.5)
        self.assertEqual(accuracy.quantile([4], 0.95), 4)

    def compare(self, total: float, *layers: float, near: "tuple[str, ...]" = ()) -> "dict[str, object]":
        return accuracy.compare({"a": row(total, *layers)}, {"a": [0.25, 0.25]}, near, "alex")

    def test_what_is_within_the_promise_is_not_broken(self) -> None:
        found = self.compare(0.5 * (1 + 0.9e-5), 0.25 * (1 + 2.9e-5), 0.25)
        self.assertEqual(found["broken"], [])
        self.assertAlmostEqual(found["total"]["max"], 0.9e-5)  # type: ignore[index]
        self.assertAlmostEqual(found["worst_layer"], 2.9e-5)  # type: ignore[arg-type]

    def test_a_total_or_a_layer_beyond_the_promise_is_broken(self) -> None:
        self.assertEqual(len(self.compare(0.5 * (1 + 1.1e-5), 0.25, 0.25)["broken"]), 1)  # type: ignore[arg-type]
        self.assertEqual(len(self.compare(0.5, 0.25, 0.25 * (1 - 3.2e-5))["broken"]), 1)  # type: ignore[arg-type]

    def test_near_identical_pairs_have_a_bound_of_their_own(self) -> None:
        found = self.compare(0.5 * (1 + 1e-3), 0.25, 0.3, near=("a",))
        self.assertEqual((found["broken"], found["total"]), ([], None))
        found = self.compare(0.5 * (1 + 3e-3), 0.25, 0.25, near=("a",))
        self.assertEqual(len(found["broken"]), 1)  # type: ignore[arg-type]

    def test_exactly_zero_is_compared_absolutely(self) -> None:
        zero = accuracy.compare({"a": row(0.0, 0.0)}, {"a": [0.0]}, (), "alex")
        self.assertEqual(zero["broken"], [])
        much = accuracy.compare({"a": row(1e-6, 1e-6)}, {"a": [0.0]}, (), "alex")
        self.assertEqual(len(much["broken"]), 2)

    def test_what_is_no_number_fails_in_any_precision(self) -> None:
        for precision in ("fp32", "fp16"):
            found = self.compare(math.nan, 0.25, math.nan)
            result = Result()
            accuracy.judge("x", precision, found, result)
            self.assertEqual(result.status, FAILED)

    def test_only_fp32_promises_more(self) -> None:
        for precision, status in (("fp32", FAILED), ("tf32", OK)):
            result = Result()
            accuracy.judge("x", precision, self.compare(0.51, 0.25, 0.25), result)
            self.assertEqual(result.status, status)

    def test_other_pairs_than_asked_for_are_refused(self) -> None:
        with self.assertRaises(Broken):
            accuracy.compare({"b": row(0.5, 0.5)}, {"a": [0.5]}, (), "alex")


class Invariance(unittest.TestCase):
    """Rows against rows."""

    def test_one_digit_is_a_difference(self) -> None:
        base = {"a": {"x": "0.1"}, "b": {"x": "0.2"}}
        self.assertEqual(accuracy.differences(dict(reversed(base.items())), base), [])
        self.assertEqual(accuracy.differences({**base, "b": {"x": "0.20"}}, base), ["b"])
        self.assertEqual(accuracy.differences({"a": base["a"]}, base), ["b"])

    def test_orders_are_other_orders_of_the_same_rows(self) -> None:
        found = accuracy.orders(20, 1)
        self.assertEqual(len(found), 3)
        for order in found.values():
            self.assertEqual(sorted(order), list(range(20)))
            self.assertNotEqual(order, list(range(20)))

    def test_rates_of_different_numbers_are_not_compared(self) -> None:
        rates.agree({"precision": "tf32", "ours_mean": 0.3, "peer_mean": 0.3001})
        rates.agree({"precision": "fp32", "ours_mean": 0.3})
        for other in (0.31, math.nan):
            with self.assertRaises(Broken):
                rates.agree({"precision": "fp32", "ours_mean": 0.3, "peer_mean": other})


class Rates(unittest.TestCase):
    """Seconds into rates."""

    def test_the_steady_rate_leaves_start_up_out(self) -> None:
        def run(pairs: int, seconds: float) -> Run:
            return Run({str(index): {} for index in range(pairs)}, seconds, {}, [])

        self.assertEqual(rates.steady(run(25, 3.0), run(100, 6.0)), 25)
        self.assertIsNone(rates.steady(run(25, 3.0), run(100, 2.9)))


class Selftest(unittest.TestCase):
    """Rows of the binary's self-test."""

    def judged(self, *rows: "dict[str, object]") -> Result:
        result = Result()
        selftest.judge(list(rows), result)
        return result

    def test_every_row_must_be_ok(self) -> None:
        good = {"net": "alex", "status": "ok", "invariant": True}
        self.assertEqual(self.judged(good).status, OK)
        self.assertEqual(self.judged(good, {**good, "status": "failed", "reason": "3 %"}).status, FAILED)
        self.assertEqual(self.judged({**good, "invariant": False}).status, FAILED)

    def test_no_rows_prove_nothing(self) -> None:
        self.assertEqual(self.judged().status, FAILED)

    def test_skipped_rows_are_named_and_prove_nothing(self) -> None:
        skipped = {"net": "vgg", "status": "skipped", "reason": "no cuDNN"}
        result = self.judged({"net": "alex", "status": "ok", "invariant": True}, skipped)
        self.assertEqual(result.status, OK)
        self.assertIn("no cuDNN", result.notes[0])
        self.assertEqual(self.judged(skipped).status, FAILED)

    def test_half_precision_is_tested_on_features_that_overflow(self) -> None:
        half = {"device": "cuda:0", "net": "squeeze", "precision": "fp16", "engine": "cudnn"}
        plain = {**half, "trunk": "formula", "status": "ok", "invariant": True}
        overflows = {**half, "trunk": "overflows", "status": "ok"}
        self.assertEqual(self.judged(plain, overflows).status, OK)
        self.assertEqual(self.judged(plain, {**overflows, "engine": "cublas"}).status, FAILED)
        alone = self.judged(plain)
        self.assertEqual(alone.status, FAILED)
        self.assertIn("squeeze cudnn: no row whose features overflow", alone.notes[0])
        self.assertEqual(self.judged({**plain, "precision": "tf32"}).status, OK)

    def test_a_row_that_does_not_tell_of_bits_is_not_passed(self) -> None:
        self.assertEqual(self.judged({"net": "alex", "status": "ok"}).status, FAILED)


# In the forms of compute-sanitizer 2022 to 2025, with and without line information.
CLEAN = """\
========= COMPUTE-SANITIZER
========= ERROR SUMMARY: 0 errors
"""
OURS = """\
========= COMPUTE-SANITIZER
========= Invalid __global__ read of size 4 bytes
=========     at tap_nhwc_f32+0x1a0
=========     by thread (3,0,0) in block (0,0,0)
=========     Address 0x7f52c0000bfc is out of bounds
=========     Saved host backtrace up to driver entry point at kernel launch time
=========         Host Frame: cuLaunchKernel [0x2fd4b5] in libcuda.so.1
=========
========= Invalid __global__ read of size 4 bytes
=========     at 0x120 in /build/kernels/tap.cu:17:tap_nhwc_f32(double*, float*)
=========     by thread (4,0,0) in block (0,0,0)
=========
========= ERROR SUMMARY: 2 errors
"""
LIBRARY = """\
========= Uninitialized __global__ memory read of size 16 bytes
=========     at void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm>(T1::Params)+0x9d0
=========     by thread (31,0,0) in block (1,0,0)
========= ERROR SUMMARY: 1 error
"""
RACE = """\
========= Error: Race reported between Write access at finish+0x130
=========     and Read access at finish+0x190 [34 hazards]
========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)
"""
BARRIER = """\
========= Barrier error detected. Invalid arguments.
=========     at __syncwarp(unsigned int)+0xe0 in sm_30_intrinsics.hpp:110
=========         Device Frame: finish(double *, unsigned long)+0xb0 in finish.cu:12
========= ERROR SUMMARY: 17 errors
"""
NAMELESS = """\
========= Invalid __global__ write of size 4 bytes
=========     by thread (0,0,0) in block (0,0,0)
========= ERROR SUMMARY: 1 error
"""
UNPRINTED = LIBRARY + "========= ERROR SUMMARY: 157 errors were not printed. Use --print-limit option\n"


class Sanitizer(unittest.TestCase):
    """What compute-sanitizer prints."""

    OWN = {"tap_nhwc_f32", "finish"}

    def judged(self, text: str, returncode: int = sanitizer.FOUND) -> "tuple[bool, str]":
        return sanitizer.judge(sanitizer.read_report(text, self.OWN), returncode, self.OWN)

    def test_reports_are_counted_by_kernel(self) -> None:
        self.assertEqual(sanitizer.read_report(OURS, self.OWN).kernels, {"tap_nhwc_f32": 2})
        self.assertEqual(sanitizer.read_report(LIBRARY, self.OWN).kernels, {"cutlass::Kernel2": 1})
        self.assertEqual(sanitizer.read_report(RACE, self.OWN).kernels, {"finish": 1})
        self.assertEqual(sanitizer.read_report(BARRIER, self.OWN).kernels, {"finish": 1})
        self.assertEqual(sanitizer.read_report(NAMELESS, self.OWN).kernels, {sanitizer.UNNAMED: 1})
        self.assertEqual(sanitizer.read_report(CLEAN, self.OWN).kernels, {})

    def test_only_libraries_may_be_reported(self) -> None:
        self.assertEqual(self.judged(CLEAN, 0), (True, "clean"))
        self.assertEqual(self.judged(LIBRARY), (True, "only in libraries: cutlass::Kernel2"))
        for text in (OURS, RACE, BARRIER, NAMELESS):
            self.assertFalse(self.judged(text)[0], text)
            self.assertFalse(self.judged(LIBRARY + text)[0], text)

    def test_what_is_not_shown_counts_against_us(self) -> None:
        self.assertFalse(self.judged("========= ERROR SUMMARY: 3 errors\n")[0])
        self.assertFalse(self.judged(UNPRINTED)[0])

    def test_a_run_that_did_not_work_is_not_clean(self) -> None:
        self.assertFalse(self.judged("========= Error: Device not supported\n", 1)[0])
        self.assertFalse(self.judged(CLEAN, 5)[0])
        self.assertFalse(self.judged("", 0)[0])

    def test_every_tool_comes_early_and_memcheck_sees_everything(self) -> None:
        found = sanitizer.cases(["cudnn", "cublas"], ["fp32", "tf32", "fp16"], ["alex", "vgg"])
        memcheck = [case for case in found if case.tool == "memcheck"]
        self.assertEqual(len({(case.engine, case.precision) for case in memcheck}), 6)
        self.assertTrue(all(case.nets == ["alex", "vgg"] for case in memcheck))
        self.assertEqual(len(found), 12)
        self.assertEqual({case.tool for case in found[:8]}, set(sanitizer.TOOLS))
        for tool in sanitizer.TOOLS:
            of_tool = {(case.engine, case.precision) for case in found[:8] if case.tool == tool}
            self.assertEqual(of_tool, {("cudnn", "fp32"), ("cublas", "fp16")})
        self.assertEqual(len(sanitizer.cases(["cudnn"], ["fp32"], ["alex"])), 4)


if __name__ == "__main__":
    unittest.main()
