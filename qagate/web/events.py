"""Server-sent events: one look at the store serves every open page. Carries no free text and no patient data.

Pages learn what changed and fetch it themselves; only decisions are sent as such, because they may be
announced by sound. A decision's event id is its number in the store, so a page that was away asks for those
it missed, whatever happened to this process meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from qagate import __version__
from qagate.reason import why
from qagate.store.engine import Store
from qagate.store.errors import StoreError
from qagate.store.notices import Decided, DecisionNotice, Notices, Snapshot
from qagate.web.errors import Problem
from qagate.web.routing import Here, Router
from qagate.web.security import Role
from qagate.web.security.admission import identify
from qagate.web.site import Site
from qagate.web.texts import gettext as _

log = structlog.get_logger(__name__)
router = Router()

POLL_S = 0.2  #: between two looks at the store
PING_S = 5.0  #: a page that hears nothing for three of these knows that the connection is lost
_WATCHED_S = 30.0  #: between two looks at whether the login still lasts
_BEHIND = 500  #: events that wait for a slow page before it is cut off; it comes back and catches up
_MOST = 300  #: pages open at one time


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it goes over the line."""

    name: str
    data: object = None
    number: int | None = None  #: of the decision

    def text(self) -> str:
        """The event's lines."""
        number = "" if self.number is None else f"id: {self.number}\n"
        return f"{number}event: {self.name}\ndata: {json.dumps(self.data)}\n\n"


def decision(of: DecisionNotice) -> Event:
    """A decision as an event."""
    data = {
        "series": of.series_instance_uid,
        "revision": of.revision,
        "station": of.station_name,
        "verdict": of.verdict.value,
        "decided_at": of.decided_at.isoformat(),
    }
    return Event("decision", data, of.result_id)


class Subscription:
    """What waits for one open page."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[Event | None] = asyncio.Queue(_BEHIND)

    def put(self, event: Event | None) -> None:
        """From any thread; None ends the stream."""
        with contextlib.suppress(RuntimeError):  # the server's loop has ended, and the page with it
            self._loop.call_soon_threadsafe(self._put, event)

    def _put(self, event: Event | None) -> None:
        if self._waiting.full():
            event = None
            while not self._waiting.empty():
                self._waiting.get_nowait()
        self._waiting.put_nowait(event)

    async def get(self, timeout_s: float) -> Event | None:
        """The next event, a ping when there is none in time, None at the end."""
        try:
            return await asyncio.wait_for(self._waiting.get(), timeout_s)
        except TimeoutError:
            return Event("ping")


class Events:
    """Looks at the store while pages are open, and tells them all."""

    def __init__(self, store: Store, stopping: threading.Event, *, poll_s: float = POLL_S) -> None:
        self.notices = Notices(store)
        self._stopping, self._poll_s = stopping, poll_s
        self._lock = threading.Lock()
        self._pages: set[Subscription] = set()
        self._looking = False

    def subscribe(self, page: Subscription) -> None:
        """Tell `page` from now on. Raises Problem when too many are open."""
        with self._lock:
            if len(self._pages) >= _MOST:
                raise Problem(503, _("%(n)s pages are open already; close one and load this again.", n=_MOST))
            self._pages.add(page)
            if not self._looking:
                self._looking = True
                # What it knows from here on must reach back before what the page is about to ask for.
                watch = _Watch(self.notices)
                threading.Thread(target=self._look, args=(watch,), name="events", daemon=True).start()

    def unsubscribe(self, page: Subscription) -> None:
        """Tell it no longer."""
        with self._lock:
            self._pages.discard(page)

    def _look(self, watch: _Watch) -> None:
        while not self._stopping.wait(self._poll_s):
            with self._lock:
                pages = tuple(self._pages)
                if not pages:
                    self._looking = False
                    return
            for event in watch.look():
                for page in pages:
                    page.put(event)
        with self._lock:
            for page in self._pages:
                page.put(None)
            self._looking = False


class _Watch:
    """What differs from one look to the next."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._decided: Decided | None = None
        self._seen: Snapshot | None = None
        self._away = False
        with contextlib.suppress(StoreError):  # `look` tells
            self._decided = Decided(notices)

    def look(self) -> list[Event]:
        try:
            self._decided = self._decided or Decided(self._notices)
            now = self._notices.snapshot()
            events = [decision(one) for one in self._decided.new()]
        except Exception as error:  # loop edge: pages are told, and told when it is over
            if self._away:
                return []
            self._away = True
            log.error("events_failed", error=why(error))
            return [Event("away")]
        known = None if self._away else self._seen
        self._seen, self._away = now, False
        stations = None if known is None else now.stations_changed(known)
        if stations is None:
            return [*events, Event("changed")]
        return [*events, Event("changed", sorted(stations))] if stations else events


@router.get("/events", rule=Role.VIEWER)
async def events(request: Request, site: Here, after: int | None = None) -> StreamingResponse:
    """The stream of one page; `after` or Last-Event-ID: the last decision it knows of."""
    known = request.headers.get("last-event-id", "")
    last = int(known) if known.isascii() and known.isdigit() and len(known) < 19 else after
    page, of = Subscription(), _events(request)
    await run_in_threadpool(of.subscribe, page)
    return StreamingResponse(
        _stream(site, request, of, page, last),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _stream(
    site: Site, request: Request, of: Events, page: Subscription, last: int | None
) -> AsyncIterator[str]:
    try:
        newest = await run_in_threadpool(of.notices.newest)
        missed = () if last is None else await run_in_threadpool(of.notices.decisions, last)
        told = {one.result_id for one in missed}
        for one in missed:
            yield decision(one).text()
        yield Event("hello", {"missed": len(missed), "version": __version__}, max([newest, *told])).text()
        loop = asyncio.get_running_loop()
        checked = loop.time()
        while (event := await page.get(PING_S)) is not None:
            if event.number is None or event.number not in told:
                yield event.text()
            if loop.time() - checked > _WATCHED_S:
                checked = loop.time()
                if not (await run_in_threadpool(identify, site, request)).known:
                    yield Event("ended").text()
                    return
    finally:
        of.unsubscribe(page)


def _events(request: Request) -> Events:
    found: Events = request.app.state.events
    return found
