"""Peers that stop half-way, trickle or only knock: each is let go, and nothing of it is left."""

from __future__ import annotations

import gc
import resource
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import Authority
from pydicom.uid import CTImageStorage
from pynetdicom.pdu_primitives import P_DATA
from scp_client import MakeFile, MakeGate, association
from structlog.testing import capture_logs

from qagate.dicom.tls import Credentials, Tls
from qagate.refusal import NO_PLACE

FAST = {"acse_timeout_s": 0.6, "network_timeout_s": 1.2, "dimse_timeout_s": 0.6}


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Tls | None, Tls | None]:
    """The gate's side and the peer's."""
    if request.param == "plain":
        return None, None
    authority = Authority(tmp_path / "pki")
    peer = Credentials(issuers=authority.certificate)
    mine = authority.issue("gate")
    return (
        Tls(Credentials(certificate=mine.certificate, key=mine.key), server=True),
        Tls(peer, server=False, check_host=False),
    )


def connected(port: int, tls: Tls | None) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 10)
    return tls.context().wrap_socket(connection) if tls else connection


def ended(connection: socket.socket, limit_s: float = 10) -> bool:
    """Whether the gate closes it, whatever it says before."""
    connection.settimeout(limit_s)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except (ConnectionError, ssl.SSLError):
        pass
    return True


@pytest.mark.parametrize("said", [b"", b"\x01\x00\x00\x00\x01\x00", b"\x01\x00\x00"])
def test_who_does_not_ask_for_an_association(
    make_gate: MakeGate, tls: tuple[Tls | None, Tls | None], said: bytes
) -> None:
    gate = make_gate(tls=tls[0], **FAST)
    with connected(gate.port, tls[1]) as peer:
        peer.sendall(said)
        assert ended(peer)
    assert gate.wait(lambda: not gate.scp._links)


def test_who_trickles_its_request_gets_no_longer(
    make_gate: MakeGate, tls: tuple[Tls | None, Tls | None]
) -> None:
    """Within the time of a request, not of the longer one that a PDU of an association has."""
    gate = make_gate(tls=tls[0], **FAST | {"network_timeout_s": 60})
    with connected(gate.port, tls[1]) as peer:
        peer.sendall(b"\x01\x00\x00\x00\x40\x00")
        began = time.monotonic()
        while time.monotonic() - began < 30 and not select.select([peer], [], [], 0.05)[0]:
            peer.sendall(b"\x00")
        assert ended(peer) and time.monotonic() - began < 10


@pytest.mark.parametrize("fragments", ["none", "trickled", "command"])
def test_who_stops_in_a_message_is_aborted(make_gate: MakeGate, fragments: str) -> None:
    gate = make_gate(**FAST | {"network_timeout_s": 60})
    with association(gate) as link, capture_logs() as logs:
        context_id = link.accepted_contexts[0].context_id
        if fragments != "command":
            link.dul.send_pdu(_command(context_id))
        began = time.monotonic()
        while link.is_established and time.monotonic() - began < 20:
            if fragments != "none":
                link.dul.send_pdu(_fragment(context_id, b"\x01" if fragments == "command" else b"\x00"))
            time.sleep(0.1)
        assert link.is_aborted and time.monotonic() - began < 10
    assert gate.wait(lambda: not gate.scp._links)
    assert not list(gate.spool.incoming.iterdir())
    said = next(one for one in logs if one["event"] == "abort_association")
    assert "bytes of a message" in said["reason"] and said["calling_ae_title"] == "CT1"


def test_a_command_set_without_end_is_aborted(make_gate: MakeGate) -> None:
    gate = make_gate()
    with association(gate) as link, capture_logs() as logs:
        for _ in range(10):
            link.dul.send_pdu(_fragment(link.accepted_contexts[0].context_id, b"\x01", 16_000))
        assert gate.wait(lambda: link.is_aborted)
    said = next(one for one in logs if one["event"] == "abort_association")
    assert said["reason"].endswith("no end")


