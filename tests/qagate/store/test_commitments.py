"""Storage commitment in the store: what senders asked of the gate, what the gate asked of archives."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from qagate.assessment import Assessment, Decision
from qagate.commitment import Basis, CommitmentError, Failed, Reference, Report, Request, TooManyRequests
from qagate.store import commitments as module
from qagate.store.asked import Asked
from qagate.store.commitments import Commitments
from qagate.store.engine import Store, open_store
from qagate.store.outbox import Delivery, Kind, Outbox, OutboxItem, RetryPolicy
from qagate.store.queue import Queue
from qagate.store.transitions import DeliveryState
from qagate.store.views import Views

CT = "1.2.840.10008.5.1.4.1.1.2"
PATHS = ["series/1.2.1/1.dcm", "series/1.2.1/2.dcm"]
POLICY = RetryPolicy(first_s=10, longest_s=60, max_attempts=3, jitter=0)


def references(*uids: str) -> tuple[Reference, ...]:
    return tuple(Reference(sop_class_uid=CT, sop_instance_uid=uid) for uid in uids)


def asking(transaction: str, *uids: str) -> Request:
    return Request(transaction_uid=transaction, references=references(*uids))


def report(transaction: str, *committed: str, failed: tuple[str, ...] = ()) -> Report:
    return Report(
        transaction_uid=transaction,
        committed=references(*committed),
        failed=tuple(Failed(reference=one, reason=0x0112) for one in references(*failed)),
    )


@pytest.fixture
def commitments(store: Store) -> Commitments:
    return Commitments(store)


def test_request_waits_until_it_is_reported(url: str, commitments: Commitments, clock: Any) -> None:
    commitments.keep(asking("1.9", "1.2.1.1", "1.2.1.2"), "CT1", Basis.ARCHIVE)
    clock.pass_s(1)
    commitments.keep(asking("1.9", "1.2.1.3"), "MR1", Basis.SPOOL)
    with open_store(url, clock=clock) as after_restart:
        one, two = Commitments(after_restart).due({"CT1", "MR1"})
    assert (one.ae_title, one.request, one.basis) == (
        "CT1", asking("1.9", "1.2.1.1", "1.2.1.2"), Basis.ARCHIVE
    )  # fmt: skip
    assert (two.ae_title, two.basis) == ("MR1", Basis.SPOOL)
    assert commitments.due({"MR1"}) == [two]
    assert commitments.due(()) == []
    commitments.postpone(one, 5)
    assert commitments.due({"CT1"}) == []
    clock.pass_s(5)
    assert commitments.due({"CT1"}) == [one]
    commitments.mark_reported(one, report("1.9", "1.2.1.1", failed=("1.2.1.2",)))
    clock.pass_s(3600)
    assert commitments.due({"CT1", "MR1"}) == [two]


def test_request_that_comes_again_is_reported_again(commitments: Commitments, clock: Any) -> None:
    commitments.keep(asking("1.9", "1.2.1.1"), "CT1", Basis.ARCHIVE)
    commitments.keep(asking("1.9", "1.2.1.1"), "CT1", Basis.ARCHIVE)
    (one,) = commitments.due({"CT1"})
    commitments.mark_reported(one, report("1.9", "1.2.1.1"))
    assert commitments.due({"CT1"}) == []
    clock.pass_s(100_000)
    commitments.keep(asking("1.9", "1.2.1.1"), "CT1", Basis.ARCHIVE)
    (again,) = commitments.due({"CT1"})
    assert (again.request, again.asked_at) == (one.request, clock()), "the time to become safe begins anew"
    with pytest.raises(CommitmentError, match="other instances"):
        commitments.keep(asking("1.9", "1.2.1.2"), "CT1", Basis.ARCHIVE)


def test_report_that_nobody_takes_is_given_up(commitments: Commitments, clock: Any) -> None:
    commitments.keep(asking("1.9", "1.2.1.1"), "CT1", Basis.ARCHIVE)
    for tries in range(3):
        (one,) = commitments.due({"CT1"})
        assert one.attempts == tries
        commitments.mark_retry(one, "connection refused", POLICY)
        clock.pass_s(60)
    assert commitments.due({"CT1"}) == []


def test_sender_cannot_fill_the_database(commitments: Commitments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    for number in range(3):
        commitments.keep(asking(f"1.{number}", "1.2"), "CT1", Basis.ARCHIVE)
    with pytest.raises(TooManyRequests, match="3 transactions"):
        commitments.keep(asking("1.4", "1.2"), "CT1", Basis.ARCHIVE)
    commitments.keep(asking("1.4", "1.2"), "CT2", Basis.ARCHIVE)


Forward = Callable[..., Delivery]


@pytest.fixture
def forward(
    store: Store, queue: Queue, complete: Callable[..., None], result: tuple[Assessment, Decision]
) -> Forward:
    """Decides a series of two instances and claims its delivery to an archive."""

    def make(*names: str) -> list[Delivery]:
        complete("1.2.1")
        claimed = queue.claim("w", 60)
        assert claimed is not None
        payload = json.dumps(PATHS)
        items = [OutboxItem(kind=Kind.FORWARD, destination=name, payload=payload) for name in names]
        assert queue.finish(claimed, *result, items)
        found = [Outbox(store).claim(60, destination=name) for name in names]
        return [delivery for delivery in found if delivery]

    return make


def test_holdings_follow_the_deliveries(store: Store, commitments: Commitments, forward: Forward) -> None:
    one, two = forward("pacs", "vna")
    uids = ["1.2.1.1", "1.2.1.2", "1.2.1.3"]

    def archives() -> list[frozenset[str]]:
        found = commitments.holdings(uids, {"pacs", "vna"})
        assert set(found) == {"1.2.1.1", "1.2.1.2"}, "the third was never received"
        assert {holding.sop_class_uid for holding in found.values()} == {CT}
        assert [found[uid].path for uid in uids[:2]] == PATHS
        return [found[uid].archives for uid in uids[:2]]

    assert archives() == [frozenset(), frozenset()]
    Outbox(store).mark_sent(one)
    assert archives() == [frozenset({"pacs"})] * 2
    Outbox(store).mark_sent(two)
    assert archives() == [frozenset({"pacs", "vna"})] * 2
    assert commitments.holdings(["1.2.1.1"], {"pacs"})["1.2.1.1"].archives == {"pacs"}


def test_other_bytes_and_other_series_are_ambiguous(
    commitments: Commitments, queue: Queue, arrive: Callable[..., Any]
) -> None:
    queue.record([arrive("1.2.1", 1), arrive("1.2.1", 2)])
    assert not commitments.holdings(["1.2.1.1"], ())["1.2.1.1"].ambiguous
    queue.record([arrive("1.2.1", 1, sha256="f" * 64)])
    found = commitments.holdings(["1.2.1.1", "1.2.1.2"], ())
    assert {uid: holding.ambiguous for uid, holding in found.items()} == {"1.2.1.1": True, "1.2.1.2": False}


def test_long_lists(commitments: Commitments, queue: Queue, arrive: Callable[..., Any]) -> None:
    queue.record([arrive("1.2.1", number) for number in range(1200)])
    uids = [f"1.2.1.{number}" for number in range(2000)]
    assert len(commitments.holdings(uids, {"pacs"})) == 1200


@pytest.fixture
def asked(store: Store) -> Asked:
    return Asked(store)


def state(store: Store) -> tuple[str, str]:
    history = Views(store).history("1.2.1")
    assert history is not None
    return history.row.state, history.deliveries[0].state


def test_all_committed_is_sent(store: Store, asked: Asked, forward: Forward) -> None:
    (delivery,) = forward("pacs")
    asked.ask(delivery.delivery_id, asking("1.9", "1.2.1.1", "1.2.1.2"))
    assert asked.progress(delivery.delivery_id).waiting == {"1.2.1.1", "1.2.1.2"}
    assert asked.wait(delivery, 3600, POLICY) is DeliveryState.PENDING
    assert state(store) == ("DECIDED", "PENDING")
    for wrong in (report("1.8", "1.2.1.1"), report("1.9", "1.2.1.1")):
        with pytest.raises(CommitmentError, match="no such transaction"):
            asked.settle(wrong, {"vna"}, POLICY)
    asked.settle(report("1.9", "1.2.1.1", "1.2.1.2"), {"pacs"}, POLICY)
    assert state(store) == ("DELIVERED", "SENT")
    asked.settle(report("1.9", failed=("1.2.1.1",)), {"pacs"}, POLICY)
    assert state(store) == ("DELIVERED", "SENT"), "a report that comes again changes nothing"


def test_report_before_the_wait(store: Store, asked: Asked, forward: Forward) -> None:
    (delivery,) = forward("pacs")
    asked.ask(delivery.delivery_id, asking("1.9", "1.2.1.1"))
    asked.settle(report("1.9", "1.2.1.1"), {"pacs"}, POLICY)
    assert asked.progress(delivery.delivery_id).done
    assert asked.wait(delivery, 3600, POLICY) is DeliveryState.SENT
    assert state(store) == ("DELIVERED", "SENT")


@pytest.mark.parametrize("early", [True, False])
def test_what_failed_is_due_soon(
    store: Store, asked: Asked, forward: Forward, clock: Any, early: bool
) -> None:
    (delivery,) = forward("pacs")
    asked.ask(delivery.delivery_id, asking("1.9", "1.2.1.1", "1.2.1.2"))
    answer = report("1.9", "1.2.1.1", failed=("1.2.1.2",))
    if early:
        asked.settle(answer, {"pacs"}, POLICY)
    assert asked.wait(delivery, 3600, POLICY) is DeliveryState.PENDING
    if not early:
        asked.settle(answer, {"pacs"}, POLICY)
    clock.pass_s(9)
    assert Outbox(store).claim(60) is None
    clock.pass_s(1)
    again = Outbox(store).claim(60)
    assert again is not None and again.delivery_id == delivery.delivery_id
    progress = asked.progress(delivery.delivery_id)
    assert (progress.committed, progress.failed) == ({"1.2.1.1"}, {"1.2.1.2"})
    asked.ask(delivery.delivery_id, asking("1.10", "1.2.1.2"))
    assert asked.progress(delivery.delivery_id).waiting == {"1.2.1.2"}
    asked.settle(report("1.10", "1.2.1.2"), {"pacs"}, POLICY)
    assert state(store) == ("DELIVERED", "SENT")


def test_what_a_report_leaves_out_is_not_committed(store: Store, asked: Asked, forward: Forward) -> None:
    (delivery,) = forward("pacs")
    asked.ask(delivery.delivery_id, asking("1.9", "1.2.1.1", "1.2.1.2"))
    asked.settle(report("1.9", "1.2.1.1", "1.2.1.7"), {"pacs"}, POLICY)
    assert asked.progress(delivery.delivery_id).waiting == {"1.2.1.2"}
    assert state(store) == ("DECIDED", "SENDING")


def test_silence_ends_as_a_dead_letter_that_a_late_report_revives(
    store: Store, asked: Asked, forward: Forward, clock: Any
) -> None:
    (delivery,) = forward("pacs")
    states = []
    for number in range(3):
        asked.ask(delivery.delivery_id, asking(f"1.{number}", "1.2.1.1"))
        states.append(asked.wait(delivery, 3600, POLICY))
        clock.pass_s(3600)
        delivery = Outbox(store).claim(60) or delivery
    assert states == [DeliveryState.PENDING, DeliveryState.PENDING, DeliveryState.DEAD]
    asked.settle(report("1.0", "1.2.1.1"), {"pacs"}, POLICY)
    assert state(store) == ("DELIVERED", "SENT")
