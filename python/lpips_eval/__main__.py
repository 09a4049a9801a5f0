"""The command `lpips`: `python -m lpips_eval`."""

from __future__ import annotations

import signal
import sys

from . import _core


def main() -> None:
    """Runs the command with the arguments of this process, and exits."""
    # The command handles signals itself: Python would raise KeyboardInterrupt after it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_core.command(sys.argv[1:]))


if __name__ == "__main__":
    main()
