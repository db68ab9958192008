"""`make fuzz`: fuzzed associations against a running gate, then mutated data sets through its functions.

CASES associations (10,000) and DATA_SETS data sets (ten times as many), from SEED (1); REPLAY=FILE plays one
case again.
Ends with 1 when a process id changed, memory or file handles grew, or a case was not answered.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from statistics import median

import fuzz_associations
import fuzz_data_sets
import fuzz_mutate
import fuzz_wire
from fuzz_gate import LIMITS, ROLES, Gate, Look, until
from fuzz_peer import UNANSWERED, Played, healthy, play
from fuzz_read import Doors

PEERS = 24  #: connections at one time
LIMIT_S = 4.0 * max(LIMITS.values()) + 8  #: for an answer; the gate's own limits, and time on a busy machine
SILENT_EVERY = 100
ON_THE_WIRE = 50  #: one data set in so many associations is stored and scored end to end
GROWTH_MB, GROWTH = 48, 1.15  #: of a process between its second and its last quarter: more is a leak
HANDLES = 10
FAILED = Path("fuzz-failed")  #: cases to replay


def main() -> int:
    """Run what the environment asks for; the exit status."""
    if replayed := os.environ.get("REPLAY"):
        return replay(Path(replayed))
    cases, seed = int(os.environ.get("CASES") or 10_000), int(os.environ.get("SEED") or 1)
    files = int(os.environ.get("DATA_SETS") or 10 * cases)
    troubles: list[str] = []
    with tempfile.TemporaryDirectory(prefix="qagate-fuzz-") as folder:
        troubles += associations(Path(folder) / "gate", seed, cases)
        troubles += data_sets(Path(folder), seed, files)
    print("\n" + ("\n".join(f"TROUBLE: {one}" for one in troubles) or "nothing to complain of"))
    return 1 if troubles else 0


def associations(folder: Path, seed: int, cases: int) -> list[str]:
    """Play the associations against a gate of their own; what went wrong, in words."""
    troubles: list[str] = []
    began = time.monotonic()
    with Gate(folder) as gate:
        samples = [gate.looks()]
        tally: Counter[tuple[str, str]] = Counter()
        for part in _parts(cases):
            for number, case, played in _played(gate.port, seed, part):
                tally[case.kind, played.outcome] += 1
                if played.outcome == UNANSWERED:
                    troubles.append(
                        f"association {number} ({case.kind}) was not answered: {_kept(seed, number, case)}"
                    )
            if not healthy(gate.port, LIMIT_S):
                troubles.append("a well-behaved peer is no longer served")
            samples.append(gate.looks())
        print(f"{cases} associations, seed {seed}, in {time.monotonic() - began:.0f} s")
        _table(tally)
        print(f"\n{cases // ON_THE_WIRE} data sets stored and scored end to end:")
        _table(fuzz_wire.store(gate.port, seed, cases // ON_THE_WIRE, LIMIT_S))
        states, unfinished = _ended(gate.database)
        for state, count in sorted(states.items()):
            print(f"  series {state:<40} {count:>6}")
        troubles += [f"series {one} was not ended" for one in unfinished]
        until(lambda: _handles(gate.looks()) <= _handles(samples[0]) + HANDLES, 30)
        samples.append(gate.looks())
        _processes(samples)
        troubles += _changed(samples) + _grown(samples)
    return troubles


def _parts(cases: int) -> Iterable[range]:
    edges = [cases * part // 10 for part in range(11)]
    return (range(start, end) for start, end in pairwise(edges))


def _played(port: int, seed: int, numbers: range) -> Iterable[tuple[int, fuzz_associations.Case, Played]]:
    def one(number: int) -> tuple[int, fuzz_associations.Case, Played]:
        make = (
            fuzz_associations.silent if number % SILENT_EVERY == SILENT_EVERY - 1 else fuzz_associations.case
        )
        case = make(seed, number)
        try:
            return number, case, play(case, port, LIMIT_S)
        except OSError:  # no connection at all
            return number, case, Played(UNANSWERED, LIMIT_S)

    with ThreadPoolExecutor(PEERS) as pool:
        yield from pool.map(one, numbers)


def _ended(database: Path) -> tuple[Counter[str], list[str]]:
    """Wait for every series; states with their verdicts, and the UIDs of those that no state explains."""

    def rows() -> list[tuple[str, str, str | None, str | None]]:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as store:
            return store.execute(
                "select series_instance_uid, state, verdict, last_error from series"
            ).fetchall()

    ended = ("DECIDED", "DELIVERED", "FAILED")
    until(lambda: all(state in ended for _, state, _, _ in rows()), 600, 2)
    states: Counter[str] = Counter()
    unfinished = []
    for uid, state, verdict, error in rows():
        states[f"{state} {verdict or ''}".strip()] += 1
        if state not in ended or (state == "FAILED" and not error):
            unfinished.append(uid)
    return states, unfinished


def data_sets(folder: Path, seed: int, cases: int) -> list[str]:
    """Read mutated data sets in as many processes as there are cores."""
    began = time.monotonic()
    workers = os.cpu_count() or 1

    def watch(first: int) -> fuzz_data_sets.Tally:
        return fuzz_data_sets.watch(folder / f"reader{first}", seed, first, workers, cases)

    with ThreadPoolExecutor(workers) as pool:
        tallies = list(pool.map(watch, range(workers)))
    outcomes = sum((tally.outcomes for tally in tallies), Counter())
    read, took_s = sum(tally.cases for tally in tallies), time.monotonic() - began
    print(f"\n{read} data sets, seed {seed}, in {took_s:.0f} s")
    _table(outcomes)
    troubles = []
    for tally in tallies:
        for number, what in tally.faults:
            case = fuzz_mutate.case(seed, number)
            troubles.append(f"data set {number} ({case.kind}): {what}: {_kept(seed, number, case)}")
        quarter = max(len(tally.memory) // 4, 1)
        before, after = median(tally.memory[quarter : 2 * quarter] or [0]), median(tally.memory[-quarter:])
        print(
            f"reader: {before:.0f} MB in the second quarter, {after:.0f} MB in the last; the largest case "
            f"{tally.peak_mb} MB, the slowest {tally.slowest_s:.1f} s"
        )
        if after > GROWTH * before + GROWTH_MB:
            troubles.append(f"a reader grew from {before:.0f} to {after:.0f} MB")
    return troubles


def _table(tally: Counter[tuple[str, str]]) -> None:
    kinds = sorted({kind for kind, _ in tally})
    for kind in kinds:
        told = sorted((outcome, count) for (of, outcome), count in tally.items() if of == kind and count)
        print(f"  {kind:<40} " + ", ".join(f"{outcome} {count}" for outcome, count in told))


def _processes(samples: Sequence[dict[str, Look]]) -> None:
    print("\nprocess    pid start/end      RSS in MB over time (peak)  ·  file handles  ·  threads")
    for role in ROLES:
        looks = [sample[role] for sample in samples if role in sample]
        numbers = [" ".join(f"{value(one):.0f}" for one in looks) for value in _VALUES]
        print(
            f"{role:<10} {looks[0].pid}/{looks[-1].pid}  {numbers[0]} ({looks[-1].peak_mb:.0f})  ·  "
            f"{numbers[1]}  ·  {numbers[2]}"
        )


_VALUES: tuple[Callable[[Look], float], ...] = (
    lambda one: one.rss_mb, lambda one: one.handles, lambda one: one.threads,
)  # fmt: skip


def _handles(looks: dict[str, Look]) -> int:
    return looks["receiver"].handles if "receiver" in looks else 0


def _changed(samples: Sequence[dict[str, Look]]) -> list[str]:
    pids = [{role: one.pid for role, one in sample.items()} for sample in samples]
    return (
        [] if all(one == pids[0] for one in pids) else [f"process ids changed: {pids[0]} became {pids[-1]}"]
    )


def _grown(samples: Sequence[dict[str, Look]]) -> list[str]:
    """The worker is left out: it loads its model at the first series."""
    found = []
    for role in ("serve", "receiver", "services", "web"):
        looks = [sample[role] for sample in samples if role in sample]
        before, after = looks[len(looks) // 4], looks[-1]
        if after.rss_mb > GROWTH * before.rss_mb + GROWTH_MB:
            found.append(f"{role} grew from {before.rss_mb:.0f} to {after.rss_mb:.0f} MB")
        if after.handles > before.handles + HANDLES:
            found.append(f"{role} has {after.handles} file handles, {before.handles} before")
    return found


def _kept(seed: int, number: int, case: fuzz_associations.Case | fuzz_mutate.Case) -> Path:
    """Write a case down so that it can be replayed whatever becomes of the generator."""
    FAILED.mkdir(exist_ok=True)
    told: dict[str, object] = {"seed": seed, "number": number, "kind": case.kind}
    if isinstance(case, fuzz_mutate.Case):
        path = FAILED / f"data-set-{seed}-{number}.json"
        told["data"] = base64.b64encode(case.data).decode()
    else:
        path = FAILED / f"association-{seed}-{number}.json"
        told["steps"] = [[what, base64.b64encode(data).decode()] for what, data in case.steps]
    path.write_text(json.dumps(told))
    return path


def replay(path: Path) -> int:
    """Play one kept case again and say what became of it."""
    told = json.loads(path.read_text())
    with tempfile.TemporaryDirectory(prefix="qagate-fuzz-") as folder:
        if "data" in told:
            print(Doors(Path(folder)).read(base64.b64decode(told["data"])))
            return 0
        steps = tuple((what, base64.b64decode(data)) for what, data in told["steps"])
        with Gate(Path(folder)) as gate:
            played = play(fuzz_associations.Case(told["kind"], steps), gate.port, LIMIT_S)
            print(f"{told['kind']}: {played.outcome} after {played.took_s:.2f} s")
            return 1 if played.outcome == UNANSWERED or not healthy(gate.port, LIMIT_S) else 0


if __name__ == "__main__":
    sys.exit(main())
