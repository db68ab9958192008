"""Sends the audit trail to a syslog server: RFC 5424 over UDP (RFC 5426), TCP (RFC 6587) or TLS (RFC 5425).

Every row is sent at least once, in order; where the last run ended is in the store. Syslog acknowledges
nothing: what is on its way when the server dies is lost there, and stays here.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Literal

import structlog

from qagate.dicom.audit_message import AuditedAct, audit_message
from qagate.store.audit import AuditEntry, Trail

log = structlog.get_logger(__name__)

Transport = Literal["udp", "tcp", "tls"]

_PRIORITY = 10 * 8 + 5  #: facility authpriv, severity notice (IHE ITI TF-2 3.20)
_MESSAGE_ID = "DICOM+RFC3881"
_TIMEOUT_S = 10.0
_NO_NAME = re.compile(r"[^!-~]")


class Exporter:
    """Sends what a server was not sent yet."""

    def __init__(self, *, trail: Trail, address: str, transport: Transport, source: str) -> None:
        """Take HOST:PORT, and the *Audit Source ID*. Raises ValueError when the address is none."""
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"audit.syslog {address!r} is no HOST:PORT such as logs.example.org:6514")
        self._host, self._port = host.strip("[]"), int(port)
        self._trail, self._source, self._transport = trail, source, transport
        self._name = f"{transport}://{address}"

    def run(self) -> int:
        """Send the rows that are due; return how many. Raises OSError when the server cannot be reached."""
        count = 0
        rows = self._trail.after(self._trail.exported(self._name))
        if not rows:
            return 0
        with self._opened() as send:
            while rows:
                for row in rows:
                    send(self._message(row))
                count += len(rows)
                self._trail.note_exported(self._name, rows[-1].entry_id)
                rows = self._trail.after(rows[-1].entry_id)
        log.info("audit_exported", rows=count, to=self._name)
        return count

    def _message(self, row: AuditEntry) -> bytes:
        act = AuditedAct(
            number=row.entry_id, at=row.at, actor=row.actor, act=row.act,
            series_instance_uid=row.series_instance_uid, sha256=row.sha256,
        )  # fmt: skip
        when = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        host = _NO_NAME.sub("-", socket.gethostname())[:255] or "-"
        head = f"<{_PRIORITY}>1 {when} {host} qagate {os.getpid()} {_MESSAGE_ID} - "
        # The mark says that UTF-8 follows (RFC 5424 section 6.4).
        return head.encode("ascii") + b"\xef\xbb\xbf" + audit_message(act, source=self._source)

    @contextmanager
    def _opened(self) -> Iterator[Callable[[bytes], None]]:
        if self._transport == "udp":
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._host, self._port, type=socket.SOCK_DGRAM
            )[0]
            with socket.socket(family, kind, protocol) as datagrams:
                datagrams.connect(address)
                yield lambda message: _all(datagrams.send(message), message)
            return
        with socket.create_connection((self._host, self._port), _TIMEOUT_S) as plain:
            stream = plain
            if self._transport == "tls":
                context = ssl.create_default_context()
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                stream = context.wrap_socket(plain, server_hostname=self._host)
            with stream:
                # The length first (RFC 5425 section 4.3, RFC 6587 section 3.4.1): XML may hold line ends.
                yield lambda message: stream.sendall(b"%d %b" % (len(message), message))
                if self._transport == "tls":
                    with suppress(OSError):  # told that this is the end, many servers just hang up
                        stream.unwrap()  # type: ignore[attr-defined]


def _all(sent: int, message: bytes) -> None:
    if sent != len(message):
        raise OSError(f"only {sent} of {len(message)} bytes fitted into a datagram: use tcp or tls")
