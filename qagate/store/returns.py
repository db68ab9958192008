"""How series come back that nobody is to blame for: their gate could not work, or its clock was set back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import update

from qagate.series import Series, State
from qagate.store.engine import Store
from qagate.store.queue import held
from qagate.store.rows import text
from qagate.store.schema import account, outbox, series
from qagate.store.transitions import DeliveryState, move

PAUSE_S = 15.0  #: before a series is claimed again that the gate itself was in no state to score
_SLACK_S = 60.0  #: by which the clocks of several machines may differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Longest:
    """How far ahead a time of the store can lie when its clock was never set back, in seconds."""

    lease_s: float  #: of a series
    pause_s: float  #: of a series before its next try
    delivery_lease_s: float
    delivery_pause_s: float
    lock_s: float  #: of an account after wrong passwords


class Returns:
    """Any process may have one."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put_back(self, claimed: Series, reason: str, pause_s: float) -> bool:
        """SCORING -> COMPLETE without counting the try; claimed again after a pause.

        False when the lease was lost. Raises StoreError.
        """
        not_before = self._store.now() + timedelta(seconds=pause_s)
        again = move(State.SCORING, State.COMPLETE).where(*held(claimed))
        values = {"attempts": series.c.attempts - 1, "last_error": text(reason), "not_before": not_before}
        with self._store.write() as connection:
            return connection.execute(again.values(**values)).rowcount == 1

    def mend_clock(self, longest: Longest) -> int:
        """Bring near what lies further ahead than it can; return how many rows. Raises StoreError.

        After a clock was set back, leases would end and tries begin hours late. A holder that lives renews
        its lease; one that died is taken back when the lease has run its usual time from now.
        """
        now = self._store.now()

        def after(seconds: float) -> datetime:
            return now + timedelta(seconds=seconds)

        late = (
            (series, State.SCORING, "lease_expires_at", longest.lease_s, longest.lease_s),
            (series, State.COMPLETE, "not_before", longest.pause_s, 0.0),
            (outbox, DeliveryState.SENDING, "lease_expires_at", *(longest.delivery_lease_s,) * 2),
            (outbox, DeliveryState.PENDING, "not_before", longest.delivery_pause_s, 0.0),
        )  # fmt: skip
        rows = 0
        locked = update(account).where(account.c.locked_until > after(longest.lock_s + _SLACK_S))
        with self._store.write() as connection:
            rows += connection.execute(locked.values(locked_until=after(longest.lock_s))).rowcount
            for table, state, column, most_s, to_s in late:
                there = table.c[column]
                ahead = update(table).where(table.c.state == state.value, there > after(most_s + _SLACK_S))
                rows += connection.execute(ahead.values({column: after(to_s)})).rowcount
        return rows
