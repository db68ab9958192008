"""One process tree, separate fates: starts the roles as processes and restarts those that die.

Knows nothing of what a role does. A role's standard input is a pipe that nobody writes to: when the
supervisor dies, however it dies, the pipe ends and the role drains and stops by itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import structlog

from qagate import pulse
from qagate.notify import Notifier

log = structlog.get_logger(__name__)

_BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  #: waits before a restart
_STEADY_S = 60.0  #: a role that ran this long starts again at the shortest wait
_POLL_S = 0.1
AS_ROOT = (
    "as root one flaw is the whole machine's: run it as a user of its own, see deploy/systemd/qagate.service"
)
_SILENT_S = 60.0  #: a role without a sign of life for so long is killed and started again
_BEGIN_S = 300.0  #: until its first one: a model is loaded, a schema is made
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
        self._pulse = -1
        self._beat_at: float | None = None  #: of this process; None: not yet

    @property
    def steady(self) -> bool:
        """Whether the process runs and gave a sign of life."""
        return self._process is not None and self._beat_at is not None

    def poll(self) -> None:
        """Start the process when it is due; notice its death."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_at:
                self._process = self._started()
                self._started_at, self._beat_at = now, None
                log.info("role_started", started_role=self.name, pid=self._process.pid)
            return
        code = self._process.poll()
        if code is None:
            self._listen(self._process, now)
            return
        if now - self._started_at > _STEADY_S:
            self._deaths = 0
        wait = _BACKOFF_S[min(self._deaths, len(_BACKOFF_S) - 1)]
        log.error("role_died", started_role=self.name, exit_code=code, restart_in_s=wait)
        self._deaths += 1
        self._process, self._start_at = None, now + wait
        self._forget_pulse()

    def _started(self) -> subprocess.Popen[bytes]:
        self._pulse, theirs = os.pipe()
        os.set_blocking(self._pulse, False)
        try:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                pass_fds=(theirs,),
                env=_ENVIRONMENT | os.environ | {pulse.VARIABLE: str(theirs)},
            )
        finally:
            os.close(theirs)

    def _listen(self, process: subprocess.Popen[bytes], now: float) -> None:
        with contextlib.suppress(BlockingIOError):
            if os.read(self._pulse, 4096):
                self._beat_at = now
        silent_s = now - (self._beat_at or self._started_at)
        if silent_s > (_BEGIN_S if self._beat_at is None else _SILENT_S):
            log.error("role_silent", started_role=self.name, after_s=round(silent_s, 1))
            process.kill()

    def _forget_pulse(self) -> None:
        if self._pulse >= 0:
            os.close(self._pulse)
        self._pulse, self._beat_at = -1, None

    def drain(self) -> None:
        """Ask the process to finish what it has in hand and end."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, timeout_s: float, at_once: threading.Event | None = None) -> bool:
        """Wait for the end of a drained process; False when it had to be killed, late or `at_once`."""
        process, self._process = self._process, None
        if process is None:
            return True
        deadline = time.monotonic() + timeout_s
        while process.poll() is None and time.monotonic() < deadline and not (at_once and at_once.is_set()):
            time.sleep(_POLL_S / 2)
        ended = process.poll() is not None
        if not ended:
            log.error("role_killed", started_role=self.name, after_s=timeout_s)
            process.kill()
        process.wait()
        self._forget_pulse()
        return ended


def supervise(
    roles: Sequence[Role],
    stop: threading.Event,
    *,
    drain_s: float = 30.0,
    at_once: threading.Event | None = None,
    notifier: Notifier | None = None,
) -> bool:
    """Keep every role running until `stop`, then let all finish what they have in hand, together.

    drain_s: after that, or when `at_once` is set, those left are killed; then the answer is False.
    notifier: is told that the service is ready when every role once gave a sign of life, and then that it is
    alive for as long as all do.
    """
    told = notifier or Notifier({})
    ready = False
    try:
        while not stop.is_set():
            for role in roles:
                role.poll()
            away = [role.name for role in roles if not role.steady]
            if not away:
                if not ready:
                    told.ready()
                    ready = True
                told.alive()
            told.status(f"waiting for {', '.join(away)}" if away else "every role runs")
            stop.wait(_POLL_S)
    finally:
        told.stopping()
        for role in roles:
            role.drain()
        deadline = time.monotonic() + drain_s
        ended = [role.stop(max(0.0, deadline - time.monotonic()), at_once) for role in roles]
    return all(ended)


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


def stop_on_signals(stop: threading.Event, again: Callable[[], object] | None = None) -> None:
    """Set `stop` on SIGTERM and SIGINT. The second one calls `again`, or ends the process at once."""

    def take(number: int, _: object) -> None:
        if not stop.is_set():
            stop.set()
        elif again is not None:
            again()
        else:
            os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, take)
