"""An outsider gets nothing; each role gets what it may. Holds for every route there is or will be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from qagate.web.application import every_route_has_a_rule
from qagate.web.routing import Router, rule_of
from qagate.web.security import PUBLIC, Role

PUBLIC_ROUTES = {
    ("GET", "/login"), ("POST", "/login"), ("POST", "/logout"), ("GET", "/login/oidc"),
    ("GET", "/login/oidc/back"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/favicon.ico"),
}  # fmt: skip
ENDLESS = {"/events"}  # streams that last as long as their reader; tests of their own open them
NAMES = {"name": "nobody", "fmt": "csv", "format": "csv", "kind": "csv"}


def routes(app: FastAPI) -> Iterator[tuple[str, str, str, Any]]:
    """Method, path with its blanks filled in, path as declared, rule."""
    for route in app.routes:
        if isinstance(route, APIRoute):
            path = re.sub(r"\{(\w+)(:\w+)?\}", lambda found: NAMES.get(found[1], "1"), route.path)
            for method in route.methods - {"HEAD"}:
                yield method, path, route.path, rule_of(route)


def refused(response: Any) -> bool:
    """Sent to the login, or told 401 as a program."""
    return response.status_code == 401 or (
        response.status_code == 303 and response.headers["location"].startswith("/login?")
    )


def test_only_these_are_public(app: FastAPI) -> None:
    public = {(method, path) for method, _, path, rule in routes(app) if rule is PUBLIC}
    assert public <= PUBLIC_ROUTES


def test_an_outsider_gets_nothing(app: FastAPI, outsider: Any) -> None:
    asked = 0
    for method, path, _, rule in routes(app):
        if isinstance(rule, Role):
            response = outsider.request(method, path)
            assert refused(response), (method, path, response.status_code)
            assert path in ("/login",) or "series" not in response.text.lower(), (method, path)
            asked += 1
    assert asked >= 20


@pytest.mark.parametrize("authorization", ["Bearer qagate_invented", "Bearer ", "Basic YWRtaW46YWRtaW4="])
def test_an_invented_token_opens_nothing(app: FastAPI, outsider: Any, authorization: str) -> None:
    for method, path, _, rule in routes(app):
        if isinstance(rule, Role):
            response = outsider.request(method, path, headers={"Authorization": authorization})
            assert refused(response), (method, path, response.status_code)


@pytest.mark.parametrize("role", list(Role))
def test_each_role_gets_what_it_may(app: FastAPI, login: Callable[..., Any], role: Role) -> None:
    browser, allowed = login(role), 0
    headers = {"X-CSRF-Token": browser.proof()}
    for method, path, declared, rule in routes(app):
        if not isinstance(rule, Role) or declared in ENDLESS:
            continue
        if role < rule:
            response = browser.request(method, path, headers=headers)
            assert response.status_code == 403, (method, path, response.status_code)
        elif method == "GET":
            response = browser.request(method, path, headers=headers)
            assert response.status_code not in (401, 403, 500), (method, path, response.status_code)
            assert not refused(response), (method, path)
            allowed += 1
    assert allowed >= 4


def test_nothing_is_done_without_the_pages_own_proof(app: FastAPI, admin: Any) -> None:
    for method, path, _, rule in routes(app):
        if method == "GET" or (rule is PUBLIC and path == "/logout"):
            continue
        for headers in ({}, {"X-CSRF-Token": "0" * 64}):
            response = admin.request(method, path, headers=headers)
            assert response.status_code == 403, (method, path, response.status_code)


def test_a_foreign_page_is_refused_even_with_the_proof(admin: Any) -> None:
    headers = {"X-CSRF-Token": admin.proof(), "Sec-Fetch-Site": "cross-site"}
    assert admin.post("/account/theme", data={"theme": "dark"}, headers=headers).status_code == 403
    headers["Sec-Fetch-Site"] = "same-origin"
    assert admin.post("/account/theme", data={"theme": "dark"}, headers=headers).status_code == 303


def test_a_route_without_a_rule_stops_the_start(app: FastAPI) -> None:
    app.add_api_route("/forgotten", lambda: {})
    with pytest.raises(TypeError, match=r"/forgotten has no rule"):
        every_route_has_a_rule(app)


def test_a_rule_is_a_role_or_public() -> None:
    with pytest.raises(TypeError, match="rule is PUBLIC or a Role"):
        Router().get("/x", rule="viewer")  # type: ignore[arg-type]
