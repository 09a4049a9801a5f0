"""The code of docs/python.md and of the tour runs as it is written."""

import re
import shutil
from pathlib import Path

import lpips_eval
import pytest

from conftest import SR

ROOT = Path(__file__).resolve().parents[2]


def blocks_of(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


def run(blocks):
    names = {}
    for block in blocks:
        exec(compile(block, "docs", "exec"), names)
    return names


def test_every_example_runs(tmp_path, monkeypatch):
    for package in ("pandas", "polars"):
        pytest.importorskip(package)
    shutil.copytree(SR, tmp_path, dirs_exist_ok=True)
    shutil.copy(SR / "hr" / "astronaut.png", tmp_path / "golden.png")
    shutil.copy(SR / "bicubic" / "astronaut.png", tmp_path / "output.png")
    monkeypatch.chdir(tmp_path)
    blocks = blocks_of("python.md")
    assert len(blocks) >= 6
    names = run(blocks)
    # A test is only defined by running its block.
    tests = [name for name in names if name.startswith("test_")]
    assert tests
    for name in tests:
        names[name]()


def test_the_tour_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "data").symlink_to(SR.parent)
    monkeypatch.chdir(tmp_path)
    lpips_eval.evaluate("tests/data/sr/manifest.csv", output="results", group_by="method")
    [block] = blocks_of("tour.md")
    run([block])
    means, total = capsys.readouterr().out.splitlines()
    assert "'bicubic': 0.33365" in means
    assert total.startswith("0.3636")
