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
from qagate.gate.policy import Policy
from qagate.gate.scoring import Scorer
from qagate.reporting import Destination, Reporter
from qagate.series import Series, State
from qagate.store.engine import Store
from qagate.store.queue import Queue
from qagate.store.views import SeriesHistory, Views
from qagate.worker import Worker

Logs = list[MutableMapping[str, Any]]
POISON = {"RescaleIntercept": 3000}  # no tissue is so dense; the network below cannot bear it


class Network:
    """Judges slices by nothing; fails on poison, and waits when told to."""

    name, version, weights_sha256 = "test", "1", "0" * 64
    score_range, modalities = (0.0, 1.0), ("CT",)

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.before: Callable[[], None] = lambda: None

    def predict(self, slices: Sequence[SliceInput]) -> list[SliceOutput]:
        self.batches.append(len(slices))
        self.before()
        if any(one.pixels.max() > 2500 for one in slices):
            raise RuntimeError("the network cannot bear this")
        good = SliceOutput(score=0.9, quality=0.9, artefacts={"none": 1.0}, out_of_distribution=0.1)
        return [good] * len(slices)


class Bench:
    """A worker, and what it works on."""

    def __init__(self, store: Store, folder: Path, made: Any) -> None:
        self.store, self.queue, self.made = store, Queue(store), made
        self.network, self.spool = Network(), Spool(folder / "spool")
        self.reports = folder / "reports"

    def worker(self, **settings: Any) -> Worker:
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
            name="w1", queue=self.queue, spool=self.spool, scorer=Scorer(self.network), policy=Policy(),
            reporter=reporter, **(values | settings),
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
