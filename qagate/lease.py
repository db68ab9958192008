"""Keeps a lease alive while its holder works."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import structlog

from qagate.reason import why

log = structlog.get_logger(__name__)


@contextlib.contextmanager
def kept(renew: Callable[[], object], lease_s: float) -> Iterator[None]:
    """Call `renew` three times a lease, in a thread, for as long as the block runs."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(lease_s / 3):
            try:
                renew()
            except Exception as error:  # loop edge: the lease may run out, the work goes on
                log.error("heartbeat_failed", error=why(error))

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
