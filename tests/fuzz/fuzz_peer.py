"""Plays one case against a listening gate and tells how it was answered."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass

import fuzz_pdu as pdu
from fuzz_associations import Case

UNANSWERED = "unanswered"
_RESET = struct.pack("ii", 1, 0)  #: SO_LINGER that makes close() send RST


@dataclass(frozen=True, slots=True)
class Played:
    """What became of one case."""

    outcome: str  #: the last PDU that came, "closed", "peer left" or "unanswered"
    took_s: float


class _Closed(Exception):
    """The gate closed the connection."""


def play(case: Case, port: int, limit_s: float, host: str = "127.0.0.1") -> Played:
    """Play every step; each wait for the gate lasts at most `limit_s` seconds."""
    began = time.monotonic()
    outcome = "peer left"
    with socket.create_connection((host, port), limit_s) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for what, data in case.steps:
                if what == "await":
                    outcome = _answer(connection, limit_s)
                elif what == "send":
                    connection.sendall(data)
                elif what == "half-close":
                    connection.shutdown(socket.SHUT_WR)
                else:
                    if what == "reset":
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    outcome = "peer left"
                    break
        except TimeoutError:
            outcome = UNANSWERED
        except (_Closed, OSError):
            outcome = outcome if outcome in ("RJ", "ABORT", "RELEASE-RP") else "closed"
    return Played(outcome, time.monotonic() - began)


def _answer(connection: socket.socket, limit_s: float) -> str:
    """The name of the next PDU; TimeoutError, _Closed."""
    deadline = time.monotonic() + limit_s
    kind, _, length = struct.unpack(">BBL", _exactly(connection, 6, deadline))
    _exactly(connection, length, deadline)
    return pdu.NAMES.get(kind, f"PDU {kind}")


def _exactly(connection: socket.socket, count: int, deadline: float) -> bytes:
    data = b""
    while len(data) < count:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        part = connection.recv(count - len(data))
        if not part:
            raise _Closed
        data += part
    return data


def healthy(port: int, limit_s: float) -> bool:
    """Tell whether a well-behaved peer is still served: C-ECHO answered, association released."""
    good = Case("echo", (("send", pdu.associate()), ("await", b""), ("send", pdu.echo()), ("await", b"")))
    with suppress(OSError):
        return play(good, port, limit_s).outcome == "P-DATA"
    return False
