"""Watches processes that read mutated data sets: what each case came to, and that none killed or hung one."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LIMIT_S = 60.0  #: for one case; the slowest, a bomb, takes some seconds
START_S = 300.0  #: for a process to be ready: it loads torch
PEAK_MB = 2048  #: a case may take so much, for a moment
CHILD = Path(__file__).with_name("fuzz_child.py")
ROOT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Tally:
    """What the cases came to."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  #: (kind, outcome) -> cases
    faults: list[tuple[int, str]] = field(default_factory=list)  #: number, what went wrong
    memory: list[int] = field(default_factory=list)  #: resident MB, case by case
    peak_mb: int = 0
    slowest_s: float = 0.0

    @property
    def cases(self) -> int:
        return len(self.memory)

    def take(self, told: list[object]) -> None:
        """Count one line of a child."""
        number, kind, outcome, took_s, rss, peak = told
        assert isinstance(number, int) and isinstance(outcome, list)
        assert isinstance(took_s, float) and isinstance(rss, int) and isinstance(peak, int)
        for one in outcome:
            self.outcomes[str(kind), str(one)] += bool(one)
        if outcome[0] == "fault":
            self.faults.append((number, outcome[1]))
        if peak > PEAK_MB:
            self.faults.append((number, f"took {peak} MB"))
        self.memory.append(rss)
        self.peak_mb, self.slowest_s = max(self.peak_mb, peak), max(self.slowest_s, took_s)


def watch(folder: Path, seed: int, first: int, step: int, count: int) -> Tally:
    """Read cases first, first + step ... below count; a child that dies or hangs is replaced."""
    tally, number = Tally(), first
    while number < count:
        for told in _lines(folder, seed, number, step, count):
            if isinstance(told, str):
                tally.faults.append((number, told))
            else:
                tally.take(told)
            number += step
    return tally


def _lines(folder: Path, seed: int, first: int, step: int, count: int) -> Iterator[list[object] | str]:
    """What a child told of each case; last, in words, what became of the case that ended it."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(CHILD), str(folder), *map(str, (seed, first, step, count))]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as child:
        output = child.stdout
        assert output is not None
        threading.Thread(target=lambda: [lines.put(line) for line in (*output, b"")], daemon=True).start()
        limit_s = START_S
        while True:
            try:
                line = lines.get(timeout=limit_s)
            except queue.Empty:
                child.kill()
                yield f"unanswered in {limit_s:g} s"
                return
            if not line:
                break
            limit_s = LIMIT_S
            if line != b"ready\n":
                yield json.loads(line)
    if child.returncode:
        yield f"the process ended with {child.returncode}"
