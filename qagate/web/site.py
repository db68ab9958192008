"""What every page works with: settings, store, spool, templates. Made once a process."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import jinja2

from qagate.config import Settings
from qagate.dicom.spool import Spool
from qagate.store.accounts import Accounts
from qagate.store.audit import Trail
from qagate.store.engine import Store
from qagate.store.logins import Logins
from qagate.web.pages import environment
from qagate.web.security import Visitor
from qagate.web.security.oidc import Provider, installed
from qagate.web.texts import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The parts of the pages."""

    settings: Settings
    store: Store
    spool: Spool
    templates: jinja2.Environment
    clock: Clock
    accounts: Accounts
    logins: Logins
    trail: Trail
    provider: Provider | None = None  #: of logins by OpenID Connect; None: there is none
    stopping: threading.Event = field(default_factory=threading.Event)  #: set when the process drains

    def audit(
        self, visitor: Visitor, *, act: str, series_instance_uid: str | None = None, **details: Any
    ) -> None:
        """Record who did what; `details` are plain values without patient data. Raises StoreError."""
        self.trail.add(actor=visitor.name, act=act, series_instance_uid=series_instance_uid, details=details)


def make_site(settings: Settings, store: Store, stopping: threading.Event | None = None) -> Site:
    """The site of the settings on an open store. Raises RuntimeError where an extra is missing."""
    clock = Clock(settings.web.time_zone)
    return Site(
        settings=settings,
        store=store,
        spool=Spool(settings.spool_dir),
        templates=environment(clock, site_name=settings.web.site_name),
        clock=clock,
        accounts=Accounts(store),
        logins=Logins(store),
        trail=Trail(store),
        provider=_provider(settings),
        stopping=stopping or threading.Event(),
    )


def _provider(settings: Settings) -> Provider | None:
    of = settings.web
    if not of.oidc.issuer:
        return None
    if not installed():
        raise RuntimeError("web.oidc.issuer is set but Authlib is not installed: pip install 'qagate[oidc]'")
    return Provider(of.oidc, redirect_uri=of.public_url.rstrip("/") + "/login/oidc/back")
