"""SIGSTOP at the named steps, for longer than the lease: another process takes over, and when the halted one
goes on, as after a pause of its virtual machine, it changes nothing that was decided or sent meanwhile.
"""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from crash_gate import LIMIT_S, Cell, cell
from crash_roles import Process
from crash_series import series as make_series
from neighbours import free_port, until
from steps import ALERTING, CLOSING, RECEPTION, SCORING, SENDING, Step

from qagate.store.engine import utc_now
from qagate.store.schema import outbox, result, series

pytest_plugins = ("crash_fixtures",)
pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

IMAGES = 3


def halt(gate: Cell, step: Step, files: list[Path]) -> tuple[Process, bool]:
    """Start the gate, send, wait until a role has halted at the step; let another one do its work.

    True when it halted inside a transaction, where nobody can take its place until it goes on: at a step that
    says so, or because another of its threads was in one.
    """
    halted = gate.start_all(step, signal.SIGSTOP)
    assert halted is not None
    sender = threading.Thread(target=gate.send, args=(files,))
    sender.start()
    assert until(lambda: halted.stopped, LIMIT_S, 0.02), f"{step.name} was not reached\n{gate.logs()}"
    sender.join()
    gate.others.append(halted)
    locked = gate.locked()
    assert locked or "before COMMIT" not in step.name
    if not locked:
        gate.start(step.role)
        gate.settle()
    return halted, locked


@pytest.mark.parametrize("step", SCORING, ids=lambda step: step.name)
def test_worker(step: Step, database: str, url: str, tmp_path: Path) -> None:
    with cell(tmp_path, url) as gate:
        halted, locked = halt(gate, step, make_series(tmp_path / "made", IMAGES))
        if locked:
            assert until(lambda: expired(gate), LIMIT_S), "the lease ends, and nobody else has the series"
            assert not gate.rows(sa.select(result.c.id))
            halted.resume()
            gate.settle()
        else:
            before = gate.books(), gate.documents()
            halted.resume()
            ends = "decided" if step.name == "after the decision" else "superseded"
            assert until(lambda: gate.events(ends, halted), LIMIT_S), gate.logs()
            assert (gate.books(), gate.documents()) == before
        assert not list(gate.reports.rglob("*.part"))
        gate.keeps_its_promises("SIGSTOP", step, database)


def expired(gate: Cell) -> bool:
    """The lease of the only series has run out."""
    ((until_when,),) = gate.rows(sa.select(series.c.lease_expires_at))
    return bool(until_when < utc_now())


@pytest.mark.parametrize("step", CLOSING, ids=lambda step: step.name)
def test_closing(step: Step, database: str, url: str, tmp_path: Path) -> None:
    with cell(tmp_path, url) as gate:
        halted, _ = halt(gate, step, make_series(tmp_path / "made", IMAGES))
        halted.resume()
        gate.settle()
        gate.keeps_its_promises("SIGSTOP", step, database)


@pytest.mark.parametrize("step", (*SENDING, *ALERTING), ids=lambda step: step.name)
def test_sending(step: Step, database: str, url: str, tmp_path: Path) -> None:
    with cell(tmp_path, url) as gate:
        halted, locked = halt(gate, step, make_series(tmp_path / "made", IMAGES))
        before, said = (gate.books()["result"], gate.documents()), len(gate.events("delivered", halted))
        halted.resume()
        assert until(lambda: len(gate.events("delivered", halted)) > said, LIMIT_S), gate.logs()
        assert until(lambda: all_sent(gate), LIMIT_S), gate.rows(sa.select(outbox))
        if not locked:
            assert (gate.books()["result"], gate.documents()) == before
        gate.keeps_its_promises("SIGSTOP", step, database)


def all_sent(gate: Cell) -> bool:
    """Every delivery is SENT, a halted alert's too: whoever sent it is the one who says so."""
    states = {row.state for row in gate.rows(sa.select(outbox.c.state))}
    return states == {"SENT"} and {row.state for row in gate.rows(sa.select(series.c.state))} == {"DELIVERED"}


@pytest.mark.parametrize("step", RECEPTION[:6], ids=lambda step: step.name)
def test_receiver(step: Step, database: str, url: str, tmp_path: Path) -> None:
    """Nobody takes a receiver's place: a second one would delete what the halted one is receiving."""
    files = make_series(tmp_path / "made", IMAGES)
    with cell(tmp_path, url) as gate:
        halted = gate.start_all(step, signal.SIGSTOP)
        assert halted is not None
        sender = threading.Thread(target=gate.send, args=(files,))
        sender.start()
        assert until(lambda: halted.stopped, LIMIT_S, 0.02), f"{step.name} was not reached\n{gate.logs()}"
        gate.others.append(halted)
        gate.settings["receiver"] = gate.settings["receiver"] | {"port": free_port()}
        second = gate.start("receiver")
        assert until(lambda: second.gone, LIMIT_S, 0.02)
        assert "another receiver works on" in second.log.read_text()
        halted.resume()
        sender.join()
        assert until(lambda: gate.send(files), LIMIT_S), gate.logs()
        gate.settle()
        gate.keeps_its_promises("SIGSTOP", step, database)
