"""Observations are written with decisions and survive a migration; trends add them up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from qagate.assessment import Artefact, Assessment, Baseline, Decision, Finding, Prompt, Verdict
from qagate.label import Label, LabelKind
from qagate.store.engine import Store, open_store
from qagate.store.labels import Labels
from qagate.store.migrate import _config, migrate
from qagate.store.outcomes import Outcomes
from qagate.store.queue import Queue
from qagate.store.schema import observation
from qagate.store.service_events import ServiceEvents
from qagate.store.trends import Selection, Trends

Judge = Callable[..., str]


@pytest.fixture
def judge(queue: Queue, complete: Callable[..., None], clock: Any) -> Judge:
    """Receives and decides one series; returns its UID."""
    number = iter(range(1, 1000))

    def make(
        quality: float | None = 0.8,
        verdict: Verdict = Verdict.PASS,
        *,
        findings: tuple[Finding, ...] = (),
        baseline: Baseline | None = None,
        measures: dict[str, float] | None = None,
        technique: dict[str, str | float] | None = None,
        **header: object,
    ) -> str:
        uid = f"1.2.{next(number)}"
        complete(uid, **header)
        claimed = queue.claim("w", 60)
        assert claimed is not None and claimed.series_instance_uid == uid
        assessment = Assessment(
            prompt=Prompt(dimension="3D", modality="CT", region="head", type="soft"),
            quality=quality,
            score=quality,
            measures=measures or {},
            technique=technique or {},
            findings=findings,
            weights_sha256="a" * 64,
        )
        decision = Decision(verdict=verdict, reasons=("r",), baseline=baseline)
        assert queue.finish(claimed, assessment, decision, [])
        clock.pass_s(60)
        return uid

    return make


@pytest.fixture
def every(clock: Any) -> Selection:
    """All of the clock's year."""
    return Selection(since=clock() - timedelta(days=200), until=clock() + timedelta(days=200))


@pytest.fixture
def trends(store: Store) -> Iterator[Trends]:
    yield Trends(store)


def test_values_come_in_order_and_by_filter(judge: Judge, trends: Trends, every: Selection) -> None:
    judge(0.9, measures={"noise_hu": 5.0, "snr": float("nan")}, technique={"kernel": "B30f"})
    judge(0.8, measures={"noise_hu": 6.0}, technique={"kernel": "B60f", "ctdi_vol_mgy": 11.5})
    judge(0.7, station_name="CT2", protocol_name="Knee")
    judge(None, Verdict.NOT_ASSESSED)
    assert [one.value for one in trends.values(every, "quality", 10)] == [0.9, 0.8, 0.7]
    assert [one.value for one in trends.values(every, "quality", 2)] == [0.8, 0.7], "the newest"
    assert [one.value for one in trends.values(every, "noise_hu", 10)] == [5.0, 6.0]
    assert trends.values(every, "snr", 10) == ()
    second = replace(every, station="CT2", protocol_name="Knee")
    assert [one.series_instance_uid for one in trends.values(second, "quality", 9)] == ["1.2.3"]
    sharp = replace(every, kernel="B60f")
    assert [(one.ctdi_vol_mgy, one.value) for one in trends.doses(sharp, "noise_hu", 9)] == [(11.5, 6.0)]
    assert trends.distinct(every, "kernel") == ("B30f", "B60f")
    assert trends.values(replace(every, until=every.since), "quality", 9) == ()


def test_a_later_revision_takes_the_place_of_the_former(
    judge: Judge, queue: Queue, trends: Trends, every: Selection
) -> None:
    uid = judge(0.2, Verdict.REPEAT)
    assert queue.requeue([uid]) == 1
    claimed = queue.claim("w", 60)
    assert claimed is not None and claimed.revision == 2
    assessment = Assessment(prompt=Prompt(dimension="3D", modality="CT"), quality=0.6, score=1.0)
    assert queue.finish(claimed, assessment, Decision(verdict=Verdict.PASS, reasons=()), [])
    assert [(one.value, one.verdict) for one in trends.values(every, "quality", 9)] == [(0.6, "PASS")]


