"""Data sets are scored and compared as by the command, and tables reach pandas and polars."""

import json

import pytest

import lpips_eval
from conftest import SR, rows, run_command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    return lpips_eval.evaluate(
        SR / "manifest.csv", output=folder, device="cpu", per_layer=True, group_by="method"
    )


def test_the_tables_are_those_of_the_command(run, command_run):
    for name in ["pairs.csv", "summary.csv"]:
        assert (run.path / name).read_bytes() == (command_run / name).read_bytes()
    assert run.exit_code == 0 and run.is_complete
    assert run.signatures["lpips_alex"].startswith("lpips|net:alex|")
    assert run.metadata["signatures"] == run.signatures


def test_columns_have_types(run, scored):
    pairs, summary = run.pairs, run.summary
    assert pairs["item"] == [row["item"] for row in scored]
    assert pairs["lpips_alex"] == [float(row["lpips_alex"]) for row in scored]
    assert all(isinstance(width, int) for width in pairs["width"])
    assert summary["expected"][0] == len(scored) and summary["complete"][0] is True
    assert summary["mean"][0] == pytest.approx(sum(pairs["lpips_alex"]) / len(scored))


def test_tables_reach_data_frames(run, scored):
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    for frame in (pandas.DataFrame(run.pairs), polars.DataFrame(run.pairs)):
        assert list(frame.columns) == list(run.pairs)
        assert frame["lpips_alex"].mean() == pytest.approx(run.summary["mean"][0])
    assert polars.DataFrame(run.summary)["mean"].dtype == polars.Float64


def test_rows_and_folders(run, scored, tmp_path):
    manifest = [
        {"ref": SR / row["ref"], "dist": SR / row["dist"], "method": row["method"]} for row in scored
    ]
    by_rows = lpips_eval.evaluate(iter(manifest), output=tmp_path / "rows", device="cpu")
    assert by_rows.pairs["lpips_alex"] == run.pairs["lpips_alex"]
    two = list({row["ref"]: (row["ref"], row["dist"]) for row in manifest}.values())[:2]
    assert len(lpips_eval.evaluate(two, output=tmp_path / "two", device="cpu").pairs["id"]) == 2
    folders = {name: SR / name for name in ["bicubic", "lanczos"]}
    by_folders = lpips_eval.evaluate(output=tmp_path / "folders", ref=SR / "hr", dist=folders, device="cpu")
    assert sorted(set(by_folders.pairs["method"])) == ["bicubic", "lanczos"]


def test_failed_pairs_warn(tmp_path, files):
    (ref, dist), (other, _) = files[0], files[-1]
    with pytest.warns(lpips_eval.RunWarning, match="1 of 2 pairs failed: .*gone.png"):
        run = lpips_eval.evaluate(
            [(ref, dist), (other, tmp_path / "gone.png")], output=tmp_path / "run", device="cpu"
        )
    assert run.exit_code == 3 and not run.is_complete
    assert run.pairs["status"] == ["ok", "failed"] and run.pairs["lpips_alex"][1] is None


def test_what_the_command_refuses_is_an_error(tmp_path):
    with pytest.raises(lpips_eval.RunError, match="gruop-by") as error:
        lpips_eval.evaluate(SR / "manifest.csv", output=tmp_path / "run", gruop_by="method")
    assert error.value.exit_code == 2
    with pytest.raises(lpips_eval.RunError, match="gone.csv") as error:
        lpips_eval.evaluate(tmp_path / "gone.csv", output=tmp_path / "run")
    assert error.value.exit_code == 6 and error.value.hint


def test_comparison(run, tmp_path):
    report = lpips_eval.compare(run, base="bicubic", fail_if=["mean > 0.5", "max > 1e-9"])
    line = ["compare", run.path, "--base", "bicubic", "--json", "-"]
    gates = ["--fail-if", "mean > 0.5", "--fail-if", "max > 1e-9"]
    assert report == json.loads(run_command(*line, *gates).stdout)
    assert [gate["outcome"] for gate in report["gates"]] .count("failed") >= 1
    assert report["verdict"] in ("better", "worse", "undecided")
    with pytest.raises(lpips_eval.RunError):
        lpips_eval.compare(run.path, tmp_path)
