"""What the gate asked archives to commit to: a delivery counts as sent when all of it is committed."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, select, update

from qagate.commitment import CommitmentError, Report, Request
from qagate.store.engine import Store
from qagate.store.outbox import Delivery, RetryPolicy, held
from qagate.store.posting import deliver_if_done
from qagate.store.schema import commitment_request, outbox
from qagate.store.transitions import DeliveryState, move_delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """SOP Instance UIDs of one delivery, by what the archive last said. One in no set was never asked for."""

    committed: frozenset[str] = frozenset()
    waiting: frozenset[str] = frozenset()  #: asked for, not answered
    failed: frozenset[str] = frozenset()  #: the archive does not have them

    @property
    def done(self) -> bool:
        """All of the delivery is committed."""
        return bool(self.committed) and not self.waiting and not self.failed


class Asked:
    """The transactions of the gate, and what their answers do to its deliveries."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def progress(self, delivery_id: int) -> Progress:
        """How far one delivery is."""
        with self._store.read() as connection:
            return _progress(connection, delivery_id)

    def ask(self, delivery_id: int, request: Request) -> None:
        """Keep a request, before it is sent. It names everything of the delivery not yet committed."""
        with self._store.write() as connection:
            connection.execute(
                commitment_request.insert().values(
                    outbox_id=delivery_id,
                    transaction_uid=request.transaction_uid,
                    sop_instances=json.dumps([one.sop_instance_uid for one in request.references]),
                    asked_at=self._store.now(),
                )
            )

    def settle(self, report: Report, archives: Collection[str], policy: RetryPolicy) -> None:
        """Take a report of one of these archives; a repeated one changes nothing.

        The delivery becomes SENT when all of it is committed; what failed is sent again after a pause.
        Raises CommitmentError when none of these archives was asked this.
        """
        now = self._store.now()
        with self._store.write() as connection:
            row = connection.execute(
                select(
                    commitment_request.c.id.label("request_id"),
                    commitment_request.c.sop_instances,
                    commitment_request.c.answered_at,
                    *(outbox.c[name] for name in ("id", "series_id", "state", "attempts", "destination")),
                )
                .join(outbox, outbox.c.id == commitment_request.c.outbox_id)
                .where(commitment_request.c.transaction_uid == report.transaction_uid)
                .with_for_update()
            ).one_or_none()
            if row is None or row.destination not in archives:
                raise CommitmentError("no such transaction was asked of this archive")
            if row.answered_at is not None:
                return
            asked = set(json.loads(row.sop_instances))
            committed = asked.intersection(one.sop_instance_uid for one in report.committed)
            reasons = {one.reference.sop_instance_uid: one.reason for one in report.failed}
            failed = {uid: reason for uid, reason in reasons.items() if uid in asked}
            connection.execute(
                update(commitment_request)
                .where(commitment_request.c.id == row.request_id)
                .values(
                    answered_at=now,
                    committed=json.dumps(sorted(committed - failed.keys())),
                    failed=json.dumps(failed),
                )
            )
            state = DeliveryState(row.state)
            if state is not DeliveryState.SENT and _progress(connection, row.id).done:
                connection.execute(
                    move_delivery(state, DeliveryState.SENT)
                    .where(outbox.c.id == row.id)
                    .values(sent_at=now, lease_expires_at=None, last_error=None)
                )
                deliver_if_done(connection, row.series_id)
            elif failed and state is DeliveryState.PENDING:
                wait = policy.wait_s(row.attempts) or policy.longest_s
                connection.execute(
                    update(outbox)
                    .where(outbox.c.id == row.id)
                    .values(not_before=now + timedelta(seconds=wait), last_error=_why(failed))
                )

    def wait(self, delivery: Delivery, wait_s: float, policy: RetryPolicy) -> DeliveryState | None:
        """Let a delivery that was sent and asked for wait for its report; return where it stands.

        Asked again after `wait_s` seconds, or sooner when the archive has said that it lacks something;
        DEAD when its tries are used up. None when the lease was lost.
        """
        with self._store.write() as connection:
            state = held(connection, delivery)
            if state is not DeliveryState.SENDING:
                return state
            failed = _progress(connection, delivery.delivery_id).failed
            retry_s = policy.wait_s(delivery.attempts)
            new = DeliveryState.PENDING if retry_s is not None else DeliveryState.DEAD
            pause, error = wait_s, f"after {delivery.attempts} tries the archive has not committed to it"
            if failed:
                pause, error = retry_s or 0.0, _lacks(len(failed))
            # The first wait is no trouble yet, and must not look like one.
            usual = new is DeliveryState.PENDING and not failed and delivery.attempts == 1
            connection.execute(
                move_delivery(state, new)
                .where(outbox.c.id == delivery.delivery_id)
                .values(
                    not_before=self._store.now() + timedelta(seconds=pause),
                    lease_expires_at=None,
                    last_error=None if usual else error,
                )
            )
            return new


def _progress(connection: Connection, delivery_id: int) -> Progress:
    rows = connection.execute(
        select(commitment_request)
        .where(commitment_request.c.outbox_id == delivery_id)
        .order_by(commitment_request.c.id)
    )
    said: dict[str, str] = {}
    for row in rows:  # a later request's answer counts
        committed = set(json.loads(row.committed or "[]"))
        failed = json.loads(row.failed or "{}")
        for uid in json.loads(row.sop_instances):
            if uid in committed:
                said[uid] = "committed"
            elif uid in failed:
                said[uid] = "failed"
            elif said.get(uid) != "committed":
                said[uid] = "waiting"
    return Progress(
        **{
            name: frozenset(uid for uid, word in said.items() if word == name)
            for name in ("committed", "waiting", "failed")
        }
    )


def _why(failed: dict[str, int]) -> str:
    reasons = ", ".join(f"0x{reason:04X}" for reason in sorted(set(failed.values())))
    return f"{_lacks(len(failed))} ({reasons})"


def _lacks(count: int) -> str:
    return f"the archive does not commit to {count} instance(s): they are sent again"
