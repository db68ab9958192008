"""Real Chromium before a real gate: from the scanner's C-STORE to the model that learns from a click."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from neighbours import free_port, until

from qagate.assessment import Verdict
from qagate.label import Label, LabelKind
from qagate.store.accounts import Accounts
from qagate.store.engine import open_store
from qagate.store.labels import Labels
from qagate.web.application import create
from qagate.web.security import passwords
from qagate.web.serve import Server
from qagate.web.site import Site, make_site
from train.labels.files import read

#: Whatever the model thinks of the series, the gate asks for a repeat.
REPEAT = {"name": "repeat", "modality": "CT", "review_below": 1.0, "repeat_below": 1.0}
PASSWORD = "correct horse 7"
#: Notes what a page would announce; a headless browser shows no notification itself.
NOTE_TAKER = """
window.announced = [];
window.Notification = class {
  static permission = "granted";
  constructor(title, options) { window.announced.push([title, options.tag]); }
  addEventListener() {}
};
"""


@pytest.fixture(scope="module")
def gated(make_gate: Callable[..., Any]) -> SimpleNamespace:
    """A running gate with pages, a radiographer and a physicist."""
    port = free_port()
    gate = make_gate(web={"enabled": True, "port": port}, rule=[REPEAT])
    with open_store(gate.store_url) as store:
        for name, role in (("rita", "radiographer"), ("phil", "physicist")):
            Accounts(store).add(name, role, actor="test", password_hash=passwords.hashed(PASSWORD))
    return SimpleNamespace(gate=gate, address=f"http://127.0.0.1:{port}")


class Visit:
    """One person's browser; `complaints` holds what its console, the CSP or another host would say."""

    def __init__(self, chromium: Any, address: str, name: str) -> None:
        self.address, self.complaints = address, list[str]()
        self.context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
        self.context.add_init_script(NOTE_TAKER)
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._request)
        assert until(self._answers, 60), "the pages do not answer"
        self.page.goto(f"{address}/login")
        self.page.fill("input[name=name]", name)
        self.page.fill("input[name=password]", PASSWORD)
        self.page.click("button.primary")
        self.page.wait_for_url("**/console")

    def goto(self, path: str) -> None:
        self.page.goto(self.address + path)

    def close(self) -> None:
        self.context.close()
        assert self.complaints == []

    def _answers(self) -> bool:
        try:
            return bool(self.context.request.get(f"{self.address}/healthz").ok)
        except Exception:  # refused: the server is not up yet
            return False

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.complaints.append(f"asked {request.url}")


@pytest.fixture
def enter(chromium: Any, gated: SimpleNamespace) -> Iterator[Callable[[str], Visit]]:
    """Logs people in; at the end nobody's browser may have complained."""
    made: list[Visit] = []

    def make(name: str) -> Visit:
        made.append(Visit(chromium, gated.address, name))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_from_the_scanner_to_the_model_that_learns(
    gated: SimpleNamespace, enter: Callable[[str], Visit], made: Any, tmp_path: Path
) -> None:
    rita = enter("rita")
    rita.page.wait_for_selector("#live.on")
    rita.page.click("#sound")
    rita.page.evaluate("window.notReloaded = true")
    uid, paths = made.series(5, ProtocolName="<b>Head</b> 'routine'")
    assert all(one.status == 0 for one in gated.gate.send(paths))

    tile = rita.page.locator(f"article.main[data-uid='{uid}']")
    tile.wait_for(timeout=60_000)
    assert "Repeat" in tile.inner_text() and "<b>Head</b> 'routine'" in tile.inner_text()
    rita.page.wait_for_function("window.announced.length > 0")
    assert rita.page.evaluate("window.announced") == [["Repeat: CTTEST", uid]]
    assert rita.page.evaluate("document.getElementById('said-aloud').textContent") == "Repeat: CTTEST"
    picture = tile.locator("img")
    picture.wait_for()
    rita.page.wait_for_function("document.querySelector('article.main img').naturalWidth > 100")

    tile.locator("summary", has_text="Disagree").click()
    tile.locator("input[name=reason]").fill("good enough for a head")
    tile.locator("button[value=better]").click()
    tile.locator(".said", has_text="rita: disagrees").wait_for()
    assert rita.page.evaluate("window.notReloaded") is True
    with open_store(gated.gate.store_url) as store:
        (stored,) = Labels(store).of_series(uid)
        assert (stored.label.rater, stored.label.kind) == ("rita", LabelKind.DISAGREE)
        assert stored.label.reason.endswith("good enough for a head")
        age = store.now() - (stored.label.created_at or store.now())
        assert 0 <= age.total_seconds() < 60

    phil = enter("phil")
    phil.goto("/worklist?verdict=repeat")
    row = phil.page.locator("tr", has_text="rita disagrees")
    row.locator("td.p a").click()
    phil.page.wait_for_url(f"**/series/{uid}")
    assert "good enough for a head" in phil.page.inner_text("main")
    _rate(phil, uid, 2)
    with phil.page.expect_download() as download:
        phil.page.click("a[href='/label/labels.csv']")
    exported = tmp_path / "labels.csv"
    download.value.save_as(exported)
    assert {(row.label.rater, row.label.kind.value) for row in read(exported)} == {
        ("rita", "disagree"), ("phil", "rating"),
    }  # fmt: skip
    _finetune(gated, phil, made, tmp_path, first=uid)


