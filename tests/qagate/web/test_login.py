"""Logging in: passwords, lock-out, the cookie, how a login ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from neighbours import until

from qagate.config import Settings
from qagate.config_web import WebSettings
from qagate.web.application import create
from qagate.web.login import local_path
from qagate.web.security import Role, passwords
from qagate.web.site import Site, make_site

PASSWORD = "three quiet lemons"


@pytest.fixture
def rudi(site: Site) -> str:
    """A radiographer with a password."""
    site.accounts.add("rudi", "radiographer", actor="test", password_hash=passwords.hashed(PASSWORD))
    return "rudi"


def enter(browser: Any, name: str, password: str, **fields: str) -> Any:
    return browser.submit("/login", at="/login", name=name, password=password, **fields)


def test_the_right_password_leads_to_the_page_asked_for(outsider: Any, rudi: str, site: Site) -> None:
    asked = outsider.get("/account?x=1")
    assert asked.headers["location"] == "/login?next=%2Faccount%3Fx%3D1"
    assert 'value="/account?x=1"' in outsider.get(asked.headers["location"]).text
    answer = enter(outsider, " RUDI ", PASSWORD, next="/account?x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/account?x=1")
    assert "You are rudi, radiographer." in outsider.get("/account").text
    assert [one.act for one in site.trail.newest(actor="rudi")] == ["log in"]
    assert outsider.get("/login").headers["location"] == "/", "who is in is led on"


def test_the_cookie_is_out_of_reach_and_only_its_hash_is_kept(outsider: Any, rudi: str, site: Site) -> None:
    cookie = enter(outsider, rudi, PASSWORD).headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Secure" not in cookie
    secret = cookie.split("=", 1)[1].split(";")[0]
    database = (site.settings.data_dir / "qagate.db").read_bytes()
    wal = (site.settings.data_dir / "qagate.db-wal").read_bytes()
    assert secret.encode() not in database + wal and PASSWORD.encode() not in database + wal


def test_behind_https_the_cookie_goes_nowhere_else(
    settings: Settings, site: Site, rudi: str, browse: Any
) -> None:
    safe = settings.model_copy(update={"web": WebSettings(behind_proxy=True)})
    browser = browse(create(make_site(safe, site.store)), "https://testserver")
    answer = enter(browser, rudi, PASSWORD)
    assert (
        answer.headers["set-cookie"].startswith("__Host-qagate=") and "Secure" in answer.headers["set-cookie"]
    )
    assert "max-age" in answer.headers["strict-transport-security"]


def test_wrong_name_wrong_password_and_a_lock_look_the_same(outsider: Any, rudi: str, site: Site) -> None:
    off = site.accounts.add("off", "viewer", actor="test", password_hash=passwords.hashed(PASSWORD))
    site.accounts.change(off.name, actor="test", disabled=True)
    site.accounts.add("machine", "viewer", actor="test", source="proxy")
    said = set()
    for name, password in (
        ("nobody", PASSWORD), (rudi, "wrong"), ("off", PASSWORD), ("machine", ""), ("machine", PASSWORD),
        ("", ""), ("x" * 5000, "y" * 5000), ("a\x00b", "\x00"),
    ):  # fmt: skip
        answer = enter(outsider, name, password)
        assert answer.status_code == 403 and "qagate=" not in answer.headers.get("set-cookie", "")
        said.add(answer.text.split('role="alert">')[-1].split("</p>")[0])
    assert len(said) == 1


def test_too_many_wrong_passwords_lock_the_name_for_a_while(
    outsider: Any, rudi: str, site: Site, clock: Any
) -> None:
    for _ in range(5):
        assert enter(outsider, rudi, "wrong").status_code == 403
    assert enter(outsider, rudi, PASSWORD).status_code == 403, "locked"
    assert [one.act for one in site.trail.newest(actor=rudi)] == ["locked", *["wrong password"] * 4]
    clock.pass_s(15 * 60 + 1)
    assert enter(outsider, rudi, PASSWORD).status_code == 303
    assert enter(outsider, rudi, "wrong").headers.get("location", "/") == "/"


def test_a_flood_of_logins_leaves_the_other_pages_alone(
    app: FastAPI, rudi: str, viewer: Any, browse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    class Slow:
        def verify(self, *_: str) -> bool:
            return go.wait(30)

    monkeypatch.setattr(passwords, "_HASHER", Slow())
    browsers = [browse(app) for _ in range(12)]
    proofs = [browser.proof("/login") for browser in browsers]
    answers: list[int] = []

    def send(browser: Any, proof: str) -> None:
        body = {"name": rudi, "password": PASSWORD, "csrf": proof}
        answers.append(browser.post("/login", data=body).status_code)

    threads = [threading.Thread(target=send, args=pair) for pair in zip(browsers, proofs, strict=True)]
    for thread in threads:
        thread.start()
    assert until(lambda: len(answers) == 4, 30) and answers == [429] * 4
    assert viewer.get("/account").status_code == 200
    go.set()
    for thread in threads:
        thread.join()
    assert answers.count(303) == 8


def test_a_right_password_forgives_the_wrong_ones_before(app: FastAPI, rudi: str, browse: Any) -> None:
    for _ in range(3):
        for _ in range(4):
            assert enter(browse(app), rudi, "wrong").status_code == 403
        assert enter(browse(app), rudi, PASSWORD).status_code == 303


def test_a_login_ends_when_idle_and_after_its_longest_time(login: Callable[..., Any], clock: Any) -> None:
    browser = login(Role.VIEWER)
    clock.pass_s(29 * 60)
    assert browser.get("/account").status_code == 200
    clock.pass_s(29 * 60)
    assert browser.get("/account").status_code == 200, "use keeps it alive"
    clock.pass_s(29 * 60)
    for header in ({"X-Background": "1"}, {"Accept": "text/event-stream"}):
        assert browser.get("/account", headers=header).status_code == 200
    clock.pass_s(2 * 60)
    assert browser.get("/account").status_code == 303, "what a script asks by itself does not"
    busy = login(Role.VIEWER)
    for _ in range(12 * 3 - 1):
        clock.pass_s(20 * 60)
        assert busy.get("/account").status_code == 200
    clock.pass_s(21 * 60)
    assert busy.get("/account").status_code == 303, "12 hours are the limit"


def test_a_display_on_the_wall_stays_logged_in(login: Callable[..., Any], site: Site, clock: Any) -> None:
    site.accounts.add("room1", "viewer", actor="test", wall=True)
    browser = login(Role.VIEWER, name="room1")
    clock.pass_s(90 * 24 * 3600)
    login(Role.VIEWER, name="other")  # forgets logins that are too old
    assert browser.get("/account").status_code == 200


def test_an_expired_login_says_that_the_click_was_not_saved(viewer: Any, clock: Any) -> None:
    proof = viewer.proof()
    clock.pass_s(3600)
    answer = viewer.post("/account/theme", data={"csrf": proof, "theme": "dark"},
                         headers={"Referer": "http://testserver/account?x=1"})  # fmt: skip
    assert answer.headers["location"] == "/login?next=%2Faccount%3Fx%3D1&ended=1"
    assert "your last click was not saved" in viewer.get(answer.headers["location"]).text


def test_a_script_of_an_expired_login_is_told_in_json(viewer: Any, clock: Any) -> None:
    clock.pass_s(3600)
    answer = viewer.get("/account", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert "log in again" in answer.json()["detail"]


def test_logging_out_ends_it_for_the_stolen_cookie_too(viewer: Any, app: FastAPI, browse: Any) -> None:
    thief = browse(app)
    thief.cookies.update(viewer.cookies)
    assert thief.get("/account").status_code == 200
    assert viewer.submit("/logout").headers["location"] == "/login"
    assert thief.get("/account").status_code == 303


@pytest.mark.parametrize("act", ["disable", "role", "password"])
def test_what_an_administrator_changes_ends_the_login(viewer: Any, site: Site, act: str) -> None:
    change: dict[str, Any] = {
        "disable": {"disabled": True}, "role": {"role": "admin"}, "password": {"password_hash": "x"},
    }[act]  # fmt: skip
    site.accounts.change("viewer", actor="test", **change)
    assert viewer.get("/account").status_code == 303


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example/", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb", ""],
)
def test_login_leads_nowhere_else(wanted: str) -> None:
    assert local_path(wanted) == "/"


def test_the_first_start_says_how_to_make_a_user(outsider: Any, site: Site) -> None:
    assert "qagate users add NAME --role admin" in outsider.get("/login").text
    site.accounts.add("eve", "viewer", actor="test")
    assert "qagate users add" not in outsider.get("/login").text


def test_changing_the_own_password(app: FastAPI, outsider: Any, rudi: str, browse: Any, clock: Any) -> None:
    other = browse(app)
    enter(outsider, rudi, PASSWORD), enter(other, rudi, PASSWORD)
    new = "four louder lemons"
    for present, first, again, said in (
        ("wrong", new, new, "present password is not right"),
        (PASSWORD, new, "another one", "two new passwords differ"),
        (PASSWORD, "short", "short", "has 5 characters"),
        (PASSWORD, "xRUDIx12345", "xRUDIx12345", "easy to guess"),
    ):
        answer = outsider.submit("/account/password", present=present, new=first, again=again)
        assert answer.status_code == 422 and said in answer.text
    for _ in range(4):
        outsider.submit("/account/password", present="guessed", new=new, again=new)
    answer = outsider.submit("/account/password", present=PASSWORD, new=new, again=new)
    assert answer.status_code == 422, "guesses lock it as at the login"
    clock.pass_s(15 * 60 + 1)
    assert outsider.submit("/account/password", present=PASSWORD, new=new, again=new).status_code == 303
    assert outsider.get("/account").status_code == 200, "this browser stays in"
    assert other.get("/account").status_code == 303, "the others are out"
    assert enter(other, rudi, PASSWORD).status_code == 403
    assert enter(other, rudi, new).status_code == 303
