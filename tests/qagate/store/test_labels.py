"""Labels: append-only, all or none, last answer of each rater."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from qagate.assessment import Artefact, Assessment, Decision
from qagate.label import Label, LabelKind, Scale
from qagate.store.engine import Store
from qagate.store.errors import StoreError
from qagate.store.labels import Added, Labels, UnknownObject
from qagate.store.queue import Queue
from qagate.store.schema import label as label_table

Complete = Callable[..., None]
FIVE = Scale(0, 4)


def rating(score: float = 3.0, *, series: str = "1.2.1", rater: str = "anna", **values: Any) -> Label:
    return Label(series_instance_uid=series, rater=rater, score=score, scale=FIVE, **values)


def click(kind: LabelKind, *, series: str = "1.2.1", rater: str = "anna", **values: Any) -> Label:
    return Label(series_instance_uid=series, rater=rater, kind=kind, **values)


@pytest.fixture
def labels(store: Store, complete: Complete) -> Labels:
    """A store that received two series of two instances."""
    complete("1.2.1")
    complete("1.2.2", station_name="MR1", modality="MR")
    return Labels(store)


def test_every_field_comes_back(labels: Labels, clock: Any) -> None:
    said = Label(
        series_instance_uid="1.2.2", sop_instance_uid="1.2.2.1", revision=1, rater="björn", score=2.7,
        scale=Scale(3, 1), artefacts=(Artefact.MOTION, Artefact.NON_UNIFORMITY), reason="ghosts; 'ä'\n日",
        created_at=clock() - timedelta(days=2, microseconds=7),
    )  # fmt: skip
    assert labels.add([said]) == Added(added=1, known=0)
    (stored,) = labels.all()
    assert stored.label == said
    assert (stored.station_name, stored.modality, stored.study_instance_uid) == ("MR1", "MR", "1.2")
    assert stored.verdict is None and stored.quality is None
    assert labels.of_series("1.2.2") == (stored,) and labels.of_series("1.2.1") == ()
    assert labels.of_series("9.9") == ()


def test_revision_and_time_are_filled_in(
    labels: Labels, clock: Any, queue: Queue, arrive: Callable[..., Any]
) -> None:
    labels.add([rating()])
    clock.pass_s(5)
    claimed = queue.claim("w", 60)
    assert claimed is not None
    queue.record([arrive(claimed.series_instance_uid, 9)])  # a late instance: revision 2
    labels.add([rating(1.0, series=claimed.series_instance_uid)])
    before, after = (stored.label for stored in labels.all())
    assert (before.revision, before.created_at) == (1, clock() - timedelta(seconds=5))
    assert (after.revision, after.created_at) == (2, clock())


def test_the_gates_verdict_of_that_revision_stands_beside(
    labels: Labels, queue: Queue, result: tuple[Assessment, Decision]
) -> None:
    claimed = queue.claim("w", 60)
    assert claimed is not None
    assert queue.finish(claimed, *result, [])
    labels.add([click(LabelKind.AGREE, series=claimed.series_instance_uid)])
    (stored,) = labels.all()
    assert (stored.verdict, stored.quality) == ("PASS", 0.75)


def test_a_later_answer_stands_in_for_the_former_and_both_are_kept(labels: Labels, clock: Any) -> None:
    for said in (
        rating(1.0),
        click(LabelKind.DISAGREE),
        click(LabelKind.CANNOT_REPEAT),
        rating(2.0, rater="ben"),
        rating(0.0, sop_instance_uid="1.2.1.1"),
        rating(4.0),
        click(LabelKind.AGREE),
    ):
        clock.pass_s(1)
        labels.add([said])
    assert len(list(labels.all())) == 7
    last = [(one.label.rater, one.label.kind, one.label.score) for one in labels.latest()]
    assert last == [
        ("anna", LabelKind.CANNOT_REPEAT, None),
        ("ben", LabelKind.RATING, 2.0),
        ("anna", LabelKind.RATING, 0.0),  # of one instance: another object
        ("anna", LabelKind.RATING, 4.0),
        ("anna", LabelKind.AGREE, None),
    ]


def test_the_time_it_was_said_decides_and_then_the_order_of_record(labels: Labels, clock: Any) -> None:
    labels.add([rating(4.0, created_at=clock())])
    labels.add([rating(1.0, created_at=clock() - timedelta(days=1))])
    (last,) = labels.latest()
    assert last.label.score == 4.0
    labels.add([rating(2.0, created_at=clock())])
    (last,) = labels.latest()
    assert last.label.score == 2.0


def test_saying_the_same_again_adds_nothing(labels: Labels, clock: Any) -> None:
    timed = rating(created_at=clock())
    untimed = replace(rating(2.0), series_instance_uid="1.2.2")
    assert labels.add([timed, untimed, untimed]) == Added(added=2, known=1)
    clock.pass_s(60)
    assert labels.add([timed, untimed]) == Added(added=0, known=2)
    assert labels.add([replace(untimed, score=3.0)]) == Added(added=1, known=0)
    assert labels.add([untimed]) == Added(added=1, known=0), "said before, but not last"


def test_all_or_none(labels: Labels) -> None:
    for strange, named in (
        (rating(series="9.8.7"), "9.8.7"),
        (rating(sop_instance_uid="1.2.2.1"), "1.2.2.1"),  # of the other series
        (rating(sop_instance_uid="5.5"), "5.5"),
    ):
        with pytest.raises(UnknownObject, match=named) as raised:
            labels.add([rating(), strange])
        assert raised.value.uids == (named,)
    with pytest.raises(StoreError, match=r"revision 2 of series 1\.2\.1, which has only 1"):
        labels.add([rating(), rating(revision=2)])
    assert list(labels.all()) == []


def test_many_unknown_series_are_counted(labels: Labels) -> None:
    uids = tuple(f"9.{number:03}" for number in range(600))
    with pytest.raises(UnknownObject, match="and 580 more") as raised:
        labels.add(rating(series=uid) for uid in uids)
    assert raised.value.uids == uids


def test_a_dry_run_tells_and_records_nothing(labels: Labels) -> None:
    assert labels.add([rating(), rating()], dry_run=True) == Added(added=1, known=1)
    with pytest.raises(UnknownObject):
        labels.add([rating(series="9.9")], dry_run=True)
    assert list(labels.all()) == []


def test_pages(labels: Labels, monkeypatch: pytest.MonkeyPatch, clock: Any) -> None:
    monkeypatch.setattr("qagate.store.labels._PAGE", 3)
    labels.add([rating(rater=f"r{number}") for number in range(7)])
    everything = list(labels.all())
    assert [one.label.rater for one in everything] == [f"r{number}" for number in range(7)]
    assert list(labels.latest()) == everything
    assert list(labels.all(since_id=everything[4].label_id)) == everything[5:]


def test_instances_of_a_revision(
    labels: Labels, queue: Queue, arrive: Callable[..., Any], result: tuple[Assessment, Decision]
) -> None:
    while (claimed := queue.claim("w", 60)) is not None:
        assert queue.finish(claimed, *result, [])
    queue.record([arrive("1.2.1", 9)])
    before = [one.sop_instance_uid for one in labels.instances("1.2.1", 1)]
    assert before == ["1.2.1.1", "1.2.1.2"]
    assert [one.sop_instance_uid for one in labels.instances("1.2.1", 2)] == [*before, "1.2.1.9"]
    assert labels.instances("9.9", 1) == ()


def test_a_labelled_series_cannot_be_deleted(labels: Labels, store: Store) -> None:
    labels.add([rating()])
    with pytest.raises(StoreError), store.write() as connection:
        connection.execute(sa.text("DELETE FROM series WHERE series_instance_uid = '1.2.1'"))
    assert len(list(labels.all())) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "applause"},
        {"score": None},
        {"scale_low": None},
        {"kind": "agree"},
        {"rater": ""},
        {"reason": "x" * 1001},
    ],
)
def test_the_database_refuses_what_is_no_label(labels: Labels, store: Store, wrong: dict[str, Any]) -> None:
    labels.add([rating()])
    with store.read() as connection:
        good = dict(connection.execute(sa.select(label_table)).one()._mapping)
    with pytest.raises((StoreError, IntegrityError)), store.write() as connection:
        connection.execute(sa.insert(label_table), [_row(good, wrong)])


def _row(good: dict[str, Any], wrong: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in (good | wrong).items() if key != "id"}
