"""The pages on a store of their own, visitors of every role, and series that have results."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from qagate.assessment import Assessment, Decision, Prompt, SliceScore, Verdict
from qagate.config import Settings
from qagate.series import Instance, Received, SeriesHeader
from qagate.store.engine import Store, open_store
from qagate.store.outbox import OutboxItem
from qagate.store.queue import Queue
from qagate.web.application import create
from qagate.web.security import Role, sessions
from qagate.web.site import Site, make_site

ROLES = tuple(Role)


class Browser(TestClient):
    """A visitor who follows no redirects of its own accord and sends its forms' proof."""

    def __init__(self, app: FastAPI, base_url: str = "http://testserver") -> None:
        super().__init__(app, base_url, follow_redirects=False, raise_server_exceptions=False)

    def proof(self, path: str = "/account") -> str:
        """The hidden field's value, as the page has it."""
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', self.get(path, follow_redirects=True).text)
        assert found, f"{path} has no form"
        return found[1]

    def submit(self, path: str, *, at: str = "/account", **fields: Any) -> Any:
        """Send a form the way its page would."""
        return self.post(path, data=fields | {"csrf": self.proof(at)})


class Clock:
    """The time, which a test may let pass."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.ahead += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    """The clock of the store."""
    return Clock()


@pytest.fixture
def sqlite_store(migrated: Path, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """A store of its own, on SQLite, with that clock."""
    path = shutil.copy(migrated, tmp_path / "qagate.db")
    with open_store(f"sqlite:///{path}", clock=clock) as store:
        yield store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose data lie in the test's folder."""
    return Settings(data_dir=tmp_path)


@pytest.fixture
def site(settings: Settings, sqlite_store: Store) -> Site:
    """The parts of the pages on an empty SQLite store."""
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    return make_site(settings, sqlite_store)


@pytest.fixture
def app(site: Site) -> FastAPI:
    """The application."""
    return create(site)


@pytest.fixture
def browse() -> type[Browser]:
    """Makes browsers without login: browse(app)."""
    return Browser


@pytest.fixture
def outsider(app: FastAPI) -> Browser:
    """A browser without login."""
    return Browser(app)


@pytest.fixture
def login(app: FastAPI, site: Site) -> Callable[..., Browser]:
    """Gives a browser that is logged in: login(Role.PHYSICIST), login("viewer", name="eve")."""

    def make(role: Role | str, name: str = "") -> Browser:
        role = Role.named(role) if isinstance(role, str) else role
        name = name or role.word
        account = site.accounts.named(name) or site.accounts.add(name, role.word, actor="test")
        browser = Browser(app)
        response = _Cookies()
        sessions.begin(site, account, response)  # type: ignore[arg-type]
        browser.cookies.set(response.name, response.value)
        return browser

    return make


class _Cookies:
    def set_cookie(self, name: str, value: str, **_: object) -> None:
        self.name, self.value = name, value


@pytest.fixture
def viewer(login: Callable[..., Browser]) -> Browser:
    """A viewer's browser."""
    return login(Role.VIEWER)


@pytest.fixture
def radiographer(login: Callable[..., Browser]) -> Browser:
    """A radiographer's browser."""
    return login(Role.RADIOGRAPHER)


@pytest.fixture
def physicist(login: Callable[..., Browser]) -> Browser:
    """A physicist's browser."""
    return login(Role.PHYSICIST)


@pytest.fixture
def admin(login: Callable[..., Browser]) -> Browser:
    """An administrator's browser."""
    return login(Role.ADMIN)


Seed = Callable[..., str]


