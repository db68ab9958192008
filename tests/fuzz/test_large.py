"""Very large input, and a worker that crashes: bounded memory, a named outcome, the gate goes on."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import closing

import fuzz_pdu as pdu
import fuzz_seeds as seeds
import pytest
from fuzz_gate import Gate, until
from fuzz_peer import healthy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
RECEIVER_MB, WORKER_MB, WEB_MB = 256, 1024, 512  #: resident at most; a loaded worker alone has some 520
SIDE = 20_000
ENDED = ("DECIDED", "DELIVERED", "FAILED")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """One gate for all; a PDU of a scanner may take long on a busy machine."""
    limits = {"acse_timeout_s": 60, "dimse_timeout_s": 60, "network_timeout_s": 120}
    with Gate(
        tmp_path_factory.mktemp("large"), receiver=limits, worker={"lease_s": 5, "max_attempts": 2}
    ) as gate:
        yield gate


def row(gate: Gate, uid: str) -> tuple[str, str | None, str | None, int]:
    """State, verdict, last error and instances of a series; RECEIVING when it is not there."""
    query = "select state, verdict, last_error, instance_count from series where series_instance_uid = ?"
    with closing(sqlite3.connect(f"file:{gate.database}?mode=ro", uri=True)) as store:
        found: tuple[str, str | None, str | None, int] | None = store.execute(query, (uid,)).fetchone()
    return found or ("RECEIVING", None, None, 0)


def reasons(gate: Gate, uid: str) -> str:
    """The reasons of a series' last decision, as they are stored."""
    query = (
        "select decision from result join series on series.id = series_id "
        "where series_instance_uid = ? order by result.revision desc"
    )
    with closing(sqlite3.connect(f"file:{gate.database}?mode=ro", uri=True)) as store:
        return str(store.execute(query, (uid,)).fetchone()[0])


def send(gate: Gate, instances: Iterable[tuple[bytes, Iterable[bytes]]], sop_class: bytes = pdu.CT) -> int:
    """Store instances (UID, parts of the data set) on one association; how many were answered 0x0000."""
    stored = 0
    with socket.create_connection(("127.0.0.1", gate.port), 60) as link:
        link.settimeout(300)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.sendall(pdu.associate(contexts=pdu.context(3, sop_class, [pdu.EXPLICIT])))
        assert received(link)[0] == pdu.ASSOCIATE_AC
        for uid, parts in instances:
            request = pdu.command(0x0001, sop_class=sop_class, sop_instance=uid)
            link.sendall(pdu.p_data(pdu.pdv(3, pdu.COMMAND | pdu.LAST, request)))
            for part in parts:
                link.sendall(pdu.p_data(pdu.pdv(3, 0, part)))
            link.sendall(pdu.p_data(pdu.pdv(3, pdu.LAST, b"")))
            kind, body = received(link)
            stored += kind == pdu.P_DATA and pdu.element(0x0900, b"\0\0") in body
        link.sendall(pdu.RELEASE)
        received(link)
    return stored


def received(link: socket.socket) -> tuple[int, bytes]:
    """The next PDU's type and body."""
    head = link.recv(6, socket.MSG_WAITALL)
    kind, _, length = struct.unpack(">BBL", head)
    return kind, link.recv(length, socket.MSG_WAITALL)


def cut(data: bytes, size: int = 64_000) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def ended(gate: Gate, uid: str, limit_s: float = 600) -> tuple[str, str | None, str | None, int]:
    assert until(lambda: row(gate, uid)[0] in ENDED, limit_s, 0.5), row(gate, uid)
    return row(gate, uid)


def bounded(gate: Gate) -> None:
    looks = gate.looks()
    print({role: f"{look.peak_mb:.0f} MB" for role, look in looks.items()})
    assert looks["receiver"].peak_mb < RECEIVER_MB
    assert looks["worker"].peak_mb < WORKER_MB
    assert looks["web"].peak_mb < WEB_MB


