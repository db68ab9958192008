import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from qagate import supervisor

WAIT = "import sys; sys.stdin.read()"


def until(condition, timeout_s: float = 20.0) -> bool:
    end = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


def test_a_dead_role_is_started_again(tmp_path: Path) -> None:
    log = tmp_path / "starts"
    code = f"open({str(log)!r}, 'a').write('x'); raise SystemExit(3)"
    stop = threading.Event()
    thread = threading.Thread(
        target=supervisor.supervise, args=([supervisor.Role("r", [sys.executable, "-c", code])], stop)
    )
    thread.start()
    assert until(lambda: log.exists() and len(log.read_text()) >= 2)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def test_stop_ends_every_role(tmp_path: Path) -> None:
    role = supervisor.Role("r", [sys.executable, "-c", WAIT])
    role.poll()
    process = role._process
    assert process is not None
    stop = threading.Event()
    stop.set()
    supervisor.supervise([role], stop)
    assert process.poll() is not None


def test_a_role_stops_when_its_supervisor_is_killed() -> None:
    child = (
        "import threading; from qagate import supervisor; stop = threading.Event();"
        "supervisor.stop_with_parent(stop); print('up', flush=True); stop.wait(60); print('down', flush=True)"
    )
    parent = (
        "import subprocess, sys;"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE).wait()"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.kill()
        assert process.stdout.readline() == "down\n"


def test_restarts_wait_longer_with_every_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_BACKOFF_S", (0.05, 0.6))
    log = tmp_path / "starts"
    code = f"import time; open({str(log)!r}, 'a').write(f'{{time.monotonic()}}\\n'); raise SystemExit(3)"
    stop = threading.Event()
    role = supervisor.Role("r", [sys.executable, "-S", "-c", code])
    thread = threading.Thread(target=supervisor.supervise, args=([role], stop))
    thread.start()
    assert until(lambda: log.exists() and len(log.read_text().splitlines()) >= 3)
    stop.set()
    thread.join(20)
    _, second, third = (float(line) for line in log.read_text().splitlines()[:3])
    assert third - second >= 0.6


def test_one_dead_role_leaves_the_others_alone() -> None:
    stop = threading.Event()
    steady = supervisor.Role("steady", [sys.executable, "-c", WAIT])
    mortal = supervisor.Role("mortal", [sys.executable, "-c", WAIT])
    thread = threading.Thread(target=supervisor.supervise, args=([steady, mortal], stop))
    thread.start()
    try:
        assert until(lambda: steady._process and mortal._process)
        assert steady._process is not None and mortal._process is not None
        pids = steady._process.pid, mortal._process.pid
        mortal._process.kill()
        assert until(lambda: mortal._process is not None and mortal._process.pid != pids[1])
        assert steady._process.pid == pids[0] and steady._process.poll() is None
    finally:
        stop.set()
        thread.join(20)


def test_a_role_that_does_not_drain_is_killed() -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    role = supervisor.Role("deaf", [sys.executable, "-c", deaf])
    role.poll()
    process = role._process
    assert process is not None
    time.sleep(0.5)
    role.stop(timeout_s=0.2)
    assert process.poll() is not None


def test_sigterm_lets_a_role_drain() -> None:
    code = (
        "import threading; from qagate import supervisor; stop = threading.Event();"
        "supervisor.stop_on_signals(stop); print('up', flush=True); stop.wait(60); print('drained')"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert process.stdout.readline() == "drained\n"
    assert process.returncode == 0


def test_a_role_command_runs_this_installation() -> None:
    command = supervisor.role_command("worker", ("--config", "gate.toml"))
    assert command == (
        sys.executable, "-m", "qagate.cli", "--config", "gate.toml", "worker", "--supervised",
    )  # fmt: skip
