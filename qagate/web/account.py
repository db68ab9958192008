"""A person's own account: password, tokens, language and light."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import Form, Request
from fastapi.responses import RedirectResponse, Response

from qagate.store.accounts import Account
from qagate.web.errors import Problem
from qagate.web.login import checked
from qagate.web.pages import page
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role, passwords, sessions
from qagate.web.site import Site
from qagate.web.texts import gettext as _

router = Router()

_MAX_TOKEN_NAME = 64


@router.get("/account", rule=Role.VIEWER)
def account_page(request: Request, site: Here, visitor: Visitor, changed: bool = False) -> Response:
    """What the visitor may change about themselves."""
    return _page(request, site, visitor, said=_("The password is changed.") if changed else "")


@router.post("/account/password", rule=Role.VIEWER)
def change_password(
    request: Request,
    site: Here,
    visitor: Visitor,
    present: Annotated[str, Form()] = "",
    new: Annotated[str, Form()] = "",
    again: Annotated[str, Form()] = "",
) -> Response:
    """Change the visitor's own password; other browsers are logged out."""
    mine = _mine(site, visitor)
    wrong = None
    if mine.source != "local":
        wrong = _("Your password is not kept here; change it where you log in.")
    elif checked(site, visitor.name, present) is None:
        wrong = _("The present password is not right; type it again.")
    elif new != again:
        wrong = _("The two new passwords differ; type the same twice.")
    else:
        wrong = passwords.problem(new, visitor.name)
    if wrong:
        return _page(request, site, visitor, wrong=wrong, status=422)
    changed = site.accounts.change(visitor.name, actor=visitor.name, password_hash=passwords.hashed(new))
    response = RedirectResponse("/account?changed=1", 303)
    sessions.begin(site, changed, response)
    return response


@router.post("/account/tokens", rule=Role.VIEWER)
def add_token(
    request: Request,
    site: Here,
    visitor: Visitor,
    name: Annotated[str, Form()] = "",
    days: Annotated[int, Form(ge=0, le=3650)] = 365,
) -> Response:
    """Make a token; it is shown this once."""
    if not name.strip() or len(name) > _MAX_TOKEN_NAME or not name.isprintable():
        wrong = _("Name the program that will use the token, in 1 to 64 characters.")
        return _page(request, site, visitor, wrong=wrong, status=422)
    token = sessions.new_token()
    expires_at = site.store.now() + timedelta(days=days) if days else None
    site.logins.add_token(
        _mine(site, visitor), name.strip(), sessions.fingerprint(token), actor=visitor.name,
        expires_at=expires_at,
    )  # fmt: skip
    return _page(request, site, visitor, token=token)


@router.post("/account/tokens/{token_id}/revoke", rule=Role.VIEWER)
def revoke_token(site: Here, visitor: Visitor, token_id: int) -> Response:
    """Make a token worthless at once."""
    site.logins.revoke(visitor.account_id, token_id, actor=visitor.name)
    return RedirectResponse("/account", 303)


@router.post("/account/theme", rule=Role.VIEWER)
def set_theme(request: Request, theme: Annotated[str, Form()] = "auto") -> Response:
    """Light, dark, or as the machine is set."""
    if theme not in ("auto", "light", "dark"):
        raise Problem(422, _("The pages can be light, dark or auto."))
    response = RedirectResponse("/account", 303)
    response.set_cookie("theme", theme, max_age=31_536_000, samesite="lax")
    return response


def _mine(site: Site, visitor: Visitor) -> Account:
    found = site.accounts.named(visitor.name)
    if found is None:
        raise Problem(403, _("Your account is gone; ask the administrator."))
    return found


def _page(
    request: Request,
    site: Site,
    visitor: Visitor,
    *,
    said: str = "",
    wrong: str = "",
    token: str = "",
    status: int = 200,
) -> Response:
    return page(
        request,
        "account.html",
        status=status,
        local=_mine(site, visitor).source == "local",
        least=passwords.MIN_LENGTH,
        tokens=site.logins.tokens(visitor.account_id),
        said=said,
        wrong=wrong,
        token=token,
    )
