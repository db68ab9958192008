"""Deliveries: claimed once, retried with pauses, dead letters, and when a series counts as delivered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from qagate.assessment import Assessment, Decision
from qagate.series import Received, Series
from qagate.store.engine import Store
from qagate.store.errors import StoreError
from qagate.store.outbox import Delivery, Kind, Outbox, OutboxItem, RetryPolicy
from qagate.store.queue import Queue
from qagate.store.transitions import DeliveryState
from qagate.store.views import Views

SR = OutboxItem(kind=Kind.SR, destination="PACS", payload="reports/sr.dcm")
KOS = OutboxItem(kind=Kind.KOS, destination="PACS", payload="reports/kos.dcm")
ALERT = OutboxItem(kind=Kind.ALERT, destination="mail", payload='{"text": "repeat"}')
POLICY = RetryPolicy(first_s=10, longest_s=60, max_attempts=3, jitter=0)

Decide = Callable[..., Series]


@pytest.fixture
def outbox(store: Store) -> Outbox:
    return Outbox(store)


@pytest.fixture
def decide(queue: Queue, complete: Callable[..., None], result: tuple[Assessment, Decision]) -> Decide:
    """Takes a series to DECIDED with outbox rows."""

    def make(*items: OutboxItem, series: str = "1.2.1") -> Series:
        complete(series)
        claimed = queue.claim("w", 60)
        assert claimed is not None
        assert queue.finish(claimed, *result, items)
        return claimed

    return make


def _claim(outbox: Outbox, **only: Any) -> Delivery:
    delivery = outbox.claim(60, **only)
    assert delivery is not None
    return delivery


def _state(store: Store) -> str:
    found = Views(store).history("1.2.1")
    assert found is not None
    return found.row.state


def _rows(store: Store) -> list[tuple[str, str, int]]:
    found = Views(store).history("1.2.1")
    assert found is not None
    return [(row.kind, row.state, row.attempts) for row in found.deliveries]


def test_delivered_with_the_last_acknowledgement(store: Store, outbox: Outbox, decide: Decide) -> None:
    decide(SR, KOS, ALERT)
    for kind in ("SR", "KOS", "ALERT"):
        assert _state(store) == "DECIDED"
        delivery = _claim(outbox)
        assert (delivery.kind.value, delivery.attempts, delivery.series_instance_uid) == (kind, 1, "1.2.1")
        assert outbox.mark_sent(delivery)
        assert not outbox.mark_sent(delivery)
    assert _state(store) == "DELIVERED"
    assert outbox.claim(60) is None


def test_each_thing_once_a_revision(queue: Queue, store: Store, outbox: Outbox, decide: Decide) -> None:
    other_words = OutboxItem(kind=Kind.ALERT, destination="mail", payload="other words")
    series = decide(SR, SR, ALERT, other_words)
    assert [kind for kind, _, _ in _rows(store)] == ["SR", "ALERT"]
    assert outbox.add(series.series_id, 1, [SR, other_words]) == 0
    assert outbox.add(series.series_id, 2, [SR, other_words]) == 2
    with pytest.raises(StoreError, match="series 99 is not in the database"):
        outbox.add(99, 1, [SR])


def test_a_row_added_later_reopens_the_delivery(store: Store, outbox: Outbox, decide: Decide) -> None:
    series = decide()
    assert _state(store) == "DELIVERED"
    assert outbox.add(series.series_id, 1, [KOS]) == 1
    assert _state(store) == "DECIDED"
    assert outbox.add(series.series_id, 1, [KOS]) == 0
    assert outbox.mark_sent(_claim(outbox))
    assert _state(store) == "DELIVERED"


def test_claim_by_kind_and_destination(outbox: Outbox, decide: Decide) -> None:
    decide(SR, KOS, ALERT)
    assert outbox.claim(60, destination="elsewhere") is None
    assert outbox.claim(60, kinds=[Kind.FORWARD]) is None
    assert _claim(outbox, destination="mail").kind is Kind.ALERT
    assert _claim(outbox, kinds=[Kind.KOS, Kind.ALERT]).kind is Kind.KOS


def test_retries_then_dead_then_requeued(store: Store, outbox: Outbox, clock: Any, decide: Decide) -> None:
    decide(SR)
    for wait in (10, 20):
        retry = outbox.mark_retry(_claim(outbox), "refused\x00", POLICY)
        assert retry is not None and retry.state is DeliveryState.PENDING
        assert retry.not_before is not None
        assert (retry.not_before - clock()).total_seconds() == wait
        clock.pass_s(wait - 1)
        assert outbox.claim(60) is None
        clock.pass_s(1)
    retry = outbox.mark_retry(_claim(outbox), "refused", POLICY)
    assert retry is not None and retry.state is DeliveryState.DEAD
    assert outbox.claim(60) is None
    assert _state(store) == "DECIDED"
    (dead,) = Views(store).overview().stuck
    assert (dead.state, dead.attempts, dead.last_error) == ("DEAD", 3, "refused")
    assert outbox.requeue_dead("1.2.99") == 0
    assert outbox.requeue_dead() == 1
    delivery = _claim(outbox)
    assert delivery.attempts == 1
    assert outbox.mark_sent(delivery)
    assert _state(store) == "DELIVERED"


def test_waits_double_up_to_the_cap() -> None:
    policy = RetryPolicy(first_s=5, longest_s=60, max_attempts=2000, jitter=0)
    assert [policy.wait_s(n) for n in (1, 2, 3, 4, 5, 1999, 2000)] == [5, 10, 20, 40, 60, 60, None]
    jittered = [RetryPolicy(first_s=8, jitter=0.25).wait_s(1) for _ in range(100)]
    assert all(wait is not None and 6 <= wait <= 8 for wait in jittered)
    assert len(set(jittered)) > 1


def test_an_expired_send_goes_back_but_an_alert_is_not_repeated(
    store: Store, outbox: Outbox, clock: Any, decide: Decide
) -> None:
    decide(SR, ALERT)
    report, alert = _claim(outbox), _claim(outbox)
    clock.pass_s(59)
    assert outbox.heartbeat(report, 60)
    assert outbox.reap() == 0
    clock.pass_s(2)
    assert outbox.reap() == 1
    assert _rows(store) == [("SR", "SENDING", 1), ("ALERT", "DEAD", 1)]
    clock.pass_s(60)
    assert outbox.reap() == 1
    assert _rows(store) == [("SR", "PENDING", 1), ("ALERT", "DEAD", 1)]
    assert not outbox.heartbeat(report, 60)
    assert outbox.mark_retry(report, "late", POLICY) is None
    assert outbox.mark_dead(report, "late") is None
    # The acknowledgements come after all: they were sent.
    assert outbox.mark_sent(alert)
    again = _claim(outbox)
    assert not outbox.mark_sent(report)
    assert outbox.mark_sent(again)
    assert _state(store) == "DELIVERED"


def test_alerts_are_repeated_when_asked_to(store: Store, outbox: Outbox, clock: Any, decide: Decide) -> None:
    decide(ALERT)
    _claim(outbox)
    clock.pass_s(61)
    assert outbox.reap(resend_alerts=True) == 1
    assert _rows(store) == [("ALERT", "PENDING", 1)]


def test_a_send_that_kills_senders_dies(store: Store, outbox: Outbox, clock: Any, decide: Decide) -> None:
    decide(SR)
    for _ in range(2):
        _claim(outbox)
        clock.pass_s(61)
        assert outbox.reap(max_attempts=2) == 1
    assert _rows(store) == [("SR", "DEAD", 2)]


def test_rows_of_an_old_revision_are_delivered_but_do_not_count(
    queue: Queue, store: Store, outbox: Outbox, decide: Decide, arrive: Callable[..., Received], result: Any
) -> None:
    decide(SR)
    queue.record([arrive(number=3)])
    assert outbox.mark_sent(_claim(outbox))
    assert _state(store) == "RECEIVING"
    assert queue.close(queue.receiving()[0], "quiet")
    claimed = queue.claim("w", 60)
    assert claimed is not None
    assert queue.finish(claimed, *result, [SR])
    assert _state(store) == "DECIDED"
    delivery = _claim(outbox)
    assert delivery.revision == 2
    assert outbox.mark_sent(delivery)
    assert _state(store) == "DELIVERED"


def test_two_senders_that_end_at_once_leave_nothing_undelivered(
    store: Store, outbox: Outbox, decide: Decide
) -> None:
    for number in range(15):
        decide(SR, KOS, series=f"1.2.{number}")
    claims = [_claim(outbox) for _ in range(30)]
    barrier = threading.Barrier(2)

    def send(mine: list[Delivery]) -> None:
        for delivery in mine:
            barrier.wait(30)
            assert outbox.mark_sent(delivery)

    threads = [threading.Thread(target=send, args=(claims[start::2],)) for start in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Views(store).overview().counts == {"DELIVERED": 15}
