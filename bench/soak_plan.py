"""The day of a hospital's scanners: which series each sends when, and what goes wrong with it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

HOURS = 24
#: share of the day's series by hour: a quiet night, a rush in the morning, a smaller one after noon
_BY_HOUR = (
    *(0.3, 0.3, 0.3, 0.3, 0.3, 0.4, 0.8, 1.6, 2.2, 2.2, 2.0, 1.6),
    *(1.2, 1.6, 1.8, 1.6, 1.2, 0.9, 0.7, 0.6, 0.5, 0.4, 0.35, 0.3),
)
DOWN = (2.0, 3.0)  #: hours between which the archive is down
RUSH = 8.0  #: hour at which every scanner sends at once
WARM_UP = 1_000_000  #: numbers from here on belong to series before the day
_WARM_UP_SERIES = 8  #: twice what a worker scores together
SILENT, STUCK = 10.0, 14.0  #: hours at which a peer connects and says nothing; stops half-way


class Kind(Enum):
    """What is special about a series."""

    GOOD = "good"
    BAD = "bad"  #: more noise than anyone can read
    LOCALISER = "localiser"
    CUT = "cut"  #: aborted half-way, then sent whole
    LOST = "lost"  #: aborted half-way, never sent again
    LATE = "late"  #: its last slices come when it is decided already
    AGAIN = "again"  #: sent whole a second time


_SHARES = {
    Kind.GOOD: 0.74, Kind.BAD: 0.1, Kind.LOCALISER: 0.06, Kind.CUT: 0.03, Kind.LOST: 0.01, Kind.LATE: 0.03,
    Kind.AGAIN: 0.03,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One series."""

    number: int  #: makes its UIDs
    scanner: int  #: from 0
    hour: float  #: of the day
    kind: Kind
    slices: int


def modality(scanner: int) -> str:
    """Half of the scanners are CT."""
    return "MR" if scanner % 2 else "CT"


def ae_title(scanner: int) -> str:
    """Of one scanner."""
    return f"{modality(scanner)}{scanner + 1:02d}"


def warm_up(scanners: int, slices: int) -> list[Planned]:
    """The largest series, all at once: what a process keeps for its largest work, it keeps from here on."""
    those = range(1, min(scanners, _WARM_UP_SERIES + 1))
    return [
        Planned(number=WARM_UP + scanner, scanner=scanner, hour=0.0, kind=Kind.GOOD, slices=slices)
        for scanner in those
    ]


def day(scanners: int, count: int, *, slices: tuple[int, int] = (20, 200), seed: int = 1) -> list[Planned]:
    """About `count` series, most of them short; every scanner sends one in the rush, some in DOWN."""
    drawn = random.Random(seed)
    low, high = slices
    times = [(scanner, RUSH) for scanner in range(scanners)]
    times += [(scanner, sum(DOWN) / 2) for scanner in range(0, scanners, 4)]
    for place in range(max(0, count - len(times))):
        hour = drawn.choices(range(HOURS), _BY_HOUR)[0] + drawn.random()
        times.append((place % scanners, hour))
    planned = []
    for number, (scanner, hour) in enumerate(times, start=1):
        kind = drawn.choices(list(_SHARES), list(_SHARES.values()))[0]
        count_of = 3 if kind is Kind.LOCALISER else round(low * (high / low) ** (drawn.random() ** 1.5))
        planned.append(Planned(number=number, scanner=scanner, hour=hour, kind=kind, slices=count_of))
    return sorted(planned, key=lambda one: one.hour)
