"""Associations: who may open one, how it may break, and how the receiver ends it."""

from __future__ import annotations

import io
import itertools
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import (
    CTImageStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)
from pynetdicom import build_context
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from scp_client import (
    ECHOSCU,
    STORESCU,
    MakeFile,
    MakeGate,
    association,
    encoded,
)

from qagate.dicom.access import Access, AccessRule
from qagate.dicom.part10 import hash_data_set


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


def test_a_full_disk_refuses_new_associations_until_there_is_space(
    make_gate: MakeGate, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, free = make_gate(min_free_bytes=1 << 20), [1 << 30]
    monkeypatch.setattr(gate.spool, "free_bytes", lambda: free[0])
    with association(gate) as link:
        free[0] = (1 << 20) - 1
        with association(gate) as late:
            assert late.is_rejected
            answer = late.acceptor.primitive
            assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 1)
        answer = link.send_c_store(make_file())
        assert answer.Status == 0xA700 and "watermark" in answer.ErrorComment
        assert [one.status for one in gate.refused] == [0x020301, 0xA700]
        assert not list(gate.spool.paths()) and not list(gate.spool.incoming.iterdir())
        free[0] = 1 << 30
        assert link.send_c_store(make_file()).Status == 0x0000
    with association(gate) as again:
        assert again.is_established
