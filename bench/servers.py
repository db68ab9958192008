"""What the bench starts: the gate as a process tree, its webhook, and two other storage SCPs."""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from qagate.dicom import scu

ORTHANC = Path("/usr/sbin/Orthanc")
CALLING = "BENCH"  #: the AE title that servers are asked with
STORESCU = Path("/usr/bin/storescu")
#: DCMTK and Orthanc wait for delayed acknowledgements without it
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("QAGATE_")} | {
    "TCP_NODELAY": "1"
}


def free_port() -> int:
    """A TCP port that nothing listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Webhook:
    """An HTTP server that notes when which alert came; the alert's body is the Series Instance UID."""

    def __init__(self) -> None:
        self._arrivals: queue.SimpleQueue[tuple[str, str, float]] = queue.SimpleQueue()
        arrivals = self._arrivals

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                arrived = time.time()
                alert = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()
                arrivals.put((alert["message"].strip(), alert["title"], arrived))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def wait(self, series_instance_uid: str, timeout_s: float = 60.0) -> tuple[float, str]:
        """The time the series' alert arrived (seconds since the epoch), and its title."""
        uid, title, arrived = self._arrivals.get(timeout=timeout_s)
        if uid != series_instance_uid:
            raise RuntimeError(f"an alert of {uid} came while that of {series_instance_uid} was awaited")
        return arrived, title

    def taken(self) -> list[tuple[str, float]]:
        """Every alert that came and was not waited for: its text, and when (seconds since the epoch)."""
        found = []
        while not self._arrivals.empty():
            text, _, arrived = self._arrivals.get()
            found.append((text, arrived))
        return found

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()


class Server:
    """A storage SCP in a process of its own."""

    def __init__(self, name: str, ae_title: str, port: int, command: Sequence[str], folder: Path) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        self.at = scu.Archive(
            name=name, ae_title=ae_title, host="127.0.0.1", port=port, calling_ae_title=CALLING
        )
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=ENVIRONMENT
            )

    def wait(self, ready: Callable[[], bool] = lambda: True, timeout_s: float = 60.0) -> None:
        """Return when it answers a C-ECHO and is `ready`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                scu.echo(self.at)
                if ready():
                    return
            except scu.DeliveryError:
                pass
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"{self.name} did not start: {self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def gate(folder: Path, alerts_to: str, settings: str = "") -> Server:
    """`qagate serve` with the default settings; every verdict raises an alert."""
    port = free_port()
    config = folder / "qagate.toml"
    config.write_text(
        f'data_dir = "data"\n[receiver]\nport = {port}\nmin_free_mb = 256\n[alerts]\nurls = ["{alerts_to}"]\n'
        'verdicts = ["PASS", "REVIEW", "REPEAT", "NOT_ASSESSED"]\n'
        f'title = "{{verdict}} {{quality}}"\nbody = "{{series_instance_uid}}"\n{settings}'
    )
    command = [sys.executable, "-m", "qagate.cli", "--config", str(config), "serve"]
    server = Server("qagate", "QAGATE", port, command, folder)
    server.wait(lambda: "worker_ready" in server.log.read_text())
    return server


def storescp(folder: Path) -> Server:
    """pynetdicom's own storescp application."""
    port, target = free_port(), folder / "storescp"
    target.mkdir()
    command = [
        *(sys.executable, "-m", "pynetdicom", "storescp", str(port), "-ba", "127.0.0.1", "-q"),
        *("-aet", "STORESCP", "-od", str(target)),
    ]
    server = Server("storescp", "STORESCP", port, command, folder)
    server.wait()
    return server


def orthanc(folder: Path) -> Server | None:
    """Orthanc with its own defaults for storage; None where it is not installed."""
    if not ORTHANC.exists():
        return None
    port, http = free_port(), free_port()
    data = str(folder / "orthanc")
    settings = {
        "StorageDirectory": data, "IndexDirectory": data, "DicomAet": "ORTHANC", "DicomPort": port,
        "HttpPort": http, "HttpBindAddresses": ["127.0.0.1"], "RemoteAccessAllowed": False, "Plugins": [],
        "DicomAlwaysAllowStore": True, "DicomAlwaysAllowEcho": True,
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    server = Server("orthanc", "ORTHANC", port, [str(ORTHANC), str(folder / "orthanc.json")], folder)
    server.wait()
    return server


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children so far."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        if int(stat.parent.name) == pid or int(fields[1]) == pid:
            total += (int(fields[11]) + int(fields[12])) / ticks
    return total
