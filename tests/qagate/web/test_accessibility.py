"""axe-core over every page in a real browser: light, dark and on a phone, with series in every state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from qagate.assessment import Artefact, Finding, Verdict
from qagate.config import Settings
from qagate.store.outbox import Kind, Outbox, OutboxItem
from qagate.store.queue import Queue
from qagate.store.service_events import ServiceEvents
from qagate.web.routing import rule_of
from qagate.web.security import PUBLIC, Role
from qagate.web.site import Site

UID, HELD = "1.2.826.0.1.77", "1.2.826.0.1.76"
PAGES = (
    "/login", "/console", "/worklist", "/worklist?only=problems", f"/series/{UID}", "/series/9.9",
    "/worklist?only=held", f"/series/{HELD}", f"/series/{HELD}/reject",
    f"/label?series={UID}", "/label", "/label/agreement", "/trends", "/trends/chart", "/trends/alerts",
    "/trends/dose", "/control", "/control/models", "/control/thresholds", "/control/users",
    "/control/users/admin", "/control/audit", "/account", "/help", "/help/api",
)  # fmt: skip
NO_PAGE = {
    "/", "/favicon.ico", "/login/oidc", "/login/oidc/back", "/healthz", "/readyz", "/metrics", "/events",
    "/console/tiles", "/worklist.csv", "/label/labels.csv", "/control/audit.csv", "/trends/{name}.{kind}",
    "/series/{uid}/worst.jpg", "/series/{uid}/report.dcm",
}  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A gate in hold mode."""
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1"}
    return Settings(mode="hold", data_dir=tmp_path, archive=[pacs])


@pytest.fixture
def lived_in(site: Site, seed: Callable[..., str]) -> None:
    """Series of every kind, something stuck, something failed."""
    motion = Finding(artefact=Artefact.MOTION, severity=0.9, text="ghosting <b>, slices 1-3")
    for number in range(10):
        technique = {"ctdi_vol_mgy": 10.0 + number, "kernel": "B30f"}
        seed(quality=0.7 + number / 100, assessment={"technique": technique})
    seed(Verdict.NOT_ASSESSED)
    waits = OutboxItem(kind=Kind.FORWARD, destination="pacs", payload="[]", held=True)
    seed(Verdict.REVIEW, uid=HELD, quality=0.45, outbox=[waits])
    item = OutboxItem(kind=Kind.SR, destination="pacs", payload="a.dcm")
    seed(Verdict.REPEAT, uid=UID, quality=0.1, assessment={"findings": (motion,)}, outbox=[item])
    delivery = Outbox(site.store).claim(60)
    assert delivery is not None and Outbox(site.store).mark_dead(delivery, "connection refused")
    seed(None, uid="1.2.826.0.1.78")
    queue = Queue(site.store)
    for one in queue.receiving():
        queue.close(one, "quiet")
    claimed = queue.claim("w", 60)
    assert claimed is not None
    queue.fail(claimed, "no pixels", 1)
    seed(None, uid="1.2.826.0.1.79")
    at = site.store.now() - timedelta(minutes=2)
    ServiceEvents(site.store).add(station="CT1", at=at, words="tube replaced", actor="ben")


def test_every_page_is_looked_at(app: FastAPI) -> None:
    there = {
        str(getattr(route, "path", ""))
        for route in app.routes
        if isinstance(rule_of(route), Role | type(PUBLIC)) and "GET" in getattr(route, "methods", ())
    }
    pages = {path for path in there if not path.startswith("/api/")} - NO_PAGE
    looked_at = {path.partition("?")[0].replace(UID, "{uid}").replace(HELD, "{uid}") for path in PAGES}
    assert pages <= {path.replace("/users/admin", "/users/{name}") for path in looked_at}


LOOKS = {"light": {"color_scheme": "light"}, "dark": {"color_scheme": "dark"}, "phone": {"phone": True}}


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_serious(visit: Callable[..., Any], served: str, lived_in: None, look: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit("/help", Role.ADMIN, **LOOKS[look])
    found = []
    for path in PAGES:
        answer = page.goto(served + path)
        assert answer.status == (404 if path == "/series/9.9" else 200), path
        found += [f"{path}: {told}" for told in _serious(axe, page)]
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{path} is wider than the window")
    assert found == []


def test_axe_sees_what_is_wrong(visit: Callable[..., Any]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit("/login")
    page.evaluate("document.querySelector('label').replaceWith(document.querySelector('label input'))")
    assert any("label" in told for told in _serious(axe, page))


def _serious(axe: Any, page: Any) -> list[str]:
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:160]}"
        for one in axe.run(page).response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
