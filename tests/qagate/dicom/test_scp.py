"""A real network client sends what is right and what is wrong, and reads the answers."""

from __future__ import annotations

import resource
import threading
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    generate_uid,
)
from pynetdicom import build_context
from scp_client import (
    CT,
    FUTURE_CLASS,
    PRIVATE_CLASS,
    PRIVATE_SYNTAX,
    MakeFile,
    MakeGate,
    association,
    encoded,
    send_bytes,
)
from structlog.testing import capture_logs

from qagate.dicom.part10 import hash_data_set
from qagate.series import Received


def test_echo_and_store(gate: Any, make_file: MakeFile) -> None:
    path = make_file()
    with association(gate, [*CT, build_context("1.2.840.10008.1.1")]) as link:
        assert link.send_c_echo().Status == 0x0000
        assert link.send_c_store(path).Status == 0x0000
    (received,) = gate.received
    instance = received.instance
    assert (instance.sha256, instance.size) == hash_data_set(path)
    assert instance.calling_ae_title == "CT1"
    assert hash_data_set(gate.spool.absolute(instance.path)) == hash_data_set(path)
    assert pydicom.dcmread(gate.spool.absolute(instance.path)) == pydicom.dcmread(path)
    assert gate.wait(lambda: gate.released)
    assert gate.released[0][0] == {instance.series_instance_uid}
    assert list(gate.spool.walk()) == [received]
    assert not list(gate.spool.incoming.iterdir())


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_every_encoding_is_kept_as_received(gate: Any, make_file: MakeFile, syntax: str) -> None:
    path = make_file(syntax, PixelData=None)
    with association(gate, [build_context(CTImageStorage, syntax)]) as link:
        assert link.send_c_store(path).Status == 0x0000
    instance = gate.received[0].instance
    assert instance.transfer_syntax_uid == syntax
    assert instance.sha256 == hash_data_set(path)[0]


@pytest.mark.parametrize("sop_class", [PRIVATE_CLASS, FUTURE_CLASS, MRImageStorage])
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless])
def test_every_storage_class_is_taken(gate: Any, make_file: MakeFile, sop_class: str, syntax: str) -> None:
    data, uid = encoded(make_file(SOPClassUID=sop_class))
    with association(gate, [build_context(sop_class, syntax)]) as link:
        assert send_bytes(link, data, sop_class, uid).Status == 0x0000
    instance = gate.received[0].instance
    assert (instance.sop_class_uid, instance.transfer_syntax_uid) == (sop_class, syntax)


def test_the_senders_first_transfer_syntax_is_taken(gate: Any) -> None:
    offered = [JPEG2000Lossless, PRIVATE_SYNTAX, ExplicitVRLittleEndian]
    with association(gate, [build_context(CTImageStorage, offered)]) as link:
        assert link.accepted_contexts[0].transfer_syntax == [JPEG2000Lossless]


def test_private_transfer_syntaxes_are_refused_by_name_or_accepted_if_set(make_gate: MakeGate) -> None:
    contexts = [build_context(CTImageStorage, PRIVATE_SYNTAX), build_context(CTImageStorage)]
    with capture_logs() as logs, association(make_gate(), contexts) as link:
        assert [cx.result for cx in link.rejected_contexts] == [0x04]
        assert len(link.accepted_contexts) == 1
    refused = [line for line in logs if line["event"] == "refuse_context"]
    assert refused[0]["transfer_syntaxes"] == [PRIVATE_SYNTAX]
    willing = make_gate(private_transfer_syntaxes=frozenset({PRIVATE_SYNTAX}))
    with association(willing, contexts) as link:
        assert len(link.accepted_contexts) == 2


def test_query_is_no_service_here(gate: Any) -> None:
    with association(gate, [*CT, build_context("1.2.840.10008.5.1.4.1.2.2.1")]) as link:
        assert [cx.result for cx in link.rejected_contexts] == [0x03]


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"SOPClassUID": MRImageStorage}, 0xA900, "SOPClassUID of request and data set differ"),
        ({"SOPInstanceUID": "1.2.3.4"}, 0xA900, "SOPInstanceUID of request and data set differ"),
        ({"SOPInstanceUID": None}, 0xC000, "SOPInstanceUID is missing"),
        ({"SeriesInstanceUID": None}, 0xC000, "SeriesInstanceUID is missing"),
        ({"StudyInstanceUID": None}, 0xC000, "StudyInstanceUID is missing"),
    ],
)
def test_refused_data_sets(
    gate: Any, make_file: MakeFile, changes: dict[str, Any], status: int, reason: str
) -> None:
    uid = generate_uid()
    data, _ = encoded(make_file(**({"SOPInstanceUID": uid} | changes)))
    with capture_logs() as logs, association(gate) as link:
        answer = send_bytes(link, data, CTImageStorage, uid)
        assert link.send_c_store(make_file()).Status == 0x0000
    assert (answer.Status, answer.ErrorComment) == (status, reason)
    (refusal,) = gate.refused
    assert (refusal.status, refusal.reason, refusal.sop_instance_uid) == (status, reason, uid)
    (line,) = [line for line in logs if line["event"] == "refuse_instance"]
    assert line["sop_instance_uid"] == uid and line["status"] == f"0x{status:04X}"
    assert "NOBODY" not in str(logs)
    assert len(gate.received) == 1 and len(list(gate.spool.paths())) == 1
    assert not list(gate.spool.incoming.iterdir())


