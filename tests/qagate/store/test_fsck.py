"""fsck: each thing that can come apart is told in a sentence, and mended where that is safe."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from neighbours import OrthancServer, free_port
from worker_bench import Bench, until, working

from qagate.dicom.headers import read_header
from qagate.dicom.scu import Archive, store
from qagate.fsck import Finding, Fsck
from qagate.series import State
from qagate.store.audit import Trail
from qagate.store.engine import open_store
from qagate.store.outbox import Kind, Outbox
from qagate.store.schema import audit, outbox, result, series

HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def bench(url: str, made: Any, tmp_path: Path) -> Iterator[Bench]:
    """A gate without processes."""
    with open_store(url) as store:
        yield Bench(store, tmp_path, made)


def fsck(bench: Bench, *archives: Archive, deep: bool = False) -> list[Finding]:
    return list(
        Fsck(
            store=bench.store, spool=bench.spool, archives=archives, destinations={"pacs"},
            since=HOUR_AGO, deep=deep,
        ).run()
    )  # fmt: skip


def decided(bench: Bench, count: int = 2) -> str:
    uid = bench.complete(count)
    with working(bench.worker()):
        assert until(lambda: bench.state(uid) is State.DECIDED)
    return uid


def deliver(bench: Bench, send: Callable[[Kind, str], None] = lambda *_: None) -> None:
    box = Outbox(bench.store)
    while (delivery := box.claim(60)) is not None:
        send(delivery.kind, delivery.payload)
        assert box.mark_sent(delivery)


def place(bench: Bench, old: bool = True) -> str:
    """Spool an instance as a receiver does that dies before it records it."""
    uid, (path,) = bench.made.series(1)
    temporary = Path(shutil.copy(path, bench.spool.temporary()))
    placed = bench.spool.place(temporary, read_header(path))
    if old:
        os.utime(bench.spool.absolute(placed.path), (HOUR_AGO.timestamp(),) * 2)
    return str(uid)


def test_nothing_to_find(bench: Bench) -> None:
    decided(bench)
    assert fsck(bench, deep=True) == []
    deliver(bench)
    assert fsck(bench, deep=True) == []


def test_a_spooled_instance_that_nobody_recorded(bench: Bench) -> None:
    uid = place(bench)
    place(bench, old=False)  # on its way
    (found,) = fsck(bench)
    assert found.sentence == f"Series {uid}: 1 spooled instance not in the database."
    assert found.mend is not None and found.mend() == "recorded 1 instance; the series is scored anew"
    assert bench.state(uid) is State.RECEIVING
    assert fsck(bench) == []


def test_a_spooled_file_that_is_no_dicom(bench: Bench) -> None:
    path = bench.spool.absolute("series/abc/1.2.3/1.2.3.4.dcm")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"nonsense")
    (found,) = fsck(bench)
    assert found.sentence.startswith("series/abc/1.2.3/1.2.3.4.dcm cannot be read (")
    assert found.mend is None and path.exists()


def test_files_that_are_missing_cut_or_changed(bench: Bench) -> None:
    uid = decided(bench, 4)
    paths = sorted(bench.spool.absolute(p) for p in bench.spool.paths() if uid in p)
    paths[0].unlink()
    os.truncate(paths[1], 1000)
    with paths[2].open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\x7f\x7f")
    told = [one.sentence for one in fsck(bench)]
    assert sorted(told) == [
        f"Series {uid} (DECIDED): of its 4 instances 1 {what} in the spool; not all of it was delivered: "
        "send it again from the scanner."
        for what in ("cut short", "missing")
    ]
    assert any("1 changed in the spool" in one.sentence for one in fsck(bench, deep=True))
    deliver(bench)
    assert all("every delivery of it was made" in one.sentence for one in fsck(bench))


def _set(bench: Bench, statement: sa.Executable) -> None:
    with bench.store.write() as connection:
        connection.execute(statement)


@pytest.mark.parametrize(
    ("delivered", "values", "told", "after"),
    [
        (False, {"instance_count": 7}, "counts 7 instances, and 2 are recorded", State.DECIDED),
        (False, {"state": "DELIVERED"}, "is called delivered, and a delivery waits", State.DECIDED),
        (True, {"state": "DECIDED"}, "waits for deliveries, and all were made", State.DELIVERED),
    ],
)
def test_books_that_contradict_themselves(
    bench: Bench, delivered: bool, values: dict[str, object], told: str, after: State
) -> None:
    uid = decided(bench)
    other = bench.receive(1)
    if delivered:
        deliver(bench)
    _set(bench, sa.update(series).where(series.c.series_instance_uid == uid).values(values))
    (found,) = fsck(bench)
    assert found.sentence == f"Series {uid} {told}."
    assert found.mend is not None
    found.mend()
    assert (fsck(bench), bench.state(uid), bench.state(other)) == ([], after, State.RECEIVING)
    assert bench.history(uid).row.instance_count == 2


def test_a_decision_without_result(bench: Bench) -> None:
    uid = decided(bench)
    _set(bench, sa.delete(result))
    (found,) = fsck(bench)
    assert found.sentence == (
        f"Series {uid} is DECIDED without a result of its revision 1: `qagate requeue {uid}` has it scored "
        "again."
    )
    assert found.mend is None


def test_deliveries_that_nobody_can_make(bench: Bench) -> None:
    uid = decided(bench)
    shutil.rmtree(bench.reports)
    _set(bench, sa.update(outbox).where(outbox.c.kind == "FORWARD").values(destination="old"))
    first, *_, last = (one.sentence for one in fsck(bench))
    assert first.startswith(f"Series {uid}: the SR of revision 1 waits to be sent, and its file is gone")
    assert last.startswith("1 delivery waiting for old, which the settings do not name")


def test_a_touched_trail(bench: Bench) -> None:
    Trail(bench.store).add(actor="anna", act="agree")
    with bench.store.write() as connection:
        on = {"sqlite": "audit_no_update", "postgresql": "audit_no_change ON audit"}
        connection.exec_driver_sql(f"DROP TRIGGER {on[connection.dialect.name]}")
        connection.execute(sa.update(audit).values(actor="eve"))
    (found,) = fsck(bench)
    assert found.place == "trail" and "was changed after it was written" in found.sentence


def test_what_an_archive_lost_is_told_and_sent_again_when_asked(
    bench: Bench, make_orthanc: Callable[..., OrthancServer]
) -> None:
    orthanc = make_orthanc()
    archive = Archive(name="pacs", ae_title="ORTHANC", host="127.0.0.1", port=orthanc.port)

    def send(kind: Kind, payload: str) -> None:
        paths = [Path(payload)]
        if kind is Kind.FORWARD:
            paths = [bench.spool.absolute(path) for path in json.loads(payload)]
        assert all(one.status == 0 for one in store(archive, paths))

    uid = decided(bench, 3)
    deliver(bench, send)
    assert fsck(bench, archive) == [], "what was sent is there"
    lost = orthanc.ask("/tools/lookup", next(p for p in bench.spool.paths()).split("/")[-1][:-4])
    orthanc.delete(f"/instances/{lost[0]['ID']}")
    (found,) = fsck(bench, archive)
    assert found.sentence == (
        f"Series {uid}: pacs acknowledged the images of revision 1 and shows 2 of 3 instances: it lost, "
        "deleted or hides them."
    )
    assert found.mend is None and found.resend is not None
    assert found.resend() == "to be sent again"
    assert bench.state(uid) is State.DECIDED
    deliver(bench, send)
    assert bench.state(uid) is State.DELIVERED
    assert fsck(bench, archive) == []


def test_an_archive_that_cannot_be_asked(bench: Bench) -> None:
    decided(bench)
    deliver(bench)
    archive = Archive(name="pacs", ae_title="ORTHANC", host="127.0.0.1", port=free_port())
    (found,) = fsck(bench, archive)
    assert found.sentence.startswith("Not compared: connection refused")
