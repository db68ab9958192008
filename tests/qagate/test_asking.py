"""Deliveries to archives that commit, over a real outbox, a real receiver and pynetdicom archives."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from commitment_peers import CommittingArchive
from neighbours import free_port, until

from qagate.asking import CommittedSender, settler
from qagate.assessment import Assessment, Decision, Prompt, Verdict
from qagate.delivery import ArchiveChannel
from qagate.dicom.access import Access, AccessRule
from qagate.dicom.commitment_scp import CommitmentSCP
from qagate.dicom.headers import read_header
from qagate.dicom.scp import StorageSCP
from qagate.dicom.scu import Archive
from qagate.dicom.spool import Spool
from qagate.series import Instance, Received, SeriesHeader
from qagate.store.asked import Asked
from qagate.store.engine import Store
from qagate.store.outbox import Kind, Outbox, OutboxItem, RetryPolicy
from qagate.store.queue import Queue
from qagate.store.views import DeliveryRow, Views

SOON = RetryPolicy(first_s=0.1, longest_s=0.1, max_attempts=20, jitter=0.0)


class Site:
    """A decided series whose images wait for an archive, and the gate's receiver."""

    def __init__(self, store: Store, folder: Path, made: Any) -> None:
        self.store, self.outbox, self.asked = store, Outbox(store), Asked(store)
        self.spool = Spool(folder / "spool")
        access = Access((AccessRule(ae_title="PACS", store=False, reports=True),))
        settle = settler(self.asked, {"PACS": frozenset({"pacs"})}, SOON)
        commitment = CommitmentSCP(access=access, on_request=lambda *_: None, on_report=settle)
        self.receiver = StorageSCP(
            ae_title="QAGATE", host="127.0.0.1", port=0, spool=self.spool, access=access,
            commitment=commitment, on_received=lambda _: None, on_released=lambda *_: None,
        )  # fmt: skip
        self.receiver.start()
        self.series, files = made.series(3)
        paths, self.uids = [], []
        queue = Queue(store)
        for file in files:
            header = read_header(file)
            placed = self.spool.place(Path(shutil.copy(file, self.spool.temporary())), header)
            instance = Instance(
                sop_instance_uid=header.sop_instance_uid, sop_class_uid=header.sop_class_uid,
                series_instance_uid=self.series, study_instance_uid="1.2",
                transfer_syntax_uid="1.2.840.10008.1.2.1", calling_ae_title="CT1", path=placed.path,
                sha256=placed.sha256, size=placed.size, received_at=datetime.now(UTC),
            )  # fmt: skip
            queue.record([Received(instance=instance, header=SeriesHeader(modality="CT"))])
            paths.append(placed.path)
            self.uids.append(header.sop_instance_uid)
        (receiving,) = queue.receiving()
        queue.close(receiving, "quiet")
        claimed = queue.claim("w1", 30.0)
        assert claimed is not None
        assessment = Assessment(prompt=Prompt(dimension="3D", modality="CT"), quality=0.9, score=0.9)
        item = OutboxItem(kind=Kind.FORWARD, destination="pacs", payload=json.dumps(paths))
        assert queue.finish(claimed, assessment, Decision(verdict=Verdict.PASS, reasons=("good",)), [item])

    @property
    def row(self) -> DeliveryRow:
        found = Views(self.store).history(self.series)
        assert found is not None
        return found.deliveries[0]

    @contextmanager
    def sending(self, port: int, *, wait_s: float = 60.0, linger_s: float = 0.5) -> Iterator[None]:
        archive = Archive(name="pacs", ae_title="PACS", host="127.0.0.1", port=port, timeout_s=10.0)
        sender = CommittedSender(
            outbox=self.outbox, asked=self.asked, channel=ArchiveChannel(archive=archive, spool=self.spool),
            policy=SOON, lease_s=30.0, poll_s=0.01, wait_s=wait_s, linger_s=linger_s,
        )  # fmt: skip
        stop = threading.Event()
        thread = threading.Thread(target=sender.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@pytest.fixture
def site(sqlite_store: Store, tmp_path: Path, made: Any) -> Iterator[Site]:
    made = Site(sqlite_store, tmp_path, made)
    yield made
    made.receiver.stop(0.5)


@pytest.fixture
def make_archive(site: Site) -> Iterator[Callable[..., CommittingArchive]]:
    started: list[CommittingArchive] = []

    def make(**values: Any) -> CommittingArchive:
        started.append(CommittingArchive(gate_port=site.receiver.port, **values))
        return started[-1]

    yield make
    for archive in started:
        archive.close()


@pytest.mark.parametrize(
    "how", [{"where": "same"}, {"where": "new"}, {"where": "new", "before_answer": True}]
)
def test_sent_when_committed(site: Site, make_archive: Callable[..., Any], how: dict[str, Any]) -> None:
    archive = make_archive(**how)
    with site.sending(archive.port, linger_s=5.0 if how["where"] == "same" else 0.0):
        assert until(lambda: site.row.state == "SENT")
    assert archive.stored == site.uids
    assert archive.asked == [frozenset(site.uids)]
    assert until(lambda: archive.answers == [0x0000])


def test_stored_alone_is_not_sent(site: Site, make_archive: Callable[..., Any]) -> None:
    archive = make_archive(where="never")
    with site.sending(archive.port):
        assert until(lambda: archive.asked and site.row.state == "PENDING")
    assert archive.stored == site.uids
    assert (site.row.state, site.row.attempts, site.row.last_error) == ("PENDING", 1, None)


def test_silent_archive_is_asked_again_not_sent_again(site: Site, make_archive: Callable[..., Any]) -> None:
    archive = make_archive(where="never")
    with site.sending(archive.port, wait_s=0.2, linger_s=0.0):
        assert until(lambda: len(archive.asked) >= 3)
        assert until(lambda: "not committed" in (site.row.last_error or ""))
        archive.where = "new"
        assert until(lambda: site.row.state == "SENT")
    assert archive.stored == site.uids
    assert set(archive.asked) == {frozenset(site.uids)}


def test_what_the_archive_lost_is_sent_again(site: Site, make_archive: Callable[..., Any]) -> None:
    lost, tries = site.uids[1], []

    def decide(uids: frozenset[str]) -> dict[str, int]:
        tries.append(uids)
        return {lost: 0x0112} if len(tries) == 1 else {}

    archive = make_archive(decide=decide)
    with site.sending(archive.port):
        assert until(lambda: site.row.state == "SENT")
    assert archive.stored == [*site.uids, lost]
    assert archive.asked == [frozenset(site.uids), frozenset({lost})]


def test_refused_request(site: Site, make_archive: Callable[..., Any]) -> None:
    archive = make_archive(answer=0x0213)
    with site.sending(archive.port):
        assert until(lambda: "0x0213" in (site.row.last_error or ""))
        archive.answer = 0x0000
        assert until(lambda: site.row.state == "SENT")
    assert archive.stored == site.uids, "asked again, not sent again"


def test_archive_without_commitment(site: Site, make_archive: Callable[..., Any]) -> None:
    archive = make_archive(commits=False)
    with site.sending(archive.port):
        assert until(lambda: "Storage Commitment" in (site.row.last_error or ""))
    assert site.row.state != "SENT"


def test_archive_away_is_asked_later(site: Site, make_archive: Callable[..., Any]) -> None:
    with site.sending(free_port()):
        assert until(lambda: "connection refused" in (site.row.last_error or ""))
    archive = make_archive()
    with site.sending(archive.port):
        assert until(lambda: site.row.state == "SENT")


def test_report_after_the_sender_is_gone(site: Site, make_archive: Callable[..., Any]) -> None:
    """The transaction is in the database: the receiver needs no sender to settle it."""
    archive = make_archive(where="never")
    with site.sending(archive.port, linger_s=0.0):
        assert until(lambda: archive.asked and site.row.state == "PENDING")
    (transaction,) = archive.transactions
    archive.report(transaction, [("1.2.840.10008.5.1.4.1.1.2", uid) for uid in site.uids])
    assert archive.answers == [0x0000]
    assert site.row.state == "SENT"
