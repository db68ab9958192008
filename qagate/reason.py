"""How an error is told in logs, alerts and the database: in this code's own words, or by its kind and place.

The text of another library's exception may quote what it read: pydicom's quote the values of elements. Such
text goes nowhere. Only sentences made here or composed by an exception of this code are a `Reason`, and the
log takes nothing else for one.
"""

from __future__ import annotations

import os
import re
from types import TracebackType

_OWN = ("qagate", "models", "train")
#: a module and a line, such as qagate.worker:104
PLACE = re.compile(r"(?:qagate|models|train)[\w.]*:\d+")


class Reason(str):
    """A sentence of this code, without a value that a file or peer sent."""

    __slots__ = ()


def why(error: BaseException) -> Reason:
    """What may be told of an error: its text where this code composed it, else its kind and our own place."""
    if _is_own(type(error).__module__):
        return Reason(str(error) or type(error).__name__)
    if isinstance(error, OSError) and type(error).__module__ == "builtins" and error.errno:
        return Reason(os.strerror(error.errno))
    where = place(error.__traceback__)
    return Reason(f"{type(error).__name__} at {where}" if where else type(error).__name__)


def place(trace: TracebackType | None) -> str:
    """The innermost line of this code that an error passed, such as qagate.worker:104; "" when none."""
    found = ""
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if _is_own(module):
            found = f"{module}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _is_own(module: str) -> bool:
    return module.partition(".")[0] in _OWN
