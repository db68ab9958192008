"""Logging in and out."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import structlog
from fastapi import Form, Request
from fastapi.responses import RedirectResponse, Response

from qagate.store.accounts import Account
from qagate.web.pages import page
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import PUBLIC, passwords, sessions
from qagate.web.site import Site

log = structlog.get_logger(__name__)
router = Router()


def local_path(wanted: str) -> str:
    """A path of our own to go to after login; anything else becomes "/"."""
    plain = wanted.isprintable() and "\\" not in wanted
    return wanted if plain and wanted.startswith("/") and not wanted.startswith("//") else "/"


@router.get("/login", rule=PUBLIC)
def form(request: Request, site: Here, visitor: Visitor, next: str = "/", ended: bool = False) -> Response:
    """The form; someone logged in is led on."""
    if visitor.known:
        return RedirectResponse(local_path(next), 303)
    return _form(request, site, next, ended=ended)


@router.post("/login", rule=PUBLIC)
def log_in(
    request: Request,
    site: Here,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Check name and password; wrong ones are counted, and too many in a row lock the name for a while."""
    account = checked(site, name, password)
    if account is None:
        return _form(request, site, next, name=name[:64], wrong=True)
    response = RedirectResponse(local_path(next), 303)
    sessions.begin(site, account, response)
    return response


@router.post("/logout", rule=PUBLIC)
def log_out(request: Request, site: Here) -> Response:
    """End the login; the back button shows nothing, because pages are not kept by the browser."""
    response = RedirectResponse("/login", 303)
    sessions.end(site, request, response)
    return response


def checked(site: Site, name: str, password: str) -> Account | None:
    """The account, or None; whoever asks cannot tell an unknown name from a wrong password or a lock.

    A wrong password is counted. Raises TooMany.
    """
    account = site.accounts.named(name)
    usable = account is not None and not account.disabled and account.password_hash is not None
    fits = passwords.fits(password[: passwords.MAX_LENGTH], account.password_hash if account else None)
    if account is None or not usable:
        return None
    if account.locked_until is not None and account.locked_until > site.store.now():
        return None
    of = site.settings.web
    if not fits:
        lock = timedelta(minutes=of.lock_minutes)
        locked = site.accounts.wrong_password(
            account.account_id, allowed=of.wrong_passwords, lock_s=lock.total_seconds()
        )
        log.warning("wrong_password", user=account.name, locked=locked)
        return None
    return account


def _form(request: Request, site: Site, next: str, **shown: object) -> Response:
    of = site.settings.web
    known: dict[str, object] = {"name": "", "wrong": False, "ended": False} | shown
    status = 403 if known["wrong"] else 200
    return page(
        request,
        "login.html",
        status=status,
        next=local_path(next),
        oidc=of.oidc.name if of.oidc.issuer else "",
        nobody=not site.accounts.any(),
        tries=of.wrong_passwords,
        minutes=of.lock_minutes,
        **known,
    )
