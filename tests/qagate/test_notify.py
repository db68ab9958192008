"""What systemd is told: over a real datagram socket, by the parts and by the whole gate."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from neighbours import until

from qagate import supervisor
from qagate.notify import Notifier

BEATS = (
    "import threading, sys; from qagate import pulse; stop = threading.Event();"
    "pulse.EVERY_S = 0.1; pulse.start(stop, lambda: not {});"
    "sys.stdin.read()"
)


class Manager:
    """Stands where systemd does."""

    def __init__(self, name: str) -> None:
        self.name, self.said = name, list[str]()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while data := self._socket.recv(4096):
            self.said.append(data.decode())

    def environment(self, **more: str) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.name, **more}


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    abstract = f"@qagate-{os.getpid()}-{id(request)}"
    yield Manager(str(tmp_path / "notify") if request.param == "path" else abstract)


def test_each_message(manager: Manager) -> None:
    environment = manager.environment(WATCHDOG_USEC="20000", WATCHDOG_PID=str(os.getpid()), HOME="/")
    told = Notifier(environment)
    assert environment == {"HOME": "/"}, "no child speaks for the service"
    assert told.every_s == 0.01
    told.ready()
    told.status("every role runs")
    told.status("every role runs")
    told.alive()
    told.stopping()
    assert until(lambda: "STOPPING=1" in manager.said, 10)
    assert manager.said == ["READY=1", "STATUS=every role runs", "WATCHDOG=1", "STOPPING=1"]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
def test_without_a_manager_nobody_is_told(environment: dict[str, str]) -> None:
    told = Notifier(dict(environment))
    assert told.every_s is None
    told.ready()
    told.alive()
    told.stopping()


def roles(*silent: str) -> list[supervisor.Role]:
    return [
        supervisor.Role(f"r{n}", [sys.executable, "-c", BEATS.format(one)]) for n, one in enumerate(silent)
    ]


def supervised(manager: Manager, *silent: str, check: Callable[[list[supervisor.Role]], None]) -> None:
    of, stop = roles(*silent), threading.Event()
    told = Notifier(manager.environment(WATCHDOG_USEC="100000"))
    thread = threading.Thread(target=supervisor.supervise, args=(of, stop), kwargs={"notifier": told})
    thread.start()
    try:
        check(of)
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive() and manager.said[-1] == "STOPPING=1"


def test_ready_when_every_role_gave_a_sign_of_life(manager: Manager) -> None:
    def check(_: list[supervisor.Role]) -> None:
        assert until(lambda: manager.said.count("WATCHDOG=1") >= 3, 30)
        assert manager.said.count("READY=1") == 1
        assert manager.said.index("READY=1") < manager.said.index("WATCHDOG=1")

    supervised(manager, "False", "False", check=check)


def test_not_ready_while_one_says_nothing(manager: Manager) -> None:
    def check(_: list[supervisor.Role]) -> None:
        assert until(lambda: "STATUS=waiting for r1" in manager.said, 30)
        assert not {"READY=1", "WATCHDOG=1"} & set(manager.said)

    supervised(manager, "False", "True", check=check)


def test_a_role_that_falls_silent_is_started_again(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_SILENT_S", 1.0)

    def check(of: list[supervisor.Role]) -> None:
        assert until(lambda: "READY=1" in manager.said, 30)
        first = of[0]._process
        assert first is not None
        os.kill(first.pid, signal.SIGSTOP)
        assert until(lambda: of[0]._process not in (None, first), 30)
        assert until(lambda: manager.said[-1] in ("WATCHDOG=1", "STATUS=every role runs"), 30)
        assert first.poll() == -signal.SIGKILL

    supervised(manager, "False", check=check)


def test_the_gate_itself(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    config = tmp_path / "qagate.toml"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config.write_text(
        f'data_dir = "data"\n[receiver]\nport = {port}\nmin_free_mb = 1\n'
        "[web]\nenabled = false\n[worker]\nthreads = 1\n"
    )
    environment = os.environ | manager.environment(WATCHDOG_USEC="500000")
    with (tmp_path / "log").open("wb") as log:
        gate = subprocess.Popen(
            [sys.executable, "-m", "qagate.cli", "--config", str(config), "serve"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
        )  # fmt: skip
    try:
        assert until(lambda: "WATCHDOG=1" in manager.said, 120), (tmp_path / "log").read_text()
        assert "STATUS=every role runs" in manager.said
    finally:
        gate.terminate()
        assert gate.wait(60) == 0, (tmp_path / "log").read_text()
    assert manager.said[-1] == "STOPPING=1"
    open_to_others = [path for path in (tmp_path / "data").rglob("*") if path.stat().st_mode & 0o077]
    assert (tmp_path / "data" / "qagate.db").exists() and not open_to_others
