"""One process tree, separate fates: starts the roles as processes and restarts those that die.

Knows nothing of what a role does. A role's standard input is a pipe that nobody writes to: when the
supervisor dies, however it dies, the pipe ends and the role drains and stops by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import structlog

log = structlog.get_logger(__name__)

_BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  #: waits before a restart
_STEADY_S = 60.0  #: a role that ran this long starts again at the shortest wait
_POLL_S = 0.1
# Threads of torch and numpy that spin while they wait would take the cores from the other roles.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}


class Role:
    """One supervised process."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._command = tuple(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._deaths = 0
        self._started_at = 0.0
        self._start_at = 0.0

    def poll(self) -> None:
        """Start the process when it is due; notice its death."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_at:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, env=_ENVIRONMENT | os.environ
                )
                self._started_at = now
                log.info("role_started", started_role=self.name, pid=self._process.pid)
            return
        code = self._process.poll()
        if code is None:
            return
        if now - self._started_at > _STEADY_S:
            self._deaths = 0
        wait = _BACKOFF_S[min(self._deaths, len(_BACKOFF_S) - 1)]
        log.error("role_died", started_role=self.name, exit_code=code, restart_in_s=wait)
        self._deaths += 1
        self._process, self._start_at = None, now + wait

    def stop(self, timeout_s: float) -> None:
        """Ask the process to drain; kill it when it has not after `timeout_s`."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            log.error("role_killed", started_role=self.name, after_s=timeout_s)
            process.kill()
            process.wait()


def supervise(roles: Sequence[Role], stop: threading.Event, *, drain_s: float = 30.0) -> None:
    """Keep every role running until `stop`, then stop them in the order given."""
    try:
        while not stop.is_set():
            for role in roles:
                role.poll()
            stop.wait(_POLL_S)
    finally:
        for role in roles:
            role.stop(drain_s)


def role_command(name: str, options: Sequence[str]) -> tuple[str, ...]:
    """The command line of a role in this installation."""
    return (sys.executable, "-m", "qagate.cli", *options, name, "--supervised")


def stop_with_parent(stop: threading.Event, stdin_fd: int = 0) -> None:
    """Set `stop` when the supervisor's pipe ends."""

    def watch() -> None:
        while os.read(stdin_fd, 1):
            pass
        stop.set()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` on SIGTERM and SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
