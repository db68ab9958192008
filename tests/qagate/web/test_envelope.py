"""What is around every page: headers, language, errors told as sentences, what monitoring asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from qagate.assessment import Verdict
from qagate.config import Settings
from qagate.config_web import WebSettings
from qagate.store.errors import StoreError, StoreUnavailable
from qagate.web.application import MAX_BODY, create
from qagate.web.errors import Problem
from qagate.web.routing import Guard, Router
from qagate.web.security import PUBLIC, Role
from qagate.web.site import Site, make_site


@pytest.mark.parametrize(
    "path", ["/login", "/account", "/nothing", "/static/base.css", "/api/v1/me", "/healthz"]
)
def test_every_answer_is_fenced_in(outsider: Any, path: str) -> None:
    headers = outsider.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == ("no-cache" if path.startswith("/static/") else "no-store")
    assert "server" not in headers


def test_static_files_are_asked_for_again_and_not_sent_again(outsider: Any) -> None:
    first = outsider.get("/static/base.css")
    again = outsider.get("/static/base.css", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    for path in ("/static/../application.py", "/static/%2e%2e/application.py", "/static//etc/passwd"):
        assert outsider.get(path).status_code == 404


def test_the_language_is_what_was_chosen_or_what_the_browser_asks(outsider: Any) -> None:
    def spoken(**options: Any) -> str:
        return str(outsider.get("/login", **options).text.split('lang="')[1][:2])

    assert spoken() == "en"
    assert spoken(headers={"Accept-Language": "fr-FR, de-AT;q=0.7, en;q=0.3"}) == "de"
    assert spoken(headers={"Accept-Language": "xx;q=1;q=y,," + "z" * 9000}) == "en"
    answer = outsider.get("/login?lang=de")
    assert "lang=de;" in answer.headers["set-cookie"] and '<html lang="de"' in answer.text
    assert spoken(headers={"Accept-Language": "en"}) == "de", "the choice lasts"
    assert spoken(params={"lang": "../../etc"}) == "de"


def test_the_settings_language_is_the_last_resort(settings: Settings, site: Site, browse: Any) -> None:
    german = settings.model_copy(update={"web": WebSettings(language="de")})
    assert '<html lang="de"' in browse(create(make_site(german, site.store))).get("/login").text


def test_an_unknown_page_is_a_sentence_for_people_and_json_for_programs(outsider: Any, viewer: Any) -> None:
    page = viewer.get("/nothing/here")
    assert page.status_code == 404 and "There is no such page" in page.text
    assert "Log out" in page.text, "who is in stays in"
    assert "Log out" not in outsider.get("/nothing/here").text
    answer = outsider.get("/api/v1/nothing")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank", "title": "Not Found", "status": 404, "detail": answer.json()["detail"],
    }  # fmt: skip
    assert outsider.post("/healthz").status_code == 405


def raising(app: FastAPI, error: Exception) -> TestClient:
    router = Router()

    @router.get("/raise", rule=PUBLIC)
    def endpoint() -> None:
        raise error

    router.into(app)
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (Problem(409, "Someone was faster: look again."), 409, "Someone was faster: look again."),
        (StoreError("the database is read-only: mend it"), 409, "mend it"),
        (StoreUnavailable("the database is locked: retry"), 503, "retry"),
        (RuntimeError("Müller^Anna"), 500, "qagate failed here."),
        (ValueError("Müller^Anna"), 500, "tell the administrator number"),
    ],
)
def test_what_a_route_raises_becomes_a_sentence(
    app: FastAPI, error: Exception, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = raising(app, error).get("/raise")
    assert answer.status_code == status and said in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    out = capsys.readouterr()
    assert "Müller" not in answer.text + out.out + out.err and "Traceback" not in answer.text
    assert status != 500 or ("page_failed" in out.out and "place=qagate.web.application:" in out.out)


def test_bad_parameters_are_named_and_not_repeated(viewer: Any, admin: Any) -> None:
    answer = admin.get("/control/audit?before=<script>alert(1)</script>")
    assert answer.status_code == 422 and "before" in answer.text and "alert(1)" not in answer.text
    answer = admin.get("/api/v1/audit?limit=0")
    assert answer.status_code == 422 and "limit" in answer.json()["detail"]


def test_a_flood_in_one_request_is_refused(viewer: Any) -> None:
    body = {"csrf": viewer.proof(), "theme": "x" * (MAX_BODY + 1)}
    assert viewer.post("/account/theme", data=body).status_code == 413


def test_ready_says_what_is_missing(outsider: Any, site: Site, settings: Settings) -> None:
    assert outsider.get("/healthz").text == "ok\n"
    answer = outsider.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"database": True, "spool": True, "warnings": []})
    settings.spool_dir.rename(settings.spool_dir.with_name("gone"))
    answer = outsider.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"database": True, "spool": False, "warnings": []})


def test_metrics_count_and_name_nobody(
    outsider: Any, viewer: Any, seed: Callable[..., str], site: Site, app: FastAPI
) -> None:
    uid = seed(Verdict.REPEAT, protocol_name="Müller Schädel")
    viewer.get("/account?secret=1")
    assert outsider.get("/metrics").status_code == 303
    text = viewer.get("/metrics").text
    for line in (
        'qagate_series{state="DELIVERED"} 1.0', 'qagate_series{state="FAILED"} 0.0',
        'qagate_verdicts_last_hour{verdict="REPEAT"} 1.0',
        'qagate_web_requests_total{method="GET",route="/account",status="200"} 1.0',
    ):  # fmt: skip
        assert line in text, text
    assert uid not in text and "Müller" not in text and "secret" not in text


def test_a_scraper_uses_a_token(outsider: Any, site: Site, viewer: Any) -> None:
    page = viewer.submit("/account/tokens", name="prometheus", days="0").text
    token = page.split('class="secret">')[1].split("<")[0]
    assert token not in viewer.get("/account").text, "shown once"
    headers = {"Authorization": f"Bearer {token}"}
    assert outsider.get("/metrics", headers=headers).status_code == 200
    assert outsider.get("/api/v1/me", headers=headers).json() == {"name": "viewer", "role": "viewer"}
    assert outsider.post("/account/theme", data={"theme": "dark"}, headers=headers).status_code == 303
    (kept,) = site.logins.tokens(1)
    assert viewer.submit(f"/account/tokens/{kept.token_id}/revoke").status_code == 303
    assert outsider.get("/api/v1/me", headers=headers).status_code == 401
    assert viewer.submit(f"/account/tokens/{kept.token_id}/revoke").status_code == 409
    assert viewer.submit("/account/tokens", name=" ", days="1").status_code == 422


def proxied(settings: Settings, site: Site, browse: Any, *, peer: str) -> Any:
    web = WebSettings(behind_proxy=True, user_header="X-Remote-User", proxy_addresses=("10.0.0.0/8",))
    app = create(make_site(settings.model_copy(update={"web": web}), site.store))
    browser = browse(app, "https://testserver")
    browser._transport.client = (peer, 50000)
    return browser


def test_the_proxys_word_counts_from_the_proxy_alone(settings: Settings, site: Site, browse: Any) -> None:
    site.accounts.add("eve", "physicist", actor="test", source="proxy")
    headers = {"X-Remote-User": "Eve"}
    trusted, foreign = (proxied(settings, site, browse, peer=peer) for peer in ("10.1.2.3", "192.168.0.9"))
    assert "You are eve, physicist." in trusted.get("/account", headers=headers).text
    assert trusted.get("/account", headers={"X-Remote-User": "nobody"}).status_code == 303
    assert foreign.get("/account", headers=headers).status_code == 303
    assert trusted.post("/account/theme", headers=headers, data={"theme": "dark"}).status_code == 403
    proof = trusted.get("/account", headers=headers).text.split('name="csrf" value="')[1][:64]
    answer = trusted.post("/account/theme", headers=headers, data={"theme": "dark", "csrf": proof})
    assert answer.status_code == 303
    site.accounts.change("eve", actor="test", disabled=True)
    assert trusted.get("/account", headers=headers).status_code == 303


def test_without_the_setting_no_header_is_believed(outsider: Any, site: Site) -> None:
    site.accounts.add("eve", "admin", actor="test", source="proxy")
    assert outsider.get("/account", headers={"X-Remote-User": "eve"}).status_code == 303


def test_the_guard_comes_first(app: FastAPI) -> None:
    """A body that cannot be read tells an outsider nothing about the route."""
    answer = TestClient(app).post("/api/v1/users", content="{", headers={"Content-Type": "application/json"})
    assert answer.status_code in (401, 422) and "name" not in json.dumps(answer.json())
    assert isinstance(Guard(Role.ADMIN).rule, Role)
