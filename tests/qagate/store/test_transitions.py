"""The two tables of states."""

from __future__ import annotations

import pytest

from qagate.series import State
from qagate.store.errors import IllegalTransition
from qagate.store.outbox import Kind
from qagate.store.schema import DELIVERY_STATES, KINDS
from qagate.store.transitions import (
    DELIVERY,
    SERIES,
    DeliveryState,
    check,
    check_delivery,
    move,
    move_delivery,
)


def test_every_state_has_its_row() -> None:
    assert set(SERIES) == set(State)
    assert set(DELIVERY) == set(DeliveryState)
    assert tuple(state.value for state in DeliveryState) == DELIVERY_STATES
    assert tuple(kind.value for kind in Kind) == KINDS


@pytest.mark.parametrize("old", State)
def test_every_state_leads_back_to_receiving(old: State) -> None:
    check(old, State.RECEIVING)


@pytest.mark.parametrize("old", State)
@pytest.mark.parametrize("new", State)
def test_a_move_off_the_table_names_both(old: State, new: State) -> None:
    if new in SERIES[old]:
        move(old, new)
        return
    with pytest.raises(IllegalTransition, match=f"from {old.value} to {new.value}"):
        move(old, new)


@pytest.mark.parametrize("old", DeliveryState)
@pytest.mark.parametrize("new", DeliveryState)
def test_a_delivery_off_the_table_names_both(old: DeliveryState, new: DeliveryState) -> None:
    if new in DELIVERY[old]:
        check_delivery(old, new)
        return
    with pytest.raises(IllegalTransition, match=f"from {old.value} to {new.value}"):
        move_delivery(old, new)


def test_only_a_worker_that_holds_the_claim_decides() -> None:
    assert [old for old in State if State.DECIDED in SERIES[old]] == [State.SCORING, State.DELIVERED]
