"""The store keeps which associations fed a revision, so that the log of each can be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from qagate.store.engine import Store
from qagate.store.outbox import Kind, Outbox, OutboxItem
from qagate.store.queue import Queue
from qagate.store.series_detail import SeriesDetails
from qagate.store.views import Views

UID = "1.2.1"


def named(store: Store) -> tuple[str, ...]:
    found = Views(store).history(UID)
    detail = SeriesDetails(store).detail(UID)
    assert found is not None and detail is not None and detail.associations == found.row.associations
    return found.row.associations


def test_those_of_the_present_revision(queue: Queue, arrive: Callable[..., Any], store: Store) -> None:
    queue.record([replace(arrive(UID, 1), association="0a"), replace(arrive(UID, 2), association="0b")])
    queue.record([replace(arrive(UID, 3), association="0a"), arrive(UID, 4)])
    assert named(store) == ("0a", "0b"), "what was read back from disk has none"
    (receiving,) = queue.receiving()
    assert receiving.associations == ("0a", "0b") and queue.close(receiving, "quiet")
    claimed = queue.claim("w", 30)
    assert claimed is not None and claimed.associations == ("0a", "0b")
    item = OutboxItem(kind=Kind.SR, destination="pacs", payload="x")
    Outbox(store).add(claimed.series_id, claimed.revision, [item])
    delivery = Outbox(store).claim(30)
    assert delivery is not None and delivery.associations == ("0a", "0b")
    queue.record([replace(arrive(UID, 5), association="0c")])
    assert named(store) == ("0c",), "a late instance begins the next revision"


def test_one_association_an_image_does_not_make_the_row_grow(
    queue: Queue, arrive: Callable[..., Any], store: Store
) -> None:
    for number in range(1, 13):
        queue.record([replace(arrive(UID, number), association=f"{number:08x}")])
    assert named(store) == tuple(f"{number:08x}" for number in range(1, 9))
