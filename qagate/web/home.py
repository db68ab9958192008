"""The way in, and help."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.routing import APIRoute

from qagate.web.pages import page
from qagate.web.routing import Here, Router, rule_of
from qagate.web.security import PUBLIC, Role

router = Router()


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing programs can ask."""

    method: str
    path: str
    about: str
    role: Role | None  #: the least that may; None: everyone


@router.get("/", rule=Role.VIEWER)
def home(request: Request) -> Response:
    """The console, which is what people come for."""
    return RedirectResponse("/console", 303)


@router.get("/help", rule=Role.VIEWER)
def help_page(request: Request) -> Response:
    """What the words, colours and keys mean."""
    return page(request, "help.html")


@router.get("/help/api", rule=Role.VIEWER)
def api_page(request: Request, site: Here) -> Response:
    """What programs can ask, and who may."""
    address = (site.settings.web.public_url or str(request.base_url)).rstrip("/")
    return page(request, "api.html", groups=_operations(request.app), address=address)


def _operations(app: FastAPI) -> dict[str, list[Operation]]:
    """The routes of the OpenAPI document by tag, in its order."""
    groups: dict[str, list[Operation]] = {}
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            about = (route.description or "").partition("\n")[0]
            rule = rule_of(route)
            for method in sorted(route.methods or ()):
                made = Operation(method, route.path, about, rule if isinstance(rule, Role) else None)
                groups.setdefault(str(route.tags[0]) if route.tags else "", []).append(made)
    return groups


@router.get("/favicon.ico", rule=PUBLIC)
def favicon() -> Response:
    """Browsers ask for it whatever the page says."""
    return RedirectResponse("/static/favicon.svg", 301)
