"""A role's sign of life to its supervisor: one byte on a pipe, for as long as its parts are alive."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

VARIABLE = "QAGATE_PULSE"  #: number of the file descriptor, for the role
EVERY_S = 5.0


def start(stop: threading.Event, alive: Callable[[], bool] = lambda: True) -> None:
    """Beat until `stop`, while `alive`; without a supervisor do nothing. Returns at once."""
    descriptor = os.environ.pop(VARIABLE, "")
    if not descriptor.isdigit():
        return
    os.set_inheritable(int(descriptor), False)
    os.set_blocking(int(descriptor), False)
    threading.Thread(target=_beat, args=(int(descriptor), stop, alive), name="pulse", daemon=True).start()


def _beat(descriptor: int, stop: threading.Event, alive: Callable[[], bool]) -> None:
    while alive():
        with contextlib.suppress(OSError):  # full, or the supervisor died: the role stops by itself then
            os.write(descriptor, b".")
        if stop.wait(EVERY_S):
            return
