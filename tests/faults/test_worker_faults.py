"""Workers that hang, and models whose device fails: the supervisor, services and receiver are the real ones.

No graphics card is needed: the model raises what torch raises when one is short of memory or lost.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fault_archives import Archive
from fault_gate import EVERYTHING, LIMIT_S, Books
from neighbours import until

from qagate import supervisor
from qagate.store.schema import series

pytestmark = [pytest.mark.faults, pytest.mark.timeout(280)]
POISON = {"RescaleIntercept": 3000}
PROGRAM = Path(__file__).with_name("fault_worker.py")
TIMEOUT_S = 8.0


class Supervised:
    """A gate whose roles are supervised here, so that its worker can be ours."""

    def __init__(self, gate: Any) -> None:
        self.gate = gate
        options = ("--config", str(gate.config))
        self.roles = [
            supervisor.Role(name, supervisor.role_command(name, options)) for name in ("receiver", "services")
        ]
        self.roles.append(supervisor.Role("worker", [sys.executable, str(PROGRAM), str(gate.config)]))


@contextmanager
def gate_with(make_gate: Callable[..., Any], archive: Archive, fault: str, **worker: Any) -> Iterator[Books]:
    """A gate whose worker has a fault."""
    settings = EVERYTHING | {"archive": [archive.settings(timeout_s=10.0)]}
    settings["worker"] = EVERYTHING["worker"] | {"timeout_s": TIMEOUT_S, "max_attempts": 2} | worker  # type: ignore[operator]
    gate = make_gate(start=False, **settings)
    stop = threading.Event()
    with pytest.MonkeyPatch.context() as patch, gate.log.open("ab") as log:
        patch.setenv("QAGATE_FAULT", fault)
        patch.setenv("QAGATE_FAULT_ONCE", str(gate.folder / "mended"))
        patch.setenv("PYTHONPATH", os.pathsep.join([os.environ.get("PYTHONPATH", ""), *sys.path]))
        supervised = Supervised(gate)
        popen, to_log = supervisor.subprocess.Popen, {"stdout": log, "stderr": log}
        patch.setattr(supervisor.subprocess, "Popen", lambda *a, **k: popen(*a, **(to_log | k)))
        thread = threading.Thread(
            target=supervisor.supervise, args=(supervised.roles, stop), kwargs={"drain_s": 20.0}
        )
        thread.start()
        try:
            assert until(gate.answers, 60), gate.log.read_text()[-2000:]
            yield Books(gate, gate.store_url, [archive])
        finally:
            stop.set()
            thread.join(60)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    there = Archive("pacs", tmp_path)
    there.sick = False
    yield there.start()
    there.close()


def row_of(books: Books, uid: str) -> Any:
    (row,) = books.rows(sa.select(series).where(series.c.series_instance_uid == uid))
    return row


@pytest.mark.parametrize(
    ("fault", "where", "reason"),
    [
        ("hang", "worker: model", "scoring took longer than worker.timeout_s (8 s): its worker was ended"),
        (
            "hang-native",
            "worker: native code that holds the interpreter's lock",
            "the worker died or stopped answering while it held this series",
        ),
    ],
)
def test_a_worker_that_hangs_is_ended_and_its_neighbours_are_decided(
    make_gate: Callable[..., Any], made: Any, archive: Archive, fault: str, where: str, reason: str
) -> None:
    with gate_with(make_gate, archive, fault) as books:
        assert until(lambda: books.gate.events("worker_ready"), LIMIT_S)
        good, bad = made.series(3), made.series(3, **POISON)
        books.send([*good[1], *bad[1]])
        assert until(lambda: books.states().get(bad[0]) == "FAILED", LIMIT_S), books.gate.log.read_text()[
            -3000:
        ]
        assert row_of(books, bad[0]).last_error == reason
        assert until(lambda: books.decided(good[0]), LIMIT_S)
        assert until(lambda: len(books.gate.events("worker_ready")) >= 3, LIMIT_S), "started anew after each"
        # A hospital with a mended decoder asks for it again.
        (books.gate.folder / "mended").touch()
        assert books.gate.run("requeue", "--failed").returncode == 0
        books.close(
            "a worker hangs",
            where,
            "ended after worker.timeout_s and started anew; the series is FAILED with the reason after "
            "worker.max_attempts, its images go on to the archive; its neighbours are decided",
        )


def test_what_does_not_fit_is_scored_in_smaller_batches_and_on_the_cpu(
    make_gate: Callable[..., Any], made: Any, archive: Archive
) -> None:
    with gate_with(make_gate, archive, "memory", timeout_s=60.0) as books:
        books.send(made.series(4)[1])
        books.settle()
        assert books.gate.events("batch_halved")
        assert {row.attempts for row in books.rows(sa.select(series.c.attempts))} == {1}
        books.close(
            "graphics card out of memory (torch's error, raised by the test)",
            "worker: model",
            "smaller batches, single slices on the CPU; the verdict comes at the first try, a little later",
        )


def test_a_lost_device_costs_nobody_a_try(make_gate: Callable[..., Any], made: Any, archive: Archive) -> None:
    with gate_with(make_gate, archive, "lost", timeout_s=60.0) as books:
        uids = [made.series(3) for _ in range(2)]
        books.send([path for _, paths in uids for path in paths])
        books.settle()
        assert {row.attempts for row in books.rows(sa.select(series.c.attempts))} == {1}
        assert books.gate.events("scoring_on_cpu")
        (books.gate.folder / "mended").touch()
        assert until(lambda: len(books.gate.events("worker_ready")) >= 2, LIMIT_S)
        books.send(made.series(3)[1])
        books.close(
            "graphics card lost (torch's error, raised by the test)",
            "worker: model",
            "the batch in hand is scored on the CPU, then the worker starts anew to find the card again; the "
            "log says so, nobody loses a try",
        )
