"""Releasing and rejecting in a real browser: one click for the one, a confirmation for the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pictured import scored_series

from qagate.assessment import Verdict
from qagate.config import Settings
from qagate.store.holds import Holds
from qagate.store.outbox import Kind, OutboxItem
from qagate.web.site import Site

UID = "1.2.826.0.1.50"
HELD = [OutboxItem(kind=Kind.FORWARD, destination="pacs", payload="[]", held=True)]


@pytest.fixture
def settings(tmp_path: Any) -> Settings:
    """A gate in hold mode."""
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1"}
    return Settings(mode="hold", data_dir=tmp_path, archive=[pacs])


@pytest.fixture
def held(site: Site, seed: Callable[..., str]) -> str:
    """A held series whose three images are in the spool."""
    return scored_series(site.spool, seed, UID, outbox=HELD)


def test_release_on_the_series_page(visit: Any, site: Site, held: str) -> None:
    page = visit(f"/series/{held}", "radiographer")
    assert "have not been sent to the archive" in page.inner_text("#held")
    page.click("#held >> text=Release")
    page.wait_for_selector("#released")
    assert page.locator("#held").count() == 0
    assert "radiographer" in page.inner_text("#released")
    assert not Holds(site.store).all()


def test_reject_after_a_look_at_what_is_hidden(visit: Any, site: Site, held: str) -> None:
    page = visit(f"/series/{held}", "radiographer")
    page.click("#held >> text=The repeat was taken")
    page.wait_for_url("**/reject")
    assert "All 3 images" in page.inner_text("main")
    page.click("summary")
    assert page.locator("li.uid").count() == 3
    page.click("button.danger")
    assert page.url.endswith("/reject"), "the browser asks for the tick first"
    assert Holds(site.store).all() and not site.trail.newest(act="reject")
    page.check("input[name=confirmed]")
    page.click("button.danger")
    page.wait_for_selector("#rejected")
    (entry,) = site.trail.newest(act="reject")
    assert entry.actor == "radiographer" and not Holds(site.store).all()


def test_several_are_released_by_their_ticks(visit: Any, site: Site, seed: Callable[..., str]) -> None:
    uids = [seed(Verdict.REPEAT, quality=0.1, outbox=HELD, protocol_name=f"P{n}") for n in range(3)]
    page = visit("/worklist?only=held", "radiographer")
    assert page.locator("#release").is_disabled()
    for number in (0, 1):
        page.locator("input[name=seen]").nth(number).check()
    page.click("#release")
    page.wait_for_selector("text=1 series")
    assert "only=held" in page.url
    assert [one.series_instance_uid for one in Holds(site.store).all()] == uids[:1]


def test_on_a_phone_without_script(visit: Any, site: Site, held: str) -> None:
    page = visit(f"/series/{held}/reject", "radiographer", phone=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page = visit(f"/series/{held}", "radiographer", java_script_enabled=False)
    page.click("#held >> text=Release")
    page.wait_for_selector("#released")
    assert not Holds(site.store).all()
