"""The worklist and the console in a real browser: ticks, keys, news, a phone, no script at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from qagate.assessment import Verdict
from qagate.web.site import Site


def test_ticking_many_by_mouse_and_keyboard(visit: Any, seed: Callable[..., str], site: Site) -> None:
    for number in range(4):
        seed(Verdict.REPEAT, quality=0.1, protocol_name=f"P{number}")
    page = visit("/worklist?only=open", "radiographer")
    button = page.locator("#acknowledge")
    assert button.is_disabled()
    ticks = page.locator("input[name=seen]")
    ticks.nth(1).click()
    ticks.nth(3).click(modifiers=["Shift"])
    assert page.locator("input[name=seen]:checked").count() == 3
    assert page.evaluate("document.getElementById('all').indeterminate")
    for _ in range(3):
        page.keyboard.press("k")
    page.keyboard.press("x")
    assert page.evaluate("document.getElementById('all').checked")
    page.keyboard.press("x")
    button.click()
    page.wait_for_selector("text=1 series")
    assert "only=open" in page.url, "back where one was"
    assert [one.act for one in site.trail.newest()].count("acknowledge") == 3


def test_a_choice_filters_at_once_and_news_do_not_move_the_list(visit: Any, seed: Callable[..., str]) -> None:
    seed(Verdict.PASS, protocol_name="First")
    page = visit("/worklist", "viewer")
    page.select_option("select[name=verdict]", "pass")
    page.wait_for_url("**/worklist?verdict=pass")
    page.wait_for_timeout(700)  # the stream's first word is no news
    assert page.locator("#news").is_hidden()
    seed(Verdict.PASS, protocol_name="Second")
    page.locator("#news").wait_for()
    assert "Second" not in page.inner_text("table")
    page.click("#news a")
    page.wait_for_selector("text=Second")
    page.keyboard.press("/")
    page.keyboard.type("fir")
    page.keyboard.press("Enter")
    page.wait_for_url("**protocol=fir**")
    assert "Second" not in page.inner_text("table") and "First" in page.inner_text("table")


def test_on_a_phone_nothing_is_wider_than_the_screen(visit: Any, seed: Callable[..., str]) -> None:
    seed(
        Verdict.REPEAT, quality=0.1, protocol_name="W" * 300, station_name="S" * 60,
        reasons=("motion" * 40,), series_description="d " * 5000,
    )  # fmt: skip
    for path in ("/worklist", "/console"):
        page = visit(path, "radiographer", phone=True)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") == 390, path
    page = visit("/worklist", "radiographer", phone=True)
    assert page.locator("#filter").is_hidden()
    page.click("#filters summary")
    page.locator("#filter").wait_for()


def test_without_script_the_console_still_takes_answers(visit: Any, seed: Callable[..., str]) -> None:
    seed(Verdict.REVIEW, quality=0.4)
    page = visit("/console", "radiographer", java_script_enabled=False)
    page.click("article.main summary")
    page.fill("article.main input[name=reason]", "seen on the monitor")
    page.click("article.main button.primary")
    page.wait_for_selector("article.main .said")
    assert page.url.endswith("/console")
    assert "radiographer: disagrees, “seen on the monitor”" in page.inner_text("article.main .said")


def test_an_ended_login_is_told_with_the_way_back(visit: Any, site: Site, seed: Callable[..., str]) -> None:
    uid = seed(Verdict.REPEAT, quality=0.1)
    page = visit("/console?station=CT1", "radiographer")
    page.wait_for_selector("#live.on")
    account = site.accounts.named("radiographer")
    assert account is not None
    site.accounts.change("radiographer", actor="test", disabled=True)
    page.keyboard.press("a")
    page.wait_for_selector("#banner a")
    assert page.get_attribute("#banner a", "href") == "/login?next=%2Fconsole%3Fstation%3DCT1"
    assert uid in page.content(), "what was shown stays"


def test_a_console_whose_clock_is_wrong_counts_by_the_gates(visit: Any, seed: Callable[..., str]) -> None:
    seed(Verdict.PASS)
    page = visit("/help", "viewer")
    page.clock.install(time=datetime.now(UTC) + timedelta(hours=3))
    page.goto(page.url.replace("/help", "/console"))
    page.wait_for_selector("#live.on")
    assert "sec" in page.inner_text("article.main .since")
