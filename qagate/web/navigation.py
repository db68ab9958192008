"""The pages that the head of every page leads to."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from qagate.web.security import Role, Visitor
from qagate.web.texts import gettext as _


@dataclass(frozen=True, slots=True)
class Entry:
    """One link."""

    path: str
    word: str
    icon: str
    key: str  #: after g
    here: bool


def navigation(request: Request, visitor: Visitor) -> list[Entry]:
    """The links that the visitor may follow."""
    wanted = (
        ("/console", _("Console"), "screen", "c", Role.VIEWER),
        ("/worklist", _("Worklist"), "list", "w", Role.VIEWER),
        ("/label", _("Label"), "tag", "l", Role.PHYSICIST),
        ("/trends", _("Trends"), "chart", "t", Role.VIEWER),
        ("/control", _("Control"), "sliders", "k", Role.PHYSICIST),
    )
    here = request.url.path
    return [
        Entry(path, word, icon, key, here == path or here.startswith(f"{path}/"))
        for path, word, icon, key, role in wanted
        if visitor.may(role) and path in request.app.state.paths
    ]


def control_tabs(request: Request, visitor: Visitor) -> list[Entry]:
    """The sub-pages of Control that the visitor may open."""
    wanted = (
        ("/control", _("Health"), "gate", Role.PHYSICIST),
        ("/control/models", _("Models"), "chart", Role.PHYSICIST),
        ("/control/thresholds", _("Thresholds"), "sliders", Role.PHYSICIST),
        ("/control/users", _("Users"), "person", Role.ADMIN),
        ("/control/audit", _("Audit trail"), "list", Role.ADMIN),
    )
    here = request.url.path
    return [
        Entry(path, word, icon, "", here == path or (path != "/control" and here.startswith(f"{path}/")))
        for path, word, icon, role in wanted
        if visitor.may(role) and path in request.app.state.paths
    ]


def role_word(role: Role | None) -> str:
    """A role in the visitor's language."""
    return {
        Role.VIEWER: _("viewer"),
        Role.RADIOGRAPHER: _("radiographer"),
        Role.PHYSICIST: _("physicist"),
        Role.ADMIN: _("administrator"),
    }.get(role or Role.VIEWER, "")


def in_language(request: Request, code: str) -> str:
    """The present page in another language."""
    url = request.url.include_query_params(lang=code)
    return f"{url.path}?{url.query}"
