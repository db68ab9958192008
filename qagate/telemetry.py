"""Logs: structlog set up once a process. Only plain values pass, so no data set can leak into a line."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from pathlib import PurePath
from typing import Any

import structlog

from qagate import stray
from qagate.wording import one_line

_PLAIN = (str, int, float, bool, type(None), PurePath)


def _plain_values(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace whatever is not a plain value by its type's name: a data set or person name never prints."""
    for key, value in event.items():
        if type(value) in (tuple, list) and all(type(item) in _PLAIN for item in value):
            continue
        if isinstance(value, str) and not value.isprintable():
            event[key] = one_line(value)  # the console format would send control characters to a terminal
        elif isinstance(value, PurePath):
            event[key] = str(value)
        elif type(value) not in _PLAIN and key not in ("exc_info", "_record"):
            event[key] = f"<{type(value).__name__}>"
    return event


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
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    stray.tame()
    structlog.contextvars.clear_contextvars()
    if role:
        structlog.contextvars.bind_contextvars(role=role)
