"""What senders are told: over a real store, a real receiver and a pynetdicom sender."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from commitment_peers import Modality
from neighbours import until
from pydicom.uid import CTImageStorage, MRImageStorage

from qagate.assessment import Assessment, Decision, Prompt, Verdict
from qagate.commitment import Basis
from qagate.committing import CommitmentReporter, Judge, keeper
from qagate.dicom import scu
from qagate.dicom.access import Access, AccessRule
from qagate.dicom.commitment_scp import CommitmentSCP
from qagate.dicom.headers import read_header
from qagate.dicom.outgoing import Archive
from qagate.dicom.scp import StorageSCP
from qagate.dicom.spool import Spool
from qagate.receiver import Indexer
from qagate.store.commitments import Commitments
from qagate.store.engine import open_store, utc_now
from qagate.store.outbox import Kind, Outbox, OutboxItem, RetryPolicy
from qagate.store.queue import Queue

SOON = RetryPolicy(first_s=0.1, longest_s=0.1, max_attempts=20, jitter=0.0)
_NOBODY = "1.2.826.0.1.3680043.8.498.1"


class Site:
    """A receiver that keeps requests, and the images of one series."""

    def __init__(self, url: str, folder: Path, made: Any, basis: Basis) -> None:
        self.late_s = 0.0
        self.store = open_store(url, clock=lambda: utc_now() + timedelta(seconds=self.late_s))
        self.queue, self.spool = Queue(self.store), Spool(folder / "spool")
        self.commitments = Commitments(self.store)
        self.indexer = Indexer(self.queue)
        access = Access((AccessRule(ae_title="*", commitment=basis),))
        self.scp = CommitmentSCP(
            access=access, on_request=keeper(self.commitments, self.indexer), on_report=lambda *_: None
        )
        self.receiver = StorageSCP(
            ae_title="QAGATE", host="127.0.0.1", port=0, spool=self.spool, access=access,
            commitment=self.scp, on_received=self.indexer.received, on_conflict=self.indexer.received,
            on_released=self.indexer.released, min_free_bytes=0,
        )  # fmt: skip
        self.indexer.start()
        self.receiver.start()
        self.port = self.receiver.port
        _, self.paths = made.series(3)
        self.uids = self.send(self.paths)
        self.pairs = [(CTImageStorage, uid) for uid in self.uids]

    def send(self, paths: list[Path]) -> list[str]:
        gate = scu.Archive(
            name="gate", ae_title="QAGATE", host="127.0.0.1", port=self.port, calling_ae_title="CT1"
        )
        results = list(scu.store(gate, paths))
        assert {result.status for result in results} == {0x0000}
        return [result.sop_instance_uid for result in results]

    def forward(self) -> None:
        """Decide the series and deliver it to the archive."""
        assert self.indexer.settled(10)
        (receiving,) = self.queue.receiving()
        assert self.queue.close(receiving, "quiet")
        claimed = self.queue.claim("w1", 30.0)
        assert claimed is not None
        payload = json.dumps([instance.path for instance in claimed.instances])
        item = OutboxItem(kind=Kind.FORWARD, destination="pacs", payload=payload)
        assessment = Assessment(prompt=Prompt(dimension="3D", modality="CT"), quality=0.9, score=0.9)
        assert self.queue.finish(claimed, assessment, Decision(verdict=Verdict.PASS, reasons=("x",)), [item])
        delivery = Outbox(self.store).claim(30.0)
        assert delivery is not None and Outbox(self.store).mark_sent(delivery)

    @contextmanager
    def reporting(
        self, peers: dict[str, Archive], archives: frozenset[str] = frozenset({"pacs"})
    ) -> Iterator[None]:
        judge = Judge(
            store=self.store, commitments=self.commitments, spool=self.spool, archives=archives, wait_s=3600
        )
        reporter = CommitmentReporter(
            commitments=self.commitments, judge=judge, scp=self.scp, peers=peers, policy=SOON, poll_s=0.05
        )
        stop = threading.Event()
        thread = threading.Thread(target=reporter.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def close(self) -> None:
        self.receiver.stop(0.5)
        self.indexer.stop()
        self.store.close()


@pytest.fixture
def make_site(migrated: Path, tmp_path: Path, made: Any) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(basis: Basis = Basis.ARCHIVE) -> Site:
        path = tmp_path / f"{len(sites)}.db"
        path.write_bytes(migrated.read_bytes())
        sites.append(Site(f"sqlite:///{path}", tmp_path / str(len(sites)), made, basis))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


@pytest.fixture
def modality() -> Iterator[Modality]:
    made = Modality()
    yield made
    made.close()


def address(modality: Modality) -> dict[str, Archive]:
    peer = Archive(
        name="CT1", ae_title="CT1", host="127.0.0.1", port=modality.port, timeout_s=5.0, kind="peer"
    )
    return {"CT1": peer}


def ask(site: Site, modality: Modality, pairs: Any = None, syntax: str = "explicit") -> str:
    with modality.association(site.port, syntax) as link:
        status, transaction = modality.ask(link, pairs or site.pairs)
    assert status == 0x0000
    return transaction


def test_told_when_the_archive_has_it_and_not_before(make_site: Any, modality: Modality) -> None:
    site = make_site()
    transaction = ask(site, modality, syntax="implicit")
    with site.reporting(address(modality)):
        site.late_s = 3000.0
        assert until(lambda: not site.commitments.due({"CT1"})), "looked at"
        assert modality.told == []
        site.forward()
        site.late_s = 3300.0
        assert until(lambda: modality.told)
    (told,) = modality.told
    assert (told.event_type, told.transaction, told.same) == (1, transaction, False)
    assert (told.committed, told.failed) == (set(site.uids), {})


def test_told_on_the_association_that_is_still_open(make_site: Any, modality: Modality) -> None:
    site = make_site()
    site.forward()
    with site.reporting(address(modality)), modality.association(site.port) as link:
        _, transaction = modality.ask(link, site.pairs)
        assert until(lambda: modality.told)
    (told,) = modality.told
    assert (told.transaction, told.same, told.committed) == (transaction, True, set(site.uids))


def test_sender_without_an_address_is_told_when_it_calls_again(make_site: Any, modality: Modality) -> None:
    site = make_site()
    site.forward()
    transaction = ask(site, modality)
    with site.reporting({}):
        assert not until(lambda: modality.told, limit_s=1)
        with modality.association(site.port):
            assert until(lambda: modality.told)
    assert [(told.transaction, told.same) for told in modality.told] == [(transaction, True)]


def test_what_never_arrives_is_refused_in_the_end(make_site: Any, modality: Modality) -> None:
    site = make_site()
    ask(site, modality)
    with site.reporting(address(modality), archives=frozenset()):
        site.late_s = 3601.0
        assert until(lambda: modality.told)
    (told,) = modality.told
    assert (told.event_type, told.committed) == (2, set())
    assert told.failed == dict.fromkeys(site.uids, 0x0110)


def test_failure_reasons(make_site: Any, modality: Modality) -> None:
    site = make_site()
    site.forward()
    good, other_class, _ = site.uids
    ask(site, modality, [(CTImageStorage, good), (MRImageStorage, other_class), (CTImageStorage, _NOBODY)])
    with site.reporting(address(modality)):
        assert until(lambda: modality.told)
    (told,) = modality.told
    assert (told.event_type, told.committed) == (2, {good})
    assert told.failed == {other_class: 0x0119, _NOBODY: 0x0112}


def test_the_spool_counts_where_the_peer_says_so(make_site: Any, modality: Modality, made: Any) -> None:
    site = make_site(Basis.SPOOL)
    good, damaged, disputed = site.uids
    first = made.build(
        SOPInstanceUID=disputed,
        SeriesInstanceUID=read_header(site.paths[2]).series_instance_uid,
        PatientID="1",
    )
    site.send([made.write(first, site.spool.root.parent / "other.dcm")])
    (found,) = [path for path in site.spool.paths() if damaged in path]
    with site.spool.absolute(found).open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    ask(site, modality)
    with site.reporting(address(modality), archives=frozenset()):
        assert until(lambda: modality.told)
    (told,) = modality.told
    assert told.committed == {good}
    assert told.failed == {damaged: 0x0110, disputed: 0x0110}


def test_report_that_is_not_taken_is_made_again(make_site: Any) -> None:
    modality = Modality(answers=[0x0110, 0x0110])
    site = make_site()
    site.forward()
    transaction = ask(site, modality)
    try:
        with site.reporting(address(modality)):
            assert until(lambda: len(modality.told) == 3)
            assert until(lambda: not site.commitments.due({"CT1"}))
            time.sleep(0.5)
    finally:
        modality.close()
    assert [told.transaction for told in modality.told] == [transaction] * 3


def test_request_waits_for_what_was_received_before(make_site: Any, modality: Modality, made: Any) -> None:
    """The images were answered 0x0000 while the database was busy: nobody is told that there are none."""
    site = make_site(Basis.SPOOL)
    busy = threading.Event()
    site.indexer.call(lambda: busy.wait(1.5) and None)
    _, paths = made.series(2)
    uids = site.send(paths)
    ask(site, modality, [(CTImageStorage, uid) for uid in uids])
    busy.set()
    with site.reporting(address(modality)):
        assert until(lambda: modality.told)
    assert modality.told[0].committed == set(uids)


def test_request_that_the_database_cannot_keep_is_refused(
    make_site: Any, modality: Modality, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qagate.committing._RECORD_S", 0.2)
    site = make_site()
    locked = threading.Event()
    site.indexer.call(lambda: locked.wait(5) and None)
    with modality.association(site.port) as link:
        assert modality.ask(link, site.pairs)[0] == 0x0110
    locked.set()
    assert site.commitments.due({"CT1"}) == []
