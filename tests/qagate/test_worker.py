"""The worker over a real queue and spool; only the network is replaced, by one that misbehaves on demand."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from models.inputs import SliceInput, SliceOutput
from qagate.alerts import Alerter
from qagate.dicom.headers import read_header
from qagate.dicom.report import ReportIdentity
from qagate.dicom.spool import Spool
from qagate.gate.baseline import BaselineRules
from qagate.gate.calibration import ReadersScale, dumps
from qagate.gate.policy import Policy
from qagate.gate.scoring import Scorer
from qagate.reporting import Destination, Reporter
from qagate.series import Series, State
from qagate.serving import Fixed, Models, Served, Serving
from qagate.shadow import Shadow, field_strength_t
from qagate.store.baselines import Baselines
from qagate.store.calibrations import Calibrations
from qagate.store.engine import Store
from qagate.store.queue import Queue
from qagate.store.roles import Act, Roles
from qagate.store.shadows import Shadows
from qagate.store.views import SeriesHistory, Views
from qagate.watch import Watch
from qagate.worker import Worker

Logs = list[MutableMapping[str, Any]]
PHYSICIST = Alerter(("console://",), prefix="physicist-")
RULES = BaselineRules(warm_up=4, recent=4, drift_series=3)
POISON = {"RescaleIntercept": 3000}  # no tissue is so dense; the network below cannot bear it


class Network:
    """Judges slices by nothing; fails on poison, and waits when told to."""

    version, score_range, modalities = "1", (0.0, 1.0), ("CT",)

    def __init__(self, name: str = "test", quality: float = 0.9) -> None:
        self.name, self.weights_sha256, self.quality = name, name[0] * 64, quality
        self.batches: list[int] = []
        self.before: Callable[[], None] = lambda: None

    def predict(self, slices: Sequence[SliceInput]) -> list[SliceOutput]:
        self.batches.append(len(slices))
        self.before()
        if any(one.pixels.max() > 2500 for one in slices):
            raise RuntimeError("the network cannot bear this")
        good = SliceOutput(score=0.9, quality=self.quality, artefacts={"none": 1.0}, out_of_distribution=0.1)
        return [good] * len(slices)


class Bench:
    """A worker, and what it works on."""

    def __init__(self, store: Store, folder: Path, made: Any) -> None:
        self.store, self.queue, self.made = store, Queue(store), made
        self.network, self.spool = Network(), Spool(folder / "spool")
        self.reports = folder / "reports"

    def worker(self, models: Models | None = None, **settings: Any) -> Worker:
        policy, watch = Policy(), Watch(baselines=Baselines(self.store), rules=RULES, physicist=PHYSICIST)
        reporter = Reporter(
            spool=self.spool,
            folder=self.reports,
            destinations=[Destination(name="pacs", results=True, images=True)],
            alerter=Alerter(()),
            alert_verdicts=(),
            identity=identity,
        )
        values: dict[str, Any] = {"batch_series": 4, "lease_s": 30.0, "max_attempts": 2, "poll_s": 0.01}
        return Worker(
            name="w1", queue=self.queue, spool=self.spool, reporter=reporter, policy=policy, watch=watch,
            models=models or Fixed(champion=Served(scorer=Scorer(self.network))),
            shadow=Shadow(shadows=Shadows(self.store), watch=watch, policy=policy), **(values | settings),
        )  # fmt: skip

    def receive(self, count: int = 3, **values: Any) -> str:
        """Spool and record one series that is not closed yet."""
        uid, paths = self.made.series(count, **values)
        self.arrive(paths)
        return str(uid)

    def arrive(self, paths: Sequence[Path]) -> None:
        for path in paths:
            temporary = Path(shutil.copy(path, self.spool.temporary()))
            placed = self.spool.place(temporary, read_header(path))
            self.queue.record([self.spool.read(placed.path)])

    def complete(self, count: int = 3, **values: Any) -> str:
        uid = self.receive(count, **values)
        self.close()
        return uid

    def close(self) -> None:
        for series in self.queue.receiving():
            assert self.queue.close(series, "quiet")

    def history(self, uid: str) -> SeriesHistory:
        found = Views(self.store).history(uid)
        assert found is not None
        return found

    def state(self, uid: str) -> State:
        return State(self.history(uid).row.state)

    def hurry(self) -> None:
        """Let the pause of a failed series be over."""
        with self.store.write() as connection:
            connection.exec_driver_sql("UPDATE series SET not_before = '2000-01-01 00:00:00.000000'")


def identity(series: Series) -> ReportIdentity:
    return ReportIdentity(
        series_instance_uid=series.series_instance_uid, revision=series.revision,
        device_uid="2.25.1", ae_title="QAGATE", software_version="0",
    )  # fmt: skip


@pytest.fixture
def bench(sqlite_store: Store, tmp_path: Path, made: Any) -> Bench:
    return Bench(sqlite_store, tmp_path, made)


@contextmanager
def working(worker: Worker) -> Iterator[Logs]:
    """Run the worker meanwhile; gives what it logs."""
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    with capture_logs() as logs:
        thread.start()
        try:
            yield logs
        finally:
            stop.set()
            thread.join(30)
            assert not thread.is_alive()


def until(condition: Callable[[], object], limit_s: float = 30.0) -> bool:
    end = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


def test_a_series_is_decided_and_its_documents_wait_in_the_outbox(bench: Bench) -> None:
    uid = bench.complete()
    with working(bench.worker()):
        assert until(lambda: bench.state(uid) is State.DECIDED)
    history = bench.history(uid)
    (result,) = history.results
    assert result.assessment.quality == pytest.approx(0.9)
    kinds = {(row.kind, row.destination, row.state) for row in history.deliveries}
    assert {("SR", "pacs", "PENDING"), ("FORWARD", "pacs", "PENDING")} <= kinds
    assert (bench.reports / uid / "1-comprehensive3d.dcm").is_file()


def test_waiting_series_are_scored_in_one_pass(bench: Bench) -> None:
    uids = [bench.complete() for _ in range(3)]
    with working(bench.worker()):
        assert until(lambda: all(bench.state(uid) is State.DECIDED for uid in uids))
    assert bench.network.batches == [9]


def test_a_poisonous_series_costs_its_neighbours_no_try(bench: Bench) -> None:
    good, bad = [bench.complete() for _ in range(2)], bench.complete(**POISON)
    good.append(bench.complete())
    with working(bench.worker()):
        assert until(lambda: all(bench.state(uid) is State.DECIDED for uid in good))
        assert until(lambda: bench.state(bad) is State.COMPLETE)
        row = bench.history(bad).row
        assert (row.attempts, row.last_error) == (1, "RuntimeError: the network cannot bear this")
        bench.hurry()
        assert until(lambda: bench.state(bad) is State.FAILED)
    assert [bench.history(uid).row.attempts for uid in good] == [1, 1, 1]
    history = bench.history(bad)
    assert (history.row.attempts, history.results) == (2, ())
    # Its images go on all the same: a gate that fails must not keep them.
    assert [row.kind for row in history.deliveries] == ["FORWARD"]


def test_series_whose_worker_died_are_scored_one_by_one(bench: Bench) -> None:
    uids = [bench.complete() for _ in range(3)]
    while bench.queue.claim("dead", lease_s=-1.0):
        pass
    assert bench.queue.reap(max_attempts=3) == 3
    fresh = bench.complete()
    with working(bench.worker(max_attempts=3)):
        assert until(lambda: all(bench.state(uid) is State.DECIDED for uid in [*uids, fresh]))
    assert bench.network.batches == [3, 3, 3, 3]


def test_a_lease_is_renewed_while_scoring_takes_long(bench: Bench) -> None:
    uid = bench.complete()
    reaped: list[int] = []

    def take_long() -> None:
        for _ in range(8):
            time.sleep(0.2)
            reaped.append(bench.queue.reap(max_attempts=2))

    bench.network.before = take_long
    with working(bench.worker(lease_s=0.6)):
        assert until(lambda: bench.state(uid) is State.DECIDED)
    assert reaped == [0] * 8
    assert bench.history(uid).row.attempts == 1


def test_a_late_instance_makes_the_result_void(bench: Bench) -> None:
    study = "1.2.826.0.1.1"
    uid = bench.complete(StudyInstanceUID=study)
    late = bench.made.slice(InstanceNumber=4, SeriesInstanceUID=uid, StudyInstanceUID=study)
    bench.network.before = lambda: bench.arrive([late])
    with working(bench.worker()) as logs:
        assert until(lambda: any(entry["event"] == "superseded" for entry in logs))
    history = bench.history(uid)
    assert (history.row.state, history.row.revision, history.results) == ("RECEIVING", 2, ())
    bench.network.before = lambda: None
    bench.close()
    with working(bench.worker()):
        assert until(lambda: bench.state(uid) is State.DECIDED)
    (result,) = bench.history(uid).results
    assert (result.revision, result.assessment.slice_count) == (2, 4)


def test_a_lost_lease_writes_nothing(bench: Bench) -> None:
    uid = bench.complete()

    def lose() -> None:
        with bench.store.write() as connection:
            connection.exec_driver_sql("UPDATE series SET lease_token = 'of another worker'")

    bench.network.before = lose
    with working(bench.worker()) as logs:
        assert until(lambda: any(entry["event"] == "superseded" for entry in logs))
    history = bench.history(uid)
    assert (history.row.state, history.results, history.deliveries) == ("SCORING", (), ())


def test_stop_lets_the_batch_in_hand_end(bench: Bench) -> None:
    uid = bench.complete()
    inside = threading.Event()

    def take_long() -> None:
        inside.set()
        time.sleep(0.5)

    bench.network.before = take_long
    with working(bench.worker()):
        assert inside.wait(30)
    assert bench.state(uid) is State.DECIDED


def test_unreadable_files_are_decided_not_failed(bench: Bench) -> None:
    uid = bench.receive()
    for relative in list(bench.spool.paths()):
        path = bench.spool.absolute(relative)
        path.write_bytes(path.read_bytes()[:900])
    bench.close()
    with working(bench.worker()):
        assert until(lambda: bench.state(uid) is State.DECIDED)
    (result,) = bench.history(uid).results
    assert result.decision.verdict.value == "NOT_ASSESSED"
    assert bench.network.batches == []


# -- champion and challenger -------------------------------------------------------------------


class House:
    """Networks by name, some of which cannot be loaded."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.roles, self.loaded = bench, Roles(bench.store), []
        self.networks = {None: bench.network} | {
            name: Network(name, quality) for name, quality in (("alpha", 0.6), ("beta", 0.2))
        }
        self.broken: set[str] = set()

    def load(self, name: str | None) -> Scorer:
        self.loaded.append(name)
        if name in self.broken:
            raise RuntimeError(f"weights of {name} are broken")
        return Scorer(self.networks[name])

    def serving(self) -> Serving:
        return Serving(
            roles=self.roles, calibrations=Calibrations(self.bench.store), load=self.load, worker="w1"
        )

    def act(self, act: Act, name: str | None = None, sha: str | None = None) -> None:
        sha = (name or "")[:1] * 64 if sha is None else sha
        self.roles.act(act, name=name, weights_sha256=sha, actor="anna", standing=self.roles.standing())

    def decided(self, **values: Any) -> tuple[str, str]:
        """One series through the worker that runs: its UID, and which model decided it."""
        uid = self.bench.complete(**values)
        assert until(lambda: self.bench.state(uid) is State.DECIDED)
        return uid, self.bench.history(uid).results[-1].assessment.model


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
