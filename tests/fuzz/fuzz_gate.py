"""A gate of its own as a process tree, and what the kernel says of its processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz_peer import healthy

ROLES = ("serve", "receiver", "worker", "services", "web")
LIMITS = {"acse_timeout_s": 2, "dimse_timeout_s": 2, "network_timeout_s": 3}  #: seconds, for the receiver


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Look:
    """One process at one moment."""

    pid: int
    rss_mb: float
    peak_mb: float
    handles: int
    threads: int


class Gate:
    """`qagate serve` with short time limits and the pages on."""

    def __init__(self, folder: Path, *, quiet_s: float = 5.0, **settings: Any) -> None:
        self.folder, self.port, self.log = folder, free_port(), folder / "log.jsonl"
        self.database = folder / "data" / "qagate.db"
        self.config = folder / "qagate.toml"
        sections: dict[str, dict[str, Any]] = {
            "receiver": {"port": self.port, "min_free_mb": 1, "max_associations": 64, **LIMITS},
            "assembly": {"short_quiet_s": quiet_s, "long_quiet_s": quiet_s},
            "worker": {"threads": 1, "lease_s": 30.0},
            "web": {"enabled": True, "port": free_port()},
        }
        for name, values in settings.items():
            sections[name] = sections.get(name, {}) | values
        lines = [f"data_dir = {json.dumps(str(folder / 'data'))}"]
        for name, section in sections.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in section.items())]
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Gate:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("QAGATE_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "qagate.cli", "--config", str(self.config), "serve"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment,
            )  # fmt: skip
        if not until(lambda: healthy(self.port, 2) and len(self.looks()) == len(ROLES), 90):
            self.__exit__()
            raise RuntimeError(f"the gate did not start: {self.log.read_text()[-2000:]}")
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        assert process is not None
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def looks(self) -> dict[str, Look]:
        """Every process of the tree by its role."""
        assert self._process is not None
        found = {"serve": self._process.pid}
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        with suppress(OSError):
            for pid in map(int, children.read_text().split()):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                found |= {role: pid for role in ROLES[1:] if role.encode() in words}
        looked = {role: look(pid) for role, pid in found.items()}
        return {role: one for role, one in looked.items() if one is not None}

    def errors(self) -> list[dict[str, Any]]:
        """What the gate logged as an error, and tracebacks that are no log line."""
        lines = self.log.read_text(errors="replace").splitlines()
        found: list[dict[str, Any]] = []
        for line in lines:
            with suppress(ValueError):
                told = json.loads(line)
                if told.get("level") in ("error", "critical"):
                    found.append(told)
                continue
            if line.startswith("Traceback"):
                found.append({"event": line})
        return found


def look(pid: int) -> Look | None:
    """A process as the kernel sees it; None when it is gone."""
    try:
        told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        handles = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
    if "VmRSS" not in told:
        return None
    rss, peak = (int(told[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return Look(pid, rss, peak, handles, int(told["Threads"]))


def until(condition: Callable[[], object], limit_s: float, every_s: float = 0.2) -> bool:
    """Wait until something holds; False when it does not within the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True