def data_set(part10: bytes) -> bytes:
    return part10[132 + 12 + struct.unpack_from("<L", part10, 140)[0] :]


def test_five_thousand_instances(gate: Gate) -> None:
    made = seeds.data_set(32)
    made.SeriesInstanceUID = "2.25.5000"

    def instances() -> Iterator[tuple[bytes, list[bytes]]]:
        for number in range(1, 5001):
            made.SOPInstanceUID, made.InstanceNumber = f"2.25.5000.{number}", number
            made.ImagePositionPatient = [0, 0, number]
            yield made.SOPInstanceUID.encode(), cut(seeds.plain_data_set(made))

    assert send(gate, instances()) == 5000
    state, verdict, error, count = ended(gate, "2.25.5000")
    assert (state, error, count) == ("DELIVERED", None, 5000)
    assert verdict in ("PASS", "REVIEW", "REPEAT", "NOT_ASSESSED")
    bounded(gate)


def test_an_enhanced_object_of_five_thousand_frames(gate: Gate) -> None:
    whole = data_set(seeds.enhanced(5000).replace(b"2.25.3\0", b"2.25.6\0").replace(b"2.25.3", b"2.25.6"))
    assert send(gate, [(b"2.25.10001", cut(whole))], b"1.2.840.10008.5.1.4.1.1.4.1") == 1
    state, verdict, error, _ = ended(gate, "2.25.6")
    assert (state, error) == ("DELIVERED", None)
    assert verdict in ("PASS", "REVIEW", "REPEAT", "NOT_ASSESSED")
    bounded(gate)


def test_an_image_of_twenty_thousand_by_twenty_thousand(gate: Gate) -> None:
    made = seeds.data_set(16)
    made.SeriesInstanceUID, made.SOPInstanceUID = "2.25.20000", "2.25.20000.1"
    made.Rows = made.Columns = SIDE
    whole = seeds.plain_data_set(made)
    head = whole[: whole.index(b"\xe0\x7f\x10\x00OW") + 8] + struct.pack("<L", 2 * SIDE * SIDE)

    def parts() -> Iterator[bytes]:
        yield head
        row_of_zeros = bytes(4 * SIDE)
        for _ in range(SIDE // 2):
            yield row_of_zeros

    assert send(gate, [(b"2.25.20000.1", parts())]) == 1
    assert ended(gate, "2.25.20000")[:2] == ("DELIVERED", "NOT_ASSESSED")
    assert "too large (20000 x 20000" in reasons(gate, "2.25.20000")
    bounded(gate)


def test_a_series_that_crashes_its_worker_fails_with_a_reason(gate: Gate) -> None:
    """A decoder that crashes is a signal to the worker; here it comes from outside, whenever it scores."""
    before = gate.looks()
    made = seeds.data_set(512)
    made.SeriesInstanceUID = "2.25.7"

    def instances() -> Iterator[tuple[bytes, list[bytes]]]:
        for number in range(1, 41):
            made.SOPInstanceUID, made.InstanceNumber = f"2.25.7.{number}", number
            made.ImagePositionPatient = [0, 0, number]
            yield made.SOPInstanceUID.encode(), cut(seeds.plain_data_set(made))

    assert send(gate, instances()) == 40
    killed = set()
    deadline = time.monotonic() + 900
    while (state := row(gate, "2.25.7")[0]) not in ENDED and time.monotonic() < deadline:
        worker = gate.looks().get("worker")
        if state == "SCORING" and worker is not None and worker.pid not in killed:
            os.kill(worker.pid, signal.SIGSEGV)
            killed.add(worker.pid)
        time.sleep(0.002)
    state, _, error, _ = row(gate, "2.25.7")
    assert len(killed) >= 2, "until the lease of a dead one ends, those that follow die without a claim"
    assert state == "FAILED" and error, (state, error)
    after = gate.looks()
    for role in ("serve", "receiver", "services", "web"):
        assert after[role].pid == before[role].pid
    assert healthy(gate.port, 30)
