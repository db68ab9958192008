"""Logs: structlog set up once a process. Only plain values pass, so no data set can leak into a line."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import MutableMapping
from pathlib import PurePath
from typing import Any

import structlog

_LOCK = threading.Lock()
_PLAIN = (str, int, float, bool, type(None), PurePath)


def _plain_values(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace whatever is not a plain value by its type's name: a data set or person name never prints."""
    for key, value in event.items():
        if type(value) in (tuple, list) and all(type(item) in _PLAIN for item in value):
            continue
        if isinstance(value, PurePath):
            event[key] = str(value)
        elif type(value) not in _PLAIN and key not in ("exc_info", "_record"):
            event[key] = f"<{type(value).__name__}>"
    return event


class _Lines:
    """Writes lines to standard error. One that cannot be written (a full disk, a closed pipe) is lost.

    An error from here would end the very loops that log theirs.
    """

    def __init__(self, *_: object) -> None:
        pass

    def msg(self, message: str) -> None:
        """Write one line."""
        with contextlib.suppress(OSError, ValueError), _LOCK:
            sys.stderr.write(message + "\n")
            sys.stderr.flush()

    log = debug = info = warn = warning = error = critical = fatal = exception = failure = msg


def configure(*, level: str = "info", format: str = "json", role: str = "") -> None:
    """Send this process' log lines to standard error.

    level: debug, info, warning or error; format: json or console; role: named in every line.
    """
    # The third-party loggers print addresses, AE titles and elements of their own accord.
    logging.basicConfig(level=logging.CRITICAL, stream=sys.stderr)
    last: Any = (
        structlog.processors.JSONRenderer()
        if format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _plain_values,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=_Lines,
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    if role:
        structlog.contextvars.bind_contextvars(role=role)
