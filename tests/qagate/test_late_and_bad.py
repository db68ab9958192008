"""Late instances, archives that are away, alerts, strangers, and every kind of bad input."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    MRImageStorage,
    RawDataStorage,
    generate_uid,
)
from pynetdicom import AE, build_context

from qagate.dicom import scu
from qagate.store.views import SeriesHistory

PRIVATE_SYNTAX = "1.2.840.113619.5.2"
#: Every CT is REPEAT, so that alerts and key objects are sent whatever the model thinks.
RULE = {"name": "all", "review_below": 1.0, "repeat_below": 1.0}
ALERTS = {
    "verdicts": ["REVIEW", "REPEAT", "NOT_ASSESSED"],
    "body": "{series_instance_uid} {revision}",
}


@pytest.fixture(scope="module")
def site(make_orthanc: Callable, make_gate: Callable, webhook: Any) -> SimpleNamespace:
    """A gate with one archive that is up and one that is not."""
    up, down = make_orthanc(), make_orthanc(start=False)
    gate = make_gate(
        archive=[up.settings("up"), down.settings("down", timeout_s=5)],
        peer=[{"ae_title": "CT1"}, {"ae_title": "CT9", "addresses": ["192.0.2.0/24"]}],
        rule=[RULE],
        delivery={"max_attempts": 3, "first_retry_s": 0.2, "max_retry_s": 0.3},
        alerts=ALERTS | {"urls": [webhook.url, "console://"]},
    )
    return SimpleNamespace(gate=gate, up=up, down=down)


def sent(history: SeriesHistory, destination: str) -> dict[tuple[str, int], str]:
    rows = [row for row in history.deliveries if row.destination == destination]
    return {(row.kind, row.revision): row.state for row in rows}


def test_late_instance_dead_letters_and_alerts(site: SimpleNamespace, made: Any, webhook: Any) -> None:
    gate = site.gate
    uid, files = made.series(6)
    gate.send(files[:5])
    first = gate.ended(uid)
    assert first.row.instance_count == 5
    gate.send(files[5:])
    second = gate.ended(uid, revision=2)
    assert second.row.instance_count == 6 and [one.revision for one in second.results] == [1, 2]

    # One archive that is down holds up nothing else.
    def up() -> bool:
        states = sent(gate.history(uid), "up")
        return len(states) >= 2 and set(states.values()) == {"SENT"}

    assert gate.until(up, 30), gate.history(uid)
    former, latter = (dcmread(gate.report(uid, revision)) for revision in (1, 2))
    stored = dcmread(BytesIO(site.up.file(latter.SOPInstanceUID)))
    predecessor = stored.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == former.SOPInstanceUID
    assert site.up.file(former.SOPInstanceUID)

    # The other archive's deliveries become dead letters; requeued they arrive.
    dead = gate.until(lambda: set(sent(gate.history(uid), "down").values()) == {"DEAD"}, 60)
    assert dead, gate.history(uid)
    assert gate.history(uid).row.state == "DECIDED"
    shown = gate.run("status")
    assert "DEAD SR to down" in shown.stdout
    site.down.start()
    requeued = gate.run("requeue", "--dead")
    assert requeued.returncode == 0 and requeued.stdout.startswith("requeued "), requeued
    gate.ended(uid, revision=2, states=("DELIVERED",), limit_s=30)
    assert site.down.file(latter.SOPInstanceUID) and site.down.file(former.SOPInstanceUID)

    said = Counter(body["message"] for body in webhook.bodies)
    assert said[f"{uid} 1"] == said[f"{uid} 2"] == 1


def test_archive_that_comes_back_gets_everything(site: SimpleNamespace, made: Any) -> None:
    gate = site.gate
    site.up.stop()
    uid, files = made.series(3)
    gate.send(files)
    gate.ended(uid)
    assert gate.until(lambda: any(row.attempts for row in gate.history(uid).deliveries), 20)
    site.up.start()
    gate.until(lambda: set(sent(gate.history(uid), "up").values()) <= {"SENT", "DEAD"}, 20)
    gate.run("requeue", "--dead")
    gate.ended(uid, states=("DELIVERED",), limit_s=30)
    assert site.up.file(dcmread(gate.report(uid)).SOPInstanceUID)


def test_strangers_are_rejected_by_name(site: SimpleNamespace) -> None:
    for calling, called, reason in (
        ("STRANGER", "QAGATE", "CALLING_AE_TITLE"),
        ("CT1", "OTHER", "CALLED_AE_TITLE"),
        ("CT9", "QAGATE", "ADDRESS"),
    ):
        with pytest.raises(scu.DeliveryError):
            scu.echo(site.gate.peer(calling, called))
        (event, *_) = [one for one in site.gate.events("reject_association") if one["reason"] == reason]
        assert event["calling_ae_title"] == calling


# -- bad input ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bad(site: SimpleNamespace, made: Any) -> SimpleNamespace:
    """The gate after it was sent everything wrong at once, and how it answered each."""
    sender = _Sender(site.gate, made)
    sender.truncated()
    sender.no_pixels()
    sender.sizes()
    sender.texts()
    sender.missing_uids()
    sender.mixed()
    sender.private_syntax()
    sender.empty()
    return SimpleNamespace(gate=site.gate, answers=sender.answers, uids=sender.uids)


class _Sender:
    """Makes and sends bad objects; keeps the answer and the series UID of each under its name."""

    def __init__(self, gate: Any, made: Any) -> None:
        self.gate, self.made = gate, made
        self.answers: dict[str, scu.StoreResult] = {}
        self.uids: dict[str, str] = {}

    def send(self, name: str, path: Path, uid: str = "") -> None:
        (self.answers[name],) = self.gate.send([path])
        self.uids[name] = uid

    def image(self, name: str, **values: Any) -> None:
        uid = generate_uid()
        self.send(name, self.made.slice(SeriesInstanceUID=uid, **values), uid)

    def truncated(self) -> None:
        for name, keep in (
            ("cut in the pixels", -1000),
            ("cut in the header", 900),
            ("cut before the UIDs", 450),
        ):
            uid = generate_uid()
            path = self.made.slice(SeriesInstanceUID=uid)
            path.write_bytes(path.read_bytes()[:keep])
            self.send(name, path, uid)
        self.image("half the pixels", PixelData=bytes(128 * 128))
        uid = generate_uid()
        frame = self.made.build(SeriesInstanceUID=uid, PixelData=encapsulate([bytes(range(256)) * 9]))
        frame["PixelData"].is_undefined_length = True
        path = self.made.slice()
        self.send("corrupt pixels", self.made.write(frame, path, JPEGLSLossless), uid)

    def no_pixels(self) -> None:
        self.image("no pixels", PixelData=None)
        self.image("no image", SOPClassUID=RawDataStorage, PixelData=None, Rows=None, Columns=None)

    def sizes(self) -> None:
        self.image("0x0", Rows=0, Columns=0, PixelData=b"")
        self.image("1x1", Rows=1, Columns=1, PixelData=bytes(2))
        self.image("20000x20000", Rows=20000, Columns=20000)

    def texts(self) -> None:
        """Put raw bytes in place, because pydicom refuses to write such values."""
        uid = self.uids["wrong values"] = generate_uid()
        path = self.made.slice(SeriesInstanceUID=uid, StudyDate="19990101", SeriesNumber=987654)
        path.write_bytes(path.read_bytes().replace(b"19990101", b"********").replace(b"987654", b"ABCDEF"))
        self.send("wrong values", path, uid)
        uid = generate_uid()
        path = self.made.slice(SeriesInstanceUID=uid, RescaleSlope="12345678")
        path.write_bytes(path.read_bytes().replace(b"12345678", b"nan     "))
        self.send("NaN rescale", path, uid)

    def missing_uids(self) -> None:
        for keyword in ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID"):
            self.send(f"no {keyword}", self.made.slice(**{keyword: None}))

    def mixed(self) -> None:
        uid, study = generate_uid(), generate_uid()
        same = {"SeriesInstanceUID": uid, "StudyInstanceUID": study}
        self.gate.send(
            [
                self.made.slice(**same),
                self.made.slice(Modality="MR", SOPClassUID=MRImageStorage, InstanceNumber=2, **same),
            ]
        )
        self.uids["mixed modalities"] = uid

    def private_syntax(self) -> None:
        path = self.made.slice()
        own = ExplicitVRLittleEndian.encode() + b"\0"
        data = path.read_bytes().replace(own, PRIVATE_SYNTAX.encode().ljust(len(own), b"\0"), 1)
        path.write_bytes(data)
        with pytest.raises(scu.DeliveryError):
            self.gate.send([path])

    def empty(self) -> None:
        path = self.made.slice()
        meta_length = 144 + int.from_bytes(path.read_bytes()[140:144], "little")
        path.write_bytes(path.read_bytes()[:meta_length])
        self.send("0 bytes", path)


REFUSED = {
    "cut before the UIDs": 0xC000,
    "no SOPInstanceUID": 0xC000,
    "no SOPClassUID": 0xC000,
    "no StudyInstanceUID": 0xC000,
    "no SeriesInstanceUID": 0xC000,
    "0 bytes": 0xC000,
}
NOT_ASSESSED = (
    *("cut in the pixels", "cut in the header"),
    *("half the pixels", "corrupt pixels", "no pixels", "no image", "0x0", "1x1", "20000x20000"),
    *("NaN rescale", "mixed modalities"),
)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_named_status(bad: SimpleNamespace, name: str) -> None:
    answer = bad.answers[name]
    assert answer.status == REFUSED[name] and answer.delivery is scu.Delivery.REJECTED
    uid = answer.sop_instance_uid
    found = bad.gate.until(lambda: [r for r in bad.gate.overview().refused if r.sop_instance_uid == uid], 20)
    (row,) = found
    assert row.status == answer.status and row.reason and row.calling_ae_title == "CT1"


@pytest.mark.parametrize("name", NOT_ASSESSED)
def test_not_assessed_with_a_reason(bad: SimpleNamespace, name: str) -> None:
    if name in bad.answers:
        assert bad.answers[name].status == 0x0000
    found = bad.gate.ended(bad.uids[name], limit_s=60).row
    assert (found.state, found.verdict) != ("FAILED", None), found.last_error
    assert found.verdict == "NOT_ASSESSED", found
    assert found.reasons and found.reasons[0]


def test_wrong_values_in_the_header_are_survived(bad: SimpleNamespace) -> None:
    found = bad.gate.ended(bad.uids["wrong values"]).row
    assert found.verdict in ("REPEAT", "NOT_ASSESSED") and found.reasons
    assert bad.gate.report(bad.uids["wrong values"]).exists()


def test_private_transfer_syntax_is_refused(bad: SimpleNamespace) -> None:
    (event,) = bad.gate.events("refuse_context")
    assert event["transfer_syntaxes"] == [PRIVATE_SYNTAX]
    found = bad.gate.until(lambda: [r for r in bad.gate.overview().refused if PRIVATE_SYNTAX in r.reason], 20)
    (row,) = found
    assert row.status == 0x0122 and row.calling_ae_title == "CT1"


def test_association_that_breaks_half_way(site: SimpleNamespace, made: Any) -> None:
    gate = site.gate
    uid, files = made.series(4)
    big = made.slice(SeriesInstanceUID=uid, Rows=4096, Columns=4096, PixelData=bytes(2 * 4096 * 4096))
    ae = AE("CT1")
    ae.dimse_timeout = 5
    link = ae.associate(
        "127.0.0.1", gate.port, [build_context(CTImageStorage, ExplicitVRLittleEndian)], ae_title="QAGATE"
    )
    assert [link.send_c_store(path).Status for path in files] == [0] * 4
    sending = threading.Thread(target=lambda: link.send_c_store(big), daemon=True)
    sending.start()
    time.sleep(0.05)
    link.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    sending.join(20)
    found = gate.ended(uid)
    assert found.row.instance_count in (4, 5) and found.row.verdict
    assert gate.until(lambda: not list((gate.data / "spool" / "incoming").iterdir()), 10)


def test_status_shows_it_and_the_daemon_still_serves(bad: SimpleNamespace) -> None:
    gate = bad.gate
    for uid in filter(None, bad.uids.values()):
        if gate.history(uid):
            gate.ended(uid)
    shown = gate.run("status", "--limit", "100")
    assert shown.returncode == 0, shown.stderr
    assert (
        "refused (never accepted" in shown.stdout
        and "0xC000" in shown.stdout
        and "NOT_ASSESSED" in shown.stdout
    )
    assert gate.answers() and gate.process.poll() is None
    assert len(gate.events("role_started")) == 3 and not gate.events("role_died")
    pids = [event["pid"] for event in gate.events("role_started")]
    assert all(subprocess.run(["kill", "-0", str(pid)], check=False).returncode == 0 for pid in pids)
