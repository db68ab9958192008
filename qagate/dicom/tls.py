"""TLS of DICOM associations: PS3.15 B.9, the BCP 195 profile that does not downgrade.

TLS 1.2 with forward secrecy and authenticated encryption, or TLS 1.3. Certificates are read again when their
files change, so that a renewed one serves the next association without a restart.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock

import structlog
from cryptography import x509

from qagate.reason import why

_log = structlog.get_logger()
_CIPHERS_TLS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"


class TlsError(ValueError):
    """Certificate, key or issuers cannot be used; the message names the file and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Files in PEM. Only their names are kept; nothing is read before an association needs it."""

    certificate: Path | None = None  #: the own certificate, issuers after it; None: none is shown
    key: Path | None = None
    issuers: Path | None = None  #: who may have signed the peer's certificate; None: see `Tls`


class Tls:
    """One side of TLS. `context` gives what the next association needs.

    server: a peer must show a certificate of `issuers` when they are given, and none otherwise. Else the
    peer's certificate must come from `issuers`, or from those this machine trusts when none are given.
    """

    def __init__(self, credentials: Credentials, *, server: bool, check_host: bool = True) -> None:
        self._of, self._server, self._check_host = credentials, server, check_host
        self._lock = Lock()
        self._read: tuple[tuple[int, int], ...] = ()
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """The present context. Raises TlsError when there never was one that could be made."""
        with self._lock:
            try:
                stamp = tuple(_stamp(path) for path in self._files())
                if self._context is None or stamp != self._read:
                    self._context, self._read = self._made(), stamp
            except TlsError as error:
                if self._context is None:
                    raise
                _log.warning("keep_certificate", reason=why(error))
            return self._context

    def _files(self) -> tuple[Path, ...]:
        of = self._of
        return tuple(path for path in (of.certificate, of.key, of.issuers) if path is not None)

    def _made(self) -> ssl.SSLContext:
        of = self._of
        protocol = ssl.PROTOCOL_TLS_SERVER if self._server else ssl.PROTOCOL_TLS_CLIENT
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS_TLS_1_2)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        if not self._server:
            context.check_hostname = self._check_host
        if of.certificate is not None:
            try:
                context.load_cert_chain(of.certificate, of.key, password="")
            except (ssl.SSLError, OSError) as error:
                raise TlsError(
                    f"{of.certificate} and {of.key} cannot be used ({_reason(error)}): give a certificate "
                    "and the key that belongs to it, both in PEM, the key without a password"
                ) from error
        if of.issuers is not None:
            try:
                context.load_verify_locations(of.issuers)
            except (ssl.SSLError, OSError) as error:
                raise TlsError(
                    f"{of.issuers} cannot be used ({_reason(error)}): give the issuers' certificates in PEM"
                ) from error
            context.verify_mode = ssl.CERT_REQUIRED
        elif not self._server:
            context.load_default_certs()
        return context


def expires_at(certificate: Path) -> datetime:
    """When the first certificate of a PEM file or of its chain ends, UTC. Raises TlsError."""
    try:
        found = x509.load_pem_x509_certificates(certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise TlsError(
            f"{certificate} cannot be read ({_reason(error)}): give certificates in PEM"
        ) from error
    return min(one.not_valid_after_utc for one in found)


def why_refused(error: Exception) -> str:
    """What was wrong in a handshake, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return _reason(error)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise TlsError(
            f"{path} cannot be read ({_reason(error)}): correct the setting, or put it there"
        ) from error
    return found.st_mtime_ns, found.st_size


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
