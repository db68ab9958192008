"""Whom a queue puts before a rater, and what it hides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from qagate.assessment import Assessment, Decision, SliceScore
from qagate.label import Label, LabelKind, Scale
from qagate.store.engine import Store
from qagate.store.labels import Labels
from qagate.store.queue import Queue as Work
from qagate.store.ratings import Queue, RatingQueues, Subject

SCALE = Scale(0, 4)


@pytest.fixture
def decided(
    queue: Work, complete: Callable[..., None], result: tuple[Assessment, Decision]
) -> Callable[..., None]:
    """Receives and decides a series whose slices have the given qualities; review below 0.5."""

    def make(uid: str, quality: float | None, *slices: float) -> None:
        complete(uid, count=max(1, len(slices)))
        claimed = queue.claim("w", 60)
        assert claimed is not None
        scores = tuple(
            SliceScore(sop_instance_uid=f"{uid}.{n}", slice_number=n, score=q, quality=q)
            for n, q in enumerate(slices, 1)
        )
        assert queue.finish(claimed, replace(result[0], quality=quality, slices=scores), result[1], [])

    return make


def _rate(store: Store, uid: str, score: float, rater: str = "anna", sop: str | None = None) -> None:
    of = Label(series_instance_uid=uid, sop_instance_uid=sop, rater=rater, score=score, scale=SCALE)
    Labels(store).add([of])


def _series(store: Store, queue: Queue, rater: str = "anna", skip: tuple[str, ...] = ()) -> list[str]:
    found = RatingQueues(store).tasks(rater, queue, Subject.SERIES, skip=skip)
    return [one.series_instance_uid for one in found]


def test_the_uncertain_come_first_and_the_rated_not_again(
    store: Store, decided: Callable[..., None], complete: Callable[..., None]
) -> None:
    for uid, quality in (("1.1", 0.9), ("1.2", 0.52), ("1.3", 0.3), ("1.4", None)):
        decided(uid, quality)
    complete("1.5")
    assert _series(store, Queue.UNCERTAIN) == ["1.2", "1.3", "1.1"]
    _rate(store, "1.2", 3)
    assert _series(store, Queue.UNCERTAIN) == ["1.3", "1.1"]
    assert _series(store, Queue.UNCERTAIN, "ben") == ["1.2", "1.3", "1.1"]
    assert _series(store, Queue.UNCERTAIN, "ben", skip=("1.2",)) == ["1.3", "1.1"]


def test_the_control_order_is_one_for_all_and_not_that_of_quality(
    store: Store, decided: Callable[..., None]
) -> None:
    for number in range(12):
        decided(f"1.{number}", number / 12)
    drawn = _series(store, Queue.RANDOM)
    assert drawn == _series(store, Queue.RANDOM, "ben") and len(drawn) == 12
    assert drawn not in ([f"1.{n}" for n in range(12)], [f"1.{n}" for n in reversed(range(12))])


def test_where_minds_differ(store: Store, decided: Callable[..., None]) -> None:
    for uid in ("1.1", "1.2", "1.3"):
        decided(uid, 0.8)
    _rate(store, "1.1", 1, "ben")
    _rate(store, "1.1", 3, "cleo")
    Labels(store).add([Label(series_instance_uid="1.2", rater="dan", kind=LabelKind.DISAGREE)])
    _rate(store, "1.3", 3, "ben")
    assert _series(store, Queue.DISAGREED) == ["1.2", "1.1"]


def test_slices_one_a_series_until_all_are_rated(store: Store, decided: Callable[..., None]) -> None:
    decided("1.1", 0.6, 0.9, 0.55, 0.7)
    decided("1.2", 0.9, 0.95)
    queues = RatingQueues(store)

    def slices() -> list[str | None]:
        found = queues.tasks("anna", Queue.UNCERTAIN, Subject.SLICE)
        return [one.sop_instance_uid for one in found]

    assert slices() == ["1.1.2", "1.2.1"]
    _rate(store, "1.1", 2, sop="1.1.2")
    assert slices() == ["1.2.1", "1.1.3"]
    _rate(store, "1.2", 2, sop="1.2.1")
    assert slices() == ["1.1.3"]


def test_a_new_revision_is_rated_anew(
    store: Store, decided: Callable[..., None], queue: Work, result: tuple[Assessment, Decision]
) -> None:
    decided("1.1", 0.8)
    _rate(store, "1.1", 4)
    queue.requeue(["1.1"])
    assert _series(store, Queue.RANDOM) == []
    claimed = queue.claim("w", 60)
    assert claimed is not None and queue.finish(claimed, *result, [])
    (task,) = RatingQueues(store).tasks("anna", Queue.RANDOM, Subject.SERIES)
    assert task.revision == 2


def test_progress_counts_what_counts(store: Store, decided: Callable[..., None], clock: Any) -> None:
    decided("1.1", 0.8)
    decided("1.2", 0.8)
    queues = RatingQueues(store)
    nothing = queues.progress("anna", clock())
    assert (nothing.mine, nothing.everyone, nothing.shared, nothing.raters) == (0, 0, 0, 0)
    _rate(store, "1.1", 3)
    clock.pass_s(60)
    midnight = clock() - timedelta(seconds=1)
    _rate(store, "1.1", 2)
    _rate(store, "1.2", 2, "ben")
    _rate(store, "1.1", 4, "ben")
    found = queues.progress("anna", midnight)
    assert (found.mine, found.today, found.everyone, found.shared, found.raters) == (1, 1, 3, 1, 2)
