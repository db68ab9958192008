"""A power cut at every system call: what was acknowledged is on the disk, and the rest does no harm.

The receiver runs from its very first start, under strace; at each call the disk is rebuilt as a cut would
leave it. What cannot be emulated here: a disk that lies about its flushes, and the cut of a Postgres server,
whose own write-ahead log answers for what it committed.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from crash_disk import STRACE, Call, Kept, cuts, recorded
from crash_series import series as make_series
from ledger import record
from neighbours import ENVIRONMENT, free_port, until
from pydicom import dcmread

from qagate import app
from qagate.config import Settings
from qagate.dicom import scu
from qagate.dicom.headers import read_header
from qagate.dicom.part10 import hash_data_set
from qagate.dicom.spool import Spool
from qagate.store.engine import open_store
from qagate.store.queue import Queue
from qagate.store.schema import instance, outbox, result

pytestmark = [pytest.mark.faults, pytest.mark.timeout(280)]

RECEIVER = """
import os, sys, threading
from pathlib import Path
from qagate import app
from qagate.config import Settings

stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
settings = Settings(data_dir=Path(sys.argv[1]), receiver={"port": int(sys.argv[2]), "min_free_mb": 1})
app.receive(settings, stop)
"""
DECIDER = """
import os, sys
from pathlib import Path
from qagate.alerts import Alerter
from qagate.assessment import Assessment, Decision, Prompt, Verdict
from qagate.dicom.report import ReportIdentity
from qagate.dicom.spool import Spool
from qagate.examine import Examination
from qagate.reporting import Destination, Reporter
from qagate.store.engine import open_store
from qagate.store.queue import Queue

data = Path(sys.argv[1])
reporter = Reporter(
    spool=Spool(data / "spool"), folder=data / "reports",
    destinations=[Destination(name="pacs", results=True, images=False)],
    alerter=Alerter([]), alert_verdicts=[],
    identity=lambda series: ReportIdentity(
        series_instance_uid=series.series_instance_uid, revision=series.revision, device_uid="2.25.1",
        ae_title="QAGATE",
    ),
)
assessment = Assessment(prompt=Prompt(dimension="2D", modality="CT"), quality=0.2, score=0.2, model="m",
                        model_version="1", weights_sha256="0" * 64)
examination = Examination(
    assessment=assessment, decision=Decision(verdict=Verdict.REVIEW, reasons=("low",)), evidence=()
)
with open_store(f"sqlite:///{data / 'qagate.db'}") as store:
    queue = Queue(store)
    for receiving in queue.receiving():
        assert queue.close(receiving, "quiet")
    series = queue.claim("w", 60)
    items = reporter.deliveries(series, examination)
    assert queue.finish(
        series, assessment, examination.decision, items, publish=lambda: reporter.publish(series)
    )
    os.write(1, b"decided\\n")