def test_a_slow_message_that_goes_on_is_taken(make_gate: MakeGate, make_file: MakeFile) -> None:
    """Slower than the time a part is waited for, and faster than a trickle."""
    gate = make_gate(**FAST)
    with association(gate) as link:
        context_id = link.accepted_contexts[0].context_id
        link.dul.send_pdu(_command(context_id))
        for _ in range(15):
            link.dul.send_pdu(_fragment(context_id, b"\x00", 2000))
            time.sleep(0.1)
        link.dul.send_pdu(_fragment(context_id, b"\x02"))
        assert gate.wait(lambda: gate.refused), "answered: what it sent is no data set"
        assert gate.refused[0].status == 0xC000 and link.is_established


def test_an_idle_association_is_aborted(make_gate: MakeGate, make_file: MakeFile) -> None:
    gate = make_gate(**FAST)
    with association(gate) as link:
        assert link.send_c_store(make_file()).Status == 0
        assert gate.wait(lambda: link.is_aborted)
    assert gate.wait(lambda: gate.released and not gate.scp._links)


def test_requests_without_end_do_not_pile_up(make_gate: MakeGate, make_file: MakeFile) -> None:
    """A peer that does not wait for answers is read no faster than they are given."""
    gate, hold = make_gate(), threading.Event()
    gate.scp._storing.spool.place = lambda *args, **keywords: hold.wait(10) and None
    with association(gate) as link:
        context_id = link.accepted_contexts[0].context_id
        for _ in range(200):
            link.dul.send_pdu(_command(context_id))
            link.dul.send_pdu(_fragment(context_id, b"\x02"))
        time.sleep(0.5)
        assert len(list(gate.spool.incoming.iterdir())) < 25
        hold.set()


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _close(connection: socket.socket) -> None:
    connection.close()


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _wait(connection: socket.socket) -> None:
    assert ended(connection)
    connection.close()


@pytest.mark.parametrize(("probe", "count"), [(_close, 1000), (_reset, 1000), (_wait, 3)])
def test_probes_of_a_load_balancer_cost_nothing(
    make_gate: MakeGate, tls: tuple[Tls | None, Tls | None], probe: Callable[..., None], count: int
) -> None:
    gate = make_gate(tls=tls[0], **FAST)

    def knock(times: int) -> None:
        for _ in range(times):
            probe(socket.create_connection(("127.0.0.1", gate.port), 10))
        assert gate.wait(lambda: threading.active_count() <= threads), "a thread is left"

    threads = threading.active_count()
    with capture_logs() as logs:
        knock(min(count, 200))
        gc.collect()
        files, memory = open_files(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        knock(count)
        gc.collect()
        assert open_files() <= files + 2
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 4096, "more than 4 MB"
    assert not logs and not gate.refused


def test_where_places_are_short_the_silent_make_room(make_gate: MakeGate, make_file: MakeFile) -> None:
    gate = make_gate(max_connections=4, acse_timeout_s=60)
    silent = [socket.create_connection(("127.0.0.1", gate.port), 10) for _ in range(12)]
    with association(gate) as link:
        assert link.send_c_store(make_file()).Status == 0
    assert [ended(one) for one in silent[:8]] == [True] * 8
    assert NO_PLACE not in {one.status for one in gate.refused}
    for one in silent:
        one.close()


def _fragment(context_id: int | None, header: bytes, length: int = 10) -> P_DATA:
    part = P_DATA()
    part.presentation_data_value_list = [[context_id, header + bytes(length)]]
    return part


def _command(context_id: int | None) -> P_DATA:
    """A C-STORE request whose data set is yet to come."""
    values = [
        (0x0002, CTImageStorage.encode() + b"\x00" * (len(CTImageStorage) % 2)),
        (0x0100, struct.pack("<H", 0x0001)),
        (0x0110, struct.pack("<H", 7)),
        (0x0700, struct.pack("<H", 2)),
        (0x0800, struct.pack("<H", 1)),
        (0x1000, b"1.2.3\x00"),
    ]
    body = b"".join(struct.pack("<HHL", 0, element, len(value)) + value for element, value in values)
    part = P_DATA()
    head = struct.pack("<HHLL", 0, 0, 4, len(body))
    part.presentation_data_value_list = [[context_id, b"\x03" + head + body]]
    return part
