"""Reads mutated data sets, one after another, and prints a JSON line for each; a process of its own.

What kills this process, or keeps it busy for too long, is told by `fuzz_data_sets`, which watches it.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path

import fuzz_mutate
from fuzz_read import Doors

from qagate import telemetry

REPORT_EVERY = 20  #: SR and KOS take four times as long as all the rest


def main(folder: str, seed: str, first: str, step: str, count: str) -> None:
    """Read cases first, first + step ... below count."""
    telemetry.configure(level="critical")
    telemetry.keep_own_words()
    doors = Doors(Path(folder))
    print("ready", flush=True)
    for number in range(int(first), int(count), int(step)):
        case = fuzz_mutate.case(int(seed), number)
        Path("/proc/self/clear_refs").write_text("5")  # the peak of this case alone
        began = time.perf_counter()
        try:
            read = doors.read(case.data, report=number % REPORT_EVERY == 0)
            outcome = [read.received, read.prepared, read.drawn, read.reported]
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            outcome = [
                "fault",
                f"{type(error).__name__} in {place.name} ({Path(place.filename).name}:{place.lineno})",
            ]
        rss, peak = memory_mb()
        told = [number, case.kind, outcome, round(time.perf_counter() - began, 3), rss, peak]
        print(json.dumps(told), flush=True)


def memory_mb() -> tuple[int, int]:
    """Resident memory of this process now, and at most since the peak was last reset."""
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    rss, peak = (int(told[name].split()[0]) >> 10 for name in ("VmRSS", "VmHWM"))
    return rss, peak


if __name__ == "__main__":
    main(*sys.argv[1:])
