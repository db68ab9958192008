"""The worker and its models: promoted, in shadow, calibrated, held against baselines."""

import threading
from pathlib import Path
from typing import Any

import pytest
from worker_bench import Bench, House, until, working

from qagate.gate.calibration import ReadersScale, dumps
from qagate.series import State
from qagate.shadow import field_strength_t
from qagate.store.baselines import Baselines
from qagate.store.calibrations import Calibrations
from qagate.store.engine import Store
from qagate.store.roles import Act
from qagate.store.shadows import Shadows


@pytest.fixture
def bench(sqlite_store: Store, tmp_path: Path, made: Any) -> Bench:
    return Bench(sqlite_store, tmp_path, made)


@pytest.fixture
def house(bench: Bench) -> House:
    return House(bench)


def test_a_promoted_model_decides_without_a_restart(bench: Bench, house: House) -> None:
    with working(bench.worker(house.serving())):
        first = house.decided()
        assert first[1] == "test"
        house.act(Act.PROMOTE, "alpha")
        assert house.decided()[1] == "alpha"
        house.act(Act.PROMOTE, "beta")
        second = house.decided()
        assert second[1] == "beta"
        house.act(Act.ROLLBACK)
        assert house.decided()[1] == "alpha"
        house.act(Act.ROLLBACK)
        assert house.decided()[1] == "test"
    assert bench.history(first[0]).results[0].assessment.model == "test", "old results keep their model"
    assert bench.history(second[0]).results[0].decision.verdict.value == "REPEAT"
    assert house.loaded == [None, "alpha", "beta", "alpha", None]


def test_a_bad_model_leaves_the_old_one_in_place(bench: Bench, house: House) -> None:
    house.broken.add("alpha")
    with working(bench.worker(house.serving())) as logs:
        house.act(Act.PROMOTE, "alpha")
        assert house.decided()[1] == "test"
        house.act(Act.PROMOTE, "beta", sha="f" * 64)
        assert house.decided()[1] == "test", "another file than was promoted"
        (load,) = house.roles.loads()
        assert (load.worker, load.name) == ("w1", "beta") and "another name" in (load.error or "")
        house.decided()
    assert house.loaded == [None, "alpha", "beta"], "not tried again and again"
    said = [log["reason"] for log in logs if log["event"] == "model_not_loaded"]
    assert len(said) == 2 and said[0] == "weights of alpha are broken"


def test_a_worker_that_starts_falls_back_on_a_former_champion(bench: Bench, house: House) -> None:
    for name in ("alpha", "beta"):
        house.act(Act.PROMOTE, name)
    house.broken |= {"beta"}
    assert house.serving().champion.scorer.model_name == "alpha"
    house.broken |= {"alpha"}
    assert house.serving().champion.scorer.model_name == "test"
    house.networks.clear()
    with pytest.raises(KeyError):
        house.serving()


def test_a_challenger_scores_in_silence(bench: Bench, house: House) -> None:
    house.act(Act.SHADOW, "beta")
    with working(bench.worker(house.serving(), batch_series=2)):
        uids = [bench.complete() for _ in range(5)]
        assert until(lambda: Shadows(bench.store).counts("b" * 64) == (5, 0))
        unreadable = bench.complete(PixelData=None)
        assert until(lambda: bench.state(unreadable) is State.DECIDED)
    for uid in uids:
        history = bench.history(uid)
        assert [result.assessment.model for result in history.results] == ["test"]
        assert {row.kind for row in history.deliveries} <= {"SR", "KOS", "FORWARD"}, "no alert"
        assert history.results[0].decision.verdict.value != "REPEAT"
    pairs = list(Shadows(bench.store).pairs("t" * 64, "b" * 64))
    assert len(pairs) == 5
    assert {pair.challenger_verdict for pair in pairs} == {"REPEAT"}
    own, theirs = (Baselines(bench.store).rows(sha)[0] for sha in ("t" * 64, "b" * 64))
    assert len(own.state.sample) == 5 and len(theirs.state.recent) == 4 and theirs.state.alarm


def test_a_failing_challenger_harms_nobody_and_is_left_alone(bench: Bench, house: House) -> None:
    house.act(Act.SHADOW, "beta")

    def fail() -> None:
        raise MemoryError("too large")

    house.networks["beta"].before = fail
    with working(bench.worker(house.serving())):
        uids = [house.decided()[0] for _ in range(6)]
    assert all(bench.history(uid).row.attempts == 1 for uid in uids)
    assert Shadows(bench.store).counts("b" * 64) == (0, 3)
    assert len(house.networks["beta"].batches) == 3
    house.act(Act.SHADOW, "beta")
    house.networks["beta"].before = lambda: None
    with working(bench.worker(house.serving())):
        house.decided()
        assert until(lambda: Shadows(bench.store).counts("b" * 64) == (1, 3))


