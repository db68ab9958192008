"""The trail at a syslog server: framed as each RFC says, once in order, again after a failure."""

from __future__ import annotations

import base64
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest
from neighbours import free_port

from qagate.audit_export import Exporter
from qagate.store.audit import Trail
from qagate.store.engine import Store

HEAD = re.compile(rb"<85>1 \S+Z \S+ qagate \d+ DICOM\+RFC3881 - \xef\xbb\xbf")


@pytest.fixture
def trail(sqlite_store: Store) -> Trail:
    """Four acts."""
    trail = Trail(sqlite_store)
    trail.add(actor="anna", act="log in")
    trail.add(actor="ünal <b>&", act="agree", series_instance_uid="1.2.3")
    trail.add(actor="bob", act="wrong password")
    trail.add(actor="anna", act="promote model", details={"model": "m"})
    return trail


def exporter(trail: Trail, port: int, transport: str) -> Exporter:
    return Exporter(trail=trail, address=f"localhost:{port}", transport=transport, source="QAGATE@here")  # type: ignore[arg-type]


@contextmanager
def listening(
    wrap: Callable[[socket.socket], socket.socket] = lambda it: it,
) -> Iterator[tuple[int, bytearray]]:
    """A syslog server over TCP; its port and what it got, whole once the with statement ends."""
    got = bytearray()
    with socket.create_server(("localhost", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with suppress(ssl.SSLError), wrap(connection) as stream:
                while chunk := stream.recv(65536):
                    got.extend(chunk)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], got
        thread.join(30)
        assert not thread.is_alive()


def messages(got: bytes) -> list[Element]:
    """What octet counting frames."""
    found = []
    while got:
        length, _, rest = got.partition(b" ")
        found.append(_parsed(rest[: int(length)]))
        got = rest[int(length) :]
    return found


def _parsed(message: bytes) -> Element:
    head = HEAD.match(message)
    assert head, message[:80]
    return fromstring(message[head.end() :])


def _told(message: Element) -> tuple[str | None, ...]:
    event = message.find("EventIdentification")
    assert event is not None
    names = (event.find("EventID"), event.find("EventTypeCode"))
    codes = [None if one is None else one.get("csd-code") for one in names]
    actor = message.find("ActiveParticipant")
    assert actor is not None
    return (*codes, event.get("EventActionCode"), event.get("EventOutcomeIndicator"), actor.get("UserID"))


EXPECTED = [
    ("110114", "110122", "E", "0", "anna"),
    ("110103", None, "U", "0", "ünal <b>&"),
    ("110114", "110122", "E", "4", "bob"),
    ("110113", "110131", "E", "0", "anna"),
]


def test_every_row_once_and_in_order_with_its_hash(trail: Trail) -> None:
    with listening() as (port, got):
        assert exporter(trail, port, "tcp").run() == 4
    found = messages(bytes(got))
    assert [_told(one) for one in found] == EXPECTED
    details = [one.findall(".//ParticipantObjectDetail")[0].get("value") or "" for one in found]
    assert [base64.b64decode(one).decode() for one in details] == [one.sha256 for one in trail.after(0)]
    (series,) = (
        one.get("ParticipantObjectID") for one in found[1].findall("ParticipantObjectIdentification")[:1]
    )
    assert series == "1.2.3"
    assert exporter(trail, port, "tcp").run() == 0, "nothing is due, nobody is asked"
    trail.add(actor="anna", act="log out")
    with pytest.raises(OSError):
        exporter(trail, port, "tcp").run()


def test_what_a_server_that_is_away_missed_comes_later(trail: Trail) -> None:
    port = free_port()
    with pytest.raises(OSError):
        exporter(trail, port, "tcp").run()
    with socket.create_server(("localhost", port)) as server:
        assert exporter(trail, port, "tcp").run() == 4
        connection, _ = server.accept()
        with connection:
            assert len(messages(_all(connection))) == 4


def _all(connection: socket.socket) -> bytes:
    got = b""
    while chunk := connection.recv(65536):
        got += chunk
    return got


def test_over_udp_a_message_a_datagram(trail: Trail) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert Exporter(trail=trail, address=address, transport="udp", source="Q").run() == 4
        assert [_told(_parsed(server.recv(65536))) for _ in range(4)] == EXPECTED


def test_over_tls_only_to_whom_is_trusted(
    trail: Trail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
         "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key),
         "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    def wrap(plain: socket.socket) -> socket.socket:
        return context.wrap_socket(plain, server_side=True)

    with listening(wrap) as (port, got), pytest.raises(ssl.SSLCertVerificationError):
        exporter(trail, port, "tls").run()
    assert b"AuditMessage" not in got and trail.exported(f"tls://localhost:{port}") == 0
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with listening(wrap) as (port, got):
        assert exporter(trail, port, "tls").run() == 4
    assert [_told(one) for one in messages(bytes(got))] == EXPECTED


def test_an_address_that_is_none(trail: Trail) -> None:
    with pytest.raises(ValueError, match=r"audit\.syslog 'logs' is no HOST:PORT"):
        Exporter(trail=trail, address="logs", transport="udp", source="Q")
