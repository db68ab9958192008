"""The TCP side of the storage SCP: one thread waits for each association until it has truly ended.

Hardens pynetdicom's server: no delayed acknowledgements, a time limit on a peer that stalls or trickles in a
PDU or a TLS handshake, a size limit on a PDU, a limit on connections, associations or not, an A-ABORT for
what pynetdicom stumbles over, and notice of the end of an association however it came about. A connection
that says nothing, such as a load balancer's probe, costs a waiting thread and no more; where places are short
the one that was silent longest makes room.
"""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import structlog
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.fsm import StateMachine
from pynetdicom.pdu_primitives import A_P_ABORT
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from qagate.dicom.tls import Tls, TlsError, why_refused
from qagate.reason import Reason, why
from qagate.refusal import NO_PLACE, TLS_REFUSED

_log = structlog.get_logger()
_TLS_HANDSHAKE = b"\x16"  #: the first byte of TLS; no PDU has this type
_ABORT = bytes.fromhex("07 00 00000004 00 00 02 01")  #: A-ABORT: provider, unrecognised PDU (PS3.8 9.3.8)
_LAST_S = 1.0  #: a peer that was refused reads the reason within
_MAKE_ROOM_S = 0.5  #: a silent connection's thread ends within
_MAX_CONTROL_PDU = 1 << 20  #: bytes; an A-ASSOCIATE-RQ with 128 contexts and all syntaxes stays below
_GRACE_S = 2.0  #: for the second of an association's two threads to end after the first


class _Machine(StateMachine):
    """Aborts on what cannot be acted upon; pynetdicom's own would end its thread and let the peer wait."""

    def do_action(self, event: str) -> None:
        """Execute the action of an event (PS3.8 section 9.2.1)."""
        try:
            super().do_action(event)
        except Exception as error:  # a loop edge: whatever a peer sends, the association ends in order
            _log.warning("abort_nonsense", error=why(error), address=self.dul.assoc.requestor.address)
            super().do_action("Evt19")  # an invalid PDU


class _Socket(AssociationSocket):
    """Reads a PDU in as few calls as it takes, and none that is larger than agreed."""

    def recv(self, nr_bytes: int) -> bytearray:
        """Return `nr_bytes`, fewer when the connection closed; OSError for an oversized PDU."""
        if nr_bytes > max(self.assoc.ae.maximum_pdu_size, _MAX_CONTROL_PDU):
            raise OSError(f"the peer sends a PDU of {nr_bytes} bytes")
        data = bytearray(nr_bytes)
        view, count = memoryview(data), 0
        connection = cast(socket.socket, self.socket)
        allowed_s, began = self._allowed_s(), time.monotonic()
        if connection.gettimeout() != allowed_s:
            connection.settimeout(allowed_s)
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

    def _allowed_s(self) -> float:
        """Seconds for one PDU; a stranger gets no more than for its association request."""
        ae = self.assoc.ae
        network, acse = ae.network_timeout or 120.0, ae.acse_timeout or 30.0
        return network if self.assoc.is_established else min(network, acse)


def hang_up(association: Association) -> None:
    """End a connection that waits for its association request, without waiting out the ACSE time limit."""
    connection = cast(AssociationSocket, association.dul.socket).socket
    if connection is not None:
        _cut(connection)
    # What the association's thread takes for the time limit.
    association.dul.to_user_queue.put(cast(A_P_ABORT, None))


def _abort(connection: socket.socket | None) -> None:
    """End a connection whose association's thread fell over what the peer sent."""
    if connection is not None:
        with suppress(OSError):
            connection.sendall(_ABORT)
        _cut(connection)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(RequestHandler):
    """Serves one association and stays until it is over."""

    server: Server

    def handle(self) -> None:
        """Run the association to its end."""
        first, tls = self.server.first_byte(self.request), self.server.tls
        if not first:
            return
        if (first == _TLS_HANDSHAKE) is not (tls is not None):
            self._refuse("plain text came to a TLS port" if tls else "TLS came to a plain port")
            with suppress(OSError):
                self.request.sendall(_ABORT)
            _say_last(self.request)
            return
        if tls is not None and not self._encrypted(tls):
            return
        association = self._create_association()
        # pynetdicom makes the socket inside the call above and offers no other way to choose its class.
        cast(AssociationSocket, association.dul.socket).__class__ = _Socket
        association.dul.state_machine.__class__ = _Machine
        self.server.on_open(association)
        try:
            association.start()
            association.join()
            association.dul.join(_GRACE_S)
            if association.dul.is_alive():
                _log.warning("abort_orphan", address=self.client_address[0])
                association.dul.kill_dul()
                _abort(cast(AssociationSocket, association.dul.socket).socket)
                association.dul.join()
        finally:
            self.server.on_close(association)

    def _encrypted(self, tls: Tls) -> bool:
        """Shake hands, within the time that an association request has."""
        connection = cast(socket.socket, self.request)
        limit = threading.Timer(self.server.ae.acse_timeout or 30, lambda: _cut(connection))
        try:
            self.request = connection = tls.context().wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
            limit.start()
            connection.do_handshake()
        except (OSError, TlsError) as error:
            self._refuse(why_refused(error))
            _say_last(connection)
            return False
        finally:
            limit.cancel()
        return True

    def _refuse(self, reason: str) -> None:
        address = self.client_address[0]
        _log.warning("refuse_tls", address=address, reason=Reason(reason))
        self.server.on_refused(TLS_REFUSED, f"TLS: {reason}", address)


def _say_last(connection: socket.socket) -> None:
    """Close so that the peer reads why: with bytes of its own unread it would see a reset instead."""
    with suppress(OSError):
        connection.settimeout(_LAST_S)
        connection.shutdown(socket.SHUT_WR)
        until = time.monotonic() + _LAST_S
        while connection.recv(1 << 16) and time.monotonic() < until:
            pass
    connection.close()


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
        on_refused: Callable[[int, str, str], None],
    ) -> None:
        """Listen. `on_refused(code, reason, address)`: a connection was turned away."""
        self.on_open, self.on_close, self.on_refused, self.tls = on_open, on_close, on_refused, tls
        self._lock = threading.Lock()
        self._silent: dict[socket.socket, None] = {}  #: in the order of their coming
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

    def first_byte(self, connection: socket.socket) -> bytes:
        """Wait for the first byte, as long as for an association request; empty when none comes."""
        with self._lock:
            self._silent[connection] = None
        connection.settimeout(self.ae.acse_timeout)
        try:
            return connection.recv(1, socket.MSG_PEEK)
        except OSError:  # a probe that resets the connection, or waits
            return b""
        finally:
            with self._lock:
                self._silent.pop(connection, None)
            connection.settimeout(self.ae.network_timeout)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Turn away what there is no thread for; a scanner tries again."""
        free = self._places.acquire(blocking=False)
        if not free and self._cut_silent(1):
            free = self._places.acquire(timeout=_MAKE_ROOM_S)
        if not free:
            address = client_address[0]
            _log.warning("too_many_connections", address=address)
            self.on_refused(NO_PLACE, "too many connections are open", address)
        return free

    def _cut_silent(self, most: int | None = None) -> int:
        """End the connections that have been silent longest; how many there were."""
        with self._lock:
            oldest = list(self._silent)[:most]
            for connection in oldest:
                del self._silent[connection]
                _cut(connection)
        return len(oldest)

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
        self._cut_silent()
