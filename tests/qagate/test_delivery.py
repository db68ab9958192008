"""Senders over a real outbox to real storage SCPs and a real webhook."""

import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from structlog.testing import capture_logs

from qagate.alert_text import AlertMessage
from qagate.alerts import Alerter
from qagate.assessment import Assessment, Decision, Prompt, Verdict
from qagate.delivery import AlertChannel, ArchiveChannel, Channel, Sender, alert_payload, parse_alert
from qagate.dicom.headers import read_header
from qagate.dicom.scu import Archive
from qagate.dicom.spool import Spool
from qagate.series import Instance, Received, SeriesHeader
from qagate.store.engine import Store
from qagate.store.outbox import Kind, Outbox, OutboxItem, RetryPolicy
from qagate.store.queue import Queue
from qagate.store.views import DeliveryRow, SeriesHistory, Views

SERIES = "1.2.1"
SOON = RetryPolicy(first_s=0.1, longest_s=0.1, max_attempts=4, jitter=0.0)
MESSAGE = AlertMessage(verdict=Verdict.REPEAT, title="Repeat suggested: CT", body="Why: noise\nWhat: look")


class Pacs:
    """A storage SCP that gives the answers it is told to give, then 0x0000."""

    def __init__(self, port: int = 0, answers: Sequence[int] = (), takes_s: float = 0.0) -> None:
        self.stored: list[str] = []
        self._answers, self._takes_s = list(answers), takes_s
        ae = AE("PACS")
        ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store)]
        self._server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        self.port: int = self._server.server_address[1]

    def _store(self, event: evt.Event) -> int:
        time.sleep(self._takes_s)
        status = self._answers.pop(0) if self._answers else 0x0000
        if status == 0x0000:
            self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return status

    def close(self) -> None:
        self._server.shutdown()


@pytest.fixture
def make_pacs() -> Iterator[Callable[..., Pacs]]:
    started: list[Pacs] = []

    def make(**values: Any) -> Pacs:
        started.append(Pacs(**values))
        return started[-1]

    yield make
    for pacs in started:
        pacs.close()


class Desk:
    """A decided series with deliveries that wait."""

    def __init__(self, store: Store, folder: Path, made: Any) -> None:
        self.store, self.queue, self.outbox = store, Queue(store), Outbox(store)
        self.spool, self.made = Spool(folder / "spool"), made

    def decide(self, *items: OutboxItem) -> None:
        instance = Instance(
            sop_instance_uid="1.2.1.1", sop_class_uid=CTImageStorage, series_instance_uid=SERIES,
            study_instance_uid="1.2", transfer_syntax_uid=ExplicitVRLittleEndian, calling_ae_title="CT1",
            path="series/1.dcm", sha256="0" * 64, size=1, received_at=datetime.now(UTC),
        )  # fmt: skip
        self.queue.record([Received(instance=instance, header=SeriesHeader(modality="CT"))])
        (receiving,) = self.queue.receiving()
        assert self.queue.close(receiving, "quiet")
        claimed = self.queue.claim("w1", 30.0)
        assert claimed is not None
        assessment = Assessment(prompt=Prompt(dimension="3D", modality="CT"), quality=0.2, score=0.2)
        decision = Decision(verdict=Verdict.REPEAT, reasons=("noise",))
        assert self.queue.finish(claimed, assessment, decision, items)

    def spooled(self, count: int) -> list[str]:
        """Relative paths of spooled instances."""
        _, paths = self.made.series(count)
        placed = []
        for path in paths:
            temporary = Path(shutil.copy(path, self.spool.temporary()))
            placed.append(self.spool.place(temporary, read_header(path)).path)
        return placed

    def channel(self, port: int, name: str = "pacs") -> ArchiveChannel:
        archive = Archive(name=name, ae_title="PACS", host="127.0.0.1", port=port, timeout_s=5.0)
        return ArchiveChannel(archive=archive, spool=self.spool)

    @property
    def history(self) -> SeriesHistory:
        found = Views(self.store).history(SERIES)
        assert found is not None
        return found

    def row(self, destination: str = "pacs") -> DeliveryRow:
        (row,) = [row for row in self.history.deliveries if row.destination == destination]
        return row

    def reaches(self, state: str, destination: str = "pacs") -> bool:
        return until(lambda: self.row(destination).state == state)


@pytest.fixture
def desk(sqlite_store: Store, tmp_path: Path, made: Any) -> Desk:
    return Desk(sqlite_store, tmp_path, made)


@contextmanager
def sending(desk: Desk, *channels: Channel, **settings: Any) -> Iterator[list[Any]]:
    """Run a sender a channel meanwhile; gives what they log."""
    values: dict[str, Any] = {"policy": SOON, "lease_s": 30.0, "poll_s": 0.01} | settings
    stop = threading.Event()
    senders = [Sender(outbox=desk.outbox, channel=channel, **values) for channel in channels]
    threads = [threading.Thread(target=sender.run, args=(stop,)) for sender in senders]
    with capture_logs() as logs:
        for thread in threads:
            thread.start()
        try:
            yield logs
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive()


def until(condition: Callable[[], object], limit_s: float = 20.0) -> bool:
    end = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def document(desk: Desk, destination: str = "pacs") -> OutboxItem:
    return OutboxItem(kind=Kind.SR, destination=destination, payload=str(desk.made.slice()))


def test_a_document_is_sent_and_the_series_delivered(desk: Desk, make_pacs: Callable[..., Pacs]) -> None:
    pacs, item = make_pacs(), document(desk)
    desk.decide(item)
    with sending(desk, desk.channel(pacs.port)):
        assert desk.reaches("SENT")
    assert pacs.stored == [read_header(Path(item.payload)).sop_instance_uid]
    assert desk.history.row.state == "DELIVERED"


