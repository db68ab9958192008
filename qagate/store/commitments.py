"""What senders asked the gate to commit to, until they were told; and what the gate can say of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, func, select, update

from qagate.commitment import Basis, CommitmentError, Reference, Report, Request, TooManyRequests
from qagate.store.engine import Store
from qagate.store.outbox import Kind, RetryPolicy
from qagate.store.rows import text
from qagate.store.schema import commitment, conflict, instance, outbox
from qagate.store.transitions import DeliveryState

MOST_WAITING = 1000  #: transactions of one sender
_BATCH = 500  #: parameters of one query
_DUE = 50  #: transactions looked at together
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One request that waits for its report."""

    transaction_id: int  #: the store's key
    request: Request
    ae_title: str  #: of who asked
    basis: Basis
    asked_at: datetime  #: UTC
    attempts: int  #: reports that were not acknowledged


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What the gate knows of one SOP instance."""

    sop_class_uid: str
    path: str  #: relative to the spool's root
    sha256: str  #: of the data set
    ambiguous: bool  #: other bytes, or another series, came under this SOP Instance UID as well
    archives: frozenset[str]  #: archives that hold it, by each one's delivery rule


class Commitments:
    """The transactions of senders. Rows of those reported stay, as a record."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, request: Request, ae_title: str, basis: Basis) -> None:
        """Keep a request until it is reported; one that came before is reported again.

        Raises CommitmentError when the transaction UID stood for other instances, TooManyRequests.
        """
        asked = json.dumps([[one.sop_class_uid, one.sop_instance_uid] for one in request.references])
        now = self._store.now()
        own = (commitment.c.ae_title == ae_title, commitment.c.transaction_uid == request.transaction_uid)
        waits = {"state": "WAITING", "asked_at": now, "not_before": now, "attempts": 0, "basis": basis.value}
        with self._store.write() as connection:
            former = connection.execute(
                select(commitment.c.sop_instances).where(*own).with_for_update()
            ).scalar_one_or_none()
            if former is not None:
                if former != asked:
                    raise CommitmentError("this transaction UID stood for other instances")
                connection.execute(update(commitment).where(*own).values(waits))
                return
            waiting = connection.execute(
                select(func.count()).where(commitment.c.ae_title == ae_title, commitment.c.state == "WAITING")
            ).scalar_one()
            if waiting >= MOST_WAITING:
                raise TooManyRequests(f"{waiting} transactions of this sender wait")
            connection.execute(
                commitment.insert().values(
                    ae_title=ae_title,
                    transaction_uid=request.transaction_uid,
                    sop_instances=asked,
                    **waits,
                )
            )

    def due(self, ae_titles: Collection[str]) -> list[Transaction]:
        """The transactions of these senders that are to be looked at now, oldest first."""
        if not ae_titles:
            return []
        query = (
            select(commitment)
            .where(
                commitment.c.state == "WAITING",
                commitment.c.ae_title.in_(list(ae_titles)),
                commitment.c.not_before <= self._store.now(),
            )
            .order_by(commitment.c.not_before, commitment.c.id)
            .limit(_DUE)
        )
        with self._store.read() as connection:
            rows = connection.execute(query).all()
        return [
            Transaction(
                transaction_id=row.id,
                request=Request(
                    transaction_uid=row.transaction_uid,
                    references=tuple(
                        Reference(sop_class_uid=one, sop_instance_uid=two)
                        for one, two in json.loads(row.sop_instances)
                    ),
                ),
                ae_title=row.ae_title,
                basis=Basis(row.basis),
                asked_at=row.asked_at,
                attempts=row.attempts,
            )
            for row in rows
        ]

    def postpone(self, transaction: Transaction, wait_s: float) -> None:
        """Look at a transaction again after some seconds."""
        self._set(transaction, not_before=self._store.now() + timedelta(seconds=wait_s))

    def mark_reported(self, transaction: Transaction, report: Report) -> None:
        """Record that the sender has acknowledged its report."""
        self._set(
            transaction,
            state="REPORTED",
            reported_at=self._store.now(),
            failed=json.dumps({one.reference.sop_instance_uid: one.reason for one in report.failed}),
            last_error=None,
        )

    def mark_retry(self, transaction: Transaction, error: str, policy: RetryPolicy) -> None:
        """Record a report that was not acknowledged; given up after the policy's tries."""
        attempts = transaction.attempts + 1
        wait = policy.wait_s(attempts)
        self._set(
            transaction,
            state="DEAD" if wait is None else "WAITING",
            attempts=attempts,
            not_before=self._store.now() + timedelta(seconds=wait or 0),
            last_error=text(error),
        )

    def _set(self, transaction: Transaction, **values: object) -> None:
        with self._store.write() as connection:
            connection.execute(
                update(commitment)
                .where(commitment.c.id == transaction.transaction_id, commitment.c.state == "WAITING")
                .values(values)
            )

    def holdings(self, sop_instance_uids: Sequence[str], archives: Collection[str]) -> Mapping[str, Holding]:
        """What the gate has of these instances; those it never received are left out.

        archives: names of the archives that matter.
        """
        with self._store.read() as connection:
            found: defaultdict[str, list[Row[Any]]] = defaultdict(list)
            for part in _parts(sop_instance_uids):
                for row in connection.execute(select(instance).where(instance.c.sop_instance_uid.in_(part))):
                    found[row.sop_instance_uid].append(row)
            series_ids = {row.series_id for rows in found.values() for row in rows}
            disputed = _disputed(connection, series_ids)
            held = _held_by(connection, series_ids, archives)
        return {
            uid: Holding(
                sop_class_uid=rows[0].sop_class_uid,
                path=rows[0].path,
                sha256=rows[0].sha256,
                ambiguous=len(rows) > 1 or (rows[0].series_id, uid) in disputed,
                archives=frozenset(
                    name for name in archives if rows[0].path in held[rows[0].series_id, name]
                ),
            )
            for uid, rows in found.items()
        }


def _parts(values: Iterable[_T]) -> Iterator[list[_T]]:
    """Split what one query has too many parameters for."""
    rest = iter(values)
    while part := list(islice(rest, _BATCH)):
        yield part


def _disputed(connection: Connection, series_ids: Iterable[int]) -> set[tuple[int, str]]:
    """(series, SOP Instance UID) under which other bytes came as well."""
    return {
        (row.series_id, row.sop_instance_uid)
        for part in _parts(series_ids)
        for row in connection.execute(
            select(conflict.c.series_id, conflict.c.sop_instance_uid).where(conflict.c.series_id.in_(part))
        )
    }


def _held_by(
    connection: Connection, series_ids: Iterable[int], archives: Collection[str]
) -> Mapping[tuple[int, str], set[str]]:
    """(series, archive) -> the spool paths that were sent there and acknowledged."""
    held: defaultdict[tuple[int, str], set[str]] = defaultdict(set)
    for part in _parts(series_ids):
        rows = connection.execute(
            select(outbox.c.series_id, outbox.c.destination, outbox.c.payload).where(
                outbox.c.series_id.in_(part),
                outbox.c.kind == Kind.FORWARD.value,
                outbox.c.state == DeliveryState.SENT.value,
                outbox.c.destination.in_(list(archives)),
            )
        )
        for row in rows:
            held[row.series_id, row.destination].update(json.loads(row.payload))
    return held
