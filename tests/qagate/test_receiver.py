import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from qagate.dicom import scu
from qagate.dicom.access import Access, AccessRule
from qagate.dicom.scp import StorageSCP
from qagate.dicom.spool import Spool
from qagate.receiver import Indexer
from qagate.series import Instance, Received, SeriesHeader
from qagate.store.engine import Store, open_store
from qagate.store.queue import Queue, Receiving

NOW = datetime.now(UTC)


@pytest.fixture
def hasty_store(migrated: Path, tmp_path: Path) -> Iterator[Store]:
    """Gives up a locked database after 0.2 s instead of 10."""
    path = shutil.copy(migrated, tmp_path / "qagate.db")
    with open_store(f"sqlite:///{path}", lock_timeout_s=0.2) as store:
        yield store


def until(condition: Callable[[], object], limit_s: float = 10.0) -> bool:
    end = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


def received(number: int, series: str = "1.2.1") -> Received:
    return Received(
        instance=Instance(
            sop_instance_uid=f"{series}.{number}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            series_instance_uid=series,
            study_instance_uid="1.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            calling_ae_title="CT1",
            path=f"series/{series}/{number}.dcm",
            sha256=f"{number:064x}",
            size=1000,
            received_at=NOW + timedelta(milliseconds=number),
        ),
        header=SeriesHeader(modality="CT"),
    )


@contextmanager
def indexing(queue: Queue) -> Iterator[Indexer]:
    indexer = Indexer(queue)
    indexer.start()
    try:
        yield indexer
    finally:
        indexer.stop()


@contextmanager
def locked(store_path: Path) -> Iterator[None]:
    """Hold SQLite's write lock, as a stuck process would."""
    connection = sqlite3.connect(store_path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def only(queue: Queue) -> Receiving:
    (series,) = queue.receiving()
    return series


def test_stop_records_everything_that_came_before(hasty_store: Store) -> None:
    queue = Queue(hasty_store)
    with indexing(queue) as indexer:
        for number in range(600):
            indexer.received(received(number))
    assert only(queue).instance_count == 600


def test_a_release_is_noted_after_what_came_before_it(hasty_store: Store) -> None:
    queue = Queue(hasty_store)
    when = NOW + timedelta(seconds=1)
    indexer = Indexer(queue)
    for number in range(300):
        indexer.received(received(number))
    indexer.released(frozenset({"1.2.1"}), when)  # of a series that nobody knows until it is recorded
    indexer.received(received(1, series="1.2.2"))
    indexer.start()
    indexer.stop()
    found = {series.series_instance_uid: series for series in queue.receiving()}
    assert found["1.2.1"].released_at == when
    assert found["1.2.2"].released_at is None


def test_an_instance_after_the_release_outweighs_it(hasty_store: Store) -> None:
    queue = Queue(hasty_store)
    with indexing(queue) as indexer:
        indexer.received(received(1))
        indexer.released(frozenset({"1.2.1"}), NOW + timedelta(milliseconds=2))
        indexer.received(received(3))
    assert only(queue).released_at is None


def test_other_writes_keep_their_place(hasty_store: Store) -> None:
    queue = Queue(hasty_store)
    seen: list[int] = []
    with indexing(queue) as indexer:
        indexer.received(received(1))
        indexer.call(lambda: seen.append(only(queue).instance_count))
        indexer.received(received(2))
        indexer.call(lambda: seen.append(only(queue).instance_count))
    assert seen == [1, 2]


def test_a_locked_store_is_tried_until_it_answers(hasty_store: Store, tmp_path: Path) -> None:
    queue = Queue(hasty_store)
    with capture_logs() as logs, indexing(queue) as indexer:
        with locked(tmp_path / "qagate.db"):
            for number in range(20):
                indexer.received(received(number))
            indexer.released(frozenset({"1.2.1"}), NOW + timedelta(seconds=1))
            assert until(lambda: any(entry["event"] == "record_failed" for entry in logs))
            assert queue.receiving() == []
        assert until(lambda: queue.receiving() and only(queue).released_at)
    assert only(queue).instance_count == 20
    (first, *_) = [entry for entry in logs if entry["event"] == "record_failed"]
    assert "lock" in first["error"]


def test_receiving_goes_on_while_the_store_is_locked(hasty_store: Store, tmp_path: Path, made: Any) -> None:
    queue = Queue(hasty_store)
    spool = Spool(tmp_path / "spool")
    with indexing(queue) as indexer:
        access = Access((AccessRule(ae_title="*"),))
        scp = StorageSCP(
            ae_title="QAGATE", host="127.0.0.1", port=0, spool=spool, access=access,
            on_received=indexer.received, on_released=indexer.released, min_free_bytes=0,
        )  # fmt: skip
        scp.start()
        try:
            uid, paths = made.series(5)
            gate = scu.Archive(name="gate", ae_title="QAGATE", host="127.0.0.1", port=scp.port)
            with locked(tmp_path / "qagate.db"):
                assert [result.status for result in scu.store(gate, paths)] == [0x0000] * 5
                assert len(list(spool.paths())) == 5
            assert until(lambda: queue.receiving() and only(queue).released_at)
        finally:
            scp.stop()
    assert (only(queue).series_instance_uid, only(queue).instance_count) == (uid, 5)


def test_a_thread_that_cannot_record_keeps_no_process_alive(hasty_store: Store, tmp_path: Path) -> None:
    indexer = Indexer(Queue(hasty_store))
    with locked(tmp_path / "qagate.db"):
        indexer.start()
        indexer.received(received(1))
        began = time.monotonic()
        indexer.stop(timeout_s=0.3)
        assert time.monotonic() - began < 5
        workers = [thread for thread in threading.enumerate() if thread.name == "indexer"]
        assert workers and all(thread.daemon for thread in workers)
    assert until(lambda: not any(thread.name == "indexer" for thread in threading.enumerate()))
