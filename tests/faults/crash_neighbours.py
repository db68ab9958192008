"""An archive that keeps all it is sent and counts every copy, and a webhook that counts every alert.

Each may be told to hold what it gets: it keeps it, tells the test, and answers when let go.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, AllStoragePresentationContexts, evt

REPORTS = {
    "1.2.840.10008.5.1.4.1.1.88.22": "SR",
    "1.2.840.10008.5.1.4.1.1.88.34": "SR",
    "1.2.840.10008.5.1.4.1.1.88.59": "KOS",
}  #: SOP class -> kind; every other is an image

Trap = Callable[[], None]


class Archive:
    """A storage SCP."""

    def __init__(self) -> None:
        self.copies: dict[str, list[str]] = defaultdict(list)  #: SOP Instance UID -> SHA-256 of each copy
        self.data: dict[str, bytes] = {}  #: SOP Instance UID -> the last copy's encoded data set
        self.kinds: dict[str, str] = {}
        self.on_report: Trap | None = None  #: called once, between keeping a report and answering it
        self.open = True  #: else everything is answered 0xA700
        ae = AE("PACS")
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(str(context.abstract_syntax))
        ae.add_supported_context(UID("1.2.840.10008.1.1"))
        self._server = ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self.port: int = self._server.server_address[1]

    def _store(self, event: evt.Event) -> int:
        if not self.open:
            return 0xA700
        request = event.request
        uid, data = str(request.AffectedSOPInstanceUID), request.DataSet.getvalue()
        self.copies[uid].append(hashlib.sha256(data).hexdigest())
        self.data[uid] = data
        self.kinds[uid] = REPORTS.get(str(request.AffectedSOPClassUID), "IMAGE")
        if self.kinds[uid] == "SR" and self.on_report is not None:
            trap, self.on_report = self.on_report, None
            trap()
        return 0x0000

    def of(self, kind: str) -> list[str]:
        """SOP Instance UIDs of one kind."""
        return [uid for uid, one in self.kinds.items() if one == kind]

    def settings(self) -> dict[str, Any]:
        return {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": self.port, "timeout_s": 5.0}

    def close(self) -> None:
        self._server.shutdown()


class Webhook:
    """A local HTTP service that counts what it is sent."""

    def __init__(self) -> None:
        self.heard: Counter[str] = Counter()  #: the text of each alert
        self.on_alert: Trap | None = None  #: called once, between hearing an alert and answering it
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.heard[body["message"]] += 1
                if hook.on_alert is not None:
                    trap, hook.on_alert = hook.on_alert, None
                    trap()
                try:
                    self.send_response(200)
                    self.end_headers()
                except OSError:
                    self.close_connection = True  # the sender is dead

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self._server.server_address[1]}/"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
