"""The command that comes with the package."""

import importlib.metadata
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import lpips_eval
from conftest import SR, run_command


def test_it_is_the_version_of_the_package():
    done = run_command("--version")
    assert done.returncode == 0
    assert done.stdout.startswith(f"lpips {lpips_eval.__version__} ")


def test_it_is_on_the_path_of_the_environment():
    try:
        importlib.metadata.version("lpips-eval")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package is imported from its sources, not installed")
    # Not resolved: the interpreter of an environment is a link.
    command = Path(sys.executable).parent / "lpips"
    assert subprocess.run([command, "--version"], capture_output=True).returncode == 0


def test_exit_codes_and_streams(tmp_path):
    wrong = run_command("evaal")
    assert wrong.returncode == 2 and "eval" in wrong.stderr and not wrong.stdout
    line = ["eval", "--pair", SR / "hr/astronaut.png", SR / "bicubic/astronaut.png", "--device", "cpu"]
    row = run_command(*line, cwd=tmp_path)
    assert row.returncode == 0 and row.stdout.startswith("id,item,method,ref,dist")
    assert len(row.stdout.splitlines()) == 2
    assert run_command("eval", SR / "manifest.csv", "-o", "/proc/run").returncode == 5


def test_a_name_that_is_not_utf8_is_refused():
    done = run_command("eval", "pairs.csv", "-o", "run", "--group-by", os.fsdecode(b"\xff"))
    assert done.returncode == 2 and "UTF-8" in done.stderr


def test_ctrl_c_keeps_finished_rows(tmp_path):
    """As the binary does: exit code 130, no traceback, and the same command resumes."""
    pair = f"{SR / 'hr/astronaut.png'},{SR / 'bicubic/astronaut.png'}"
    rows = "".join(f"{number},{pair}\n" for number in range(5000))
    (tmp_path / "m.csv").write_text(f"id,ref,dist\n{rows}", encoding="utf-8")
    line = [sys.executable, "-m", "lpips_eval", "eval", "m.csv", "-o", "run", "--device", "cpu"]
    line += ["--progress", "jsonl"]
    with subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        # The run has begun, and it takes long.
        assert '"event":"progress"' in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        stderr = process.stderr.read()
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr


def test_it_imports_little():
    """What is imported is part of the start-up time of the command."""
    code = "import sys, lpips_eval.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {"numpy", "torch", "PIL", "subprocess", "csv", "json", "dataclasses"}
    assert not slow & set(done.stdout.split())