def test_a_series_is_forwarded_whole(desk: Desk, make_pacs: Callable[..., Pacs]) -> None:
    pacs, paths = make_pacs(), desk.spooled(5)
    desk.decide(OutboxItem(kind=Kind.FORWARD, destination="pacs", payload=json.dumps(paths)))
    with sending(desk, desk.channel(pacs.port)):
        assert desk.reaches("SENT")
    assert pacs.stored == [Path(path).stem for path in paths]


def test_an_archive_out_of_resources_is_asked_again(desk: Desk, make_pacs: Callable[..., Pacs]) -> None:
    pacs = make_pacs(answers=[0xA700, 0xA700])
    desk.decide(document(desk))
    with sending(desk, desk.channel(pacs.port)) as logs:
        assert desk.reaches("SENT")
    assert (desk.row().attempts, len(pacs.stored)) == (3, 1)
    failed = [entry for entry in logs if entry["event"] == "not_delivered"]
    assert [(entry["attempts"], entry["state"]) for entry in failed] == [(1, "PENDING"), (2, "PENDING")]
    assert "0xA700" in failed[0]["reason"]


def test_what_an_archive_will_never_take_is_a_dead_letter_at_once(
    desk: Desk, make_pacs: Callable[..., Pacs]
) -> None:
    pacs = make_pacs(answers=[0xC000])
    desk.decide(document(desk))
    channel = desk.channel(pacs.port)
    with sending(desk, channel):
        assert desk.reaches("DEAD")
    assert desk.row().attempts == 1
    assert "0xC000" in (desk.row().last_error or "")
    assert desk.history.row.state == "DECIDED"
    assert desk.outbox.requeue_dead() == 1
    with sending(desk, channel):
        assert desk.reaches("SENT")
    assert desk.history.row.state == "DELIVERED"


def test_an_archive_that_is_away_gets_it_when_it_returns(desk: Desk, make_pacs: Callable[..., Pacs]) -> None:
    port = free_port()
    desk.decide(document(desk))
    with sending(desk, desk.channel(port), policy=RetryPolicy(first_s=0.2, longest_s=0.2)):
        assert until(lambda: desk.row().attempts >= 2)
        assert "connection refused" in (desk.row().last_error or "")
        pacs = make_pacs(port=port)
        assert desk.reaches("SENT")
    assert len(pacs.stored) == 1


def test_tries_are_used_up_once(desk: Desk) -> None:
    desk.decide(document(desk))
    with sending(desk, desk.channel(free_port())):
        assert desk.reaches("DEAD")
    assert desk.row().attempts == SOON.max_attempts


def test_an_archive_that_is_down_holds_up_no_other(desk: Desk, make_pacs: Callable[..., Pacs]) -> None:
    pacs = make_pacs()
    desk.decide(document(desk, "down"), document(desk, "up"))
    with sending(desk, desk.channel(free_port(), "down"), desk.channel(pacs.port, "up")):
        assert desk.reaches("SENT", "up")
        assert desk.reaches("DEAD", "down")
    assert desk.history.row.state == "DECIDED"


def test_the_lease_is_renewed_while_an_archive_takes_long(desk: Desk, make_pacs: Callable[..., Pacs]) -> None:
    pacs = make_pacs(takes_s=1.5)
    desk.decide(document(desk))
    reaped: list[int] = []
    with sending(desk, desk.channel(pacs.port), lease_s=0.6):
        assert desk.reaches("SENDING")
        while desk.row().state == "SENDING":
            reaped.append(desk.outbox.reap())
            time.sleep(0.1)
    assert (desk.row().state, desk.row().attempts, len(pacs.stored)) == ("SENT", 1, 1)
    assert len(reaped) > 5 and not any(reaped)


def test_a_file_that_is_gone_says_so_and_stops_nobody(desk: Desk, make_pacs: Callable[..., Pacs]) -> None:
    pacs, gone, item = make_pacs(), document(desk), document(desk)
    Path(gone.payload).unlink()
    desk.decide(gone, item)
    with sending(desk, desk.channel(pacs.port)):
        assert until(lambda: {row.state for row in desk.history.deliveries} == {"SENT", "DEAD"})
    (dead,) = [row for row in desk.history.deliveries if row.state == "DEAD"]
    assert "No such file" in (dead.last_error or "")


def test_an_alert_is_sent_once(desk: Desk, webhook: Any) -> None:
    alerter = Alerter((webhook.url,))
    (name,) = alerter.destinations
    desk.decide(OutboxItem(kind=Kind.ALERT, destination=name, payload=alert_payload(MESSAGE)))
    with sending(desk, AlertChannel(alerter=alerter, destination=name)):
        assert desk.reaches("SENT", name)
    (body,) = webhook.bodies
    assert (body["title"], body["message"], body["type"]) == (MESSAGE.title, MESSAGE.body, "failure")


def test_an_alert_that_nobody_takes_is_tried_again(desk: Desk) -> None:
    alerter = Alerter((f"json://127.0.0.1:{free_port()}/",))
    (name,) = alerter.destinations
    desk.decide(OutboxItem(kind=Kind.ALERT, destination=name, payload=alert_payload(MESSAGE)))
    with sending(desk, AlertChannel(alerter=alerter, destination=name)):
        assert desk.reaches("DEAD", name)
    row = desk.row(name)
    assert (row.attempts, row.last_error) == (4, f"alert not accepted by {name} (no connection)")


def test_an_alert_lies_in_the_outbox_as_it_was_written() -> None:
    assert parse_alert(alert_payload(MESSAGE)) == MESSAGE
