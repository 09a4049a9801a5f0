"""One command within its time, and the log of all of them."""

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KEPT = 20_000  # characters of each stream that commands.log keeps


class Deadline:
    """The seconds that remain of a part."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """Never negative."""
        return max(0.0, self.end - time.monotonic())


@dataclass(frozen=True)
class Outcome:
    """What became of a command. `returncode` is None where it ran out of time and was ended."""

    command: list[str]
    returncode: int | None
    seconds: float
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Ended by itself, with 0."""
        return self.returncode == 0

    @property
    def why(self) -> str:
        """How it ended, with its last words, for people."""
        if self.returncode is None:
            end = f"ended after {self.seconds:.0f} s"
        else:
            end = f"exit code {self.returncode}"
        words = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        said = " | ".join(words[-4:])
        return f"{end}: {said}"[:600] if said else end


class Commands:
    """Runs commands one at a time and logs them into one file."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def run(
        self, command: Sequence[object], deadline: Deadline, env: dict[str, str] | None = None
    ) -> Outcome:
        """Runs a command in a process group of its own; when the time is over the group is ended.

        Streams go through files: what a command printed before it was ended is not lost.
        """
        words = [str(word) for word in command]
        started = time.monotonic()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            returncode: int | None
            try:
                process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env={**os.environ, **(env or {})},
                    start_new_session=True,
                )
            except OSError as error:
                returncode = 127
                err.write(str(error).encode())
            else:
                returncode = _wait(process, deadline)
            seconds = time.monotonic() - started
            out.seek(0)
            err.seek(0)
            stdout, stderr = (stream.read().decode(errors="replace") for stream in (out, err))
        outcome = Outcome(words, returncode, seconds, stdout, stderr)
        self._note(outcome)
        return outcome

    def _note(self, outcome: Outcome) -> None:
        with self.log.open("a") as log:
            log.write(f"$ {shlex.join(outcome.command)}\n")
            for name, text in (("stdout", outcome.stdout), ("stderr", outcome.stderr)):
                if text:
                    cut = "... (cut)\n" if len(text) > KEPT else ""
                    log.write(f"[{name}]\n{cut}{text[-KEPT:].rstrip()}\n")
            end = "out of time" if outcome.returncode is None else f"exit code {outcome.returncode}"
            log.write(f"[{end}, {outcome.seconds:.2f} s]\n\n")


def _wait(process: "subprocess.Popen[bytes]", deadline: Deadline) -> int | None:
    try:
        return process.wait(timeout=deadline.left())
    except subprocess.TimeoutExpired:
        return None
    finally:
        # Whatever the command left running ends with it, also when this program is interrupted.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
