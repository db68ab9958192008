"""A real network client sends what is right and what is wrong, and reads the answers."""

from __future__ import annotations

import io
import itertools
import resource
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    generate_uid,
)
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext
from structlog.testing import capture_logs

from qagate.dicom.access import Access, AccessRule
from qagate.dicom.part10 import hash_data_set, read_file_meta
from qagate.series import Received

MakeFile = Callable[..., Path]
MakeGate = Callable[..., Any]
CT = [build_context(CTImageStorage, ExplicitVRLittleEndian)]
STORESCU, ECHOSCU = Path("/usr/bin/storescu"), Path("/usr/bin/echoscu")
PRIVATE_CLASS = "1.2.826.0.1.3680043.10.999.1"
FUTURE_CLASS = "1.2.840.10008.5.1.4.1.1.999"
PRIVATE_SYNTAX = "1.2.840.113619.5.2"


@contextmanager
def association(
    gate: Any,
    contexts: list[PresentationContext] | None = None,
    *,
    calling: str = "CT1",
    called: str = "QAGATE",
) -> Iterator[Association]:
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    link = ae.associate("127.0.0.1", gate.port, contexts=contexts or CT, ae_title=called)
    try:
        yield link
    finally:
        if link.is_established:
            link.release()


def send_bytes(
    link: Association, data: bytes, sop_class: str, sop_instance: str | None, *, has_data: bool = True
) -> Dataset:
    """Send one C-STORE of any bytes at all and return the answer."""
    context = next(cx for cx in link.accepted_contexts if cx.abstract_syntax == sop_class or has_data)
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID = sop_class
    if sop_instance is not None:
        request.AffectedSOPInstanceUID = sop_instance
    request.DataSet = io.BytesIO(data)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    message.command_set.CommandDataSetType = 0x0001 if has_data else 0x0101
    link._reactor_checkpoint.clear()
    try:
        for part in message.encode_msg(context.context_id or 1, link.dimse.maximum_pdu_size):
            link.dul.send_pdu(part)
        if has_data and not data:
            empty = P_DATA()
            empty.presentation_data_value_list = [[context.context_id, b"\x02"]]
            link.dul.send_pdu(empty)
        _, answer = link.dimse.get_msg(block=True)
    finally:
        link._reactor_checkpoint.set()
    assert answer is not None, "no answer"
    result = Dataset()
    result.Status = answer.Status
    result.ErrorComment = answer.ErrorComment
    return result


def encoded(path: Path) -> tuple[bytes, str]:
    with path.open("rb") as file:
        meta = read_file_meta(file)
        return file.read(), meta.sop_instance_uid


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


def test_below_the_watermark_nothing_is_written(make_gate: MakeGate, make_file: MakeFile) -> None:
    gate = make_gate(min_free_bytes=1 << 60)
    with association(gate) as link:
        answer = link.send_c_store(make_file())
        assert answer.Status == 0xA700 and "watermark" in answer.ErrorComment
        assert link.is_established
    assert gate.refused[0].status == 0xA700
    assert not list(gate.spool.paths()) and not list(gate.spool.incoming.iterdir())


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


@pytest.mark.parametrize(
    ("calling", "called", "expected"),
    [
        ("CT1", "QAGATE", None),
        ("CT2", "QAGATE", (1, 1, 3)),
        ("CT1", "X", (1, 1, 7)),
        ("FAR", "QAGATE", (1, 1, 1)),
    ],
)
def test_associations_are_rejected_with_the_right_reason(
    make_gate: MakeGate, calling: str, called: str, expected: tuple[int, int, int] | None
) -> None:
    rules = (AccessRule(ae_title="CT1"), AccessRule(ae_title="FAR", addresses=("10.0.0.0/8",)))
    gate = make_gate(access=Access(rules, called_ae_titles=frozenset({"QAGATE"})))
    with association(gate, calling=calling, called=called) as link:
        assert link.is_established is (expected is None)
        if expected:
            answer = link.acceptor.primitive
            assert (answer.result, answer.result_source, answer.diagnostic) == expected


def test_who_may_only_verify_may_not_store(make_gate: MakeGate, make_file: MakeFile) -> None:
    gate = make_gate(access=Access((AccessRule(ae_title="CT1", store=False),)))
    with association(gate) as link:
        assert link.send_c_store(make_file()).Status == 0x0124
    assert not list(gate.spool.incoming.iterdir())


def test_one_association_too_many(make_gate: MakeGate) -> None:
    gate = make_gate(max_associations=1)
    probes = [socket.create_connection(("127.0.0.1", gate.port)) for _ in range(3)]
    with association(gate) as first:
        assert first.is_established
        with association(gate) as second:
            assert second.is_rejected
            assert (second.acceptor.primitive.result, second.acceptor.primitive.diagnostic) == (2, 2)
    for probe in probes:
        probe.close()
    assert gate.wait(lambda: gate.scp.associations == 0)
    with association(gate) as third:
        assert third.is_established