"""
TOLD = b"decided\n"
_SUCCESS = bytes.fromhex("0000000902000000") + b"\0\0"  #: (0000,0900) Status 0x0000
_UID = re.compile(rb"\x00\x00\x00\x10..\x00\x00([0-9.]+)", re.DOTALL)  #: (0000,1000)
CHANGES = frozenset({"open", "write", "pwrite64", "ftruncate", "fsync", "mkdir", "link", "rename", "unlink"})


@dataclass(frozen=True)
class Recording:
    """A reception from the first start on: where, and what the calls were."""

    root: Path
    data: Path
    log: Path
    files: dict[str, Path]  #: SOP Instance UID -> what was sent


@pytest.fixture(scope="module")
def reception(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    if not STRACE.exists():
        pytest.skip(f"{STRACE} is not installed (Debian strace)")
    folder = tmp_path_factory.mktemp("cut")
    root, port = folder / "disk", free_port()
    root.mkdir()
    data, log = root / "lib" / "qagate", folder / "calls"  # both folders are the gate's to make
    files = make_series(folder / "made", 3)
    peer = scu.Archive(
        name="gate", ae_title="QAGATE", host="127.0.0.1", port=port, calling_ae_title="CT1", timeout_s=30
    )

    def answers() -> bool:
        try:
            scu.echo(peer)
        except scu.DeliveryError:
            return False
        return True

    program = [sys.executable, "-c", RECEIVER, str(data), str(port)]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.DEVNULL, "env": ENVIRONMENT}
    with recorded(program, log, **pipes) as process:
        assert until(answers, 120), "the receiver did not start"
        assert all(answer.status == 0x0000 for answer in scu.store(peer, files))
        with open_store(f"sqlite:///{data / 'qagate.db'}") as store:
            assert until(lambda: len(Queue(store).known_paths()) == len(files))
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)
    uids = {str(dcmread(path).SOPInstanceUID): path for path in files}
    return Recording(root=root, data=data, log=log, files=uids)


def acknowledged(calls: list[Call]) -> set[str]:
    """SOP Instance UIDs of the C-STORE responses with success that left the gate."""
    sent = [call.data for call in calls if call.name in ("sendto", "write") and _SUCCESS in call.data]
    return {match[1].decode().rstrip("\0") for data in sent for match in _UID.finditer(data)}


def changes(root: Path) -> Callable[[Call], bool]:
    """Calls that change the disk."""
    return lambda call: call.name in CHANGES and any(path.is_relative_to(root) for path in call.paths)


def rebuilt(tmp_path: Path) -> Iterator[Path]:
    """Fresh folders."""
    number = 0
    while True:
        number += 1
        folder = tmp_path / str(number)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("kept", Kept, ids=lambda kept: kept.value)
def test_spool(kept: Kept, reception: Recording, tmp_path: Path) -> None:
    folders, count, most = rebuilt(tmp_path), 0, 0
    where = reception.data.relative_to(reception.root)
    spooled = changes(reception.data / "spool")
    matters: Callable[[Call], bool] = lambda call: spooled(call) or call.name == "sendto"  # noqa: E731
    wanted = {uid: hash_data_set(path)[0] for uid, path in reception.files.items()}
    for disk, before in cuts(reception.log, reception.root, matters):
        said = acknowledged(before)
        folder = next(folders)
        disk.rebuild(folder, kept)
        spool = Spool(folder / where / "spool")
        with spool.reserved():
            spool.recover()
        found = {one.instance.sop_instance_uid: one.instance.sha256 for one in spool.walk()}
        assert said <= found.keys(), f"lost after {before[-1]}"
        assert len(found) == len(list(spool.paths())), "a name without its bytes"
        assert found.items() <= wanted.items()
        assert not list(spool.incoming.iterdir())
        count, most = count + 1, max(most, len(said))
    assert most == len(wanted) and count > 30
    record(
        fault="power cut", where=f"receiver: spool; of what was not flushed survives: {kept.value}",
        database="sqlite",
        accepted=most, lost=0, duplicated=0, outcome="what was answered 0x0000 is whole in the spool",
    )  # fmt: skip


@pytest.mark.parametrize("kept", Kept, ids=lambda kept: kept.value)
def test_database_and_restart(kept: Kept, reception: Recording, tmp_path: Path) -> None:
    """From the first start on, the gate starts on whatever a cut left, and records all that was accepted."""
    folders, count, starts = rebuilt(tmp_path), 0, 0
    where = reception.data.relative_to(reception.root)
    seen: set[str] = set()
    for disk, before in cuts(reception.log, reception.root, to_database):
        count += 1
        folder = next(folders)
        disk.rebuild(folder, kept)
        data = folder / where
        if (data / "qagate.db").exists():
            with sqlite3.connect(data / "qagate.db") as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                tables = str(connection.execute("SELECT name FROM sqlite_master ORDER BY 1").fetchall())
                rows = "instance" in tables and connection.execute("SELECT count(*) FROM instance").fetchone()
            connection.close()
            state = f"{tables}{rows}"
        else:
            state = "no database"
        if state in seen:  # the start below takes long; one of each kind
            continue
        seen.add(state)
        starts += 1
        restart(Settings(data_dir=data), acknowledged(before))
    assert starts >= 3 and count > 30
    record(
        fault="power cut", where=f"receiver: SQLite; of what was not flushed survives: {kept.value}",
        database="sqlite",
        accepted=len(reception.files), lost=0, duplicated=0,
        outcome="the database opens whole, and what was answered 0x0000 is recorded after the start",
    )  # fmt: skip


def to_database(call: Call) -> bool:
    """Calls that change the files of the database."""
    return call.name in CHANGES and bool(call.paths) and call.paths[-1].name.startswith("qagate.db")


def restart(settings: Settings, said: set[str]) -> None:
    """What a receiver does before it listens."""
    app.begin(settings, "receiver")
    spool = Spool(settings.spool_dir)
    with spool.reserved(), open_store(settings.store_url) as store:
        spool.recover()
        app._recover(spool, Queue(store))
        with store.read() as connection:
            known = set(connection.scalars(sa.select(instance.c.sop_instance_uid)))
    assert said <= known


@pytest.fixture(scope="module")
def deciding(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Folder, calls and former state of a gate that decides on one series."""
    if not STRACE.exists():
        pytest.skip(f"{STRACE} is not installed (Debian strace)")
    folder = tmp_path_factory.mktemp("decide")
    data, log, start = folder / "data", folder / "calls", folder / "start"
    settings = Settings(data_dir=data)
    app.begin(settings, "worker")
    spool = Spool(settings.spool_dir)
    for path in make_series(folder / "made", 3):
        spool.place(Path(shutil.copy(path, spool.temporary())), read_header(path))
    with open_store(settings.store_url) as store:
        Queue(store).record(spool.walk())
    shutil.copytree(data, start)
    with recorded([sys.executable, "-c", DECIDER, str(data)], log, env=ENVIRONMENT) as process:
        assert process.wait(120) == 0
    return data, log, start


@pytest.mark.parametrize("kept", Kept, ids=lambda kept: kept.value)
def test_decision_and_report(kept: Kept, deciding: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """A decision that is in the database has its report files; one that was told as done is there."""
    data, log, start = deciding
    folders, decisions, count = rebuilt(tmp_path), 0, 0
    written = changes(data)
    for disk, before in cuts(log, data, lambda call: written(call) or call.data == TOLD, start):
        folder = next(folders)
        disk.rebuild(folder, kept)
        with open_store(f"sqlite:///{folder / 'qagate.db'}") as store, store.read() as connection:
            decided = connection.scalar(sa.select(sa.func.count()).select_from(result))
            payloads = list(connection.scalars(sa.select(outbox.c.payload)))
        assert bool(decided) == (len(payloads) == 2)
        for payload in payloads:
            report = folder / Path(payload).relative_to(data)
            assert report.read_bytes() == Path(payload).read_bytes(), f"after {before[-1]}"
        assert decided or TOLD not in [call.data for call in before]
        count, decisions = count + 1, decisions + bool(decided)
    assert 0 < decisions < count
    record(
        fault="power cut", where=f"worker: decision; of what was not flushed survives: {kept.value}",
        database="sqlite",
        accepted=1, lost=0, duplicated=0, outcome="a decision in the database has its report on the disk",
    )  # fmt: skip
