"""The slice viewer and the label page in a real browser: greys, window, map, keyboard, rating by keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pictured import scored_series, write_series

from qagate.assessment import Assessment, Decision, Prompt, Verdict
from qagate.store.labels import Labels
from qagate.store.queue import Queue
from qagate.web.security import Role
from qagate.web.site import Site

UID, REPEAT = "1.2.826.0.1.50", "1.2.826.0.1.51"
SHOWN = "section.viewer .said[hidden]"
#: Red, green and blue at a share of the canvas' width and height.
PIXEL = """([x, y, at]) => {
  const canvas = document.querySelectorAll("section.viewer canvas")[at ?? 0];
  const found = canvas.getContext("2d").getImageData(canvas.width * x, canvas.height * y, 1, 1).data;
  return [...found.slice(0, 3)];
}"""


def _shown(page: Any, count: int = 1) -> None:
    page.wait_for_selector(SHOWN, state="attached")
    page.locator(SHOWN).nth(count - 1).wait_for(state="attached")


def _where(page: Any) -> str:
    return str(page.inner_text("section.viewer .where"))


def test_greys_follow_window_and_inversion(visit: Any, site: Site, seed: Callable[..., str]) -> None:
    scored_series(site.spool, seed, UID)
    page = visit(f"/series/{UID}", Role.VIEWER)
    _shown(page)
    assert _where(page) == "Slice 2 of 3, quality 0.40", "the worst slice comes first"
    top, bottom = (0.5, 0.1), (0.5, 0.97)
    assert page.evaluate(PIXEL, top) == [0, 0, 0] and page.evaluate(PIXEL, bottom) == [255, 255, 255]
    page.keyboard.press("i")
    assert page.evaluate(PIXEL, top) == [255, 255, 255] and page.evaluate(PIXEL, bottom) == [0, 0, 0]
    page.keyboard.press("i")
    half = (0.5, 0.53)
    (before, *_), levels = page.evaluate(PIXEL, half), page.inner_text(".levels")
    assert 0 < before < 255 and levels == "Centre 40, width 400"
    page.keyboard.press("Shift+ArrowUp")
    assert page.inner_text(".levels") == "Centre 60, width 400"
    assert page.evaluate(PIXEL, half)[0] < before, "a higher centre is darker"
    page.select_option("section.viewer select", "lung")
    assert page.inner_text(".levels") == "Centre -600, width 1500"


def test_monochrome1_is_white_where_it_is_little(visit: Any, site: Site, seed: Callable[..., str]) -> None:
    scored_series(site.spool, seed, UID, PhotometricInterpretation="MONOCHROME1")
    page = visit(f"/series/{UID}", Role.VIEWER)
    _shown(page)
    page.select_option("section.viewer select", "bone")
    assert page.evaluate(PIXEL, (0.5, 0.1))[0] > page.evaluate(PIXEL, (0.5, 0.97))[0]


def test_the_map_tints_what_is_bad(visit: Any, site: Site, seed: Callable[..., str]) -> None:
    scored_series(site.spool, seed, UID)
    page = visit(f"/series/{UID}", Role.VIEWER)
    _shown(page)
    page.wait_for_selector(".map-only:not([hidden])")
    page.keyboard.press("m")
    red, _green, blue = page.evaluate(PIXEL, (0.4, 0.1))
    assert red > blue + 50, "the upper left quarter is bad"
    assert page.evaluate(PIXEL, (0.6, 0.97)) == [255, 255, 255]
    assert page.is_visible(".legend")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.where').textContent.startsWith('Slice 3')")
    assert page.evaluate(PIXEL, (0.4, 0.1)) == [0, 0, 0], "this slice has no map"


def test_slices_by_keys_strip_and_curve(visit: Any, site: Site, seed: Callable[..., str]) -> None:
    scored_series(site.spool, seed, UID)
    page = visit(f"/series/{UID}", Role.VIEWER)
    _shown(page)
    page.keyboard.press("ArrowLeft")
    assert _where(page).startswith("Slice 1")
    page.locator(".strip button").nth(2).click()
    assert _where(page).startswith("Slice 3") and page.locator(".strip [aria-current]").inner_text()[0] == "3"
    page.locator(".strip [aria-current]").press("ArrowLeft")
    assert _where(page).startswith("Slice 2")
    page.locator("section.viewer canvas").press("End")
    assert _where(page).startswith("Slice 3")
    page.locator("svg.chart [data-href]").first.click()
    assert _where(page).startswith("Slice 1") and page.url.endswith(UID)


def test_two_series_side_by_side_scroll_together(visit: Any, site: Site, seed: Callable[..., str]) -> None:
    scored_series(site.spool, seed, UID)
    seed(Verdict.PASS, uid=REPEAT, quality=0.9, paths=write_series(site.spool, REPEAT))
    page = visit(f"/series/{UID}?beside={REPEAT}", Role.VIEWER)
    _shown(page, 2)
    second = page.locator("section.viewer .where").nth(1)
    second.filter(has_text="Slice 2").wait_for()
    page.keyboard.press("ArrowRight")
    second.filter(has_text="Slice 3").wait_for()


def test_a_slice_that_cannot_be_drawn(visit: Any, site: Site, seed: Callable[..., str]) -> None:
    seed(uid=UID, paths=write_series(site.spool, UID, broken=True))
    page = visit(f"/series/{UID}", Role.VIEWER)
    page.get_by_text("This slice cannot be drawn").wait_for()


def _judge(site: Site) -> None:
    queue = Queue(site.store)
    for one in queue.receiving():
        queue.close(one, "quiet")
    claimed = queue.claim("w", 60)
    assert claimed is not None
    prompt = Prompt(dimension="3D", modality="CT", region="head")
    found = Assessment(prompt=prompt, quality=0.2, score=0.2, weights_sha256="0" * 64)
    assert queue.finish(claimed, found, Decision(verdict=Verdict.REPEAT, reasons=("motion",)), [])


def test_a_verdict_comes_by_itself(visit: Any, site: Site, seed: Callable[..., str]) -> None:
    seed(None, uid=UID, paths=write_series(site.spool, UID))
    page = visit(f"/series/{UID}", Role.VIEWER)
    page.locator("#answer", has_text="Working").wait_for()
    _judge(site)
    page.locator("#answer", has_text="Repeat").wait_for()
    assert page.is_hidden("#news")
    Queue(site.store).requeue([UID])
    _judge(site)
    page.locator("#news", has_text="judged this series anew").wait_for()


def test_images_that_were_purged(visit: Any, site: Site, seed: Callable[..., str]) -> None:
    seed(uid=UID)
    page = visit(f"/series/{UID}", Role.VIEWER, phone=True)
    page.get_by_text("no longer in the gate").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_rating_by_keyboard_alone(visit: Any, site: Site, seed: Callable[..., str]) -> None:
    for number, uid in enumerate((UID, REPEAT)):
        seed(uid=uid, quality=0.5 + number / 10, paths=write_series(site.spool, uid))
    page = visit("/label", Role.PHYSICIST)
    _shown(page)
    for key in ("m", "l", "ArrowRight", "l", "3"):
        page.keyboard.press(key)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    (stored,) = Labels(site.store).of_series(UID)
    assert (stored.label.score, stored.label.reason) == (3.0, "motion: slice 2, slice 3")
    _shown(page)
    assert page.get_attribute("section.viewer", "data-uid") == REPEAT
    with page.expect_navigation():
        page.keyboard.press("z")
    assert page.get_attribute("section.viewer", "data-uid") == UID and page.is_checked('[value="3"]')


def test_two_digits_for_a_hundred(visit: Any, site: Site, seed: Callable[..., str]) -> None:
    seed(uid=UID, paths=write_series(site.spool, UID))
    page = visit("/label?scale=0-100&subject=slice", Role.PHYSICIST, color_scheme="dark")
    _shown(page)
    page.keyboard.type("85")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    (stored,) = Labels(site.store).of_series(UID)
    assert stored.label.score == 85.0 and stored.label.sop_instance_uid is not None
