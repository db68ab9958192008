"""TLS in both directions: who gets in, who is told what, and renewing a certificate without a restart."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from certificates import Authority
from scp_client import STORESCU, MakeFile, MakeGate

from qagate.dicom.scu import Archive, Delivery, DeliveryError, echo, store
from qagate.dicom.tls import Credentials, Tls, TlsError, expires_at
from qagate.refusal import NO_PLACE


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def server(credentials: Credentials) -> Tls:
    return Tls(credentials, server=True)


def archive(port: int, credentials: Credentials | None, *, host: str = "127.0.0.1") -> Archive:
    tls = None if credentials is None else Tls(credentials, server=False)
    return Archive(name="pacs", ae_title="QAGATE", host=host, port=port, timeout_s=5.0, tls=tls)


def test_a_file_goes_through_tls_with_both_sides_known(
    make_gate: MakeGate, make_file: MakeFile, authority: Authority
) -> None:
    gate = make_gate(tls=server(authority.issue("gate")))
    (result,) = store(archive(gate.port, authority.issue("scanner")), [make_file()])
    assert result.delivery is Delivery.DELIVERED
    assert len(gate.received) == 1


@pytest.mark.parametrize("profile", ["+py", "+px"])
def test_dcmtk_stores_through_both_profiles(
    make_gate: MakeGate, make_file: MakeFile, authority: Authority, profile: str
) -> None:
    if not STORESCU.exists():
        pytest.skip("dcmtk is not installed")
    gate, peer = make_gate(tls=server(authority.issue("gate"))), authority.issue("scanner")
    assert peer.key and peer.certificate
    said = subprocess.run(
        [STORESCU, "+tls", peer.key, peer.certificate, "+cf", authority.certificate, profile,
         "-aet", "CT1", "-aec", "QAGATE", "127.0.0.1", str(gate.port), make_file()],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert len(gate.received) == 1


def test_without_issuers_a_peer_needs_no_certificate(
    make_gate: MakeGate, make_file: MakeFile, authority: Authority
) -> None:
    gate = make_gate(tls=server(replace(authority.issue("gate"), issuers=None)))
    (result,) = store(archive(gate.port, Credentials(issuers=authority.certificate)), [make_file()])
    assert result.delivery is Delivery.DELIVERED


@pytest.mark.parametrize("peer", ["plain", "anonymous", "stranger", "expired"])
def test_who_shows_no_good_certificate_gets_nothing(
    make_gate: MakeGate, make_file: MakeFile, authority: Authority, tmp_path: Path, peer: str
) -> None:
    gate = make_gate(tls=server(authority.issue("gate")))
    stranger = Authority(tmp_path / "other", "other").issue("stranger")
    shown = {
        "plain": None,
        "anonymous": Credentials(issuers=authority.certificate),
        "stranger": replace(stranger, issuers=authority.certificate),
        "expired": authority.issue("expired", days=-1),
    }[peer]
    with pytest.raises(DeliveryError):
        list(store(archive(gate.port, shown), [make_file()]))
    assert not gate.received


def test_tls_1_1_is_not_spoken(make_gate: MakeGate, authority: Authority) -> None:
    gate = make_gate(tls=server(replace(authority.issue("gate"), issuers=None)))
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", gate.port), 5) as plain, pytest.raises(OSError):
        old.wrap_socket(plain)


def test_who_never_finishes_the_handshake_is_cut_off(make_gate: MakeGate, authority: Authority) -> None:
    gate = make_gate(tls=server(authority.issue("gate")), acse_timeout_s=0.2)
    with socket.create_connection(("127.0.0.1", gate.port), 5) as slow:
        slow.sendall(b"\x16\x03")
        assert slow.recv(1) == b""


def test_a_slow_handshake_holds_up_nobody(make_gate: MakeGate, authority: Authority) -> None:
    gate = make_gate(tls=server(authority.issue("gate")))
    with socket.create_connection(("127.0.0.1", gate.port), 5) as slow:
        slow.sendall(b"\x16\x03")
        echo(archive(gate.port, authority.issue("scanner")))


def test_a_renewed_certificate_serves_the_next_association(make_gate: MakeGate, authority: Authority) -> None:
    old = authority.issue("gate", days=-1)
    gate, scanner = make_gate(tls=server(old)), authority.issue("scanner")
    with pytest.raises(DeliveryError, match=r"certificate has expired.*renew"):
        echo(archive(gate.port, scanner))
    authority.issue("gate", days=10)
    echo(archive(gate.port, scanner))


def test_towards_an_archive_a_renewed_certificate_is_shown_too(
    make_gate: MakeGate, authority: Authority
) -> None:
    gate, mine = make_gate(tls=server(authority.issue("gate"))), authority.issue("mine", days=-1)
    there = archive(gate.port, mine)
    with pytest.raises(DeliveryError):
        echo(there)
    authority.issue("mine", days=10)
    echo(there)


def test_a_broken_renewal_leaves_the_old_certificate_in_use(
    make_gate: MakeGate, authority: Authority
) -> None:
    mine = authority.issue("gate")
    gate, scanner = make_gate(tls=server(mine)), authority.issue("scanner")
    assert mine.certificate is not None
    mine.certificate.write_text("half a file")
    echo(archive(gate.port, scanner))


def test_an_unusable_certificate_stops_the_start(make_gate: MakeGate, authority: Authority) -> None:
    other = authority.issue("other")
    with pytest.raises(TlsError, match=r"gate\.pem .* key that belongs to it"):
        make_gate(tls=server(replace(authority.issue("gate"), key=other.key)))
    with pytest.raises(TlsError, match="correct the setting"):
        make_gate(tls=server(Credentials(certificate=authority.folder / "none.pem")))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("stranger", "name who signed its certificate"),
        ("host", "correct host"),
        ("plain", "is it a TLS port"),
    ],
)
def test_the_archive_is_not_trusted_blindly(
    make_gate: MakeGate, authority: Authority, tmp_path: Path, fault: str, said: str
) -> None:
    certificate = authority.issue("gate", address="10.9.8.7" if fault == "host" else "127.0.0.1")
    gate = make_gate(tls=None if fault == "plain" else server(replace(certificate, issuers=None)))
    trusted = Authority(tmp_path / "other", "other") if fault == "stranger" else authority
    with pytest.raises(DeliveryError, match=said):
        echo(archive(gate.port, Credentials(issuers=trusted.certificate)))


def test_connections_beyond_the_limit_are_turned_away(make_gate: MakeGate, authority: Authority) -> None:
    gate = make_gate(max_connections=2)
    held = [socket.create_connection(("127.0.0.1", gate.port), 5) for _ in range(2)]
    try:
        for one in held:
            one.sendall(b"\x01\x00")  # it begins a PDU, so it is none of the silent, which make room
        assert gate.wait(lambda: len(gate.scp._links) == 2)
        with socket.create_connection(("127.0.0.1", gate.port), 5) as third:
            assert third.recv(1) == b""
        assert [one.status for one in gate.refused] == [NO_PLACE]
    finally:
        for one in held:
            one.close()

    def answers() -> bool:
        try:
            echo(archive(gate.port, None))
        except DeliveryError:
            return False
        return True

    assert gate.wait(answers)


def test_who_trickles_is_cut_off(make_gate: MakeGate) -> None:
    gate = make_gate(network_timeout_s=0.4, acse_timeout_s=30)
    with socket.create_connection(("127.0.0.1", gate.port), 5) as slow:
        ended = threading.Event()

        def trickle() -> Iterator[None]:
            slow.sendall(b"\x01\x00\x00\x00\x40\x00")
            while not ended.wait(0.05):
                slow.sendall(b"\x00")
                yield

        with pytest.raises(OSError):
            for _ in trickle():
                pass
        ended.set()


def test_when_a_certificate_ends(authority: Authority) -> None:
    mine = authority.issue("gate", days=12)
    assert mine.certificate is not None
    left = expires_at(mine.certificate) - datetime.now(UTC)
    assert timedelta(days=11, hours=23) < left < timedelta(days=12)
    with pytest.raises(TlsError, match="PEM"):
        expires_at(authority.folder / "none.pem")
