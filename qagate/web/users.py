"""Control: users and the audit trail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC
from typing import Annotated

from fastapi import Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from qagate.store.accounts import Account
from qagate.store.audit import AuditEntry, Trail
from qagate.web import people
from qagate.web.errors import Problem
from qagate.web.pages import page
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.sheets import csv_answer
from qagate.web.site import Site
from qagate.web.texts import gettext as _

router = Router()

_PAGE = 100
_EXPORTED = 100_000  #: newest acts in one file

Wanted = Annotated[str, Query(max_length=200)]


@router.get("/control/users", rule=Role.ADMIN)
def users(request: Request, site: Here) -> Response:
    """Every user, and the form for a new one."""
    return page(request, "users.html", accounts=site.accounts.all(), present=site.store.now())


@router.post("/control/users", rule=Role.ADMIN)
def add(
    request: Request,
    site: Here,
    visitor: Visitor,
    name: Annotated[str, Form()] = "",
    role: Annotated[str, Form()] = "",
    wall: Annotated[bool, Form()] = False,
) -> Response:
    """Make a user and show the password to hand over."""
    made, password = people.add(site, visitor, name=name, role=_role(role), wall=wall)
    return _user(request, site, made, password=password)


@router.get("/control/users/{name}", rule=Role.ADMIN)
def user(request: Request, site: Here, name: str) -> Response:
    """One user, and what can be changed."""
    return _user(request, site, people.known(site, name))


@router.post("/control/users/{name}", rule=Role.ADMIN)
def change(
    site: Here,
    visitor: Visitor,
    name: str,
    role: Annotated[str, Form()] = "",
    wall: Annotated[bool, Form()] = False,
) -> Response:
    """Set role and wall."""
    account, wanted = people.known(site, name), _role(role)
    people.change(
        site, visitor, name, role=wanted if wanted.word != account.role else None, wall=wall
    )  # an unchanged role ends no login
    return _back(account)


@router.post("/control/users/{name}/disable", rule=Role.ADMIN)
def disable(site: Here, visitor: Visitor, name: str) -> Response:
    """Let a user in no more."""
    if name == visitor.name:
        raise Problem(409, _("You cannot switch yourself off; another administrator can."))
    return _back(people.change(site, visitor, name, disabled=True))


@router.post("/control/users/{name}/enable", rule=Role.ADMIN)
def enable(site: Here, visitor: Visitor, name: str) -> Response:
    """Let a user in again; also unlocks the name."""
    return _back(people.change(site, visitor, name, disabled=False))


@router.post("/control/users/{name}/password", rule=Role.ADMIN)
def password(request: Request, site: Here, visitor: Visitor, name: str) -> Response:
    """Give a user a new password and show it once."""
    made = people.new_password(site, visitor, name)
    return _user(request, site, people.known(site, name), password=made)


@router.get("/control/audit", rule=Role.ADMIN)
def audit(
    request: Request, site: Here, actor: Wanted = "", act: Wanted = "", series: Wanted = "", before: int = 0
) -> Response:
    """Who did what, the newest first."""
    entries = _entries(site.trail, actor, act, series, before, _PAGE + 1)
    return page(
        request,
        "audit.html",
        entries=entries[:_PAGE],
        more=entries[_PAGE - 1].entry_id if len(entries) > _PAGE else None,
        acts=site.trail.acts(),
        wanted={"actor": actor, "act": act, "series": series},
    )


@router.get("/control/audit.csv", rule=Role.ADMIN)
def audit_file(
    site: Here, visitor: Visitor, actor: Wanted = "", act: Wanted = "", series: Wanted = ""
) -> Response:
    """The same as a file, times in UTC."""
    site.audit(visitor, act="export audit trail")
    head = ("number", "at", "actor", "act", "series_instance_uid", "details")
    return csv_answer("qagate-audit.csv", head, _rows(site.trail, actor, act, series))


def _rows(trail: Trail, actor: str, act: str, series: str) -> Iterator[tuple[object, ...]]:
    before, left = 0, _EXPORTED
    while left and (entries := _entries(trail, actor, act, series, before, min(1000, left))):
        for one in entries:
            at = one.at.astimezone(UTC).isoformat()
            yield one.entry_id, at, one.actor, one.act, one.series_instance_uid, json.dumps(dict(one.details))
        before, left = entries[-1].entry_id, left - len(entries)


def _entries(
    trail: Trail, actor: str, act: str, series: str, before: int, limit: int
) -> tuple[AuditEntry, ...]:
    return trail.newest(
        actor=actor.strip() or None,
        act=act or None,
        series_instance_uid=series.strip() or None,
        before_id=before or None,
        limit=limit,
    )


def _user(request: Request, site: Site, account: Account, *, password: str = "") -> Response:
    now = site.store.now()
    locked = account.locked_until is not None and account.locked_until > now
    return page(
        request,
        "user.html",
        account=account,
        locked=locked,
        password=password,
        did=site.trail.newest(actor=account.name, limit=10),
    )


def _back(account: Account) -> Response:
    return RedirectResponse(f"/control/users/{account.name}", 303)


def _role(name: str) -> Role:
    try:
        return Role.named(name)
    except ValueError as error:
        raise Problem(422, str(error)) from error
