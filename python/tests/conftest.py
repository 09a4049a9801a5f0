"""The sample pairs, and what the command makes of them."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

import lpips_eval

DATA = Path(__file__).resolve().parents[2] / "tests" / "data"
SR = DATA / "sr"


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def run_command(*arguments, **options):
    line = [sys.executable, "-m", "lpips_eval", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, **options)


@pytest.fixture(scope="session")
def command_run(tmp_path_factory):
    """A run directory of the command for the sample pairs."""
    folder = tmp_path_factory.mktemp("run") / "run"
    options = ["--device", "cpu", "--per-layer", "--group-by", "method"]
    done = run_command("eval", SR / "manifest.csv", "-o", folder, *options)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def scored(command_run):
    """The rows of pairs.csv."""
    return rows(command_run / "pairs.csv")


@pytest.fixture(scope="session")
def files(scored):
    """(reference, distorted) of each row."""
    return [(SR / row["ref"], SR / row["dist"]) for row in scored]


@pytest.fixture(scope="session")
def scorer():
    return lpips_eval.Scorer(device="cpu")


@pytest.fixture
def expect_rows(scored):
    """Asserts that scores are what the command wrote, to the last of its nine digits."""

    def digits(values):
        return [float(f"{value:.9g}") for value in values]

    def check(scores):
        assert len(scores) == len(scored)
        for row, score in zip(scored, scores):
            names = ["lpips_alex", *(f"lpips_alex_layer{layer}" for layer in range(5))]
            expected = [float(row[name]) for name in names]
            assert digits([score.total, *score.layers]) == expected, row["id"]

    return check
