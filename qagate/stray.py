"""What would reach standard error beside the log lines: warnings, other libraries' loggers, dead threads.

pydicom quotes the value it warns of, which may be a patient's name or hold a terminal's control characters,
and a traceback quotes the value that broke it.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType

import structlog

_log = structlog.get_logger(__name__)


def tame() -> None:
    """Drop warnings and pydicom's log, and make one log line of an exception that nothing caught."""
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").disabled = True
    logging.getLogger("pydicom").disabled = True  # not by its level, which pydicom sets when it is imported
    threading.excepthook = _thread_died
    sys.excepthook = _process_died


def _thread_died(told: threading.ExceptHookArgs) -> None:
    if told.exc_type is not SystemExit:
        _tell("thread_died", told.exc_type, told.exc_traceback)


def _process_died(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        _tell("process_died", kind, trace)


def _tell(event: str, kind: type[BaseException], trace: TracebackType | None) -> None:
    """Log where it happened and what kind of error it was, never its text."""
    place = traceback.extract_tb(trace)[-1] if trace is not None else None
    where = "unknown" if place is None else f"{place.name} in {place.filename}:{place.lineno}"
    _log.error(event, error=kind.__name__, where=where)
