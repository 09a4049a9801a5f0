"""Programs that take turns at the same work, so that a busy moment meets all of them.

A contender is a process that says `ready`, then does its work once for every line on stdin and
answers with the seconds that it took and a value that tells whether the work was done.
"""
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Seconds before a contender's turn: threads of the one before spin for a while when their work is
# done. And how often it works in a turn; the first time is not counted, since others emptied the
# caches.
PAUSE = 0.1
TURN = 4


class Contender:
    """One of the processes."""

    def __init__(self, name: str, command: list) -> None:
        self.name = name
        self.times: list[float] = []
        self.value: float | None = None
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )

    def ready(self) -> None:
        if self.process.stdout.readline().strip() != "ready":
            sys.exit(f"{self.name} did not start: {self.process.args}")

    def work(self) -> float:
        """Works once; the seconds that it took."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds, self.value = map(float, self.process.stdout.readline().split())
        return seconds

    def turn(self) -> None:
        """A pause, a time that is not counted, and some that are; of slow work, one that is."""
        time.sleep(PAUSE)
        times = [self.work()]
        while len(times) < TURN and sum(times) < 1:
            times.append(self.work())
        self.times += times[1:] or times

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def race(contenders: list[Contender], seconds: float, agree: float) -> dict:
    """Lets the contenders take turns for about `seconds`; minima and medians in ms. Ends the program
    when a value differs from the first one's by more than `agree`, relatively."""
    for contender in contenders:
        contender.ready()
    for contender in contenders:  # Warm: weights transformed, kernels chosen, memory touched.
        contender.work()
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 3 or (time.perf_counter() < end and rounds < 200):
        for contender in contenders:
            contender.turn()
        rounds += 1
    for contender in contenders:
        contender.close()
    expected = contenders[0].value
    for contender in contenders:
        if abs(contender.value - expected) > agree * abs(expected):
            sys.exit(f"{contender.name} says {contender.value}, {contenders[0].name} {expected}")
    return {
        "rounds": rounds,
        "min_ms": {c.name: 1e3 * min(c.times) for c in contenders},
        "median_ms": {c.name: 1e3 * statistics.median(c.times) for c in contenders},
    }
