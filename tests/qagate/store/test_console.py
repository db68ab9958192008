"""The console's tiles, acknowledgements, and what the pages are told of changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from qagate.assessment import Assessment, Decision, Verdict
from qagate.label import Label, LabelKind
from qagate.store.console import Console
from qagate.store.engine import Store
from qagate.store.errors import StoreError
from qagate.store.labels import Labels
from qagate.store.notices import Decided, Notices
from qagate.store.outbox import Kind, Outbox, OutboxItem
from qagate.store.queue import Queue
from qagate.store.schema import result as result_table

Complete = Callable[..., None]
Result = tuple[Assessment, Decision]


@pytest.fixture
def decide(queue: Queue, complete: Complete, full_result: Result, clock: Any) -> Callable[..., None]:
    """Decides a series by `full_result`; a minute passes."""

    def make(series: str, *deliveries: OutboxItem, **header: object) -> None:
        complete(series, **header)
        claimed = queue.claim("w", 60)
        assert claimed is not None and queue.finish(claimed, *full_result, deliveries)
        clock.pass_s(60)

    return make


def test_tiles(store: Store, decide: Callable[..., None], complete: Complete, full_result: Result) -> None:
    decide("1.1"), decide("1.2", station_name="MR1")
    complete("1.3")
    console = Console(store)
    assert [tile.series.series_instance_uid for tile in console.tiles()] == ["1.3", "1.2", "1.1"]
    assert [tile.series.series_instance_uid for tile in console.tiles("CT1", limit=1)] == ["1.3"]
    (waiting, tile) = console.tiles("CT1")
    assert (waiting.series.verdict, waiting.worst, waiting.findings) == (None, None, ())
    assert tile.worst == full_result[0].slices[0]
    assert tile.findings == full_result[0].findings
    assert tile.series.reasons == full_result[1].reasons
    assert console.tile("1.1") == tile
    assert console.tile("9.9") is None
    assert [one.name for one in console.stations()] == ["CT1", "MR1"], "who sent last comes first"


def test_a_provisional_tile_shows_the_former_revision(
    store: Store, queue: Queue, decide: Callable[..., None], arrive: Callable[..., Any]
) -> None:
    decide("1.1")
    queue.record([arrive("1.1", 7)])
    tile = Console(store).tile("1.1")
    assert tile is not None and tile.worst is not None
    assert (tile.series.provisional, tile.series.revision, tile.series.judged_revision) == (True, 2, 1)


def test_both_who_act_on_one_series_are_kept(store: Store, decide: Callable[..., None], clock: Any) -> None:
    decide("1.1")
    for rater, kind in (("anna", LabelKind.AGREE), ("ben", LabelKind.DISAGREE)):
        Labels(store).add([Label(series_instance_uid="1.1", rater=rater, kind=kind)])
        clock.pass_s(1)
    assert Console(store).acknowledge([("1.1", 1)], "cleo") == ("1.1",)
    assert Console(store).acknowledge([("1.1", 1)], "cleo") == (), "once is enough"
    assert Console(store).acknowledge([("1.1", 1), ("1.1", 1)], "dan") == ("1.1",)
    tile = Console(store).tile("1.1")
    assert tile is not None
    assert [(one.actor, one.kind) for one in tile.series.said] == [
        ("anna", LabelKind.AGREE), ("ben", LabelKind.DISAGREE), ("cleo", None), ("dan", None),
    ]  # fmt: skip


def test_what_was_not_decided_cannot_be_acknowledged(store: Store, decide: Callable[..., None]) -> None:
    decide("1.1")
    for wrong in (("1.1", 2), ("9.9", 1)):
        with pytest.raises(StoreError, match="changed or was deleted"):
            Console(store).acknowledge([("1.1", 1), wrong], "anna")
    tile = Console(store).tile("1.1")
    assert tile is not None and tile.series.said == (), "all or none"


def test_attention(store: Store, decide: Callable[..., None], complete: Complete, clock: Any) -> None:
    notices = Notices(store)
    assert notices.attention().total == 0
    decide("1.1", OutboxItem(kind=Kind.SR, destination="pacs", payload="a"))
    complete("1.2")
    assert notices.attention().total == 0
    clock.pass_s(3600)
    found = notices.attention()
    assert (found.failed, found.undelivered, found.waiting) == (0, 1, 1)


def test_every_decision_is_announced_once(
    store: Store, decide: Callable[..., None], queue: Queue, complete: Complete, full_result: Result
) -> None:
    notices = Notices(store)
    decide("1.1")
    decided = Decided(notices)
    assert decided.new() == ()
    decide("1.2"), decide("1.3", station_name="MR1")
    (first, second) = decided.new()
    assert (first.series_instance_uid, first.verdict, first.quality) == ("1.2", Verdict.REPEAT, 0.25)
    assert (second.station_name, second.result_id) == ("MR1", notices.newest())
    assert decided.new() == ()
    assert notices.decisions(first.result_id) == (second,)
    assert notices.decisions(0, limit=1) == (second,), "the newest of too many"
    # Committed later under a lower number, as it happens on Postgres.
    with store.write() as connection:
        renamed = sa.update(result_table).where(result_table.c.id == second.result_id)
        connection.execute(renamed.values(id=second.result_id + 5))
    assert [one.result_id for one in decided.new()] == [second.result_id + 5]
    complete("1.4")
    claimed = queue.claim("w", 60)
    assert claimed is not None and queue.finish(claimed, *full_result, ())
    with store.write() as connection:
        renamed = sa.update(result_table).where(result_table.c.series_id == claimed.series_id)
        connection.execute(renamed.values(id=second.result_id + 1))
    assert [one.series_instance_uid for one in decided.new()] == ["1.4"]


def test_a_snapshot_changes_with_what_pages_show(
    store: Store, queue: Queue, decide: Callable[..., None], arrive: Callable[..., Any]
) -> None:
    notices = Notices(store)
    decide("1.1", OutboxItem(kind=Kind.SR, destination="pacs", payload="a"))
    before = notices.snapshot()
    assert notices.snapshot() == before
    assert notices.snapshot().stations_changed(before) == frozenset()

    queue.record([arrive("1.2", 1, station_name="MR1")])
    assert notices.snapshot().stations_changed(before) == {"MR1"}

    acts: list[Callable[[], object]] = [
        lambda: Labels(store).add([Label(series_instance_uid="1.1", rater="a", kind=LabelKind.AGREE)]),
        lambda: Console(store).acknowledge([("1.1", 1)], "a"),
        lambda: Outbox(store).mark_sent(delivery),
        lambda: decide("1.3"),
    ]
    delivery = Outbox(store).claim(60)
    assert delivery is not None
    for act in acts:
        before = notices.snapshot()
        act()
        assert notices.snapshot().stations_changed(before) is None