def _rate(phil: Visit, uid: str, score: int) -> None:
    """Rate a series by keyboard alone."""
    phil.goto(f"/label?series={uid}&scale=0-4")
    phil.page.wait_for_selector("#rate input[value='3']")
    phil.page.keyboard.press(str(score))
    phil.page.keyboard.press("Enter")
    phil.page.wait_for_url("**/label?**last=**")


def _finetune(gated: SimpleNamespace, phil: Visit, made: Any, tmp_path: Path, *, first: str) -> None:
    """More ratings through the page, then training reads all of them from the store."""
    scores = (0, 1, 3, 4)
    uids = []
    for patient, _ in enumerate(scores, 1):
        uid, paths = made.series(2, PatientID=str(patient))
        gated.gate.send(paths)
        uids.append(uid)
    for uid, score in zip(uids, scores, strict=True):
        gated.gate.ended(uid)
        _rate(phil, uid, score)
    done = gated.gate.run(
        "train", "finetune", "--store", "--recipe", "house", "--set", "epochs=1", "--set", "folds.k=2",
        "--out", str(tmp_path / "run"), "--cache", str(tmp_path / "cache"), "--processes", "1",
        "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "weights.safetensors").exists()
    with (tmp_path / "run" / "predictions.csv").open() as file:
        learnt = {row["name"]: float(row["label"]) for row in csv.DictReader(file)}
    assert learnt == {first: 2.0} | dict(zip(uids, scores, strict=True))


def test_a_page_that_loses_the_gate_says_so_and_catches_up(
    chromium: Any, app: FastAPI, site: Site, settings: Any, seed: Callable[..., str]
) -> None:
    site.accounts.add("rita", "radiographer", actor="test", password_hash=passwords.hashed(PASSWORD))
    port = free_port()
    server = Server(app, host="127.0.0.1", port=port)
    server.start()
    rita = Visit(chromium, f"http://127.0.0.1:{port}", "rita")
    rita.page.click("#sound")
    rita.page.wait_for_selector("#live.on")
    server.stop()
    banner = rita.page.locator("#banner")
    banner.wait_for()
    assert "connection to the gate is lost" in banner.inner_text()
    assert "Not connected" in rita.page.inner_text("#live")
    uid = seed(Verdict.REPEAT, quality=0.1)
    other = Server(create(make_site(settings, site.store)), host="127.0.0.1", port=port)
    other.start()
    rita.page.wait_for_selector(f"article.main[data-uid='{uid}']")
    banner.wait_for(state="hidden")
    assert rita.page.evaluate("window.announced") == [["Repeat: CT1", uid]], "missed, but told"
    _two_people_at_once(rita, site, uid)
    rita.context.close()
    other.stop()


def _two_people_at_once(rita: Visit, site: Site, uid: str) -> None:
    """What Rita is writing survives what Ben clicks meanwhile, and both are kept."""
    tile = rita.page.locator(f"article.main[data-uid='{uid}']")
    rita.page.keyboard.press("d")
    tile.locator("input[name=reason]").fill("half a sent")
    Labels(site.store).add([Label(series_instance_uid=uid, rater="ben", kind=LabelKind.AGREE)])
    tile.locator(".said", has_text="ben: agrees").wait_for()
    field = tile.locator("input[name=reason]")
    assert field.input_value() == "half a sent" and field.is_visible()
    field.press("End")
    field.press_sequentially("ence")
    field.press("Enter")
    tile.locator(".said", has_text="rita: disagrees").wait_for()
    assert [one.label.reason for one in Labels(site.store).of_series(uid)] == ["", "half a sentence"]
