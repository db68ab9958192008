"""The TCP side of the storage SCP: one thread waits for each association until it has truly ended.

Hardens pynetdicom's server: no delayed acknowledgements, a time limit on a peer that stalls within a PDU,
a size limit on a PDU, and notice of the end of an association however it came about.
"""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_P_ABORT
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

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
        while count < nr_bytes and (got := connection.recv_into(view[count:])):
            count += got
        view.release()
        del data[count:]
        return data


def hang_up(association: Association) -> None:
    """End a connection that waits for its association request, without waiting out the ACSE time limit."""
    connection = cast(AssociationSocket, association.dul.socket).socket
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    # What the association's thread takes for the time limit.
    association.dul.to_user_queue.put(cast(A_P_ABORT, None))


class _Handler(RequestHandler):
    """Serves one association and stays until it is over."""

    server: Server

    def handle(self) -> None:
        """Run the association to its end."""
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
    ) -> None:
        self.on_open, self.on_close = on_open, on_close
        # The contexts are those of an association whose request was not looked at: none but C-ECHO.
        contexts = [build_context(Verification)]
        super().__init__(ae, address, ae.ae_title, contexts, evt_handlers=handlers, request_handler=_Handler)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept one connection."""
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(self.ae.network_timeout)
        return connection, address

    def shutdown(self) -> None:
        """Stop accepting and close the listening socket; open associations go on."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()
