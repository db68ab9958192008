"""Joins reception to the store: what the SCP made durable is recorded, in batches and in order.

The spool is the journal: an instance is answered 0x0000 before it is recorded here, and what a dead
process could not record is recorded from the spool at the next start.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Protocol

import structlog

from qagate.reason import why
from qagate.series import Received

log = structlog.get_logger(__name__)

_BATCH = 256
_RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)


class ReceptionStore(Protocol):
    """What the indexer needs of the store."""

    def record(self, batch: Iterable[Received]) -> object:
        """Record instances; those already known are nothing new."""

    def released(self, series_instance_uids: Iterable[str], when: datetime) -> None:
        """Note that no open association feeds these series any more."""


class Indexer:
    """Records received instances in the store, off the association's thread.

    A store that fails is tried again until it answers; receiving goes on meanwhile.
    """

    def __init__(self, store: ReceptionStore) -> None:
        self._store = store
        self._events: queue.SimpleQueue[Callable[[], None] | Received | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="indexer", daemon=True)

    def start(self) -> None:
        """Start recording."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still records."""
        return self._thread.is_alive()

    def received(self, received: Received) -> None:
        """Take one durable instance."""
        self._events.put(received)

    def released(self, series_instance_uids: frozenset[str], when: datetime) -> None:
        """Take the release of series, after everything received before it."""
        self._events.put(lambda: self._store.released(series_instance_uids, when))

    def call(self, write: Callable[[], None]) -> None:
        """Take any other write that belongs in this order."""
        self._events.put(write)

    def settled(self, limit_s: float) -> bool:
        """Wait until all that was taken before is recorded; False when it is not within the limit."""
        done = threading.Event()
        self._events.put(done.set)
        return done.wait(limit_s)

    def stop(self, timeout_s: float = 30.0) -> None:
        """Record what is left, then end."""
        self._events.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        ended = False
        while not ended:
            batch: list[Received] = []
            event = self._events.get()
            while isinstance(event, Received):
                batch.append(event)
                if len(batch) >= _BATCH or self._events.empty():
                    event = None
                    break
                event = self._events.get()
            else:
                ended = event is None
            if batch:
                self._insist(partial(self._store.record, batch))
            if callable(event):
                self._insist(event)

    def _insist(self, write: Callable[[], object]) -> None:
        for attempt in itertools.count():
            try:
                write()
                return
            except Exception as error:  # loop edge: whatever the store says, receiving goes on
                wait = _RETRY_S[min(attempt, len(_RETRY_S) - 1)]
                log.error("record_failed", error=why(error), retry_in_s=wait)
                time.sleep(wait)
