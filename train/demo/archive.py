"""A small archive for the demo: Orthanc where it is installed, otherwise a storage SCP that writes files."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
from io import BytesIO
from pathlib import Path
from typing import Protocol

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dimse_primitives import C_STORE

from train.demo.phantom import DemoError

ORTHANC = Path("/usr/sbin/Orthanc")
_AE_TITLE = "ARCHIVE"
_DOCUMENTS = ("SR", "KO")  #: modalities of what the gate sends


class Archive(Protocol):
    """What the demo needs of an archive."""

    product: str  #: shown to the user
    ae_title: str
    port: int  #: DICOM port on 127.0.0.1

    def documents(self) -> list[Dataset]:
        """The structured reports and key objects received so far, in no particular order."""

    def stop(self) -> None:
        """End the archive; what it stored stays in its folder."""


def start_archive(folder: Path, *, caller_ae_title: str, orthanc: Path = ORTHANC) -> Archive:
    """Start an archive that keeps its data below `folder` and listens for `caller_ae_title`.

    Raises DemoError when Orthanc is installed but does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if orthanc.is_file():
        return OrthancArchive(folder, caller_ae_title=caller_ae_title, program=orthanc)
    return FolderArchive(folder)


def free_port() -> int:
    """A TCP port that nothing on this machine listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def choose_port(wanted: int | None, *, usual: int | None) -> int:
    """`wanted` when it is free (DemoError otherwise), else `usual` when that is free, else any free port."""
    for port in (wanted, usual):
        if port is None:
            continue
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
                return port
            except OSError as error:
                if port == wanted:
                    raise DemoError(f"port {port}: {error.strerror}; choose another with --port") from None
    return free_port()


class FolderArchive:
    """pynetdicom's storage SCP; one file an instance."""

    product = "built-in storage SCP"
    ae_title = _AE_TITLE

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        entity = AE(self.ae_title)
        entity.supported_contexts = AllStoragePresentationContexts
        entity.add_supported_context("1.2.840.10008.1.1")
        server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        assert server is not None  # only a blocking server is None
        self._server = server
        self.port = int(self._server.server_address[1])

    def _store(self, event: evt.Event) -> int:
        request = event.request
        assert isinstance(request, C_STORE)
        target = self._folder / f"{request.AffectedSOPInstanceUID}.dcm"
        partial = target.with_suffix(".part")
        partial.write_bytes(event.encoded_dataset())
        partial.replace(target)
        return 0x0000

    def documents(self) -> list[Dataset]:
        found = (pydicom.dcmread(path) for path in sorted(self._folder.glob("*.dcm")))
        return [dataset for dataset in found if dataset.get("Modality") in _DOCUMENTS]

    def stop(self) -> None:
        self._server.shutdown()


class OrthancArchive:
    """Orthanc in a process of its own; reachable from this machine only, and only by the gate."""

    product = "Orthanc"
    ae_title = _AE_TITLE

    def __init__(self, folder: Path, *, caller_ae_title: str, program: Path) -> None:
        self.port, self._http = free_port(), free_port()
        settings = folder / "orthanc.json"
        settings.write_text(json.dumps(self._settings(folder, caller_ae_title), indent=1))
        self._log = folder / "orthanc.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(program), str(settings)], stdout=log, stderr=log, cwd=folder, start_new_session=True
            )
        self._wait_until_up()

    def _settings(self, folder: Path, caller_ae_title: str) -> dict[str, object]:
        return {
            "Name": "qagate demo archive",
            "StorageDirectory": str(folder.resolve() / "storage"),
            "IndexDirectory": str(folder.resolve() / "storage"),
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "HttpPort": self._http,
            "HttpBindAddresses": ["127.0.0.1"],
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": False,  # Orthanc listens on every address: only the gate may store
            "DicomCheckModalityHost": True,
            "DicomModalities": {"qagate": [caller_ae_title, "127.0.0.1", 104]},
            "UnknownSopClassAccepted": True,
            "Plugins": [],
        }

    def _wait_until_up(self, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                self._get("/system")
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.1)
        self.stop()
        raise DemoError(f"Orthanc did not start: its messages are in {self._log}")

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._http}{path}", timeout=10) as answer:
            return bytes(answer.read())

    def documents(self) -> list[Dataset]:
        found: list[Dataset] = []
        for series in json.loads(self._get("/series?expand")):
            if series["MainDicomTags"].get("Modality") in _DOCUMENTS:
                files = (self._get(f"/instances/{instance}/file") for instance in series["Instances"])
                found += [pydicom.dcmread(BytesIO(file)) for file in files]
        return found

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
