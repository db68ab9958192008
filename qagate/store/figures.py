"""Counts for monitoring: a few numbers, cheap enough to ask for every few seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from qagate.series import State
from qagate.store.engine import Store
from qagate.store.holds import waiting
from qagate.store.rows import series_by_state
from qagate.store.schema import UNSENT, baseline, outbox, result, series

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How the gate is doing."""

    series: Mapping[str, int]  #: state -> how many
    deliveries: Mapping[tuple[str, str], int]  #: (destination, state) -> how many that are not sent
    verdicts_last_hour: Mapping[str, int]
    oldest_waiting_s: float  #: since the oldest COMPLETE series was closed; 0: none waits
    held: int  #: series that wait for a release
    oldest_held_s: float  #: since the first of them was decided; 0: none waits
    alarms: int  #: baselines with an alarm


def figures(store: Store) -> Figures:
    """Count. Raises StoreError."""
    now, count = store.now(), sa.func.count().label("number")
    with store.read() as connection:
        unsent = connection.execute(
            sa.select(outbox.c.destination, outbox.c.state, count)
            .where(UNSENT)
            .group_by(outbox.c.destination, outbox.c.state)
        )
        verdicts = connection.execute(
            sa.select(result.c.verdict, count)
            .where(result.c.decided_at >= now - _HOUR)
            .group_by(result.c.verdict)
        )
        oldest = connection.scalar(
            sa.select(sa.func.min(series.c.closed_at)).where(series.c.state == State.COMPLETE.value)
        )
        alarms = connection.scalar(sa.select(count).where(baseline.c.alarm.is_not(None)))
        held = waiting(connection)
        return Figures(
            series={state.value: 0 for state in State} | series_by_state(connection),
            deliveries={(row.destination, row.state): row.number for row in unsent},
            verdicts_last_hour={row.verdict: row.number for row in verdicts},
            oldest_waiting_s=0.0 if oldest is None else max((now - oldest).total_seconds(), 0.0),
            held=held.count,
            oldest_held_s=0.0 if held.since is None else max((now - held.since).total_seconds(), 0.0),
            alarms=alarms or 0,
        )
