"""Ends this process when its work does not end: a decoder or driver that hangs holds no worker for ever."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import threading
from collections.abc import Callable, Iterator

import structlog

from qagate.reason import why

log = structlog.get_logger(__name__)

EXIT_CODE = 1
_GRACE_S = 30.0
_STDERR = 2


@contextlib.contextmanager
def within(limit_s: float, on_limit: Callable[[], object]) -> Iterator[None]:
    """Call `on_limit` and end the process when the block takes longer than `limit_s` seconds.

    Native code that hangs may hold the interpreter's lock, and `on_limit` may hang as well; up to 30 seconds
    later the process is ended all the same, by a thread of `faulthandler`, which needs no lock. One block at
    a time in a process.
    """
    done = threading.Event()

    def watch() -> None:
        if done.wait(limit_s):
            return
        try:
            log.error("time_limit", after_s=limit_s)
            on_limit()
        except Exception as error:  # loop edge: the process ends whatever the store says
            log.error("time_limit_unrecorded", error=why(error))
        finally:
            os._exit(EXIT_CODE)

    faulthandler.dump_traceback_later(limit_s + min(limit_s, _GRACE_S), exit=True, file=_STDERR)
    threading.Thread(target=watch, name="time-limit", daemon=True).start()
    try:
        yield
    finally:
        done.set()
        faulthandler.cancel_dump_traceback_later()