@pytest.mark.parametrize("data", [b"\0" * 400, b"\xff" * 400, b"GIF89a" * 20, b"\x08"])
def test_garbage_is_not_understood(gate: Any, data: bytes) -> None:
    with association(gate) as link:
        assert send_bytes(link, data, CTImageStorage, "1.2.3").Status == 0xC000


@pytest.mark.parametrize("has_data", [True, False])
def test_an_empty_c_store(gate: Any, make_file: MakeFile, has_data: bool) -> None:
    with association(gate) as link:
        assert send_bytes(link, b"", CTImageStorage, "1.2.3", has_data=has_data).Status == 0xC000
        assert link.send_c_store(make_file()).Status == 0x0000
    assert "empty" in gate.refused[0].reason


def test_a_request_without_instance_uid_is_answered(gate: Any, make_file: MakeFile) -> None:
    data, _ = encoded(make_file())
    with association(gate) as link:
        assert send_bytes(link, data, CTImageStorage, None).Status == 0xA900
    assert gate.refused[0].sop_instance_uid == ""


def test_a_truncated_data_set_is_taken_as_it_came(gate: Any, make_file: MakeFile) -> None:
    """Its identity is whole; what its pixels are worth is for the examination to say."""
    data, uid = encoded(make_file())
    with association(gate) as link:
        assert send_bytes(link, data[:-100], CTImageStorage, uid).Status == 0x0000


def test_an_instance_of_another_context_is_refused(gate: Any, make_file: MakeFile) -> None:
    data, uid = encoded(make_file(SOPClassUID=MRImageStorage))
    with association(gate) as link:
        assert send_bytes(link, data, MRImageStorage, uid).Status == 0xA900


def test_a_file_system_that_is_full_half_way(gate: Any, make_file: MakeFile) -> None:
    """The process may write no file larger than 1 MB: the write fails in the middle of the message."""
    big = make_file(PixelData=bytes(4_000_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with association(gate) as link:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
        try:
            assert link.send_c_store(big).Status == 0xA700
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not list(gate.spool.incoming.iterdir())
        assert link.send_c_store(big).Status == 0x0000


def test_identical_bytes_once_other_bytes_beside(gate: Any, make_file: MakeFile) -> None:
    uids = {"SOPInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    first, second = make_file(**uids, Rows=16), make_file(**uids, Rows=17)
    with association(gate) as link:
        for path in (first, first, second):
            assert link.send_c_store(path).Status == 0x0000
    assert gate.received[0] == gate.received[1]
    assert [r.instance.sha256 for r in gate.conflicts] == [hash_data_set(second)[0]]
    assert list(gate.spool.walk()) == gate.received[:1]
    assert list(gate.spool.walk(conflicts=True)) == gate.conflicts


def test_one_instance_over_two_associations_at_once(gate: Any, make_file: MakeFile) -> None:
    path = make_file(PixelData=bytes(2_000_000))
    other = make_file(SOPInstanceUID=pydicom.dcmread(path).SOPInstanceUID, PixelData=bytes(2_000_000))
    other_uid = pydicom.dcmread(path).SeriesInstanceUID
    data_set = pydicom.dcmread(other)
    data_set.SeriesInstanceUID = other_uid
    data_set.save_as(other)
    statuses: list[int] = []

    def send(file: Path) -> None:
        with association(gate) as link:
            statuses.extend(link.send_c_store(file).Status for _ in range(5))

    threads = [threading.Thread(target=send, args=(file,)) for file in (path, path, other, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0x0000] * 20
    assert len(gate.received) == 10 and len(gate.conflicts) == 10
    assert len(list(gate.spool.paths())) == 1 and len(list(gate.spool.paths(conflicts=True))) == 1
    assert gate.wait(lambda: not gate.scp.associations)
    assert gate.released[-1][0] == {other_uid} and not list(gate.spool.incoming.iterdir())


def test_what_could_not_be_recorded_is_not_acknowledged(make_gate: MakeGate, make_file: MakeFile) -> None:
    recorded: list[Received] = []
    broken = True

    def record(received: Received) -> None:
        if broken:
            raise RuntimeError("database is locked")
        recorded.append(received)

    gate = make_gate(on_received=record)
    path = make_file()
    with association(gate) as link:
        assert link.send_c_store(path).Status == 0x0110
        broken = False
        assert link.send_c_store(path).Status == 0x0000
    assert recorded == list(gate.spool.walk())