@pytest.fixture
def seed(site: Site) -> Seed:
    """Puts a series into the store and decides it; gives its UID.

    seed(), seed(Verdict.REPEAT, quality=0.2, reasons=("motion",), count=5, paths=[…], assessment={…},
    outbox=[…], modality="MR", station_name="MR1"). verdict None: it stays RECEIVING.
    """
    numbers, queue = itertools.count(1), Queue(site.store)

    def make(
        verdict: Verdict | None = Verdict.PASS,
        *,
        uid: str = "",
        quality: float | None = 0.8,
        reasons: tuple[str, ...] = ("quality as usual",),
        count: int = 3,
        paths: list[str] | None = None,
        received_at: datetime | None = None,
        assessment: dict[str, Any] | None = None,
        decision: dict[str, Any] | None = None,
        outbox: list[OutboxItem] | None = None,
        study: str = "",
        **header: Any,
    ) -> str:
        number = next(numbers)
        uid = uid or f"1.2.826.0.1.{number}"
        at = received_at or datetime.now(UTC) - timedelta(seconds=5)
        known = {"modality": "CT", "station_name": "CT1", "protocol_name": "Head"} | header
        queue.record(
            Received(
                instance=Instance(
                    sop_instance_uid=f"{uid}.{one}",
                    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                    series_instance_uid=uid,
                    study_instance_uid=study or f"1.2.826.0.2.{number}",
                    transfer_syntax_uid="1.2.840.10008.1.2.1",
                    calling_ae_title="SCANNER",
                    path=paths[one - 1] if paths else f"series/{uid}/{one}.dcm",
                    sha256=f"{number:032x}{one:032x}",
                    size=1000,
                    received_at=at,
                ),
                header=SeriesHeader(**known),
            )
            for one in range(1, count + 1)
        )
        if verdict is None:
            return uid
        for one in queue.receiving():
            if one.series_instance_uid == uid:
                assert queue.close(one, "quiet")
        claimed = queue.claim("test-worker", 60)
        assert claimed is not None and claimed.series_instance_uid == uid
        assessed = verdict is not Verdict.NOT_ASSESSED
        values: dict[str, Any] = {
            "prompt": Prompt(dimension="3D", modality=known["modality"], region="head"),
            "quality": quality if assessed else None,
            "score": quality and quality * 4 if assessed else None,
            "slice_count": count,
            "slices": tuple(
                SliceScore(
                    sop_instance_uid=f"{uid}.{one}", slice_number=one, score=4 * (quality or 0),
                    quality=quality or 0.0, weight=1 / count,
                )
                for one in range(1, count + 1)
            ) if assessed else (),
            "model": "default", "model_version": "1", "weights_sha256": "0" * 64,
        }  # fmt: skip
        decided: dict[str, Any] = {
            "verdict": verdict, "reasons": reasons, "review_below": 0.5, "repeat_below": 0.3,
            "rule": "default", "policy_version": "1",
        }  # fmt: skip
        assert queue.finish(
            claimed,
            Assessment(**values | (assessment or {})),
            Decision(**decided | (decision or {})),
            outbox or [],
        )
        return uid

    return make


@pytest.fixture
def served(app: FastAPI) -> Iterator[str]:
    """The address of the pages on a real server, for a real browser."""
    from qagate.web.serve import Server

    server = Server(app, host="127.0.0.1", port=0)
    server.start()
    yield server.address
    server.stop()


CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A real browser; skips where it is not installed."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed (Debian chromium; `make system-test-deps`)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                  "--disable-background-networking", "--disable-component-update", "--disable-sync"],
        )  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, served: str, login: Callable[..., Browser]) -> Iterator[Callable[..., Any]]:
    """Opens a page of the served site in Chromium: visit("/help", Role.VIEWER); no role: an outsider.

    At the end fails on any console error, page error, CSP violation or request to another host.
    """
    contexts, wrong = [], []

    def note(message: Any) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            wrong.append(f"console: {message.text}")

    def watch(request: Any) -> None:
        if not request.url.startswith((served, "data:", "blob:")):
            wrong.append(f"request to {request.url}")

    def go(path: str, role: Role | str | None = None, *, phone: bool = False, **options: Any) -> Any:
        size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 800}
        context = chromium.new_context(**{"viewport": size, "locale": "en-GB", "has_touch": phone} | options)
        contexts.append(context)
        if role is not None:
            cookies = [
                {"name": one.name, "value": one.value, "url": served} for one in login(role).cookies.jar
            ]
            context.add_cookies(cookies)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
        page.on("request", watch)
        page.goto(served + path)
        return page

    yield go
    for context in contexts:
        context.close()
    assert not wrong, "\n".join(wrong)
