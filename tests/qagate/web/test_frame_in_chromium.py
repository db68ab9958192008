"""The frame of the pages in a real browser: by keyboard, on a phone, when a login ended."""

from __future__ import annotations

from typing import Any

import pytest

from qagate.web.security import Role, passwords
from qagate.web.site import Site

PASSWORD = "three quiet lemons"


def test_logging_in_and_out_by_keyboard_alone(visit: Any, site: Site) -> None:
    site.accounts.add("rudi", "radiographer", actor="test", password_hash=passwords.hashed(PASSWORD))
    page = visit("/account")
    assert page.url.endswith("/login?next=%2Faccount")
    page.keyboard.type("rudi")  # the first field has the focus
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/account")
    page.keyboard.press("?")
    page.wait_for_url("**/help")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "the focus can be seen"
    page.keyboard.press("Enter")
    assert page.locator("details.user[open]").count() == 1
    page.keyboard.press("Escape")
    assert page.locator("details.user[open]").count() == 0
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Log out").press("Enter")
    page.wait_for_url("**/login")
    page.go_back()
    assert "Log in" in page.title(), "the browser kept nothing"


def test_keys_lead_to_pages_but_not_while_typing(visit: Any) -> None:
    page = visit("/account", Role.ADMIN)
    page.locator("input[name=name]").type("g k ?")
    assert page.url.endswith("/account")
    page.locator("h1").click()
    page.keyboard.press("g")
    page.keyboard.press("w")
    page.wait_for_url("**/worklist")


@pytest.mark.parametrize(
    "path", ["/account", "/help", "/control/users", "/control/users/admin", "/control/audit", "/none"]
)
def test_nothing_is_wider_than_a_phone(visit: Any, path: str) -> None:
    page = visit(path, Role.ADMIN, phone=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    small = page.evaluate(
        "[...document.querySelectorAll('main button, main .button, nav.main a, main select')]"
        ".filter(one => one.offsetParent && one.getBoundingClientRect().height < 40)"
        ".map(one => one.textContent)"
    )
    assert small == []


def test_light_and_dark(visit: Any) -> None:
    def ground(page: Any) -> str:
        return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    light, dark = (visit("/account", Role.VIEWER, color_scheme=one) for one in ("light", "dark"))
    assert ground(light) != ground(dark)
    light.get_by_role("button", name="Dark").click()
    light.wait_for_load_state()
    assert ground(light) == ground(dark), "what was chosen outweighs the machine"
    assert light.get_by_role("button", name="Dark").get_attribute("aria-pressed") == "true"


def test_german(visit: Any) -> None:
    page = visit("/account", Role.VIEWER, locale="de-DE")
    assert page.evaluate("document.documentElement.lang") == "de"


def test_a_script_says_when_the_login_ended_and_when_the_gate_is_away(visit: Any, clock: Any) -> None:
    page = visit("/account", Role.VIEWER)
    ask = "import('/static/base.js').then(one => one.ask('/api/v1/me')).then(one => one.status, () => 0)"
    assert page.evaluate(ask) == 200
    assert page.locator("#banner").is_hidden()
    clock.pass_s(3600)
    assert page.evaluate(ask) == 401
    banner = page.locator("#banner")
    assert banner.is_visible() and "Your login has ended." in banner.inner_text()
    assert banner.locator("a").get_attribute("href") == "/login?next=%2Faccount"
    page.context.set_offline(True)
    assert page.evaluate(ask) == 0
    assert "connection to the gate is lost" in banner.inner_text()


def test_ages_are_kept_up_to_date(visit: Any) -> None:
    page = visit("/help", Role.VIEWER)
    page.evaluate(
        "const t = document.createElement('time'); t.className = 'ago';"
        "t.dateTime = new Date(Date.now() - 125000).toISOString(); document.querySelector('h1').append(t)"
    )
    page.locator("time.ago", has_text="2 min").wait_for()


def test_pages_work_without_script(visit: Any, site: Site) -> None:
    site.accounts.add("rudi", "radiographer", actor="test", password_hash=passwords.hashed(PASSWORD))
    page = visit("/account", java_script_enabled=False)
    page.fill("[name=name]", "rudi")
    page.fill("[name=password]", PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Dark").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
