"""The ASGI application: routers, security headers, language. Nothing is reachable that names no rule."""

from __future__ import annotations

import time
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qagate import __version__
from qagate.web import (
    account,
    acts,
    console,
    control,
    errors,
    events,
    health,
    hold,
    home,
    label,
    labels_file,
    login,
    models,
    oidc,
    series,
    texts,
    thresholds,
    trends,
    users,
    worklist,
)
from qagate.web.api import accounts as api_accounts
from qagate.web.api import control as api_control
from qagate.web.api import document as api_document
from qagate.web.api import holds as api_holds
from qagate.web.api import images as api_images
from qagate.web.api import ratings as api_ratings
from qagate.web.api import series as api_series
from qagate.web.api import trends as api_trends
from qagate.web.metrics import Requests
from qagate.web.routing import Router, rule_of
from qagate.web.site import Site

ROUTERS: tuple[Router, ...] = (
    home.router,
    login.router,
    oidc.router,
    account.router,
    health.router,
    users.router,
    api_accounts.router,
    api_document.router,
    console.router,
    acts.router,
    worklist.router,
    events.router,
    labels_file.router,
    api_series.router,
    trends.router,
    control.router,
    models.router,
    thresholds.router,
    api_trends.router,
    api_control.router,
    series.router,
    hold.router,
    api_holds.router,
    api_images.router,
    label.router,
    api_ratings.router,
)

MAX_BODY = 1 << 20  #: bytes of a request; nobody sends the pages more than a form

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_STATIC = Path(__file__).parent / "static"


def create(site: Site) -> FastAPI:
    """The application of a site. Raises TypeError for a route without a rule."""
    app = FastAPI(
        title="qagate",
        version=__version__,
        summary="What the pages show, for programs. Send a token: Authorization: Bearer …",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        max_body_size=MAX_BODY,
    )
    app.state.site = site
    app.state.requests = Requests()
    app.state.events = events.Events(site.store, site.stopping)
    for router in ROUTERS:
        router.into(app)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    every_route_has_a_rule(app)
    app.state.paths = frozenset(getattr(route, "path", "") for route in app.routes)
    errors.install(app)
    app.add_middleware(Envelope, site=site, requests=app.state.requests)
    return app


def every_route_has_a_rule(app: FastAPI) -> None:
    """Raise TypeError for a route that names nobody who may use it; static files are for everyone."""
    for route in app.routes:
        static = isinstance(route, Mount) and route.path == "/static"
        if not static and rule_of(route) is None:
            raise TypeError(f"the route {getattr(route, 'path', route)} has no rule")


class Envelope:
    """Around every request: its language, the headers of every answer, how long it took."""

    def __init__(self, app: ASGIApp, *, site: Site, requests: Requests) -> None:
        self._app, self._requests = app, requests
        of = site.settings.web
        self._default = of.language
        self._headers = {
            "content-security-policy": _CSP,
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "permissions-policy": "camera=(), geolocation=(), microphone=()",
            "cache-control": "no-store",
        }
        if of.encrypted:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        chosen = self._speak(scope)
        static = scope["path"].startswith("/static/")
        status, began = 0, time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if static:
                    headers["cache-control"] = "no-cache"  # asked again, answered 304 by its ETag
                if chosen:
                    headers.append("set-cookie", f"lang={chosen}; Path=/; Max-Age=31536000; SameSite=Lax")
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:  # the last edge: whatever a page does, the answer is a sentence
            request = Request(scope, receive)
            if status:  # too late for a sentence; the browser sees the answer break off
                errors.record(request, error)
                raise
            await errors.unexpected(request, error)(scope, receive, send_with_headers)
        finally:
            path = getattr(scope.get("route"), "path", "/static" if static else "other")
            if path != "/events":  # lasts as long as its reader, which would drown the others' times
                self._requests.saw(path, scope["method"], status, time.perf_counter() - began)

    def _speak(self, scope: Scope) -> str | None:
        """Set the language of the request; the one that ?lang= chose, if any."""
        headers = Headers(scope=scope)
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("lang", [""])[0]
        chosen = asked if asked in texts.LANGUAGES else None
        kept = SimpleCookie(headers.get("cookie", "")).get("lang")
        known = kept.value if kept is not None and kept.value in texts.LANGUAGES else None
        texts.speak(chosen or known or texts.negotiated(headers.get("accept-language", ""), self._default))
        return chosen
