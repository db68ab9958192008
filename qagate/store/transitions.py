"""Which state may follow which. Every write of a state passes through `move` or `move_delivery`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

from sqlalchemy import Update, update

from qagate.series import State
from qagate.store.errors import IllegalTransition
from qagate.store.schema import outbox, series


class DeliveryState(Enum):
    """Where one outbox row stands."""

    HELD = "HELD"  #: waits in the gate until it is released
    PENDING = "PENDING"  #: waits for its turn
    SENDING = "SENDING"  #: a sender holds the lease
    SENT = "SENT"  #: acknowledged
    DEAD = "DEAD"  #: given up (dead letter); visible and requeueable


SERIES: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.RECEIVING: frozenset({State.RECEIVING, State.COMPLETE}),
        State.COMPLETE: frozenset({State.RECEIVING, State.SCORING}),
        State.SCORING: frozenset({State.RECEIVING, State.COMPLETE, State.DECIDED, State.FAILED}),
        State.DECIDED: frozenset({State.RECEIVING, State.DELIVERED}),
        # A row added later (a person confirms a rejection) re-opens the delivery.
        State.DELIVERED: frozenset({State.RECEIVING, State.DECIDED}),
        State.FAILED: frozenset({State.RECEIVING, State.COMPLETE}),
    }
)
"""A late instance leads from every state to RECEIVING; from SCORING on as a new revision."""

DELIVERY: Mapping[DeliveryState, frozenset[DeliveryState]] = MappingProxyType(
    {
        # Nothing but a release leads out, and nothing leads in: only a new row is held.
        DeliveryState.HELD: frozenset({DeliveryState.PENDING}),
        # To SENT from PENDING and DEAD: the acknowledgement came after the lease had run out.
        DeliveryState.PENDING: frozenset({DeliveryState.SENDING, DeliveryState.SENT}),
        DeliveryState.SENDING: frozenset({DeliveryState.PENDING, DeliveryState.SENT, DeliveryState.DEAD}),
        # The archive was asked, and has not got it.
        DeliveryState.SENT: frozenset({DeliveryState.PENDING}),
        DeliveryState.DEAD: frozenset({DeliveryState.PENDING, DeliveryState.SENT}),
    }
)


def check(old: State, new: State) -> None:
    """Raise IllegalTransition unless a series may go from `old` to `new`."""
    if new not in SERIES[old]:
        raise IllegalTransition(f"a series cannot go from {old.value} to {new.value}")


def check_delivery(old: DeliveryState, new: DeliveryState) -> None:
    """Raise IllegalTransition unless a delivery may go from `old` to `new`."""
    if new not in DELIVERY[old]:
        raise IllegalTransition(f"a delivery cannot go from {old.value} to {new.value}")


def move(old: State, new: State) -> Update:
    """Return an UPDATE of series that are in `old`; whoever leaves SCORING loses the lease."""
    check(old, new)
    values: dict[str, Any] = {"state": new.value}
    if old is State.SCORING:
        values |= {"lease_token": None, "lease_expires_at": None}
    return update(series).where(series.c.state == old.value).values(values)


def move_delivery(old: DeliveryState, new: DeliveryState) -> Update:
    """Return an UPDATE of outbox rows that are in `old`."""
    check_delivery(old, new)
    return update(outbox).where(outbox.c.state == old.value).values(state=new.value)
