"""Logins in browsers: a random token in a cookie that no script can read, its hash in the store."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from fastapi import Request, Response

from qagate.store.accounts import Account
from qagate.web.security.forms import token_of
from qagate.web.security.roles import Role
from qagate.web.security.visitor import Visitor

if TYPE_CHECKING:
    from qagate.web.site import Site

_YEAR_S = 365 * 24 * 3600


def fingerprint(token: str) -> str:
    """What the store keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    """A token for a program; its beginning lets scanners of leaked secrets recognise it."""
    return f"qagate_{secrets.token_urlsafe(32)}"


def cookie_name(site: Site) -> str:
    """With https the name itself makes browsers refuse the cookie from other hosts and over plain http."""
    return "__Host-qagate" if site.settings.web.encrypted else "qagate"


def begin(site: Site, account: Account, response: Response) -> None:
    """Log an account in at the browser that gets the response."""
    token, of = secrets.token_urlsafe(32), site.settings.web
    longest_s = of.session_hours * 3600
    site.logins.begin(account, fingerprint(token), longest_s=longest_s)
    response.set_cookie(
        cookie_name(site),
        token,
        max_age=_YEAR_S if account.wall else longest_s,
        httponly=True,
        samesite="lax",
        secure=of.encrypted,
    )


def end(site: Site, request: Request, response: Response) -> None:
    """Log the browser out."""
    token = request.cookies.get(cookie_name(site))
    if token:
        site.logins.end(fingerprint(token))
    response.delete_cookie(cookie_name(site), secure=site.settings.web.encrypted, httponly=True)


def visitor(site: Site, request: Request) -> Visitor | None:
    """Who the cookie says asks; None without a login that still lasts.

    What a page asks on its own (header X-Background, an event stream) does not count as use.
    """
    token = request.cookies.get(cookie_name(site))
    if not token:
        return None
    of = site.settings.web
    account = site.logins.who(
        fingerprint(token),
        idle_s=of.idle_minutes * 60,
        longest_s=of.session_hours * 3600,
        touch=not _unasked(request),
    )
    if account is None:
        return None
    return Visitor(
        name=account.name,
        role=Role.named(account.role),
        account_id=account.account_id,
        via="cookie",
        csrf=token_of(token),
        wall=account.wall,
    )


def _unasked(request: Request) -> bool:
    return "x-background" in request.headers or request.headers.get("accept") == "text/event-stream"
