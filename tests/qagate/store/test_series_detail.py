"""One series with its results, times, neighbours, and what is usual in its protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from qagate.assessment import Assessment, Decision
from qagate.store.engine import Store
from qagate.store.queue import Queue
from qagate.store.series_detail import USUAL_FROM, SeriesDetails


@pytest.fixture
def decided(
    queue: Queue, complete: Callable[..., None], result: tuple[Assessment, Decision]
) -> Callable[..., str]:
    """Receives and decides a series."""

    def make(uid: str, measures: dict[str, float] | None = None, **header: object) -> str:
        complete(uid, **header)
        claimed = queue.claim("w", 60)
        assert claimed is not None
        assert queue.finish(claimed, replace(result[0], measures=measures or {}), result[1], [])
        return uid

    return make


def test_a_series_with_all_its_page_shows(
    store: Store, decided: Callable[..., str], complete: Callable[..., None]
) -> None:
    decided("1.2.1", protocol_name="head")
    complete("1.2.2", protocol_name="head")
    complete("1.2.3", protocol_name="abdomen")
    found = SeriesDetails(store).detail("1.2.1")
    assert found is not None and found.series.protocol_name == "head"
    assert [one.revision for one in found.results] == [1] and found.results[0].decision.reasons
    assert [one.series_instance_uid for one in found.repeats] == ["1.2.1", "1.2.2"]
    assert found.first_received_at <= found.series.last_received_at
    assert SeriesDetails(store).detail("9.9") is None


def test_what_is_usual_comes_from_the_others_of_station_and_protocol(
    store: Store, decided: Callable[..., str]
) -> None:
    for number, noise in enumerate((9.0, 10.0, 10.0, 11.0, 30.0)):
        decided(f"1.2.{number}", {"noise_hu": noise}, protocol_name="head")
    decided("1.2.50", {"noise_hu": 500.0}, protocol_name="abdomen")
    mine = decided("1.2.60", {"noise_hu": 99.0}, protocol_name="head")
    details = SeriesDetails(store)
    detail = details.detail(mine)
    assert detail is not None
    usual = details.usual(detail.series)["noise_hu"]
    assert (usual.median, usual.count) == (10.0, USUAL_FROM)
    assert usual.mad == pytest.approx(1.4826) and usual.low < 9 and usual.high < 13
    alone = details.detail("1.2.50")
    assert alone is not None and details.usual(alone.series) == {}


def test_a_stamp_tells_one_state_of_the_images_from_another(
    store: Store, queue: Queue, complete: Callable[..., None], arrive: Callable[..., Any], clock: Any
) -> None:
    complete("1.2.1", count=2)
    details = SeriesDetails(store)
    first = details.stamp("1.2.1")
    assert first is not None and (first.revision, first.instances) == (1, 2)
    assert [one.sop_instance_uid for one in details.instances(first)] == ["1.2.1.1", "1.2.1.2"]
    clock.pass_s(60)
    queue.record([arrive("1.2.1", 3)])
    assert details.stamp("1.2.1") != first
    assert details.stamp("1.2.1", 7) is None and details.stamp("9.9") is None
    assert details.stamp("1.2.1", 0) is None
