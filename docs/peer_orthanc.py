"""Orthanc as a sender, for docs/peer_messages.py."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from neighbours import OrthancServer


class Sender(OrthancServer):
    """Sends what it is given, over TLS with one certificate or in plain text."""

    def __init__(
        self, folder: Path, *, key: Path | None, certificate: Path | None, issuers: Path | None
    ) -> None:
        super().__init__(folder)
        path = folder / "orthanc.json"
        tls = {
            "DicomTlsCertificate": str(certificate), "DicomTlsPrivateKey": str(key),
            "DicomTlsTrustedCertificates": str(issuers),
        }  # fmt: skip
        more: dict[str, Any] = {"DicomScuTimeout": 10} | (tls if key else {})
        path.write_text(json.dumps(json.loads(path.read_text()) | more))
        self._tls = key is not None

    def send(self, port: int, files: Sequence[Path], *, calling: str, called: str) -> tuple[str, ...]:
        """What it answers to `POST /modalities/gate/store`."""
        gate = {"AET": called, "Host": "127.0.0.1", "Port": port, "UseDicomTls": self._tls}
        self._call("PUT", "/modalities/gate", json.dumps(gate).encode())
        known = [self._call("POST", "/instances", path.read_bytes())["ID"] for path in files]
        wanted = {"Resources": known, "LocalAet": calling, "Synchronous": True}
        try:
            answer = self._call("POST", "/modalities/gate/store", json.dumps(wanted).encode())
        except urllib.error.HTTPError as error:
            said = json.loads(error.read())
            return (f"{error.code} {said['Message']}: {said.get('Details', '')}".rstrip(": "),)
        finally:
            for one in known:
                self.delete(f"/instances/{one}")
        return (f"200 {answer['InstancesCount']} instances, {answer['FailedInstancesCount']} failed",)

    def _call(self, method: str, path: str, body: bytes) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")


class Senders:
    """An Orthanc for each way to show a certificate."""

    def __init__(self, folder: Path, pki: Path, started: ExitStack) -> None:
        self._folder, self._pki, self._started = folder, pki, started
        self._made: dict[tuple[str, ...], Sender] = {}

    def of(self, options: tuple[str, ...]) -> Sender:
        """The one for DCMTK's TLS options."""
        if options not in self._made:
            names = [self._pki / word[1:-1] for word in options if word.startswith("{")]
            key, certificate, issuers = names or (None, None, None)
            folder = self._folder / str(len(self._made))
            made = Sender(folder, key=key, certificate=certificate, issuers=issuers)
            self._started.callback(made.stop)
            self._made[options] = made
            made.start()
        return self._made[options]
