"""Durations that do not trust the time of day: how long a series is quiet, and whether the clock was set.

The time of day is read for what is stored and shown; both classes measure by a clock that nobody sets and
that also counts while the machine sleeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from qagate.reason import Reason

log = structlog.get_logger(__name__)


def steady_s() -> float:
    """Seconds since the machine started, its sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(slots=True)
class _Seen:
    began: float  #: steady time of the revision's first instance
    state: object
    changed: float  #: steady time of its last change


class Stillness:
    """How long series have been as they are, by steady time; one look after another, by one thread."""

    def __init__(self, steady: Callable[[], float] = steady_s) -> None:
        self._steady = steady
        self._seen: dict[int, _Seen] = {}
        self._looked_at: float | None = None

    def look(self, states: Mapping[int, tuple[object, float, float]]) -> dict[int, tuple[float, float]]:
        """Take key -> (state, seconds since its change, since its beginning), both by the time of day.

        Returns key -> the same two seconds by steady time. What was not there at the last look, or was
        otherwise, changed since then: the time of day is believed as far as it agrees with that, and at the
        first look altogether.
        """
        now = self._steady()
        most = float("inf") if self._looked_at is None else now - self._looked_at
        found: dict[int, _Seen] = {}
        for key, (state, quiet_s, age_s) in states.items():
            seen = self._seen.get(key)
            if seen is None:
                seen = _Seen(now - _between(age_s, most), state, now - _between(quiet_s, most))
            elif seen.state != state:
                seen.state, seen.changed = state, now - _between(quiet_s, most)
            found[key] = seen
        self._seen, self._looked_at = found, now
        return {key: (now - seen.changed, now - seen.began) for key, seen in found.items()}


def _between(seconds: float, most: float) -> float:
    return max(0.0, min(seconds, most))


class ClockGuard:
    """Notices that the time of day was set by more than `most_s`, and says for how long to be careful."""

    def __init__(
        self,
        clock: Callable[[], datetime],
        *,
        most_s: float = 3600.0,
        careful_s: float = 86_400.0,
        steady: Callable[[], float] = steady_s,
    ) -> None:
        self._clock, self._steady = clock, steady
        self._most_s, self._careful_s = most_s, careful_s
        self._last = (clock(), steady())
        self._until: float | None = None

    def doubt(self, newest: datetime | None, idle: timedelta) -> None:
        """At a start: be careful when the newest time that was kept lies ahead, or more than `idle` back."""
        if newest is None:
            return
        behind = self._clock() - newest
        if behind < -timedelta(seconds=self._most_s) or behind > idle:
            self._set(behind.total_seconds())

    def careful(self) -> bool:
        """Look at both clocks; True while what cannot be undone should wait."""
        now, steady = self._clock(), self._steady()
        was, steady_was = self._last
        self._last = (now, steady)
        jump_s = (now - was).total_seconds() - (steady - steady_was)
        if abs(jump_s) > self._most_s:
            self._set(jump_s)
        return self._until is not None and steady < self._until

    def _set(self, seconds: float) -> None:
        self._until = self._steady() + self._careful_s
        log.error(
            "clock_doubted",
            by_s=round(seconds),
            reason=Reason(
                "the clock of this machine was set, or is wrong: look at its time service; nothing is "
                f"deleted for {self._careful_s / 3600:g} h"
            ),
        )
