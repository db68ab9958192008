"""What the control page asks: counts, waits, speed, what is stuck and where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qagate.refusal import Refusal
from qagate.store.engine import Store
from qagate.store.health import Health
from qagate.store.outbox import Kind, Outbox, OutboxItem, RetryPolicy
from qagate.store.queue import Queue
from qagate.store.refusals import Refusals


@pytest.fixture
def decided(queue: Queue, complete: Callable[..., None], result: Any, clock: Any) -> Callable[..., None]:
    """Receives a series and decides it after some seconds, with deliveries."""

    def make(uid: str, *destinations: str, after_s: float = 10) -> None:
        complete(uid)
        clock.pass_s(after_s)
        claimed = queue.claim("w", 60)
        assert claimed is not None
        items = [OutboxItem(kind=Kind.SR, destination=name, payload=f"{uid}.dcm") for name in destinations]
        assert queue.finish(claimed, *result, items)

    return make


def test_an_empty_store_is_well(store: Store) -> None:
    health = Health(store)
    found = health.queue()
    assert (dict(found.counts), found.oldest_waiting, found.median_s, found.refused_today) == (
        {},
        None,
        None,
        0,
    )
    assert health.failed(9) == health.stuck(9) == health.destinations() == ()
    assert [(one.name, one.waiting, one.last_sent) for one in health.destinations(("pacs",))] == [
        ("pacs", 0, None)
    ]


def test_counts_waits_and_speed(
    store: Store, queue: Queue, complete: Callable[..., None], decided: Callable[..., None], clock: Any
) -> None:
    for number, seconds in enumerate((10, 20, 60)):
        decided(f"1.2.{number}", after_s=seconds)
    complete("1.2.9")
    closed = clock()
    clock.pass_s(30)
    for status in (0xA700, 0x010103):  # an instance and an association
        Refusals(store).record(
            Refusal(
                status=status, reason="full", sop_class_uid="1", sop_instance_uid="2",
                calling_ae_title="CT", address="127.0.0.1", refused_at=clock(),
            )
        )  # fmt: skip
    found = Health(store).queue()
    assert dict(found.counts) == {"DELIVERED": 3, "COMPLETE": 1}
    assert (found.oldest_waiting, found.median_s, found.p95_s) == (closed, 20.0, 60.0)
    assert (found.refused_today, found.rejected_today) == (1, 1)
    clock.pass_s(2 * 86_400)
    assert Health(store).queue().refused_today == 0


def test_a_series_that_failed_is_named(store: Store, queue: Queue, complete: Callable[..., None]) -> None:
    complete("1.2.5")
    claimed = queue.claim("w", 60)
    assert claimed is not None
    queue.fail(claimed, "no pixels", 1)
    (one,) = Health(store).failed(9)
    assert (one.series_instance_uid, one.station, one.last_error) == ("1.2.5", "CT1", "no pixels")


def test_deliveries_are_counted_by_destination(
    store: Store, decided: Callable[..., None], clock: Any
) -> None:
    outbox, policy = Outbox(store), RetryPolicy(jitter=0)
    made = clock()
    decided("1.2.1", "pacs", "vna", after_s=0)
    decided("1.2.2", "pacs", "vna", after_s=0)
    sent = outbox.claim(60, destination="vna")
    assert sent is not None and outbox.mark_sent(sent)
    failing = outbox.claim(60, destination="pacs")
    assert failing is not None and outbox.mark_retry(failing, "refused", policy)
    dead = outbox.claim(60, destination="pacs")
    assert dead is not None and outbox.mark_dead(dead, "gone for good")
    pacs, vna = Health(store).destinations(("pacs",))
    assert (pacs.waiting, pacs.retried, pacs.dead, pacs.last_error) == (0, 1, 1, "gone for good")
    assert (vna.waiting, vna.retried, vna.dead, vna.last_error) == (1, 0, 0, None)
    assert pacs.oldest == made and pacs.last_sent is None and vna.last_sent == clock()
    first, second = Health(store).stuck(9)
    assert (first.state, second.state, second.series_instance_uid) == ("DEAD", "PENDING", "1.2.1")
    assert len(Health(store).stuck(1)) == 1
