"""Programs that do the same work in turns, so that a busy moment of the machine affects all of them.

A contender is a process that says `ready`, then does its work for every line on stdin, as often in
succession as the line says, and answers with the seconds per repetition and a value that
proves that the work was done.
"""
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Seconds before a contender's turn: threads of the one before spin for a while when their work is
# done.
PAUSE = 0.1
# About the seconds of work in succession: threads that were asleep need some time to get a core each.
RUN = 0.2
# Runs of a turn; the first is not counted, since others emptied the caches.
TURN = 3


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

    def work(self, count: int) -> float:
        """Works some times in succession; the seconds that one took."""
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        seconds, self.value = map(float, self.process.stdout.readline().split())
        return seconds

    def turn(self, count: int) -> None:
        """A pause, a run that is not counted, and some that are; of slow work, one that is."""
        time.sleep(PAUSE)
        times = [self.work(count)]
        while len(times) < TURN and count * sum(times) < 1:
            times.append(self.work(count))
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
        contender.work(1)
    # The same for all: what the fastest does in a run.
    count = max(1, round(RUN / min(contender.work(3) for contender in contenders)))
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 3 or (time.perf_counter() < end and rounds < 200):
        for contender in contenders:
            contender.turn(count)
        rounds += 1
    for contender in contenders:
        contender.close()
    expected = contenders[0].value
    for contender in contenders:
        if abs(contender.value - expected) > agree * abs(expected):
            sys.exit(f"{contender.name} says {contender.value}, {contenders[0].name} {expected}")
    return {
        "rounds": rounds,
        "in_succession": count,
        "min_ms": {c.name: 1e3 * min(c.times) for c in contenders},
        "median_ms": {c.name: 1e3 * statistics.median(c.times) for c in contenders},
    }
