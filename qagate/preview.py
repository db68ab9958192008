"""What another decision table would have made of series that are decided already. Changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from qagate.assessment import BAD
from qagate.gate.policy import Policy, decide
from qagate.store.observations import Observation

MOST_CHANGES = 200  #: changed series that are named

_ALERTS = frozenset(verdict.value for verdict in BAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One series that would have been decided otherwise."""

    series_instance_uid: str
    decided_at: datetime
    station: str
    protocol_name: str
    quality: float | None
    before: str
    after: str
    rule: str  #: that would decide


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A decision table held against decided series."""

    series: int
    pairs: Mapping[tuple[str, str], int]  #: (verdict before, verdict after) -> series
    stations: Mapping[str, tuple[int, int, int]]  #: station -> series, alerts before, alerts after
    changes: tuple[Change, ...]  #: the newest, at most MOST_CHANGES

    @property
    def changed(self) -> int:
        """Series that would have been decided otherwise."""
        return sum(count for (before, after), count in self.pairs.items() if before != after)

    def alerts(self, side: int) -> int:
        """Series a person should look at or repeat; side 0: before, 1: after."""
        return sum(count for pair, count in self.pairs.items() if pair[side] in _ALERTS)


def preview(observations: Iterable[Observation], policy: Policy) -> Preview:
    """Decide each again, with the baseline that was usual then."""
    pairs: Counter[tuple[str, str]] = Counter()
    stations: dict[str, list[int]] = {}
    changes: list[Change] = []
    for one in observations:
        decision = decide(one.assessment, one.header, policy, one.baseline)
        before, after = one.verdict, decision.verdict.value
        pairs[before, after] += 1
        counts = stations.setdefault(one.header.station_name, [0, 0, 0])
        for place, counted in enumerate((True, before in _ALERTS, after in _ALERTS)):
            counts[place] += counted
        if before != after and len(changes) < MOST_CHANGES:
            changes.append(
                Change(
                    series_instance_uid=one.series_instance_uid,
                    decided_at=one.decided_at,
                    station=one.header.station_name,
                    protocol_name=one.header.protocol_name,
                    quality=one.assessment.quality,
                    before=before,
                    after=after,
                    rule=decision.rule,
                )
            )
    return Preview(
        series=sum(pairs.values()),
        pairs=dict(pairs),
        stations={name: (all_, before, after) for name, (all_, before, after) in sorted(stations.items())},
        changes=tuple(changes),
    )
