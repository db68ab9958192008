"""Instances go to real archives: the gate's own SCP, plain pynetdicom ones and Orthanc."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from qagate.dicom.access import Access, AccessRule
from qagate.dicom.part10 import hash_data_set
from qagate.dicom.scu import Archive, Delivery, DeliveryError, StoreResult, echo, store

MakeFile = Callable[..., Path]
ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")


def archive(port: int, **values: Any) -> Archive:
    known: dict[str, Any] = {"name": "pacs", "ae_title": "QAGATE", "host": "127.0.0.1", "timeout_s": 5.0}
    return Archive(port=port, **(known | values))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Peer:
    """An archive that takes what it is told to take and answers what it is told to answer."""

    def __init__(self, answers: list[Any], syntaxes: list[str]) -> None:
        self.answers, self.stored = answers, list[Dataset]()
        ae = AE("QAGATE")
        ae.add_supported_context(CTImageStorage, syntaxes)
        handlers: list[Any] = [(evt.EVT_C_STORE, self.store)]
        self.server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port: int = self.server.server_address[1]

    def store(self, event: evt.Event) -> int:
        answer = self.answers.pop(0) if self.answers else 0x0000
        if answer == "abort":
            event.assoc.abort()
            return 0xC000
        if answer == 0x0000:
            data_set = event.dataset
            data_set.file_meta = event.file_meta
            self.stored.append(data_set)
        return int(answer)


@pytest.fixture
def make_peer() -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def make(*answers: Any, syntaxes: tuple[str, ...] = (ExplicitVRLittleEndian,)) -> Peer:
        peers.append(Peer(list(answers), list(syntaxes)))
        return peers[-1]

    yield make
    for peer in peers:
        peer.server.shutdown()


def deliveries(results: list[StoreResult]) -> list[Delivery]:
    return [result.delivery for result in results]


def test_files_arrive_byte_for_byte(gate: Any, make_file: MakeFile) -> None:
    files = [
        make_file(syntax, PixelData=None)
        for syntax in (
            ImplicitVRLittleEndian,
            ExplicitVRLittleEndian,
            ExplicitVRBigEndian,
            DeflatedExplicitVRLittleEndian,
        )
    ]
    results = list(store(archive(gate.port), files))
    assert deliveries(results) == [Delivery.DELIVERED] * 4
    assert [(r.path, r.status) for r in results] == [(path, 0x0000) for path in files]
    assert [r.instance.sha256 for r in gate.received] == [hash_data_set(path)[0] for path in files]
    assert gate.received[0].instance.calling_ae_title == "QAGATE"


def test_the_shared_series_go_through(gate: Any, shared_series: list[Path]) -> None:
    files = [path for folder in shared_series for path in sorted(folder.glob("*.dcm"))]
    assert {result.delivery for result in store(archive(gate.port), files)} == {Delivery.DELIVERED}
    assert {r.instance.sha256 for r in gate.received} == {hash_data_set(path)[0] for path in files}
    assert gate.wait(lambda: gate.released)
    assert len(gate.released) == 1, "one association"


def test_more_than_128_contexts_take_several_associations(gate: Any, make_file: MakeFile) -> None:
    files = [make_file(SOPClassUID=f"1.2.826.0.1.{number}") for number in range(140)]
    results = list(store(archive(gate.port), files))
    assert deliveries(results) == [Delivery.DELIVERED] * 140
    assert gate.wait(lambda: len(gate.released) == 3)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_an_old_archive_gets_implicit_vr(
    make_peer: Callable[..., Peer], make_file: MakeFile, syntax: str
) -> None:
    peer = make_peer(syntaxes=(ImplicitVRLittleEndian,))
    path = make_file(syntax)
    assert deliveries(list(store(archive(peer.port), [path]))) == [Delivery.DELIVERED]
    (stored,) = peer.stored
    assert stored.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert stored.PixelData == pydicom.dcmread(path).PixelData


def test_a_syntax_that_is_not_taken_is_named(
    make_peer: Callable[..., Peer], make_file: MakeFile, tmp_path: Path
) -> None:
    peer = make_peer()
    packed = tmp_path / "packed.dcm"
    data_set = pydicom.dcmread(make_file())
    data_set.file_meta.TransferSyntaxUID = JPEG2000Lossless
    data_set.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(50)])
    data_set["PixelData"].is_undefined_length = True
    data_set.save_as(packed)
    results = list(store(archive(peer.port), [packed, make_file()]))
    assert deliveries(results) == [Delivery.REJECTED, Delivery.DELIVERED]
    assert "pacs" in results[0].message and "JPEG 2000" in results[0].message


@pytest.mark.parametrize(
    ("status", "delivery"),
    [
        (0x0000, Delivery.DELIVERED),
        (0xB000, Delivery.DELIVERED),
        (0xB007, Delivery.DELIVERED),
        (0x0111, Delivery.DELIVERED),
        (0xA700, Delivery.RETRY),
        (0x0110, Delivery.RETRY),
        (0x0124, Delivery.REJECTED),
        (0xA900, Delivery.REJECTED),
        (0xC000, Delivery.REJECTED),
    ],
)
def test_statuses(
    make_peer: Callable[..., Peer], make_file: MakeFile, status: int, delivery: Delivery
) -> None:
    (result,) = store(archive(make_peer(status).port), [make_file()])
    assert (result.status, result.delivery) == (status, delivery)
    assert (f"0x{status:04X}" in result.message) is (status != 0)


def test_an_association_that_breaks_leaves_the_rest_for_later(
    make_peer: Callable[..., Peer], make_file: MakeFile
) -> None:
    peer = make_peer(0x0000, "abort")
    results = list(store(archive(peer.port), [make_file() for _ in range(4)]))
    assert deliveries(results) == [Delivery.DELIVERED] + [Delivery.RETRY] * 3
    assert all("pacs" in result.message for result in results[1:])


def test_what_is_no_dicom_file_is_passed_over(gate: Any, make_file: MakeFile, tmp_path: Path) -> None:
    text = tmp_path / "readme.txt"
    text.write_text("hello")
    results = list(store(archive(gate.port), [text, tmp_path / "absent.dcm", make_file()]))
    assert deliveries(results) == [Delivery.REJECTED, Delivery.REJECTED, Delivery.DELIVERED]
    assert "not a DICOM file" in results[0].message


def test_echo(make_gate: Callable[..., Any]) -> None:
    gate = make_gate(access=Access((AccessRule(ae_title="ME"),), called_ae_titles=frozenset({"QAGATE"})))
    echo(archive(gate.port, calling_ae_title="ME"))
    with pytest.raises(DeliveryError, match="add the calling AE title QAGATE") as rejected:
        echo(archive(gate.port))
    assert not rejected.value.transient
    with pytest.raises(DeliveryError, match="its AE title is not OTHER"):
        echo(archive(gate.port, ae_title="OTHER", calling_ae_title="ME"))


def test_an_archive_that_cannot_be_reached_is_named(make_file: MakeFile) -> None:
    port = free_port()
    refusal = rf"connection refused by 127\.0\.0\.1:{port}.*pacs running"
    with pytest.raises(DeliveryError, match=refusal) as refused:
        list(store(archive(port), [make_file()]))
    assert refused.value.transient
    with pytest.raises(DeliveryError, match=r"host name nowhere\.invalid of archive pacs is unknown"):
        echo(archive(104, host="nowhere.invalid"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_archive = archive(silent.getsockname()[1], timeout_s=0.5)
        with pytest.raises(DeliveryError, match="did not answer"):
            echo(silent_archive)


def test_an_archive_that_takes_nothing_of_it(make_peer: Callable[..., Peer], make_file: MakeFile) -> None:
    with pytest.raises(DeliveryError, match="takes none of MR Image Storage"):
        list(store(archive(make_peer().port), [make_file(SOPClassUID="1.2.840.10008.5.1.4.1.1.4")]))


@pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not installed")
def test_orthanc_takes_and_gives_back(tmp_path: Path, shared_series: list[Path]) -> None:
    port, http = free_port(), free_port()
    settings = {
        "StorageDirectory": str(tmp_path / "db"),
        "IndexDirectory": str(tmp_path / "db"),
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "HttpPort": http,
        "HttpBindAddresses": ["127.0.0.1"],
        "AuthenticationEnabled": False,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowEcho": True,
        "Plugins": [],
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    process = subprocess.Popen(
        [str(ORTHANC), str(tmp_path / "orthanc.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        target = archive(port, name="orthanc", ae_title="ORTHANC")
        _await_echo(target)
        files = [sorted(folder.glob("*.dcm"))[0] for folder in shared_series]
        assert deliveries(list(store(target, files))) == [Delivery.DELIVERED] * len(files)
        for path in files:
            sent = pydicom.dcmread(path)
            assert _from_orthanc(http, sent.SOPInstanceUID, tmp_path) == sent
    finally:
        process.terminate()
        process.wait(20)


def _await_echo(target: Archive) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            return echo(target)
        except DeliveryError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _from_orthanc(http: int, sop_instance_uid: str, folder: Path) -> Dataset:
    base = f"http://127.0.0.1:{http}"
    request = urllib.request.Request(f"{base}/tools/lookup", data=sop_instance_uid.encode(), method="POST")
    with urllib.request.urlopen(request) as answer:
        (found,) = json.load(answer)
    with urllib.request.urlopen(f"{base}/instances/{found['ID']}/file") as answer:
        path = folder / f"back{os.getpid()}.dcm"
        path.write_bytes(answer.read())
    return pydicom.dcmread(path)


def test_no_other_thread_takes_an_answer(gate: Any, make_file: MakeFile) -> None:
    results = store(archive(gate.port, timeout_s=2.0), [make_file(), make_file()])
    assert next(results).status == 0x0000
    (association,) = [
        thread for thread in threading.enumerate() if isinstance(thread, Association) and thread.is_requestor
    ]
    answer = C_STORE()
    answer.MessageIDBeingRespondedTo, answer.Status = 2, 0x0000
    association.dimse.msg_queue.put((1, answer))
    time.sleep(0.2)  # pynetdicom's thread looks at the queue every millisecond
    assert association.dimse.get_msg(block=True) == (1, answer)
    assert deliveries(list(results)) == [Delivery.DELIVERED]