@pytest.mark.parametrize("end", ["abort", "lost"])
def test_an_association_that_ends_half_way_leaves_nothing(gate: Any, make_file: MakeFile, end: str) -> None:
    path = make_file()
    data, _ = encoded(make_file(PixelData=bytes(3_000_000)))
    with association(gate) as link:
        assert link.send_c_store(path).Status == 0x0000
        request = C_STORE()
        request.MessageID, request.Priority = 2, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, "1.2.3"
        request.DataSet = io.BytesIO(data)
        message = C_STORE_RQ()
        message.primitive_to_message(request)
        for part in itertools.islice(message.encode_msg(1, 16384), 20):
            link.dul.send_pdu(part)
        assert gate.wait(lambda: list(gate.spool.incoming.iterdir()))
        if end == "abort":
            link.abort()
        else:
            link.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    assert gate.wait(lambda: gate.released)
    assert gate.wait(lambda: not list(gate.spool.incoming.iterdir()))
    assert gate.released[0][0] == {gate.received[0].instance.series_instance_uid}
    assert len(list(gate.spool.paths())) == 1 and not gate.refused
    with association(gate) as link:
        assert link.send_c_store(make_file()).Status == 0x0000


def test_a_peer_that_breaks_the_protocol_is_let_go(gate: Any, make_file: MakeFile) -> None:
    oversized = b"\x00\xff\xff\xff\xff"
    for start in (b"GET / HTTP/1.1\r\n\r\n", b"\x04" + oversized + b"x" * 100, b"\x01" + oversized):
        with socket.create_connection(("127.0.0.1", gate.port)) as peer:
            peer.settimeout(15)
            peer.sendall(start)
            while peer.recv(1000):
                pass
    with association(gate) as link:
        assert link.send_c_store(make_file()).Status == 0x0000


def test_a_peer_that_stalls_inside_a_pdu_is_let_go(make_gate: MakeGate) -> None:
    gate = make_gate(network_timeout_s=1, acse_timeout_s=1)
    with socket.create_connection(("127.0.0.1", gate.port)) as peer:
        peer.settimeout(15)
        peer.sendall(b"\x01\x00\x00\x00\x10\x00abc")
        assert peer.recv(1000) == b""


def test_a_series_is_released_with_its_last_association(gate: Any, make_file: MakeFile) -> None:
    series = generate_uid()
    with association(gate) as first:
        assert first.send_c_store(make_file(SeriesInstanceUID=series)).Status == 0x0000
        with association(gate) as second:
            assert second.send_c_store(make_file(SeriesInstanceUID=series)).Status == 0x0000
            assert second.send_c_store(make_file(SeriesInstanceUID="1.2.3")).Status == 0x0000
        assert gate.wait(lambda: gate.released)
        assert gate.released[0][0] == {"1.2.3"}
    assert gate.wait(lambda: len(gate.released) == 2)
    assert gate.released[1][0] == {series}


def test_stop_lets_a_sender_finish(gate: Any, make_file: MakeFile) -> None:
    path = make_file()
    with association(gate) as link:
        stopping = threading.Thread(target=gate.scp.stop, args=(20,))
        port = gate.port
        stopping.start()
        assert gate.wait(lambda: not _listens(port))
        assert link.send_c_store(path).Status == 0x0000
    stopping.join(10)
    assert not stopping.is_alive() and len(gate.received) == 1 and gate.released


def test_stop_aborts_a_sender_that_does_not_end(gate: Any, make_file: MakeFile) -> None:
    with association(gate) as link:
        assert link.send_c_store(make_file()).Status == 0x0000
        gate.scp.stop(drain_s=0.1)
        assert gate.wait(lambda: not link.is_established)
    assert gate.released


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(not ECHOSCU.exists(), reason="DCMTK's echoscu is not installed")
def test_dcmtk_echo(gate: Any) -> None:
    command = [ECHOSCU, "-aec", "QAGATE", "127.0.0.1", str(gate.port)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    command[2] = "OTHER"
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    assert answer.returncode != 0 and "Called AE Title Not Recognized" in answer.stderr


@pytest.mark.skipif(not STORESCU.exists(), reason="DCMTK's storescu is not installed")
def test_dcmtk_sends_the_shared_series(gate: Any, shared_series: list[Path]) -> None:
    """storescu writes sequence lengths anew, so its data sets are compared element by element."""
    for folder in shared_series:
        files = sorted(folder.glob("*.dcm"))
        syntax = pydicom.dcmread(files[0], stop_before_pixels=True).file_meta.TransferSyntaxUID
        options = {JPEG2000Lossless: ["-xv"], ImplicitVRLittleEndian: ["-xi"]}.get(syntax, [])
        command = [STORESCU, *options, "-R", "-aec", "QAGATE", "127.0.0.1", str(gate.port), *files]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        by_uid = {r.instance.sop_instance_uid: r.instance for r in gate.received}
        for path in files:
            sent = pydicom.dcmread(path)
            instance = by_uid[sent.SOPInstanceUID]
            assert instance.transfer_syntax_uid == syntax
            assert pydicom.dcmread(gate.spool.absolute(instance.path)) == sent
    assert not gate.refused and not gate.conflicts


def test_the_shared_series_arrive_byte_for_byte(gate: Any, shared_series: list[Path]) -> None:
    for folder in shared_series:
        files = sorted(folder.glob("*.dcm"))
        data_sets = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
        pairs = {(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in data_sets}
        with association(gate, [build_context(*pair) for pair in pairs]) as link:
            assert all(link.send_c_store(path).Status == 0x0000 for path in files)
        assert {r.instance.sha256 for r in gate.received} >= {hash_data_set(path)[0] for path in files}
    assert gate.wait(lambda: len(gate.released) == len(shared_series))
    assert sorted(gate.spool.paths()) == sorted(r.instance.path for r in gate.received)
