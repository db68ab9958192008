"""One role of the gate in a process of its own, forked from a server that has loaded everything once.

`Process.arm` names the step of the path at which it sends itself a signal.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import steps

from qagate import app, services
from qagate.config import Settings

REAP_S = 0.25  #: between two looks for lost leases and held series, which the product takes more slowly


def run(role: str, settings: Mapping[str, Any], log: Path, step: str, number: int) -> None:
    """Be the role until SIGTERM."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    services._REAP_S = services._RELEASE_S = REAP_S
    if step:
        steps.arm(steps.STEPS[step], number)
    app.ROLES[role](Settings(**settings), stop)


class Process:
    """A running role."""

    def __init__(
        self,
        role: str,
        settings: Mapping[str, Any],
        log: Path,
        step: steps.Step | None = None,
        number: int = signal.SIGKILL,
    ) -> None:
        self.role, self.log = role, log
        name = step.name if step is not None and step.call else ""
        arguments = (role, settings, log, name, number)
        self._process = _context().Process(target=run, args=arguments, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def killed(self) -> bool:
        """It ended by SIGKILL."""
        return self._process.exitcode == -signal.SIGKILL

    @property
    def gone(self) -> bool:
        """It ended, in whatever way."""
        return self._status in ("", "Z")

    @property
    def stopped(self) -> bool:
        """SIGSTOP holds it."""
        return self._status == "T"

    @property
    def _status(self) -> str:
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return stat.rpartition(")")[2].split()[0]

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


@functools.cache
def _context() -> Any:
    """The fork server of this test process; it inherits the search path by the environment only."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["crash_preload"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        forkserver.ensure_running()
    return context
