"""Takes the pictures of docs/screens: every page of a filled store, light, dark and on a phone.

`python docs/screenshots.py [PAGE …]`; needs Chromium (/usr/bin/chromium). Ends with 1, and says why, when a
page does not answer 200, writes an error to the browser's console, or asks another host for anything.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo_store import PASSWORD, fill
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

from qagate.config import Settings
from qagate.store.engine import Store, open_store
from qagate.store.views import Views
from qagate.web.application import create
from qagate.web.serve import Server
from qagate.web.site import make_site

FOLDER = Path(__file__).parent / "screens"
CHROMIUM = "/usr/bin/chromium"
COLOURS = 96  #: of each picture; keeps the files small


@dataclass(frozen=True, slots=True)
class Look:
    """How a browser shows the pages."""

    name: str
    width: int
    height: int
    scheme: str


@dataclass(frozen=True, slots=True)
class Shot:
    """One page and who looks at it; {uid} is the worst of today's series."""

    name: str
    path: str
    user: str


LOOKS = (Look("light", 1280, 800, "light"), Look("dark", 1280, 800, "dark"), Look("phone", 390, 844, "light"))
SHOTS = (
    Shot("login", "/login", ""),
    Shot("console", "/console", "ann"),
    Shot("worklist", "/worklist", "ann"),
    Shot("series", "/series/{uid}", "ben"),
    Shot("label", "/label?series={uid}", "ben"),
    Shot("label-agreement", "/label/agreement", "ben"),
    Shot("trends", "/trends", "ben"),
    Shot("trends-chart", "/trends/chart?station=CT2&protocol=Head+routine", "ben"),
    Shot("trends-alerts", "/trends/alerts", "ben"),
    Shot("trends-dose", "/trends/dose?station=CT1", "ben"),
    Shot("control", "/control", "root"),
    Shot("models", "/control/models?compare=house-1", "root"),
    Shot("thresholds", "/control/thresholds", "root"),
    Shot("users", "/control/users", "root"),
    Shot("audit", "/control/audit", "root"),
    Shot("account", "/account", "ann"),
    Shot("help", "/help", "ann"),
)


def main(names: list[str]) -> int:
    """Take the pictures of the named pages, or of all; 0 when nothing was wrong."""
    shots = [shot for shot in SHOTS if not names or shot.name in names]
    FOLDER.mkdir(exist_ok=True)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        archive = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 10_999}
        settings = Settings(
            data_dir=Path(folder) / "var",
            archive=[archive],  # type: ignore[list-item]
            web={"site_name": "Demo hospital", "time_zone": "Europe/Berlin"},  # type: ignore[arg-type]
        )
        fill(settings, Path(folder))
        with open_store(settings.store_url) as store:
            server = Server(create(make_site(settings, store)), host="127.0.0.1", port=0)
            server.start()
            try:
                with sync_playwright() as play:
                    browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                    for look in LOOKS:
                        wrong += _all(browser, server.address, look, shots, _worst(store))
                    browser.close()
            finally:
                server.stop()
    print("\n".join(wrong) or f"{len(shots) * len(LOOKS)} pictures in {FOLDER}")
    return 1 if wrong else 0


def _worst(store: Store) -> str:
    """The series of today that the gate likes least."""
    rows = [row for row in Views(store).overview(limit=6).series if row.quality is not None]
    return min(rows, key=lambda row: row.quality or 0.0).series_instance_uid


def _all(browser: Browser, address: str, look: Look, shots: list[Shot], uid: str) -> Iterator[str]:
    contexts: dict[str, BrowserContext] = {}
    for shot in shots:
        if shot.user not in contexts:
            contexts[shot.user] = _visitor(browser, address, look, shot.user)
        page = contexts[shot.user].new_page()
        heard = _listen(page, address)
        answer = page.goto(address + shot.path.format(uid=uid))
        page.wait_for_timeout(1500)  # the viewer draws, the console's first events come
        if answer is None or answer.status != 200:
            heard.append(f"answered {answer and answer.status}")
        if shot.user and "/login" in page.url:
            heard.append("asks for a login")
        if page.evaluate("document.documentElement.scrollWidth") > look.width:
            heard.append("is wider than the window")
        path = FOLDER / f"{shot.name}-{look.name}.png"
        page.screenshot(path=path, full_page=True)
        _shrink(path)
        page.close()
        yield from (f"{shot.name} {look.name}: {one}" for one in heard)
    for context in contexts.values():
        context.close()


def _visitor(browser: Browser, address: str, look: Look, user: str) -> BrowserContext:
    context = browser.new_context(
        viewport={"width": look.width, "height": look.height},
        color_scheme="dark" if look.scheme == "dark" else "light",
        locale="en-GB",
        timezone_id="Europe/Berlin",
    )
    if user:
        page = context.new_page()
        page.goto(f"{address}/login?next=/help")
        page.fill("input[type=text], input:not([type])", user)
        page.fill("input[type=password]", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/help")
        page.close()
    return context


def _listen(page: Page, address: str) -> list[str]:
    """What goes wrong on the page from now on."""
    heard: list[str] = []

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            heard.append(message.text)

    def asked(request: Request) -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            heard.append(f"asks {request.url}")

    page.on("console", said)
    page.on("request", asked)
    page.on("pageerror", lambda error: heard.append(str(error)))
    return heard


def _shrink(path: Path) -> None:
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
