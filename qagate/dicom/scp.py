"""The storage SCP: listens, admits associations, and tells when the last one feeding a series has ended.

How a C-STORE is answered is in `storing`, how its bytes reach the disk in `incoming` and `spool`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import structlog
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SOPClassCommonExtendedNegotiation
from structlog import contextvars

from qagate.dicom import network
from qagate.dicom.access import Access
from qagate.dicom.admission import Admission
from qagate.dicom.commitment_scp import CommitmentSCP
from qagate.dicom.incoming import StreamingProvider
from qagate.dicom.limits import LONGEST_PAUSE_S, Accounts, Share
from qagate.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from qagate.dicom.server import Server, hang_up
from qagate.dicom.spool import Spool
from qagate.dicom.storing import Storing
from qagate.dicom.tls import Tls
from qagate.reason import why
from qagate.refusal import Refusal
from qagate.series import Received

_log = structlog.get_logger()


@dataclass(slots=True)
class _Link:
    """One open connection."""

    share: Share | None = None  #: set when it was admitted as an association
    series: set[str] = field(default_factory=set)  #: UIDs of the series it fed


def _ignore(_: object) -> None:
    """Stand in for a callback that was not given."""


class StorageSCP:
    """Receives instances into a spool until it is stopped: C-ECHO, C-STORE of every storage SOP class, and
    storage commitment where there is a `commitment`.

    Callbacks run in the threads of the associations, several at a time:

    - `on_received(received)`: after the instance is durable, before 0x0000 is sent. Called again for each
      identical copy, so it must be idempotent on (SOP Instance UID, sha256). When it raises, the sender is
      answered 0x0110 and the file stays: sending again, or `Spool.walk` after a restart, reports it again.
    - `on_conflict(received)`: the same for other bytes under a known SOP Instance UID.
    - `on_released(series_instance_uids, when)`: the last open association that fed these series has ended,
      by release, abort or loss of the connection. Not called for series that are still fed.
    - `on_refused(refusal)`: a C-STORE was answered with a failure, or none can come because every transfer
      syntax of its SOP class was refused (status 0x0122); or an association or connection was turned away.
    """

    def __init__(
        self,
        *,
        ae_title: str,
        host: str,
        port: int,
        spool: Spool,
        access: Access,
        on_received: Callable[[Received], None],
        on_released: Callable[[frozenset[str], datetime], None],
        on_refused: Callable[[Refusal], None] = _ignore,
        on_conflict: Callable[[Received], None] = _ignore,
        max_associations: int = 32,
        max_pdu_bytes: int = 131_072,
        acse_timeout_s: float = 30,
        dimse_timeout_s: float = 60,
        network_timeout_s: float = 120,
        min_free_bytes: int = 2 << 30,
        private_transfer_syntaxes: frozenset[str] = frozenset(),
        tls: Tls | None = None,
        max_connections: int = 256,
        commitment: CommitmentSCP | None = None,
    ) -> None:
        """Keep the settings; nothing listens before `start`. Port 0 takes a free one. No tls: plain text."""
        network.configure()
        self._host, self._port = host, port
        self._spool, self._on_released = spool, on_released
        self._storing = Storing(
            spool=spool,
            access=access,
            on_series=self._feed,
            on_received=on_received,
            on_conflict=on_conflict,
            on_refused=on_refused,
        )
        # A pause longer than half the time limit would look like an idle association.
        self._accounts = Accounts(
            most=max_associations, longest_pause_s=min(LONGEST_PAUSE_S, network_timeout_s / 2)
        )
        self._admission = Admission(
            access=access,
            accounts=self._accounts,
            spool=spool,
            min_free_bytes=min_free_bytes,
            commitment=commitment,
            private_transfer_syntaxes=private_transfer_syntaxes,
            on_refused=on_refused,
        )
        self._max_connections, self._tls, self._commitment = max_connections, tls, commitment
        self._min_free_bytes = min_free_bytes
        self._lock = threading.Lock()
        self._links: dict[Association, _Link] = {}
        self._feeding: Counter[str] = Counter()
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._ae = AE(ae_title)
        self._ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._ae.maximum_pdu_size = max_pdu_bytes
        self._ae.acse_timeout = acse_timeout_s
        self._ae.dimse_timeout = dimse_timeout_s
        self._ae.network_timeout = network_timeout_s
        # pynetdicom's own count includes connections that never requested anything, such as TCP probes.
        self._ae.maximum_associations = 1 << 16

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self._server.server_address[1]) if self._server else self._port

    @property
    def listening(self) -> bool:
        """Whether it still accepts connections."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def associations(self) -> int:
        """How many associations are established."""
        return self._accounts.open

    def start(self) -> None:
        """Listen. Raises OSError when the address is taken or not this machine's, TlsError."""
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_SOP_COMMON, self._services),
            (evt.EVT_C_STORE, self._storing.handle),
            (evt.EVT_CONN_CLOSE, self._disconnected),
            *(self._commitment.handlers if self._commitment else ()),
        ]
        if self._tls is not None:
            self._tls.context()  # a wrong certificate is told now, not to the first scanner
        self._server = Server(
            self._ae, (self._host, self._port), handlers, self._opened, self._closed,
            tls=self._tls, max_connections=self._max_connections, on_refused=self._admission.note,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._server.serve_forever, name="storage-scp", daemon=True)
        self._thread.start()
        _log.info("listen", ae_title=self._ae.ae_title, host=self._host, port=self.port)

    def stop(self, drain_s: float = 10.0) -> None:
        """Accept nothing more, let open associations finish for `drain_s` seconds, then abort them."""
        if self._server is None:
            return
        self._accounts.stop()
        self._server.shutdown()
        with self._lock:
            strangers = [association for association, link in self._links.items() if link.share is None]
        for association in strangers:
            hang_up(association)
        self._await_end(drain_s)
        with self._lock:
            remaining = list(self._links)
        for association in remaining:
            _log.warning("abort_association", calling_ae_title=association.requestor.ae_title)
            association.abort(block=False)
        self._await_end(5.0)
        if self._thread:
            self._thread.join()
        self._server = self._thread = None

    def _await_end(self, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline and self._links:
            time.sleep(0.01)

    def _opened(self, association: Association) -> None:
        association.dimse = StreamingProvider(association, self._spool, self._min_free_bytes)
        with self._lock:
            self._links[association] = _Link()

    def _disconnected(self, event: evt.Event) -> None:
        """Let go of a connection that closed before it requested anything, such as a TCP probe."""
        with self._lock:
            link = self._links.get(event.assoc)
            stranger = link is not None and link.share is None
        if stranger:
            hang_up(event.assoc)

    def _feed(self, event: evt.Event, series_instance_uid: str) -> None:
        with self._lock:
            link = self._links[event.assoc]
            if series_instance_uid in link.series:
                return
            link.series.add(series_instance_uid)
            self._feeding[series_instance_uid] += 1
        calling = event.assoc.requestor.ae_title.strip()
        _log.info("series_arrives", series_instance_uid=series_instance_uid, calling_ae_title=calling)

    def _closed(self, association: Association) -> None:
        provider = cast(StreamingProvider, association.dimse)
        provider.close()
        if self._commitment is not None:
            self._commitment.closed(association)
        with self._lock:
            link = self._links[association]
            self._feeding.subtract(link.series)
            released = frozenset(uid for uid in link.series if self._feeding[uid] <= 0)
            for uid in released:
                del self._feeding[uid]
        if link.series:
            _log.info("association_ended", association=provider.trace, series=len(link.series))
        try:
            if released:
                self._on_released(released, datetime.now(UTC))
        except Exception as error:
            # A loop edge: the quiet time closes these series instead.
            _log.error("fail_to_report_release", error=why(error), exc_info=True)
        finally:
            if link.share is not None:
                self._accounts.leave(link.share)
            with self._lock:
                del self._links[association]

    def _requested(self, event: evt.Event) -> None:
        association = event.assoc
        # Every line of this association's thread names it.
        contextvars.bind_contextvars(association=cast(StreamingProvider, association.dimse).trace)
        share = self._admission.decide(association)
        if share is not None:
            cast(StreamingProvider, association.dimse).share = share
            with self._lock:
                self._links[association].share = share

    def _services(self, event: evt.Event) -> dict[UID, SOPClassCommonExtendedNegotiation]:
        contexts = event.assoc.acceptor.supported_contexts
        return network.storage_services(str(context.abstract_syntax) for context in contexts)
