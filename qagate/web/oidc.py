"""Logging in through the hospital's own provider."""

from __future__ import annotations

import structlog
from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from qagate.reason import why
from qagate.store.accounts import NameTaken
from qagate.web.errors import Problem
from qagate.web.login import local_path
from qagate.web.routing import Here, Router
from qagate.web.security import PUBLIC, sessions
from qagate.web.security.oidc import Attempt, OidcError, Provider
from qagate.web.site import Site
from qagate.web.texts import gettext as _

log = structlog.get_logger(__name__)
router = Router()

BACK = "/login/oidc/back"
_COOKIE = "qagate_oidc"
_MINUTES = 10  #: a login at the provider may take this long


@router.get("/login/oidc", rule=PUBLIC)
def leave(site: Here, next: str = "/") -> Response:
    """Send the browser to the provider."""
    provider, attempt = _provider(site), Attempt.new(local_path(next))
    try:
        response = RedirectResponse(provider.address(attempt), 303)
    except OidcError as error:
        raise _failed(error) from error
    response.set_cookie(
        _COOKIE, attempt.sealed(), max_age=60 * _MINUTES, path="/login/oidc", httponly=True, samesite="lax",
        secure=site.settings.web.encrypted,
    )  # fmt: skip
    return response


@router.get(BACK, rule=PUBLIC)
def back(request: Request, site: Here, state: str = "", code: str = "", error: str = "") -> Response:
    """The provider sent the browser back; log the person in."""
    provider = _provider(site)
    try:
        if error or not code:
            raise OidcError(f"the provider said {error[:64] or 'nothing'}")
        attempt = Attempt.opened(request.cookies.get(_COOKIE, ""))
        person = provider.person(attempt, state=state, code=code)
    except OidcError as failure:
        raise _failed(failure) from failure
    if person.role is None:
        raise Problem(
            403, _("You have no role at the gate yet. Ask the administrator for a group that has one.")
        )
    try:
        account = site.accounts.vouched(person.name, person.role.word, source="oidc")
    except (ValueError, NameTaken) as failure:
        raise Problem(403, str(failure)) from failure
    if account.disabled:
        raise Problem(403, _("You may not log in here any more. Ask the administrator."))
    response = RedirectResponse(local_path(attempt.next), 303)
    response.delete_cookie(_COOKIE, path="/login/oidc")
    sessions.begin(site, account, response)
    return response


def _provider(site: Site) -> Provider:
    if site.provider is None:
        raise Problem(404, _("There is no login but by name and password here."))
    return site.provider


def _failed(error: OidcError) -> Problem:
    log.warning("oidc_login_failed", reason=why(error))
    return Problem(502, _("The hospital's login did not work. Try again, or log in by name and password."))
