"""Roles, shadow results, baselines and calibrations, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text

from qagate.assessment import Assessment, Baseline, Decision, Rating
from qagate.baseline import BaselineAlarm, BaselineKey, BaselineState, Point
from qagate.series import Series
from qagate.store.baselines import BaselineChange, Baselines
from qagate.store.calibrations import Calibrations
from qagate.store.codec import dumps, load_assessment, load_decision
from qagate.store.engine import Store, open_store
from qagate.store.errors import StoreError
from qagate.store.migrate import _config, migrate
from qagate.store.outbox import Kind, OutboxItem
from qagate.store.queue import Queue
from qagate.store.roles import SETTINGS_MODEL, Act, Roles
from qagate.store.shadows import Begun, Shadows
from qagate.store.views import Views

OLD, NEW = "a" * 64, "b" * 64
KEY = BaselineKey(
    station="CT1", protocol_name="P" * 5000, modality="CT", region="head", type="soft", weights_sha256=OLD
)
Result = tuple[Assessment, Decision]


# -- roles -------------------------------------------------------------------------------------


def act(roles: Roles, what: Act, name: str | None = None, **more: Any) -> None:
    sha = (name or "")[:1] * 64
    roles.act(what, name=name, weights_sha256=sha, actor="anna", standing=roles.standing(), **more)


def test_without_any_act_the_settings_model_is_champion(store: Store) -> None:
    standing = Roles(store).standing()
    assert standing.champion == SETTINGS_MODEL and standing.former == () and standing.challenger is None
    assert Roles(store).version() == 0 and Roles(store).history() == () and Roles(store).loads() == ()


def test_promotions_are_taken_back_one_by_one(store: Store) -> None:
    roles, versions = Roles(store), [0]
    for what, name, champion in (
        (Act.PROMOTE, "one", "one"), (Act.PROMOTE, "two", "two"), (Act.ROLLBACK, None, "one"),
        (Act.PROMOTE, "three", "three"), (Act.ROLLBACK, None, "one"), (Act.ROLLBACK, None, None),
    ):  # fmt: skip
        act(roles, what, name)
        assert roles.standing().champion.name == champion
        versions.append(roles.version())
    assert versions == sorted(set(versions))
    with pytest.raises(StoreError, match="no former champion"):
        act(roles, Act.ROLLBACK)
    assert len(roles.history()) == 6


def test_a_promoted_challenger_is_no_challenger_any_more(store: Store) -> None:
    roles = Roles(store)
    act(roles, Act.SHADOW, "one")
    challenger = roles.standing().challenger
    assert challenger is not None and (challenger.name, challenger.weights_sha256) == ("one", "o" * 64)
    act(roles, Act.PROMOTE, "two")
    assert roles.standing().challenger == challenger
    act(roles, Act.PROMOTE, "one")
    assert roles.standing().challenger is None
    with pytest.raises(StoreError, match="no challenger"):
        act(roles, Act.OFF)
    act(roles, Act.SHADOW, "two")
    act(roles, Act.OFF)
    assert roles.standing().challenger is None


def test_the_audit_says_who_when_and_why(store: Store, clock: Any) -> None:
    roles = Roles(store)
    act(roles, Act.PROMOTE, "one", reason="better on MR1", forced=True, evidence={"n": 3})
    clock.pass_s(60)
    act(roles, Act.ROLLBACK, reason="no\x00t so")
    last, first = roles.history()
    assert (first.actor, first.reason, first.forced, first.evidence) == (
        "anna",
        "better on MR1",
        True,
        {"n": 3},
    )
    assert (last.act, last.name, last.reason) == (Act.ROLLBACK, None, "not so")
    assert last.acted_at - first.acted_at == timedelta(seconds=60)


def test_of_two_who_act_at_once_one_is_told(store: Store) -> None:
    roles = Roles(store)
    seen, done, told = roles.standing(), [], []

    def promote(name: str) -> None:
        try:
            roles.act(Act.PROMOTE, name=name, weights_sha256=OLD, actor="anna", standing=seen)
            done.append(name)
        except StoreError as error:
            told.append(str(error))

    threads = [threading.Thread(target=promote, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1 and len(told) == 2 and all("someone else" in error for error in told)
    assert roles.standing().champion.name == done[0]


def test_what_became_of_an_act_at_each_worker(store: Store, clock: Any) -> None:
    roles = Roles(store)
    roles.loaded(0, "w1", None)
    act(roles, Act.PROMOTE, "one")
    first = roles.standing().champion.act_id
    roles.loaded(first, "w1", "bad hash")
    clock.pass_s(1)
    roles.loaded(first, "w2", None)
    assert [(load.worker, load.name, load.error) for load in roles.loads()] == [
        ("w2", "one", None), ("w1", "one", "bad hash"),
    ]  # fmt: skip
    clock.pass_s(1)
    roles.loaded(first, "w1", None)
    assert [load.error for load in roles.loads()] == [None, None]
    act(roles, Act.PROMOTE, "two")
    assert roles.loads() == ()


def test_a_calibration_counts_from_now_on(store: Store) -> None:
    roles, calibrations = Roles(store), Calibrations(store)
    assert calibrations.of(OLD) is None
    calibrations.add(OLD, "first", actor="anna")
    before = roles.version()
    calibrations.add(OLD, "second", actor="anna")
    assert (calibrations.of(OLD), calibrations.of(NEW)) == ("second", None) and roles.version() > before


# -- baselines ---------------------------------------------------------------------------------


def grown(state: BaselineState) -> BaselineState:
    point = Point(series_id=len(state.sample) + 1, quality=0.1 * len(state.sample))
    alarm = BaselineAlarm.DRIFT if len(state.sample) == 1 else None
    sample = (*state.sample, point)
    return replace(state, sample=sample, recent=sample, median=0.5, mad=0.1, evidence=2, alarm=alarm)


def claimed(queue: Queue, complete: Callable[..., None], uid: str) -> Series:
    complete(uid)
    series = queue.claim("w1", 60)
    assert series is not None
    return series


def alarm(baseline_id: int, before: BaselineState, after: BaselineState) -> list[OutboxItem]:
    if after.alarm is None or before.alarm is not None:
        return []
    return [
        OutboxItem(kind=Kind.ALERT, destination="console-1", payload=f"baseline {baseline_id}", topic="drift")
    ]


CHANGE = BaselineChange(key=KEY, change=grown, alarms=alarm)


def test_a_baseline_changes_with_its_decision(
    store: Store, queue: Queue, complete: Callable[..., None], result: Result
) -> None:
    baselines = Baselines(store)
    assert baselines.states([KEY]) == {KEY: BaselineState()}
    verdict = OutboxItem(kind=Kind.ALERT, destination="console-1", payload="look")
    for number in (1, 2, 3):
        assert queue.finish(claimed(queue, complete, f"1.2.{number}"), *result, [verdict], CHANGE)
    state = baselines.states([KEY])[KEY]
    assert [point.series_id for point in state.sample] == [1, 2, 3]
    assert (state.median, state.mad, state.evidence, state.alarm) == (0.5, 0.1, 2, None)
    (row,) = baselines.rows(OLD)
    assert row.key == KEY and baselines.rows(NEW) == () and baselines.rows(alarming=True) == ()
    history = Views(store).history("1.2.2")
    assert history is not None and len(history.deliveries) == 2, "the verdict and the alarm"
    first = Views(store).history("1.2.1")
    assert first is not None and len(first.deliveries) == 1


def test_a_lost_lease_leaves_the_baseline_alone(
    store: Store, queue: Queue, complete: Callable[..., None], result: Result
) -> None:
    series = claimed(queue, complete, "1.2.1")
    assert not queue.finish(replace(series, lease_token="other"), *result, [], CHANGE)
    assert Baselines(store).rows() == ()


def test_an_alarm_is_dated_and_shown_first(
    store: Store, queue: Queue, complete: Callable[..., None], result: Result, clock: Any
) -> None:
    other = replace(KEY, station="CT2")
    for number, key in enumerate((KEY, KEY, other), 1):
        clock.pass_s(1)
        change = BaselineChange(key=key, change=grown)
        assert queue.finish(claimed(queue, complete, f"1.2.{number}"), *result, [], change)
    rows = Baselines(store).rows(OLD)
    assert [row.key.station for row in rows] == ["CT1", "CT2"]
    assert rows[0].alarmed_at == rows[0].updated_at and rows[1].alarmed_at is None
    assert [row.key.station for row in Baselines(store).rows(alarming=True)] == ["CT1"]


def test_acceptance_is_kept(
    store: Store, queue: Queue, complete: Callable[..., None], result: Result
) -> None:
    queue.finish(claimed(queue, complete, "1.2.1"), *result, [], CHANGE)
    (row,) = Baselines(store).rows()
    after = Baselines(store).accept(
        row.baseline_id, lambda state: replace(state, median=0.9), actor="anna", reason="new coil"
    )
    assert after.state.median == 0.9
    with store.read() as connection:
        (kept,) = connection.execute(text("SELECT * FROM baseline_accept")).all()
    assert (kept.actor, kept.reason, kept.median_before, kept.median_after) == ("anna", "new coil", 0.5, 0.9)
    with pytest.raises(StoreError, match="no baseline 99"):
        Baselines(store).accept(99, grown, actor="anna", reason="")


def test_two_workers_lose_no_series(
    store: Store, queue: Queue, complete: Callable[..., None], result: Result
) -> None:
    series = [claimed(queue, complete, f"1.2.{number}") for number in range(8)]
    threads = [
        threading.Thread(target=queue.finish, args=(one, *result, [], BaselineChange(key=KEY, change=grown)))
        for one in series
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Baselines(store).states([KEY])[KEY].sample) == 8


# -- shadow results ----------------------------------------------------------------------------


def test_shadow_results_stand_beside_results(
    store: Store, queue: Queue, complete: Callable[..., None], result: Result, clock: Any
) -> None:
    assessment, decision = result
    assessment = replace(assessment, weights_sha256=OLD)
    roles, shadows = Roles(store), Shadows(store)
    act(roles, Act.SHADOW, "b")
    challenger = roles.standing().challenger
    assert challenger is not None
    begun = []
    for number in (1, 2, 3):
        series = claimed(queue, complete, f"1.2.{number}")
        assert queue.finish(series, assessment, decision, [])
        begun.append(
            Begun(
                series=series, act_id=challenger.act_id, weights_sha256=NEW, champion_sha256=OLD,
                region="head", type="soft", field_strength_t=None,
            )
        )  # fmt: skip
    for one in (*begun, *begun):
        shadows.begin(one)
    assert shadows.last_errors(challenger.act_id, 9) == () and shadows.counts(NEW) == (0, 0), "under way"
    clock.pass_s(60)
    assert ["died" in (error or "") for error in shadows.last_errors(challenger.act_id, 9)] == [True] * 3
    theirs = replace(assessment, weights_sha256=NEW, quality=0.25)
    shadows.finish(
        begun[0], theirs, decision, BaselineChange(key=replace(KEY, weights_sha256=NEW), change=grown)
    )
    shadows.fail(begun[1], "RuntimeError: no\x00pe")
    assert shadows.counts(NEW) == (1, 2) and shadows.counts(OLD) == (0, 0)
    assert shadows.last_errors(challenger.act_id, 2)[1] == "RuntimeError: nope"
    (pair,) = shadows.pairs(OLD, NEW)
    assert (pair.champion_quality, pair.challenger_quality, pair.station) == (0.75, 0.25, "CT1")
    assert (pair.champion_verdict, pair.challenger_verdict) == ("PASS", "PASS")
    assert list(shadows.pairs(NEW, OLD)) == []
    assert Views(store).qualities(NEW) == {("1.2.1", 1): 0.25}
    assert Views(store).qualities(OLD) == {(f"1.2.{number}", 1): 0.75 for number in (1, 2, 3)}
    (row,) = Baselines(store).rows(NEW)
    assert len(row.state.sample) == 1
    history = Views(store).history("1.2.1")
    assert history is not None and history.deliveries == () and len(history.results) == 1
    assert history.results[0].assessment.weights_sha256 == OLD


# -- what is kept ------------------------------------------------------------------------------


def test_baseline_and_rating_are_read_back(full_result: Result) -> None:
    assessment = replace(full_result[0], rating=Rating(value=3.0, low=2.5, high=3.5, worst=0.0, best=4.0))
    decision = replace(full_result[1], baseline=Baseline(median=0.8, mad=0.03, count=40), relative=True)
    assert load_assessment(dumps(assessment)) == assessment and load_decision(dumps(decision)) == decision
    assert load_decision('{"verdict":"PASS","reasons":[]}').baseline is None


def test_old_results_learn_which_model_made_them(empty_url: str, full_result: Result) -> None:
    times = "2026-03-01 00:00:00"
    config = _config()
    with open_store(empty_url) as store, store.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        texts = (
            *("series_instance_uid", "study_instance_uid", "modality", "modalities", "body_part_examined"),
            *("protocol_name", "series_description", "station_name", "manufacturer_model_name"),
            *(
                "calling_ae_title",
                "first_received_at",
                "last_received_at",
                "revision_started_at",
                "not_before",
            ),
        )
        connection.execute(
            text(
                f"INSERT INTO series (id, revision, state, instance_count, attempts, {', '.join(texts)}) "
                f"VALUES (1, 1, 'DELIVERED', 1, 1, {', '.join([repr(times)] * len(texts))})"
            )
        )
        for revision in (1, 2):
            connection.execute(
                text(
                    "INSERT INTO result (series_id, revision, verdict, instance_count, last_received_at, "
                    "decided_at, assessment, decision) VALUES "
                    "(1, :revision, 'PASS', 1, :at, :at, :kept, '{}')"
                ),
                {"revision": revision, "at": times, "kept": dumps(full_result[0])},
            )
    migrate(empty_url)
    with open_store(empty_url) as store, store.read() as connection:
        assert set(connection.scalars(text("SELECT weights_sha256 FROM result"))) == {"0" * 64}
