"""What these tests share: the package under test and a stand-in for the program."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

FAKE = Path(__file__).resolve().parent / "fake_lpips.py"


def real_program() -> "Path | None":
    """The binary that was built last by `cargo`, or the one that LPIPS_PROGRAM names."""
    named = os.environ.get("LPIPS_PROGRAM")
    if named:
        return Path(named)
    built = [ROOT / f"target/{profile}/lpips" for profile in ("debug", "release")]
    built = [path for path in built if path.is_file()]
    return max(built, key=lambda path: path.stat().st_mtime, default=None)
