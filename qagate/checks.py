"""`qagate check`: is this installation fit to serve? Every failure names the mend."""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from qagate import parts, supervisor
from qagate.certificates import EXPIRY_DAYS
from qagate.config import Settings
from qagate.dicom import scu
from qagate.dicom.spool import Spool
from qagate.dicom.tls import TlsError, expires_at
from qagate.store.accounts import Accounts
from qagate.store.engine import open_store, parse_url
from qagate.store.errors import StoreError
from qagate.store.migrate import check_revision, current_revision, head_revision
from qagate.store.roles import Roles, Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One thing that was looked at."""

    name: str
    ok: bool
    message: str


def run(settings: Settings) -> Iterator[CheckResult]:
    """Look at everything that can be wrong, one after the other."""
    yield CheckResult(name="settings", ok=True, message=f"mode {settings.mode}, data in {settings.data_dir}")
    yield _look("user", lambda: _user(settings))
    yield _look("spool", lambda: _spool(settings))
    yield _look("database", lambda: _database(settings))
    if settings.receiver.tls_certificate:
        yield _look("receiver TLS", lambda: _receiver_tls(settings))
    roles = _roles(settings)
    yield _look("model", lambda: _model(settings, roles.champion.name if roles else None))
    if roles and roles.challenger:
        challenger = roles.challenger.name
        yield _look("challenger", lambda: _model(settings, challenger))
    yield _look("policy", lambda: f"version {parts.policy(settings).version}")
    yield _look("alerts", lambda: ", ".join(parts.alerter(settings).destinations) or "none set")
    if settings.web.enabled:
        yield _look("pages", lambda: _web(settings))
    if not settings.archive:
        yield CheckResult(name="archives", ok=True, message="none set: results stay on this machine")
    for of in settings.archive:
        if of.tls and of.tls_certificate:
            yield _look(f"certificate for {of.name}", partial(lasts, of.tls_certificate))
        archive = parts.archive(settings, of)
        yield _look(f"archive {of.name}", partial(_archive, archive))


def _look(name: str, look: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(name=name, ok=True, message=look())
    except (ValueError, RuntimeError, OSError) as error:
        return CheckResult(name=name, ok=False, message=str(error))


def _user(settings: Settings) -> str:
    folder = settings.data_dir
    if folder.exists() and (mode := stat.S_IMODE(folder.stat().st_mode)) & stat.S_IRWXO:
        raise RuntimeError(
            f"{folder} is open to every user of this machine (mode {mode:03o}) and holds patient data: "
            f"`chmod -R o= {folder}`"
        )
    if os.geteuid() == 0:
        return supervisor.AS_ROOT
    return f"user id {os.geteuid()}, the data are closed to other users"


def _spool(settings: Settings) -> str:
    try:
        spool = Spool(settings.spool_dir)
        probe = spool.temporary()
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RuntimeError(
            f"{settings.spool_dir} cannot be written ({error.strerror}): give this user the folder, "
            "or set data_dir"
        ) from error
    free_mb, least_mb = spool.free_bytes() >> 20, settings.receiver.min_free_mb
    if free_mb < least_mb:
        raise RuntimeError(
            f"{free_mb} MB are free, receiver.min_free_mb asks for {least_mb}: make room or lower it"
        )
    return f"{free_mb} MB free"


def _database(settings: Settings) -> str:
    if current_revision(settings.store_url) is None:
        of = parse_url(settings.store_url)
        folder = Path(of.database or "").parent if of.get_backend_name() == "sqlite" else settings.data_dir
        there = next(place for place in (folder, *folder.parents) if place.exists())
        if not there.is_dir() or folder not in (there, settings.data_dir):
            raise StoreError(f"{folder} for the database is no folder: make it, or name another one")
        return f"empty; `serve` creates schema {head_revision()}"
    check_revision(settings.store_url)
    return f"schema {head_revision()}"


def _receiver_tls(settings: Settings) -> str:
    of, tls = settings.receiver, parts.receiver_tls(settings)
    assert tls is not None and of.tls_certificate is not None
    tls.context()
    asks = "asks senders for theirs" if of.tls_issuers else "asks senders for none"
    return f"{lasts(of.tls_certificate)}, {asks}"


def lasts(certificate: Path) -> str:
    """How long a certificate lasts. Raises TlsError when it ends within EXPIRY_DAYS."""
    ends = expires_at(certificate)
    days = (ends - datetime.now(UTC)).days
    if days < EXPIRY_DAYS:
        when = f"ended on {ends:%Y-%m-%d}" if days < 0 else f"ends on {ends:%Y-%m-%d}, in {days} days"
        raise TlsError(f"{certificate} {when}: put a renewed one in its place, no restart is needed")
    return f"{certificate.name} lasts until {ends:%Y-%m-%d}"


def _model(settings: Settings, name: str | None) -> str:
    scorer = parts.scorer(settings, model=name)
    return f"{scorer.model_name} {scorer.model_version}, weights {scorer.weights_sha256[:12]}"


def _roles(settings: Settings) -> Standing | None:
    """Who is champion and challenger; None when the database cannot tell, which is its own line's matter."""
    try:
        if current_revision(settings.store_url) != head_revision():
            return None
        with open_store(settings.store_url) as store:
            return Roles(store).standing()
    except StoreError:
        return None


def certificate(chain: Path, key: Path) -> None:
    """Raise RuntimeError with the mend unless the pages can use this certificate and key."""
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(chain, key)
    except (OSError, ssl.SSLError) as error:
        raise RuntimeError(
            f"web.tls_certificate {chain} and web.tls_key {key} cannot be used ({error.strerror or error}): "
            "give the PEM files of one pair, readable by this user"
        ) from error


def _web(settings: Settings) -> str:
    of = settings.web
    if of.tls_certificate and of.tls_key:
        certificate(of.tls_certificate, of.tls_key)
        lasts(of.tls_certificate)
    if of.oidc.issuer and not all(find_spec(name) for name in ("authlib", "joserfc", "requests")):
        raise RuntimeError("web.oidc.issuer is set but Authlib is not installed: pip install 'qagate[oidc]'")
    address = f"http{'s' * (of.tls_certificate is not None)}://{of.host}:{of.port}"
    return address if _users(settings) else f"{address}; no user yet: `qagate users add NAME --role admin`"


def _users(settings: Settings) -> bool:
    """Whether someone may log in; a database that cannot tell is its own line's matter."""
    try:
        if current_revision(settings.store_url) != head_revision():
            return False
        with open_store(settings.store_url) as store:
            return Accounts(store).any()
    except StoreError:
        return True


def _archive(archive: scu.Archive) -> str:
    scu.echo(archive)
    return f"{archive} answers"
