"""Live events on a real server: told at once, caught up after a break, ended with the login."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI

from qagate.assessment import Verdict
from qagate.store.errors import StoreError
from qagate.store.notices import Notices
from qagate.web import events
from qagate.web.site import Site

Reader = Iterator[tuple[str, Any, int | None]]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pings and looks at the login come often."""
    monkeypatch.setattr(events, "PING_S", 0.1)
    monkeypatch.setattr(events, "_WATCHED_S", 0.2)


@pytest.fixture
def listen(served: str, viewer: Any) -> Callable[..., Any]:
    """Opens the stream as a logged-in browser does."""

    @contextmanager
    def opened(after: int | None = None) -> Iterator[Reader]:
        headers = {"X-Background": "1"} | ({} if after is None else {"Last-Event-ID": str(after)})
        cookies = dict(viewer.cookies)
        with (
            httpx.Client(base_url=served, cookies=cookies, headers=headers, timeout=20) as client,
            client.stream("GET", "/events") as response,
        ):
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            yield _events(response)

    return opened


def _events(response: httpx.Response) -> Reader:
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            number = int(fields["id"]) if "id" in fields else None
            yield fields["event"], json.loads(fields["data"]), number
            fields = {}


def until(reader: Reader, name: str) -> tuple[Any, int | None]:
    """The next event of a name."""
    return next((data, number) for found, data, number in reader if found == name)


def test_a_decision_is_told_without_free_text(listen: Callable[..., Any], seed: Callable[..., str]) -> None:
    with listen() as reader:
        assert next(reader)[0] == "hello"
        uid = seed(Verdict.REPEAT, quality=0.1, protocol_name="Free Text", reasons=("free text",))
        data, number = until(reader, "decision")
        assert number is not None
        assert data.pop("decided_at")
        assert data == {"series": uid, "revision": 1, "station": "CT1", "verdict": "REPEAT"}
        until(reader, "changed")


def test_a_page_that_was_away_catches_up(
    listen: Callable[..., Any], seed: Callable[..., str], site: Site
) -> None:
    known = seed()
    last = Notices(site.store).newest()
    missed = [seed(Verdict.REPEAT, quality=0.1), seed(Verdict.PASS)]
    with listen(after=last) as reader:
        told = [next(reader), next(reader)]
        assert [data["series"] for _, data, _ in told] == missed and known not in missed
        name, data, number = next(reader)
        assert (name, data["missed"], number) == ("hello", 2, Notices(site.store).newest())
        later = seed()
        assert until(reader, "decision")[0]["series"] == later, "nothing is told twice"


def test_what_concerns_one_scanner_names_it(listen: Callable[..., Any], seed: Callable[..., str]) -> None:
    with listen() as reader:
        until(reader, "changed")
        seed(None, station_name="MR7")
        assert until(reader, "changed")[0] == ["MR7"]


def test_the_stream_ends_with_the_login(listen: Callable[..., Any], viewer: Any) -> None:
    with listen() as reader:
        assert next(reader)[0] == "hello"
        viewer.submit("/logout")
        until(reader, "ended")
        assert list(reader) == []


def test_the_stream_ends_when_the_process_drains(listen: Callable[..., Any], site: Site) -> None:
    with listen() as reader:
        until(reader, "changed")
        site.stopping.set()
        assert {name for name, _, _ in reader} <= {"ping"}


@pytest.mark.parametrize("error", [StoreError("the database does not answer"), KeyError("unforeseen")])
def test_a_store_that_is_away_is_told_and_comes_back(
    listen: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(_: Notices) -> None:
        raise error

    with listen() as reader:
        until(reader, "changed")
        with monkeypatch.context() as broken:
            broken.setattr(Notices, "snapshot", fails)
            until(reader, "away")
            assert next(reader)[0] == "ping", "told once"
        until(reader, "changed")


def test_too_many_pages_get_an_answer(
    served: str, viewer: Any, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_MOST", 0)
    answer = httpx.get(f"{served}/events", cookies=dict(viewer.cookies))
    assert answer.status_code == 503
    assert not app.state.events._pages


def test_a_slow_page_is_cut_off_and_left_no_gap() -> None:
    """What is cut off comes back by itself with the last number it knows."""
    import asyncio

    async def flood() -> list[events.Event | None]:
        page = events.Subscription()
        for number in range(events._BEHIND + 1):
            page.put(events.Event("decision", None, number))
        await asyncio.sleep(0.05)
        return [await page.get(1)]

    assert asyncio.run(flood()) == [None]
