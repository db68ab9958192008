"""The physicist's desk in Chromium: from a chart to its series, what is stuck goes on, rules tried out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qagate.series import State
from qagate.store.health import Health
from qagate.store.queue import Queue
from qagate.web.security import Role
from qagate.web.site import Site

Seed = Callable[..., str]


def test_a_mark_opens_its_series(visit: Callable[..., Any], seed: Seed) -> None:
    uids = [seed(quality=0.7 + number / 100) for number in range(12)]
    page = visit("/trends/chart", Role.VIEWER)
    marks = page.locator("svg.chart [data-href]")
    assert marks.count() == 12
    assert uids[-1] in (marks.last.get_attribute("data-href") or "")
    assert "0.81" in marks.last.locator("title").text_content()
    marks.last.click()
    page.wait_for_url(f"**/series/{uids[-1]}")


def test_the_table_leads_there_by_keyboard(visit: Callable[..., Any], seed: Seed) -> None:
    uid = seed()
    page = visit("/trends/chart", Role.VIEWER)
    page.locator("details.values summary").focus()
    page.keyboard.press("Enter")
    for _ in range(2):  # the table's box, which scrolls, then its first link
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/series/{uid}")


def test_on_a_phone_the_newest_values_are_in_sight(visit: Callable[..., Any], seed: Seed) -> None:
    for _ in range(3):
        seed()
    page = visit("/trends/chart", Role.VIEWER, phone=True)
    left = page.evaluate("document.querySelector('.chart-scroll').scrollLeft")
    assert left > 100 and page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_failed_series_goes_on_by_a_click(visit: Callable[..., Any], seed: Seed, site: Site) -> None:
    seed(None)
    queue = Queue(site.store)
    for one in queue.receiving():
        queue.close(one, "quiet")
    claimed = queue.claim("w", 60)
    assert claimed is not None and queue.fail(claimed, "no pixels", 1) is State.FAILED
    page = visit("/control", Role.PHYSICIST)
    page.get_by_role("button", name="Score all of them again").click()
    page.wait_for_url("**/control?requeued=1")
    assert "in the queue again" in page.locator("[role=status]").inner_text()
    assert Health(site.store).queue().counts == {"COMPLETE": 1}


def test_a_changed_rule_shows_what_it_would_have_done(visit: Callable[..., Any], seed: Seed) -> None:
    for quality in (0.9, 0.6):
        seed(quality=quality)
    page = visit("/control/thresholds", Role.PHYSICIST)
    rules = page.locator("fieldset")
    rules.nth(2).get_by_label("Look below (quality)").fill("0.7")
    page.get_by_role("button", name="See what it would have done").click()
    page.locator("#result").wait_for()
    assert [tile.inner_text() for tile in page.locator(".tile b").all()] == ["2", "0", "1", "1"]
    assert "review_below = 0.7" in page.locator("pre.toml").inner_text()
