"""The way in, and help."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from qagate.web.pages import page
from qagate.web.routing import Router
from qagate.web.security import PUBLIC, Role

router = Router()


@router.get("/", rule=Role.VIEWER)
def home(request: Request) -> Response:
    """The console, which is what people come for."""
    return RedirectResponse("/console", 303)


@router.get("/help", rule=Role.VIEWER)
def help_page(request: Request) -> Response:
    """What the words, colours and keys mean."""
    return page(request, "help.html")


@router.get("/favicon.ico", rule=PUBLIC)
def favicon() -> Response:
    """Browsers ask for it whatever the page says."""
    return RedirectResponse("/static/favicon.svg", 301)
