"""Routes that name who may use them. A route without a rule cannot be written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request
from starlette.concurrency import run_in_threadpool

from qagate.web.errors import LoginNeeded, Problem
from qagate.web.navigation import role_word
from qagate.web.security import Public, Role, Rule
from qagate.web.security import Visitor as VisitorType
from qagate.web.security.admission import SAFE_METHODS, expected_token, identify
from qagate.web.security.forms import proves, sent_token
from qagate.web.site import Site
from qagate.web.texts import gettext as _


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


def _visitor(request: Request) -> VisitorType:
    visitor: VisitorType = request.state.visitor
    return visitor


Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Here = Annotated[Site, Depends(_site)]
Visitor = Annotated[VisitorType, Depends(_visitor)]


class Guard:
    """The first dependency of every route: knows the visitor, asks the rule, asks forms for their proof."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    async def __call__(self, request: Request) -> None:
        site = _site(request)
        visitor = await run_in_threadpool(identify, site, request)
        request.state.visitor = visitor
        if isinstance(self.rule, Role):
            if not visitor.known:
                raise LoginNeeded
            if not visitor.may(self.rule):
                raise Problem(
                    403,
                    _(
                        "This needs the role %(needed)s; you are %(role)s. Ask the administrator for it.",
                        needed=role_word(self.rule),
                        role=role_word(visitor.role),
                    ),
                )
        if request.method not in SAFE_METHODS:
            await _prove(request, visitor)


async def _prove(request: Request, visitor: VisitorType) -> None:
    expected = expected_token(request, visitor)
    if not expected:
        return
    foreign = request.headers.get("sec-fetch-site", "same-origin") in ("cross-site", "same-site")
    if foreign or not proves(await sent_token(request), expected):
        raise Problem(403, _("The page you clicked on is too old. Load it again, then repeat the click."))


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem (RFC 9457); `detail` names the mend.",
        "content": {
            "application/problem+json": {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                    },
                }
            }
        },
    }
}


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    path: str
    endpoint: Callable[..., Any]
    rule: Rule
    options: dict[str, Any]


class Router:
    """Collects the routes of one module; `rule` is who may use each, PUBLIC or the least role."""

    def __init__(self, *, prefix: str = "", tags: list[str] | None = None, schema: bool = False) -> None:
        """`schema`: whether OpenAPI shows the routes; true of /api/v1 alone."""
        self._prefix, self._tags, self._schema = prefix, tags or [], schema
        self._routes: list[_Route] = []

    def get(self, path: str, *, rule: Rule, **options: Any) -> Callable[[Endpoint], Endpoint]:
        """A route that only looks."""
        return self._add("GET", path, rule, options)

    def post(self, path: str, *, rule: Rule, **options: Any) -> Callable[[Endpoint], Endpoint]:
        """A route that does something."""
        return self._add("POST", path, rule, options)

    def put(self, path: str, *, rule: Rule, **options: Any) -> Callable[[Endpoint], Endpoint]:
        """A route that sets something."""
        return self._add("PUT", path, rule, options)

    def delete(self, path: str, *, rule: Rule, **options: Any) -> Callable[[Endpoint], Endpoint]:
        """A route that takes something away."""
        return self._add("DELETE", path, rule, options)

    def into(self, app: FastAPI) -> None:
        """Give the application these routes, each behind its guard."""
        for route in self._routes:
            options: dict[str, Any] = {"include_in_schema": self._schema, "tags": self._tags}
            if self._schema:
                options["responses"] = _PROBLEMS
            app.add_api_route(
                self._prefix + route.path,
                route.endpoint,
                methods=[route.method],
                dependencies=[Depends(Guard(route.rule))],
                **(options | route.options),
            )

    def _add(
        self, method: str, path: str, rule: Rule, options: dict[str, Any]
    ) -> Callable[[Endpoint], Endpoint]:
        if not isinstance(rule, Role | Public):
            raise TypeError(f"{method} {path}: rule is PUBLIC or a Role, not {rule!r}")

        def take(endpoint: Endpoint) -> Endpoint:
            self._routes.append(_Route(method, path, endpoint, rule, options))
            return endpoint

        return take


def rule_of(route: object) -> Rule | None:
    """The rule of an application's route; None when it has none."""
    for dependency in getattr(route, "dependencies", ()):
        if isinstance(dependency.dependency, Guard):
            return dependency.dependency.rule
    return None