def test_a_challenger_that_killed_its_worker_is_left_alone(bench: Bench, house: House) -> None:
    house.act(Act.SHADOW, "beta")

    def die() -> None:
        raise KeyboardInterrupt

    house.networks["beta"].before = die
    for number in range(4):
        uid = bench.complete()
        worker = bench.worker(house.serving())
        stop = threading.Event()
        if number < 3:
            with pytest.raises(KeyboardInterrupt):
                worker.run(stop)
        else:
            with bench.store.write() as connection:  # what was begun just now may be under way elsewhere
                connection.exec_driver_sql(
                    "UPDATE shadow_result SET scored_at = '2000-01-01 00:00:00.000000'"
                )
            with working(worker):
                assert until(lambda uid=uid: bench.state(uid) is State.DECIDED)
        assert bench.state(uid) is State.DECIDED
    assert len(house.networks["beta"].batches) == 3


def test_a_promoted_challenger_is_not_loaded_again(bench: Bench, house: House) -> None:
    house.act(Act.SHADOW, "beta")
    with working(bench.worker(house.serving())):
        house.act(Act.PROMOTE, "beta")
        assert house.decided()[1] == "beta"
    assert house.loaded == [None, "beta"] and Shadows(bench.store).counts("b" * 64) == (0, 0)


def test_a_calibration_counts_from_the_next_batch_on(bench: Bench, house: House) -> None:
    scale = ReadersScale(
        quality=(0.0, 1.0), rating=(0.0, 4.0), low=(0.0, 3.0), high=(1.0, 4.0), worst=0.0, best=4.0, cases=9
    )
    with working(bench.worker(house.serving())):
        before, _ = house.decided()
        Calibrations(bench.store).add("t" * 64, dumps(scale), actor="anna")
        after, _ = house.decided()
    assert bench.history(before).results[0].assessment.rating is None
    rating = bench.history(after).results[0].assessment.rating
    assert rating is not None and rating.value == pytest.approx(3.6)


# -- baselines ---------------------------------------------------------------------------------


def test_a_baseline_warms_up_and_then_decides(bench: Bench, house: House) -> None:
    with working(bench.worker(house.serving())):
        early = [house.decided()[0] for _ in range(4)]
        bench.network.quality = 0.7
        late, _ = house.decided()
        other, _ = house.decided(StationName="CT2")
    for uid in (*early, other):
        assert bench.history(uid).results[0].decision.baseline is None
    assert not [one for one in bench.history(other).results[0].decision.reasons if "MAD" in one]
    decision = bench.history(late).results[0].decision
    assert decision.relative and [one for one in decision.reasons if "6.7 MADs below the usual 0.90" in one]
    assert decision.baseline is not None and decision.baseline.median == pytest.approx(0.9)


def test_a_drift_is_an_alarm_for_the_physicist(bench: Bench, house: House) -> None:
    with working(bench.worker(house.serving())):
        for _ in range(4):
            house.decided(ProtocolName="Doe^Jane head")
        bench.network.quality = 0.7
        uids = [house.decided(ProtocolName="Doe^Jane head")[0] for _ in range(8)]
    sent = [row for uid in uids for row in bench.history(uid).deliveries if row.kind == "ALERT"]
    assert [row.destination for row in sent] == ["physicist-console-1"], "one alarm, not one a series"
    (row,) = Baselines(bench.store).rows(alarming=True)
    assert row.state.median == pytest.approx(0.9), "never a silent new normal"
    with bench.store.read() as connection:
        (payload,) = connection.exec_driver_sql("SELECT payload FROM outbox WHERE kind = 'ALERT'").scalars()
    assert "Baseline has drifted: CT head" in payload and "0.90" in payload and "0.70" in payload
    assert "qagate baselines accept" in payload and "Doe" not in payload


def test_field_strength_in_gauss_is_told_apart() -> None:
    assert field_strength_t({"MagneticFieldStrength": 1.5}) == 1.5
    assert field_strength_t({"MagneticFieldStrength": 15000}) == 1.5
    assert field_strength_t({}) is None and field_strength_t({"MagneticFieldStrength": 0}) is None
