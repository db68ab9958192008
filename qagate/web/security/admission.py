"""Who asks, and may they? Every route passes here before anything else happens."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from fastapi import Request

from qagate.store.accounts import Account
from qagate.web.security import sessions
from qagate.web.security.forms import form_secret, token_of
from qagate.web.security.roles import Role
from qagate.web.security.visitor import OUTSIDER, Visitor

if TYPE_CHECKING:
    from qagate.web.site import Site

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def identify(site: Site, request: Request) -> Visitor:
    """Who asks, by token, by cookie or by the word of the proxy."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        account = site.logins.whose_token(sessions.fingerprint(token.strip()))
        return OUTSIDER if account is None else _visitor(account, "")
    found = sessions.visitor(site, request)
    return found or _by_proxy(site, request) or OUTSIDER


def expected_token(request: Request, visitor: Visitor) -> str:
    """What a form must carry; "" where none is needed because no cookie spoke for the visitor."""
    if visitor.via == "token":
        return ""
    return visitor.csrf or token_of(form_secret(request))


def _by_proxy(site: Site, request: Request) -> Visitor | None:
    of = site.settings.web
    name = request.headers.get(of.user_header, "") if of.user_header else ""
    if not name or not _from_proxy(of.proxy_addresses, request):
        return None
    account = site.accounts.named(name)
    if account is None or account.disabled:
        return None
    # The browser sends the proxy's own login along with any form, so forms need the proof here too.
    return _visitor(account, token_of(form_secret(request)), via_proxy=True)


def _from_proxy(addresses: tuple[str, ...], request: Request) -> bool:
    try:
        peer = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    return any(peer in ipaddress.ip_network(one, strict=False) for one in addresses)


def _visitor(account: Account, csrf: str, *, via_proxy: bool = False) -> Visitor:
    return Visitor(
        name=account.name,
        role=Role.named(account.role),
        account_id=account.account_id,
        via="proxy" if via_proxy else "token",
        csrf=csrf,
        wall=account.wall,
    )