def test_days_average_their_series(judge: Judge, trends: Trends, every: Selection, clock: Any) -> None:
    judge(0.8)
    judge(0.6)
    clock.pass_s(86_400)
    judge(0.5)
    days = trends.days(every, "quality")
    assert [(one.day, one.count, one.low, one.high) for one in days] == [
        (date(2026, 3, 1), 2, 0.6, 0.8),
        (date(2026, 3, 2), 1, 0.5, 0.5),
    ]
    assert [one.mean for one in days] == pytest.approx([0.7, 0.5])


def test_weeks_count_alerts_and_what_people_said(
    store: Store, judge: Judge, every: Selection, clock: Any
) -> None:
    def say(uid: str, kind: LabelKind, rater: str = "ann") -> None:
        Labels(store).add([Label(series_instance_uid=uid, rater=rater, kind=kind)])
        clock.pass_s(1)

    right, wrong = judge(0.2, Verdict.REPEAT), judge(0.4, Verdict.REVIEW)
    missed, tied, repeated = judge(0.9), judge(0.4, Verdict.REVIEW), judge(0.2, Verdict.REPEAT)
    judge(None, Verdict.NOT_ASSESSED)
    say(right, LabelKind.DISAGREE)
    say(right, LabelKind.AGREE)  # takes it back
    say(wrong, LabelKind.DISAGREE)
    say(missed, LabelKind.DISAGREE)
    say(tied, LabelKind.AGREE)
    say(tied, LabelKind.DISAGREE, "ben")
    say(repeated, LabelKind.CANNOT_REPEAT)
    clock.pass_s(14 * 86_400)
    judge(0.9)
    first, empty, last = Outcomes(store, every).weeks()
    assert (first.monday, empty.monday, last.monday) == (
        date(2026, 2, 23),
        date(2026, 3, 2),
        date(2026, 3, 9),
    )
    assert (first.count, first.alerts, first.verdicts["REVIEW"]) == (5, 4, 2)
    assert (first.right, first.wrong, first.missed) == (2, 1, 1)
    assert (empty.count, last.count, last.alerts) == (0, 1, 0)


def test_repeats_by_reason(store: Store, judge: Judge, every: Selection) -> None:
    motion = (Finding(artefact=Artefact.MOTION, severity=0.7, text="ghosts"),)
    first = judge(0.1, Verdict.REPEAT, findings=motion)
    judge(0.1, Verdict.REPEAT, findings=motion)
    judge(0.2, Verdict.REPEAT)
    passed = judge(0.9)
    repeat = LabelKind.REPEATING
    Labels(store).add(
        [
            Label(series_instance_uid=first, rater="ann", kind=repeat),
            Label(series_instance_uid=passed, rater="ann", kind=repeat, artefacts=(Artefact.NOISE,)),
        ]
    )
    found = Outcomes(store, every).repeats()
    assert found.series == 4
    assert {one.artefact: (one.suggested, one.repeated) for one in found.reasons} == {
        "motion": (2, 1),
        "": (1, 0),
        "noise": (0, 1),
    }
    assert found.reasons[0].artefact == "motion"


def test_service_events_are_kept_by_scanner_and_time(store: Store, clock: Any) -> None:
    events, start = ServiceEvents(store), clock()
    events.add(station="CT1", at=start, words="tube replaced", actor="ann")
    events.add(station="CT2", at=start + timedelta(days=1), words="software 2.1", actor="ann")
    assert [one.text for one in events.of("CT1")] == ["tube replaced"]
    assert [one.station for one in events.of(None, since=start + timedelta(hours=1))] == ["CT2"]
    assert events.of(None, until=start) == ()


def test_results_decided_before_the_trends_are_filled_in(
    url: str, clock: Any, judge: Judge, trends: Trends, every: Selection
) -> None:
    baseline = Baseline(median=0.7, mad=0.05, count=40)
    judge(0.4, Verdict.REVIEW, baseline=baseline, measures={"noise_hu": 7.0, "x": float("inf")})
    judge(0.5)

    def rows() -> list[dict[str, Any]]:
        with open_store(url, clock=clock) as store, store.read() as connection:
            query = sa.select(observation).order_by(observation.c.series_id)
            return [dict(row._mapping) for row in connection.execute(query)]

    before, config = rows(), _config()
    with open_store(url) as store, store.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
    migrate(url)
    assert len(before) == 2 and rows() == before
    assert before[0]["figures"] == {"noise_hu": 7.0} and before[0]["baseline_median"] == 0.7
