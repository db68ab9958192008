"""Login through a provider: a small one of our own, whose answers a test can spoil."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from qagate.config import Settings
from qagate.config_web import OidcSettings, WebSettings
from qagate.store.engine import Store
from qagate.web.application import create
from qagate.web.security import Role
from qagate.web.security.oidc import Provider
from qagate.web.site import Site, make_site

jwt = pytest.importorskip("joserfc.jwt", reason="the extra oidc is not installed")
pytest.importorskip("authlib", reason="the extra oidc is not installed")


@functools.cache
def key(kid: str, which: str = "") -> Any:
    """A signing key; making one takes a while."""
    from joserfc.jwk import RSAKey

    return RSAKey.generate_key(2048, {"kid": kid})


class FakeProvider(ThreadingHTTPServer):
    """Knows one person; `claims` and `header` go into the next ID token as they stand."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = f"http://127.0.0.1:{self.server_port}"
        self.key = key("k1")
        self.signing_key, self.claims = self.key, {}
        self.asked: dict[str, str] = {}

    def answer(self, path: str, body: dict[str, str]) -> Any:
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/auth",
                "token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/keys",
            }  # fmt: skip
        if path == "/keys":
            return {"keys": [self.key.as_dict(private=False)]}
        self.asked = body
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": "qagate", "sub": "1", "iat": now, "exp": now + 60,
            "preferred_username": "Eve", "groups": ["staff", "physics"],
        } | self.claims  # fmt: skip
        token = jwt.encode({"alg": "RS256", "kid": self.signing_key.kid}, claims, self.signing_key)
        return {"access_token": "x", "token_type": "Bearer", "id_token": token}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._answer({key: values[0] for key, values in parse_qs(text).items()})

    def _answer(self, body: dict[str, str]) -> None:
        assert isinstance(self.server, FakeProvider)
        data = json.dumps(self.server.answer(self.path, body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    server = FakeProvider()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def oidc_site(settings: Settings, sqlite_store: Store, provider: FakeProvider) -> Site:
    of = OidcSettings(issuer=provider.issuer, client_id="qagate", client_secret="s", physicist=("physics",))
    web = WebSettings(oidc=of, public_url="http://testserver")
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    return make_site(settings.model_copy(update={"web": web}), sqlite_store)


@pytest.fixture
def browser(oidc_site: Site, browse: Any) -> Any:
    return browse(create(oidc_site))


def come_back(browser: Any, provider: FakeProvider, *, state: str = "", next: str = "/account") -> Any:
    """Leave for the provider, log in there, come back."""
    left = browser.get("/login/oidc", params={"next": next})
    assert left.status_code == 303 and left.headers["location"].startswith(f"{provider.issuer}/auth?")
    asked = {key: values[0] for key, values in parse_qs(urlsplit(left.headers["location"]).query).items()}
    assert asked["code_challenge_method"] == "S256" and asked["response_type"] == "code"
    provider.claims.setdefault("nonce", asked["nonce"])
    return browser.get("/login/oidc/back", params={"state": state or asked["state"], "code": "c"})


def test_the_provider_vouches(browser: Any, provider: FakeProvider, oidc_site: Site) -> None:
    assert "Hospital login" in browser.get("/login").text
    answer = come_back(browser, provider)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    assert "You are eve, physicist." in browser.get("/account").text
    assert provider.asked["redirect_uri"] == "http://testserver/login/oidc/back"
    assert len(provider.asked["code_verifier"]) >= 43
    (account,) = oidc_site.accounts.all()
    assert (account.source, account.password_hash) == ("oidc", None)


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example"}, {"aud": "another"}, {"exp": 1}, {"nonce": "of another login"},
        {"azp": "another"}, {"preferred_username": ""}, {"preferred_username": 7}, {"sub": None},
    ],
)  # fmt: skip
def test_a_token_that_does_not_fit_opens_nothing(
    browser: Any, provider: FakeProvider, claims: dict[str, Any]
) -> None:
    provider.claims = dict(claims)
    answer = come_back(browser, provider)
    assert answer.status_code == 502 and "did not work" in answer.text
    assert browser.get("/account").status_code == 303


def test_a_foreign_signature_opens_nothing(browser: Any, provider: FakeProvider) -> None:
    provider.signing_key = key("k1", "another")
    assert come_back(browser, provider).status_code == 502


def test_new_keys_of_the_provider_are_fetched(browser: Any, provider: FakeProvider) -> None:
    assert come_back(browser, provider).status_code == 303
    provider.claims = {}
    provider.key = provider.signing_key = key("k2")
    assert come_back(browser, provider).status_code == 303


def test_the_answer_to_someone_elses_login_opens_nothing(browser: Any, provider: FakeProvider) -> None:
    assert come_back(browser, provider, state="invented").status_code == 502
    browser.cookies.clear()
    assert browser.get("/login/oidc/back", params={"state": "s", "code": "c"}).status_code == 502
    assert browser.get("/login/oidc/back", params={"error": "access_denied"}).status_code == 502


def test_without_a_group_nobody_gets_in(browser: Any, provider: FakeProvider) -> None:
    provider.claims = {"groups": ["staff"]}
    answer = come_back(browser, provider)
    assert answer.status_code == 403 and "no role" in answer.text


def test_a_local_name_is_not_taken_over(browser: Any, provider: FakeProvider, oidc_site: Site) -> None:
    oidc_site.accounts.add("eve", "admin", actor="test")
    assert come_back(browser, provider).status_code == 403


def test_who_was_switched_off_stays_out(browser: Any, provider: FakeProvider, oidc_site: Site) -> None:
    oidc_site.accounts.vouched("eve", "viewer", source="oidc")
    oidc_site.accounts.change("eve", actor="test", disabled=True)
    assert come_back(browser, provider).status_code == 403
    assert browser.get("/account").status_code == 303


def test_the_highest_role_of_all_groups_counts() -> None:
    of = OidcSettings(issuer="https://x.example", client_id="q", viewer=("all",), admin=("it",))
    made = Provider(of, redirect_uri="")
    assert made.role(["all", "it"]) is Role.ADMIN and made.role("all") is Role.VIEWER
    assert made.role([]) is None and made.role(None) is None and made.role(7) is None


def test_a_provider_that_is_away_is_said_so(browser: Any, provider: FakeProvider) -> None:
    provider.shutdown()
    provider.server_close()
    answer = browser.get("/login/oidc")
    assert answer.status_code == 502 and "log in by name and password" in answer.text


def test_without_settings_there_is_no_such_login(outsider: Any) -> None:
    assert outsider.get("/login/oidc").status_code == outsider.get("/login/oidc/back").status_code == 404
    assert "/login/oidc" not in outsider.get("/login").text
