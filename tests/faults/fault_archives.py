"""Storage SCPs that misbehave until they are healed, each in one way."""

from __future__ import annotations

import itertools
import socket
import socketserver
import threading
import time
from io import BytesIO
from typing import Any

from neighbours import free_port, until
from pydicom import dcmread
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from qagate.dicom.part10 import hash_data_set

TIMEOUT_S = 1.0  #: that the gate has for these archives
#: Result, source, diagnostic of A-ASSOCIATE-RJ: every one of PS3.8 table 9-21
REJECTIONS = (
    *((1, 1, 1), (1, 1, 2), (1, 1, 3), (1, 1, 7), (1, 2, 1), (1, 2, 2)),
    *((1, 3, 1), (1, 3, 2), (2, 1, 1), (2, 3, 1), (2, 3, 2)),
)


class Archive:
    """An archive as it should be. `sick`: it misbehaves as its class says."""

    sick = True

    def __init__(self, name: str, folder: Any) -> None:
        self.name, self.port, self._folder = name, free_port(), folder
        self.faults = 0  #: how often it misbehaved
        self.kept: dict[str, set[str]] = {}  #: SOP Instance UID -> SHA-256 of each copy
        self.kinds: dict[str, str] = {}  #: SOP Instance UID -> modality
        self._ae = AE("PACS")
        self._ae.supported_contexts = AllStoragePresentationContexts
        self._ae.add_supported_context(Verification)
        self._server: Any = None

    def settings(self, **values: Any) -> dict[str, Any]:
        there = {"name": self.name, "ae_title": "PACS", "host": "127.0.0.1", "port": self.port}
        return there | {"timeout_s": TIMEOUT_S} | values

    def start(self) -> Archive:
        handlers: list[Any] = [(evt.EVT_C_STORE, self.store), *self.handlers()]
        self._server = self._ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    def heal(self) -> None:
        self.sick = False

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()

    def handlers(self) -> list[Any]:
        return []

    def store(self, event: evt.Event) -> int:
        return self.keep(event)

    def keep(self, event: evt.Event) -> int:
        data_set = event.encoded_dataset()
        path = self._folder / f"{self.name}-{threading.get_ident()}.dcm"
        path.write_bytes(data_set)
        uid = str(event.request.AffectedSOPInstanceUID)
        self.kept.setdefault(uid, set()).add(hash_data_set(path)[0])
        self.kinds[uid] = str(dcmread(BytesIO(data_set), specific_tags=["Modality"]).Modality)
        return 0x0000

    def holds(self, sop_instance_uid: str, sha256: str) -> bool:
        """Whether it has these bytes under the UID, and no others."""
        return self.kept.get(sop_instance_uid) == {sha256}

    def reports(self) -> int:
        return sum(modality == "SR" for modality in self.kinds.values())


class Down(Archive):
    """Does not listen."""

    def start(self) -> Archive:
        self.faults = 1
        return self

    def heal(self) -> None:
        super().start()


class Slow(Archive):
    """Stores, and answers when the gate has given up waiting."""

    def store(self, event: evt.Event) -> int:
        if self.sick:
            self.faults += 1
            self.keep(event)
            time.sleep(TIMEOUT_S + 0.5)
        return self.keep(event)


class Lazy(Archive):
    """Answers just within the limit; never does better."""

    def store(self, event: evt.Event) -> int:
        self.faults += 1
        time.sleep(TIMEOUT_S / 2)
        return self.keep(event)


class Silent(Archive):
    """Takes associations and never answers a C-STORE."""

    def store(self, event: evt.Event) -> int:
        if self.sick:
            self.faults += 1
            until(lambda: not self.sick, 30)
            return 0xA700
        return self.keep(event)


class Answering(Archive):
    """Answers a status; a warning means that it stored."""

    def __init__(self, name: str, folder: Any, status: int) -> None:
        super().__init__(name, folder)
        self.status = status

    def store(self, event: evt.Event) -> int:
        if not self.sick:
            return self.keep(event)
        self.faults += 1
        if 0xB000 <= self.status <= 0xBFFF:
            self.keep(event)
        return self.status


class Aborting(Archive):
    """Ends every association after two objects; never does better."""

    def store(self, event: evt.Event) -> int:
        stored: int = getattr(event.assoc, "stored", 0)
        if stored == 2:
            self.faults += 1
            event.assoc.abort()
            return 0xA700
        event.assoc.stored = stored + 1  # type: ignore[attr-defined]
        return self.keep(event)


class Cutting(Archive):
    """Closes the TCP connection in the middle of a data set."""

    def handlers(self) -> list[Any]:
        return [(evt.EVT_DATA_RECV, self._cut)]

    def _cut(self, event: evt.Event) -> None:
        if self.sick and event.data[:1] == b"\x04" and len(event.data) > 1000:  # P-DATA-TF with a data set
            self.faults += 1
            event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)


class Rude(Archive):
    """No DICOM while sick: gives each connection the next of some answers, then closes it."""

    answers: tuple[bytes, ...] = (b"",)

    def start(self) -> Archive:
        wheel = itertools.cycle(self.answers)

        class Handler(socketserver.BaseRequestHandler):
            def handle(inner) -> None:
                self.faults += 1
                inner.request.recv(65536)
                inner.request.sendall(next(wheel))

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        self._rude = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._rude.serve_forever, daemon=True).start()
        return self

    def heal(self) -> None:
        super().heal()
        self._rude.shutdown()
        self._rude.server_close()
        super().start()


class Rejecting(Rude):
    """Rejects associations, with every reason in turn (PS3.8 9.3.4)."""

    answers = tuple(bytes([3, 0, 0, 0, 0, 4, 0, *reason]) for reason in REJECTIONS)
