"""What stands round the gate in tests: free ports, an Orthanc, a webhook."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from kept import keep

ORTHANC = Path("/usr/sbin/Orthanc")
#: DCMTK and Orthanc wait for delayed acknowledgements on loopback without it
ENVIRONMENT = os.environ | {"TCP_NODELAY": "1", "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], Any], limit_s: float = 60, every_s: float = 0.1) -> Any:
    """The condition's first true answer, or its last one when time is up."""
    deadline = time.monotonic() + limit_s
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(every_s)
    return answer


class OrthancServer:
    """A real archive, stopped and started at will on the same ports and with the same store."""

    def __init__(self, folder: Path, gate_port: int = 0) -> None:
        """gate_port: where its commitment reports go."""
        self.folder, self.port, self.http = folder, free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "Name": "test", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "DicomAet": "ORTHANC", "DicomPort": self.port, "HttpPort": self.http,
            "HttpBindAddresses": ["127.0.0.1"], "AuthenticationEnabled": False, "Plugins": [],
            "DicomCheckCalledAet": False, "DicomAlwaysAllowStore": True, "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowFind": True,
            "DicomModalities": {"qagate": ["QAGATE", "127.0.0.1", gate_port]} if gate_port else {},
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(settings))

    def settings(self, name: str = "pacs", **values: Any) -> dict[str, Any]:
        """One [[archive]] of the gate's settings."""
        return {"name": name, "ae_title": "ORTHANC", "host": "127.0.0.1", "port": self.port} | values

    def start(self) -> OrthancServer:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(ORTHANC), str(self.folder / "orthanc.json")], stdout=log, stderr=log, env=ENVIRONMENT
            )
        assert until(self._up, 30), (self.folder / "log").read_text()[-2000:]
        return self

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait()

    def _up(self) -> bool:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            return bool(self.ask("/system"))
        return False

    def ask(self, path: str, body: object = None) -> Any:
        """A REST call: POST with a body, GET without; text is sent as it is."""
        data = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", data, timeout=30) as answer:
            read = answer.read()
        return read if path.endswith("/file") else json.loads(read)

    def delete(self, path: str) -> None:
        """A REST DELETE."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", method="DELETE")
        urllib.request.urlopen(request, timeout=30).close()

    def file(self, sop_instance_uid: str) -> bytes | None:
        """The stored Part 10 file; None when the archive has none of this UID."""
        found = [one for one in self.ask("/tools/lookup", sop_instance_uid) if one["Type"] == "Instance"]
        return self.ask(f"/instances/{found[0]['ID']}/file") if found else None

    def documents(self, modality: str) -> dict[str, str]:
        """SOP Instance UID -> Orthanc's identifier of everything of one modality."""
        query = {"Level": "Instance", "Expand": True, "Query": {"Modality": modality}}
        return {one["MainDicomTags"]["SOPInstanceUID"]: one["ID"] for one in self.ask("/tools/find", query)}


class Webhook:
    """A local HTTP service that notes what it is sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                keep("alert", body)
                bodies.append(json.loads(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self._server.server_address[1]}/"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
