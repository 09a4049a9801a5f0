"""The code of docs/python.md runs as it is written."""

import re
import shutil
from pathlib import Path

import pytest

from conftest import SR

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"


def test_every_example_runs(tmp_path, monkeypatch):
    for package in ("pandas", "polars"):
        pytest.importorskip(package)
    shutil.copytree(SR, tmp_path, dirs_exist_ok=True)
    shutil.copy(SR / "hr" / "astronaut.png", tmp_path / "golden.png")
    shutil.copy(SR / "bicubic" / "astronaut.png", tmp_path / "output.png")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) >= 6
    names = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    # A test is only defined by running its block.
    tests = [name for name in names if name.startswith("test_")]
    assert tests
    for name in tests:
        names[name]()
