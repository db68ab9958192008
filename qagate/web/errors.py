"""What goes wrong, told as one plain sentence with the mend: a page for people, JSON for programs."""

from __future__ import annotations

import contextlib
import secrets
from http import HTTPStatus
from urllib.parse import urlencode, urlsplit

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from qagate.reason import place, why
from qagate.store.errors import StoreError, StoreUnavailable
from qagate.web.pages import page
from qagate.web.security.admission import identify
from qagate.web.security.passwords import TooMany
from qagate.web.texts import gettext as _

log = structlog.get_logger(__name__)


class Problem(Exception):
    """What was asked cannot be done; `detail` says why and what to do."""

    def __init__(self, status: int, detail: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


class LoginNeeded(Exception):
    """Nobody is logged in, or no longer."""


def wants_json(request: Request) -> bool:
    """Whether a program asks: under /api/, or a script that accepts JSON."""
    accept = request.headers.get("accept", "")
    return request.url.path.startswith("/api/") or ("json" in accept and "text/html" not in accept)


def answer(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """One problem as RFC 9457 JSON or as a page."""
    title = HTTPStatus(status).phrase
    if wants_json(request):
        body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        return JSONResponse(body, status, headers, media_type="application/problem+json")
    response = page(request, "error.html", status=status, heading=_heading(status), detail=detail)
    response.headers.update(headers or {})
    return response


def install(app: FastAPI) -> None:
    """Answer every exception that a route may raise."""

    @app.exception_handler(Problem)
    def _problem(request: Request, error: Problem) -> Response:
        return answer(request, error.status, error.detail, error.headers)

    @app.exception_handler(LoginNeeded)
    def _login(request: Request, _error: LoginNeeded) -> Response:
        if wants_json(request):
            ended = _("You are not logged in, or your login has ended: log in again.")
            return answer(request, 401, ended, {"WWW-Authenticate": "Bearer"})
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        query = {"next": back}
        if request.method not in ("GET", "HEAD"):
            query = {"next": _referer(request), "ended": "1"}
        return RedirectResponse(f"/login?{urlencode(query)}", 303)

    @app.exception_handler(TooMany)
    def _flood(request: Request, _error: TooMany) -> Response:
        detail = _("Too many people log in at once. Wait a few seconds, then try again.")
        return answer(request, 429, detail, {"Retry-After": "5"})

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> Response:
        # The value itself stays out: it may be anything that somebody pasted.
        said = "; ".join(f"{_place(one['loc'])}: {one['msg']}" for one in error.errors()[:5])
        return answer(request, 422, _("What was sent cannot be used: %(said)s.", said=said))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        known = {
            404: _("There is no such page. It may have moved; the worklist shows every series."),
            405: _("This address cannot be used that way; go back and use the button of the page."),
            413: _("What was sent is too large."),
        }
        detail = known.get(error.status_code) or str(error.detail)
        _recognise(request)
        return answer(request, error.status_code, detail, dict(error.headers or {}))

    @app.exception_handler(StoreError)
    def _store(request: Request, error: StoreError) -> Response:
        if isinstance(error, StoreUnavailable):
            return answer(request, 503, str(error), {"Retry-After": "2"})
        return answer(request, 409, str(error))


def record(request: Request, error: Exception) -> str:
    """Log what no handler knows, its place and nothing of its text; the number to find it by."""
    number = secrets.token_hex(4)
    route = getattr(request.scope.get("route"), "path", "")
    log.error("page_failed", number=number, path=route, error=why(error), place=place(error.__traceback__))
    return number


def unexpected(request: Request, error: Exception) -> Response:
    """The answer to what no handler knows: a number for people to pass on."""
    number = record(request, error)
    return answer(
        request,
        500,
        _("qagate failed here. Try again; if it stays, tell the administrator number %(n)s.", n=number),
    )


def _recognise(request: Request) -> None:
    """No route was found, so nobody asked yet who this is; the page is easier to leave when it is known."""
    if not hasattr(request.state, "visitor") and not wants_json(request):
        with contextlib.suppress(StoreError):
            request.state.visitor = identify(request.app.state.site, request)


def _heading(status: int) -> str:
    return {
        403: _("Not allowed"),
        404: _("Not found"),
        409: _("That does not go now"),
        422: _("Not understood"),
        503: _("The gate is busy"),
    }.get(status) or _("Something is wrong")


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location[1:]) or str(location[0])


def _referer(request: Request) -> str:
    """The path of the page the visitor was on, so that logging in leads back there."""
    parts = urlsplit(request.headers.get("referer", ""))
    same = parts.netloc == request.headers.get("host", "")
    return (parts.path + (f"?{parts.query}" if parts.query else "")) if same and parts.path else "/"
