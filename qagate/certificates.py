"""When the certificates of the settings end. Tells roles, never the files' names or contents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qagate.config import Settings
from qagate.dicom.tls import TlsError, expires_at

EXPIRY_DAYS = 30  #: a certificate that ends sooner is warned of: renewing one takes a hospital weeks


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One certificate that the gate shows to others."""

    role: str  #: receiver, archive or pages
    archive: str = ""  #: which archive
    ends: datetime | None  #: of it or of its chain, whichever is first, UTC; None: it cannot be read

    @property
    def label(self) -> str:
        """Role and archive in one, such as `archive pacs`."""
        return f"{self.role} {self.archive}".strip()

    @property
    def days(self) -> int:
        """Whole days left; negative when it has ended or cannot be read."""
        return -1 if self.ends is None else (self.ends - datetime.now(UTC)).days

    @property
    def is_short(self) -> bool:
        """Whether it must be renewed soon."""
        return self.days < EXPIRY_DAYS


def certificates(settings: Settings) -> tuple[Certificate, ...]:
    """Every certificate of the settings, read anew."""
    return tuple(
        Certificate(role=role, archive=archive, ends=_ends(path)) for role, archive, path in _files(settings)
    )


def _files(settings: Settings) -> Iterator[tuple[str, str, Path]]:
    if settings.receiver.tls_certificate is not None:
        yield "receiver", "", settings.receiver.tls_certificate
    for of in settings.archive:
        if of.tls and of.tls_certificate is not None:
            yield "archive", of.name, of.tls_certificate
    if settings.web.tls_certificate is not None:
        yield "pages", "", settings.web.tls_certificate


def _ends(path: Path) -> datetime | None:
    try:
        return expires_at(path)
    except TlsError:
        return None
