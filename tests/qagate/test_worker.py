"""The worker over a real queue and spool; only the network is replaced, by one that misbehaves on demand."""

import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from worker_bench import POISON, Bench, until, working

from qagate.series import State
from qagate.store.engine import Store
from qagate.store.trends import Selection, Trends


@pytest.fixture
def bench(sqlite_store: Store, tmp_path: Path, made: Any) -> Bench:
    return Bench(sqlite_store, tmp_path, made)


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


def test_coil_kernel_and_dose_reach_the_trends(bench: Bench) -> None:
    uid = bench.complete(CTDIvol=12.5, ConvolutionKernel="Br40d", StationName="CT7")
    with working(bench.worker()):
        assert until(lambda: bench.state(uid) is State.DECIDED)
    (result,) = bench.history(uid).results
    assert result.assessment.technique == {"kernel": "Br40d", "ctdi_vol_mgy": 12.5}
    now = bench.store.now()
    of = Selection(since=now - timedelta(hours=1), until=now + timedelta(hours=1), kernel="Br40d")
    (found,) = Trends(bench.store).doses(of, "quality", 9)
    assert (found.series_instance_uid, found.ctdi_vol_mgy) == (uid, 12.5)
    assert found.value == pytest.approx(0.9)


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
        assert row.attempts == 1 and (row.last_error or "").startswith("RuntimeError at qagate.gate.scoring:")
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


def test_a_lost_lease_leaves_the_report_of_the_worker_that_decided(bench: Bench) -> None:
    study = "1.2.826.0.1.2"
    uid = bench.complete(StudyInstanceUID=study)
    late = bench.made.slice(InstanceNumber=4, SeriesInstanceUID=uid, StudyInstanceUID=study)
    report, decided = bench.reports / uid / "1-comprehensive3d.dcm", []

    def stall() -> None:
        """As long as it takes for the lease to end and another worker to decide, with one image more."""
        bench.network.before = lambda: None
        with bench.store.write() as connection:
            connection.exec_driver_sql("UPDATE series SET lease_expires_at = '2000-01-01 00:00:00.000000'")
        assert bench.queue.reap(max_attempts=9) == 1
        bench.arrive([late])
        bench.close()
        with working(bench.worker(max_attempts=9)):
            assert until(lambda: bench.state(uid) is State.DECIDED)
        decided.append(report.read_bytes())

    bench.network.before = stall
    with working(bench.worker(max_attempts=9)) as logs:
        assert until(lambda: any(entry["event"] == "superseded" for entry in logs))
    (result,) = bench.history(uid).results
    assert (result.revision, result.assessment.slice_count) == (1, 4)
    assert [report.read_bytes()] == decided
    assert {path.suffix for path in report.parent.iterdir()} == {".dcm"}


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
