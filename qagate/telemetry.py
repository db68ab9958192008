"""Logs: structlog set up once a process. What a line may hold is in `log_fields`; nothing else passes."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog

from qagate.log_fields import admitted
from qagate.reason import place, why

log = structlog.get_logger(__name__)
_LOCK = threading.Lock()


def _own_words(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception's place instead of its text and traceback, which may quote what was read."""
    told = event.pop("exc_info", None)
    error = sys.exc_info()[1] if told is True else told
    if isinstance(error, BaseException) and (where := place(error.__traceback__)):
        event["place"] = where
    return event


def _admitted_fields(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        event[name] = admitted(name, value)
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
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    own = {"role": role} if role else {}
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            # Not bound as a context variable: threads begin without any.
            lambda _, __, event: {**own, **event},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _own_words,
            _admitted_fields,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=_Lines,
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()


def keep_own_words() -> None:
    """For a process of its own: what other libraries would print becomes a log line, or nothing.

    Python prints the text of an exception that nobody caught, and pydicom's warnings quote elements.
    """
    logging.captureWarnings(True)  # their logger is below the level that `configure` sets
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())
    logging.getLogger("pydicom").disabled = True  # its level is set anew when pydicom is imported

    def died(error: BaseException) -> None:
        log.error("uncaught", error=why(error), exc_info=error)

    def in_main(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
        died(error)

    def in_thread(found: threading.ExceptHookArgs) -> None:
        if found.exc_value is not None and not isinstance(found.exc_value, SystemExit):
            died(found.exc_value)

    sys.excepthook, threading.excepthook = in_main, in_thread
