"""No space left at the first write, the second, the third ...: a small file system, filled page by page."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fault_archives import Archive
from fault_gate import EVERYTHING, LIMIT_S, Books, holds_for, needs
from ledger import record
from neighbours import free_port, until
from worker_bench import Bench, working

from qagate import backup
from qagate.dicom import scu
from qagate.dicom.access import Access, AccessRule
from qagate.dicom.scp import StorageSCP
from qagate.dicom.spool import Spool
from qagate.receiver import Indexer
from qagate.series import Received, State
from qagate.store.engine import open_store
from qagate.store.errors import StoreError
from qagate.store.migrate import migrate
from qagate.store.queue import Queue
from qagate.store.schema import instance, series

pytestmark = [pytest.mark.faults, pytest.mark.timeout(280)]
PAGE = 4096


class SmallDisk:
    """A tmpfs and a file that fills it."""

    def __init__(self, path: Path, size_mb: int) -> None:
        path.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "qagate-test", str(path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if mounted.returncode:
            pytest.skip(f"no file system can be mounted here (it needs root): {mounted.stderr.strip()}")
        self.path = path
        self._ballast = path / "ballast"

    def leave(self, pages: int) -> None:
        """Fill it but for some pages; those that the ballast has are given back first."""
        self.free()
        with self._ballast.open("wb") as file:
            while (over := os.statvfs(self.path).f_bavail - pages) > 0:
                with contextlib.suppress(OSError):  # others write as well
                    os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size + over * PAGE)

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=True)


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[int], SmallDisk]]:
    needs("mount")
    disks: list[SmallDisk] = []

    def make(size_mb: int) -> SmallDisk:
        disks.append(SmallDisk(tmp_path / f"disk{len(disks)}", size_mb))
        return disks[-1]

    yield make
    for disk in disks:
        disk.close()


def test_the_spool_answers_success_only_for_what_is_whole(
    make_disk: Callable[[int], SmallDisk], made: Any
) -> None:
    """32 KiB an instance: temporary file, its name, the folders, at 0 to 15 free pages."""
    disk = make_disk(4)
    spool, got = Spool(disk.path / "spool"), []
    port = free_port()
    scp = StorageSCP(
        ae_title="QAGATE", host="127.0.0.1", port=port, spool=spool, min_free_bytes=0,
        access=Access((AccessRule(ae_title="*"),)), on_received=got.append, on_released=lambda *_: None,
    )  # fmt: skip
    scp.start()
    gate = scu.Archive(name="gate", ae_title="QAGATE", host="127.0.0.1", port=port)
    statuses: list[int | None] = []
    try:
        for pages in range(16):
            disk.leave(pages)
            _, (path,) = made.series(1)
            (answer,) = scu.store(gate, [path])
            statuses.append(answer.status)
            assert len(got) == len(list(spool.paths())) == statuses.count(0x0000)
            assert not list(spool.incoming.iterdir()), "nothing is left of what was refused"
            disk.free()
    finally:
        scp.stop()
    assert set(statuses) == {0x0000, 0xA700} and statuses == sorted(statuses, key=bool, reverse=True)
    lost = sum(1 for one in got if not spool.holds(one.instance))
    record(
        fault="disk full at every write", where="receiver: spool (temporary file, name, folder)",
        database="sqlite", accepted=len(got), lost=lost, duplicated=0,
        outcome="answered 0xA700, nothing half is left; the scanner keeps the image and sends it again",
    )  # fmt: skip
    assert lost == 0


def test_a_database_without_space_catches_up(
    make_disk: Callable[[int], SmallDisk], made: Any, tmp_path: Path
) -> None:
    disk = make_disk(8)
    url = f"sqlite:///{disk.path / 'qagate.db'}"
    migrate(url)
    spool = Spool(tmp_path / "spool")
    with open_store(url) as store:
        indexer = Indexer(Queue(store))
        indexer.start()
        failures, accepted = 0, 0
        for pages in range(0, 24, 2):
            disk.leave(pages)
            for received in _spooled(spool, made):
                indexer.received(received)
                accepted += 1
            failures += not indexer.settled(0.6)
            disk.free()
            assert indexer.settled(20), "the indexer came back by itself"
        indexer.stop()
        assert failures > 0, "space was never short"
        with store.read() as connection:
            known = set(connection.scalars(sa.select(instance.c.path)))
            rows = connection.scalar(sa.select(sa.func.count()).select_from(instance))
    with sqlite3.connect(disk.path / "qagate.db") as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    lost = len(set(spool.paths()) - known)
    record(
        fault="disk full at every write", where="receiver: database", database="sqlite", accepted=accepted,
        lost=lost, duplicated=(rows or 0) - len(known),
        outcome="images are accepted into the spool; they are recorded when there is space, by itself",
    )  # fmt: skip
    assert (lost, rows) == (0, len(known))


def _spooled(spool: Spool, made: Any) -> Iterator[Received]:
    from qagate.dicom.headers import read_header

    for path in made.series(2)[1]:
        temporary = Path(shutil.copy(path, spool.temporary()))
        yield spool.read(spool.place(temporary, read_header(path)).path)


@pytest.fixture
def bench(
    tmp_path: Path, made: Any, make_disk: Callable[[int], SmallDisk]
) -> Iterator[tuple[Bench, SmallDisk]]:
    """A worker whose reports lie on the small disk."""
    disk = make_disk(1)
    url = f"sqlite:///{tmp_path / 'qagate.db'}"
    migrate(url)
    with open_store(url) as store:
        bench = Bench(store, tmp_path, made)
        bench.reports = disk.path / "reports"
        yield bench, disk


def test_a_report_without_space_waits_and_costs_no_try(bench: tuple[Bench, SmallDisk]) -> None:
    worker_bench, disk = bench
    uids, put_off = [], 0
    for pages in range(6):
        uids.append(worker_bench.complete())
        with working(worker_bench.worker(max_attempts=1)) as logs:
            disk.leave(pages)
            assert until(
                lambda: any(one["event"] in ("scoring_put_off", "decided") for one in logs), LIMIT_S, 0.02
            )
            put_off += any(one["event"] == "scoring_put_off" for one in logs)
        disk.free()
        row = worker_bench.history(uids[-1]).row
        assert State(row.state) in (State.COMPLETE, State.DECIDED), row
        assert row.state == "DECIDED" or (row.attempts, "No space left" in row.last_error) == (0, True)
        assert not list(worker_bench.reports.rglob("*.part"))
    assert put_off >= 3
    worker_bench.hurry()
    with working(worker_bench.worker(max_attempts=1)):
        assert until(lambda: all(worker_bench.state(uid) is State.DECIDED for uid in uids), LIMIT_S)
    results = [worker_bench.history(uid).results for uid in uids]
    record(
        fault="disk full at every write", where="worker: report files", database="sqlite",
        accepted=3 * len(uids), lost=0, duplicated=sum(len(one) - 1 for one in results),
        outcome="the series waits with `No space left on device`, is scored again every 15 s, never FAILED",
    )  # fmt: skip
    assert all(len(one) == 1 for one in results)


def test_a_backup_without_space_leaves_nothing(
    make_disk: Callable[[int], SmallDisk], made: Any, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    url = f"sqlite:///{data / 'qagate.db'}"
    data.mkdir()
    migrate(url)
    spool = Spool(data / "spool")
    accepted = len([*_spooled(spool, made)])
    size = sum(path.stat().st_size for path in data.rglob("*") if path.is_file()) // PAGE
    disk = make_disk(8)
    failed = 0
    for pages in (0, 1, 2, size // 2, size - 8, size, size + 4, size + 64):
        disk.leave(pages)
        target = disk.path / f"backup-{pages}"
        try:
            backup.make(target, store_url=url, data_dir=data, folders=("spool",))
            backup.verify(target)
            shutil.rmtree(target)
        except (OSError, StoreError):
            failed += 1
            assert not target.exists() and not target.with_name(target.name + ".part").exists()
        disk.free()
    assert 3 <= failed < 8
    record(
        fault="disk full at every write", where="`qagate backup`", database="sqlite", accepted=accepted,
        lost=accepted - len(list(spool.paths())), duplicated=0,
        outcome="ends with a sentence and leaves nothing; the gate is not touched; with space it is made",
    )  # fmt: skip


LOGS = (
    "import sys; from qagate import telemetry; import structlog; telemetry.configure(role='test');"
    "log = structlog.get_logger();"
    "[log.error('record_failed', retry_in_s=5) for _ in range(200)]; print('still here')"
)


def test_a_full_log_ends_no_loop(make_disk: Callable[[int], SmallDisk]) -> None:
    disk = make_disk(1)
    with (disk.path / "log").open("wb") as log:
        disk.leave(2)
        done = subprocess.run(
            [sys.executable, "-c", LOGS], stdout=subprocess.PIPE, stderr=log, check=False, text=True
        )
    assert (done.returncode, done.stdout) == (0, "still here\n")
    written = (disk.path / "log").read_bytes()
    assert b"record_failed" in written and len(written) <= 2 * PAGE, "the rest was lost, and nothing else"


def test_the_whole_gate_on_a_full_disk(
    make_gate: Callable[..., Any], make_disk: Callable[[int], SmallDisk], made: Any, tmp_path: Path
) -> None:
    disk = make_disk(48)
    archive = Archive("pacs", tmp_path)
    archive.sick = False
    archive.start()
    gate = make_gate(folder=disk.path / "gate", **EVERYTHING, archive=[archive.settings(timeout_s=10.0)])
    books = Books(gate, gate.store_url, [archive])
    try:
        books.send(made.series(3)[1])
        disk.leave(0)
        refused = made.series(3)[1]
        with pytest.raises(scu.DeliveryError):
            books.send(refused)
        assert holds_for(4.0, lambda: gate.process.poll() is None), "nothing ends"
        disk.free()
        assert until(gate.answers, LIMIT_S)
        assert books.send(refused) == 3
        books.settle()
        assert {row.attempts <= 1 for row in books.rows(sa.select(series.c.attempts))} == {True}
        books.close(
            "disk full: spool, database, reports and log on it",
            "the whole gate",
            "new associations are rejected (the scanner says: local limit exceeded); what was accepted "
            "waits; everything is decided and sent when there is space",
        )
    finally:
        gate.stop()
        archive.close()
