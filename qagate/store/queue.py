"""Series from reception to decision: recording, closing, claims with leases, and how a claim ends."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Row, exists, insert, select, true, update

from qagate.assessment import Assessment, Decision
from qagate.series import Received, Series, State
from qagate.store import intake
from qagate.store.baselines import BaselineChange, apply
from qagate.store.codec import dumps
from qagate.store.engine import Store
from qagate.store.errors import StoreError
from qagate.store.observations import observe
from qagate.store.posting import OutboxItem, deliver_if_done, images_out, insert_items
from qagate.store.rows import associations_of, instances_there, judged, series_of, text
from qagate.store.schema import conflict, instance, outbox, result, series
from qagate.store.transitions import move

TRY_AGAIN_S = 5.0  #: pause before a failed series is tried again, times its tries
_DIED = "the worker died or stopped answering while it held this series"
_WAITING = series.alias("waiting")  # made once: idle workers ask all the time


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiving:
    """A series that is being received, with what speaks for its completeness."""

    series_id: int
    series_instance_uid: str
    revision: int
    instance_count: int
    expected_instances: int | None
    learned_instances: int | None
    revision_started_at: datetime
    last_received_at: datetime
    released_at: datetime | None
    associations: tuple[str, ...] = ()  #: the first that fed this revision


class Queue:
    """Any number of receivers and workers, on any number of machines, may each have one."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, batch: Iterable[Received]) -> tuple[intake.Reopened, ...]:
        """Record instances; those already known are nothing new, other bytes under a known UID a conflict.

        An instance that is new to its series leads it back to RECEIVING: the same revision while nobody
        scored it, the next one otherwise; a lease on the former revision is void.
        """
        with self._store.write() as connection:
            return intake.record(connection, batch, self._store.now())

    def known_paths(self) -> set[str]:
        """Return the spool path of everything recorded, conflicts included."""
        with self._store.read() as connection:
            known = set(connection.scalars(select(instance.c.path)))
            return known | set(connection.scalars(select(conflict.c.path)))

    def released(self, series_instance_uids: Iterable[str], when: datetime) -> None:
        """Note that no open association feeds these series since `when`; a newer instance outweighs it."""
        with self._store.write() as connection:
            for uid in sorted(series_instance_uids):
                ended = move(State.RECEIVING, State.RECEIVING).where(
                    series.c.series_instance_uid == uid, series.c.last_received_at <= when
                )
                connection.execute(ended.values(released_at=when))

    def receiving(self) -> list[Receiving]:
        """Return every series in state RECEIVING."""
        with self._store.read() as connection:
            rows = connection.execute(select(series).where(series.c.state == State.RECEIVING.value)).all()
            return [
                Receiving(
                    series_id=row.id,
                    series_instance_uid=row.series_instance_uid,
                    revision=row.revision,
                    instance_count=row.instance_count,
                    expected_instances=row.expected_instances,
                    learned_instances=intake.learned(connection, row),
                    revision_started_at=row.revision_started_at,
                    last_received_at=row.last_received_at,
                    released_at=row.released_at,
                    associations=associations_of(row.associations),
                )
                for row in rows
            ]

    def close(self, receiving: Receiving, because: str) -> bool:
        """RECEIVING -> COMPLETE; False when an instance came since the evidence was read."""
        now = self._store.now()
        with self._store.write() as connection:
            closed = (
                move(State.RECEIVING, State.COMPLETE)
                .where(
                    series.c.id == receiving.series_id,
                    series.c.revision == receiving.revision,
                    series.c.instance_count == receiving.instance_count,
                )
                .values(closed_at=now, closed_because=because, not_before=now)
            )
            return _hit(connection.execute(closed))

    def claim(self, worker: str, lease_s: float) -> Series | None:
        """COMPLETE -> SCORING for the series that waits longest; None when none waits."""
        now = self._store.now()
        due = (_WAITING.c.state == State.COMPLETE.value, _WAITING.c.not_before <= now)
        oldest = select(_WAITING.c.id).where(*due).order_by(_WAITING.c.not_before, _WAITING.c.id).limit(1)
        with self._store.read() as connection:  # an idle worker takes no write lock
            if connection.execute(oldest).first() is None:
                return None
        claimed = (
            move(State.COMPLETE, State.SCORING)
            .where(series.c.id == oldest.with_for_update(skip_locked=True).scalar_subquery())
            .values(
                attempts=series.c.attempts + 1,
                worker=worker,
                lease_token=str(uuid.uuid4()),
                lease_expires_at=now + timedelta(seconds=lease_s),
            )
            .returning(*series.c)
        )
        with self._store.write() as connection:
            row: Row[Any] | None = connection.execute(claimed).one_or_none()
            if row is None:
                return None
            claim = series_of(row, instances_there(connection, row))
            decided = select(result.c.revision).where(result.c.series_id == row.id)
            former = connection.scalars(decided.order_by(result.c.revision))
            out = images_out(connection, row.id)
            return replace(claim, decided_revisions=tuple(former), images_out=out)

    def heartbeat(self, claimed: Series, lease_s: float) -> bool:
        """Renew a lease; False when it is no longer held."""
        until = self._store.now() + timedelta(seconds=lease_s)
        with self._store.write() as connection:
            renewed = update(series).where(*held(claimed)).values(lease_expires_at=until)
            return _hit(connection.execute(renewed))

    def finish(
        self,
        claimed: Series,
        assessment: Assessment,
        decision: Decision,
        deliveries: Sequence[OutboxItem],
        change: BaselineChange | None = None,
        *,
        publish: Callable[[], None] | None = None,
    ) -> bool:
        """SCORING -> DECIDED (DELIVERED if nothing is to be sent) with all it brings, in one transaction.

        `publish` puts the files that the deliveries name in their place; it is called inside, when nobody
        else can take the claim. Returns False, having written nothing, when the lease is no longer held or a
        late instance made the revision obsolete.
        """
        now = self._store.now()
        decided = move(State.SCORING, State.DECIDED).where(*held(claimed))
        with self._store.write() as connection:
            row = connection.execute(
                decided.values(
                    last_error=None, decided_at=now, **judged(claimed.revision, assessment, decision)
                ).returning(series.c.worker)
            ).one_or_none()
            if row is None:
                return False
            connection.execute(
                insert(result).values(
                    series_id=claimed.series_id,
                    revision=claimed.revision,
                    verdict=decision.verdict.value,
                    quality=None if assessment.quality is None else float(assessment.quality),
                    instance_count=len(claimed.instances),
                    last_received_at=claimed.last_received_at,
                    decided_at=now,
                    worker=row.worker,
                    assessment=dumps(assessment),
                    decision=dumps(decision),
                    weights_sha256=assessment.weights_sha256,
                )
            )
            observe(connection, claimed, assessment, decision, now)
            alarms = () if change is None else apply(connection, change, now)
            insert_items(connection, claimed.series_id, claimed.revision, [*deliveries, *alarms], now)
            deliver_if_done(connection, claimed.series_id)
            if publish is not None:
                publish()
            return True

    def fail(
        self, claimed: Series, reason: str, max_attempts: int, deliveries: Sequence[OutboxItem] = ()
    ) -> State | None:
        """End a failed try: back to COMPLETE after a pause, or FAILED when the tries are used up.

        `deliveries` are due on FAILED only. Returns the new state; None when the lease was lost.
        """
        now = self._store.now()
        state = State.FAILED if claimed.attempts >= max_attempts else State.COMPLETE
        not_before = now + timedelta(seconds=TRY_AGAIN_S * claimed.attempts)
        with self._store.write() as connection:
            ended = move(State.SCORING, state).where(*held(claimed))
            if not _hit(connection.execute(ended.values(last_error=text(reason), not_before=not_before))):
                return None
            if state is State.FAILED:
                insert_items(connection, claimed.series_id, claimed.revision, deliveries, now)
            return state

    def reap(self, max_attempts: int) -> int:
        """Take back the leases that ran out; return how many.

        A series whose workers died `max_attempts` times is FAILED, so that it kills no further one.
        """
        now = self._store.now()
        expired = (
            select(series.c.id, series.c.attempts)
            .where(series.c.state == State.SCORING.value, series.c.lease_expires_at < now)
            .with_for_update(skip_locked=True)
        )
        with self._store.write() as connection:
            rows = connection.execute(expired).all()
            for row in rows:
                state = State.FAILED if row.attempts >= max_attempts else State.COMPLETE
                connection.execute(
                    move(State.SCORING, state)
                    .where(series.c.id == row.id)
                    .values(last_error=_DIED, not_before=now)
                )
            return len(rows)

    def requeue(self, series_instance_uids: Sequence[str] = (), *, failed: bool = False) -> int:
        """Let series be scored again; return how many.

        A FAILED one keeps its revision. A decided one gets the next, whose report supersedes the last.
        Raises StoreError when retention deleted the images of one.
        """
        named = series.c.series_instance_uid.in_(series_instance_uids)
        fresh = {"attempts": 0, "not_before": self._store.now(), "last_error": None}
        count = 0
        with self._store.write() as connection:
            purged = select(series.c.series_instance_uid).where(
                named, series.c.purged_revision == series.c.revision
            )
            for uid in connection.scalars(purged):
                raise StoreError(
                    f"the images of series {uid} were purged: let the archive send them again, and they are "
                    "scored as a new revision"
                )
            again = move(State.FAILED, State.COMPLETE).where(true() if failed else named)
            count += connection.execute(again.values(**fresh)).rowcount
            for state in (State.DECIDED, State.DELIVERED):
                reopened = connection.scalars(
                    move(state, State.RECEIVING)
                    .where(named)
                    .values(revision=series.c.revision + 1, **fresh)
                    .returning(series.c.id)
                ).all()
                # Closed at once: all its instances are known to be there.
                closed = move(State.RECEIVING, State.COMPLETE).where(series.c.id.in_(reopened))
                count += connection.execute(closed).rowcount
        return count

    def failed_unsent(self) -> list[Series]:
        """Return FAILED series without a delivery: their worker died before it could ask for any."""
        asked = exists().where(outbox.c.series_id == series.c.id, outbox.c.revision == series.c.revision)
        with self._store.read() as connection:
            rows = connection.execute(
                select(series).where(series.c.state == State.FAILED.value, ~asked)
            ).all()
            return [series_of(row, instances_there(connection, row)) for row in rows]


def held(claimed: Series) -> tuple[ColumnElement[bool], ...]:
    """Conditions of the series while its claim holds."""
    return (
        series.c.id == claimed.series_id,
        series.c.state == State.SCORING.value,
        series.c.revision == claimed.revision,
        series.c.lease_token == claimed.lease_token,
    )


def _hit(cursor: CursorResult[Any]) -> bool:
    return cursor.rowcount == 1
