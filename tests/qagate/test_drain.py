"""SIGTERM: what is open or in hand is finished first. A second one: nothing is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from neighbours import free_port, until
from pydicom import dcmread
from pynetdicom import AE, AllStoragePresentationContexts, Association, evt
from pynetdicom.sop_class import CTImageStorage


class SlowArchive:
    """Answers a C-STORE when it is let."""

    def __init__(self) -> None:
        self.port, self.asked, self.let = free_port(), threading.Event(), threading.Event()
        ae = AE("SLOW")
        ae.supported_contexts = AllStoragePresentationContexts
        self._server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )

    def _store(self, _: evt.Event) -> int:
        self.asked.set()
        self.let.wait(60)
        return 0x0000

    def close(self) -> None:
        self.let.set()
        self._server.shutdown()


@pytest.fixture
def archive() -> Iterator[SlowArchive]:
    server = SlowArchive()
    yield server
    server.close()


def associate(gate: Any) -> Association:
    ae = AE("CT1")
    ae.add_requested_context(CTImageStorage)
    association = ae.associate("127.0.0.1", gate.port, ae_title="QAGATE")
    assert association.is_established
    return association


@pytest.mark.slow
def test_a_drained_gate_loses_nothing(make_gate: Callable, made: Any, archive: SlowArchive) -> None:
    slow = {"name": "slow", "ae_title": "SLOW", "host": "127.0.0.1", "port": archive.port, "timeout_s": 60}
    gate = make_gate(archive=[slow], drain_s=60)
    scored, files = made.series(3)
    gate.send(files)
    assert archive.asked.wait(90), "the report is on its way"
    scanner = associate(gate)
    late, (first, second) = made.series(2)
    assert scanner.send_c_store(dcmread(first)).Status == 0x0000

    gate.process.terminate()
    assert until(lambda: not gate.answers(), 30), "nobody new is let in"
    assert scanner.send_c_store(dcmread(second)).Status == 0x0000, "who is in goes on"
    archive.let.set()
    scanner.release()
    assert gate.process.wait(60) == 0
    history = gate.history(scored)
    assert {one.state for one in history.deliveries if one.kind == "SR"} == {"SENT"}
    assert gate.history(late).row.instance_count == 2
    assert not gate.events("role_killed") and not gate.events("abort_association")


@pytest.mark.slow
def test_a_second_sigterm_is_immediate(make_gate: Callable, made: Any) -> None:
    gate = make_gate(drain_s=250)
    scanner = associate(gate)
    uid, (only,) = made.series(1)
    assert scanner.send_c_store(dcmread(only)).Status == 0x0000
    gate.process.terminate()
    assert until(lambda: not gate.answers(), 30)
    assert gate.process.poll() is None, "an association is open"
    gate.process.send_signal(signal.SIGTERM)
    assert gate.process.wait(60) == 1
    assert gate.events("role_killed")
    scanner.abort()
    gate.process = None
    gate.start()
    assert gate.ended(uid).row.instance_count == 1, "what was answered 0x0000 is there"
