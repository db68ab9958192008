"""Held series: nothing of them leaves, everything of them is released at once, once, and in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from qagate.assessment import Assessment, Decision
from qagate.commitment import Basis, Reference, Request
from qagate.committing import Judge
from qagate.dicom.spool import Spool
from qagate.series import Series, State
from qagate.store.audit import Trail
from qagate.store.commitments import Commitments
from qagate.store.engine import Store, open_store
from qagate.store.figures import figures
from qagate.store.health import Health
from qagate.store.holds import Holds, UnknownSeries
from qagate.store.ledger import Ledger
from qagate.store.notices import Notices
from qagate.store.outbox import Kind, Outbox, OutboxItem
from qagate.store.queue import Queue
from qagate.store.reconciliations import Reconciliations
from qagate.store.rejections import Changed, Rejections
from qagate.store.retention import Retention
from qagate.store.views import Views
from qagate.store.worklist import Filter, Only, Worklist

UID = "1.2.1"
Result = tuple[Assessment, Decision]


def items(held: bool, revision: int = 1) -> list[OutboxItem]:
    images = f'["series/{UID}/1.dcm", "series/{UID}/2.dcm"]'
    return [
        OutboxItem(kind=Kind.ALERT, destination="console", payload="{}"),
        OutboxItem(kind=Kind.SR, destination="pacs", payload=f"{revision}.dcm", held=held),
        OutboxItem(kind=Kind.FORWARD, destination="pacs", payload=images, held=held),
    ]


class Desk:
    """One store and what is asked of it."""

    def __init__(self, store: Store, complete: Callable[..., None], result: Result) -> None:
        self.store, self._complete, self._result = store, complete, result
        self.queue, self.outbox, self.holds = Queue(store), Outbox(store), Holds(store)

    def decide(self, *, held: bool = True, count: int = 2) -> Series:
        """One more revision: with a new instance each time `count` grows."""
        self._complete(UID, count)
        claimed = self.queue.claim("w", 60)
        assert claimed is not None
        assert self.queue.finish(claimed, *self._result, items(held, claimed.revision))
        return claimed

    def states(self) -> list[tuple[int, str, str]]:
        found = Views(self.store).history(UID)
        assert found is not None
        return [(one.revision, one.kind, one.state) for one in found.deliveries]

    def send(self) -> list[str]:
        """Deliver all that is due; the kinds, in order."""
        kinds = []
        while (delivery := self.outbox.claim(60)) is not None:
            kinds.append(delivery.kind.value)
            assert self.outbox.mark_sent(delivery)
        return kinds

    @property
    def state(self) -> str:
        found = Views(self.store).history(UID)
        assert found is not None
        return found.row.state


@pytest.fixture
def desk(store: Store, complete: Callable[..., None], result: Result) -> Desk:
    """A store with nothing in it."""
    return Desk(store, complete, result)


def acts(desk: Desk) -> list[tuple[str, str]]:
    return [(one.actor, one.act) for one in reversed(Trail(desk.store).newest())]


def test_only_the_alert_leaves_a_held_series(desk: Desk, clock: Any) -> None:
    desk.decide()
    assert desk.send() == ["ALERT"]
    assert desk.states() == [(1, "ALERT", "SENT"), (1, "SR", "HELD"), (1, "FORWARD", "HELD")]
    clock.pass_s(100_000)
    desk.outbox.reap()
    assert desk.send() == [] and desk.state == "DECIDED"
    assert desk.holds.release(UID, actor="anna", reason="good enough")
    assert desk.send() == ["SR", "FORWARD"] and desk.state == "DELIVERED"
    (entry,) = Trail(desk.store).newest()
    assert (entry.actor, entry.act, entry.series_instance_uid) == ("anna", "release", UID)
    assert entry.details == {"revision": 1, "deliveries": 2, "reason": "good enough"}


def test_a_second_release_does_nothing_and_an_unknown_series_is_named(desk: Desk) -> None:
    desk.decide()
    assert desk.holds.release(UID, actor="anna")
    assert not desk.holds.release(UID, actor="ben")
    assert acts(desk) == [("anna", "release")]
    with pytest.raises(UnknownSeries, match=r"1\.9"):
        desk.holds.release("1.9", actor="anna")


def test_of_many_who_release_at_once_one_does(desk: Desk, url: str, clock: Any) -> None:
    desk.decide()
    start, done = threading.Barrier(7), []

    def click(name: str) -> None:
        with open_store(url, clock=clock) as store:
            start.wait()
            done.append(Holds(store).release(UID, actor=name))

    def deliver() -> None:
        with open_store(url, clock=clock) as store:
            start.wait()
            for _ in range(20):
                delivery = Outbox(store).claim(60)
                if delivery is not None:
                    assert Outbox(store).mark_sent(delivery)

    threads = [threading.Thread(target=click, args=(f"p{n}",)) for n in range(5)]
    threads += [threading.Thread(target=deliver) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    desk.send()
    assert sorted(done) == [False] * 4 + [True] and len(acts(desk)) == 1
    assert desk.state == "DELIVERED"
    assert Trail(desk.store).verify().rows == 1


def test_the_time_limit_counts_from_the_first_decision(desk: Desk, clock: Any) -> None:
    desk.decide()
    since = clock()
    clock.pass_s(50)
    desk.decide(count=3)
    clock.pass_s(9)
    assert desk.holds.release_waiting(since - timedelta(seconds=1), "limit") == ()
    assert [one.since for one in desk.holds.all()] == [since]
    assert desk.holds.release_waiting(since, "held for 60 s") == (UID,)
    assert acts(desk) == [("gate", "release")]
    assert desk.send() == ["ALERT", "ALERT", "SR", "FORWARD", "SR", "FORWARD"]


@pytest.mark.parametrize("held", [True, False])
def test_a_held_revision_follows_the_newest_decision(desk: Desk, held: bool) -> None:
    desk.decide()
    second = desk.decide(held=held, count=3)
    assert second.revision == 2 and not second.images_out
    assert {state for _, kind, state in desk.states() if kind != "ALERT"} == (
        {"HELD"} if held else {"PENDING"}
    )
    assert acts(desk) == ([] if held else [("gate", "release")])
    if held:
        assert desk.holds.release(UID, actor="anna")
    desk.send()
    assert {state for *_, state in desk.states()} == {"SENT"} and desk.state == "DELIVERED"


def test_what_comes_after_a_release_is_not_held_apart_from_it(desk: Desk) -> None:
    desk.decide()
    assert desk.holds.release(UID, actor="anna")
    late = desk.decide(count=3)
    assert late.images_out
    assert "HELD" not in {state for *_, state in desk.states()}


def test_a_failure_forwards_or_holds_as_set(desk: Desk, complete: Any) -> None:
    complete(UID)
    images = items(True)[2]
    claimed = desk.queue.claim("w", 60)
    assert claimed is not None
    assert desk.queue.fail(claimed, "broken", 1, [images]) is State.FAILED
    assert desk.send() == [] and desk.holds.waiting().count == 1
    assert desk.queue.requeue(failed=True) == 1
    claimed = desk.queue.claim("w", 60)
    assert claimed is not None and claimed.revision == 1
    assert desk.send() == [], "scored again is not released"
    good = [
        OutboxItem(kind=one.kind, destination=one.destination, payload=one.payload) for one in items(False)
    ]
    assert desk.queue.finish(claimed, *desk._result, good)
    assert sorted(desk.send()) == ["ALERT", "FORWARD", "SR"], "the row that was held is the same one"


def test_requeues_release_nothing(desk: Desk) -> None:
    desk.decide()
    desk.send()
    assert desk.outbox.requeue_dead() == 0 == desk.outbox.requeue_dead(UID)
    assert desk.queue.requeue([UID]) == 1
    assert desk.send() == []
    again = desk.queue.claim("w", 60)
    assert again is not None and again.decided_revisions == (1,)
    assert desk.queue.finish(again, *desk._result, items(True, 2))
    assert desk.send() == ["ALERT"]


def test_books_and_retention_know_it_as_held(desk: Desk, clock: Any) -> None:
    desk.decide()
    desk.send()
    clock.pass_s(3600)
    found = Reconciliations(desk.store).count(clock().date())
    assert (found.received, found.decided, found.delivered, found.held, found.differences) == (1, 1, 0, 1, ())
    assert Ledger(desk.store).contradictions() == []
    Ledger(desk.store).mend()
    assert desk.state == "DECIDED"
    attention = Notices(desk.store).attention()
    assert (attention.held, attention.undelivered, attention.total) == (1, 0, 0)
    now = figures(desk.store)
    assert (now.held, now.oldest_held_s) == (1, 3600.0)
    (pacs,) = [one for one in Health(desk.store).destinations() if one.name == "pacs"]
    assert (pacs.held, pacs.waiting, pacs.retried, pacs.dead) == (2, 0, 0, 0)
    (row,) = Worklist(desk.store).page(Filter(only=Only.HELD)).rows
    assert row.held_since is not None and row.undelivered == 0
    assert Views(desk.store).overview().held.count == 1
    retention = Retention(desk.store)
    clock.pass_s(10_000_000)
    assert retention.oldest(clock(), 10) == () and retention.begin(1) is None
    assert desk.holds.release(UID, actor="anna")
    assert Notices(desk.store).attention().undelivered == 0, "released is not late yet"
    desk.send()
    assert retention.oldest(clock(), 10) == (1,)
    assert not Worklist(desk.store).page(Filter(only=Only.HELD)).rows


def test_a_scanner_is_told_nothing_of_its_images_while_they_are_held(desk: Desk, tmp_path: Any) -> None:
    desk.decide()
    desk.send()
    commitments = Commitments(desk.store)
    ct = "1.2.840.10008.5.1.4.1.1.2"
    asked = tuple(Reference(sop_class_uid=ct, sop_instance_uid=f"{UID}.{n}") for n in (1, 2))
    commitments.keep(Request(transaction_uid="1.5", references=asked), "SCANNER", Basis.ARCHIVE)
    judge = Judge(
        store=desk.store, commitments=commitments, spool=Spool(tmp_path), archives=["pacs"], wait_s=9e9
    )
    (transaction,) = commitments.due(["SCANNER"])
    assert judge.report(transaction) is None
    assert desk.holds.release(UID, actor="anna")
    assert judge.report(transaction) is None, "released is not stored yet"
    desk.send()
    report = judge.report(transaction)
    assert report is not None and report.committed == asked


# -- rejections --------------------------------------------------------------------------------


def note(destination: str = "pacs") -> OutboxItem:
    return OutboxItem(kind=Kind.REJECTION, destination=destination, payload="note.dcm")


def rejectable(desk: Desk) -> Series:
    subject = Rejections(desk.store).subject(UID)
    assert subject is not None
    return subject.series


@pytest.mark.parametrize("held", [True, False])
def test_the_note_follows_the_images(desk: Desk, held: bool) -> None:
    desk.decide(held=held)
    done = Rejections(desk.store).reject(rejectable(desk), [note(), note("viewer")], actor="anna", reason="r")
    assert done and acts(desk) == [("anna", "reject")]
    order = []
    while (delivery := desk.outbox.claim(60, destination="pacs")) is not None:
        order.append(delivery.kind.value)
        if delivery.kind is Kind.FORWARD:
            assert desk.outbox.claim(60, destination="pacs") is None, "not while they are on their way"
            dead = desk.outbox.mark_dead(delivery, "refused")
            assert dead is not None and desk.outbox.claim(60, destination="pacs") is None
            assert desk.outbox.requeue_dead() == 1
            delivery = desk.outbox.claim(60, destination="pacs")
            assert delivery is not None
        assert desk.outbox.mark_sent(delivery)
    assert order == ["SR", "FORWARD", "REJECTION"]
    other = desk.outbox.claim(60, destination="viewer")
    assert other is not None, "nothing is forwarded there, so nothing is waited for"
    assert desk.outbox.mark_sent(other)
    desk.send()
    assert desk.state == "DELIVERED"


def test_what_was_delivered_is_opened_by_a_rejection_and_rejected_once(desk: Desk) -> None:
    desk.decide(held=False)
    desk.send()
    before = Rejections(desk.store).subject(UID)
    assert before is not None and not before.rejected
    assert Rejections(desk.store).reject(before.series, [note()], actor="anna", reason="r")
    assert desk.state == "DECIDED"
    assert not Rejections(desk.store).reject(before.series, [note()], actor="ben", reason="r")
    assert desk.send() == ["REJECTION"] and desk.state == "DELIVERED"
    assert acts(desk) == [("anna", "reject")]
    posted = [one.kind for one in Ledger(desk.store).sent("pacs", before.series.first_received_at)]
    assert posted == [Kind.SR], "the archive may hide the images and the note: fsck does not miss them"


def test_what_was_confirmed_is_what_is_rejected(desk: Desk, arrive: Any, complete: Any) -> None:
    desk.decide()
    shown = rejectable(desk)
    desk.queue.record([arrive(UID, 9)])
    with pytest.raises(Changed):
        Rejections(desk.store).reject(shown, [note()], actor="anna", reason="r")
    with pytest.raises(Changed):
        Rejections(desk.store).reject(rejectable(desk), [note()], actor="anna", reason="r")
    complete(UID, 3)
    claimed = desk.queue.claim("w", 60)
    assert claimed is not None and desk.queue.finish(claimed, *desk._result, items(True, 2))
    with pytest.raises(Changed):
        Rejections(desk.store).reject(shown, [note()], actor="anna", reason="r")
    assert desk.holds.waiting().count == 1 and acts(desk) == []
    assert Rejections(desk.store).reject(rejectable(desk), [note()], actor="anna", reason="r")


def test_only_notes_come_in_by_that_door(desk: Desk) -> None:
    desk.decide()
    with pytest.raises(ValueError, match="notes only"):
        Rejections(desk.store).reject(rejectable(desk), items(False), actor="anna", reason="r")
