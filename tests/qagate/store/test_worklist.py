"""The worklist: filters, orders, pages that neither skip nor repeat, and what never hides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from qagate.assessment import Assessment, Decision, Prompt, Verdict
from qagate.label import Label, LabelKind
from qagate.series import State
from qagate.store.console import Console
from qagate.store.engine import Store
from qagate.store.labels import Labels
from qagate.store.outbox import Kind, Outbox, OutboxItem
from qagate.store.queue import Queue
from qagate.store.worklist import BadCursor, Filter, Only, Order, Worklist

Decide = Callable[..., None]
SR = OutboxItem(kind=Kind.SR, destination="pacs", payload="a.dcm")


@pytest.fixture
def decide(queue: Queue, complete: Callable[..., None], clock: Any) -> Decide:
    """Records, closes and decides a series; a minute passes."""

    def make(
        series: str, quality: float | None = 0.8, verdict: Verdict = Verdict.PASS, region: str = "head",
        deliveries: tuple[OutboxItem, ...] = (), **header: object,
    ) -> None:  # fmt: skip
        complete(series, **header)
        claimed = queue.claim("w", 60)
        assert claimed is not None
        assessment = Assessment(
            prompt=Prompt(dimension="3D", modality="CT", region=region), quality=quality, score=quality
        )
        assert queue.finish(claimed, assessment, Decision(verdict=verdict, reasons=("because",)), deliveries)
        clock.pass_s(60)

    return make


@pytest.fixture
def worklist(store: Store) -> Worklist:
    """The worklist of `store`."""
    return Worklist(store)


def uids(worklist: Worklist, order: Order = Order.NEWEST, **wanted: Any) -> list[str]:
    rows = worklist.page(Filter(**wanted), order).rows
    found = [row.series_instance_uid for row in rows]
    assert worklist.count(Filter(**wanted)) == len(found)
    return found


def test_a_row_repeats_the_last_decision(decide: Decide, worklist: Worklist) -> None:
    decide("1.1", 0.2, Verdict.REPEAT, "knee", protocol_name="t2 tse")
    (row,) = worklist.page(Filter()).rows
    assert (row.verdict, row.quality, row.region) == (Verdict.REPEAT, 0.2, "knee")
    assert (row.reasons, row.judged_revision, row.provisional) == (("because",), 1, False)
    assert (row.state, row.undelivered, row.problem) == (State.DELIVERED, 0, False)


def test_filters(decide: Decide, worklist: Worklist, clock: Any) -> None:
    start = clock()
    decide("1.1", protocol_name="T1 head", station_name="MR1", modality="MR")
    decide("1.2", 0.4, Verdict.REVIEW, "knee", protocol_name="50%_knee")
    decide("1.3", None, Verdict.NOT_ASSESSED, "unknown")
    minute = timedelta(minutes=1)
    assert uids(worklist, station="MR1") == uids(worklist, modality="MR") == ["1.1"]
    assert uids(worklist, region="knee") == uids(worklist, verdict=Verdict.REVIEW) == ["1.2"]
    assert uids(worklist, protocol="t1 H") == ["1.1"], "a part, caseless"
    assert uids(worklist, protocol="%") == uids(worklist, protocol="0%_") == ["1.2"], "no wildcards"
    assert uids(worklist, since=start + minute) == ["1.3", "1.2"]
    assert uids(worklist, until=start + minute) == ["1.1"]
    assert uids(worklist, series_instance_uid="1.3") == ["1.3"]
    assert uids(worklist, state=State.DELIVERED, station="CT1") == ["1.3", "1.2"]
    assert uids(worklist, station="") == []
    choices = worklist.choices()
    assert choices.stations == ("CT1", "MR1")
    assert (choices.modalities, choices.regions) == (("CT", "MR"), ("head", "knee", "unknown"))


def test_orders(decide: Decide, worklist: Worklist) -> None:
    decide("1.1", 0.5, station_name="B", protocol_name="y")
    decide("1.2", None, station_name="A", protocol_name="z")
    decide("1.3", 0.1, station_name="B", protocol_name="x")
    expected = {
        Order.NEWEST: ["1.3", "1.2", "1.1"],
        Order.OLDEST: ["1.1", "1.2", "1.3"],
        Order.WORST: ["1.3", "1.1", "1.2"],
        Order.BEST: ["1.1", "1.3", "1.2"],
        Order.SCANNER: ["1.2", "1.3", "1.1"],
        Order.PROTOCOL: ["1.3", "1.1", "1.2"],
    }
    assert {order: uids(worklist, order) for order in Order} == expected


@pytest.mark.parametrize("order", Order)
def test_pages_neither_skip_nor_repeat(decide: Decide, worklist: Worklist, order: Order) -> None:
    for number in range(1, 8):
        decide(f"1.{number}", (0.5, None)[number % 2], station_name=f"S{number % 3}", protocol_name="same")
    everything = [row.series_instance_uid for row in worklist.page(Filter(), order).rows]
    assert len(everything) == 7
    pages = [worklist.page(Filter(), order, limit=3)]
    assert pages[0].before is None
    while pages[-1].after is not None:
        pages.append(worklist.page(Filter(), order, after=pages[-1].after, limit=3))
    assert [row.series_instance_uid for page in pages for row in page.rows] == everything
    back = worklist.page(Filter(), order, before=pages[2].before, limit=3)
    assert (back.rows, back.before is None, back.after) == (pages[1].rows, False, pages[1].after)
    first = worklist.page(Filter(), order, before=back.before, limit=3)
    assert (first.rows, first.before, first.after) == (pages[0].rows, None, pages[0].after)
    assert [row.series_instance_uid for row in worklist.export(Filter(), order)] == everything


@pytest.mark.parametrize("cursor", ["", "x", "é", "bnVsbA", "W10", "WyJuZXdlc3QiLDEsMl0", "W1tdXQ"])
def test_a_damaged_cursor_is_named(worklist: Worklist, cursor: str) -> None:
    with pytest.raises(BadCursor, match="first page"):
        worklist.page(Filter(), after=cursor)


def test_a_cursor_of_another_order_is_refused(decide: Decide, worklist: Worklist) -> None:
    decide("1.1"), decide("1.2")
    after = worklist.page(Filter(), Order.SCANNER, limit=1).after
    with pytest.raises(BadCursor):
        worklist.page(Filter(), Order.PROTOCOL, after=after)


def test_problems(
    decide: Decide, complete: Callable[..., None], queue: Queue, store: Store, worklist: Worklist, clock: Any
) -> None:
    decide("1.1"), decide("1.2", deliveries=(SR,)), decide("1.3", deliveries=(SR,))
    complete("1.4")
    claimed = queue.claim("w", 60)
    assert claimed is not None and queue.fail(claimed, "cannot be read", max_attempts=1) is State.FAILED
    assert uids(worklist, only=Only.PROBLEMS) == ["1.4"], "a delivery of a minute is under way"
    delivery = Outbox(store).claim(60)
    assert delivery is not None
    Outbox(store).mark_dead(delivery, "refused for good")
    assert uids(worklist, only=Only.PROBLEMS) == ["1.4", "1.2"]
    rows = {row.series_instance_uid: row for row in worklist.page(Filter()).rows}
    assert (rows["1.2"].undelivered, rows["1.2"].last_error) == (1, "refused for good")
    assert (rows["1.4"].state, rows["1.4"].last_error) == (State.FAILED, "cannot be read")
    complete("1.5")
    clock.pass_s(3600)
    assert uids(worklist, only=Only.PROBLEMS) == ["1.5", "1.4", "1.3", "1.2"], "nobody works or sends"


def test_open_until_somebody_answers(decide: Decide, queue: Queue, store: Store, worklist: Worklist) -> None:
    for number, verdict in enumerate((*Verdict, Verdict.REPEAT), 1):
        decide(f"1.{number}", verdict=verdict)
    assert uids(worklist, only=Only.OPEN) == ["1.5", "1.3", "1.2"]
    Labels(store).add([Label(series_instance_uid="1.2", rater="anna", kind=LabelKind.DISAGREE, reason="no")])
    Labels(store).add([Label(series_instance_uid="1.1", rater="ben", kind=LabelKind.AGREE)])
    assert Console(store).acknowledge([("1.3", 1)], "ben") == ("1.3",)
    assert uids(worklist, only=Only.OPEN) == ["1.5"]
    rows = {row.series_instance_uid: row.said for row in worklist.page(Filter()).rows}
    assert [(one.actor, one.kind, one.reason) for one in rows["1.2"]] == [("anna", LabelKind.DISAGREE, "no")]
    assert [(one.actor, one.kind) for one in rows["1.3"]] == [("ben", None)]


def test_a_late_instance_makes_the_verdict_provisional(
    decide: Decide, queue: Queue, worklist: Worklist, arrive: Callable[..., Any]
) -> None:
    decide("1.1", 0.2, Verdict.REPEAT)
    queue.record([arrive("1.1", 9)])
    (row,) = worklist.page(Filter()).rows
    assert (row.verdict, row.revision, row.judged_revision) == (Verdict.REPEAT, 2, 1)
    assert row.provisional
    assert not replace(row, verdict=None).provisional
