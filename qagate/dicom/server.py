"""The TCP side of the storage SCP: one thread waits for each association until it has truly ended.

Hardens pynetdicom's server: no delayed acknowledgements, a time limit on a peer that stalls or trickles in a
PDU or a TLS handshake, a size limit on a PDU, a limit on connections, associations or not, and notice of the
end of an association however it came about.
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import structlog
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_P_ABORT
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from qagate.dicom.tls import Tls, TlsError, why_refused
from qagate.reason import Reason

_log = structlog.get_logger()
_MAX_CONTROL_PDU = 1 << 20  #: bytes; an A-ASSOCIATE-RQ with 128 contexts and all syntaxes stays below


class _Socket(AssociationSocket):
    """Reads a PDU in as few calls as it takes, and none that is larger than agreed."""

    def recv(self, nr_bytes: int) -> bytearray:
        """Return `nr_bytes`, fewer when the connection closed; OSError for an oversized PDU."""
        if nr_bytes > max(self.assoc.ae.maximum_pdu_size, _MAX_CONTROL_PDU):
            raise OSError(f"the peer sends a PDU of {nr_bytes} bytes")
        data = bytearray(nr_bytes)
        view, count = memoryview(data), 0
        connection = cast(socket.socket, self.socket)
        allowed_s, began = cast(float, self.assoc.ae.network_timeout), time.monotonic()
        try:
            while count < nr_bytes and (got := connection.recv_into(view[count:])):
                count += got
                # The socket's own time limit starts anew with every byte that a peer trickles.
                if count < nr_bytes and time.monotonic() - began > allowed_s:
                    raise TimeoutError(f"the peer sent {count} of {nr_bytes} bytes in {allowed_s:g} s")
        finally:
            view.release()
        del data[count:]
        return data


def hang_up(association: Association) -> None:
    """End a connection that waits for its association request, without waiting out the ACSE time limit."""
    connection = cast(AssociationSocket, association.dul.socket).socket
    if connection is not None:
        _cut(connection)
    # What the association's thread takes for the time limit.
    association.dul.to_user_queue.put(cast(A_P_ABORT, None))


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(RequestHandler):
    """Serves one association and stays until it is over."""

    server: Server

    def handle(self) -> None:
        """Run the association to its end."""
        if self.server.tls is not None and not self._encrypted(self.server.tls):
            return
        association = self._create_association()
        # pynetdicom makes the socket inside the call above and offers no other way to choose its class.
        cast(AssociationSocket, association.dul.socket).__class__ = _Socket
        self.server.on_open(association)
        try:
            association.start()
            association.join()
            association.dul.join()
        finally:
            self.server.on_close(association)

    def _encrypted(self, tls: Tls) -> bool:
        """Shake hands, within the time that an association request has."""
        connection = cast(socket.socket, self.request)
        limit = threading.Timer(self.server.ae.acse_timeout or 30, lambda: _cut(connection))
        try:
            connection = tls.context().wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
            limit.start()
            connection.do_handshake()
        except (OSError, TlsError) as error:
            connection.close()
            if not isinstance(error, ssl.SSLEOFError | ConnectionError):  # a probe, which says nothing
                _log.warning("refuse_tls", address=self.client_address[0], reason=Reason(why_refused(error)))
            return False
        finally:
            limit.cancel()
        self.request = connection
        return True


class Server(ThreadedAssociationServer):
    """A listening socket. `on_open` and `on_close` are called with each association."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        ae: AE,
        address: tuple[str, int],
        handlers: list[evt.EventHandlerType],
        on_open: Callable[[Association], None],
        on_close: Callable[[Association], None],
        *,
        tls: Tls | None = None,
        max_connections: int = 256,
    ) -> None:
        self.on_open, self.on_close, self.tls = on_open, on_close, tls
        self._places = threading.BoundedSemaphore(max_connections)
        # The contexts are those of an association whose request was not looked at: none but C-ECHO.
        contexts = [build_context(Verification)]
        super().__init__(ae, address, ae.ae_title, contexts, evt_handlers=handlers, request_handler=_Handler)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept one connection."""
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(self.ae.network_timeout)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Turn away what there is no thread for; a scanner tries again."""
        free = self._places.acquire(blocking=False)
        if not free:
            _log.warning("too_many_connections", address=client_address[0])
        return free

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection in a thread of its own."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def shutdown(self) -> None:
        """Stop accepting and close the listening socket; open associations go on."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()
