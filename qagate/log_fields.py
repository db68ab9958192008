"""What a log line may hold: every field by name, and the values it takes.

A field that is not here, or a value that is not of its field's kind, is replaced by its type's name. No kind
takes free text of a header: a line tells of a series by its UID alone. A test reads every log call in the
code and fails for a field that is not in this table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date

from qagate.assessment import Verdict
from qagate.reason import PLACE, Reason

Kind = Callable[[object], bool]


def _pattern(pattern: str) -> Kind:
    compiled = re.compile(pattern)
    return lambda value: type(value) is str and compiled.fullmatch(value) is not None


def _of(*types: type) -> Kind:
    return lambda value: type(value) in types


def _one_of(*words: str) -> Kind:
    known = frozenset(words)
    return lambda value: type(value) is str and value in known


def _each(kind: Kind) -> Kind:
    return lambda value: type(value) in (tuple, list) and all(kind(item) for item in value)  # type: ignore[attr-defined]


COUNT = _of(int)
NUMBER = _of(int, float)
FLAG = _of(bool)
DAY = _of(date)  #: of the gate's own work, never of a header
REASON = _of(Reason)
UID = _pattern(r"[0-9.]{0,64}")  #: PS3.5 section 9.1; empty when there is none
AE_TITLE = _pattern(r"[\x20-\x7e]{0,16}")  #: PS3.5 section 6.2
ADDRESS = _pattern(r"(https?://)?[\w.:%\[\]-]{1,255}")  #: a host or a URL without path, user or password
#: what an administrator named: an archive, a model, an account, a job
NAME = _pattern(r"[^\W_]([\w .:@+/-]{0,78}[\w.:@+/-])?")
STATUS = _pattern(r"0x[0-9A-F]{4}")  #: DIMSE, PS3.7 annex C
HEX = _pattern(r"[0-9a-f]{1,64}")
SPOOLED = _pattern(r"series/[0-9a-f]{3}/[0-9.]{1,64}/[0-9.]{1,64}(\.conflict-[0-9a-f]+)?\.dcm")
ROUTE = _pattern(r"(/[\w{}.:-]*)*")  #: as the code writes it, with {names} for what varies

FIELDS: Mapping[str, Kind] = {
    # of every line
    "event": _pattern(r"[a-z][a-z_]*"),
    "level": _one_of("debug", "info", "warning", "error", "critical"),
    "timestamp": _pattern(r"[0-9T:.Z-]+"),
    "role": _one_of("supervisor", "receiver", "worker", "services", "web"),
    # what it is about
    "association": HEX,
    "associations": _each(HEX),
    "series_instance_uid": UID,
    "sop_instance_uid": UID,
    "sop_class_uid": UID,
    "transaction_uid": UID,
    "abstract_syntax": UID,
    "transfer_syntaxes": _each(UID),
    "revision": COUNT,
    "baseline": COUNT,
    # who and where
    "ae_title": AE_TITLE,
    "calling_ae_title": AE_TITLE,
    "called_ae_title": AE_TITLE,
    "address": ADDRESS,
    "host": ADDRESS,
    "to": ADDRESS,
    "port": COUNT,
    "archive": NAME,
    "destination": NAME,
    "model": NAME,
    "user": NAME,
    "job": NAME,
    "started_role": NAME,
    "pid": COUNT,
    "path": lambda value: SPOOLED(value) or ROUTE(value),
    # what was found
    "verdict": _one_of(*(verdict.value for verdict in Verdict)),
    "quality": NUMBER,
    "kind": _one_of("SR", "KOS", "FORWARD", "REJECTION", "ALERT"),
    "state": _one_of("HELD", "PENDING", "SENDING", "SENT", "DEAD", "lost"),
    "alarm": _pattern(r"[a-z_]{1,20}"),
    "weights_sha256": HEX,
    "day": DAY,
    "number": HEX,
    "locked": FLAG,
    # why
    "reason": REASON,
    "error": REASON,
    "because": REASON,
    "mend": REASON,
    "place": _pattern(PLACE.pattern),
    "status": lambda value: STATUS(value) or COUNT(value),
    "reasons": _each(STATUS),
    "exit_code": COUNT,
    # how many, how long
    **dict.fromkeys(
        ("attempts", "committed", "count", "decided", "delivered", "differences", "failed", "files", "held",
         "instances", "received", "rows", "series", "slices"),
        COUNT,
    ),
    **dict.fromkeys(
        ("after_s", "by_s", "free_mb", "limit_s", "prepare_s", "restart_in_s", "retry_in_s",
         "score_s", "took_s", "wanted_mb"),
        NUMBER,
    ),
}  # fmt: skip


def admitted(name: str, value: object) -> object:
    """The value as a line may hold it: itself, or its type's name in angle brackets."""
    kind = FIELDS.get(name)
    if value is None:
        return None if kind else "<NoneType>"
    if kind is None or not kind(value):
        return f"<{type(value).__name__}>"
    return value.isoformat() if isinstance(value, date) else value
